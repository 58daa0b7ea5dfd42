//! What a session waits for: its standing, its timer, and the work it owes to the world.

use longhaul_journal::Standing;

use super::checkpoint;
use super::command::{Command, Effect};
use super::state::{OpenStep, Phase, PlannedCall, State, Work};
use super::tool::ToolCall;
use crate::entity::{EffectId, Owed};

/// Distinguishes the end of a step from the step itself among the effects of one record.
const CANCEL_ATTEMPT: u32 = u32::MAX;

pub(super) fn standing(state: &State) -> Standing {
    if checkpoint::owed(state).is_some() {
        return Standing::Owed;
    }
    match state.phase {
        Phase::Unborn | Phase::Completed | Phase::Failed | Phase::Canceled => Standing::Done,
        Phase::Queued | Phase::Starting | Phase::Running | Phase::Stopping { .. } => Standing::Owed,
        Phase::Idle | Phase::Recovering { .. } => Standing::Until(due(state).unwrap_or(0)),
        Phase::AwaitingInput | Phase::Hibernated => Standing::Waits("input".into()),
        Phase::Paused { .. } => Standing::Waits("resume".into()),
    }
}

pub(super) fn due(state: &State) -> Option<u64> {
    match state.phase {
        // It sleeps once its files are kept.
        Phase::Idle if checkpoint::owed(state).is_some() => None,
        Phase::Idle => Some(state.phase_since_ms.saturating_add(state.limits().idle_ms)),
        Phase::Recovering { until_ms } => Some(until_ms),
        _ => None,
    }
}

pub(super) fn alarm(state: &State) -> Option<Command> {
    due(state).map(|_| Command::Alarm)
}

pub(super) fn owed(state: &State) -> Vec<Owed<Effect>> {
    let mut owed = by_phase(state);
    owed.extend(checkpoint::owed(state));
    owed
}

fn by_phase(state: &State) -> Vec<Owed<Effect>> {
    let here = |attempt, effect| Owed {
        id: EffectId {
            seq: state.phase_since,
            attempt,
        },
        effect,
    };
    match state.phase {
        Phase::Queued => vec![here(0, Effect::Slot)],
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
        Phase::Running => state
            .open
            .as_ref()
            .map_or_else(Vec::new, |open| step_effects(state, open)),
        _ => Vec::new(),
    }
}

fn step_effects(state: &State, open: &OpenStep) -> Vec<Owed<Effect>> {
    let step = open.step;
    match &open.work {
        Work::Think { window_to, attempt } => {
            let Some(origin) = &state.origin else {
                return Vec::new();
            };
            let limit_ms = origin.limits.brain_call_ms.min(state.remaining_ms()).max(1);
            let brain = origin.brain.clone();
            let effect = Effect::Think {
                step,
                brain,
                window_to: *window_to,
                attempt: *attempt,
                limit_ms,
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
            let effect = Effect::Act {
                step,
                call: tool_call(call),
                limit_ms: *limit_ms,
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

fn tool_call(planned: &PlannedCall) -> ToolCall {
    ToolCall {
        tool: planned.tool.clone(),
        args: serde_json::from_str(&planned.args).unwrap_or_default(),
    }
}
