//! Thousands of sessions on shared accounts, in random order: messages are repeated, overtake each other, come late or
//! get lost; steps end within their bound or beyond it; sessions rest, end and are forgotten; servers crash.

use std::collections::BTreeMap;

use longhaul_actors::account::{
    Ask, Bound, Command, Credits, Finding, HeldFor, LastStep, Refusal, Reply, Used, Verdict,
};
use longhaul_actors::session::Actor;
use longhaul_journal::{Seq, StreamId};

use crate::world::{World, session};

/// Active milliseconds that cost a micro-credit, by the table of the defaults.
const MS_OF_A_MICRO: u64 = 300;

/// A session as an account sees it: a log that names the hold of each step.
#[derive(Clone, Debug)]
struct Model {
    id: StreamId,
    account: usize,
    /// Steps begun.
    steps: u64,
    /// The record since which it waits for the next.
    attempt: u64,
    /// The present or last step.
    last: Option<(HeldFor, Used, bool)>,
    rests: bool,
    ended: bool,
    /// Holds that its log names, and what was used under each.
    named: BTreeMap<Seq, (HeldFor, Used)>,
    limit_ms: u64,
    /// What it may cost in all.
    budget: Option<Credits>,
}

impl Model {
    fn is_open(&self) -> bool {
        matches!(self.last, Some((_, _, false)))
    }

    fn ask(&self) -> Ask {
        let last = self.last.filter(|(_, _, ended)| *ended);
        Ask {
            session: self.id,
            step: self.steps + 1,
            attempt: Seq(self.attempt),
            bound: Bound {
                limit_ms: self.limit_ms,
                ..Bound::default()
            },
            budget: self.budget,
            last: last.map(|(held, used, _)| LastStep {
                hold: held.hold,
                used,
            }),
        }
    }

    /// What its log says about a hold, as `session::finding` has it.
    fn finding(&self, hold: Seq, step: u64, attempt: Seq) -> Option<Finding> {
        let verdict = match self.last {
            Some((held, _, false)) if held.hold == hold => return None,
            Some((held, used, true)) if held.hold == hold => Verdict::Settle(LastStep { hold, used }),
            _ => {
                let waits = !self.ended && !self.rests && !self.is_open();
                if waits && self.steps + 1 == step && Seq(self.attempt) == attempt {
                    return None;
                }
                Verdict::Release { hold }
            }
        };
        Some(Finding {
            session: self.id,
            verdict,
            ended: self.ended,
        })
    }
}

/// A message under way.
#[derive(Clone, Debug)]
enum Mail {
    Ask(usize, Box<Ask>),
    Reply(usize, Seq, u64, HeldFor),
    Audit(usize, Vec<Finding>),
    TopUp(usize, String, u64),
}

struct Sea {
    dice: Dice,
    accounts: Vec<World>,
    models: Vec<Model>,
    mail: Vec<Mail>,
    top_ups: u64,
}

impl Sea {
    fn new(seed: u64, (accounts, initial): (usize, &str), sessions: u64) -> Self {
        let mut dice = Dice(seed | 1);
        let models = (0..sessions).map(|number| Model {
            id: session(number),
            account: dice.index(accounts),
            steps: 0,
            attempt: 1,
            last: None,
            rests: false,
            ended: false,
            named: BTreeMap::new(),
            limit_ms: 1 + dice.below(200_000),
            // One in three.
            budget: (dice.below(3) == 0).then(|| Credits::from_micro(1 + dice.below(2_000))),
        });
        let models = models.collect();
        Self {
            dice,
            accounts: (0..accounts).map(|_| World::opened(initial)).collect(),
            models,
            mail: Vec::new(),
            top_ups: 0,
        }
    }

