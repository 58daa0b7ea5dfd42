//! What the outcome of an effect, a timer or a crash leads to. What comes late or twice changes nothing.

use std::sync::Arc;

use longhaul_journal::Seq;

use super::Event;
use super::admission::Admission;
use super::answer::check_answer;
use super::approval;
use super::command::Reply;
use super::decide::{already, granted};
use super::draft::{Draft, clip};
use super::event::{
    Actor, AgentMessage, AgentQuestion, Answer, ArtifactCreated, Body, Canceled, CommandRun, CrashCause,
    Failed, FileWasRead, FileWritten, Hibernated, Isolation, ModelCompleted, PauseReason, Paused,
    RuntimeCrashed, RuntimeRestarted, RuntimeStopped, SandboxReady, SandboxReleased, SandboxSetupFailed,
    SandboxStarting, ServiceStarted, StopKind, StopUnconfirmed, StuckEvidence, ToolCompleted, ToolFailed,
    ToolOutcomeUnknown, TurnEnd,
};
use super::follow::{closing, complete_turn, overrun};
use super::money::HeldStep;
use super::service::{self, ServiceCause};
use super::state::{OpenStep, Phase, Work};
use super::tool::ToolOutcome;
use super::waits;
use crate::entity::{Decision, Recovery, RecoveryCause};
use crate::ports::{BrainFailure, Report, SetupError};

pub(super) fn slot_granted(mut draft: Draft) -> Decision<Event, Reply> {
    if draft.state.phase == Phase::Queued {
        draft.push(Actor::RUNTIME, None, SandboxStarting { generation: 1 });
    }
    granted(draft)
}

pub(super) fn prepared(mut draft: Draft, result: Result<Isolation, SetupError>) -> Decision<Event, Reply> {
    if draft.state.phase != Phase::Starting {
        return already(&draft);
    }
    match result {
        Ok(mut isolation) => {
            reach(&draft, &mut isolation);
            draft.push(Actor::RUNTIME, None, SandboxReady { isolation });
        }
        Err(SetupError { code, detail, report }) => {
            let detail = clip(detail);
            let text = format!("the workspace could not be made ready: {detail}. Say when to try again");
            let cause = draft.push(Actor::RUNTIME, None, SandboxSetupFailed { code, detail });
            if let Some(Report { sha256, bytes }) = report {
                let (kind, name) = ("report".into(), "setup-report.txt".into());
                let artifact = ArtifactCreated {
                    step: 0,
                    kind,
                    name,
                    sha256,
                    bytes,
                    task: None,
                };
                draft.push(Actor::RUNTIME, Some(cause), artifact);
            }
            draft.push(Actor::RUNTIME, Some(cause), AgentQuestion { text });
        }
    }
    granted(draft)
}

/// The network of the session's commands, told as it is: where there is one to let out of, by the list; without walls the
/// list holds nobody, and what the hands said stands.
fn reach(draft: &Draft, isolation: &mut Isolation) {
    let origin = draft.state.origin.as_ref();
    let listed = origin.is_some_and(|origin| !origin.network.is_empty());
    if listed && isolation.network.as_deref() == Some("none") {
        isolation.network = Some("listed".into());
    }
}

pub(super) fn thought(
    mut draft: Draft,
    step: u64,
    result: Result<Answer, BrainFailure>,
    active_ms: u64,
    next: Option<Box<Admission>>,
) -> Decision<Event, Reply> {
    // An answer counts only while it is owed: not when a stop is under way, nor before a dead brain is asked again.
    let open = draft.state.open.clone().filter(|open| open.step == step);
    let (Some(open), Phase::Running) = (open, draft.state.phase) else {
        return already(&draft);
    };
    if !matches!(open.work, Work::Think { .. }) {
        return already(&draft);
    }
    let cause = Some(open.seq);
    draft.admission = next;
    match result.and_then(|answer| check_answer(&answer).map(|()| answer)) {
        Ok(answer) => take_answer(&mut draft, step, open.seq, answer, active_ms),
        Err(BrainFailure::Gone(detail)) => {
            let detail = clip(detail);
            let mut closed = unanswered(step, detail.clone(), active_ms);
            // What ends with the session ends first.
            closed.gone = !draft.state.services.is_empty();
            let waits = closed.gone;
            draft.push(Actor::RUNTIME, cause, closed);
            if waits {
                return granted(draft);
            }
            complete_turn(&mut draft, TurnEnd::Failed);
            let code = "brain_gone".into();
            draft.push(Actor::RUNTIME, cause, Failed { code, detail });
        }
        Err(failure @ BrainFailure::Unpaid(_)) => {
            let failure = clip(failure.to_string());
            draft.push(
                Actor::RUNTIME,
                cause,
                unanswered(step, failure.clone(), active_ms),
            );
            let detail = format!("{failure}; pay there, then longhaul resume ID");
            let reason = PauseReason::Credits;
            draft.push(Actor::RUNTIME, cause, Paused { reason, detail });
        }
        Err(BrainFailure::TimedOut(limit_ms)) => {
            let failure = format!("no answer within {limit_ms} ms");
            draft.push(
                Actor::RUNTIME,
                cause,
                unanswered(step, failure, active_ms.max(limit_ms)),
            );
            // When it was the time of the whole run that was too short, the run ends, and nobody is stuck.
            if !draft.state.run_is_spent() {
                overrun(
                    &mut draft,
                    StuckEvidence::Deadline {
                        spent_ms: active_ms.max(limit_ms),
                    },
                );
            }
        }
        Err(failure @ (BrainFailure::Died(_) | BrainFailure::Rubbish(_))) => {
            let crash = Crash {
                cause: CrashCause::Brain,
                counted: true,
                detail: failure.to_string(),
                active_ms,
            };
            crashed(&mut draft, crash);
        }
    }
    granted(draft)
}

