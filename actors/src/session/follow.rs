//! What follows by itself: the next facts of a session that nobody has to ask for.
//!
//! `decide` writes down what a command brought; then this is called until nothing follows any more. All of it lands in
//! one frame, so that there is no state between a turn's end and the next turn's start that a crash could leave behind.

use super::admission::{self, call_digest, turn_away};
use super::apply::hands_in_a_patch;
use super::approval;
use super::checkpoint::holds_acts;
use super::draft::Draft;
use super::event::{
    Actor, AgentQuestion, Completed, Failed, Mode, ModelCompleted, ModelStarted, PauseReason, Paused,
    RunOutcome, SendMode, StopKind, StuckEvidence, ToolStarted, TurnCause, TurnCompleted, TurnEnd,
    TurnStarted, TurnSteered, TurnStuck, Usage, Void,
};
use super::meter::NO_MESSAGE;
use super::money;
use super::service::{self, ServiceCause};
use super::state::{Ending, Phase, PlannedCall, State, Turn, Work};
use super::tool::{CallError, Exec, Tool, ToolCall};

/// How many messages one brain call takes; the next call takes more. A frame holds 4,096 records.
const STEERED_AT_ONCE: usize = 1_000;

/// Adds the next facts, or none when the session waits for somebody.
pub(super) fn follow(draft: &mut Draft) {
    service::follow(draft);
    if let (Some(_), Phase::Stopping { stop, .. }) = (&draft.state.approval, draft.state.phase) {
        let reason = match stop {
            StopKind::Interrupt => Void::Interrupt,
            StopKind::Cancel => Void::Cancel,
        };
        return approval::void(draft, reason);
    }
    if draft.state.pause.is_some() && follow_pause(draft) {
        return;
    }
    if draft.state.phase != Phase::Running || draft.state.open.is_some() {
        return;
    }
    let Some(turn) = draft.state.turn.clone() else {
        return start_turn(draft);
    };
    if draft
        .state
        .inbox
        .iter()
        .any(|unread| unread.mode == SendMode::Interrupt)
    {
        // It came while the turn rested (paused, queued, starting), so that there was nothing to stop.
        return complete_turn(draft, TurnEnd::Interrupted);
    }
    let ends_anyway = turn.plan.is_empty() && turn.end.as_ref().is_some_and(Ending::ends_the_run);
    if draft.state.loops.found.is_some() && !ends_anyway && !tell_loop(draft) {
        return;
    }
    if draft.state.run_is_spent() && !ends_anyway {
        finish_spent_run(draft);
        return;
    }
    if !turn.plan.is_empty() {
        // The act waits until the files are kept as they are before it; the outcome of that brings us here again.
        if !holds_acts(&draft.state) && !over_bounds(draft, &turn) {
            start_planned_tool(draft, &turn);
        }
        return;
    }
    match turn.end {
        Some(ref end) => end_turn(draft, &turn, end.clone()),
        None if over_bounds(draft, &turn) => {}
        None => ask_brain(draft),
    }
}

/// Pauses as soon as no step is open; true when that was all.
fn follow_pause(draft: &mut Draft) -> bool {
    let Some(wish) = draft.state.pause else {
        return false;
    };
    if draft.state.phase.is_terminal()
        || matches!(draft.state.phase, Phase::Stopping { .. } | Phase::Paused { .. })
    {
        return false;
    }
    match &draft.state.open {
        Some(open) if matches!(open.work, Work::Think { .. }) => {
            let idle_brain = matches!(draft.state.phase, Phase::Recovering { .. });
            if !(wish.now || idle_brain) {
                return false;
            }
            let failure = "ended by a pause".into();
            let step = open.step;
            draft.push(Actor::RUNTIME, None, closing(step, failure));
            true
        }
        Some(_) => false,
        None => {
            if service::settle_before(draft, ServiceCause::Paused) {
                draft.push(Actor::RUNTIME, None, Paused::because(wish.reason));
            }
            true
        }
    }
}

/// The end of a brain call that brought no answer.
pub(super) fn closing(step: u64, failure: String) -> ModelCompleted {
    let usage = Usage {
        steps: 1,
        ..Usage::default()
    };
    ModelCompleted {
        step,
        calls: Vec::new(),
        end: None,
        failure: Some(failure),
        gone: false,
        usage,
    }
}

