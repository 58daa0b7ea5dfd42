//! What a session waits for: its standing, its timer, and the work it owes to the world.

use std::sync::Arc;

use longhaul_journal::Standing;

use super::admission;
use super::approval;
use super::checkpoint;
use super::command::{Command, Effect};
use super::money;
use super::service;
use super::state::{OpenStep, Phase, PlannedCall, State, Work};
use crate::entity::{EffectId, Owed};

/// Distinguishes the end of a step from the step itself among the effects of one record.
const CANCEL_ATTEMPT: u32 = u32::MAX;
/// Distinguishes the hold of a step without an admission from an admission.
const HOLD_ATTEMPT: u32 = 1;

pub(super) fn standing(state: &State) -> Standing {
    if checkpoint::owed(state).is_some() {
        return Standing::Owed;
    }
    match state.phase {
        Phase::Unborn | Phase::Completed | Phase::Failed | Phase::Canceled => Standing::Done,
        // Somebody must watch over them.
        _ if !state.services.is_empty() => Standing::Owed,
        Phase::Queued | Phase::Starting | Phase::Running | Phase::Stopping { .. } => Standing::Owed,
        Phase::Idle | Phase::Recovering { .. } => Standing::Until(due(state).unwrap_or(0)),
        Phase::AwaitingInput | Phase::Hibernated => Standing::Waits("input".into()),
        Phase::AwaitingApproval => until_or(state, "approval"),
        Phase::Paused { .. } => until_or(state, "resume"),
    }
}

/// A wait that a request for approval may end by running out.
fn until_or(state: &State, name: &'static str) -> Standing {
    match due(state) {
        Some(due) => Standing::Until(due),
        None => Standing::Waits(name.into()),
    }
}

pub(super) fn due(state: &State) -> Option<u64> {
    match state.phase {
        Phase::Idle | Phase::AwaitingInput if !state.services.is_empty() => service::due(state),
        // It sleeps once its files are kept.
        Phase::Idle if checkpoint::owed(state).is_some() => None,
        Phase::Idle => Some(state.phase_since_ms.saturating_add(state.limits().idle_ms)),
        Phase::Recovering { until_ms } => Some(until_ms),
        Phase::AwaitingApproval | Phase::Paused { .. } => {
            let dues = [approval::due(state), service::due(state)];
            dues.into_iter().flatten().min()
        }
        _ => None,
    }
}

pub(super) fn alarm(state: &State) -> Option<Command> {
    due(state).map(|_| Command::Alarm)
}

pub(super) fn owed(state: &State) -> Vec<Owed<Effect>> {
    let mut owed = owed_by_phase(state);
    owed.extend(service::owed(state));
    owed.extend(checkpoint::owed(state));
    owed
}

fn owed_by_phase(state: &State) -> Vec<Owed<Effect>> {
    let here = |attempt, effect| Owed {
        id: EffectId {
            seq: state.phase_since,
            attempt,
        },
        effect,
    };
    match state.phase {
        Phase::Queued => vec![here(
            0,
            Effect::Slot {
                account: state.account(),
            },
        )],
        Phase::Starting => {
            let workspace = state
                .origin
                .as_ref()
                .map(|origin| origin.workspace.clone())
                .unwrap_or_default();
            vec![here(0, Effect::Prepare { workspace })]
        }
        Phase::Stopping { reported, .. } => {
            let confirm_ms = state.limits().stop_confirm_ms;
            vec![here(
                u32::from(reported),
                Effect::Stop {
                    confirm_ms: (!reported).then_some(confirm_ms),
                },
            )]
        }
        Phase::Running => match &state.open {
            Some(open) => step_effects(state, open),
            None => admission(state),
        },
        _ => Vec::new(),
    }
}

/// The admission of the step that comes next, named by the record that ended the one before.
fn admission(state: &State) -> Vec<Owed<Effect>> {
    if service::is_awaited(state) {
        return Vec::new();
    }
    let purse = money::purse(state).map(Box::new);
    if checkpoint::holds_acts(state) && money::next_act(state).is_some() {
        // It is admitted once the files are kept: what it runs is read then.
        return Vec::new();
    }
    let (attempt, effect) = match (money::next_act(state), purse) {
        (Some(candidate), purse) => {
            let setting = Box::new(admission::setting(state));
            let effect = Effect::Admit {
                candidate,
                setting,
                purse,
            };
            (0, effect)
        }
        (None, Some(purse)) => (HOLD_ATTEMPT, Effect::Hold(purse)),
        (None, None) => return Vec::new(),
    };
    let id = EffectId {
        seq: money::attempt(state),
        attempt,
    };
    vec![Owed { id, effect }]
}

fn step_effects(state: &State, open: &OpenStep) -> Vec<Owed<Effect>> {
    let step = open.step;
    // An admission that needs credit is asked for once the step before has ended, since that is settled with it.
    let rides = state.account().is_none();
    match &open.work {
        Work::Think { window_to, attempt } => {
            let Some(origin) = &state.origin else {
                return Vec::new();
            };
            let limit_ms = money::call_limit(state);
            let brain = origin.brain.clone();
            let effect = Effect::Think {
                step,
                brain,
                window_to: *window_to,
                attempt: *attempt,
                limit_ms,
                setting: rides.then(|| Box::new(admission::setting(state))),
            };
            vec![Owed {
                id: EffectId {
                    seq: open.seq,
                    attempt: *attempt,
                },
                effect,
            }]
        }
        Work::Act { call, limit_ms, .. } => {
            let next = rides.then(|| admission::next_of_plan(state)).flatten();
            let next = next.map(|next| (next, admission::setting(state)));
            let PlannedCall(call) = call;
            let around = service::around(state, call);
            let effect = Effect::Act {
                step,
                call: Arc::clone(call),
                limit_ms: *limit_ms,
                resources: state.limits().resources,
                around,
                next: next.map(Box::new),
            };
            let mut owed = vec![Owed {
                id: EffectId {
                    seq: open.seq,
                    attempt: 0,
                },
                effect,
            }];
            if state.pause.is_some_and(|wish| wish.now) {
                let id = EffectId {
                    seq: open.seq,
                    attempt: CANCEL_ATTEMPT,
                };
                owed.push(Owed {
                    id,
                    effect: Effect::CancelStep { step },
                });
            }
            owed
        }
    }
}
