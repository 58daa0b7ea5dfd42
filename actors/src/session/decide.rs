//! What a wish leads to: facts, or a refusal. What the world reports goes on to `outcome`.

use longhaul_journal::Seq;

use super::Event;
use super::apply::is_cancel;
use super::approval;
use super::command::{Command, Refusal, Reply, Start};
use super::draft::Draft;
use super::event::{
    Actor, Archived, Limits, PauseReason, PauseRequested, Paused, Resumed, SendMode, SessionStarted,
    StopKind, StopRequested, UserMessage, Void,
};
use super::meter::key_is_remembered;
use super::state::{Phase, State};
use super::{checkpoint, mend, money, outcome, service};
use crate::account::Credits;
use crate::entity::{Decision, Moment};

/// Longest message, bytes.
pub const MESSAGE_LIMIT: usize = 32 * 1024;
/// Longest metadata, bytes.
pub const METADATA_LIMIT: usize = 16 * 1024;
/// Longest idempotency key, bytes.
pub const KEY_LIMIT: usize = 256;

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
        Command::Resume { by, budget } => resume(draft, by, budget),
        Command::Cancel { by, force } => cancel(draft, by, force),
        Command::Archive { by } => archive(draft, by),
        Command::Adopt { by } => Ok(mend::adopt(draft, by)),
        Command::Checkpoint { by } => checkpoint::request(draft, by),
        Command::Released {
            freed_bytes,
            workspace_kept,
            patch,
        } => Ok(outcome::released(draft, freed_bytes, workspace_kept, patch)),
        Command::Decide {
            by,
            id,
            decision,
            evidence,
        } => approval::decide(draft, by, id, decision, evidence),
        // The world may be late: a session that has ended hears nothing any more.
        _ if !draft.state.phase.is_live() => Ok(already(&draft)),
        Command::CreditIsBack => money::credit_is_back(draft),
        Command::OutOfCredit(why) => Ok(money::out_of_credit(draft, why)),
        Command::SlotGranted => Ok(outcome::slot_granted(draft)),
        Command::Prepared { result } => Ok(outcome::prepared(draft, result)),
        Command::Thought {
            step,
            result,
            active_ms,
            next,
        } => Ok(outcome::thought(draft, step, result, active_ms, next)),
        Command::Acted { step, outcome, next } => Ok(outcome::acted(draft, step, outcome, next)),
        Command::ServiceEnded { step, end } => Ok(service::ended(draft, step, end)),
        Command::Held(hold) => Ok(outcome::held(draft, *hold)),
        Command::Admitted(admission) => Ok(outcome::admitted(draft, admission)),
        Command::Checkpointed { at, result } => Ok(checkpoint::taken(draft, at, result)),
        Command::Stopped { survivors } => Ok(outcome::stopped(draft, survivors)),
        Command::Alarm => Ok(outcome::alarm(draft)),
        Command::Recovered(recovery) => Ok(outcome::recovered(draft, &recovery)),
        Command::Stopping => Ok(outcome::stopping(draft)),
    }
}

/// The decision that these facts and whatever follows from them make; the reply names the first of them.
pub(super) fn granted(draft: Draft) -> Decision<Event, Reply> {
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
pub(super) fn already(draft: &Draft) -> Decision<Event, Reply> {
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
        return Ok(already(&Draft::new(state, moment)));
    }
    check_text(&start.goal, "the goal")?;
    if start
        .metadata
        .as_ref()
        .is_some_and(|text| text.len() > METADATA_LIMIT)
    {
        return Err(Refusal::TooLarge(format!(
            "metadata may have at most {METADATA_LIMIT} bytes"
        )));
    }
    check_limits(&start.limits)?;
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
        network: start.network,
        metadata: start.metadata,
        forbidden: start.forbidden,
        fingerprint: start.fingerprint,
        terms: start.terms,
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

/// A turn without time or steps would end before it begins, over and over.
fn check_limits(limits: &Limits) -> Result<(), Refusal> {
    let bounds = [
        ("the bound of a brain call", limits.brain_call_ms),
        ("the bound of a command", limits.command_ms),
        ("the greatest bound of a command", limits.command_max_ms),
        ("the time of a turn", limits.turn_ms),
        ("the steps of a turn", limits.turn_steps.into()),
    ];
    match bounds.iter().find(|(_, bound)| *bound == 0) {
        Some((what, _)) => Err(Refusal::Invalid(format!(
            "{what} is 0; leave it out or make it at least 1"
        ))),
        None => match limits.resources.too_little() {
            Some(little) => Err(Refusal::Invalid(little)),
            None => Ok(()),
        },
    }
}

pub(super) fn check_text(text: &str, what: &str) -> Result<(), Refusal> {
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
        return Err(Refusal::TooLarge(refusal));
    }
    Ok(())
}

