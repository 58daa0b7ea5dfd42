//! Wishes a session may be sent, its answers and refusals, and the work it owes to the world.

use longhaul_journal::Seq;

use super::event::{Actor, Answer, BrainSpec, Isolation, Limits, Mode, PauseReason, SendMode, WorkspaceSpec};
use super::tool::{ToolCall, ToolOutcome};
use crate::entity::Recovery;
use crate::ports::{BrainFailure, Kept, Report, SetupError};

/// A wish.
#[derive(Clone, Debug)]
pub enum Command {
    /// Begin to exist, or be found again by the same request.
    Start(Box<Start>),
    /// Take a message.
    Send {
        /// Who says it.
        by: Actor,
        /// What is said.
        text: String,
        /// When it is to be seen.
        mode: SendMode,
        /// Retry safety.
        idempotency_key: Option<String>,
    },
    /// Rest until resumed.
    Pause {
        /// Who asks.
        by: Actor,
        /// Why.
        reason: PauseReason,
        /// End the open step instead of awaiting it.
        now: bool,
    },
    /// Go on.
    Resume {
        /// Who asks.
        by: Actor,
    },
    /// End for good.
    Cancel {
        /// Who asks.
        by: Actor,
        /// End even though processes are not confirmed gone.
        force: bool,
    },
    /// Become read-only.
    Archive {
        /// Who asks.
        by: Actor,
    },
    /// Belong to this directory from here on, after an import or a restore.
    Adopt {
        /// Who asks.
        by: Actor,
    },
    /// Keep the files as they are, so that the session can be forked from here.
    Checkpoint {
        /// Who asks.
        by: Actor,
    },
    /// Outcome of [`Effect::Checkpoint`].
    Checkpointed {
        /// The seq it was made for.
        at: Seq,
        /// What was kept, or why nothing was.
        result: Result<Kept, SetupError>,
    },
    /// The folders of the session, which has ended, are gone.
    Released {
        /// Bytes that were freed.
        freed_bytes: u64,
        /// Why the workspace stays, if it does.
        workspace_kept: String,
        /// The patch that was made before, when the session had ended without.
        patch: Option<Report>,
    },
    /// Outcome of [`Effect::Slot`].
    SlotGranted,
    /// Outcome of [`Effect::Prepare`].
    Prepared {
        /// What the hands got, or why they could not.
        result: Result<Isolation, SetupError>,
    },
    /// Outcome of [`Effect::Think`].
    Thought {
        /// The step.
        step: u64,
        /// What the brain answered, or why it did not.
        result: Result<Answer, BrainFailure>,
        /// Active milliseconds.
        active_ms: u64,
    },
    /// Outcome of [`Effect::Act`].
    Acted {
        /// The step.
        step: u64,
        /// What became of it.
        outcome: ToolOutcome,
    },
    /// Outcome of [`Effect::Stop`]. ([`Effect::CancelStep`] has none of its own: the step settles.)
    Stopped {
        /// Processes that are not confirmed gone.
        survivors: Vec<u32>,
    },
    /// The time of `due` has come.
    Alarm,
    /// The actor was built anew from the journal.
    Recovered(Recovery),
    /// The runtime stops in good order.
    Stopping,
}

/// What a session is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Who starts it, and owns it.
    pub by: Actor,
    /// Its name for get-or-create.
    pub key: Option<String>,
    /// What it is for.
    pub goal: String,
    /// How it ends.
    pub mode: Mode,
    /// Who thinks.
    pub brain: BrainSpec,
    /// What it works on.
    pub workspace: WorkspaceSpec,
    /// Its bounds.
    pub limits: Limits,
    /// Opaque JSON text.
    pub metadata: Option<String>,
    /// Hash of the request as the client made it.
    pub fingerprint: String,
}

/// The answer to a wish that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The record that holds the wish, or the head when nothing had to be written.
    pub seq: Seq,
    /// Whether the same wish had been granted before.
    pub repeated: bool,
}

/// A wish denied by the rules; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such session.
    #[error("there is no such session")]
    NotFound,
    /// The key was used for another request.
    #[error("this key was used for a different request; use another key, or send the same request again")]
    IdempotencyConflict,
    /// It has ended.
    #[error("the session has ended ({0}); start another one")]
    Terminal(&'static str),
    /// It is archived.
    #[error("the session is archived and can only be read")]
    Archived,
    /// It is still going, so it cannot be archived.
    #[error("the session is still {0}; cancel it first")]
    StillLive(&'static str),
    /// The text is empty or too long.
    #[error("{0}")]
    Invalid(String),
    /// Forcing needs a stop that was asked for and not confirmed.
    #[error("there is no unconfirmed stop to force; cancel without --force first")]
    NothingToForce,
}

/// Work a session owes to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A place among the active sessions.
    Slot,
    /// A workspace and a sandbox.
    Prepare {
        /// What to make ready.
        workspace: WorkspaceSpec,
    },
    /// The brain's next step.
    Think {
        /// The step.
        step: u64,
        /// Which brain.
        brain: BrainSpec,
        /// The last seq it may see.
        window_to: Seq,
        /// 1 for the first try.
        attempt: u32,
        /// Active milliseconds it may take.
        limit_ms: u64,
    },
    /// One act of the hands.
    Act {
        /// The step.
        step: u64,
        /// What to do.
        call: ToolCall,
        /// Active milliseconds it may take.
        limit_ms: u64,
    },
    /// The files as they are after a record, kept.
    Checkpoint {
        /// The record.
        at: Seq,
        /// Whether somebody asked for it.
        requested: bool,
    },
    /// The end of one running act.
    CancelStep {
        /// The step.
        step: u64,
    },
    /// The end of every process of the session.
    Stop {
        /// Report after this long, wall milliseconds, who is not confirmed gone; `None` waits for as long as it takes.
        confirm_ms: Option<u64>,
    },
}
