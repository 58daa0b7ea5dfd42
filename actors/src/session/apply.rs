//! Folding facts into the state. Never refuses: what is written has happened.

use std::sync::Arc;

use longhaul_journal::Seq;

use super::approval::{Approval, Word};
use super::event::{
    ActorKind, ApprovalDecision, Body, CrashCause, Event, Mode, PauseReason, StopKind, StuckEvidence,
    TurnEnd, Usage, WorkspaceKind,
};
use super::meter::{KEYS_REMEMBERED, NO_MESSAGE, key_is_remembered};
use super::state::{
    Ending, OpenStep, Origin, PauseWish, Phase, PlannedCall, Rest, State, Turn, Unread, UsedKey, Work,
};
use super::tool::{Output, ToolCall};
use super::{checkpoint, decide, event, fork, money, service};
use crate::entity::Placed;

/// Folds one fact in.
pub(super) fn apply(state: &mut State, placed: Placed<'_, Event>) {
    let Placed { seq, time_ms, event } = placed;
    let phase_before = state.phase;
    state.head = seq;
    state.last_ms = time_ms;
    state.stopped_cleanly = false;
    checkpoint::fold(state, seq, &event.body);
    let (was_open, by) = (state.open.is_some(), event.actor.kind);
    fold(state, seq, time_ms, by, &event.body);
    money::folded(state, &event.body);
    if was_open && state.open.is_none() {
        state.settled = seq;
    }
    state.seated = state.phase.has_compute() && (state.seated || state.phase == Phase::Starting);
    // A message changes where a paused session will go on, not since when it is paused.
    let still_paused = matches!(
        (phase_before, state.phase),
        (Phase::Paused { .. }, Phase::Paused { .. })
    );
    if state.phase != phase_before && !still_paused {
        state.phase_since = seq;
        state.phase_since_ms = time_ms;
    }
}

