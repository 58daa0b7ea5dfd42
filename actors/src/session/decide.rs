//! What a wish leads to: facts, or a refusal.

use longhaul_journal::Seq;

use super::Event;
use super::apply::is_cancel;
use super::command::{Command, Refusal, Reply, Start};
use super::draft::Draft;
use super::event::{
    Actor, AgentMessage, AgentQuestion, Answer, Archived, ArtifactCreated, Canceled, CommandRun, CrashCause,
    Failed, FileWasRead, FileWritten, Hibernated, Isolation, ModelCompleted, PauseReason, PauseRequested,
    Paused, Resumed, RuntimeCrashed, RuntimeRestarted, RuntimeStopped, SandboxReady, SandboxSetupFailed,
    SandboxStarting, SendMode, SessionStarted, StopKind, StopRequested, StopUnconfirmed, StuckEvidence,
    ToolCompleted, ToolFailed, ToolOutcomeUnknown, TurnEnd, TurnStuck, UserMessage, Woken,
};
use super::follow::{closing, complete_turn};
use super::meter::key_is_remembered;
use super::state::{Phase, State, Work};
use super::tool::ToolOutcome;
use crate::entity::{Decision, Moment, Recovery, RecoveryCause};
use crate::ports::{BrainFailure, SetupError};

/// Longest message, bytes.
pub const MESSAGE_LIMIT: usize = 32 * 1024;
/// Longest metadata, bytes.
pub const METADATA_LIMIT: usize = 16 * 1024;
/// Most bytes that the calls of one answer may take as JSON.
pub const CALLS_LIMIT: usize = 256 * 1024;

type Decided = Result<Decision<Event, Reply>, Refusal>;

pub(super) fn decide(state: &State, command: Command, moment: Moment) -> Decided {
    if let Command::Start(start) = command {
        return decide_start(state, *start, moment);
    }
    if state.origin.is_none() {
        return Err(Refusal::NotFound);
    }
    let draft = Draft::new(state, moment);
    match command {
        Command::Start(_) => unreachable!("handled above"),
        Command::Send {
            by,
            text,
            mode,
            idempotency_key,
        } => send(draft, by, text, mode, idempotency_key),
        Command::Pause { by, reason, now } => pause(draft, by, reason, now),
        Command::Resume { by } => resume(draft, by),
        Command::Cancel { by, force } => cancel(draft, by, force),
        Command::Archive { by } => archive(draft, by),
        Command::SlotGranted => Ok(slot_granted(draft)),
        Command::Prepared { result } => Ok(prepared(draft, result)),
        Command::Thought {
            step,
            result,
            active_ms,
        } => Ok(thought(draft, step, result, active_ms)),
        Command::Acted { step, outcome } => Ok(acted(draft, step, outcome)),
        Command::Stopped { survivors } => Ok(stopped(draft, survivors)),
        Command::Alarm => Ok(alarm(draft)),
        Command::Recovered(recovery) => Ok(recovered(draft, &recovery)),
        Command::Stopping => Ok(stopping(draft)),
    }
}

/// The decision that these facts and whatever follows from them make; the reply names the first of them.
fn granted(draft: Draft) -> Decision<Event, Reply> {
    let first = Seq(draft.state.head.0 - draft.events.len() as u64).next();
    let reply = if draft.events.is_empty() {
        Reply {
            seq: draft.state.head,
            repeated: true,
        }
    } else {
        Reply {
            seq: first,
            repeated: false,
        }
    };
    Decision {
        events: draft.follow_through(),
        reply,
    }
}

/// Nothing to do: what was wished is so already.
fn already(draft: &Draft) -> Decision<Event, Reply> {
    Decision {
        events: Vec::new(),
        reply: Reply {
            seq: draft.state.head,
            repeated: true,
        },
    }
}

fn decide_start(state: &State, start: Start, moment: Moment) -> Decided {
    if let Some(origin) = &state.origin {
        if origin.fingerprint != start.fingerprint {
            return Err(Refusal::IdempotencyConflict);
        }
        return Ok(Decision {
            events: Vec::new(),
            reply: Reply {
                seq: state.head,
                repeated: true,
            },
        });
    }
    check_text(&start.goal, "the goal")?;
    if start
        .metadata
        .as_ref()
        .is_some_and(|text| text.len() > METADATA_LIMIT)
    {
        return Err(Refusal::Invalid(format!(
            "metadata may have at most {METADATA_LIMIT} bytes"
        )));
    }
    let mut draft = Draft::new(state, moment);
    let goal = start.goal.clone();
    let started = SessionStarted {
        owner: start.by.id.clone(),
        key: start.key,
        goal: start.goal,
        mode: start.mode,
        brain: start.brain,
        workspace: start.workspace,
        limits: start.limits,
        metadata: start.metadata,
        fingerprint: start.fingerprint,
    };
    let cause = draft.push(start.by.clone(), None, started);
    let message = UserMessage {
        text: goal,
        mode: SendMode::Queue,
        idempotency_key: None,
    };
    draft.push(start.by, Some(cause), message);
    Ok(granted(draft))
}

