//! An entity of one's own: a counter that reminds, with everything longhaul gives to sessions: durability, supervision,
//! a durable timer, and the command line.
//!
//!     cargo run -p longhaul --example counter -- add 2
//!     cargo run -p longhaul --example counter -- remind 2000
//!     cargo run -p longhaul --example counter -- --data DIR journal inspect
//!     cargo run -p longhaul --example counter -- --data DIR replay STREAM --to 1
//!
//! Kill it while it waits and start it again: nothing that was answered is lost, and the reminder rings.

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use longhaul::actors::{Decision, DecodeError, Entity, Moment, NoWorld, Placed};
use longhaul::cli::Guest;
use longhaul::journal::{Level, NewRecord, Record, Standing, StreamId};
use longhaul::{Options, Runtime};
use serde::{Deserialize, Serialize};

/// The rules. It has no values: an entity is its functions.
#[derive(Debug)]
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

const USAGE: &str = "usage: counter [--data DIR] add N | remind MS | any verb of longhaul";

fn main() -> ExitCode {
    longhaul::intercept();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (data, verb) = match words.as_slice() {
        [flag, data, verb @ ..] if flag == "--data" => (PathBuf::from(data), verb),
        verb => (std::env::temp_dir().join("longhaul-counter"), verb),
    };
    let wish = match verb {
        [add, by] if add == "add" => by.parse().map(Wish::Add).ok(),
        [remind, ms] if remind == "remind" => ms.parse().map(|ms| Wish::RemindIn { ms }).ok(),
        // Everything else is the command line of longhaul, which now knows counters too.
        _ => return longhaul::cli::main_with(&[Guest::of::<Counter>()]),
    };
    match wish.map(|wish| run(&data, wish)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main]
async fn run(data: &Path, wish: Wish) -> Result<(), Box<dyn Error>> {
    // No command is run here, so any program will do as the shim; this one is.
    let runtime = Runtime::open(data, Options::default()).await?;
    let counters = runtime.host::<Counter>(Arc::new(NoWorld));
    // A name is an address: the same stream in every run.
    let stream = StreamId::named("counter", "local", "example");
    let reminds = matches!(wish, Wish::RemindIn { .. });
    let before = counters.query(stream, |state, _| state.reminded).await?;
    let total = counters.send(stream, wish).await?;
    println!("{total}, in stream {stream}; this is on disk now");
    // The reminder is durable: killed while it waits, the next run rings it, at once when it has come due meanwhile.
    while reminds && counters.query(stream, |state, _| state.reminded).await? == before {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let reminded = counters.query(stream, |state, _| state.reminded).await?;
    println!("reminded {reminded} times so far");
    runtime.close().await;
    Ok(())
}
