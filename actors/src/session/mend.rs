//! Taking a session up again after its log was damaged, or after it came from somewhere else.
//!
//! Both times nobody can know what became of the acts under way, so they are said to be unknown and are never done again.

use longhaul_journal::Seq;

use super::Event;
use super::approval;
use super::command::Reply;
use super::decide::granted;
use super::draft::{Draft, clip};
use super::event::{Actor, Adopted, JournalGap, PauseReason, Paused, ToolOutcomeUnknown, Void};
use super::outcome::{SettledBy, close_open_step};
use super::service::{self, ServiceCause};
use super::state::{Phase, State};
use crate::entity::{Decision, Moment};

/// What is to be written over a gap: `state` is the fold of what stands, `highest` the highest seq that may ever have been
/// given, so that the first of these facts gets the seq after it.
///
/// The open step, and the call that would have come next, may have run in the gap: both are said to be unknown, and no
/// number of a step that may have been begun there is used again, so that no evidence of an old act is taken for that of a
/// new one. A session that had not ended is paused, for a human to look at.
pub fn over_gap(state: &State, highest: Seq, reason: String, by: Actor, moment: Moment) -> Vec<Event> {
    let (stands, mut beyond) = (state.head, state.clone());
    beyond.head = highest;
    let mut draft = Draft::new(&beyond, moment);
    let lost = highest.0.saturating_sub(stands.0);
    let gap = JournalGap {
        from_seq: stands.next(),
        to_seq: highest,
        reason: clip(reason),
        steps_to: state.steps.saturating_add(lost),
    };
    let why = format!("records {} to {} are lost", gap.from_seq, gap.to_seq);
    let cause = draft.push(by, None, gap);
    if !draft.state.phase.is_live() {
        return draft.events;
    }
    approval::void(&mut draft, Void::Uncertain);
    let planned = draft
        .state
        .turn
        .as_ref()
        .and_then(|turn| turn.plan.first().cloned());
    if draft.state.open.is_some() {
        close_open_step(&mut draft, SettledBy::Repair, &why);
    } else if let Some(call) = planned {
        let why = format!("{why}; {} may have been done in them", call.0.tool);
        let step = state.steps + 1;
        draft.push(Actor::RUNTIME, Some(cause), ToolOutcomeUnknown { step, why });
    }
    let reason = PauseReason::Damaged;
    draft.push(Actor::RUNTIME, Some(cause), Paused::because(reason));
    service::follow(&mut draft);
    draft.events
}

/// What is written when a copy begins to belong to this directory.
pub(super) fn adopt(mut draft: Draft, by: Actor) -> Decision<Event, Reply> {
    draft.push(by, None, Adopted {});
    if draft.state.phase.is_live() {
        service::end_all(&mut draft, ServiceCause::Adopted);
    }
    if draft
        .state
        .approval
        .as_ref()
        .is_some_and(|asked| asked.answer.is_some())
    {
        // The one act that was approved may have been done where this copy comes from: it is asked for again.
        approval::void(&mut draft, Void::Uncertain);
    }
    if draft.state.phase.is_live() && !matches!(draft.state.phase, Phase::Stopping { .. }) {
        close_open_step(
            &mut draft,
            SettledBy::Adoption,
            "it was under way elsewhere when this copy was made",
        );
    }
    granted(draft)
}