fn check_text(text: &str, what: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::Invalid(format!(
            "{what} is empty; say what is to be done"
        )));
    }
    if text.len() > MESSAGE_LIMIT {
        let refusal = format!(
            "{what} has {} bytes, at most {MESSAGE_LIMIT} are taken; put it in a file",
            text.len()
        );
        return Err(Refusal::Invalid(refusal));
    }
    Ok(())
}

/// What a message key stands for.
pub(super) fn message_fingerprint(text: &str, mode: SendMode) -> String {
    let hash = blake3::hash(format!("{mode:?}\0{text}").as_bytes());
    hex::encode(&hash.as_bytes()[..16])
}

fn check_writable(state: &State) -> Result<(), Refusal> {
    if state.archived {
        return Err(Refusal::Archived);
    }
    if state.phase.is_terminal() {
        return Err(Refusal::Terminal(state.phase.name()));
    }
    Ok(())
}

fn send(mut draft: Draft, by: Actor, text: String, mode: SendMode, key: Option<String>) -> Decided {
    if let Some(key) = &key {
        let now_ms = draft.now_ms();
        let used = draft.state.keys.iter().find(|used| &used.key == key);
        if let Some(used) = used.filter(|used| key_is_remembered(used.time_ms, now_ms)) {
            if used.fingerprint != message_fingerprint(&text, mode) {
                return Err(Refusal::IdempotencyConflict);
            }
            return Ok(Decision {
                events: Vec::new(),
                reply: Reply {
                    seq: used.seq,
                    repeated: true,
                },
            });
        }
    }
    check_writable(&draft.state)?;
    check_text(&text, "the message")?;
    if draft.state.phase == Phase::Hibernated {
        draft.push(Actor::RUNTIME, None, Woken {});
    }
    let message = UserMessage {
        text,
        mode,
        idempotency_key: key,
    };
    let seq = draft.push(by.clone(), None, message);
    let turn_under_way = draft.state.turn.is_some();
    if mode == SendMode::Interrupt
        && turn_under_way
        && matches!(draft.state.phase, Phase::Running | Phase::Recovering { .. })
    {
        draft.push(
            by,
            Some(seq),
            StopRequested {
                stop: StopKind::Interrupt,
            },
        );
    }
    let reply = Reply { seq, repeated: false };
    Ok(Decision {
        events: draft.follow_through(),
        reply,
    })
}

fn pause(mut draft: Draft, by: Actor, reason: PauseReason, now: bool) -> Decided {
    check_writable(&draft.state)?;
    let asked_before = draft.state.pause.is_some_and(|wish| wish.now || !now);
    if asked_before || matches!(draft.state.phase, Phase::Paused { .. }) {
        return Ok(already(&draft));
    }
    draft.push(by, None, PauseRequested { reason, now });
    Ok(granted(draft))
}

fn resume(mut draft: Draft, by: Actor) -> Decided {
    check_writable(&draft.state)?;
    let paused_ms = match draft.state.phase {
        Phase::Paused { .. } => draft.now_ms().saturating_sub(draft.state.phase_since_ms),
        _ if draft.state.pause.is_some() => 0,
        _ => return Ok(already(&draft)),
    };
    draft.push(by, None, Resumed { paused_ms });
    Ok(granted(draft))
}

fn cancel(mut draft: Draft, by: Actor, force: bool) -> Decided {
    match draft.state.phase {
        Phase::Canceled => return Ok(already(&draft)),
        Phase::Stopping { stop, reported } if is_cancel(stop) => {
            if !force {
                return Ok(already(&draft));
            }
            if !reported {
                return Err(Refusal::NothingToForce);
            }
            end_stopped(&mut draft, stop);
            return Ok(granted(draft));
        }
        _ => check_writable(&draft.state)?,
    }
    draft.push(
        by,
        None,
        StopRequested {
            stop: StopKind::Cancel,
        },
    );
    Ok(granted(draft))
}

fn archive(mut draft: Draft, by: Actor) -> Decided {
    if draft.state.archived {
        return Ok(already(&draft));
    }
    if !draft.state.phase.is_terminal() {
        return Err(Refusal::StillLive(draft.state.phase.name()));
    }
    draft.push(by, None, Archived {});
    Ok(granted(draft))
}

fn slot_granted(mut draft: Draft) -> Decision<Event, Reply> {
    if draft.state.phase == Phase::Queued {
        draft.push(Actor::RUNTIME, None, SandboxStarting { generation: 1 });
    }
    granted(draft)
}

