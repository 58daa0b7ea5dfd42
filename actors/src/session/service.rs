//! Services: programs that go on beside the steps of a session, under a name.
//!
//! Which of them run is part of the fold, so that whoever finds the session again watches over them again. A service
//! ends by itself, because the brain says so, or because the session comes to rest: none outlives a rest, and each end
//! is a record.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::Event;
use super::command::{Command, Effect, Reply};
use super::decide::{already, granted};
use super::draft::{Draft, clip};
use super::event::{Actor, EgressDenied, ServiceEnded, ServiceStarted, ServiceStopRequested};
use super::state::{Ending, OpenStep, Phase, State, Work};
use super::tool::{CallError, CommandLine, Execution, Tool, ToolCall, brief_of};
use crate::entity::{Decision, EffectId, Owed};

/// Most services of a session at a time.
pub const SERVICES_LIMIT: usize = 4;
/// Longest name of one, bytes.
const NAME_LIMIT: usize = 32;
/// Tells the end of a service from its watch among the effects of one record.
const END_ATTEMPT: u32 = u32::MAX;

/// What a brain may want of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServiceCall {
    /// Starts a program that goes on after the step. Without a bound on its time.
    Start {
        /// Lower-case letters, digits, `-` and `_`.
        name: String,
        /// A line for `sh -c`, or the words of a program to start without a shell.
        command: CommandLine,
        /// Folder inside the workspace.
        #[serde(default)]
        cwd: String,
        /// Additions to the environment, which is otherwise built from nothing.
        #[serde(default)]
        env: std::collections::BTreeMap<String, String>,
    },
    /// Reads the last of what it said.
    Logs {
        /// Its name.
        name: String,
    },
    /// Ends it.
    Stop {
        /// Its name.
        name: String,
    },
}

impl ServiceCall {
    /// The service it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Start { name, .. } | Self::Logs { name } | Self::Stop { name } => name,
        }
    }

    /// Checks what can be checked without knowing which services there are.
    ///
    /// # Errors
    /// [`CallError`] when the name or the command cannot be one.
    pub(super) fn check(&self) -> Result<(), CallError> {
        let wrong = |detail: String| {
            Err(CallError {
                code: "invalid_arguments",
                detail,
            })
        };
        let name = self.name();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(plain) {
            return wrong(format!(
                "the name of a service is 1 to {NAME_LIMIT} lower-case letters, digits, '-' or '_', not {name:?}"
            ));
        }
        match self {
            Self::Start {
                command: CommandLine::Argv(words),
                ..
            } if words.is_empty() => wrong("a service needs at least the name of a program".into()),
            _ => Ok(()),
        }
    }

    /// The act in a line, for a person.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Start { name, command, .. } => format!("service {name}: {}", brief_of(command)),
            Self::Logs { name } => format!("logs of service {name}"),
            Self::Stop { name } => format!("stop service {name}"),
        }
    }
}

/// A service that runs, as far as its session knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningService {
    /// Its name.
    pub name: String,
    /// The step that started it.
    pub step: u64,
    /// The record that says so.
    pub seq: Seq,
    /// Its end, if it was asked for.
    pub ending: Option<ServiceEnding>,
}

/// An end that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEnding {
    /// The record that asks.
    pub seq: Seq,
    /// Why.
    pub cause: ServiceCause,
}

/// Why a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceCause {
    /// By itself.
    Itself,
    /// The brain said so.
    Asked,
    /// The session was idle for long.
    Idle,
    /// The session is paused.
    Paused,
    /// The session has reached its end.
    Ended,
    /// The session was canceled.
    Canceled,
    /// The turn was interrupted.
    Interrupted,
    /// The session was canceled by force: it may still run.
    Forced,
    /// The session was adopted elsewhere: it may still run where it was.
    Adopted,
    /// The session is a fork: it is one of its source, and may still run there.
    Forked,
}

/// How a service ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEnd {
    /// What its shim wrote down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// Why nobody can know how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// What it was kept from, for records of their own.
    #[serde(skip)]
    pub denied: Vec<DeniedEgress>,
}

/// A place on the network that an act was not let to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedEgress {
    /// The host as it was asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Stable word.
    pub reason: String,
    /// How often.
    pub times: u64,
}

