//! Folding facts into the state of a task.

use super::event::{Body, Event, Wanted};
use super::state::{Phase, State};
use crate::entity::Placed;

pub(super) fn apply(state: &mut State, placed: Placed<'_, Event>) {
    let before = state.phase;
    (state.head, state.last_ms) = (placed.seq, placed.time_ms);
    match &placed.event.body {
        Body::Suggested(suggested) => {
            begin(state, &suggested.owner, &suggested.wanted, placed.time_ms);
            state.source = Some(suggested.source.clone());
            state.phase = Phase::Suggested;
        }
        Body::Created(created) => {
            begin(state, &created.owner, &created.wanted, placed.time_ms);
            state.fingerprint.clone_from(&created.fingerprint);
            state.phase = Phase::Open;
        }
        Body::Opened(opened) => {
            (state.priority, state.risk) = (opened.priority, opened.risk);
            state.phase = Phase::Open;
        }
        Body::Archived(archived) => end(state, Phase::Archived, &archived.reason),
        Body::Claimed(claimed) => {
            state.claimed_by = Some(claimed.by.clone());
            state.phase = Phase::Claimed;
        }
        Body::Released(_) => {
            state.claimed_by = None;
            state.phase = Phase::Open;
        }
        Body::Started(started) => {
            (state.session, state.runs) = (Some(started.session), started.run);
            state.why.clear();
            state.phase = Phase::InProgress;
        }
        Body::WaitingApproval(_) => state.phase = Phase::WaitingApproval,
        Body::Continued(_) => state.phase = Phase::InProgress,
        Body::Reopened(reopened) => {
            state.why.clone_from(&reopened.why);
            // Who claimed it still has it.
            state.phase = match state.claimed_by {
                Some(_) => Phase::Claimed,
                None => Phase::Open,
            };
        }
        Body::Completed(completed) => end(state, Phase::Completed, &completed.summary),
        Body::Canceled(canceled) => end(state, Phase::Canceled, &canceled.reason),
        Body::Adopted(_) => {}
        // Where it stood is what is known. A run that was known before tells once more where it stands.
        Body::JournalGap(gap) => {
            state.why = format!(
                "records {} to {} of its log are lost, so more may have come of it",
                gap.from_seq, gap.to_seq
            );
            state.moved = placed.seq;
        }
    }
    if state.phase != before {
        state.moved = placed.seq;
    }
}

fn begin(state: &mut State, owner: &str, wanted: &Wanted, now_ms: u64) {
    state.created_ms = now_ms;
    owner.clone_into(&mut state.owner);
    state.title.clone_from(&wanted.title);
    state.body.clone_from(&wanted.body);
    state.goal.clone_from(&wanted.goal);
    (state.priority, state.risk) = (wanted.priority, wanted.risk);
}

fn end(state: &mut State, phase: Phase, why: &str) {
    state.phase = phase;
    why.clone_into(&mut state.why);
}
