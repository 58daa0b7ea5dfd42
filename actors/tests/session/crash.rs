//! Crashes: what is counted against a session, what goes on, and what is never done twice.

use longhaul_actors::Entity;
use longhaul_actors::RecoveryCause;
use longhaul_actors::ports::BrainFailure;
use longhaul_actors::session::{CRASH_LIMIT, Command, Effect, Session};

use crate::story::{
    Story, acted, acting, calls, exec, exited, finishes, given, idle, interactive, pause, ready, resume,
    thinking, unknown,
};

fn died() -> BrainFailure {
    BrainFailure::Died("signal 9".into())
}

fn panicked(story: Story) -> Story {
    story.recovered(RecoveryCause::Panic { message: "oh".into() }, false)
}

/// Waits until the session is due, and rings.
fn wakes(story: Story) -> Story {
    let due = Session::due(&story.world.state).expect("it has a due time");
    story.at(due - 1_000).when(Command::Alarm)
}

/// B-CRASH-4
#[test]
fn a_dead_brain_is_asked_again_in_the_same_step() {
    let story = thinking(interactive())
        .fails(died())
        .then(["runtime.crashed brain true"])
        .stands("recovering")
        .owes([]);
    let story = wakes(story)
        .then(["runtime.restarted 1"])
        .stands("running")
        .owes(["think"]);
    assert!(matches!(
        story.world.owed()[0].effect,
        Effect::Think {
            step: 1,
            attempt: 2,
            ..
        }
    ));
    story.answers(finishes()).stands("completed");
}

#[test]
fn a_brain_that_keeps_dying_is_asked_again_more_and_more_slowly() {
    let mut story = thinking(interactive());
    let mut waits = Vec::new();
    for _ in 0..4 {
        story = story.fails(died());
        let due = Session::due(&story.world.state).expect("it is asked again");
        waits.push(due - story.world.state.last_ms);
        story = wakes(story);
    }
    assert_eq!(waits, [0, 250, 500, 1_000]);
}

/// B-CRASH-5
#[test]
fn five_deaths_without_a_settled_step_pause_at_any_pace() {
    let mut story = thinking(interactive());
    for n in 1..CRASH_LIMIT as u64 {
        story = wakes(story.at(n * 70_000).fails(died())).stands("running");
    }
    let story = story.at(400_000).fails(died());
    let story = story.then([
        "runtime.crashed brain true",
        "model.completed",
        "session.paused crash_loop",
    ]);
    let story = story
        .when(resume())
        .stands("queued")
        .when(Command::SlotGranted)
        .when(ready());
    let story = story.then(["sandbox.ready", "model.started"]);
    wakes(story.fails(died()))
        .stands("running")
        .answers(finishes())
        .stands("completed");
}

/// B-CRASH-5
#[test]
fn five_deaths_within_a_minute_pause_even_when_steps_settle_between_them() {
    let mut story = thinking(interactive());
    for n in 0..4 {
        story = wakes(story.at(n * 10_000).fails(died()));
        story = story
            .answers(calls([exec("make")]))
            .settles(exited(&n.to_string()));
    }
    story.clone().at(50_000).fails(died()).stands("paused");
    story.at(120_000).fails(died()).stands("recovering");
}

/// B-CRASH-5
#[test]
fn a_server_killed_ten_times_leaves_a_healthy_session_alone() {
    let mut story = thinking(interactive()).answers(calls([exec("make")]));
    for n in 0..10 {
        story = story
            .when_the_server_crashes()
            .then(["runtime.crashed server false", "runtime.restarted 0"]);
        story = story
            .settles(exited(&n.to_string()))
            .answers(calls([exec("make")]))
            .stands("running");
    }
}

/// B-CRASH-5
#[test]
fn a_step_that_is_open_in_one_server_crash_after_the_other_counts() {
    let mut story = acting(interactive()).when_the_server_crashes();
    story = story.then(["runtime.crashed server false", "runtime.restarted 0"]);
    for attempt in 1..5 {
        story = story.when_the_server_crashes();
        story = story.then([
            "runtime.crashed server true",
            &format!("runtime.restarted {attempt}"),
        ]);
    }
    // The command may still run, and its evidence is kept: nothing is owed while somebody looks, and it is found then.
    let story = story.when_the_server_crashes();
    let story = story
        .then(["runtime.crashed server true", "session.paused crash_loop"])
        .owes([]);
    let story = story
        .when(resume())
        .when(Command::SlotGranted)
        .when(ready())
        .owes(["act"]);
    story
        .settles(exited("after all"))
        .then(["command.run", "model.started"]);
}

