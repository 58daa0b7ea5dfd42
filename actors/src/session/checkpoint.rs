//! When the files of a session are kept for a fork, and what waits for that.
//!
//! A checkpoint is owed from the end of a turn that may have changed files, or from a request. It is made beside the
//! thinking of the brain; only the next act waits for it, so that the files are those of one seq.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::Event;
use super::command::{Effect, Refusal, Reply};
use super::decide::{already, granted};
use super::draft::{Draft, clip};
use super::event::{
    Actor, Body, CheckpointCreated, CheckpointRequested, CheckpointSkipped, TurnEnd, WorkspaceKind,
};
use super::state::{Phase, State, Work};
use crate::entity::{Decision, EffectId, Owed};
use crate::ports::{Kept, SetupError};

/// Distinguishes a checkpoint from a step among the effects of one record.
const CHECKPOINT_ATTEMPT: u32 = u32::MAX - 1;

/// What is known of the files of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Whether they may differ from what the last checkpoint holds.
    pub changed: bool,
    /// The record that a checkpoint is owed since.
    pub due: Option<Seq>,
    /// Whether somebody asked for it, so that its size is no reason to skip it.
    pub requested: bool,
    /// The last record that ended an act.
    pub settled: Seq,
    /// Whether the folders of the session, which has ended, were removed.
    pub released: bool,
}

/// Whether an act of this tool may change files. Whatever is not known to leave them alone may.
pub fn may_change_files(tool: &str) -> bool {
    !matches!(tool, "read" | "list" | "artifact")
}

/// Folds what a fact says about the files. Called before the fact changes the rest of the state.
pub(super) fn fold(state: &mut State, seq: Seq, body: &Body) {
    let automatic = state.limits().checkpoints && !works_in_place(state);
    // A service may write at any time: as long as one goes on, the files are those of no seq.
    let (is_still, last_service) = (state.services.is_empty(), state.services.len() == 1);
    let between_turns = state.turn.is_none() && state.phase.is_live();
    let files = &mut state.files;
    match body {
        Body::SandboxReady(_) if state.isolation.is_none() => files.changed = true,
        Body::ToolStarted(started) => files.changed |= may_change_files(&started.tool),
        Body::CommandRun(_)
        | Body::FileWritten(_)
        | Body::FileWasRead(_)
        | Body::ToolCompleted(_)
        | Body::ToolFailed(_)
        | Body::ToolOutcomeUnknown(_) => files.settled = seq,
        Body::TurnCompleted(ended)
            if automatic
                && files.changed
                && files.due.is_none()
                && is_still
                && ended.reason != TurnEnd::Canceled =>
        {
            files.due = Some(seq);
        }
        // What it left is kept with the turn; when there is none, now.
        Body::ServiceEnded(_) => {
            files.changed = true;
            if automatic && last_service && between_turns {
                files.due = Some(seq);
            }
        }
        Body::CheckpointRequested(_) => {
            files.due.get_or_insert(seq);
            files.requested = true;
        }
        Body::CheckpointCreated(_) => {
            (files.changed, files.due, files.requested) = (false, None, false);
        }
        Body::CheckpointSkipped(_) => (files.due, files.requested) = (None, false),
        Body::Completed(_) | Body::Failed(_) | Body::Canceled(_) => {
            (files.due, files.requested) = (None, false);
        }
        // Whatever was owed was owed elsewhere.
        Body::Adopted(_) | Body::Forked(_) => {
            (files.changed, files.due, files.requested) = (true, None, false);
        }
        Body::SandboxReleased(_) => files.released = true,
        _ => {}
    }
}

/// Whether the next act has to wait until the files are kept.
pub(super) const fn holds_acts(state: &State) -> bool {
    state.files.due.is_some() && state.isolation.is_some()
}

/// The checkpoint that is to be made now: none while an act may be changing the files.
pub(super) fn owed(state: &State) -> Option<Owed<Effect>> {
    let acts = matches!(&state.open, Some(open) if matches!(open.work, Work::Act { .. }));
    let stops = matches!(state.phase, Phase::Stopping { .. });
    if acts || stops || !state.phase.is_live() || !holds_acts(state) {
        return None;
    }
    let files = state.files;
    let at = files.due?.max(files.settled);
    let id = EffectId {
        seq: at,
        attempt: CHECKPOINT_ATTEMPT,
    };
    let effect = Effect::Checkpoint {
        at,
        requested: files.requested,
        resources: state.limits().resources,
    };
    Some(Owed { id, effect })
}

/// Asks for a checkpoint.
pub(super) fn request(mut draft: Draft, by: Actor) -> Result<Decision<Event, Reply>, Refusal> {
    super::decide::check_writable(&draft.state)?;
    if works_in_place(&draft.state) {
        let why = "the session works in a folder of your own, which others change too; there are no checkpoints of it";
        return Err(Refusal::Invalid(why.into()));
    }
    if draft.state.isolation.is_none() {
        let why = "the workspace was not made yet, so there is nothing to keep";
        return Err(Refusal::Invalid(why.into()));
    }
    if !draft.state.services.is_empty() {
        let why = "a service of the session is running and may write at any time; have it stopped first";
        return Err(Refusal::Invalid(why.into()));
    }
    if draft.state.files.requested {
        return Ok(already(&draft));
    }
    draft.push(by, None, CheckpointRequested {});
    Ok(granted(draft))
}

/// Takes the outcome of [`Effect::Checkpoint`].
pub(super) fn taken(mut draft: Draft, at: Seq, result: Result<Kept, SetupError>) -> Decision<Event, Reply> {
    if owed(&draft.state).is_none_or(|owed| owed.id.seq != at) {
        return already(&draft);
    }
    match result {
        Ok(kept) => {
            let Kept {
                entries,
                bytes,
                added_bytes,
                digest,
            } = kept;
            let created = CheckpointCreated {
                at,
                entries,
                bytes,
                added_bytes,
                digest,
            };
            draft.push(Actor::RUNTIME, Some(at), created);
        }
        Err(SetupError { code, detail, .. }) => {
            let detail = clip(detail);
            draft.push(Actor::RUNTIME, Some(at), CheckpointSkipped { at, code, detail });
        }
    }
    granted(draft)
}

fn works_in_place(state: &State) -> bool {
    let kind = state.origin.as_ref().map(|origin| origin.workspace.kind);
    kind == Some(WorkspaceKind::InPlace)
}
