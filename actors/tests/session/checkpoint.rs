//! When the files are kept, what waits for it, and what does not.

use longhaul_actors::ports::SetupError;
use longhaul_actors::session::{
    AnswerEnd, Command, Limits, Refusal, SendMode, Start, WorkspaceKind, WorkspaceSpec,
};
use longhaul_journal::Seq;

use crate::story::{
    Story, acting, bounded, calls, cancel, ends, exec, exited, finishes, given, gone, human, interactive,
    kept, limited, pause, ready, resume, send, thinking,
};

fn with_checkpoints(start: Start) -> Start {
    let limits = Limits {
        checkpoints: true,
        ..Limits::default()
    };
    limited(start, limits)
}

fn request() -> Command {
    Command::Checkpoint { by: human() }
}

fn head(story: &Story) -> u64 {
    story.world.state.head.0
}

#[test]
fn the_end_of_a_turn_that_may_have_changed_files_owes_a_checkpoint_and_then_it_idles() {
    let story = acting(with_checkpoints(interactive())).settles(exited("ok"));
    let story = story
        .answers(ends(AnswerEnd::Yield))
        .then(["model.completed", "turn.completed yielded"]);
    let at = head(&story);
    let story = story.stands("idle").owes(["checkpoint"]).when(kept(at));
    let story = story
        .then([&*format!("checkpoint.created {at}")])
        .stands("idle")
        .owes([]);
    story.when(kept(at)).then_nothing();
}

#[test]
fn a_turn_that_only_talked_owes_none_once_the_files_were_kept() {
    let story = thinking(with_checkpoints(interactive()))
        .answers(ends(AnswerEnd::Yield))
        .owes(["checkpoint"]);
    let at = head(&story);
    let story = story.when(kept(at)).when(send("more", SendMode::Steer));
    let story = story.when(Command::SlotGranted).when(ready());
    story.answers(ends(AnswerEnd::Yield)).stands("idle").owes([]);
}

#[test]
fn the_next_act_waits_for_the_checkpoint_and_the_brain_does_not() {
    let story = acting(with_checkpoints(bounded()))
        .settles(exited("ok"))
        .answers(ends(AnswerEnd::Yield));
    let at = head(&story) - 2;
    let story = story
        .then([
            "model.completed",
            "turn.completed yielded",
            "turn.started continue 0 0",
            "model.started",
        ])
        .owes(["think", "checkpoint"]);
    let story = story
        .answers(calls([exec("make b")]))
        .then(["model.completed"])
        .owes(["checkpoint"]);
    let story = story.when_the_server_crashes().owes(["checkpoint"]);
    let created = format!("checkpoint.created {at}");
    let story = story.when(kept(at)).then([&*created]);
    story.owes(["admit"]);
}

#[test]
fn a_checkpoint_that_cannot_be_made_holds_up_nothing() {
    let story = acting(with_checkpoints(bounded()))
        .settles(exited("ok"))
        .answers(ends(AnswerEnd::Yield));
    let at = head(&story) - 2;
    let story = story.answers(calls([exec("make b")]));
    let result = Err(SetupError {
        code: "workspace_too_large".into(),
        detail: String::new(),
        report: None,
    });
    let skipped = format!("checkpoint.skipped {at} workspace_too_large");
    let story = story.when(Command::Checkpointed { at: Seq(at), result });
    story.then([&*skipped]).owes(["admit"]);
}

#[test]
fn a_request_while_an_act_is_under_way_is_for_the_files_after_it() {
    let story = acting(interactive())
        .when(request())
        .then(["checkpoint.requested"])
        .owes(["act"]);
    let story = story.when(request()).then_nothing();
    let story = story.settles(exited("ok")).then(["command.run", "model.started"]);
    let at = head(&story) - 1;
    let story = story.owes(["think", "checkpoint"]);
    story
        .when(kept(at))
        .then([&*format!("checkpoint.created {at}")])
        .owes(["think"]);
}

#[test]
fn a_session_that_rests_can_be_kept_without_being_woken() {
    let asked = thinking(interactive()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    for (story, phase) in [
        (crate::story::idle().when(pause()), "paused"),
        (asked, "awaiting_input"),
    ] {
        let story = story
            .when(request())
            .then(["checkpoint.requested"])
            .stands(phase)
            .owes(["checkpoint"]);
        let at = head(&story);
        story.when(kept(at)).stands(phase).owes([]);
    }
}

#[test]
fn what_has_no_files_of_its_own_has_no_checkpoints() {
    let workspace = WorkspaceSpec {
        kind: WorkspaceKind::InPlace,
        source: "/home/me".into(),
        ..WorkspaceSpec::default()
    };
    let in_place = Start {
        workspace,
        ..with_checkpoints(interactive())
    };
    thinking(in_place.clone())
        .answers(ends(AnswerEnd::Yield))
        .stands("idle")
        .owes([]);
    thinking(in_place).when(request()).refused_as_invalid();
    given(interactive()).when(request()).refused_as_invalid();
    thinking(interactive())
        .answers(finishes())
        .when(request())
        .refused(&Refusal::Terminal("completed"));
}

#[test]
fn the_end_of_a_session_and_a_stop_owe_no_checkpoint() {
    thinking(with_checkpoints(bounded()))
        .answers(finishes())
        .stands("completed")
        .owes([]);
    let story = acting(with_checkpoints(interactive()))
        .settles(exited("ok"))
        .answers(ends(AnswerEnd::Yield));
    story
        .clone()
        .when(cancel())
        .owes(["stop"])
        .when(gone())
        .stands("canceled")
        .owes([]);
    story
        .when(pause())
        .when(resume())
        .stands("idle")
        .owes(["checkpoint"]);
}

/// B-START-4
#[test]
fn that_the_folders_are_gone_is_written_once_and_only_after_the_end() {
    let released = || Command::Released {
        freed_bytes: 9,
        workspace_kept: String::new(),
        patch: None,
    };
    thinking(interactive()).when(released()).then_nothing();
    let story = thinking(interactive())
        .answers(finishes())
        .when(released())
        .then(["sandbox.released"]);
    story.stands("completed").owes([]).when(released()).then_nothing();
}
