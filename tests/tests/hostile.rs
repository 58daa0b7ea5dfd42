//! What hangs is ended, what is canceled is gone, and nobody has to look after it by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul::Control;
use longhaul::api::{Cancel, Pause, RecordView};
use longhaul_actors::session::Limits;
use longhaul_tests::{
    YIELDS, close, limited, lines, log_until, of_type, open, playbook, processes_with, say, shell_brain,
    start, types, until, until_record,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// Says a word to a session that was stuck; its next turn ends as turns do.
async fn takes_the_next_message(control: &Arc<dyn Control>, id: &str) {
    let turns = control.show(id).await.expect("it is there").turns;
    say(control, id, "go on").await;
    let ended = until_turn(control, id, turns + 1).await;
    assert_eq!(ended.stored.data["reason"], "yielded");
}

async fn until_turn(control: &Arc<dyn Control>, id: &str, number: u32) -> RecordView {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = log_until(control, id, &["idle", "paused", "failed", "awaiting_input"]).await;
        let turns = of_type(&log, "turn.completed");
        if let Some(turn) = turns.iter().find(|turn| turn.stored.turn == Some(number)) {
            return (*turn).clone();
        }
        assert!(
            Instant::now() < deadline,
            "turn {number} has not ended within a minute:\n{}",
            lines(&log)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// B-STUCK-1: a brain that never answers.
#[tokio::test]
async fn a_brain_that_never_answers_is_ended_and_the_next_message_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let awake = folder.path().join("awake");
    let answers = format!("test -e {} || sleep 1000; {YIELDS}", awake.display());
    let brain = shell_brain(folder.path(), "asleep", "", &answers);
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let limits = Limits {
        brain_call_ms: 2_500,
        ..Limits::default()
    };
    let id = limited(&control, brain, limits).await;
    let ended = until_turn(&control, &id, 1).await;
    assert_eq!(ended.stored.data["reason"], "deadline_exceeded");
    until_record(&control, &id, "turn.stuck", "deadline").await;
    std::fs::write(&awake, "").expect("written");
    takes_the_next_message(&control, &id).await;
    close(runtime).await;
}

/// B-STUCK-1: a tool that sleeps for ever.
#[tokio::test]
async fn a_command_that_sleeps_for_ever_is_ended_and_the_next_message_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"sleep 1000\"\non_failure = \"next\"\n\n[[step]]\nyield = true\n\n[[step]]\nyield = true\n",
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let limits = Limits {
        command_ms: 400,
        ..Limits::default()
    };
    let id = limited(&control, brain, limits).await;
    let log = log_until(&control, &id, &["idle", "paused", "failed"]).await;
    assert_eq!(
        of_type(&log, "command.run")[0].stored.data["verdict"],
        "timeout",
        "{}",
        lines(&log)
    );
    takes_the_next_message(&control, &id).await;
    assert_none_left(&id);
    close(runtime).await;
}

/// B-STUCK-1: a brain that ignores SIGTERM, and never answers.
#[tokio::test]
async fn a_brain_that_ignores_sigterm_is_gone_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (awake, pid) = (folder.path().join("awake"), folder.path().join("pid"));
    let before = format!(
        "test -e {} || {{ trap '' TERM; echo $$ > {}; while :; do sleep 1; done; }}",
        awake.display(),
        pid.display()
    );
    let brain = shell_brain(folder.path(), "stubborn", &before, YIELDS);
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let limits = Limits {
        brain_call_ms: 2_500,
        ..Limits::default()
    };
    let id = limited(&control, brain, limits).await;
    let ended = until_turn(&control, &id, 1).await;
    assert_eq!(ended.stored.data["reason"], "deadline_exceeded");
    let pid = std::fs::read_to_string(&pid).expect("it has begun");
    assert!(
        !Path::new("/proc").join(pid.trim()).exists(),
        "process {pid} is still there"
    );
    std::fs::write(&awake, "").expect("written");
    takes_the_next_message(&control, &id).await;
    close(runtime).await;
}

fn assert_none_left(id: &str) {
    let mark = format!("LONGHAUL_STEP={}/", id.trim_start_matches("s_"));
    assert_eq!(
        processes_with(&mark),
        Vec::<u32>::new(),
        "processes of {id} are left"
    );
}

/// B-STOP-1: canceled is written once every process is gone, also one that left the group and ignores SIGTERM.
#[tokio::test]
async fn a_canceled_session_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"\"\"trap '' TERM; (setsid sleep 1000 &) ; (trap '' TERM; sleep 1000) & echo up > up; sleep 1000\"\"\"\n",
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = start(&control, brain, "stay").await.id;
    let view = control.show(&id).await.expect("it is there");
    until_record(&control, &id, "tool.started", "").await;
    let workspace = control
        .show(&id)
        .await
        .expect("there")
        .workspace
        .or(view.workspace);
    let up = Path::new(&workspace.expect("it has one")).join("up");
    until("the command is up", || up.exists()).await;
    control
        .cancel(&id, Cancel::default())
        .await
        .expect("it is canceled");
    let log = log_until(&control, &id, &["canceled"]).await;
    assert_none_left(&id);
    let end = &types(&log)[log.len() - 3..];
    assert_eq!(
        end,
        ["tool.failed", "turn.completed", "session.canceled"],
        "{}",
        lines(&log)
    );
    close(runtime).await;
}

/// B-STOP-1: a cancel that comes while the command is being started. The launch was once still on its way when
/// everything had been found gone, and the command then ran under a session that had ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_overtakes_a_launch_leaves_no_process_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), "[[step]]\nrun = \"sleep 1000\"\n");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let mut ids = Vec::new();
    for _ in 0..30 {
        let id = start(&control, brain.clone(), "be canceled").await.id;
        until_record(&control, &id, "tool.started", "sleep").await;
        control
            .cancel(&id, Cancel::default())
            .await
            .expect("it is canceled");
        ids.push(id);
    }
    for id in &ids {
        log_until(&control, id, &["canceled"]).await;
    }
    close(runtime).await;
    for id in &ids {
        assert_none_left(id);
    }
}

/// A pause that ends the open step, coming while its command is being started: the step is ended all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_now_that_overtakes_a_launch_ends_the_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), "[[step]]\nrun = \"sleep 1000\"\n");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let mut ids = Vec::new();
    for _ in 0..15 {
        let id = start(&control, brain.clone(), "be paused").await.id;
        until_record(&control, &id, "tool.started", "sleep").await;
        control
            .pause(
                &id,
                Pause {
                    now: true,
                    ..Pause::default()
                },
            )
            .await
            .expect("it is paused");
        ids.push(id);
    }
    for id in &ids {
        log_until(&control, id, &["paused"]).await;
        assert_none_left(id);
    }
    close(runtime).await;
}
