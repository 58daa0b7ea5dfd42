//! An account without a runtime: commands go in, records come out, and the ledger is checked after each of them.

use std::collections::{BTreeMap, BTreeSet};

use longhaul_actors::account::{
    Account, Ask, Body, Bound, Command, Credits, Event, HeldFor, LastStep, Open, Refusal, Reply, State,
    over_gap,
};
use longhaul_actors::session::Actor;
use longhaul_actors::{Decision, Entity, Moment, Placed};
use longhaul_journal::{Record, Seq, Standing, StreamId};

/// So many records behind a snapshot make the next one due.
const SNAPSHOT_EVERY: usize = 32;

/// One account, its records, and what they add up to, counted without the fold that is under test.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) records: Vec<Record>,
    pub(crate) ledger: Ledger,
    /// A kept fold, and of how many records it is.
    snapshot: (Vec<u8>, usize),
    /// How many records there were when it was last taken up again.
    taken_up: usize,
}

/// What the records say.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    granted: u64,
    pub(crate) settled: u64,
    held: u64,
    open: BTreeMap<Seq, u64>,
    /// How each hold was closed: the charge, or nothing when it was released.
    pub(crate) closed: BTreeMap<Seq, Option<u64>>,
    requests: BTreeSet<String>,
    pub(crate) low: u32,
    pub(crate) exhausted: u32,
}

impl World {
    pub(crate) fn opened(initial: &str) -> Self {
        let mut world = Self::default();
        let open = Open {
            initial: credits(initial),
            ..Open::of_defaults()
        };
        world.send(Command::Open(Box::new(open))).expect("it is opened");
        world
    }

    /// Whether anything is to be written for this command.
    pub(crate) fn would_write(&self, command: &Command) -> bool {
        let decided = decide(&self.state, command.clone());
        decided.is_ok_and(|decision| !decision.events.is_empty())
    }

    /// Decides one command and folds what it led to, as the host does.
    pub(crate) fn send(&mut self, command: Command) -> Result<Reply, Refusal> {
        let decision = decide(&self.state, command)?;
        for event in &decision.events {
            self.append(self.state.head.next(), event);
        }
        // It lists whom it owes something; where they are thousands, a look at each crash has to do.
        if self.state.sessions.len() <= 100 {
            self.check();
        }
        Ok(decision.reply)
    }

    /// The records after a seq are lost, and the account is taken up behind them.
    pub(crate) fn repaired_after(&mut self, stands: Seq) {
        let highest = self.state.head;
        let records = std::mem::take(self).records;
        for record in records.iter().filter(|record| record.seq <= stands) {
            let event = Account::decode(record).expect("a stored record decodes");
            self.append(record.seq, &event);
        }
        let by = Actor::human("local");
        let events = over_gap(&self.state, highest, "a sector went bad".into(), by);
        for (event, seq) in events.iter().zip(highest.0 + 1..) {
            self.append(Seq(seq), event);
        }
        self.check();
    }

    fn append(&mut self, seq: Seq, event: &Event) {
        let record = Record {
            seq,
            time_ms: 1_000,
            event: Account::encode(event),
        };
        let decoded = Account::decode(&record).expect("what was encoded decodes");
        assert_eq!(&decoded, event, "a fact survives being stored");
        fold(&mut self.state, &record);
        self.ledger.see(record.seq, &event.body);
        self.records.push(record);
        self.check_sums();
    }

    /// B-CREDIT-2: what holds after every record, so for every prefix of the ledger.
    fn check_sums(&self) {
        let (state, ledger) = (&self.state, &self.ledger);
        assert_eq!(state.granted.micro(), ledger.granted);
        assert_eq!(state.settled.micro(), ledger.settled);
        assert_eq!(
            state.held.micro(),
            ledger.held,
            "what is held is the sum of the open holds"
        );
        assert_eq!(state.holds, ledger.open.len());
        assert_eq!(
            state.balance().micro(),
            ledger.granted - ledger.settled,
            "the balance is the sum of the ledger"
        );
    }

    /// What holds after every frame, besides.
    fn check(&self) {
        let state = &self.state;
        assert_eq!(
            Account::standing(state) == Standing::Owed,
            !Account::owed(state).is_empty(),
            "owed work and the standing agree"
        );
    }

    /// The server dies: only the records are left.
    pub(crate) fn crash(&mut self) {
        let mut state = State::default();
        for record in &self.records {
            fold(&mut state, record);
        }
        assert_eq!(state, self.state, "replay and life lead to the same fold");
        self.check();
        let thawed = thaw(&freeze(&state));
        assert_eq!(thawed, state, "a snapshot holds the whole fold");
        self.state = thawed;
    }

