//! What a session knows of its credit: the account it uses, its budget, and the hold of its last step.
//!
//! A step of a session with an account starts only with a hold, which its start record names (`hold`). Once the step has
//! ended the fold keeps what it used until the next hold, so that the next message to the account settles it. A session
//! that rests or has ended sends no such message: then the account reads it here ([`finding`]).

use longhaul_journal::{Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::Event;
use super::admission::{Candidate, candidate};
use super::apply::hands_in_a_patch;
use super::approval::Word;
use super::command::{Refusal, Reply};
use super::decide::{already, granted, resume};
use super::draft::Draft;
use super::event::{Actor, Body, HoldNamed, PauseReason, Paused, Resumed, Usage};
use super::follow::limit_of;
use super::perform::brain_name;
use super::state::{Ending, Phase, State};
use super::tool::{Patch, Tool};
use crate::account::{
    Account, Ask, Bound, Credits, Finding, HeldFor, Hold, LastStep, Shortage, Used, Verdict,
};
use crate::entity::Decision;

/// The account a session uses, and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The name of the account; it belongs to the owner of the session.
    pub account: String,
    /// What the session may cost in all, micro-credits; no bound of its own when absent.
    #[serde(default)]
    pub budget_micro: Option<Credits>,
}

/// What a session knows of its credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Its account; `None` when its work is not charged.
    pub terms: Option<Terms>,
    /// The last step that was started with a hold.
    pub last: Option<Metered>,
    /// What it had cost when its last step started.
    pub spent: Credits,
    /// Why it is paused and what to do about it, if that has to be said.
    pub why: String,
}

/// A step that was started with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// Seq of the hold in the stream of the account.
    pub hold: Seq,
    /// The step.
    pub step: u64,
    /// What it used so far.
    pub used: Used,
    /// Whether it has ended.
    pub ended: bool,
}

/// Why a session cannot pay for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfCredit {
    /// The account does not have it.
    Account(Shortage),
    /// The account lost records, and nobody knows what it has.
    Damaged,
    /// Its own budget does not have it.
    Budget {
        /// What it has cost so far.
        spent: Credits,
        /// What the next step may cost.
        needed: Credits,
    },
}

impl State {
    /// The stream of the account that the session uses, if its work is charged.
    pub fn account(&self) -> Option<StreamId> {
        let (origin, terms) = (self.origin.as_ref()?, self.money.terms.as_ref()?);
        Some(Account::stream(&origin.owner, &terms.account))
    }
}

/// What a session has to pay its next step with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purse {
    /// The stream of its account.
    pub account: StreamId,
    /// The step.
    pub step: u64,
    /// The record since which it waits to start the step.
    pub attempt: Seq,
    /// What the step may use.
    pub bound: Bound,
    /// What the session may cost in all.
    pub budget: Option<Credits>,
    /// The step before, which is settled in the same message.
    pub last: Option<LastStep>,
    /// Digest of the act that a human approved of, if that is what comes next.
    pub approved: Option<String>,
}

/// Credit that is held for one step of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldStep {
    /// The step.
    pub step: u64,
    /// The record since which it waited to start the step.
    pub attempt: Seq,
    /// What the hold covers.
    pub bound: Bound,
    /// The hold.
    pub held: HeldFor,
}

impl Purse {
    /// The question to the account.
    pub(super) fn ask(&self, session: StreamId) -> Ask {
        Ask {
            session,
            step: self.step,
            attempt: self.attempt,
            bound: self.bound.clone(),
            budget: self.budget,
            last: self.last,
        }
    }

    /// The answer, as a session takes it.
    pub(super) fn held(self, held: HeldFor) -> HeldStep {
        HeldStep {
            step: self.step,
            attempt: self.attempt,
            bound: self.bound,
            held,
        }
    }
}