/// What a message key stands for.
pub(super) fn message_fingerprint(text: &str, mode: SendMode) -> String {
    let hash = blake3::hash(format!("{mode:?}\0{text}").as_bytes());
    hex::encode(&hash.as_bytes()[..16])
}

pub(super) fn check_writable(state: &State) -> Result<(), Refusal> {
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
    if key
        .as_ref()
        .is_some_and(|key| key.is_empty() || key.len() > KEY_LIMIT)
    {
        let refusal = format!("an idempotency key has 1 to {KEY_LIMIT} bytes");
        return Err(Refusal::Invalid(refusal));
    }
    draft.wake();
    let message = UserMessage {
        text,
        mode,
        idempotency_key: key,
    };
    let seq = draft.push(by.clone(), None, message);
    // A turn that rests (paused, queued, starting) has nothing to stop; it ends as soon as it would go on (`follow`).
    let works = matches!(
        draft.state.phase,
        Phase::Running | Phase::Recovering { .. } | Phase::AwaitingApproval
    );
    if mode == SendMode::Interrupt && matches!(draft.state.phase, Phase::Paused { .. }) {
        // What a human is asked about will not be done, so there is nothing to decide on any more.
        approval::void(&mut draft, Void::Interrupt);
    }
    if mode == SendMode::Interrupt && works {
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
    let waits_for_credit = matches!(
        draft.state.phase,
        Phase::Paused {
            reason: PauseReason::Credits,
            ..
        }
    );
    if waits_for_credit && reason == PauseReason::Requested {
        // It would go on by itself once there is credit, and whom a human wants to rest does not.
        let detail = String::new();
        draft.push(by, None, Paused { reason, detail });
        return Ok(granted(draft));
    }
    let asked_before = draft.state.pause.is_some_and(|wish| wish.now || !now);
    if asked_before || matches!(draft.state.phase, Phase::Paused { .. }) {
        return Ok(already(&draft));
    }
    draft.push(by, None, PauseRequested { reason, now });
    Ok(granted(draft))
}

pub(super) fn resume(mut draft: Draft, by: Actor, budget: Option<Credits>) -> Decided {
    check_writable(&draft.state)?;
    let paused_ms = match draft.state.phase {
        Phase::Paused { .. } => draft.now_ms().saturating_sub(draft.state.phase_since_ms),
        _ if draft.state.pause.is_some() => 0,
        // It goes on as it is, and has another budget from here on.
        _ if money::is_another_budget(&draft.state, budget) => 0,
        _ => return Ok(already(&draft)),
    };
    let resumed = Resumed {
        paused_ms,
        budget_micro: budget,
    };
    draft.push(by, None, resumed);
    Ok(granted(draft))
}

fn cancel(mut draft: Draft, by: Actor, force: bool) -> Decided {
    if draft.state.phase == Phase::Canceled {
        return Ok(already(&draft));
    }
    check_writable(&draft.state)?;
    let (canceling, reported) = match draft.state.phase {
        Phase::Stopping { stop, reported } => (is_cancel(stop), reported),
        _ => (false, false),
    };
    if force && !reported {
        return Err(Refusal::NothingToForce);
    }
    if canceling && !force {
        return Ok(already(&draft));
    }
    let mut cause = draft.state.phase_since;
    if !canceling {
        let stop = StopKind::Cancel;
        cause = draft.push(by.clone(), None, StopRequested { stop });
    }
    if force {
        outcome::force_cancel(&mut draft, by, cause);
    }
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