    /// One thing happens somewhere.
    fn happen(&mut self) {
        let index = self.dice.index(self.models.len());
        match self.dice.below(100) {
            0..40 => self.session_moves(index),
            40..90 => self.deliver(),
            90..95 => self.audit(index),
            95..97 => {
                let account = self.dice.index(self.accounts.len());
                // One in three repeats an earlier request. Never enough for everybody, so that an account is mostly near its end.
                self.top_ups += u64::from(self.dice.below(3) > 0);
                let request = format!("top-up-{}", self.top_ups);
                self.mail
                    .push(Mail::TopUp(account, request, 1 + self.top_ups % 200));
            }
            97..98 => {
                let account = self.dice.index(self.accounts.len());
                self.wake(account);
            }
            _ => {
                let lost = self.dice.index(self.mail.len() + 1);
                self.mail.truncate(lost.max(self.mail.len().saturating_sub(3)));
            }
        }
    }

    fn session_moves(&mut self, index: usize) {
        let chance = self.dice.below(100);
        let model = &mut self.models[index];
        if model.ended {
            return;
        }
        if model.is_open() {
            if let Some((held, used, ended)) = &mut model.last {
                // Now and then it takes longer than it was held for.
                used.active_ms = if chance < 10 {
                    model.limit_ms * 3
                } else {
                    model.limit_ms * chance / 100
                };
                used.unknown = chance == 50;
                *ended = true;
                model.named.insert(held.hold, (*held, *used));
                model.attempt += 2;
            }
            return;
        }
        match chance {
            0..4 => model.ended = true,
            4..14 => {
                model.rests = !model.rests;
                model.attempt += 1;
            }
            _ if model.rests => {}
            _ => {
                let mail = Mail::Ask(index, Box::new(model.ask()));
                // A crash of the session makes it ask again.
                for _ in 0..=(chance % 3) {
                    self.mail.push(mail.clone());
                }
            }
        }
    }

    fn deliver(&mut self) {
        if self.mail.is_empty() {
            return;
        }
        let at = self.dice.index(self.mail.len());
        // Some stay under way and come once more.
        let mail = if self.dice.below(10) == 0 {
            self.mail[at].clone()
        } else {
            self.mail.swap_remove(at)
        };
        match mail {
            Mail::Ask(index, ask) => {
                let (step, attempt) = (ask.step, ask.attempt);
                let account = self.models[index].account;
                let reply = self.accounts[account].ask(*ask);
                if let Reply::Held(held) = reply {
                    self.mail.push(Mail::Reply(index, attempt, step, held));
                }
            }
            Mail::Reply(index, attempt, step, held) => {
                let model = &mut self.models[index];
                let waits = !model.ended && !model.rests && !model.is_open();
                if waits && model.steps + 1 == step && Seq(model.attempt) == attempt {
                    assert!(
                        self.accounts[model.account].is_open(held.hold),
                        "it starts with a hold that is none"
                    );
                    (model.steps, model.last) = (step, Some((held, Used::default(), false)));
                }
            }
            Mail::Audit(account, findings) => {
                let audited = self.accounts[account].send(Command::Audited(findings));
                audited.expect("the account is there");
            }
            Mail::TopUp(account, request, micro) => {
                let top_up = Command::TopUp {
                    by: Actor::human("local"),
                    request,
                    amount: Credits::from_micro(micro),
                };
                let answered = self.accounts[account].send(top_up);
                assert!(matches!(
                    answered,
                    Ok(_) | Err(Refusal::IdempotencyConflict { .. })
                ));
            }
        }
    }

    /// Those who waited for credit are told that there is some.
    fn wake(&mut self, account: usize) {
        let world = &mut self.accounts[account];
        let waking: Vec<_> = world
            .state
            .waking
            .iter()
            .map(|(since, session)| (*since, *session))
            .collect();
        for (since, session) in waking {
            world
                .send(Command::Resumed { session, since })
                .expect("the account is there");
        }
    }

    /// An audit looks at one session now, and is heard of later.
    fn audit(&mut self, index: usize) {
        let model = &self.models[index];
        let line = self.accounts[model.account].state.sessions.get(&model.id);
        let Some(hold) = line.and_then(|line| line.hold.as_ref()) else {
            return;
        };
        if let Some(finding) = model.finding(hold.seq, hold.step, hold.attempt) {
            self.mail.push(Mail::Audit(model.account, vec![finding]));
        }
    }

