//! What actors add to a durable append: one stream's decisions, and whole steps of sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_actors::{
    Decision, DecodeError, Entity, Moment, NoWorld, Options, Placed, Ports, Registry, SendError, System,
    SystemClock, SystemOptions,
};
use longhaul_journal::{Journal, Level, LocalJournal, NewRecord, Record, Standing, StreamId};
use serde::{Deserialize, Serialize};

use crate::append;
use crate::load::Measured;
use crate::plan::{Failure, Plan};
use crate::row::Row;
use crate::virtually::{Host, Mind, Virtual};

const CALLERS: usize = 64;

/// Decisions of one stream.
pub(crate) fn decide(plan: &Plan) -> Result<(), Failure> {
    beside_appends(plan, || block_on(decisions(plan)))
}

/// Prints a run of 64 callers beside as many plain appends.
fn beside_appends(plan: &Plan, run: impl Fn() -> Result<Measured, Failure>) -> Result<(), Failure> {
    let (median, yard) = in_turns(plan, CALLERS, run, |measured| measured.rate)?;
    Row::new(plan)
        .measured(CALLERS, &median)
        .number("yardstick_per_s", yard.rate, 0)
        .number("ratio", median.rate / yard.rate, 2)
        .with("yardstick", "append at 64")
        .print(plan);
    Ok(())
}

/// Takes turns with plain appends; the pair with the median ratio counts.
fn in_turns<T>(
    plan: &Plan,
    waiting: usize,
    run: impl Fn() -> Result<T, Failure>,
    rate: impl Fn(&T) -> f64,
) -> Result<(T, Measured), Failure> {
    let mut pairs = Vec::new();
    for _ in 0..plan.rounds {
        pairs.push((run()?, append::rate(plan, waiting)?));
    }
    pairs.sort_by(|one, other| (rate(&one.0) / one.1.rate).total_cmp(&(rate(&other.0) / other.1.rate)));
    Ok(pairs.swap_remove(pairs.len() / 2))
}

async fn decisions(plan: &Plan) -> Result<Measured, Failure> {
    let folder = plan.folder().join("decide");
    let (journal, _) = LocalJournal::open(&folder, longhaul_journal::Options::default())?;
    let journal = Arc::new(journal);
    let system = System::start(SystemOptions::default())?;
    let ports = Ports {
        journal: Arc::clone(&journal) as Arc<dyn Journal>,
        clock: Arc::new(SystemClock::new()),
        world: Arc::new(NoWorld),
    };
    let tallies = Registry::<Tally>::open(&system, ports, Options::default());
    let stream = StreamId::unnamed();
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(call(tallies.clone(), stream, begun + plan.time)))
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    let measured = Measured::new(took, begun.elapsed());
    tallies.close().await;
    system.close().await;
    journal.close();
    std::fs::remove_dir_all(&folder)?;
    Ok(measured)
}

async fn call(
    tallies: Registry<Tally>,
    stream: StreamId,
    end: Instant,
) -> Result<Vec<Duration>, SendError<Never>> {
    let mut took = Vec::new();
    while Instant::now() < end {
        let since = Instant::now();
        tallies.send(stream, Count).await?;
        took.push(since.elapsed());
    }
    Ok(took)
}

/// Pairs of a hold and its settlement on one account, 64 sessions asking at the same time. A pair is one message, as it is
/// between two steps: the last step is settled, and the next one held for.
pub(crate) fn credits(plan: &Plan) -> Result<(), Failure> {
    beside_appends(plan, || block_on(charges(plan)))
}

async fn charges(plan: &Plan) -> Result<Measured, Failure> {
    let folder = plan.folder().join("credits");
    let world = Virtual::new(Mind::Busy {
        calls: 1,
        until_step: 1,
    });
    let host = Host::open_with(&folder, &world, Options::default(), true)?;
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS as u64)
        .map(|number| tokio::spawn(host.charge(number, begun + plan.time)))
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await??);
    }
    let measured = Measured::new(took, begun.elapsed());
    host.close().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(measured)
}

/// Steps of 64 sessions whose brain and hands take no time.
pub(crate) fn steps(plan: &Plan) -> Result<(), Failure> {
    measure_steps(plan, false)
}

/// The same steps, each with a hold on one account that all of them share.
pub(crate) fn steps_charged(plan: &Plan) -> Result<(), Failure> {
    measure_steps(plan, true)
}

fn measure_steps(plan: &Plan, charged: bool) -> Result<(), Failure> {
    let sessions = plan.count.unwrap_or(64);
    let run = || block_on(stepping(plan, sessions, charged));
    let (median, appends) = in_turns(plan, 64, run, |measured| measured.rate)?;
    // Each step is two frames: that it begins, and what became of it.
    let yard = appends.rate / 2.0;
    Row::new(plan)
        .measured(usize::try_from(sessions)?, &median)
        .number("yardstick_per_s", yard, 0)
        .number("ratio", median.rate / yard, 2)
        .with("yardstick", "half of append at 64")
        .print(plan);
    Ok(())
}

async fn stepping(plan: &Plan, sessions: u64, charged: bool) -> Result<Measured, Failure> {
    let folder = plan.folder().join("steps");
    let mind = Mind::Busy {
        calls: 16,
        until_step: u64::MAX,
    };
    let world = Virtual::timed(mind);
    let host = Host::open_with(&folder, &world, Options::default(), charged)?;
    for number in 0..sessions {
        host.start(number).await?;
    }
    world.until_asked(sessions).await;
    // What came before was the way up.
    world.laps();
    let begun = Instant::now();
    tokio::time::sleep(plan.time).await;
    let measured = Measured::new(world.laps(), begun.elapsed());
    host.close().await?;
    std::fs::remove_dir_all(&folder)?;
    Ok(measured)
}

/// Runs on threads like those of the product.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Counts; its records are as long as the events of the other benches.
pub(crate) enum Tally {}

#[derive(Debug)]
pub(crate) struct Count;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) total: u64,
    pub(crate) why: String,
}

#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Never {}

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
            events: vec![Counted {
                total,
                why: "x".repeat(220),
            }],
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
            payload: serde_json::to_vec(event).expect("a number and a text are always JSON"),
        }
    }

    fn decode(record: &Record) -> Result<Counted, DecodeError> {
        serde_json::from_slice(&record.event.payload).map_err(|error| DecodeError::Payload {
            type_name: record.event.type_name.to_string(),
            reason: error.to_string(),
        })
    }
}
