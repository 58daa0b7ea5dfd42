//! How a session begins: get or create, set-up, and its first turn.

use longhaul_actors::ports::{Report, SetupError};
use longhaul_actors::session::{
    Answer, Command, Limits, MESSAGE_LIMIT, METADATA_LIMIT, Refusal, SendMode, Start,
};

use crate::story::{
    archive, bounded, calls, exec, finishes, given, interactive, limited, nobody, pause, ready, send,
    thinking,
};

fn start(start: Start) -> Command {
    Command::Start(Box::new(start))
}

#[test]
fn a_start_is_queued_with_its_goal_as_its_first_message() {
    given(interactive())
        .then(["session.started", "user.message"])
        .replies(1, false)
        .stands("queued")
        .owes(["slot"]);
}

#[test]
fn a_slot_and_a_sandbox_lead_to_the_first_turn() {
    given(interactive())
        .when(Command::SlotGranted)
        .then(["sandbox.starting"])
        .stands("starting")
        .owes(["prepare"])
        .when(ready())
        .then(["sandbox.ready", "turn.started input 2 2", "model.started"])
        .stands("running")
        .owes(["think"]);
}

/// B-START-2
#[test]
fn the_same_start_again_is_the_same_session() {
    given(interactive())
        .when(start(interactive()))
        .then_nothing()
        .replies(2, true);
    thinking(interactive())
        .answers(finishes())
        .when(start(interactive()))
        .then_nothing()
        .stands("completed");
}

/// B-START-2
#[test]
fn another_start_under_the_same_key_is_a_conflict() {
    let other = Start {
        fingerprint: "f2".into(),
        ..interactive()
    };
    given(interactive())
        .when(start(other))
        .refused(&Refusal::IdempotencyConflict);
}

/// B-START-2
#[test]
fn metadata_is_kept_byte_for_byte() {
    let metadata = Some("{ \"b\":1,  \"a\" : 2 }".to_owned());
    let story = given(Start {
        metadata: metadata.clone(),
        ..interactive()
    });
    assert_eq!(story.world.replay().origin.expect("it began").metadata, metadata);
}

#[test]
fn a_start_that_cannot_work_is_refused_and_nothing_is_written() {
    let no_turn = Limits {
        turn_ms: 0,
        ..Limits::default()
    };
    let no_steps = Limits {
        turn_steps: 0,
        ..Limits::default()
    };
    for wrong in [
        Start {
            goal: " \n".into(),
            ..interactive()
        },
        limited(interactive(), no_turn),
        limited(bounded(), no_steps),
    ] {
        nobody().when(start(wrong)).refused_as_invalid().stands("unborn");
    }
}

#[test]
fn a_goal_or_metadata_over_the_limit_is_too_large() {
    for large in [
        Start {
            goal: "x".repeat(MESSAGE_LIMIT + 1),
            ..interactive()
        },
        Start {
            metadata: Some("x".repeat(METADATA_LIMIT + 1)),
            ..interactive()
        },
    ] {
        nobody()
            .when(start(large))
            .refused_as_too_large()
            .stands("unborn");
    }
    given(Start {
        goal: "x".repeat(MESSAGE_LIMIT),
        metadata: Some("x".repeat(METADATA_LIMIT)),
        ..interactive()
    })
    .stands("queued");
}

#[test]
fn nothing_but_a_start_reaches_a_session_that_is_not_there() {
    for wish in [
        send("hi", SendMode::Steer),
        pause(),
        archive(),
        Command::Alarm,
        Command::Stopping,
    ] {
        nobody().when(wish).refused(&Refusal::NotFound);
    }
}

#[test]
fn a_set_up_that_fails_asks_the_human_and_is_tried_again_when_told() {
    let failed = SetupError {
        code: "workspace_clone_failed".into(),
        detail: "git is not installed".into(),
        report: Some(Report {
            sha256: "ab".repeat(32),
            bytes: 20,
        }),
    };
    given(interactive())
        .when(Command::SlotGranted)
        .when(Command::Prepared { result: Err(failed) })
        .then([
            "sandbox.setup_failed",
            "artifact.created report",
            "agent.question",
        ])
        .stands("awaiting_input")
        .owes([])
        .when(send("git is there now", SendMode::Steer))
        .then(["user.message"])
        .stands("queued")
        .when(Command::SlotGranted)
        .when(ready())
        .then(["sandbox.ready", "turn.started input 2 7", "model.started"]);
}

#[test]
fn a_slot_or_a_sandbox_granted_twice_changes_nothing() {
    given(interactive())
        .when(Command::SlotGranted)
        .when(Command::SlotGranted)
        .then_nothing();
    thinking(interactive())
        .when(ready())
        .then_nothing()
        .when(Command::SlotGranted)
        .then_nothing();
}

#[test]
fn an_answer_that_says_nothing_and_calls_nothing_asks_the_brain_again() {
    thinking(interactive())
        .answers(Answer::default())
        .then(["model.completed", "model.started"]);
    let say = Answer {
        say: Some("look".into()),
        ..calls([exec("make")])
    };
    thinking(interactive())
        .answers(say)
        .then(["agent.message", "model.completed", "tool.started exec"]);
}
