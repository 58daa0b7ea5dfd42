//! Pause and resume, idle and hibernated: what waits, what is kept, and where it goes on.

use longhaul_actors::ports::{BrainFailure, Ruling};
use longhaul_actors::session::{AnswerEnd, Command, Limits, SendMode, ToolOutcome};

use crate::story::{
    Story, acting, bounded, calls, ends, exec, exited, given, idle, interactive, limited, pause, pause_now,
    ready, resume, send, thinking,
};
use crate::world::judged;

const IDLE_MS: u64 = 180_000;

fn hibernated() -> Story {
    idle()
        .at(IDLE_MS)
        .when(Command::Alarm)
        .then(["session.hibernated"])
        .stands("hibernated")
}

#[test]
fn a_pause_waits_for_the_open_step() {
    acting(interactive())
        .when(pause())
        .then(["session.pause_requested requested"])
        .stands("running")
        .owes(["act"])
        .settles(exited("ok"))
        .then(["command.run", "session.paused requested"])
        .stands("paused")
        .owes([]);
    thinking(interactive())
        .when(pause())
        .then(["session.pause_requested requested"])
        .answers(calls([exec("make")]))
        .then(["model.completed", "session.paused requested"]);
}

#[test]
fn a_pause_now_ends_the_open_step() {
    acting(interactive())
        .when(pause_now())
        .then(["session.pause_requested requested"])
        .owes(["act", "cancelstep"])
        .settles(ToolOutcome::Failed {
            code: "canceled".into(),
            detail: "killed".into(),
            active_ms: 1,
        })
        .then(["tool.failed canceled", "session.paused requested"]);
    thinking(interactive()).when(pause_now()).then([
        "session.pause_requested requested",
        "model.completed",
        "session.paused requested",
    ]);
}

#[test]
fn a_pause_becomes_a_pause_now_but_not_the_other_way_round() {
    let story = acting(interactive()).when(pause()).when(pause()).then_nothing();
    let story = story
        .when(pause_now())
        .then(["session.pause_requested requested"])
        .owes(["act", "cancelstep"]);
    story.when(pause()).then_nothing().owes(["act", "cancelstep"]);
}

#[test]
fn a_session_without_an_open_step_pauses_at_once() {
    let asked = thinking(interactive()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    let starting = given(interactive()).when(Command::SlotGranted);
    for story in [given(interactive()), starting, idle(), hibernated(), asked] {
        let story = story
            .when(pause())
            .then(["session.pause_requested requested", "session.paused requested"]);
        story.stands("paused").when(pause()).then_nothing();
    }
}

#[test]
fn a_pause_before_a_dead_brain_is_asked_again_does_not_wait_for_it() {
    let story = thinking(interactive())
        .fails(BrainFailure::Died("signal 9".into()))
        .stands("recovering");
    story.when(pause()).then([
        "session.pause_requested requested",
        "model.completed",
        "session.paused requested",
    ]);
}

#[test]
fn a_sandbox_that_gets_ready_during_the_pause_is_asked_for_again_on_resume() {
    let story = given(interactive())
        .when(Command::SlotGranted)
        .when(pause())
        .when(ready())
        .then_nothing();
    let story = story
        .stands("paused")
        .when(resume())
        .then(["session.resumed 0"])
        .stands("queued");
    story.when(Command::SlotGranted).owes(["prepare"]);
}

#[test]
fn a_resumed_session_goes_on_in_the_same_turn_with_the_same_plan() {
    let story = thinking(interactive())
        .answers(calls([exec("make"), exec("make test")]))
        .when(pause());
    let story = story
        .settles(exited("ok"))
        .then(["command.run", "session.paused requested"]);
    let story = story.when_the_server_crashes().then_nothing();
    let story = story
        .when(resume())
        .when(Command::SlotGranted)
        .then(["sandbox.starting"]);
    let story = story.when(ready()).then(["sandbox.ready"]).owes(["admit"]);
    let admission = judged(3, &exec("make test"), Ruling::Allow, "");
    let story = story
        .when(Command::Admitted(admission))
        .then(["tool.started exec"]);
    assert!(format!("{:?}", story.world.owed()).contains("make test"));
    assert_eq!(story.world.state.turns, 1);
}

#[test]
fn a_session_paused_while_it_waited_waits_again() {
    let asked = thinking(interactive()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    for (story, phase) in [
        (idle(), "idle"),
        (hibernated(), "hibernated"),
        (asked, "awaiting_input"),
    ] {
        story.when(pause()).when(resume()).stands(phase).owes([]);
    }
}

#[test]
fn the_time_of_a_pause_is_counted_from_the_pause_not_from_the_last_message() {
    let story = idle()
        .at(100)
        .when(pause())
        .at(150)
        .when(send("hi", SendMode::Steer));
    story
        .at(300)
        .when(resume())
        .then(["session.resumed 200"])
        .stands("queued");
}

#[test]
fn a_resume_before_the_pause_came_about_withdraws_it() {
    let story = acting(interactive())
        .when(pause_now())
        .when(resume())
        .then(["session.resumed 0"])
        .owes(["act"]);
    story.settles(exited("ok")).then(["command.run", "model.started"]);
}

#[test]
fn a_resume_of_a_session_that_is_not_paused_writes_nothing() {
    for story in [acting(interactive()), idle(), given(interactive())] {
        story.when(resume()).then_nothing();
    }
}

#[test]
fn a_bounded_run_paused_between_two_turns_goes_on_with_the_next() {
    let story = thinking(bounded()).when(pause()).answers(ends(AnswerEnd::Yield));
    let story = story.then(["model.completed", "session.paused requested"]);
    let story = story.when(resume()).when(Command::SlotGranted).when(ready());
    story.then([
        "sandbox.ready",
        "turn.completed yielded",
        "turn.started continue 0 0",
        "model.started",
    ]);
}

/// B-IDLE-1
#[test]
fn a_session_idle_for_long_hibernates_and_the_next_message_wakes_it() {
    idle()
        .at(IDLE_MS - 1)
        .when(Command::Alarm)
        .then_nothing()
        .stands("idle");
    let woken = hibernated()
        .owes([])
        .when(send("more", SendMode::Steer))
        .then(["session.woken", "user.message"]);
    let reply_of_the_message = woken.world.state.head.0;
    woken
        .replies(reply_of_the_message, false)
        .stands("queued")
        .owes(["slot"]);
}

#[test]
fn a_message_wakes_a_session_that_was_paused_in_its_sleep() {
    let story = hibernated()
        .when(pause())
        .when(send("more", SendMode::Steer))
        .then(["session.woken", "user.message"]);
    story
        .when(send("and more", SendMode::Steer))
        .then(["user.message"])
        .when(resume())
        .stands("queued");
}

#[test]
fn a_session_may_stay_idle_for_ever() {
    let limits = Limits {
        idle_ms: u64::MAX,
        ..Limits::default()
    };
    let story = thinking(limited(interactive(), limits)).answers(ends(AnswerEnd::Yield));
    story
        .at(1 << 50)
        .when(Command::Alarm)
        .then_nothing()
        .stands("idle");
}