fn fold(state: &mut State, seq: Seq, time_ms: u64, by: ActorKind, body: &Body) {
    match body {
        Body::SessionStarted(started) => {
            state.origin = Some(Arc::new(origin(started, time_ms)));
            state.money.terms.clone_from(&started.terms);
            state.phase = Phase::Queued;
        }
        Body::UserMessage(message) => {
            state.inbox.push(Unread {
                seq,
                mode: message.mode,
            });
            if let Some(key) = &message.idempotency_key {
                remember_key(
                    state,
                    key,
                    decide::message_fingerprint(&message.text, message.mode),
                    seq,
                    time_ms,
                );
            }
            if matches!(
                state.phase,
                Phase::AwaitingInput | Phase::Idle | Phase::Hibernated
            ) {
                state.phase = Phase::Queued;
            }
            if let Phase::Paused { rest, .. } = &mut state.phase
                && *rest != Rest::AwaitingApproval
            {
                *rest = Rest::Work;
            }
        }
        Body::Woken(_)
        | Body::SandboxSetupFailed(_)
        | Body::ArtifactCreated(_)
        | Body::SandboxReleased(_)
        | Body::CheckpointRequested(_)
        | Body::CheckpointCreated(_)
        | Body::CheckpointSkipped(_)
        | Body::EgressDenied(_)
        | Body::PolicyDenied(_) => {}
        Body::ServiceStarted(started) => service::fold_started(state, seq, started),
        Body::ServiceStopRequested(request) => service::fold_stop(state, seq, request),
        Body::ServiceEnded(ended) => service::fold_ended(state, ended),
        Body::Forked(forked) => fork::leave_behind(state, forked),
        Body::SandboxStarting(_) => state.phase = Phase::Starting,
        Body::SandboxReady(ready) => {
            state.isolation = Some(ready.isolation.mode.clone());
            state.phase = Phase::Running;
        }
        Body::TurnStarted(turn) => {
            state.turns += 1;
            state.turn = Some(Turn {
                number: state.turns,
                usage: Usage::default(),
                plan: Vec::new(),
                end: None,
                result: None,
            });
            if turn.input_to_seq != NO_MESSAGE {
                state.inbox.retain(|unread| unread.seq > turn.input_to_seq);
                state.loops.heard();
            }
            state.phase = Phase::Running;
        }
        Body::TurnSteered(steered) => {
            state.inbox.retain(|unread| unread.seq != steered.message_seq);
            state.loops.heard();
        }
        Body::TurnStuck(stuck) => match stuck.evidence {
            StuckEvidence::Loop { .. } => state.loops.told(),
            StuckEvidence::Deadline { .. } | StuckEvidence::Steps { .. } => state.overruns += 1,
        },
        Body::TurnCompleted(completed) => end_turn(state, completed.reason),
        Body::AgentMessage(message) => {
            set_result(state, seq);
            state.loops.said(&message.text);
        }
        Body::AgentQuestion(_) => {
            set_result(state, seq);
            if state.phase == Phase::Starting {
                // Set-up failed: there is no turn that could end in a question.
                state.phase = Phase::AwaitingInput;
            }
        }
        Body::ModelStarted(started) => {
            money::started(state, started.step, started.hold);
            state.steps = started.step;
            let work = Work::Think {
                window_to: started.window_to,
                attempt: 1,
            };
            state.open = Some(OpenStep {
                step: started.step,
                seq,
                work,
            });
        }
        Body::ModelCompleted(completed) => fold_answer(state, completed),
        Body::ToolStarted(started) => start_tool(state, seq, by, started),
        Body::CommandRun(run) => {
            state.patch_due = true;
            let said = |output: &Output| format!("{}{}{:?}", output.head, output.tail, output.sha256);
            let execution = &run.execution;
            let result = format!(
                "{:?} {} {}",
                execution.verdict,
                said(&execution.stdout),
                said(&execution.stderr)
            );
            settle_tool(state, &result, execution.active_ms);
        }
        Body::FileWritten(written) => {
            state.patch_due = true;
            settle_tool(state, &written.file.after, written.file.active_ms);
        }
        Body::FileWasRead(read) => settle_tool(state, &read.file.file_sha256, read.file.active_ms),
        Body::ToolCompleted(completed) => settle_tool(state, &completed.output, completed.active_ms),
        Body::ToolFailed(failed) if failed.settled_by.is_some() => {
            // Ended from outside: no progress, and the act may have left half of its work behind.
            state.open = None;
            state.patch_due = true;
            spend_step(state, failed.active_ms);
        }
        Body::ToolFailed(failed) => {
            settle_tool(
                state,
                &format!("{} {}", failed.code, failed.detail),
                failed.active_ms,
            );
        }
        Body::ToolOutcomeUnknown(_) => {
            // No settled step: nobody knows what it did. The brain is asked before anything else is done. That nobody
            // knows, time and again, is no progress either.
            if let Some(OpenStep {
                work: Work::Act { digest, .. },
                ..
            }) = state.open.take()
            {
                state.loops.settled(&digest, "unknown");
            }
            state.patch_due = true;
            spend_step(state, 0);
            if let Some(turn) = &mut state.turn {
                turn.plan.clear();
                turn.end = None;
            }
        }
        Body::ApprovalRequested(requested) => {
            state.approval = Some(Approval {
                id: requested.id.clone(),
                seq,
                step: requested.step,
                digest: requested.digest.clone(),
                expires_at_ms: requested.expires_at_ms,
                answer: None,
            });
            state.phase = Phase::AwaitingApproval;
        }
        Body::ApprovalDecided(decided) => answer_approval(
            state,
            match decided.decision {
                ApprovalDecision::Approve => Word::Approved,
                ApprovalDecision::Deny => Word::Denied(decided.evidence.clone()),
            },
        ),
        Body::ApprovalExpired(_) => answer_approval(state, Word::Expired),
        Body::ApprovalCanceled(_) => {
            state.approval = None;
            end_wait(state);
        }
        Body::PauseRequested(request) => {
            state.pause = Some(PauseWish {
                reason: request.reason,
                now: request.now,
            });
        }
        Body::Paused(paused) => {
            let rest = rest(state, paused.reason);
            state.money.why.clone_from(&paused.detail);
            state.pause = None;
            state.phase = Phase::Paused {
                reason: paused.reason,
                rest,
            };
        }
        Body::Resumed(resumed) => {
            money::resumed(state, resumed);
            resume(state);
        }
        Body::Hibernated(_) => state.phase = Phase::Hibernated,
        Body::StopRequested(request) => {
            state.phase = Phase::Stopping {
                stop: request.stop,
                reported: false,
            };
        }
        Body::StopUnconfirmed(_) => {
            if let Phase::Stopping { reported, .. } = &mut state.phase {
                *reported = true;
            }
        }
        Body::Completed(completed) => {
            state.phase = Phase::Completed;
            state.outcome.clone_from(&completed.summary);
            state.completed = Some(completed.outcome);
        }
        Body::Failed(failed) => {
            state.phase = Phase::Failed;
            state.outcome = format!("{}: {}", failed.code, failed.detail);
        }
        Body::Canceled(_) => state.phase = Phase::Canceled,
        Body::Archived(_) => state.archived = true,
        Body::Adopted(_) => {
            if matches!(
                state.phase,
                Phase::Starting | Phase::Running | Phase::Recovering { .. }
            ) {
                // Nothing is held for it here: its workspace is made ready first.
                state.phase = Phase::Queued;
            }
        }
        Body::JournalGap(gap) => state.steps = gap.steps_to,
        Body::RuntimeCrashed(crashed) => {
            let server = crashed.cause == CrashCause::Server;
            let open = state.open.as_ref().map(|open| open.step);
            state.crashes.crashed(crashed.counted, server, open, time_ms);
            let wasted = Usage {
                active_ms: crashed.active_ms,
                ..Usage::default()
            };
            spend(state, wasted);
            if let Some(OpenStep {
                work: Work::Think { attempt, .. },
                ..
            }) = &mut state.open
            {
                *attempt += 1;
            }
            if crashed.cause == CrashCause::Brain {
                let until_ms = time_ms + super::meter::backoff_ms(state.crashes.row);
                state.phase = Phase::Recovering { until_ms };
            }
        }
        Body::RuntimeRestarted(_) => {
            if let Phase::Recovering { .. } = state.phase {
                state.phase = Phase::Running;
            }
        }
        Body::RuntimeStopped(_) => state.stopped_cleanly = true,
    }
}

