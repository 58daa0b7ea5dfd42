//! Sessions taken up again: over a gap in their log, and in another place. What was under way is never done again.

use std::sync::Arc;

use longhaul_actors::ports::Ruling;
use longhaul_actors::session::{Command, Event, Session, State, over_gap};
use longhaul_actors::{Entity, Moment, Placed};
use longhaul_journal::{Seq, Standing};

use crate::story::{
    Story, acting, calls, cancel, decide, exec, exited, finishes, gone, human, idle, interactive, resume,
    thinking, thought,
};

const LOST: u64 = 4;

/// The session after the last four numbers of its log were lost and it was repaired, and what was written for it.
fn repaired(story: &Story) -> (State, Vec<&'static str>) {
    let mut state = story.world.state.clone();
    let highest = Seq(state.head.0 + LOST);
    let moment = Moment {
        now_ms: story.world.now_ms,
    };
    let events = over_gap(&state, highest, "a sector went bad".into(), human(), moment);
    let mut seq = highest;
    for event in &events {
        seq = seq.next();
        Session::apply(
            &mut state,
            Placed {
                seq,
                time_ms: moment.now_ms,
                event,
            },
        );
    }
    assert_eq!(state.head, Seq(highest.0 + events.len() as u64));
    (state, events.iter().map(|event| event.body.type_name()).collect())
}

/// B-LOG-10: nothing that may have been done in the gap is done again, and a human looks first.
#[test]
fn an_open_act_is_unknown_after_a_repair_and_nothing_is_owed() {
    let (state, written) = repaired(&acting(interactive()));
    assert_eq!(written, ["journal.gap", "tool.outcome_unknown", "session.paused"]);
    assert_eq!(state.phase.name(), "paused");
    assert_eq!(Session::standing(&state), Standing::Waits("resume".into()));
    assert_eq!(Session::owed(&state), []);
}

/// B-LOG-10: the decision, and the act, may be what was lost.
#[test]
fn a_request_that_waited_is_void_after_a_repair_and_its_act_is_unknown() {
    let asking = thinking(interactive())
        .gated(Ruling::Ask)
        .when(thought(1, calls([exec("git push")])));
    let (state, written) = repaired(&asking);
    assert_eq!(
        written,
        [
            "journal.gap",
            "approval.canceled",
            "tool.outcome_unknown",
            "session.paused"
        ]
    );
    assert_eq!(
        (state.approval, state.turn.map(|turn| turn.plan)),
        (None, Some(Vec::new()))
    );
}

/// B-LOG-12: a copy of a session may have made use of the approval where it came from.
#[test]
fn an_approval_that_was_not_made_use_of_is_void_once_the_session_is_adopted() {
    let asking = thinking(interactive())
        .gated(Ruling::Ask)
        .when(thought(1, calls([exec("git push")])));
    let id = asking.world.state.approval.as_ref().map(|asked| asked.id.clone());
    let id = id.expect("it was asked for");
    // One that still waits for a word goes on waiting.
    asking
        .clone()
        .when(Command::Adopt { by: human() })
        .then(["session.adopted"])
        .stands("awaiting_approval");
    asking
        .when(decide(&id, true))
        .when(Command::Adopt { by: human() })
        .then(["session.adopted", "approval.canceled uncertain"])
        .stands("queued");
}

/// B-LOG-10
#[test]
fn a_brain_call_that_was_open_is_closed_by_a_repair() {
    let (_, written) = repaired(&thinking(interactive()));
    assert_eq!(written, ["journal.gap", "model.completed", "session.paused"]);
}

/// B-LOG-10: the lost frame may be the very one that said that the planned call began.
#[test]
fn a_planned_call_may_have_begun_in_the_gap_and_is_not_made() {
    let story = thinking(interactive()).when(thought(1, calls([exec("make"), exec("make install")])));
    let mut before = story.settles(exited("ok"));
    // The log ends between the first call's outcome and the start of the second: they share a frame only by chance.
    before.world.state.open = None;
    before.world.state.steps = 2;
    before
        .world
        .state
        .turn
        .as_mut()
        .expect("the turn goes on")
        .plan
        .push(longhaul_actors::session::PlannedCall(Arc::new(exec(
            "make install",
        ))));
    let (state, written) = repaired(&before);
    assert_eq!(written, ["journal.gap", "tool.outcome_unknown", "session.paused"]);
    assert!(state.turn.is_some_and(|turn| turn.plan.is_empty()));
}

/// B-LOG-10: evidence of an old act must not be taken for that of a new one.
#[test]
fn no_number_of_a_step_that_may_lie_in_the_gap_is_used_again() {
    let before = acting(interactive());
    let steps = before.world.state.steps;
    let (state, _) = repaired(&before);
    assert_eq!(state.steps, steps + LOST);
}

#[test]
fn a_session_that_had_ended_stays_ended_over_a_gap() {
    let (state, written) = repaired(&thinking(interactive()).answers(finishes()));
    assert_eq!((written, state.phase.name()), (vec!["journal.gap"], "completed"));
}

/// B-LOG-10
#[test]
fn a_repaired_session_asks_its_brain_first_once_it_is_resumed() {
    let (state, _) = repaired(&acting(interactive()));
    let mut story = acting(interactive());
    story.world.state = state;
    let mut phases = Vec::new();
    for command in [resume(), Command::SlotGranted, crate::story::ready()] {
        let decision =
            Session::decide(&story.world.state, command, Moment { now_ms: 9_000 }).expect("granted");
        for event in &decision.events {
            fold(&mut story.world.state, event);
            phases.push(event.body.type_name());
        }
    }
    assert_eq!(phases.last(), Some(&"model.started"));
    assert!(!phases.contains(&"tool.started"), "{phases:?}");
}

fn fold(state: &mut State, event: &Event) {
    let seq = state.head.next();
    Session::apply(
        state,
        Placed {
            seq,
            time_ms: 9_000,
            event,
        },
    );
}

fn adopt() -> Command {
    Command::Adopt { by: human() }
}

/// B-LOG-12
#[test]
fn an_adopted_session_does_not_know_what_was_under_way_and_makes_its_workspace_first() {
    acting(interactive())
        .when(adopt())
        .then(["session.adopted", "tool.outcome_unknown"])
        .stands("queued")
        .owes(["slot"])
        .when(Command::SlotGranted)
        .when(crate::story::ready())
        .then(["sandbox.ready", "model.started"]);
}

/// B-LOG-12
#[test]
fn an_adopted_session_that_rested_goes_on_resting() {
    idle().when(adopt()).then(["session.adopted"]).stands("idle");
    thinking(interactive())
        .answers(finishes())
        .when(adopt())
        .then(["session.adopted"])
        .stands("completed");
}

/// B-LOG-12: a stop that was asked for elsewhere is carried out here, where no process is left of it.
#[test]
fn an_adopted_session_that_was_being_stopped_is_stopped() {
    acting(interactive())
        .when(cancel())
        .when(adopt())
        .then(["session.adopted"])
        .owes(["stop"])
        .when(gone())
        .stands("canceled");
}
