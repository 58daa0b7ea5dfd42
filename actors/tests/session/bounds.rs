//! Deadlines, budgets, and the ladder of a loop.

use longhaul_actors::ports::BrainFailure;
use longhaul_actors::session::{
    Answer, AnswerEnd, Command, Effect, LOOP_LIMIT, Limits, SendMode, Start, ToolCall,
};
use serde_json::json;

use crate::story::{
    Story, a_patch, acting, bounded, calls, ends, exec, exited, exited_after, in_a_clone, interactive,
    limited, ready, resume, send, thinking, unknown,
};

fn turn_of(turn_ms: u64, start: Start) -> Start {
    limited(
        start,
        Limits {
            turn_ms,
            ..Limits::default()
        },
    )
}

fn run_of(run_ms: u64, start: Start) -> Start {
    limited(
        start,
        Limits {
            run_ms,
            ..Limits::default()
        },
    )
}

/// Says a word to a session that waits, and brings it to its next brain call.
fn told(story: Story) -> Story {
    story
        .when(send("go on", SendMode::Steer))
        .when(Command::SlotGranted)
        .when(ready())
}

/// B-STUCK-1
#[test]
fn a_turn_that_ran_over_its_time_ends_and_the_second_in_a_row_pauses() {
    let story = acting(turn_of(100, interactive())).settles(exited_after(95, "ok"));
    let story = story
        .then([
            "command.run",
            "turn.stuck deadline",
            "turn.completed deadline_exceeded",
        ])
        .stands("idle");
    let story = told(story)
        .answers(calls([exec("make")]))
        .settles(exited_after(95, "ok"));
    let story = story.then([
        "command.run",
        "turn.stuck deadline",
        "turn.completed deadline_exceeded",
        "session.paused stuck",
    ]);
    let story = told(story.when(resume()).stands("idle")).answers(calls([exec("make")]));
    story.settles(exited_after(95, "ok")).stands("idle");
}

#[test]
fn a_turn_that_ends_by_itself_forgives_the_one_that_ran_over() {
    let story = acting(turn_of(100, interactive()))
        .settles(exited_after(95, "ok"))
        .stands("idle");
    let story = told(told(story).answers(ends(AnswerEnd::Yield)).stands("idle"));
    story
        .answers(calls([exec("make")]))
        .settles(exited_after(95, "ok"))
        .stands("idle");
}

#[test]
fn a_bounded_run_that_ran_over_a_turns_time_is_told_in_its_next_turn() {
    acting(turn_of(100, bounded()))
        .settles(exited_after(95, "ok"))
        .then([
            "command.run",
            "turn.stuck deadline",
            "turn.completed deadline_exceeded",
            "turn.started continue 0 0",
            "model.started",
        ]);
}

#[test]
fn the_steps_of_a_turn_are_bounded_and_in_a_bounded_run_the_next_turn_follows() {
    let limits = Limits {
        turn_steps: 2,
        ..Limits::default()
    };
    let story = acting(limited(interactive(), limits)).settles(exited("ok"));
    story
        .then([
            "command.run",
            "turn.stuck steps",
            "turn.completed deadline_exceeded",
        ])
        .stands("idle");
    let mut story = acting(limited(bounded(), limits));
    for _ in 0..3 {
        story = story.settles(exited("ok")).then([
            "command.run",
            "turn.completed deadline_exceeded",
            "turn.started continue 0 0",
            "model.started",
        ]);
        story = story.answers(calls([exec("make")]));
    }
}

/// B-STUCK-1
#[test]
fn a_brain_that_does_not_answer_ends_its_turn_and_twice_pauses() {
    let story = thinking(interactive()).fails(BrainFailure::TimedOut(600_000));
    let story = story
        .then([
            "model.completed",
            "turn.stuck deadline",
            "turn.completed deadline_exceeded",
        ])
        .stands("idle");
    assert_eq!(
        story.world.state.usage.active_ms, 600_000,
        "the time it took is spent"
    );
    told(story).fails(BrainFailure::TimedOut(600_000)).then([
        "model.completed",
        "turn.stuck deadline",
        "turn.completed deadline_exceeded",
        "session.paused stuck",
    ]);
}