fn origin(started: &event::SessionStarted, time_ms: u64) -> Origin {
    Origin {
        owner: started.owner.clone(),
        key: started.key.clone(),
        goal: started.goal.clone(),
        mode: started.mode,
        brain: started.brain.clone(),
        workspace: started.workspace.clone(),
        forbidden: started.forbidden.clone(),
        limits: started.limits,
        network: started.network.clone(),
        metadata: started.metadata.clone(),
        fingerprint: started.fingerprint.clone(),
        started_ms: time_ms,
    }
}

fn remember_key(state: &mut State, key: &str, fingerprint: String, seq: Seq, time_ms: u64) {
    state.keys.retain(|used| key_is_remembered(used.time_ms, time_ms));
    if state.keys.len() == KEYS_REMEMBERED {
        state.keys.remove(0);
    }
    state.keys.push(UsedKey {
        key: key.to_owned(),
        fingerprint,
        seq,
        time_ms,
    });
}

fn set_result(state: &mut State, seq: Seq) {
    if let Some(turn) = &mut state.turn {
        turn.result = Some(seq);
    }
}

fn fold_answer(state: &mut State, completed: &event::ModelCompleted) {
    state.open = None;
    spend(state, completed.usage);
    if let Some(failure) = &completed.failure {
        if let (true, Some(turn)) = (completed.gone, &mut state.turn) {
            turn.end = Some(Ending::Gone(failure.clone()));
        }
        return;
    }
    state.crashes.settled();
    let end = completed.end.as_ref().map(Ending::from);
    state.loops.answered(!completed.calls.is_empty(), end.as_ref());
    if let Some(turn) = &mut state.turn {
        turn.plan = completed.calls.iter().cloned().map(PlannedCall).collect();
        turn.end = end;
    }
}

fn answer_approval(state: &mut State, word: Word) {
    if let Some(approval) = &mut state.approval {
        approval.answer = Some(word);
    }
    end_wait(state);
}

/// There is nothing to wait for any more: it queues, or will once it is resumed.
fn end_wait(state: &mut State) {
    match &mut state.phase {
        Phase::AwaitingApproval => state.phase = Phase::Queued,
        Phase::Paused {
            rest: rest @ Rest::AwaitingApproval,
            ..
        } => *rest = Rest::Work,
        _ => {}
    }
}

