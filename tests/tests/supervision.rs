//! What dies is built anew from the last seq: an actor that panics, a brain that ends, a server that is killed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, join_all};
use longhaul::api::Start;
use longhaul_actors::ports::{AllowAll, Clock, EndlessSlots, FreeOfCharge, NoTasks};
use longhaul_actors::session::{Command, Mode, Session, SessionWorld};
use longhaul_actors::{Options, Ports, Registry, SendError, System, SystemClock, SystemOptions};
use longhaul_journal::{Journal, LocalJournal, Options as JournalOptions};
use longhaul_tests::child::Child;
use longhaul_tests::matrix::human::{Log, next_wish};
use longhaul_tests::matrix::life::session;
use longhaul_tests::matrix::outside::{Outside, VirtualHands, World};
use longhaul_tests::matrix::script::{Script, ScriptedBrain};
use longhaul_tests::{
    YIELDS, close, home, in_time, lines, log_until, of_type, open, playbook, shell_brain, start, types,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// A clock that panics once, in the thread of the actor that asks it next.
struct Mine {
    clock: SystemClock,
    is_armed: AtomicBool,
}

impl Clock for Mine {
    fn now_ms(&self) -> u64 {
        let in_an_actor = std::thread::current()
            .name()
            .is_none_or(|name| !name.starts_with("longhaul-effects"));
        if in_an_actor && self.is_armed.swap(false, Ordering::SeqCst) {
            panic!("the mine went off");
        }
        self.clock.now_ms()
    }

    fn mono_ms(&self) -> u64 {
        self.clock.mono_ms()
    }

    fn sleep_until(&self, wall_ms: u64) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(wall_ms)
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        self.clock.sleep(ms)
    }
}

/// B-CRASH-4: a panic in the actor of a session; the session goes on from its last seq, and says so.
#[tokio::test]
async fn a_session_whose_actor_panics_goes_on_from_its_last_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let (journal, _) = LocalJournal::open(folder.path(), JournalOptions::default()).expect("it opens");
    let journal: Arc<dyn Journal> = Arc::new(journal);
    let clock = Arc::new(Mine {
        clock: SystemClock::new(),
        is_armed: AtomicBool::new(false),
    });
    let outside = Outside::new(World::default());
    let system = System::start(SystemOptions::default()).expect("threads");
    let world = SessionWorld {
        journal: Arc::clone(&journal),
        brain: Arc::new(ScriptedBrain::new(Script::of_the_matrix(), outside.clone())),
        hands: Arc::new(VirtualHands::new(outside.clone(), Arc::clone(&journal))),
        gate: Arc::new(AllowAll),
        credit: Arc::new(FreeOfCharge),
        slots: Arc::new(EndlessSlots),
        suggestions: Arc::new(NoTasks),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
    };
    let ports = Ports {
        journal: Arc::clone(&journal),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        world: Arc::new(world),
    };
    let sessions = Registry::<Session>::open(&system, ports, Options::default());
    let mut moved = journal.watch(session());
    let mut panicked = false;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        moved.mark_unchanged();
        let log = Log::read(&*journal, session());
        if log.is_over() {
            break;
        }
        let story = || log.types().join("\n");
        assert!(Instant::now() < deadline, "not over after a minute:\n{}", story());
        let Some(wish) = next_wish(&log) else {
            let changed = tokio::time::timeout_at(deadline.into(), moved.changed()).await;
            let changed = changed.unwrap_or_else(|_| panic!("nothing more within a minute:\n{}", story()));
            changed.expect("the journal lives");
            continue;
        };
        let is_message = matches!(wish, Command::Send { .. });
        if is_message && !panicked {
            panicked = true;
            clock.is_armed.store(true, Ordering::SeqCst);
        }
        match sessions.send(session(), wish).await {
            Ok(_) => {}
            Err(SendError::NotWritten { .. } | SendError::OutcomeUnknown { .. }) if panicked => {}
            Err(error) => panic!("{error}"),
        }
    }
    let log = Log::read(&*journal, session());
    assert_eq!(
        (log.count("runtime.crashed"), log.count("runtime.restarted")),
        (1, 1)
    );
    assert_eq!(log.count("session.completed"), 1);
    for evidence in outside.world().steps.values() {
        assert!(
            evidence.times <= 1,
            "{} took effect {} times",
            evidence.brief,
            evidence.times
        );
    }
    in_time("the sessions close", sessions.close()).await;
    in_time("the threads end", system.close()).await;
}

/// B-CRASH-4: a brain whose process ends is started again, and told everything.
#[tokio::test]
async fn a_brain_that_dies_is_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let died = folder.path().join("died");
    let before = format!(
        "test -e {0} || {{ touch {0}; read -r hello; exit 3; }}",
        died.display()
    );
    let brain = shell_brain(folder.path(), "mortal", &before, YIELDS);
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = interactive(&control, brain).await;
    let log = log_until(&control, &id, &["idle", "paused", "failed"]).await;
    let crashed = of_type(&log, "runtime.crashed");
    assert_eq!(crashed.len(), 1, "{}", lines(&log));
    assert_eq!(crashed[0].stored.data["cause"], "brain");
    let restarted = of_type(&log, "runtime.restarted");
    assert_eq!(
        restarted[0].stored.data["resumedFromSeq"],
        crashed[0].seq,
        "{}",
        lines(&log)
    );
    let ended = of_type(&log, "turn.completed");
    assert_eq!(ended[0].stored.data["reason"], "yielded");
    close(runtime).await;
}

