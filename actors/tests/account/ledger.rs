//! Thousands of sessions on shared accounts, in random order: messages are repeated, overtake each other, come late or
//! get lost; steps end within their bound or beyond it; sessions rest, end and are forgotten; servers crash.

use std::collections::BTreeMap;

use longhaul_actors::Entity;
use longhaul_actors::account::{
    Account, Ask, Body, Bound, Command, Credits, Finding, HeldFor, LastStep, Refusal, Reply, Used, Verdict,
};
use longhaul_actors::session::Actor;
use longhaul_journal::{Seq, StreamId};

use crate::seed::chosen_seed;
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
    /// Its server died right before the record that it wants to write; this time it is written.
    died: bool,
}

impl Model {
    fn is_open(&self) -> bool {
        matches!(self.last, Some((_, _, false)))
    }

    fn waits(&self) -> bool {
        !self.ended && !self.rests && !self.is_open()
    }

    fn waits_for(&self, step: u64, attempt: Seq) -> bool {
        self.waits() && self.steps + 1 == step && Seq(self.attempt) == attempt
    }

    /// It is taken up again, and says so in its log; the next step it waits for anew.
    fn take_up(&mut self) {
        if self.waits() {
            self.attempt += 2;
        }
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
                if self.waits_for(step, attempt) {
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

/// A message under way between an account and a session or a human.
#[derive(Clone, Debug)]
enum Mail {
    Ask(usize, Box<Ask>),
    Reply(usize, Seq, u64, HeldFor),
    Audit(Vec<Finding>),
    TopUp(String, u64),
}

struct Sea {
    dice: Dice,
    accounts: Vec<World>,
    models: Vec<Model>,
    /// By account.
    mail: Vec<Vec<Mail>>,
    top_ups: u64,
    /// Whether somebody dies on both sides of every frame.
    perilous: bool,
    deaths: Deaths,
}

/// How often somebody died at a frame, by the stream of the frame and the side of it.
#[derive(Clone, Copy, Debug, Default)]
struct Deaths {
    before_account: u64,
    after_account: u64,
    before_session: u64,
    after_session: u64,
    /// Of these, how many took the whole server with them.
    servers: u64,
}

impl Sea {
    fn new(seed: u64, (accounts, initial): (usize, &str), sessions: u64) -> Self {
        let mut dice = Dice(seed | 1);
        let models = (0..sessions).map(|number| Model {
            id: session(number),
            account: usize::try_from(number).expect("a usize") % accounts,
            steps: 0,
            attempt: 1,
            last: None,
            rests: false,
            ended: false,
            named: BTreeMap::new(),
            limit_ms: 1 + dice.below(200_000),
            // One in three.
            budget: (dice.below(3) == 0).then(|| Credits::from_micro(1 + dice.below(2_000))),
            died: false,
        });
        let models = models.collect();
        Self {
            dice,
            accounts: (0..accounts).map(|_| World::opened(initial)).collect(),
            models,
            mail: vec![Vec::new(); accounts],
            top_ups: 0,
            perilous: false,
            deaths: Deaths::default(),
        }
    }

    /// One thing happens somewhere.
    fn happen(&mut self) {
        let index = self.dice.index(self.models.len());
        match self.dice.below(100) {
            0..40 => self.session_moves(index),
            40..90 => {
                let account = self.dice.index(self.accounts.len());
                self.deliver(account);
            }
            90..95 => {
                self.audit(index);
            }
            95..97 => {
                let account = self.dice.index(self.accounts.len());
                // One in three repeats an earlier request. Never enough for everybody, so that an account is mostly near its end.
                self.top_ups += u64::from(self.dice.below(3) > 0);
                let request = format!("top-up-{}", self.top_ups);
                self.mail[account].push(Mail::TopUp(request, 1 + self.top_ups % 200));
            }
            97..98 => {
                let account = self.dice.index(self.accounts.len());
                self.wake(account);
            }
            _ => {
                let account = self.dice.index(self.accounts.len());
                let mail = &mut self.mail[account];
                let lost = self.dice.index(mail.len() + 1);
                mail.truncate(lost.max(mail.len().saturating_sub(3)));
            }
        }
    }

    fn session_moves(&mut self, index: usize) {
        let chance = self.dice.below(100);
        let model = &self.models[index];
        if model.ended {
            return;
        }
        if model.is_open() {
            self.session_writes(index, |model| {
                let Some((held, used, ended)) = &mut model.last else {
                    return;
                };
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
            });
            return;
        }
        match chance {
            0..4 => self.session_writes(index, |model| model.ended = true),
            4..14 => self.session_writes(index, |model| {
                model.rests = !model.rests;
                model.attempt += 1;
            }),
            _ if model.rests => {}
            _ => {
                let mail = Mail::Ask(index, Box::new(model.ask()));
                // A crash of the session makes it ask again.
                for _ in 0..=(chance % 3) {
                    self.mail[model.account].push(mail.clone());
                }
            }
        }
    }

    fn deliver(&mut self, account: usize) {
        if self.mail[account].is_empty() {
            return;
        }
        let at = self.dice.index(self.mail[account].len());
        // Some stay under way and come once more.
        let mail = if self.dice.below(10) == 0 {
            self.mail[account][at].clone()
        } else {
            self.mail[account].swap_remove(at)
        };
        match mail {
            Mail::Ask(index, ask) => {
                let (step, attempt) = (ask.step, ask.attempt);
                if let Some(Ok(Reply::Held(held))) = self.send(account, Command::Ask(ask)) {
                    self.mail[account].push(Mail::Reply(index, attempt, step, held));
                }
            }
            Mail::Reply(index, attempt, step, held) => {
                if self.models[index].waits_for(step, attempt) {
                    assert!(
                        self.accounts[account].is_open(held.hold),
                        "it starts with a hold that is none"
                    );
                    self.session_writes(index, |model| {
                        (model.steps, model.last) = (step, Some((held, Used::default(), false)));
                    });
                }
            }
            Mail::Audit(findings) => {
                self.send(account, Command::Audited(findings));
            }
            Mail::TopUp(request, micro) => {
                let top_up = Command::TopUp {
                    by: Actor::human("local"),
                    request,
                    amount: Credits::from_micro(micro),
                };
                self.send(account, top_up);
            }
        }
    }

    /// Sends a message to an account; nothing comes back when the server died over it.
    ///
    /// Where there is peril and a frame is to be written, somebody dies before it is, and again when it is durable and nobody
    /// was told. If only the actor dies, whoever sent the message lives and sends it again, as the desk does, and
    /// what comes of it then must be what was to come of it before.
    fn send(&mut self, account: usize, command: Command) -> Option<Result<Reply, Refusal>> {
        if !self.perilous || !self.accounts[account].would_write(&command) {
            return Some(self.tell(account, command));
        }
        self.deaths.before_account += 1;
        if self.dies(account) {
            return None;
        }
        let lost = self.tell(account, command.clone());
        let head = self.accounts[account].state.head;
        self.deaths.after_account += 1;
        if self.dies(account) {
            return None;
        }
        let asks = matches!(command, Command::Ask(_));
        let told = self.tell(account, command);
        assert_eq!(
            self.accounts[account].state.head, head,
            "a message that is sent again changes something"
        );
        assert!(!asks || told == lost, "{told:?} is said where {lost:?} was lost");
        Some(told)
    }

    /// Sends a message to an account, and holds what it writes for it against the logs of the sessions.
    fn tell(&mut self, account: usize, command: Command) -> Result<Reply, Refusal> {
        let world = &mut self.accounts[account];
        let before = world.records.len();
        let told = world.send(command);
        assert!(
            matches!(told, Ok(_) | Err(Refusal::IdempotencyConflict { .. })),
            "{told:?}"
        );
        for record in &world.records[before..] {
            match Account::decode(record).expect("it was just written").body {
                Body::Settled(settled) => {
                    let model = &self.models[number(settled.session)];
                    let named = model.named.get(&settled.hold);
                    let (_, used) = named.expect("only a use is charged that its log names");
                    assert_eq!(settled.used, *used, "what is charged is what was used");
                }
                Body::Released(released) => {
                    let Model { named, last, .. } = &self.models[number(released.session)];
                    let is_its = |(held, ..): &(HeldFor, Used, bool)| held.hold == released.hold;
                    assert!(
                        !named.contains_key(&released.hold) && !last.as_ref().is_some_and(is_its),
                        "what a step was started with is released"
                    );
                }
                _ => {}
            }
        }
        told
    }

    /// A session writes a record. Where there is peril it dies right before that, once; when the same comes about again it is
    /// written, and then it dies before anybody is told.
    fn session_writes(&mut self, index: usize, write: impl FnOnce(&mut Model)) {
        if !self.perilous {
            return write(&mut self.models[index]);
        }
        self.models[index].died = !self.models[index].died;
        if self.models[index].died {
            self.deaths.before_session += 1;
        } else {
            write(&mut self.models[index]);
            self.deaths.after_session += 1;
        }
        if !self.dies(self.models[index].account) {
            self.models[index].take_up();
        }
    }

    /// The actor that is about to write, or has written, dies, and sometimes the server with it: then all that was under way
    /// is lost, and each session that worked waits anew. Returns whether it was the server.
    ///
    /// The server of an account dies for this account and its sessions, which share nothing with others: what those see of such
    /// an end, the loss of what is under way, comes to them at their own frames.
    fn dies(&mut self, account: usize) -> bool {
        self.accounts[account].take_up();
        let server = self.dice.below(8) == 0;
        if server {
            self.deaths.servers += 1;
            self.mail[account].clear();
            let its = self.models.iter_mut().skip(account).step_by(self.accounts.len());
            its.for_each(Model::take_up);
        }
        server
    }

    /// Those who waited for credit are told that there is some.
    fn wake(&mut self, account: usize) {
        let waking = self.accounts[account].state.waking.clone();
        for (since, session) in waking {
            self.send(account, Command::Resumed { session, since });
        }
    }

    /// An audit looks at one session now, and is heard of later. Returns whether there was anything to look for.
    fn audit(&mut self, index: usize) -> bool {
        let model = &self.models[index];
        let line = self.accounts[model.account].state.sessions.get(&model.id);
        let Some(hold) = line.and_then(|line| line.hold.as_ref()) else {
            return false;
        };
        if let Some(finding) = model.finding(hold.seq, hold.step, hold.attempt) {
            self.mail[model.account].push(Mail::Audit(vec![finding]));
        }
        true
    }

    /// The server dies, and with it everything that was under way.
    fn crash(&mut self) {
        self.mail.iter_mut().for_each(Vec::clear);
        self.accounts.iter_mut().for_each(World::crash);
    }

    /// Until nothing is under way between this account and its sessions.
    fn deliver_all(&mut self, account: usize) {
        while !self.mail[account].is_empty() {
            self.deliver(account);
        }
    }

    /// Lets everything come to its end, and looks whether each use was charged once.
    fn settle_all(&mut self) {
        for account in 0..self.accounts.len() {
            self.deliver_all(account);
        }
        for index in 0..self.models.len() {
            while self.models[index].is_open() {
                self.session_moves(index);
            }
            self.models[index].rests = true;
            while self.audit(index) {
                self.deliver_all(self.models[index].account);
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
    let mut sea = Sea::new(chosen_seed(), (4, "0.1"), 10_000);
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

/// B-CREDIT-2, B-CREDIT-4, B-CREDIT-7: 10,000 sessions on accounts that fifty of them share, and a death on both sides of every
/// frame: right before it is written, and when it is durable and nobody was told.
///
/// At a frame of an account its actor dies, or the server (one in eight, see [`Sea::dies`]). Either way the account is taken up
/// from its snapshot and the records behind it, and must be what it was. Who sent the message to an actor that died sends it
/// again; nobody is left who would when the server died before the frame, so that each frame that is written was
/// preceded by the death of the actor alone, and followed by that of either. At a frame of a session, which is here nothing but what
/// an account sees of its log, the session dies or the server: before, and then the frame is not written until the same
/// comes about again; and after. Now and then all accounts are taken up together, from their first records.
///
/// The sums, each charge and each release are held after every record against what the records and the logs of the sessions
/// say, without the fold.
#[test]
fn ten_thousand_sessions_that_die_on_both_sides_of_every_frame_pay_for_each_use_once() {
    let mut sea = Sea::new(chosen_seed(), (200, "0.015"), 10_000);
    sea.perilous = true;
    for action in 1..=700_000 {
        sea.happen();
        if action % 100_000 == 0 {
            sea.crash();
        }
    }
    sea.settle_all();
    sea.crash();
    let deaths = sea.deaths;
    let at_work = sea.models.iter().filter(|model| model.steps > 0).count();
    let uses: usize = sea.models.iter().map(|model| model.named.len()).sum();
    let denied: u32 = sea.accounts.iter().map(|world| world.ledger.exhausted).sum();
    println!("{at_work} sessions made {uses} steps, {denied} times one was denied, {deaths:?}");
    assert!(at_work > 6_000, "only {at_work} sessions started a step");
    assert!(denied > 3_000, "only {denied} were denied");
}

/// B-CREDIT-2: the same story once for each of its boundaries, with a crash there; and once with a crash at every one.
#[test]
fn a_crash_at_any_boundary_neither_loses_nor_doubles_a_charge() {
    const ACTIONS: u64 = 300;
    let seed = chosen_seed();
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

/// Which session this is.
fn number(id: StreamId) -> usize {
    let number = u128::from_be_bytes(*id.as_bytes());
    usize::try_from(number - 1).expect("it was made of a number")
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