fn take_answer(draft: &mut Draft, step: u64, cause: Seq, answer: Answer, active_ms: u64) {
    let Answer {
        say,
        calls,
        end,
        mut usage,
    } = answer;
    usage.active_ms = active_ms;
    usage.steps = 1;
    if let Some(text) = say.filter(|text| !text.is_empty()) {
        draft.push(Actor::AGENT, Some(cause), AgentMessage { text });
    }
    draft.push(
        Actor::RUNTIME,
        Some(cause),
        ModelCompleted {
            step,
            calls: calls.into_iter().map(Arc::new).collect(),
            end,
            failure: None,
            gone: false,
            usage,
        },
    );
}

pub(super) fn acted(
    mut draft: Draft,
    step: u64,
    outcome: ToolOutcome,
    next: Option<Box<Admission>>,
) -> Decision<Event, Reply> {
    let Some(open) = draft.state.open.clone().filter(|open| open.step == step) else {
        return already(&draft);
    };
    let Work::Act { call, .. } = &open.work else {
        return already(&draft);
    };
    draft.admission = next;
    settle(&mut draft, step, open.seq, call.0.tool.clone(), outcome);
    granted(draft)
}

/// Writes down what became of an act.
fn settle(draft: &mut Draft, step: u64, started: Seq, tool: String, outcome: ToolOutcome) {
    let completed = |output, active_ms| ToolCompleted {
        step,
        tool: tool.clone(),
        output,
        active_ms,
    };
    let end: Body = match outcome {
        ToolOutcome::Denied { denied, then } => {
            service::push_denied(draft, step, started, denied);
            return settle(draft, step, started, tool, *then);
        }
        ToolOutcome::ServiceStarted { name, active_ms } => {
            let output = format!("service {name} runs");
            draft.push(Actor::RUNTIME, Some(started), ServiceStarted { step, name });
            completed(output, active_ms).into()
        }
        ToolOutcome::ServiceStopped {
            service,
            end,
            active_ms,
        } => {
            service::stopped(draft, service, end);
            completed("the service has ended".into(), active_ms).into()
        }
        ToolOutcome::Command(execution) => CommandRun { step, execution }.into(),
        ToolOutcome::Wrote(file) => FileWritten { step, file }.into(),
        ToolOutcome::Read(file) => FileWasRead { step, file }.into(),
        ToolOutcome::Done { output, active_ms } => completed(output, active_ms).into(),
        ToolOutcome::Artifact {
            kind,
            name,
            sha256,
            bytes,
            active_ms,
            task,
        } => {
            let output = format!("kept {name} as {kind}, {bytes} bytes");
            let created = ArtifactCreated {
                step,
                kind,
                name,
                sha256,
                bytes,
                task,
            };
            draft.push(Actor::RUNTIME, Some(started), created);
            completed(output, active_ms).into()
        }
        ToolOutcome::Failed {
            code,
            detail,
            active_ms,
        } => ToolFailed {
            step,
            code,
            detail,
            settled_by: None,
            active_ms,
        }
        .into(),
        ToolOutcome::Unknown { why } => {
            let crash = Crash {
                cause: CrashCause::Hands,
                counted: true,
                detail: clip(why),
                active_ms: 0,
            };
            return crashed(draft, crash);
        }
    };
    draft.push(Actor::RUNTIME, Some(started), end);
}

/// The checks before a step were made: it begins in this frame, or the frame says why not.
pub(super) fn admitted(mut draft: Draft, admission: Box<Admission>) -> Decision<Event, Reply> {
    draft.hold.clone_from(&admission.hold);
    draft.admission = Some(admission);
    granted(draft)
}