/// What stands around an act, besides its workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// What it may reach, as `name:port`.
    pub network: Vec<String>,
    /// The service it is about; else one that runs, whose network the act shares. By the step that started it.
    pub service: Option<u64>,
}

/// What stands around the act `call`.
pub(super) fn around(state: &State, call: &ToolCall) -> Around {
    let network = state.origin.as_ref().map(|origin| origin.network.clone());
    let about = match Tool::parse(call) {
        Ok(Tool::Service(ServiceCall::Logs { name } | ServiceCall::Stop { name })) => {
            state.services.iter().find(|service| service.name == name)
        }
        _ => state.services.first(),
    };
    Around {
        network: network.unwrap_or_default(),
        service: about.map(|service| service.step),
    }
}

/// Refuses a call about services that cannot be made as they are.
///
/// # Errors
/// [`CallError`], which the brain is told; nothing was done.
pub(super) fn admit(state: &State, tool: Tool) -> Result<Tool, CallError> {
    let Tool::Service(call) = &tool else {
        return Ok(tool);
    };
    let refused = |code, detail| Err(CallError { code, detail });
    let name = call.name();
    let is_running = state.services.iter().any(|service| service.name == name);
    match call {
        ServiceCall::Start { .. } if is_running => {
            let detail = format!("a service {name} runs already; stop it first, or take another name");
            refused("service_exists", detail)
        }
        ServiceCall::Start { .. } if state.services.len() >= SERVICES_LIMIT => {
            let detail = format!("{SERVICES_LIMIT} services run already; stop one of them first");
            refused("too_many_services", detail)
        }
        ServiceCall::Logs { .. } | ServiceCall::Stop { .. } if !is_running => {
            let names: Vec<&str> = state.services.iter().map(|service| &*service.name).collect();
            let there_are = if names.is_empty() {
                "none runs".to_owned()
            } else {
                format!("there are {}", names.join(", "))
            };
            refused("no_such_service", format!("no service {name} runs; {there_are}"))
        }
        _ => Ok(tool),
    }
}

// ---- folding ----

pub(super) fn fold_started(state: &mut State, seq: Seq, started: &ServiceStarted) {
    state.patch_due = true;
    state.services.push(RunningService {
        name: started.name.clone(),
        step: started.step,
        seq,
        ending: None,
    });
}

pub(super) fn fold_stop(state: &mut State, seq: Seq, request: &ServiceStopRequested) {
    let service = state
        .services
        .iter_mut()
        .find(|service| service.step == request.step);
    if let Some(service) = service {
        let cause = request.cause;
        service.ending = Some(ServiceEnding { seq, cause });
    }
}

pub(super) fn fold_ended(state: &mut State, ended: &ServiceEnded) {
    // Until its end it may have changed files.
    state.patch_due = true;
    state.services.retain(|service| service.step != ended.step);
}

// ---- what it owes and waits for ----

/// The watch over each service, and its end where that was asked for. A session that is being stopped ends all of its
/// processes at once.
pub(super) fn owed(state: &State) -> Vec<Owed<Effect>> {
    if matches!(state.phase, Phase::Stopping { .. }) || !state.phase.is_live() {
        return Vec::new();
    }
    let mut owed = Vec::new();
    for service in &state.services {
        let step = service.step;
        let id = |seq, attempt| EffectId { seq, attempt };
        owed.push(Owed {
            id: id(service.seq, 0),
            effect: Effect::WatchService { step },
        });
        if let Some(ending) = service.ending {
            owed.push(Owed {
                id: id(ending.seq, END_ATTEMPT),
                effect: Effect::EndService { step },
            });
        }
    }
    owed
}

/// When an idle session ends its services, milliseconds since 1970; none when there is nothing left to ask for.
pub(super) fn due(state: &State) -> Option<u64> {
    let waits = state.services.iter().any(|service| service.ending.is_none());
    let at = state.phase_since_ms.saturating_add(state.limits().idle_ms);
    let rests = matches!(
        state.phase,
        Phase::Idle | Phase::AwaitingInput | Phase::AwaitingApproval
    );
    (waits && rests).then_some(at)
}