/// B-RUN-2
#[test]
fn a_run_whose_budget_is_spent_completes_and_drops_what_it_had_planned() {
    let story = thinking(run_of(100, bounded())).answers(calls([exec("make"), exec("make test")]));
    story.settles(exited_after(95, "ok")).then([
        "command.run",
        "turn.completed deadline_exceeded",
        "session.completed deadline_exceeded",
    ]);
}

/// The next planned command used to be performed under the name of the patch.
#[test]
fn a_run_whose_budget_is_spent_hands_in_its_patch_and_nothing_else() {
    let start = run_of(100, in_a_clone(bounded()));
    let story = thinking(start)
        .answers(calls([exec("make"), exec("rm -r build")]))
        .settles(exited_after(95, "ok"));
    let story = story.then(["command.run", "tool.started patch"]);
    let owed = story.world.owed();
    assert!(
        matches!(&owed[0].effect, Effect::Act { call, .. } if call.tool == "patch"),
        "{owed:?}"
    );
    story.settles(a_patch()).then([
        "artifact.created patch",
        "tool.completed",
        "turn.completed deadline_exceeded",
        "session.completed deadline_exceeded",
    ]);
}

#[test]
fn a_brain_cut_short_by_the_budget_of_the_run_is_not_stuck() {
    let story = thinking(run_of(100, bounded()));
    assert!(matches!(
        story.world.owed()[0].effect,
        Effect::Think { limit_ms: 100, .. }
    ));
    story.fails(BrainFailure::TimedOut(100)).then([
        "model.completed",
        "turn.completed deadline_exceeded",
        "session.completed deadline_exceeded",
    ]);
}

#[test]
fn a_command_gets_the_time_it_asks_for_within_its_bounds() {
    for (asked, given) in [
        (None, 120_000),
        (Some(300_000), 300_000),
        (Some(9_000_000), 1_790_000),
    ] {
        let args = json!({ "command": "make", "timeoutMs": asked });
        let answer = calls([ToolCall {
            tool: "exec".into(),
            args,
        }]);
        let limits = Limits {
            turn_ms: 1_790_005,
            ..Limits::default()
        };
        let owed = thinking(limited(interactive(), limits))
            .answers(answer)
            .world
            .owed();
        assert!(
            matches!(owed[0].effect, Effect::Act { limit_ms, .. } if limit_ms == given),
            "{owed:?}"
        );
    }
}

/// The brain calls this act, and it comes out the same, so many times.
fn again(mut story: Story, times: u32, answer: impl Fn(u32) -> Answer) -> Story {
    for n in 0..times {
        story = story.answers(answer(n)).settles(exited("the same"));
    }
    story
}

fn make(_: u32) -> Answer {
    calls([exec("make")])
}

/// B-STUCK-2
#[test]
fn a_loop_is_told_to_the_brain_then_asked_of_the_human_then_paused() {
    let story = again(thinking(interactive()), LOOP_LIMIT, make);
    let story = story.then(["command.run", "turn.stuck loop", "model.started"]);
    let story = again(story, LOOP_LIMIT, make);
    let story = story.then([
        "command.run",
        "turn.stuck loop",
        "agent.question",
        "turn.completed stuck",
    ]);
    let story = again(told(story.stands("awaiting_input")), LOOP_LIMIT, make);
    let story = story.then([
        "command.run",
        "turn.stuck loop",
        "turn.completed stuck",
        "session.paused stuck",
    ]);
    let story = again(told(story.when(resume())), LOOP_LIMIT, make);
    story.then(["command.run", "turn.stuck loop", "model.started"]);
}

/// B-STUCK-2
#[test]
fn a_restart_does_not_reset_the_meter() {
    let story = again(thinking(interactive()), LOOP_LIMIT - 1, make);
    let story = story.when_the_server_crashes().when_the_server_stops_and_starts();
    again(story, 1, make).then(["command.run", "turn.stuck loop", "model.started"]);
}

