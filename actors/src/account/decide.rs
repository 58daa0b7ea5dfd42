//! What a wish leads to: facts, or a refusal.

use std::collections::BTreeSet;

use longhaul_journal::{Seq, StreamId, sabotage};

use super::command::{Ask, Command, Finding, HeldFor, LastStep, Open, Refusal, Reply, Shortage, Verdict};
use super::credits::Credits;
use super::event::{
    Body, Configured, Event, Exhausted, Forgot, GrantReason, Granted, Held, Low, Opened, Released, Settled,
    WaitEnded,
};
use super::price::Carry;
use super::state::{Hold, Line, State};
use crate::entity::Decision;
use crate::session::Actor;

/// Longest name of a request, bytes.
const REQUEST_LIMIT: usize = 256;
/// It is said that little is left when the balance falls to this part of what there was after the last grant.
const LOW_PART: u64 = 5;

type Decided = Result<Decision<Event, Reply>, Refusal>;

pub(super) fn decide(state: &State, command: Command) -> Decided {
    if let Command::Open(open) = command {
        return Ok(open_account(state, *open));
    }
    if state.name.is_none() {
        return Err(Refusal::NotFound);
    }
    match command {
        Command::Open(_) => unreachable!("handled above"),
        Command::TopUp { by, request, amount } => top_up(state, by, request, amount),
        Command::Admit { session } => Ok(admit(state, session)),
        Command::Ask(ask) => Ok(answer(state, *ask)),
        Command::Audited(findings) => Ok(audited(state, findings)),
        Command::Resumed { session, since } => Ok(resumed(state, session, since)),
    }
}

/// Facts in the making, and the sums after them; the state itself may hold thousands of sessions and is not copied.
struct Draft<'a> {
    state: &'a State,
    events: Vec<Event>,
    settled: Credits,
    held: Credits,
    carry: Carry,
    told_low: bool,
}

impl<'a> Draft<'a> {
    fn new(state: &'a State) -> Self {
        Self {
            state,
            events: Vec::new(),
            settled: state.settled,
            held: state.held,
            carry: state.carry,
            told_low: state.told_low,
        }
    }

    /// Adds a fact, and returns the seq it will have.
    fn push(&mut self, by: Actor, body: impl Into<Body>) -> Seq {
        let body = body.into();
        self.events.push(Event { actor: by, body });
        self.state.head.plus(self.events.len() as u64)
    }

    fn available(&self) -> Credits {
        self.state.granted.less(self.settled).less(self.held)
    }

    /// Charges what the step cost, at most what was held for it. Returns the charge.
    fn settle(&mut self, session: StreamId, hold: &Hold, last: &LastStep, ended: bool) -> Credits {
        let table = self.state.prices_of(hold.prices);
        let cost = table.cost(
            &last.used,
            hold.bound.tool.as_deref(),
            hold.bound.model.as_deref(),
            self.carry,
        );
        let amount_micro = cost.known.min(hold.amount);
        self.carry = cost.carry;
        self.settled = self.settled.plus(amount_micro);
        self.held = self.held.less(hold.amount);
        let settled = Settled {
            hold: hold.seq,
            session,
            step: hold.step,
            amount_micro,
            overrun_micro: cost.known.less(amount_micro),
            unknown: cost.unknown,
            used: last.used,
            prices: hold.prices,
            carry: cost.carry,
            ended,
        };
        if sabotage::is_on("settle-twice") {
            self.push(Actor::RUNTIME, settled.clone());
        }
        self.push(Actor::RUNTIME, settled);
        self.say_when_low();
        amount_micro
    }

    fn release(&mut self, session: StreamId, hold: &Hold, ended: bool) {
        self.held = self.held.less(hold.amount);
        let released = Released {
            hold: hold.seq,
            session,
            step: hold.step,
            amount_micro: hold.amount,
            ended,
        };
        self.push(Actor::RUNTIME, released);
    }

    fn say_when_low(&mut self) {
        let balance = self.state.granted.less(self.settled);
        let of = self.state.mark;
        if !self.told_low && balance.micro().saturating_mul(LOW_PART) <= of.micro() {
            self.told_low = true;
            let low = Low {
                balance_micro: balance,
                of_micro: of,
            };
            self.push(Actor::RUNTIME, low);
        }
    }

    fn replying(self, reply: Reply) -> Decision<Event, Reply> {
        Decision {
            events: self.events,
            reply,
        }
    }

    /// The answer to a wish that needs no other.
    fn done(self) -> Decision<Event, Reply> {
        let repeated = self.events.is_empty();
        let reply = Reply::Done {
            seq: if repeated {
                self.state.head
            } else {
                self.state.head.next()
            },
            repeated,
            available: self.available(),
        };
        self.replying(reply)
    }
}

fn open_account(state: &State, open: Open) -> Decision<Event, Reply> {
    let Open {
        by,
        name,
        initial,
        prices,
        resume,
    } = open;
    let mut draft = Draft::new(state);
    if state.name.is_some() {
        let (_, old) = state.prices_in_force();
        let prices = prices.filter(|prices| prices != old);
        let resume = resume.unwrap_or(state.resume);
        if prices.is_some() || resume != state.resume {
            draft.push(by, Configured { prices, resume });
        }
        return draft.done();
    }
    let (prices, resume) = (prices.unwrap_or_default(), resume.unwrap_or_default());
    draft.push(by.clone(), Opened { name, prices, resume });
    let mut available = Credits::ZERO;
    if !initial.is_zero() {
        available = initial.min(Credits::MOST);
        let granted = Granted {
            request: "initial".into(),
            amount_micro: available,
            reason: GrantReason::Initial,
        };
        draft.push(by, granted);
    }
    let reply = Reply::Done {
        seq: state.head.next(),
        repeated: false,
        available,
    };
    draft.replying(reply)
}