fn start_tool(state: &mut State, seq: Seq, by: ActorKind, started: &event::ToolStarted) {
    money::started(state, started.step, started.hold);
    state.steps = started.step;
    state.approval = None;
    let Some(turn) = &mut state.turn else { return };
    let call = if by == ActorKind::Agent && !turn.plan.is_empty() {
        turn.plan.remove(0)
    } else {
        // The patch at the end, which longhaul makes of its own accord, whatever the plan still holds.
        PlannedCall(Arc::new(ToolCall {
            tool: started.tool.clone(),
            args: serde_json::json!({}),
        }))
    };
    let work = Work::Act {
        call,
        digest: started.digest.clone(),
        limit_ms: started.limit_ms,
    };
    state.open = Some(OpenStep {
        step: started.step,
        seq,
        work,
    });
}

fn settle_tool(state: &mut State, result: &str, active_ms: u64) {
    if let Some(OpenStep {
        work: Work::Act { digest, call, .. },
        ..
    }) = state.open.take()
    {
        state.loops.settled(&digest, result);
        if call.0.tool == "patch" {
            // Made, or nothing to make, or not to be had: trying again would lead to the same.
            state.patch_due = false;
        }
    }
    state.crashes.settled();
    spend_step(state, active_ms);
}

fn spend_step(state: &mut State, active_ms: u64) {
    let used = Usage {
        active_ms,
        steps: 1,
        ..Usage::default()
    };
    spend(state, used);
}

fn spend(state: &mut State, used: Usage) {
    money::spent(state, used);
    for usage in [
        Some(&mut state.usage),
        state.turn.as_mut().map(|turn| &mut turn.usage),
    ]
    .into_iter()
    .flatten()
    {
        // A brain says what it used, and may say anything.
        usage.input_tokens = usage.input_tokens.saturating_add(used.input_tokens);
        usage.output_tokens = usage.output_tokens.saturating_add(used.output_tokens);
        usage.active_ms = usage.active_ms.saturating_add(used.active_ms);
        usage.steps = usage.steps.saturating_add(used.steps);
    }
}

fn end_turn(state: &mut State, reason: TurnEnd) {
    state.turn = None;
    if matches!(reason, TurnEnd::Yielded | TurnEnd::Finished | TurnEnd::NeedsInput) {
        state.overruns = 0;
    }
    let unread = !state.inbox.is_empty();
    state.phase = match (reason, state.mode()) {
        (TurnEnd::Canceled, _) => state.phase,
        (TurnEnd::NeedsInput, _) if !unread => Phase::AwaitingInput,
        (TurnEnd::Stuck, _) if !unread => Phase::AwaitingInput,
        (_, Mode::Interactive) if !unread => Phase::Idle,
        _ if !state.seated => Phase::Queued,
        _ => Phase::Running,
    };
}

fn rest(state: &State, reason: PauseReason) -> Rest {
    if reason == PauseReason::Stuck && state.mode() == Mode::Bounded {
        // The human who resumes a stuck run wants it to go on; nobody asked a question that needs an answer first.
        return Rest::Work;
    }
    match state.phase {
        Phase::AwaitingInput => Rest::AwaitingInput,
        Phase::AwaitingApproval => Rest::AwaitingApproval,
        Phase::Idle => Rest::Idle,
        Phase::Hibernated => Rest::Hibernated,
        Phase::Paused { rest, .. } => rest,
        _ => Rest::Work,
    }
}

fn resume(state: &mut State) {
    state.pause = None;
    let Phase::Paused { reason, rest } = state.phase else {
        return;
    };
    match reason {
        PauseReason::CrashLoop => state.crashes.reset(),
        PauseReason::Stuck => {
            state.loops.reset();
            state.overruns = 0;
        }
        _ => {}
    }
    state.phase = match rest {
        Rest::Work => Phase::Queued,
        Rest::AwaitingInput => Phase::AwaitingInput,
        Rest::AwaitingApproval => Phase::AwaitingApproval,
        Rest::Idle => Phase::Idle,
        Rest::Hibernated => Phase::Hibernated,
    };
}

/// Whether a session of this workspace hands in its changes when it ends.
pub(super) fn hands_in_a_patch(state: &State) -> bool {
    state.patch_due
        && state
            .origin
            .as_ref()
            .is_some_and(|origin| origin.workspace.kind == WorkspaceKind::Clone)
}

/// Whether this stop ends the session.
pub(super) fn is_cancel(stop: StopKind) -> bool {
    stop == StopKind::Cancel
}