/// B-STUCK-2: progress is a settled step, and words are none.
#[test]
fn words_that_change_beside_an_act_that_does_not_are_a_loop_all_the_same() {
    let chatty = |n| Answer {
        say: Some(format!("attempt {n}")),
        ..make(n)
    };
    let story = again(thinking(interactive()), LOOP_LIMIT, chatty);
    story.then(["command.run", "turn.stuck loop", "model.started"]);
}

#[test]
fn an_act_with_a_new_result_is_no_loop() {
    let mut story = thinking(interactive());
    for n in 0..3 * LOOP_LIMIT {
        story = story.answers(make(n)).settles(exited(&format!("{n} tests fail")));
    }
    assert!(!story.has("turn.stuck"));
}

#[test]
fn the_same_act_in_another_folder_or_environment_is_another_act() {
    let elsewhere = |n: u32| {
        let args = json!({ "command": "make", "cwd": format!("d{}", n % 2), "env": { "N": n.to_string() } });
        calls([ToolCall {
            tool: "exec".into(),
            args,
        }])
    };
    let story = again(thinking(interactive()), 2 * LOOP_LIMIT, elsewhere);
    assert!(!story.has("turn.stuck"));
}

#[test]
fn a_bounded_run_that_yields_with_the_same_words_over_and_over_is_a_loop() {
    let mut story = thinking(bounded());
    for _ in 0..LOOP_LIMIT {
        story = story.answers(Answer {
            say: Some("all is well".into()),
            ..ends(AnswerEnd::Yield)
        });
    }
    assert!(story.has("turn.stuck"));
}

#[test]
fn a_bounded_run_that_yields_with_something_new_to_say_is_no_loop() {
    let mut story = thinking(bounded());
    for n in 0..3 * LOOP_LIMIT {
        story = story.answers(Answer {
            say: Some(format!("{n} of 100 done")),
            ..ends(AnswerEnd::Yield)
        });
    }
    assert!(!story.has("turn.stuck"));
}

#[test]
fn a_brain_that_finishes_in_a_loop_may_finish() {
    let mut story = thinking(interactive());
    for _ in 0..2 * LOOP_LIMIT - 1 {
        story = story.answers(make(0)).settles(exited("the same"));
    }
    let last = Answer {
        end: Some(AnswerEnd::Finish {
            summary: String::new(),
        }),
        ..make(0)
    };
    story
        .answers(last)
        .settles(exited("the same"))
        .stands("completed");
}

#[test]
fn a_bounded_run_paused_in_a_loop_goes_on_when_a_human_says_so() {
    let mut story = again(thinking(bounded()), 2 * LOOP_LIMIT, make).stands("awaiting_input");
    story = again(told(story), LOOP_LIMIT, make).stands("paused");
    story.when(resume()).stands("queued");
}

#[test]
fn new_input_starts_the_count_again() {
    let story = again(thinking(interactive()), LOOP_LIMIT - 2, make).answers(make(0));
    let story = story
        .when(send("once more", SendMode::Steer))
        .settles(exited("the same"));
    let story = story.then(["command.run", "turn.steered 21", "model.started"]);
    let story = again(story, LOOP_LIMIT - 1, make);
    assert!(!story.has("turn.stuck"));
    again(story, 1, make).then(["command.run", "turn.stuck loop", "model.started"]);
}

/// A command that kills its own shim is never settled; asking for it again and again is a loop all the same.
#[test]
fn an_act_whose_outcome_stays_unknown_is_a_loop() {
    let mut story = thinking(interactive());
    for n in 0..u64::from(LOOP_LIMIT) {
        story = story.at(n * 100_000).answers(make(0)).settles(unknown());
    }
    story.then([
        "runtime.crashed hands true",
        "tool.outcome_unknown",
        "runtime.restarted 1",
        "turn.stuck loop",
        "model.started",
    ]);
}