fn top_up(state: &State, by: Actor, request: String, amount: Credits) -> Decided {
    if request.is_empty() || request.len() > REQUEST_LIMIT {
        return Err(Refusal::RequestId);
    }
    if let Some(known) = state.requests.iter().find(|known| known.request == request) {
        if known.amount != amount {
            let granted = known.amount;
            return Err(Refusal::IdempotencyConflict { request, granted });
        }
        let reply = Reply::Done {
            seq: known.seq,
            repeated: true,
            available: state.available(),
        };
        return Ok(Draft::new(state).replying(reply));
    }
    if amount.is_zero() {
        return Err(Refusal::Zero);
    }
    if state.granted.plus(amount) > Credits::MOST {
        let granted = state.granted;
        return Err(Refusal::TooMuch { amount, granted });
    }
    let mut draft = Draft::new(state);
    let granted = Granted {
        request,
        amount_micro: amount,
        reason: GrantReason::TopUp,
    };
    let seq = draft.push(by, granted);
    let reply = Reply::Done {
        seq,
        repeated: false,
        available: state.available().plus(amount),
    };
    Ok(draft.replying(reply))
}

fn admit(state: &State, session: StreamId) -> Decision<Event, Reply> {
    let draft = Draft::new(state);
    if state.has_credit() {
        return draft.replying(Reply::Admitted);
    }
    // The least that can be missing.
    deny(draft, session, Credits::from_micro(1))
}

/// Writes down that a session waits for credit, once.
fn deny(mut draft: Draft<'_>, session: StreamId, needed: Credits) -> Decision<Event, Reply> {
    let available = draft.available();
    let waits = draft
        .state
        .sessions
        .get(&session)
        .is_some_and(|line| line.waits.is_some());
    let is_waking = waits && draft.state.waking.values().any(|waking| *waking == session);
    if !waits || is_waking {
        let exhausted = Exhausted {
            session,
            needed_micro: needed,
            available_micro: available,
        };
        draft.push(Actor::RUNTIME, exhausted);
    }
    draft.replying(Reply::Denied(Shortage { needed, available }))
}

fn answer(state: &State, ask: Ask) -> Decision<Event, Reply> {
    let Ask {
        session,
        step,
        attempt,
        bound,
        budget,
        last,
    } = ask;
    let mut draft = Draft::new(state);
    let unknown = Line::default();
    let line = state.sessions.get(&session).unwrap_or(&unknown);
    let (mut hold, mut spent, mut settled_to) = (line.hold.as_ref(), line.spent, line.settled_to);
    if let (Some(open), Some(last)) = (hold, &last)
        && open.seq == last.hold
    {
        spent = spent.plus(draft.settle(session, open, last, false));
        settled_to = settled_to.max(open.step);
        hold = None;
    }
    let (prices, table) = state.prices_in_force();
    let needed = table.bound(&bound);
    if let Some(open) = hold {
        let known = (open.step, open.attempt);
        if known == (step, attempt) && open.bound == bound {
            let held = HeldFor {
                hold: open.seq,
                amount: open.amount,
                spent,
            };
            return draft.replying(Reply::Held(held));
        }
        if (step, attempt) < known {
            return draft.replying(Reply::Late);
        }
        draft.release(session, open, false);
    } else if step <= settled_to {
        return draft.replying(Reply::Late);
    }
    if budget.is_some_and(|budget| spent.plus(needed) > budget) {
        return draft.replying(Reply::OverBudget { spent, needed });
    }
    if needed > draft.available() {
        return deny(draft, session, needed);
    }
    let held = Held {
        session,
        step,
        attempt,
        amount_micro: needed,
        bound,
        prices,
    };
    if sabotage::is_on("forget-the-hold") {
        let held = HeldFor {
            hold: state.head,
            amount: needed,
            spent,
        };
        return draft.replying(Reply::Held(held));
    }
    let hold = draft.push(Actor::RUNTIME, held);
    draft.replying(Reply::Held(HeldFor {
        hold,
        amount: needed,
        spent,
    }))
}

fn audited(state: &State, findings: Vec<Finding>) -> Decision<Event, Reply> {
    let mut draft = Draft::new(state);
    let (mut seen, mut forgotten) = (BTreeSet::new(), Vec::new());
    for Finding {
        session,
        verdict,
        ended,
    } in findings
    {
        // The state does not know yet what this very frame says about a session.
        if !seen.insert(session) {
            continue;
        }
        let line = state.sessions.get(&session);
        let hold = line.and_then(|line| line.hold.as_ref());
        match (verdict, hold) {
            (Verdict::Settle(last), Some(hold)) if last.hold == hold.seq => {
                draft.settle(session, hold, &last, ended);
            }
            (Verdict::Release { hold: seq }, Some(hold)) if seq == hold.seq => {
                draft.release(session, hold, ended);
            }
            (Verdict::Forget, None) if ended && line.is_some() => forgotten.push(session),
            _ => {}
        }
    }
    if !forgotten.is_empty() {
        draft.push(Actor::RUNTIME, Forgot { sessions: forgotten });
    }
    draft.done()
}

fn resumed(state: &State, session: StreamId, since: Seq) -> Decision<Event, Reply> {
    let mut draft = Draft::new(state);
    let waits = state.sessions.get(&session).and_then(|line| line.waits);
    if waits == Some(since) {
        draft.push(Actor::RUNTIME, WaitEnded { session });
    }
    draft.done()
}