    /// The server, or the actor alone, dies: what is left is a snapshot and the records, and of these the ones behind the
    /// snapshot are folded, as they are when an actor is taken up. Where nothing was written since the last time, that
    /// would be the same work with the same result, and is left out.
    pub(crate) fn take_up(&mut self) {
        if self.taken_up == self.records.len() {
            return;
        }
        let (kept, of) = &self.snapshot;
        let mut state = if *of == 0 { State::default() } else { thaw(kept) };
        for record in &self.records[*of..] {
            fold(&mut state, record);
        }
        assert_eq!(
            state, self.state,
            "a snapshot, replay and life lead to the same fold"
        );
        self.taken_up = self.records.len();
        if self.taken_up - of >= SNAPSHOT_EVERY {
            self.snapshot = (freeze(&state), self.taken_up);
        }
        self.state = state;
    }

    /// How often somebody who waited was told of credit.
    pub(crate) fn woken(&self) -> usize {
        let told = self
            .records
            .iter()
            .filter(|record| record.event.type_name == "credits.resumed");
        told.count()
    }

    /// Whether credit is held under this seq.
    pub(crate) fn is_open(&self, hold: Seq) -> bool {
        self.ledger.open.contains_key(&hold)
    }

    pub(crate) fn top_up(&mut self, request: &str, amount: &str) -> Result<Reply, Refusal> {
        self.send(Command::TopUp {
            by: Actor::human("local"),
            request: request.into(),
            amount: credits(amount),
        })
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Reply {
        self.send(Command::Ask(Box::new(ask)))
            .expect("the account is there")
    }

    /// Asks for a step that may take this long, and expects to get it.
    pub(crate) fn held(
        &mut self,
        session: StreamId,
        step: u64,
        limit_ms: u64,
        last: Option<LastStep>,
    ) -> HeldFor {
        match self.ask(asks(session, step, limit_ms, last)) {
            Reply::Held(held) => held,
            other => panic!("{other:?}"),
        }
    }
}

impl Ledger {
    fn see(&mut self, seq: Seq, body: &Body) {
        match body {
            Body::Granted(granted) => {
                assert!(self.requests.insert(granted.request.clone()), "granted twice");
                self.granted += granted.amount_micro.micro();
            }
            Body::Held(held) => {
                self.held += held.amount_micro.micro();
                self.open.insert(seq, held.amount_micro.micro());
            }
            Body::Settled(settled) => {
                let held = self
                    .open
                    .remove(&settled.hold)
                    .expect("what is settled was held, and is settled once");
                let charge = settled.amount_micro.micro();
                assert!(charge <= held, "settling takes at most the hold");
                (self.held, self.settled) = (self.held - held, self.settled + charge);
                self.closed.insert(settled.hold, Some(charge));
            }
            Body::Released(released) => {
                let held = self
                    .open
                    .remove(&released.hold)
                    .expect("what is released was held");
                self.held -= held;
                self.closed.insert(released.hold, None);
            }
            Body::JournalGap(gap) => {
                for closed in &gap.closed {
                    let held = self.open.remove(&closed.hold);
                    let held = held.expect("what is charged was held, and is charged once");
                    assert_eq!(closed.amount_micro.micro(), held, "it is charged in full");
                    (self.held, self.settled) = (self.held - held, self.settled + held);
                    self.closed.insert(closed.hold, Some(held));
                }
                assert_eq!(gap.granted_micro.micro(), self.granted);
                assert_eq!(gap.settled_micro.micro(), self.settled);
            }
            Body::Low(_) => self.low += 1,
            Body::Exhausted(_) => self.exhausted += 1,
            Body::Opened(_)
            | Body::Configured(_)
            | Body::Adopted(_)
            | Body::Forgot(_)
            | Body::WaitEnded(_) => {}
        }
        assert!(
            self.settled + self.held <= self.granted,
            "more is settled and held than was granted"
        );
    }
}

fn decide(state: &State, command: Command) -> Result<Decision<Event, Reply>, Refusal> {
    Account::decide(state, command, Moment { now_ms: 1_000 })
}

fn freeze(state: &State) -> Vec<u8> {
    let config = bincode::config::standard();
    bincode::serde::encode_to_vec(state, config).expect("a fold fits in a snapshot")
}

fn thaw(snapshot: &[u8]) -> State {
    let config = bincode::config::standard();
    let (state, _) = bincode::serde::decode_from_slice(snapshot, config).expect("a snapshot is read back");
    state
}

fn fold(state: &mut State, record: &Record) {
    let event = Account::decode(record).expect("a stored record decodes");
    let placed = Placed {
        seq: record.seq,
        time_ms: record.time_ms,
        event: &event,
    };
    Account::apply(state, placed);
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().expect("an amount")
}

pub(crate) fn session(number: u64) -> StreamId {
    StreamId::from_bytes(u128::from(number + 1).to_be_bytes())
}

pub(crate) fn asks(session: StreamId, step: u64, limit_ms: u64, last: Option<LastStep>) -> Ask {
    Ask {
        session,
        step,
        attempt: Seq(step * 10),
        bound: Bound {
            limit_ms,
            ..Bound::default()
        },
        budget: None,
        last,
    }
}
