//! Cancel, force, and what may not undo them.

use longhaul_actors::ports::BrainFailure;
use longhaul_actors::session::{AnswerEnd, Command, Refusal, SendMode};
use longhaul_actors::{Recovery, RecoveryCause};
use longhaul_journal::Seq;

use crate::story::{
    Story, acting, archive, cancel, cancel_by_force, ends, exited, finishes, given, gone, idle, interactive,
    pause, ready, resume, send, thinking, unknown,
};

fn survivors() -> Command {
    Command::Stopped {
        survivors: vec![41, 42],
    }
}

/// B-STOP-1
#[test]
fn canceled_is_recorded_only_once_every_process_is_gone() {
    acting(interactive())
        .when(cancel())
        .then(["session.stop_requested cancel"])
        .stands("stopping")
        .owes(["stop"])
        .when(gone())
        .then([
            "tool.failed stopped cancel",
            "turn.completed canceled",
            "session.canceled",
        ])
        .stands("canceled")
        .owes([]);
}

/// B-STOP-1
#[test]
fn a_session_without_a_process_is_canceled_the_same_way() {
    let asked = thinking(interactive()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    for story in [given(interactive()), idle(), idle().when(pause()), asked] {
        let story = story
            .when(cancel())
            .then(["session.stop_requested cancel"])
            .stands("stopping");
        story.when(gone()).then(["session.canceled"]).stands("canceled");
    }
    let starting = given(interactive())
        .when(Command::SlotGranted)
        .when(cancel())
        .when(gone());
    starting.then(["session.canceled"]).when(ready()).then_nothing();
}

#[test]
fn a_cancel_ends_the_turn_that_rests_in_a_paused_session() {
    acting(interactive())
        .when(pause())
        .settles(exited("ok"))
        .stands("paused")
        .when(cancel())
        .when(gone())
        .then(["turn.completed canceled", "session.canceled"]);
}

#[test]
fn an_act_that_settles_during_the_stop_is_written_down_as_it_was() {
    acting(interactive())
        .when(cancel())
        .settles(exited("half"))
        .then(["command.run"])
        .stands("stopping")
        .when(gone())
        .then(["turn.completed canceled", "session.canceled"]);
    acting(interactive())
        .when(cancel())
        .settles(unknown())
        .then([
            "runtime.crashed hands true",
            "tool.outcome_unknown",
            "runtime.restarted 1",
        ])
        .stands("stopping");
}

/// A late word of the brain used to move the session out of its stop, and the cancel was lost.
#[test]
fn nothing_a_brain_does_undoes_a_cancel() {
    for failure in [
        BrainFailure::Died("signal 9".into()),
        BrainFailure::TimedOut(10),
        BrainFailure::Gone("no file".into()),
        BrainFailure::Rubbish("{".into()),
    ] {
        let story = thinking(interactive())
            .when(cancel())
            .fails(failure)
            .then_nothing()
            .stands("stopping");
        story
            .when(gone())
            .then(["model.completed", "turn.completed canceled", "session.canceled"]);
    }
    thinking(interactive())
        .when(cancel())
        .answers(finishes())
        .then_nothing()
        .stands("stopping");
}

#[test]
fn a_cancel_is_asked_for_once() {
    let story = acting(interactive())
        .when(cancel())
        .when(cancel())
        .then_nothing()
        .replies(9, true);
    story
        .when(gone())
        .when(cancel())
        .then_nothing()
        .when(cancel_by_force())
        .then_nothing();
}

/// B-STOP-1
#[test]
fn processes_that_stay_are_reported_once_and_may_be_given_up_by_force() {
    acting(interactive())
        .when(cancel())
        .when(survivors())
        .then(["session.stop_unconfirmed"])
        .stands("stopping")
        .owes(["stop"])
        .when(survivors())
        .then_nothing()
        .when(cancel_by_force())
        .then([
            "tool.outcome_unknown",
            "turn.completed canceled",
            "session.canceled",
        ])
        .stands("canceled");
}

#[test]
fn processes_that_go_after_the_report_end_the_stop_by_themselves() {
    let story = acting(interactive())
        .when(cancel())
        .when(survivors())
        .when(gone());
    story.then([
        "tool.failed stopped cancel",
        "turn.completed canceled",
        "session.canceled",
    ]);
}

#[test]
fn force_needs_a_stop_that_was_reported() {
    for story in [
        acting(interactive()),
        idle(),
        acting(interactive()).when(cancel()),
    ] {
        story.when(cancel_by_force()).refused(&Refusal::NothingToForce);
    }
}

#[test]
fn a_cancel_takes_over_from_an_interrupt() {
    let interrupted = acting(interactive()).when(send("stop that", SendMode::Interrupt));
    let story = interrupted
        .clone()
        .when(cancel())
        .then(["session.stop_requested cancel"]);
    story.when(gone()).then([
        "tool.failed stopped cancel",
        "turn.completed canceled",
        "session.canceled",
    ]);
    let reported = interrupted.when(survivors()).then(["session.stop_unconfirmed"]);
    reported.when(cancel_by_force()).then([
        "session.stop_requested cancel",
        "tool.outcome_unknown",
        "turn.completed canceled",
        "session.canceled",
    ]);
}

#[test]
fn a_stop_owes_its_work_under_another_name_after_each_change() {
    let interrupted = acting(interactive()).when(send("stop that", SendMode::Interrupt));
    let reported = interrupted.clone().when(survivors());
    let canceled = reported.clone().when(cancel());
    let ids = [interrupted.owed_ids(), reported.owed_ids(), canceled.owed_ids()];
    assert!(
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
        "{ids:?}"
    );
}

#[test]
fn a_stop_outlives_crashes_of_every_kind() {
    let story = acting(interactive()).when(cancel()).when_the_server_crashes();
    let story = story
        .then(["runtime.crashed server false", "runtime.restarted 0"])
        .stands("stopping")
        .owes(["stop"]);
    let panics = |story: Story| story.recovered(RecoveryCause::Panic { message: "oh".into() }, false);
    let story = (0..8).fold(story, |story, _| panics(story)).stands("stopping");
    story.when(gone()).then([
        "tool.failed stopped cancel",
        "turn.completed canceled",
        "session.canceled",
    ]);
}

#[test]
fn a_pause_or_a_resume_does_not_undo_a_cancel() {
    let story = acting(interactive())
        .when(cancel())
        .when(pause())
        .stands("stopping")
        .when(resume())
        .stands("stopping");
    story.when(gone()).stands("canceled");
}

/// B-LOG-9
#[test]
fn only_an_ended_session_is_archived_and_then_it_can_only_be_read() {
    for story in [
        given(interactive()),
        acting(interactive()),
        idle(),
        idle().when(pause()),
    ] {
        let phase = story.world.state.phase.name();
        story.when(archive()).refused(&Refusal::StillLive(phase));
    }
    let ended = thinking(interactive()).answers(finishes());
    let ended = ended
        .when(archive())
        .then(["session.archived"])
        .when(archive())
        .then_nothing();
    let ended = ended
        .when(pause())
        .refused(&Refusal::Archived)
        .when(resume())
        .refused(&Refusal::Archived);
    ended.when(cancel()).refused(&Refusal::Archived);
}

#[test]
fn an_ended_session_refuses_every_wish_and_ignores_every_outcome() {
    let ended = thinking(interactive()).answers(finishes()).stands("completed");
    for wish in [pause(), resume(), cancel(), send("hi", SendMode::Steer)] {
        ended.clone().when(wish).refused(&Refusal::Terminal("completed"));
    }
    for outcome in [
        Command::SlotGranted,
        ready(),
        gone(),
        survivors(),
        Command::Alarm,
        Command::Stopping,
    ] {
        ended.clone().when(outcome).then_nothing();
    }
    let panic = RecoveryCause::Panic { message: "oh".into() };
    let recovery = Recovery {
        cause: panic,
        head: Seq(9),
        last_boot: 1,
        boot: 1,
    };
    ended.clone().when(Command::Recovered(recovery)).then_nothing();
    let panic = RecoveryCause::Panic { message: "oh".into() };
    ended.clone().recovered(panic, false).then_nothing();
    ended
        .answers(finishes())
        .then_nothing()
        .settles(exited("late"))
        .then_nothing();
}
