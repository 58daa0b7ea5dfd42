//! An entity of one's own: a counter that reminds, over a journal in a directory.
//!
//! `cargo run -p longhaul-actors --example counter [DIRECTORY]`
//!
//! Run it twice in one directory: the second run goes on where the first ended, and a reminder that came due in between
//! rings at once. Kill it while it waits: nothing that was answered is lost.

use std::convert::Infallible;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use longhaul_actors::ports::Clock;
use longhaul_actors::{
    Decision, DecodeError, Entity, Moment, NoWorld, Options, Placed, Ports, Registry, System, SystemClock,
    SystemOptions,
};
use longhaul_journal::{Journal, Level, LocalJournal, NewRecord, Record, Seq, Standing, StreamId};
use serde::{Deserialize, Serialize};

/// The rules. It has no values: an entity is its functions.
enum Counter {}

/// Wishes.
#[derive(Debug)]
enum Wish {
    Add(u64),
    RemindIn {
        ms: u64,
    },
    /// The host sends this one when the reminder is due.
    Ring,
}

/// Facts. These are what is stored, so their shape is a promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Added { by: u64 },
    ReminderSet { at_ms: u64 },
    Reminded { total: u64 },
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    total: u64,
    remind_at_ms: Option<u64>,
    reminded: u32,
}

/// A wish denied.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{total} and {by} are more than can be counted; add less")]
struct TooMuch {
    total: u64,
    by: u64,
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    const FOLD_VERSION: u32 = 1;

    type State = State;
    type Command = Wish;
    type Event = Fact;
    type Reply = u64;
    type Refusal = TooMuch;
    type Effect = Infallible;

    fn decide(state: &State, wish: Wish, moment: Moment) -> Result<Decision<Fact, u64>, TooMuch> {
        let total = state.total;
        let (fact, reply) = match wish {
            Wish::Add(by) => {
                let reply = total.checked_add(by).ok_or(TooMuch { total, by })?;
                (Fact::Added { by }, reply)
            }
            Wish::RemindIn { ms } => {
                let at_ms = moment.now_ms.saturating_add(ms);
                (Fact::ReminderSet { at_ms }, total)
            }
            Wish::Ring => (Fact::Reminded { total }, total),
        };
        Ok(Decision {
            events: vec![fact],
            reply,
        })
    }

    fn apply(state: &mut State, placed: Placed<'_, Fact>) {
        match placed.event {
            Fact::Added { by } => state.total += by,
            Fact::ReminderSet { at_ms } => state.remind_at_ms = Some(*at_ms),
            Fact::Reminded { .. } => {
                state.remind_at_ms = None;
                state.reminded += 1;
            }
        }
    }

    fn standing(state: &State) -> Standing {
        state
            .remind_at_ms
            .map_or(Standing::Waits("wish".into()), Standing::Until)
    }

    fn due(state: &State) -> Option<u64> {
        state.remind_at_ms
    }

    fn alarm(_: &State) -> Option<Wish> {
        Some(Wish::Ring)
    }

    fn encode(fact: &Fact) -> NewRecord {
        let type_name = match fact {
            Fact::Added { .. } => "counter.added",
            Fact::ReminderSet { .. } => "counter.reminder_set",
            Fact::Reminded { .. } => "counter.reminded",
        };
        NewRecord {
            type_name: type_name.into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: serde_json::to_vec(fact).expect("numbers are always JSON"),
        }
    }

    fn decode(record: &Record) -> Result<Fact, DecodeError> {
        serde_json::from_slice(&record.event.payload).map_err(|error| DecodeError::Payload {
            type_name: record.event.type_name.to_string(),
            reason: error.to_string(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .map_or_else(|| std::env::temp_dir().join("longhaul-counter"), PathBuf::from);
    let (journal, _report) = LocalJournal::open(&folder, longhaul_journal::Options::default())?;
    let journal = Arc::new(journal);
    let clock = Arc::new(SystemClock::new());
    let system = System::start(SystemOptions::default())?;
    let ports = Ports {
        journal: Arc::clone(&journal) as Arc<dyn Journal>,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        world: Arc::new(NoWorld),
    };
    let counters = Registry::<Counter>::open(&system, ports, Options::default());

    // A name is an address: the same stream in every run.
    let stream = StreamId::named("counter", "local", "example");
    let total = counters.send(stream, Wish::Add(1)).await?;
    println!("counted to {total}; this is on disk now");
    counters.send(stream, Wish::RemindIn { ms: 2_000 }).await?;
    println!("a reminder is set; kill this process and start it again, if you like");

    let set = counters.query(stream, |_, seq| seq).await?;
    let mut head = journal.watch(stream);
    head.wait_for(|head| *head > set).await?;
    let (state, seq): (State, Seq) = counters.query(stream, |state, seq| (state.clone(), seq)).await?;
    println!(
        "reminded {} times so far, at record {seq}: {state:?}",
        state.reminded
    );

    counters.close().await;
    system.close().await;
    journal.close();
    Ok(())
}
