//! Many sessions: at work when the process is killed, or asleep.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use longhaul_actors::session::{Actor, Command, SendMode};
use longhaul_actors::{Mode, Options};
use longhaul_tests::dice::Dice;

use crate::actors::block_on;
use crate::kit::{disk_bytes, killed_when_ready, play, resident_bytes, tell};
use crate::load::Measured;
use crate::plan::{Failure, Plan};
use crate::row::Row;
use crate::virtually::{Host, Mind, Virtual, session};

/// Sessions that are steered.
const STEERED: u64 = 1_000;

/// All sessions at work again after a kill.
pub(crate) fn resume(plan: &Plan) -> Result<(), Failure> {
    let sessions = plan.count.unwrap_or(1_000);
    let folder = plan.folder().join("resume");
    killed_when_ready("work", &folder, sessions)?;
    let mut resumed = Vec::new();
    for _ in 0..plan.rounds {
        resumed.push(killed_when_ready("work-again", &folder, sessions)?);
    }
    resumed.sort_by(|one, other| seconds(one, "resume_s").total_cmp(&seconds(other, "resume_s")));
    Row::new(plan)
        .with("sessions", sessions)
        .and(&resumed[resumed.len() / 2], &["open_s", "resume_s"])
        .print(plan);
    Ok(())
}

/// Starts sessions whose brain never answers, and waits to be killed.
pub(crate) fn work(folder: &Path, sessions: u64) -> Result<(), Failure> {
    block_on(async {
        let world = Virtual::new(Mind::Absorbed);
        let host = Host::open(folder, &world, Options::default())?;
        begin(&host, sessions).await?;
        world.until_asked(sessions).await;
        tell(serde_json::json!({ "working": sessions }))?;
        std::future::pending().await
    })
}

/// Opens the folder of a killed process, says when every session asks its brain again, and waits to be killed.
pub(crate) fn work_again(folder: &Path, sessions: u64) -> Result<(), Failure> {
    block_on(async {
        let begun = Instant::now();
        let world = Virtual::new(Mind::Absorbed);
        let _host = Host::open(folder, &world, Options::default())?;
        let open_s = begun.elapsed().as_secs_f64();
        world.until_asked(sessions).await;
        tell(serde_json::json!({ "open_s": open_s, "resume_s": begun.elapsed().as_secs_f64() }))?;
        std::future::pending().await
    })
}

/// Sleepers: made, killed, found again, steered.
pub(crate) fn sleepers(plan: &Plan) -> Result<(), Failure> {
    let sessions = plan.count.unwrap_or(1_000_000);
    let folder = plan.folder().join("sleepers");
    let made = killed_when_ready("sleep", &folder, sessions)?;
    let bytes = disk_bytes(&folder)?;
    let found = play("steer", &folder, sessions)?;
    Row::new(plan)
        .with("sessions", sessions)
        .and(&made, &["made_per_s", "records"])
        .with("disk_bytes", bytes)
        .and(
            &found,
            &[
                "boot_s",
                "frames_scanned",
                "resident_bytes",
                "steered",
                "p50_us",
                "p99_us",
                "resident_after_bytes",
            ],
        )
        .print(plan);
    Ok(())
}

/// Makes sessions that have nothing more to do, and waits to be killed.
pub(crate) fn sleep(folder: &Path, sessions: u64) -> Result<(), Failure> {
    block_on(async {
        let world = Virtual::new(Mind::Content);
        let mut options = Options::default();
        options.idle_after_ms = 200;
        let host = Host::open(folder, &world, options)?;
        let begun = Instant::now();
        begin(&host, sessions).await?;
        host.sessions.until_live(0).await;
        let records = match sessions.checked_sub(1) {
            Some(last) => {
                longhaul_journal::Journal::head(&*host.journal, session(last))?.map_or(0, |head| head.seq.0)
            }
            None => 0,
        };
        tell(serde_json::json!({
            "made_per_s": (sessions as f64 / begun.elapsed().as_secs_f64()).round(),
            "records": records,
        }))?;
        std::future::pending().await
    })
}

/// Boots over the sleepers of a killed process and talks to some of them.
pub(crate) fn steer(folder: &Path, sessions: u64) -> Result<(), Failure> {
    block_on(async {
        let begun = Instant::now();
        let world = Virtual::new(Mind::Content);
        let host = Host::open(folder, &world, Options::default())?;
        let boot_s = begun.elapsed().as_secs_f64();
        let resident = resident_bytes();
        let mut dice = Dice::of(1);
        let mut took = Vec::new();
        let steering = Instant::now();
        for _ in 0..STEERED.min(sessions) {
            let stream = session(dice.below(sessions));
            let message = Command::Send {
                by: Actor::human("bench"),
                text: "How far are you?".into(),
                mode: SendMode::Steer,
                idempotency_key: None,
            };
            let since = Instant::now();
            host.sessions.send(stream, message).await?;
            took.push(since.elapsed());
        }
        let steered = took.len();
        let measured = Measured::new(took, steering.elapsed());
        tell(serde_json::json!({
            "boot_s": boot_s,
            "frames_scanned": host.found.frames_scanned,
            "resident_bytes": resident,
            "steered": steered,
            "p50_us": measured.p50_us.round(),
            "p99_us": measured.p99_us.round(),
            "resident_after_bytes": resident_bytes(),
        }))?;
        host.close().await
    })
}

/// Memory of live sessions at rest.
pub(crate) fn idle_actor(plan: &Plan) -> Result<(), Failure> {
    let sessions = plan.count.unwrap_or(20_000);
    let folder = plan.folder().join("idle");
    killed_when_ready("sleep", &folder, sessions)?;
    let found = play("wake-all", &folder, sessions)?;
    Row::new(plan)
        .with("sessions", sessions)
        .and(&found, &["bytes_per_actor", "woken_per_s"])
        .print(plan);
    Ok(())
}

/// Wakes every sleeper and says what each of them takes.
pub(crate) fn wake_all(folder: &Path, sessions: u64) -> Result<(), Failure> {
    block_on(async {
        let world = Virtual::new(Mind::Content);
        let host = Host::open(folder, &world, Options::of(Mode::OnDemand))?;
        // What the journal does in the background after opening is not the actors'.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, begun) = (resident_bytes(), Instant::now());
        stream::iter(0..sessions)
            .map(|number| host.sessions.wake(session(number)))
            .buffer_unordered(64)
            .try_collect::<()>()
            .await?;
        let elapsed = begun.elapsed();
        let grown = resident_bytes().saturating_sub(before);
        tell(serde_json::json!({
            "bytes_per_actor": grown / sessions.max(1),
            "woken_per_s": (sessions as f64 / elapsed.as_secs_f64()).round(),
        }))?;
        host.close().await
    })
}

async fn begin(host: &Host, sessions: u64) -> Result<(), Failure> {
    stream::iter(0..sessions)
        .map(|number| host.start(number))
        .buffer_unordered(256)
        .try_for_each(|_| async { Ok(()) })
        .await
}

fn seconds(found: &serde_json::Map<String, serde_json::Value>, name: &str) -> f64 {
    found
        .get(name)
        .and_then(serde_json::Value::as_f64)
        .unwrap_or(f64::NAN)
}
