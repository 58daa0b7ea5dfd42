//! How turns and sessions end, what a brain may call, and the patch that a clone hands in.

use longhaul_actors::session::{
    ANSWER_TEXT_LIMIT, Answer, AnswerEnd, CALLS_AT_ONCE, CALLS_LIMIT, DEPTH_LIMIT, Limits, SendMode,
    TOOL_NAME_LIMIT, ToolCall, ToolOutcome,
};
use serde_json::{Value, json};

use crate::story::{
    a_patch, acting, bounded, calls, ends, exec, exited, finishes, gone, idle, in_a_clone, interactive,
    limited, send, thinking, unknown,
};

#[test]
fn a_brain_that_yields_leaves_an_interactive_session_idle_and_a_bounded_one_at_work() {
    idle().then(["model.completed", "turn.completed yielded"]);
    let story = thinking(bounded()).answers(ends(AnswerEnd::Yield));
    story.then([
        "model.completed",
        "turn.completed yielded",
        "turn.started continue 0 0",
        "model.started",
    ]);
}

#[test]
fn a_brain_that_asks_awaits_input() {
    let story = thinking(bounded()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    story
        .then(["model.completed", "agent.question", "turn.completed needs_input"])
        .stands("awaiting_input")
        .owes([]);
}

#[test]
fn a_brain_that_finishes_ends_the_session() {
    for start in [interactive(), bounded()] {
        let story = thinking(start).answers(finishes());
        story
            .then([
                "model.completed",
                "turn.completed finished",
                "session.completed success",
            ])
            .stands("completed")
            .owes([]);
    }
}

#[test]
fn a_brain_that_gives_up_fails_the_session() {
    let story = thinking(bounded()).answers(ends(AnswerEnd::Fail {
        detail: "no compiler".into(),
    }));
    let story = story
        .then([
            "model.completed",
            "turn.completed failed",
            "session.failed brain_failed",
        ])
        .stands("failed");
    assert_eq!(story.world.state.outcome, "brain_failed: no compiler");
}

#[test]
fn a_finish_is_refused_while_input_is_unread() {
    let story = acting(bounded())
        .when(send("and the docs", SendMode::Queue))
        .settles(exited("ok"))
        .answers(finishes());
    let story = story.then([
        "model.completed",
        "turn.completed yielded",
        "turn.started input 9 9",
        "model.started",
    ]);
    story.answers(finishes()).stands("completed");
}

#[test]
fn planned_calls_are_made_in_order_before_the_brain_is_asked_again() {
    let story = thinking(interactive()).answers(calls([exec("make"), exec("make test")]));
    let story = story
        .then(["model.completed", "tool.started exec"])
        .settles(exited("ok"));
    let story = story
        .then(["command.run", "tool.started exec"])
        .settles(exited("ok"));
    story.then(["command.run", "model.started"]);
}

#[test]
fn a_call_that_does_not_fit_is_told_to_the_brain_and_nothing_is_done() {
    let fly = ToolCall {
        tool: "fly".into(),
        args: json!({}),
    };
    let wrong = ToolCall {
        tool: "read".into(),
        args: json!({ "file": "x" }),
    };
    thinking(interactive())
        .answers(calls([fly, wrong, exec("make")]))
        .then([
            "model.completed",
            "tool.started fly",
            "tool.failed unknown_tool",
            "tool.started read",
            "tool.failed invalid_arguments",
            "tool.started exec",
        ]);
}

/// B-CRASH-3
#[test]
fn an_unknown_outcome_drops_the_plan_and_asks_the_brain() {
    let answer = Answer {
        end: Some(AnswerEnd::Yield),
        ..calls([exec("deploy"), exec("rm -r build")])
    };
    let story = thinking(interactive()).answers(answer).settles(unknown());
    let story = story.then([
        "runtime.crashed hands true",
        "tool.outcome_unknown",
        "runtime.restarted 1",
        "model.started",
    ]);
    story.owes(["think"]);
}

/// B-START-4
#[test]
fn a_clone_hands_in_its_patch_before_it_ends() {
    let story = acting(in_a_clone(bounded()))
        .settles(exited("ok"))
        .answers(finishes());
    let story = story
        .then(["model.completed", "tool.started patch"])
        .owes(["act"])
        .settles(a_patch());
    story.then([
        "artifact.created patch",
        "tool.completed",
        "turn.completed finished",
        "session.completed success",
    ]);
    let failing = Answer {
        end: Some(AnswerEnd::Fail { detail: "no".into() }),
        ..Answer::default()
    };
    let story = acting(in_a_clone(bounded()))
        .settles(exited("ok"))
        .answers(failing);
    story
        .then(["model.completed", "tool.started patch"])
        .settles(a_patch())
        .stands("failed");
}

#[test]
fn a_workspace_that_did_not_change_or_is_no_clone_hands_in_nothing() {
    thinking(in_a_clone(bounded()))
        .answers(finishes())
        .stands("completed");
    acting(bounded())
        .settles(exited("ok"))
        .answers(finishes())
        .stands("completed");
}

/// The patch used to be tried again for ever.
#[test]
fn a_patch_that_is_empty_or_cannot_be_made_does_not_hold_up_the_end() {
    for outcome in [
        ToolOutcome::Done {
            output: "nothing changed".into(),
            active_ms: 1,
        },
        ToolOutcome::Failed {
            code: "not_a_repository".into(),
            detail: "git says no".into(),
            active_ms: 1,
        },
    ] {
        acting(in_a_clone(bounded()))
            .settles(exited("ok"))
            .answers(finishes())
            .settles(outcome)
            .stands("completed");
    }
}

#[test]
fn a_patch_of_the_brains_own_does_not_stand_for_the_changes() {
    let keep = ToolCall {
        tool: "artifact".into(),
        args: json!({ "kind": "patch", "path": "my.patch" }),
    };
    let story = acting(in_a_clone(bounded()))
        .settles(exited("ok"))
        .answers(calls([keep]))
        .settles(a_patch());
    story
        .answers(finishes())
        .then(["model.completed", "tool.started patch"]);
}

#[test]
fn a_message_during_the_patch_comes_first() {
    let story = acting(in_a_clone(bounded()))
        .settles(exited("ok"))
        .answers(finishes());
    let story = story
        .when(send("wait", SendMode::Steer))
        .settles(a_patch())
        .then([
            "artifact.created patch",
            "tool.completed",
            "turn.completed yielded",
            "turn.started input 13 13",
            "model.started",
        ]);
    story.answers(finishes()).stands("completed");
}

/// What an answer may hold is bounded, since it is written down in one frame and read back.
#[test]
fn an_answer_past_its_bounds_is_rubbish() {
    let long = "x".repeat(ANSWER_TEXT_LIMIT);
    let named = |tool: &str, args| {
        calls([ToolCall {
            tool: tool.into(),
            args,
        }])
    };
    for answer in [
        named("exec", nested(DEPTH_LIMIT + 1)),
        named("exec", json!("x".repeat(CALLS_LIMIT))),
        named(&"x".repeat(TOOL_NAME_LIMIT + 1), json!({})),
        Answer {
            say: Some(long.clone()),
            ..Answer::default()
        },
        ends(AnswerEnd::Ask { text: long.clone() }),
        ends(AnswerEnd::Finish { summary: long }),
        Answer {
            calls: vec![exec(""); CALLS_AT_ONCE + 1],
            ..Answer::default()
        },
    ] {
        thinking(interactive())
            .answers(answer)
            .then(["runtime.crashed brain true"])
            .stands("recovering");
    }
}

/// The worst that a brain may answer: long words, and as many calls as may be that all do not fit.
#[test]
fn an_answer_at_its_bounds_fits_in_a_frame_and_can_be_read_back() {
    let words = "x".repeat(ANSWER_TEXT_LIMIT - 64);
    let wrong = ToolCall {
        tool: "read".into(),
        args: json!({ "\u{1}".repeat(CALLS_LIMIT / CALLS_AT_ONCE / 6 - 20): 1 }),
    };
    let worst = Answer {
        say: Some(words.clone()),
        calls: vec![wrong; CALLS_AT_ONCE],
        end: Some(AnswerEnd::Ask { text: words }),
        ..Answer::default()
    };
    let limits = Limits {
        turn_steps: u32::MAX,
        ..Limits::default()
    };
    thinking(limited(interactive(), limits))
        .answers(worst)
        .stands("awaiting_input");
    let deep = calls([ToolCall {
        tool: "exec".into(),
        args: nested(DEPTH_LIMIT),
    }]);
    let story = thinking(interactive()).answers(deep);
    assert_eq!(story.world.replay(), story.world.state);
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(0.1), |inner, _| Value::Array(vec![inner]))
}

/// B-START-4: an act that was ended from outside may have left half of its work behind.
#[test]
fn a_clone_hands_in_what_an_interrupted_act_may_have_changed() {
    let story = acting(in_a_clone(interactive()))
        .when(send("stop that", SendMode::Interrupt))
        .when(gone());
    story
        .answers(finishes())
        .then(["model.completed", "tool.started patch"]);
}