/// B-CRASH-5
#[test]
fn a_clean_stop_counts_nothing() {
    let mut story = acting(interactive());
    for _ in 0..10 {
        story = story
            .when_the_server_stops_and_starts()
            .then(["runtime.restarted 0"])
            .owes(["act"]);
    }
    assert!(!story.has("runtime.crashed"));
    let recovering = thinking(interactive())
        .fails(died())
        .when_the_server_stops_and_starts();
    recovering
        .then(["runtime.restarted 1"])
        .stands("running")
        .owes(["think"]);
}

/// B-CRASH-2
#[test]
fn a_command_keeps_its_name_over_a_crash_so_that_it_is_found_and_not_run_again() {
    let story = acting(interactive());
    let before = story.owed_ids();
    let story = story.when_the_server_crashes();
    assert_eq!(story.owed_ids(), before);
    story
        .settles(exited("once"))
        .then(["command.run", "model.started"]);
}

/// B-CRASH-1
#[test]
fn an_outcome_that_comes_twice_or_for_a_step_that_is_over_changes_nothing() {
    let again = acted(2, exited("ok"));
    let story = acting(interactive())
        .when(again.clone())
        .then(["command.run", "model.started"]);
    let story = story
        .when(again.clone())
        .then_nothing()
        .when(acted(3, exited("ok")))
        .then_nothing();
    let late = Command::Thought {
        step: 1,
        result: Err(died()),
        active_ms: 1,
        next: None,
    };
    let story = story.when(late).then_nothing();
    let story = story
        .fails(died())
        .stands("recovering")
        .fails(died())
        .then_nothing();
    story
        .answers(finishes())
        .then_nothing()
        .when(again)
        .then_nothing();
}

/// B-CRASH-4, B-CRASH-5
#[test]
fn a_panic_counts_wherever_it_happens() {
    let starting = given(interactive()).when(Command::SlotGranted);
    for story in [given(interactive()), starting, acting(interactive()), idle()] {
        let phase = story.world.state.phase.name();
        let story = panicked(story)
            .then(["runtime.crashed actor true", "runtime.restarted 1"])
            .stands(phase);
        let story = (0..3).fold(story, |story, _| panicked(story)).stands(phase);
        panicked(story).stands("paused");
    }
    let paused = (0..6).fold(idle().when(pause()), |story, _| panicked(story));
    paused.stands("paused").when(resume()).stands("idle");
}

#[test]
fn trouble_of_the_journal_is_written_down_and_not_counted() {
    let trouble = || RecoveryCause::Journal {
        message: "disk full".into(),
    };
    let story = acting(interactive()).recovered(trouble(), false);
    let story = story.then(["runtime.crashed actor false", "runtime.restarted 0"]);
    (0..10)
        .fold(story, |story, _| story.recovered(trouble(), false))
        .stands("running");
}

#[test]
fn a_session_without_work_hears_nothing_of_a_crash_of_the_server() {
    for story in [given(interactive()), idle(), idle().when(pause())] {
        story.when_the_server_crashes().then_nothing();
    }
    acting(interactive())
        .recovered(RecoveryCause::Wake, false)
        .then_nothing()
        .owes(["act"]);
}

#[test]
fn a_crash_while_the_workspace_is_made_ready_makes_it_ready_again() {
    let story = given(interactive())
        .when(Command::SlotGranted)
        .when_the_server_crashes();
    story
        .then(["runtime.crashed server false", "runtime.restarted 0"])
        .stands("starting")
        .owes(["prepare"]);
}

/// B-CRASH-3
#[test]
fn an_act_whose_outcome_is_unknown_is_never_owed_again() {
    let story = acting(interactive()).settles(unknown()).owes(["think"]);
    let story = story.when_the_server_crashes().owes(["think"]);
    story.when(acted(2, exited("late"))).then_nothing();
}

#[test]
fn the_time_of_a_call_that_was_lost_is_spent() {
    let story = thinking(interactive()).fails(died());
    assert_eq!(
        (story.world.state.usage.active_ms, story.world.state.usage.steps),
        (5, 0)
    );
    let turn = story.world.state.turn.as_ref().expect("the turn goes on");
    assert_eq!(turn.usage.active_ms, 5);
}

#[test]
fn a_brain_that_is_gone_fails_the_session() {
    let story = thinking(interactive()).fails(BrainFailure::Gone("the playbook is not there".into()));
    story
        .then([
            "model.completed",
            "turn.completed failed",
            "session.failed brain_gone",
        ])
        .stands("failed")
        .owes([]);
}

#[test]
fn what_a_dying_machine_says_is_cut_to_size() {
    let story = thinking(interactive()).fails(BrainFailure::Died("ä".repeat(100_000)));
    let record = story.world.records.last().expect("the crash");
    assert!(record.event.payload.len() < 5_000);
}