async fn interactive(control: &Arc<dyn longhaul::Control>, brain: String) -> String {
    let request = Start {
        goal: "think".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        ..Start::default()
    };
    control.start(request).await.expect("it starts").id
}

/// B-CRASH-2, B-CRASH-4: the server is killed while a command runs; the command goes on, and its result is collected.
#[tokio::test]
async fn a_command_outlives_the_server_and_its_result_is_collected() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let line = "echo begun >> ~/marks; sleep 1; date +%N >> ~/marks; cat ~/marks";
    let brain = playbook(folder.path(), &format!("[[step]]\nrun = \"{line}\"\n"));
    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let id = start(&control, brain, "wait a second").await.id;
    let marks = home(&data, &id).join("marks");
    until_lines(&marks, 1).await;
    child.kill().await;
    let while_dead = std::fs::read_to_string(&marks).expect("it has begun");
    assert_eq!(
        while_dead.lines().count(),
        1,
        "it was killed while the command ran"
    );
    until_lines(&marks, 2).await;

    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
    let said = std::fs::read_to_string(&marks).expect("it has ended");
    assert_eq!(said.lines().count(), 2, "it ran once");
    let runs = of_type(&log, "command.run");
    assert_eq!(runs.len(), 1, "{}", lines(&log));
    assert_eq!(runs[0].stored.data["stdout"]["head"], said);
    let crashed = of_type(&log, "runtime.crashed");
    assert_eq!(crashed[0].stored.data["cause"], "server");
    assert_eq!(crashed[0].stored.data["counted"], false);
    assert_eq!(of_type(&log, "runtime.restarted").len(), 1);
    assert_eq!(types(&log).last(), Some(&"session.completed"));
    assert!(child.stop().await.success());
}

async fn until_lines(file: &Path, count: usize) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while std::fs::read_to_string(file).unwrap_or_default().lines().count() < count {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{} has no {count} lines",
            file.display()
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// B-CRASH-5: a brain that crashes every time pauses its session, and a human who mended it resumes.
#[tokio::test]
async fn a_brain_that_always_crashes_pauses_its_session_until_a_human_resumes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mended = folder.path().join("mended");
    let before = format!("test -e {} || exit 3", mended.display());
    let brain = shell_brain(folder.path(), "sick", &before, YIELDS);
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = interactive(&control, brain).await;
    let log = log_until(&control, &id, &["paused", "idle", "failed"]).await;
    assert_eq!(of_type(&log, "runtime.crashed").len(), 5, "{}", lines(&log));
    assert_eq!(
        of_type(&log, "session.paused")[0].stored.data["reason"],
        "crash_loop"
    );

    std::fs::write(&mended, "").expect("written");
    control
        .resume(&id, longhaul::api::Resume::default())
        .await
        .expect("a human may resume it");
    let log = log_until(&control, &id, &["idle", "failed"]).await;
    assert_eq!(of_type(&log, "runtime.crashed").len(), 5, "{}", lines(&log));
    assert_eq!(
        of_type(&log, "turn.completed")
            .last()
            .map(|turn| &turn.stored.data["reason"]),
        Some(&"yielded".into())
    );
    close(runtime).await;
}

/// B-CRASH-5: a server that is killed ten times under many sessions that get on pauses none of them.
#[tokio::test]
async fn a_server_that_keeps_dying_pauses_no_session_that_gets_on() {
    const SESSIONS: usize = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let steps: String = (0..100)
        .map(|step| format!("[[step]]\nwrite = \"{step}.txt\"\ncontent = \"{step}\"\n\n"))
        .collect();
    let brain = playbook(folder.path(), &steps);
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..10 {
        let mut child = Child::start(&[], PROGRAM, &data);
        let control = child.control().await.expect("it serves");
        if ids.is_empty() {
            let started = (0..SESSIONS).map(|_| start(&control, brain.clone(), "write files"));
            ids.extend(join_all(started).await.into_iter().map(|started| started.id));
        }
        // Every one of them gets on, at the same time, so that few have ended before the next kill.
        let control = &control;
        join_all(ids.iter().map(|id| async move {
            let before = control.show(id).await.expect("it is there");
            let settled = before.usage.steps + 1;
            let deadline = Instant::now() + Duration::from_secs(60);
            loop {
                let now = control.show(id).await.expect("it is there");
                if now.usage.steps >= settled || now.state == "completed" {
                    break;
                }
                assert_ne!(now.state, "paused");
                assert!(Instant::now() < deadline, "no step within a minute: {now:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }))
        .await;
        child.kill().await;
    }
    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let mut crashes = 0;
    for id in &ids {
        let log = log_until(&control, id, &["completed", "failed", "paused"]).await;
        assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
        crashes += of_type(&log, "runtime.crashed").len();
    }
    assert!(crashes >= SESSIONS, "only {crashes} crashes were met");
    assert!(child.stop().await.success());
}