/// What the next step is to be paid with; `None` when the work of the session is not charged, or no step comes next.
pub(super) fn purse(state: &State) -> Option<Purse> {
    let account = state.account()?;
    state.turn.as_ref()?;
    let approval = state.approval.as_ref();
    let approved = approval.filter(|approval| approval.answer == Some(Word::Approved));
    Some(Purse {
        account,
        step: state.steps + 1,
        attempt: attempt(state),
        bound: next_bound(state),
        budget: state.money.terms.as_ref()?.budget_micro,
        last: last_step(state),
        approved: approved.map(|approval| approval.digest.clone()),
    })
}

/// The act of the plan that comes next; none when a brain call does, or the patch at the end.
pub(super) fn next_act(state: &State) -> Option<Candidate> {
    candidate(state).filter(|_| !state.run_is_spent())
}

/// What the next step may use.
fn next_bound(state: &State) -> Bound {
    if let Some(act) = next_act(state) {
        return Bound {
            limit_ms: Tool::parse(&act.call).map_or(1, |tool| limit_of(state, &tool)),
            tool: Some(act.call.tool.clone()),
            ..Bound::default()
        };
    }
    let ends = state.turn.as_ref().and_then(|turn| turn.end.as_ref());
    let ends = state.run_is_spent() || ends.is_some_and(Ending::ends_the_run);
    if ends && hands_in_a_patch(state) {
        return Bound {
            limit_ms: limit_of(state, &Tool::Patch(Patch {})),
            tool: Some("patch".into()),
            ..Bound::default()
        };
    }
    Bound {
        limit_ms: call_limit(state),
        model: state.origin.as_ref().map(|origin| brain_name(&origin.brain)),
        ..Bound::default()
    }
}

/// Active milliseconds that a brain call may take.
pub(super) fn call_limit(state: &State) -> u64 {
    state.limits().brain_call_ms.min(state.remaining_ms()).max(1)
}

/// What the start record of the next step says of its hold: nothing where nothing is charged. `None`: it has to wait.
pub(super) fn take_hold(draft: &mut Draft) -> Option<Option<HoldNamed>> {
    if draft.state.account().is_none() {
        return Some(None);
    }
    let HeldStep {
        step,
        attempt: since,
        bound,
        held,
    } = draft.hold.take()?;
    let meant =
        step == draft.state.steps + 1 && since == attempt(&draft.state) && bound == next_bound(&draft.state);
    let named = HoldNamed {
        seq: held.hold,
        amount_micro: held.amount,
        spent_micro: held.spent,
    };
    meant.then_some(Some(named))
}

/// The record since which a session waits to start its next step: each resume makes it another one.
pub(super) fn attempt(state: &State) -> Seq {
    state.phase_since.max(state.settled)
}

/// The last step, once it has ended: its hold may be settled.
pub(super) fn last_step(state: &State) -> Option<LastStep> {
    let last = state.money.last.filter(|last| last.ended)?;
    Some(LastStep {
        hold: last.hold,
        used: last.used,
    })
}

/// What the log of a session says about a hold; `None` while it says nothing yet.
pub fn finding(state: &State, session: StreamId, hold: &Hold) -> Option<Finding> {
    let ended = state.phase.is_terminal();
    let verdict = match state.money.last {
        Some(last) if last.hold == hold.seq => Verdict::Settle(last_step(state)?),
        _ if waits_for(state, hold) => return None,
        _ => Verdict::Release { hold: hold.seq },
    };
    Some(Finding {
        session,
        verdict,
        ended,
    })
}

/// Whether the step may still be started with this hold.
fn waits_for(state: &State, hold: &Hold) -> bool {
    state.phase == Phase::Running
        && state.open.is_none()
        && state.steps + 1 == hold.step
        && attempt(state) == hold.attempt
}

/// Takes note of the hold that a step starts with.
pub(super) fn started(state: &mut State, step: u64, hold: Option<HoldNamed>) {
    let Some(HoldNamed { seq, spent_micro, .. }) = hold else {
        return;
    };
    state.money.spent = spent_micro;
    state.money.last = Some(Metered {
        hold: seq,
        step,
        used: Used::default(),
        ended: false,
    });
}