fn start_turn(draft: &mut Draft) {
    let unread = &draft.state.inbox;
    let (from, to) = match (unread.first(), unread.last()) {
        (Some(first), Some(last)) => (first.seq, last.seq),
        _ => (NO_MESSAGE, NO_MESSAGE),
    };
    if draft.state.run_is_spent() {
        finish_spent_run(draft);
        return;
    }
    let cause = if to == NO_MESSAGE {
        TurnCause::Continue
    } else {
        TurnCause::Input
    };
    let input = (to != NO_MESSAGE).then_some(to);
    draft.push(
        Actor::RUNTIME,
        input,
        TurnStarted {
            cause,
            input_from_seq: from,
            input_to_seq: to,
        },
    );
}

/// Writes a loop down and climbs its ladder: tell the brain, ask the human, pause. True when the turn goes on.
fn tell_loop(draft: &mut Draft) -> bool {
    let Some((digest, times)) = draft.state.loops.found.clone() else {
        return true;
    };
    let rung = draft.state.loops.rung;
    let evidence = StuckEvidence::Loop { digest, times };
    let stuck = draft.push(Actor::RUNTIME, None, TurnStuck { evidence });
    if rung == 0 {
        return true;
    }
    if rung == 1 {
        let text =
            format!("the same act gave the same result {times} times over, again. How shall it go on?");
        draft.push(Actor::RUNTIME, Some(stuck), AgentQuestion { text });
    }
    complete_turn(draft, TurnEnd::Stuck);
    if rung > 1 {
        draft.push(Actor::RUNTIME, Some(stuck), Paused::because(PauseReason::Stuck));
    }
    false
}

/// Ends a turn whose time or steps are spent; true when it did.
fn over_bounds(draft: &mut Draft, turn: &Turn) -> bool {
    let limits = draft.state.limits();
    let evidence = if turn.usage.active_ms >= limits.turn_ms {
        StuckEvidence::Deadline {
            spent_ms: turn.usage.active_ms,
        }
    } else if turn.usage.steps >= limits.turn_steps {
        StuckEvidence::Steps {
            steps: turn.usage.steps,
        }
    } else {
        return false;
    };
    // Taking 64 steps in a bounded run is ordinary work: the next turn follows. Time run out is a sign of trouble.
    let ordinary = matches!(evidence, StuckEvidence::Steps { .. }) && draft.state.mode() == Mode::Bounded;
    if ordinary {
        complete_turn(draft, TurnEnd::DeadlineExceeded);
        return true;
    }
    overrun(draft, evidence);
    true
}

/// Ends a turn that ran over its bounds; the second in a row pauses the session.
pub(super) fn overrun(draft: &mut Draft, evidence: StuckEvidence) {
    let again = draft.state.overruns > 0;
    let stuck = draft.push(Actor::RUNTIME, None, TurnStuck { evidence });
    complete_turn(draft, TurnEnd::DeadlineExceeded);
    if again {
        let reason = PauseReason::Stuck;
        draft.push(Actor::RUNTIME, Some(stuck), Paused::because(reason));
    }
}

/// Ends a run whose own budget is spent, with its patch.
fn finish_spent_run(draft: &mut Draft) {
    if !service::settle_before(draft, ServiceCause::Ended) {
        return;
    }
    if draft.state.turn.is_some() {
        if hands_in_a_patch(&draft.state) {
            if !holds_acts(&draft.state) {
                start_patch(draft);
            }
            return;
        }
        complete_turn(draft, TurnEnd::DeadlineExceeded);
    }
    let summary = "the time of the run is spent".into();
    draft.push(
        Actor::RUNTIME,
        None,
        Completed {
            outcome: RunOutcome::DeadlineExceeded,
            summary,
        },
    );
}

/// Begins the next act of the plan if it is admitted. One that does not fit is told to the brain, and needs no admission.
fn start_planned_tool(draft: &mut Draft, turn: &Turn) {
    let PlannedCall(call) = &turn.plan[0];
    match Tool::parse(call).and_then(|tool| service::admit(&draft.state, tool)) {
        Ok(tool) => admission::begin(draft, call, &tool),
        Err(CallError { code, detail }) => {
            let (brief, digest) = (call.tool.clone(), call_digest(call));
            turn_away(draft, None, call, brief, digest, (code, detail));
        }
    }
}