fn prepared(mut draft: Draft, result: Result<Isolation, SetupError>) -> Decision<Event, Reply> {
    if draft.state.phase != Phase::Starting {
        return already(&draft);
    }
    match result {
        Ok(isolation) => {
            draft.push(Actor::RUNTIME, None, SandboxReady { isolation });
        }
        Err(SetupError { code, detail }) => {
            let text = format!("the workspace could not be made ready: {detail}. Say when to try again");
            let cause = draft.push(Actor::RUNTIME, None, SandboxSetupFailed { code, detail });
            draft.push(Actor::RUNTIME, Some(cause), AgentQuestion { text });
        }
    }
    granted(draft)
}

fn thought(
    mut draft: Draft,
    step: u64,
    result: Result<Answer, BrainFailure>,
    active_ms: u64,
) -> Decision<Event, Reply> {
    let Some(open) = draft.state.open.clone().filter(|open| open.step == step) else {
        return already(&draft);
    };
    if !matches!(open.work, Work::Think { .. }) {
        return already(&draft);
    }
    let result = result.and_then(check_answer);
    match result {
        Ok(answer) => take_answer(&mut draft, step, open.seq, answer, active_ms),
        Err(BrainFailure::Gone(detail)) => {
            draft.push(
                Actor::RUNTIME,
                Some(open.seq),
                closing(step, Some(detail.clone())),
            );
            complete_turn(&mut draft, TurnEnd::Failed);
            draft.push(
                Actor::RUNTIME,
                Some(open.seq),
                Failed {
                    code: "brain_gone".into(),
                    detail,
                },
            );
        }
        Err(BrainFailure::TimedOut(limit_ms)) => {
            let mut closed = closing(step, Some(format!("no answer within {limit_ms} ms")));
            closed.usage.active_ms = active_ms;
            draft.push(Actor::RUNTIME, Some(open.seq), closed);
            let spent_ms = draft
                .state
                .turn
                .as_ref()
                .map_or(active_ms, |turn| turn.usage.active_ms);
            let again = draft.state.overruns > 0;
            let stuck = draft.push(
                Actor::RUNTIME,
                Some(open.seq),
                TurnStuck {
                    evidence: StuckEvidence::Deadline { spent_ms },
                },
            );
            complete_turn(&mut draft, TurnEnd::DeadlineExceeded);
            if again {
                draft.push(
                    Actor::RUNTIME,
                    Some(stuck),
                    Paused {
                        reason: PauseReason::Stuck,
                    },
                );
            }
        }
        Err(failure @ (BrainFailure::Died(_) | BrainFailure::Rubbish(_))) => {
            crashed(&mut draft, CrashCause::Brain, true, failure.to_string());
        }
    }
    granted(draft)
}

fn check_answer(answer: Answer) -> Result<Answer, BrainFailure> {
    let size: usize = answer
        .calls
        .iter()
        .map(|call| call.tool.len() + call.args.to_string().len())
        .sum();
    if size > CALLS_LIMIT {
        let rubbish = format!("the calls of one answer take {size} bytes, at most {CALLS_LIMIT} are taken");
        return Err(BrainFailure::Rubbish(rubbish));
    }
    let said = answer.say.as_ref().map_or(0, String::len);
    if said > MESSAGE_LIMIT {
        return Err(BrainFailure::Rubbish(format!(
            "it said {said} bytes, at most {MESSAGE_LIMIT} are taken"
        )));
    }
    Ok(answer)
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
            calls,
            end,
            failure: None,
            usage,
        },
    );
}

fn acted(mut draft: Draft, step: u64, outcome: ToolOutcome) -> Decision<Event, Reply> {
    let Some(open) = draft.state.open.clone().filter(|open| open.step == step) else {
        return already(&draft);
    };
    let Work::Act { call, .. } = &open.work else {
        return already(&draft);
    };
    let cause = Some(open.seq);
    let tool = call.tool.clone();
    match outcome {
        ToolOutcome::Command(execution) => {
            draft.push(Actor::RUNTIME, cause, CommandRun { step, execution });
        }
        ToolOutcome::Wrote(file) => {
            draft.push(Actor::RUNTIME, cause, FileWritten { step, file });
        }
        ToolOutcome::Read(file) => {
            draft.push(Actor::RUNTIME, cause, FileWasRead { step, file });
        }
        ToolOutcome::Done { output, active_ms } => {
            draft.push(
                Actor::RUNTIME,
                cause,
                ToolCompleted {
                    step,
                    tool,
                    output,
                    active_ms,
                },
            );
        }
        ToolOutcome::Artifact {
            kind,
            name,
            sha256,
            bytes,
            active_ms,
        } => {
            let output = format!("kept {name} as {kind}, {bytes} bytes");
            draft.push(
                Actor::RUNTIME,
                cause,
                ArtifactCreated {
                    step,
                    kind,
                    name,
                    sha256,
                    bytes,
                },
            );
            draft.push(
                Actor::RUNTIME,
                cause,
                ToolCompleted {
                    step,
                    tool,
                    output,
                    active_ms,
                },
            );
        }
        ToolOutcome::Failed {
            code,
            detail,
            active_ms,
        } => {
            draft.push(
                Actor::RUNTIME,
                cause,
                ToolFailed {
                    step,
                    code,
                    detail,
                    settled_by: None,
                    active_ms,
                },
            );
        }
        ToolOutcome::Unknown { why } => {
            crashed(&mut draft, CrashCause::Hands, true, why.clone());
            if draft.state.open.is_some() {
                draft.push(Actor::RUNTIME, cause, ToolOutcomeUnknown { step, why });
            }
        }
    }
    granted(draft)
}