/// Credit is held for the step that comes next: it begins in this frame.
pub(super) fn held(mut draft: Draft, hold: HeldStep) -> Decision<Event, Reply> {
    draft.hold = Some(hold);
    granted(draft)
}

/// What is known of a crash.
struct Crash {
    cause: CrashCause,
    counted: bool,
    detail: String,
    active_ms: u64,
}

/// Writes a crash down, and either how it goes on or that it does not.
fn crashed(draft: &mut Draft, crash: Crash) {
    let Crash {
        cause,
        counted,
        detail,
        active_ms,
    } = crash;
    let detail = clip(detail);
    // A stop that was asked for outranks the rest after a crash loop: it would be lost.
    let stopping = matches!(draft.state.phase, Phase::Stopping { .. });
    let is_loop = counted && !stopping && draft.state.crashes.next_is_a_loop(draft.now_ms());
    let last_seq = draft.state.head;
    let crashed = RuntimeCrashed {
        cause,
        last_seq,
        counted,
        detail: detail.clone(),
        active_ms,
    };
    let seq = draft.push(Actor::RUNTIME, None, crashed);
    // An act goes on under its shim whatever becomes of us: it stays open, and whoever resumes the session finds its
    // evidence. Only the hands' own death ends it.
    let goes_on = matches!(cause, CrashCause::Server | CrashCause::Actor)
        && matches!(&draft.state.open, Some(open) if matches!(open.work, Work::Act { .. }));
    if (is_loop && !goes_on) || cause == CrashCause::Hands {
        let settled_by = if is_loop {
            SettledBy::CrashLoop
        } else {
            SettledBy::Nobody
        };
        close_open_step(draft, settled_by, &detail);
    }
    if is_loop {
        let reason = PauseReason::CrashLoop;
        draft.push(Actor::RUNTIME, Some(seq), Paused::because(reason));
    } else if cause != CrashCause::Brain {
        restarted(draft, seq);
    }
}

fn restarted(draft: &mut Draft, cause: Seq) {
    let restarted = RuntimeRestarted {
        attempt: draft.state.crashes.row,
        resumed_from_seq: draft.state.head,
    };
    draft.push(Actor::RUNTIME, Some(cause), restarted);
}

/// What ends an open step that does not end by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SettledBy {
    /// A stop, once every process of the act is gone.
    Stop(StopKind),
    /// A stop by force: what is not confirmed gone may still act.
    Force,
    /// The rest after a crash loop.
    CrashLoop,
    /// The repair of a log that lost records.
    Repair,
    /// The adoption of a copy, whose processes are elsewhere.
    Adoption,
    /// The fork of a session, whose processes are the source's.
    Fork,
    /// Nobody can.
    Nobody,
}

impl SettledBy {
    const fn name(self) -> &'static str {
        match self {
            Self::Stop(StopKind::Cancel) => "cancel",
            Self::Stop(StopKind::Interrupt) => "interrupt",
            Self::Force => "force",
            Self::CrashLoop => "crash_loop",
            Self::Repair => "repair",
            Self::Adoption => "adoption",
            Self::Fork => "fork",
            Self::Nobody => "nobody",
        }
    }
}

/// Settles the open step, if there is one, by something other than itself.
pub(super) fn close_open_step(draft: &mut Draft, by: SettledBy, detail: &str) {
    let Some(OpenStep { step, seq, work }) = draft.state.open.clone() else {
        return;
    };
    let cause = Some(seq);
    match (work, by) {
        (Work::Think { .. }, _) => {
            draft.push(
                Actor::RUNTIME,
                cause,
                unanswered(step, format!("{}: {detail}", by.name()), 0),
            );
        }
        (Work::Act { .. }, SettledBy::Stop(_)) => {
            let failed = ToolFailed {
                step,
                code: "stopped".into(),
                detail: detail.to_owned(),
                settled_by: Some(by.name().to_owned()),
                active_ms: 0,
            };
            draft.push(Actor::RUNTIME, cause, failed);
        }
        (Work::Act { .. }, _) => {
            let why = detail.to_owned();
            draft.push(Actor::RUNTIME, cause, ToolOutcomeUnknown { step, why });
        }
    }
}