/// Whether the session goes on only once its services have ended: no step comes next, and none is to be admitted.
pub(super) fn is_awaited(state: &State) -> bool {
    let end = state.turn.as_ref().filter(|turn| turn.plan.is_empty());
    let ends = end
        .and_then(|turn| turn.end.as_ref())
        .is_some_and(Ending::ends_the_run);
    !state.services.is_empty() && (state.pause.is_some() || state.run_is_spent() || ends)
}

/// Asks the services of a session that waits for a human to end, when they have waited for long.
pub(super) fn tire(draft: &mut Draft) {
    if due(&draft.state).is_some_and(|due| draft.now_ms() >= due) {
        settle_before(draft, ServiceCause::Idle);
    }
}

// ---- deciding ----

/// Asks every service to end; true once there is none. Called again when the last has ended, by whatever follows then.
pub(super) fn settle_before(draft: &mut Draft, cause: ServiceCause) -> bool {
    for service in draft.state.services.clone() {
        if service.ending.is_none() {
            let RunningService { name, step, .. } = service;
            draft.push(Actor::RUNTIME, None, ServiceStopRequested { step, name, cause });
        }
    }
    draft.state.services.is_empty()
}

/// A session that was put to rest without having been asked, after a loop or a crash, ends its services from there.
pub(super) fn follow(draft: &mut Draft) {
    if matches!(draft.state.phase, Phase::Paused { .. }) {
        settle_before(draft, ServiceCause::Paused);
    }
}

/// Writes the end of every service down, with whatever ended all of them.
pub(super) fn end_all(draft: &mut Draft, cause: ServiceCause) {
    for RunningService { name, step, seq, .. } in draft.state.services.clone() {
        let end = ServiceEnd::default();
        draft.push(
            Actor::RUNTIME,
            Some(seq),
            ServiceEnded {
                step,
                name,
                cause,
                end,
            },
        );
    }
}

/// A service that was watched over has ended.
pub(super) fn ended(mut draft: Draft, step: u64, end: ServiceEnd) -> Decision<Event, Reply> {
    let Some(service) = draft.state.services.iter().find(|service| service.step == step) else {
        return already(&draft);
    };
    let service = service.clone();
    let cause = match service.ending {
        Some(ending) => ending.cause,
        None if is_being_stopped(&draft.state, &service.name) => ServiceCause::Asked,
        None => ServiceCause::Itself,
    };
    push_end(&mut draft, service, cause, end);
    granted(draft)
}

/// The brain has ended a service.
pub(super) fn stopped(draft: &mut Draft, step: u64, end: ServiceEnd) {
    let service = draft.state.services.iter().find(|service| service.step == step);
    if let Some(service) = service.cloned() {
        push_end(draft, service, ServiceCause::Asked, end);
    }
}

/// Writes down what a step was kept from.
pub(super) fn push_denied(draft: &mut Draft, step: u64, cause: Seq, denied: Vec<DeniedEgress>) {
    for DeniedEgress {
        host,
        port,
        reason,
        times,
    } in denied
    {
        let host = clip(host);
        let denied = EgressDenied {
            step,
            host,
            port,
            reason,
            times,
        };
        draft.push(Actor::RUNTIME, Some(cause), denied);
    }
}

fn push_end(draft: &mut Draft, service: RunningService, cause: ServiceCause, mut end: ServiceEnd) {
    let RunningService {
        name,
        step,
        seq,
        ending,
    } = service;
    push_denied(draft, step, seq, std::mem::take(&mut end.denied));
    end.unknown = end.unknown.map(clip);
    let because = ending.map_or(seq, |ending| ending.seq);
    draft.push(
        Actor::RUNTIME,
        Some(because),
        ServiceEnded {
            step,
            name,
            cause,
            end,
        },
    );
}

/// Whether the act under way is the end of this service.
fn is_being_stopped(state: &State, wanted: &str) -> bool {
    let Some(OpenStep {
        work: Work::Act { call, .. },
        ..
    }) = &state.open
    else {
        return false;
    };
    matches!(Tool::parse(&call.0), Ok(Tool::Service(ServiceCall::Stop { name })) if name == wanted)
}

/// The command that an ended watch brings back.
pub(super) const fn outcome(step: u64, end: ServiceEnd) -> Command {
    Command::ServiceEnded { step, end }
}