/// Takes note of what the open step used, also when it is lost to a crash and done again.
pub(super) fn spent(state: &mut State, usage: Usage) {
    if let Some(last) = state.money.last.as_mut().filter(|last| !last.ended) {
        let used = &mut last.used;
        used.active_ms = used.active_ms.saturating_add(usage.active_ms);
        used.input_tokens = used.input_tokens.saturating_add(usage.input_tokens);
        used.output_tokens = used.output_tokens.saturating_add(usage.output_tokens);
    }
}

/// Takes note that a step has ended, after what it used was noted.
pub(super) fn folded(state: &mut State, body: &Body) {
    // What was ended from outside, or by a crash, did not say what it used.
    let (step, unknown) = match body {
        Body::ModelCompleted(end) => (end.step, end.failure.is_some() && end.usage.active_ms == 0),
        Body::CommandRun(end) => (end.step, false),
        Body::FileWritten(end) => (end.step, false),
        Body::FileWasRead(end) => (end.step, false),
        Body::ToolCompleted(end) => (end.step, false),
        Body::ToolFailed(end) => (end.step, end.settled_by.is_some() && end.active_ms == 0),
        Body::ToolOutcomeUnknown(end) => (end.step, true),
        _ => return,
    };
    if let Some(last) = state.money.last.as_mut().filter(|last| last.step == step) {
        last.used.unknown |= unknown;
        last.ended = true;
    }
}

/// Whether this is a budget, and not the one that the session has.
pub(super) fn is_another_budget(state: &State, budget: Option<Credits>) -> bool {
    let terms = state.money.terms.as_ref();
    budget.is_some() && terms.is_some_and(|terms| terms.budget_micro != budget)
}

/// Takes note of a budget that was raised.
pub(super) fn resumed(state: &mut State, resumed: &Resumed) {
    state.money.why.clear();
    if let (Some(budget), Some(terms)) = (resumed.budget_micro, &mut state.money.terms) {
        terms.budget_micro = Some(budget);
    }
}

/// Rests where it is, between two steps or before it begins to work. What comes late changes nothing.
pub(super) fn out_of_credit(mut draft: Draft, why: OutOfCredit) -> Decision<Event, Reply> {
    let between = draft.state.phase == Phase::Running && draft.state.open.is_none();
    if !between && draft.state.phase != Phase::Queued {
        return already(&draft);
    }
    let account = draft
        .state
        .money
        .terms
        .as_ref()
        .map_or("", |terms| &terms.account);
    let (reason, detail) = match why {
        OutOfCredit::Account(Shortage { needed, available }) => (
            PauseReason::Credits,
            format!(
                "the account {account} has {available} credits left and the next step may cost {needed}; \
                 top it up: longhaul credits top-up AMOUNT"
            ),
        ),
        OutOfCredit::Damaged => (
            PauseReason::Credits,
            format!(
                "the account {account} lost records and holds no credit: longhaul journal verify names what is lost; \
                 restore a backup, or take it up again: longhaul journal repair account"
            ),
        ),
        OutOfCredit::Budget { spent, needed } => {
            let budget = draft
                .state
                .money
                .terms
                .as_ref()
                .and_then(|terms| terms.budget_micro);
            let budget = budget.unwrap_or_default();
            (
                PauseReason::Budget,
                format!(
                    "{spent} of the session's budget of {budget} credits is spent and the next step may cost {needed}; \
                     raise it: longhaul resume ID --budget AMOUNT"
                ),
            )
        }
    };
    draft.push(Actor::RUNTIME, None, Paused { reason, detail });
    granted(draft)
}

/// Goes on if it rests for lack of credit. What rests for another reason goes on resting.
pub(super) fn credit_is_back(draft: Draft) -> Result<Decision<Event, Reply>, Refusal> {
    let waits = matches!(
        draft.state.phase,
        Phase::Paused {
            reason: PauseReason::Credits,
            ..
        }
    );
    if !waits {
        return Ok(already(&draft));
    }
    resume(draft, Actor::RUNTIME, None)
}
