//! Messages in each mode while a tool runs.

use std::path::Path;
use std::sync::Arc;

use longhaul::Control;
use longhaul::api::{Accepted, RecordView, Send as Message, Start};
use longhaul_actors::session::{Mode, SendMode};
use longhaul_tests::{close, home, lines, log_until, of_type, open, playbook, types, until, until_record};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

struct Steered {
    log: Vec<RecordView>,
    message: u64,
}

/// A session whose command waits for a file; a message comes meanwhile, and only then the file, unless the command is
/// to be ended by the message itself.
async fn steered(mode: SendMode) -> Steered {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"while ! test -e ~/gate; do sleep 0.01; done\"\non_failure = \"next\"\n\n\
         [[step]]\nsay = \"after the command\"\n\n[[step]]\nyield = true\n",
    );
    let data = folder.path().join("data");
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let request = Start {
        goal: "wait".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        ..Start::default()
    };
    let id = control.start(request).await.expect("it starts").id;
    until_record(&control, &id, "tool.started", "while").await;
    let accepted = say(&control, &id, mode).await;
    if mode != SendMode::Interrupt {
        open_gate(&home(&data, &id)).await;
    }
    let log = log_until(
        &control,
        &id,
        &["idle", "awaiting_input", "completed", "failed", "paused"],
    )
    .await;
    close(runtime).await;
    Steered {
        log,
        message: accepted.seq,
    }
}

async fn say(control: &Arc<dyn Control>, id: &str, mode: SendMode) -> Accepted {
    let message = Message {
        text: "also this".into(),
        mode,
        idempotency_key: Some("once".into()),
        by: None,
    };
    let accepted = control
        .send(id, message.clone())
        .await
        .expect("it takes messages");
    let again = control.send(id, message).await.expect("the same message");
    assert_eq!((again.seq, again.repeated), (accepted.seq, true));
    accepted
}

/// The home is there once the command is being launched.
async fn open_gate(home: &Path) {
    until("there is a home", || home.exists()).await;
    std::fs::write(home.join("gate"), "").expect("written");
}

/// B-STEER-1: the default mode is seen by the next brain call of the running turn.
#[tokio::test]
async fn a_steering_message_is_seen_by_the_next_brain_call_of_the_turn() {
    let Steered { log, message } = steered(SendMode::Steer).await;
    let seen = of_type(&log, "turn.steered");
    assert_eq!(seen.len(), 1, "{}", lines(&log));
    assert_eq!(seen[0].stored.data["messageSeq"], message);
    let run = of_type(&log, "command.run")[0];
    assert!(message < run.seq && run.seq < seen[0].seq, "{}", lines(&log));
    assert_eq!(seen[0].stored.turn, Some(1));
    let asked = of_type(&log, "model.started");
    let next = asked
        .iter()
        .find(|asked| asked.seq > run.seq)
        .expect("the brain is asked");
    assert_eq!(seen[0].stored.data["step"], next.stored.data["step"]);
    assert!(next.stored.data["windowTo"].as_u64() >= Some(message));
    assert_eq!(of_type(&log, "turn.started").len(), 1, "{}", lines(&log));
}

/// B-STEER-1: a queued message is taken by the next turn.
#[tokio::test]
async fn a_queued_message_is_taken_by_the_next_turn() {
    let Steered { log, message } = steered(SendMode::Queue).await;
    let turns = of_type(&log, "turn.started");
    assert_eq!(turns.len(), 2, "{}", lines(&log));
    assert_eq!(turns[1].stored.data["inputToSeq"], message);
    assert_eq!(of_type(&log, "turn.steered").len(), 0);
    assert_eq!(
        of_type(&log, "turn.completed")[0].stored.data["reason"],
        "yielded"
    );
}

/// B-STEER-1: an interrupt ends the turn and the command, and is then taken.
#[tokio::test]
async fn an_interrupt_ends_the_turn_and_is_taken_by_the_next() {
    let Steered { log, message } = steered(SendMode::Interrupt).await;
    let ended = of_type(&log, "tool.failed");
    assert_eq!(ended[0].stored.data["settledBy"], "interrupt", "{}", lines(&log));
    assert_eq!(
        of_type(&log, "turn.completed")[0].stored.data["reason"],
        "interrupted"
    );
    let turns = of_type(&log, "turn.started");
    assert_eq!(turns[1].stored.data["inputToSeq"], message);
    assert!(types(&log).contains(&"session.stop_requested"));
}