/// Writes down that the folders of a session that has ended are gone; once.
pub(super) fn released(
    mut draft: Draft,
    freed_bytes: u64,
    workspace_kept: String,
    patch: Option<Report>,
) -> Decision<Event, Reply> {
    if !draft.state.phase.is_terminal() || draft.state.files.released {
        return already(&draft);
    }
    if let Some(Report { sha256, bytes }) = patch {
        let (kind, name) = ("patch".into(), "changes.patch".into());
        let artifact = ArtifactCreated {
            step: 0,
            kind,
            name,
            sha256,
            bytes,
            task: None,
        };
        draft.push(Actor::RUNTIME, None, artifact);
    }
    let released = SandboxReleased {
        freed_bytes,
        workspace_kept: clip(workspace_kept),
    };
    draft.push(Actor::RUNTIME, None, released);
    granted(draft)
}

pub(super) fn stopped(mut draft: Draft, survivors: Vec<u32>) -> Decision<Event, Reply> {
    let Phase::Stopping { stop, reported } = draft.state.phase else {
        return already(&draft);
    };
    if survivors.is_empty() {
        end_stopped(&mut draft, stop);
    } else if !reported {
        draft.push(Actor::RUNTIME, None, StopUnconfirmed { pids: survivors });
    }
    granted(draft)
}

fn end_stopped(draft: &mut Draft, stop: StopKind) {
    let cause = match stop {
        StopKind::Cancel => ServiceCause::Canceled,
        StopKind::Interrupt => ServiceCause::Interrupted,
    };
    service::end_all(draft, cause);
    close_open_step(
        draft,
        SettledBy::Stop(stop),
        "ended on demand, before it had settled",
    );
    match stop {
        StopKind::Cancel => {
            complete_turn(draft, TurnEnd::Canceled);
            draft.push(Actor::RUNTIME, Some(draft.state.phase_since), Canceled {});
        }
        StopKind::Interrupt => complete_turn(draft, TurnEnd::Interrupted),
    }
}

/// Ends a session whose processes are not confirmed gone, because a human takes that upon themselves.
pub(super) fn force_cancel(draft: &mut Draft, by: Actor, cause: Seq) {
    service::end_all(draft, ServiceCause::Forced);
    close_open_step(
        draft,
        SettledBy::Force,
        "canceled by force while its processes were not confirmed gone",
    );
    complete_turn(draft, TurnEnd::Canceled);
    draft.push(by, Some(cause), Canceled {});
}

pub(super) fn alarm(mut draft: Draft) -> Decision<Event, Reply> {
    let now_ms = draft.now_ms();
    match draft.state.phase {
        Phase::Idle if waits::due(&draft.state).is_some_and(|due| now_ms >= due) => {
            let ended = service::settle_before(&mut draft, ServiceCause::Idle);
            if ended {
                draft.push(Actor::RUNTIME, None, Hibernated {});
            }
        }
        Phase::AwaitingInput => service::tire(&mut draft),
        Phase::Recovering { until_ms } if now_ms >= until_ms => {
            let since = draft.state.phase_since;
            restarted(&mut draft, since);
        }
        Phase::AwaitingApproval | Phase::Paused { .. } => {
            service::tire(&mut draft);
            approval::expire(&mut draft);
        }
        _ => {}
    }
    granted(draft)
}

pub(super) fn recovered(mut draft: Draft, recovery: &Recovery) -> Decision<Event, Reply> {
    let phase = draft.state.phase;
    let server_restarted = recovery.last_boot < recovery.boot;
    let (cause, counted, detail) = match &recovery.cause {
        RecoveryCause::Panic { message } => (CrashCause::Actor, true, message.clone()),
        RecoveryCause::Journal { message } => (CrashCause::Actor, false, message.clone()),
        RecoveryCause::Wake if server_restarted && draft.state.stopped_cleanly => {
            let head = draft.state.head;
            restarted(&mut draft, head);
            return granted(draft);
        }
        RecoveryCause::Wake if server_restarted && phase.has_compute() => {
            let open = draft.state.open.as_ref().map(|open| open.step);
            let counted = draft.state.crashes.server_crash_counts(open);
            (CrashCause::Server, counted, String::new())
        }
        RecoveryCause::Wake => return already(&draft),
    };
    crashed(
        &mut draft,
        Crash {
            cause,
            counted,
            detail,
            active_ms: 0,
        },
    );
    granted(draft)
}

pub(super) fn stopping(mut draft: Draft) -> Decision<Event, Reply> {
    if draft.state.phase.has_compute() && !draft.state.stopped_cleanly {
        draft.push(Actor::RUNTIME, None, RuntimeStopped {});
    }
    Decision {
        events: draft.events,
        reply: Reply {
            seq: draft.state.head,
            repeated: false,
        },
    }
}

/// The end of a brain call that brought no answer.
fn unanswered(step: u64, failure: String, active_ms: u64) -> ModelCompleted {
    let mut closed = closing(step, failure);
    closed.usage.active_ms = active_ms;
    closed
}
