//! Prints how many decisions one stream takes in a second, when 64 callers each wait for their own.
//!
//! `cargo run --release -p longhaul-actors --example decide_rate [DIRECTORY] [SECONDS]`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_actors::{
    Decision, DecodeError, Entity, Moment, NoWorld, Options, Placed, Ports, Registry, SendError, System,
    SystemClock, SystemOptions,
};
use longhaul_journal::{Journal, Level, LocalJournal, NewRecord, Record, Standing, StreamId};
use serde::{Deserialize, Serialize};

const CALLERS: usize = 64;

enum Tally {}

#[derive(Debug)]
struct Count;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Counted {
    total: u64,
}

#[derive(Clone, Debug, thiserror::Error)]
enum Never {}

impl Entity for Tally {
    const KIND: &'static str = "tally";
    const FOLD_VERSION: u32 = 1;

    type State = u64;
    type Command = Count;
    type Event = Counted;
    type Reply = u64;
    type Refusal = Never;
    type Effect = std::convert::Infallible;

    fn decide(total: &u64, _: Count, _: Moment) -> Result<Decision<Counted, u64>, Never> {
        let total = total + 1;
        Ok(Decision {
            events: vec![Counted { total }],
            reply: total,
        })
    }

    fn apply(total: &mut u64, placed: Placed<'_, Counted>) {
        *total = placed.event.total;
    }

    fn standing(_: &u64) -> Standing {
        Standing::Done
    }

    fn encode(event: &Counted) -> NewRecord {
        NewRecord {
            type_name: "tally.counted".into(),
            type_version: 1,
            cause: None,
            level: Level::Progress,
            payload: serde_json::to_vec(event).expect("a number is always JSON"),
        }
    }

    fn decode(record: &Record) -> Result<Counted, DecodeError> {
        serde_json::from_slice(&record.event.payload).map_err(|error| DecodeError::Payload {
            type_name: record.event.type_name.to_string(),
            reason: error.to_string(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let folder = folder.join(format!("decide-rate-{}", std::process::id()));
    let (journal, _report) = LocalJournal::open(&folder, longhaul_journal::Options::default())?;
    let journal = Arc::new(journal);
    let system = System::start(SystemOptions::default())?;
    let ports = Ports {
        journal: Arc::clone(&journal) as Arc<dyn Journal>,
        clock: Arc::new(SystemClock::new()),
        world: Arc::new(NoWorld),
    };
    let tallies = Registry::<Tally>::open(&system, ports, Options::default());

    let stream = StreamId::unnamed();
    let end = Instant::now() + Duration::from_secs(seconds);
    let callers = (0..CALLERS).map(|_| tokio::spawn(call(tallies.clone(), stream, end)));
    let mut latencies = Vec::new();
    for caller in callers.collect::<Vec<_>>() {
        latencies.extend(caller.await??);
    }
    latencies.sort_unstable();
    let at = |permille: usize| {
        latencies
            .get(latencies.len() * permille / 1000)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{} decisions/s on one stream, {CALLERS} callers, p50 {:?}, p99 {:?}, p999 {:?}",
        latencies.len() as u64 / seconds,
        at(500),
        at(990),
        at(999),
    );

    tallies.close().await;
    system.close().await;
    journal.close();
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

async fn call(
    tallies: Registry<Tally>,
    stream: StreamId,
    end: Instant,
) -> Result<Vec<Duration>, SendError<Never>> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        tallies.send(stream, Count).await?;
        latencies.push(start.elapsed());
    }
    Ok(latencies)
}