    /// The server dies, and with it everything that was under way.
    fn crash(&mut self) {
        self.mail.clear();
        self.accounts.iter_mut().for_each(World::crash);
    }

    /// Lets everything come to its end, and looks whether each use was charged once.
    fn settle_all(&mut self) {
        while !self.mail.is_empty() {
            self.deliver();
        }
        for index in 0..self.models.len() {
            if self.models[index].is_open() {
                self.session_moves(index);
            }
            self.models[index].rests = true;
            self.audit(index);
            while !self.mail.is_empty() {
                self.deliver();
            }
        }
        for world in &self.accounts {
            assert_eq!(world.state.held, Credits::ZERO, "something is held for ever");
        }
        let mut charged = vec![0; self.accounts.len()];
        for model in &self.models {
            let mut spent = 0;
            for (hold, (held, used)) in &model.named {
                let closed = self.accounts[model.account].ledger.closed.get(hold);
                let charge = closed.copied().flatten().expect("each use is charged, once");
                // What other steps carried over to it may make up one micro-credit more.
                let cost = used.active_ms / MS_OF_A_MICRO;
                let (least, most) = (cost.min(held.amount.micro()), (cost + 1).min(held.amount.micro()));
                assert!(
                    (least..=most).contains(&charge),
                    "{charge} for {used:?} of {held:?}"
                );
                spent += charge;
            }
            let budget = model.budget.map_or(u64::MAX, Credits::micro);
            assert!(spent <= budget, "{spent} of a budget of {budget}");
            charged[model.account] += spent;
        }
        for (world, charged) in self.accounts.iter().zip(charged) {
            assert_eq!(world.ledger.settled, charged, "what was charged is what was used");
        }
    }
}

/// B-CREDIT-2, B-CREDIT-4, B-CREDIT-7: 10,000 sessions on four accounts, which crash every 20,000 actions.
#[test]
fn ten_thousand_sessions_never_spend_more_than_was_granted_and_pay_for_each_use_once() {
    let mut sea = Sea::new(seed(), (4, "0.1"), 10_000);
    for action in 1..=300_000 {
        sea.happen();
        if action % 20_000 == 0 {
            sea.crash();
        }
    }
    sea.settle_all();
    let at_work = sea.models.iter().filter(|model| model.steps > 0).count();
    let woken: usize = sea.accounts.iter().map(World::woken).sum();
    let denied: u32 = sea.accounts.iter().map(|world| world.ledger.exhausted).sum();
    println!("{at_work} sessions started a step, {denied} were denied one, {woken} were woken");
    assert!(at_work > 2_500, "only {at_work} sessions started a step");
    assert!(denied > 3_000, "only {denied} ran out of credit");
    assert!(woken > 1_000, "only {woken} heard of more");
    sea.crash();
}

/// B-CREDIT-2: the same story once for each of its boundaries, with a crash there; and once with a crash at every one.
#[test]
fn a_crash_at_any_boundary_neither_loses_nor_doubles_a_charge() {
    const ACTIONS: u64 = 300;
    let seed = seed();
    for boundary in 0..ACTIONS {
        let mut sea = Sea::new(seed, (2, "0.002"), 12);
        for action in 0..ACTIONS {
            sea.happen();
            if action == boundary {
                sea.crash();
            }
        }
        sea.settle_all();
    }
    let mut sea = Sea::new(seed, (2, "0.002"), 12);
    for _ in 0..10 * ACTIONS {
        sea.happen();
        // What is under way arrives all the same: the server was up again in time.
        sea.accounts.iter_mut().for_each(World::crash);
    }
    sea.settle_all();
}

/// The seed of this run, printed so that a failure can be repeated: `LONGHAUL_TEST_SEED`.
fn seed() -> u64 {
    let chosen = std::env::var("LONGHAUL_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = chosen.unwrap_or_else(|| {
        use std::hash::{BuildHasher, Hasher};
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    });
    println!("LONGHAUL_TEST_SEED={seed}");
    seed
}

/// xorshift64*
struct Dice(u64);

impl Dice {
    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}
