//! How fast states are built: from one long stream, and for sessions that somebody wakes.

use std::sync::Arc;
use std::time::Instant;

use longhaul_actors::{Entity, Mode, Options};
use longhaul_journal::{Draft, Journal, LocalJournal, Seq, StreamId};
use longhaul_snapshots::SnapshotStore;

use crate::actors::{Counted, Tally, block_on};
use crate::load::Measured;
use crate::plan::{Failure, Plan};
use crate::row::Row;
use crate::virtually::{Host, Mind, Virtual, session};

/// Sessions that are woken, one after the other.
const SESSIONS: u64 = 200;
/// Steps of each: about two records a step.
const STEPS: u64 = 495;

pub(crate) fn run(plan: &Plan) -> Result<(), Failure> {
    long_stream(plan)?;
    block_on(wakes(plan))
}

fn long_stream(plan: &Plan) -> Result<(), Failure> {
    let records = plan.count.unwrap_or(1_000_000);
    let folder = plan.folder().join("fold");
    let (journal, _) = LocalJournal::open(&folder, longhaul_journal::Options::default())?;
    let stream = StreamId::named("tally", "bench", "long");
    let epoch = journal.claim(stream);
    let mut receipts = std::collections::VecDeque::new();
    for total in 1..=records {
        let event = Counted {
            total,
            why: "x".repeat(220),
        };
        receipts.push_back(journal.submit(Draft {
            stream,
            kind: Tally::KIND.into(),
            epoch,
            expected: Seq(total - 1),
            time_ms: 1_764_000_000_000,
            standing: Tally::standing(&total),
            records: vec![Tally::encode(&event)],
        }));
        if receipts.len() >= 512
            && let Some(receipt) = receipts.pop_front()
        {
            receipt.wait()?;
        }
    }
    for receipt in receipts {
        receipt.wait()?;
    }
    let mut rates = Vec::new();
    for _ in 0..plan.rounds {
        let begun = Instant::now();
        let folded = longhaul_actors::fold::<Tally>(&journal, stream)?;
        if folded.state != records {
            return Err(format!("{} of {records} records were folded", folded.state).into());
        }
        rates.push(records as f64 / begun.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    Row::new(plan)
        .with("what", "long stream")
        .with("records", records)
        .number("rate_per_s", rates[rates.len() / 2], 0)
        .print(plan);
    journal.close();
    Ok(std::fs::remove_dir_all(&folder)?)
}

async fn wakes(plan: &Plan) -> Result<(), Failure> {
    let folder = plan.folder().join("wake");
    let kept = Arc::new(SnapshotStore::open(&plan.folder().join("snapshots")));
    let with = |snapshots: &Arc<SnapshotStore>| {
        let mut options = Options::of(Mode::OnDemand);
        options.snapshots = Arc::clone(snapshots);
        options
    };
    let mind = Mind::Busy {
        calls: 32,
        until_step: STEPS,
    };
    let world = Virtual::new(mind);
    let host = Host::open(&folder, &world, with(&kept))?;
    let mut records = 0;
    for number in 0..SESSIONS {
        let stream = host.start(number).await?;
        let mut moved = host.journal.watch(stream);
        loop {
            let resting = |state: &longhaul_actors::session::State, head: Seq| {
                (state.phase.name() == "idle").then_some(head.0)
            };
            if let Some(head) = host.sessions.query(stream, resting).await? {
                records = head;
                break;
            }
            moved.changed().await?;
        }
    }
    host.close().await?;
    for (what, snapshots) in [
        ("wake cold", Arc::new(SnapshotStore::disabled())),
        ("wake from a snapshot", kept),
    ] {
        let world = Virtual::new(Mind::Absorbed);
        let host = Host::open(&folder, &world, with(&snapshots))?;
        let (mut took, begun) = (Vec::new(), Instant::now());
        for number in 0..SESSIONS {
            let since = Instant::now();
            host.sessions.wake(session(number)).await?;
            took.push(since.elapsed());
        }
        let measured = Measured::new(took, begun.elapsed());
        Row::new(plan)
            .with("what", what)
            .with("records", records)
            .with("snapshots_used", snapshots.counters().used)
            .measured(1, &measured)
            .print(plan);
        host.close().await?;
    }
    Ok(())
}