/// Writes a crash down, and either how it goes on or that it does not.
fn crashed(draft: &mut Draft, cause: CrashCause, counted: bool, detail: String) {
    let last_seq = draft.state.head;
    let is_loop = counted && draft.state.crashes.next_is_a_loop(draft.now_ms());
    let seq = draft.push(
        Actor::RUNTIME,
        None,
        RuntimeCrashed {
            cause,
            last_seq,
            counted,
            detail: detail.clone(),
        },
    );
    if is_loop {
        close_open_step(draft, "crash_loop", &detail);
        draft.push(
            Actor::RUNTIME,
            Some(seq),
            Paused {
                reason: PauseReason::CrashLoop,
            },
        );
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

/// Settles the open step by something other than itself.
fn close_open_step(draft: &mut Draft, settled_by: &str, detail: &str) {
    let Some(open) = draft.state.open.clone() else {
        return;
    };
    match open.work {
        Work::Think { .. } => {
            draft.push(
                Actor::RUNTIME,
                Some(open.seq),
                closing(open.step, Some(format!("{settled_by}: {detail}"))),
            );
        }
        Work::Act { .. } if settled_by == "crash_loop" => {
            draft.push(
                Actor::RUNTIME,
                Some(open.seq),
                ToolOutcomeUnknown {
                    step: open.step,
                    why: detail.to_owned(),
                },
            );
        }
        Work::Act { .. } => {
            let failed = ToolFailed {
                step: open.step,
                code: "stopped".into(),
                detail: detail.to_owned(),
                settled_by: Some(settled_by.to_owned()),
                active_ms: 0,
            };
            draft.push(Actor::RUNTIME, Some(open.seq), failed);
        }
    }
}

fn stopped(mut draft: Draft, survivors: Vec<u32>) -> Decision<Event, Reply> {
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
    let (settled_by, reason) = match stop {
        StopKind::Cancel => ("cancel", TurnEnd::Canceled),
        StopKind::Interrupt => ("interrupt", TurnEnd::Interrupted),
    };
    close_open_step(draft, settled_by, "ended on demand, before it had settled");
    complete_turn(draft, reason);
    if is_cancel(stop) {
        draft.push(Actor::RUNTIME, None, Canceled {});
    }
}

fn alarm(mut draft: Draft) -> Decision<Event, Reply> {
    let now_ms = draft.now_ms();
    match draft.state.phase {
        Phase::Idle if now_ms >= draft.state.phase_since_ms + draft.state.limits().idle_ms => {
            draft.push(Actor::RUNTIME, None, Hibernated {});
        }
        Phase::Recovering { until_ms } if now_ms >= until_ms => {
            let since = draft.state.phase_since;
            restarted(&mut draft, since);
        }
        _ => {}
    }
    granted(draft)
}

fn recovered(mut draft: Draft, recovery: &Recovery) -> Decision<Event, Reply> {
    let phase = draft.state.phase;
    let server_restarted = recovery.last_boot < recovery.boot;
    let (cause, counted, detail) = match &recovery.cause {
        RecoveryCause::Panic { message } => (CrashCause::Actor, true, message.clone()),
        RecoveryCause::Journal { message } => (CrashCause::Actor, false, message.clone()),
        RecoveryCause::Wake if server_restarted && draft.state.stopped_cleanly => {
            let head = draft.state.head;
            draft.push(
                Actor::RUNTIME,
                Some(head),
                RuntimeRestarted {
                    attempt: 0,
                    resumed_from_seq: head,
                },
            );
            return granted(draft);
        }
        RecoveryCause::Wake if server_restarted && phase.has_compute() => {
            let open = draft.state.open.as_ref().map(|open| open.step);
            let counted = draft.state.crashes.server_crash_counts(open);
            (CrashCause::Server, counted, String::new())
        }
        RecoveryCause::Wake => return already(&draft),
    };
    crashed(&mut draft, cause, counted, detail);
    granted(draft)
}

fn stopping(mut draft: Draft) -> Decision<Event, Reply> {
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
