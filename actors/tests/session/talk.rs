//! Messages: when each is seen, that each is seen once, and that a retry is no second message.

use longhaul_actors::session::{AnswerEnd, Effect, KEY_LIMIT, MESSAGE_LIMIT, Refusal, SendMode};

use crate::story::{
    Story, acting, archive, calls, ends, exec, exited, finishes, gone, idle, interactive, pause, pause_now,
    ready, resume, send, send_once, thinking,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn yields() -> longhaul_actors::session::Answer {
    ends(AnswerEnd::Yield)
}

/// B-STEER-1
#[test]
fn a_steering_message_is_seen_by_the_next_brain_call_of_the_turn() {
    acting(interactive())
        .when(send("use sh", SendMode::Steer))
        .then(["user.message"])
        .replies(9, false)
        .settles(exited("ok"))
        .then(["command.run", "turn.steered 9", "model.started"]);
}

/// B-STEER-1
#[test]
fn a_queued_message_is_seen_by_the_next_turn() {
    acting(interactive())
        .when(send("then the docs", SendMode::Queue))
        .then(["user.message"])
        .settles(exited("ok"))
        .then(["command.run", "model.started"])
        .answers(yields())
        .then([
            "model.completed",
            "turn.completed yielded",
            "turn.started input 9 9",
            "model.started",
        ]);
}

/// B-STEER-1
#[test]
fn an_interrupting_message_ends_the_turn_once_its_processes_are_gone() {
    acting(interactive())
        .when(send("stop that", SendMode::Interrupt))
        .then(["user.message", "session.stop_requested interrupt"])
        .replies(9, false)
        .stands("stopping")
        .owes(["stop"])
        .when(gone())
        .then([
            "tool.failed stopped interrupt",
            "turn.completed interrupted",
            "turn.started input 9 9",
            "model.started",
        ])
        .stands("running");
}

#[test]
fn an_interrupt_of_a_turn_that_rests_ends_it_when_it_would_go_on() {
    acting(interactive())
        .when(pause())
        .settles(exited("ok"))
        .when(send("forget it", SendMode::Interrupt))
        .then(["user.message"])
        .stands("paused")
        .when(resume())
        .when(longhaul_actors::session::Command::SlotGranted)
        .when(ready())
        .then([
            "sandbox.ready",
            "turn.completed interrupted",
            "turn.started input 12 12",
            "model.started",
        ]);
}

/// B-STEER-2
#[test]
fn a_message_that_comes_while_the_brain_thinks_is_left_to_the_next_call() {
    let story = thinking(interactive()).when(send("late", SendMode::Steer));
    assert_eq!(window_to(&story), 5, "the open call keeps its window");
    let story = story
        .answers(calls([exec("make")]))
        .then(["model.completed", "tool.started exec"]);
    let story = story
        .settles(exited("ok"))
        .then(["command.run", "turn.steered 7", "model.started"]);
    assert_eq!(
        window_to(&story),
        11,
        "the next one sees the message, and that it was steered"
    );
}

/// B-STEER-2
#[test]
fn a_crash_between_a_message_and_its_call_neither_loses_nor_repeats_it() {
    let story = acting(interactive())
        .when(send("use sh", SendMode::Steer))
        .when_the_server_crashes();
    let story = story
        .settles(exited("ok"))
        .then(["command.run", "turn.steered 9", "model.started"]);
    let window = window_to(&story);
    let story = story
        .when_the_server_crashes()
        .then(["runtime.crashed server false", "runtime.restarted 0"]);
    assert_eq!(
        window_to(&story),
        window,
        "the call is repeated with the window it was given"
    );
    story
        .answers(yields())
        .then(["model.completed", "turn.completed yielded"]);
}

#[test]
fn a_message_that_comes_as_the_turn_ends_starts_the_next_one_in_the_same_frame() {
    for (mode, end) in [
        (SendMode::Steer, AnswerEnd::Yield),
        (SendMode::Queue, AnswerEnd::Yield),
        (
            SendMode::Steer,
            AnswerEnd::Finish {
                summary: String::new(),
            },
        ),
        (
            SendMode::Steer,
            AnswerEnd::Fail {
                detail: String::new(),
            },
        ),
    ] {
        thinking(interactive())
            .when(send("also", mode))
            .answers(ends(end))
            .then([
                "model.completed",
                "turn.completed yielded",
                "turn.started input 7 7",
                "model.started",
            ]);
    }
    thinking(interactive())
        .when(send("a", SendMode::Steer))
        .answers(ends(AnswerEnd::Ask {
            text: "b or c?".into(),
        }))
        .then([
            "model.completed",
            "agent.question",
            "turn.completed needs_input",
            "turn.started input 7 7",
            "model.started",
        ]);
}

/// B-STEER-2
#[test]
fn a_message_steered_out_of_the_middle_is_not_taken_again_by_the_next_turn() {
    let story = acting(interactive())
        .when(send("first later", SendMode::Queue))
        .when(send("now", SendMode::Steer))
        .when(send("second later", SendMode::Queue))
        .settles(exited("ok"))
        .then(["command.run", "turn.steered 10", "model.started"]);
    assert_eq!(unread(&story), [9, 11]);
    let story = story.answers(yields()).then([
        "model.completed",
        "turn.completed yielded",
        "turn.started input 9 11",
        "model.started",
    ]);
    assert!(unread(&story).is_empty());
}

#[test]
fn a_message_wakes_what_waits_for_one() {
    idle()
        .when(send("more", SendMode::Steer))
        .then(["user.message"])
        .stands("queued");
    let asked = thinking(interactive())
        .answers(ends(AnswerEnd::Ask {
            text: "which?".into(),
        }))
        .stands("awaiting_input");
    asked
        .when(send("that one", SendMode::Steer))
        .then(["user.message"])
        .stands("queued");
}

#[test]
fn a_message_during_a_stop_is_kept_and_read_by_the_next_turn() {
    acting(interactive())
        .when(send("stop that", SendMode::Interrupt))
        .when(send("and this", SendMode::Interrupt))
        .then(["user.message"])
        .when(gone())
        .then([
            "tool.failed stopped interrupt",
            "turn.completed interrupted",
            "turn.started input 9 11",
            "model.started",
        ]);
}

#[test]
fn a_paused_session_takes_messages_and_keeps_them() {
    let story = idle()
        .when(pause())
        .when(send("later", SendMode::Steer))
        .then(["user.message"])
        .stands("paused");
    assert_eq!(unread(&story).len(), 1);
    story.when(resume()).stands("queued");
}

/// B-START-2: retry safety.
#[test]
fn a_message_sent_twice_under_one_key_is_one_message() {
    let story = acting(interactive())
        .when(send_once("use sh", "k1"))
        .replies(9, false);
    let story = story
        .when(send_once("use sh", "k1"))
        .then_nothing()
        .replies(9, true);
    let story = story
        .when(send_once("use bash", "k1"))
        .refused(&Refusal::IdempotencyConflict);
    let story = story
        .settles(exited("ok"))
        .answers(finishes())
        .stands("completed");
    story
        .when(send_once("use sh", "k1"))
        .then_nothing()
        .replies(9, true);
}

#[test]
fn a_key_is_forgotten_after_a_day() {
    let story = acting(interactive()).when(send_once("use sh", "k1"));
    let story = story.at(DAY_MS).when(send_once("use sh", "k1")).then_nothing();
    story
        .at(DAY_MS + 1)
        .when(send_once("use bash", "k1"))
        .then(["user.message"])
        .replies(10, false);
}

#[test]
fn a_message_that_cannot_be_taken_is_refused() {
    let story = acting(interactive())
        .when(send(" ", SendMode::Steer))
        .refused_as_invalid();
    let story = story
        .when(send(&"x".repeat(MESSAGE_LIMIT + 1), SendMode::Steer))
        .refused_as_too_large();
    let story = story
        .when(send_once("hi", &"k".repeat(KEY_LIMIT + 1)))
        .refused_as_invalid();
    let story = story.when(send_once("hi", "")).refused_as_invalid();
    let ended = story.settles(exited("ok")).answers(finishes());
    let ended = ended
        .when(send("hi", SendMode::Steer))
        .refused(&Refusal::Terminal("completed"));
    ended
        .when(archive())
        .when(send("hi", SendMode::Steer))
        .refused(&Refusal::Archived);
}

#[test]
fn a_message_taken_by_a_call_that_a_pause_ended_stays_taken() {
    let story = acting(interactive())
        .when(send("use sh", SendMode::Steer))
        .settles(exited("ok"))
        .when(pause_now());
    story
        .when(resume())
        .when(longhaul_actors::session::Command::SlotGranted)
        .when(ready())
        .then(["sandbox.ready", "model.started"]);
}

fn unread(story: &Story) -> Vec<u64> {
    story
        .world
        .state
        .inbox
        .iter()
        .map(|unread| unread.seq.0)
        .collect()
}

fn window_to(story: &Story) -> u64 {
    let owed = story.world.owed();
    let mut windows = owed.iter().filter_map(|work| match &work.effect {
        Effect::Think { window_to, .. } => Some(window_to.0),
        _ => None,
    });
    windows.next().expect("a brain call is owed")
}