fn start_patch(draft: &mut Draft) {
    let call = ToolCall {
        tool: "patch".into(),
        args: serde_json::json!({}),
    };
    let tool = Tool::Patch(super::tool::Patch {});
    let digest = call_digest(&call);
    let Some(hold) = money::take_hold(draft) else {
        return;
    };
    let started = ToolStarted {
        hold,
        ..tool_started(&draft.state, draft.state.steps + 1, &call, &tool, digest)
    };
    draft.push(Actor::RUNTIME, None, started);
}

pub(super) fn tool_started(
    state: &State,
    step: u64,
    call: &ToolCall,
    tool: &Tool,
    digest: String,
) -> ToolStarted {
    ToolStarted {
        step,
        tool: call.tool.clone(),
        brief: tool.brief(),
        digest,
        class: tool.class(),
        limit_ms: limit_of(state, tool),
        hold: None,
    }
}

/// Active milliseconds that an act may take.
pub(super) fn limit_of(state: &State, tool: &Tool) -> u64 {
    let limits = state.limits();
    let asked = match tool {
        Tool::Exec(Exec {
            timeout_ms: Some(asked),
            ..
        }) => (*asked).min(limits.command_max_ms),
        _ => limits.command_ms,
    };
    // The patch is made after the run's time is spent, so that it never lacks the time for it.
    let limit_ms = match tool {
        Tool::Patch(_) => asked,
        _ => asked.min(state.remaining_ms()),
    };
    limit_ms.max(1)
}

fn end_turn(draft: &mut Draft, turn: &Turn, end: Ending) {
    if end.ends_the_run() && !matches!(end, Ending::Gone(_)) {
        if !draft.state.inbox.is_empty() {
            // Completion is refused while input is unread: the turn after this one takes it.
            complete_turn(draft, TurnEnd::Yielded);
            return;
        }
        if !service::settle_before(draft, ServiceCause::Ended) {
            return;
        }
        if hands_in_a_patch(&draft.state) {
            if !holds_acts(&draft.state) {
                start_patch(draft);
            }
            return;
        }
    }
    let cause = turn.result;
    match end {
        Ending::Yield => complete_turn(draft, TurnEnd::Yielded),
        Ending::Ask(text) => {
            draft.push(Actor::AGENT, None, AgentQuestion { text });
            complete_turn(draft, TurnEnd::NeedsInput);
        }
        Ending::Finish(summary) => {
            complete_turn(draft, TurnEnd::Finished);
            draft.push(
                Actor::AGENT,
                cause,
                Completed {
                    outcome: RunOutcome::Success,
                    summary,
                },
            );
        }
        Ending::Gone(detail) => {
            if service::settle_before(draft, ServiceCause::Ended) {
                complete_turn(draft, TurnEnd::Failed);
                let code = "brain_gone".into();
                draft.push(Actor::RUNTIME, cause, Failed { code, detail });
            }
        }
        Ending::Fail(detail) => {
            complete_turn(draft, TurnEnd::Failed);
            draft.push(
                Actor::AGENT,
                cause,
                Failed {
                    code: "brain_failed".into(),
                    detail,
                },
            );
        }
    }
}

/// Ends the turn under way.
pub(super) fn complete_turn(draft: &mut Draft, reason: TurnEnd) {
    if draft.state.turn.is_some() {
        approval::void(
            draft,
            match reason {
                TurnEnd::Interrupted => Void::Interrupt,
                TurnEnd::Canceled => Void::Cancel,
                _ => Void::TurnEnded,
            },
        );
    }
    let Some(turn) = &draft.state.turn else { return };
    let completed = TurnCompleted {
        reason,
        result_seq: turn.result,
        usage: turn.usage,
    };
    draft.push(Actor::RUNTIME, None, completed);
}

fn ask_brain(draft: &mut Draft) {
    let Some(hold) = money::take_hold(draft) else {
        return;
    };
    let step = draft.state.steps + 1;
    let unread = draft.state.inbox.iter();
    let steering: Vec<_> = unread
        .filter(|unread| unread.mode == SendMode::Steer)
        .take(STEERED_AT_ONCE)
        .map(|unread| unread.seq)
        .collect();
    for message_seq in steering {
        draft.push(
            Actor::RUNTIME,
            Some(message_seq),
            TurnSteered { message_seq, step },
        );
    }
    let window_to = draft.state.head;
    draft.push(
        Actor::RUNTIME,
        None,
        ModelStarted {
            step,
            window_to,
            hold,
        },
    );
}
