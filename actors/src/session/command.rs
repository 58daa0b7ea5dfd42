//! Wishes a session may be sent, its answers and refusals, and the work it owes to the world.

use std::sync::Arc;

use longhaul_journal::{Seq, StreamId};

use super::admission::{Admission, Candidate, Setting};
use super::event::{
    Actor, Answer, ApprovalDecision, BrainSpec, Isolation, Limits, Mode, PauseReason, SendMode, WorkspaceSpec,
};
use super::money::{HeldStep, OutOfCredit, Purse, Terms};
use super::resources::Resources;
use super::service::{Around, ServiceEnd};
use super::tool::{ToolCall, ToolOutcome};
use crate::account::Credits;
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
        /// What it may cost in all from here on, if that is to change.
        budget: Option<Credits>,
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
    /// Go on, if it waits for credit: there is some.
    CreditIsBack,
    /// Rest: the next step, or a slot, cannot be paid for.
    OutOfCredit(OutOfCredit),
    /// Say whether an act may be done.
    Decide {
        /// Who says so.
        by: Actor,
        /// The request.
        id: String,
        /// What is said.
        decision: ApprovalDecision,
        /// On what grounds.
        evidence: String,
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
        /// The admission of the first act that the answer calls for.
        next: Option<Box<Admission>>,
    },
    /// Outcome of [`Effect::Act`].
    Acted {
        /// The step.
        step: u64,
        /// What became of it.
        outcome: ToolOutcome,
        /// The admission of the act that comes after it.
        next: Option<Box<Admission>>,
    },
    /// Outcome of [`Effect::Hold`].
    Held(Box<HeldStep>),
    /// Outcome of [`Effect::Admit`].
    Admitted(Box<Admission>),
    /// Outcome of [`Effect::Stop`]. ([`Effect::CancelStep`] has none of its own: the step settles.)
    Stopped {
        /// Processes that are not confirmed gone.
        survivors: Vec<u32>,
    },
    /// Outcome of [`Effect::WatchService`].
    ServiceEnded {
        /// The step that started it.
        step: u64,
        /// How it ended.
        end: ServiceEnd,
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
    /// What its commands may reach, as `name:port`; empty: no network.
    pub network: Vec<String>,
    /// Opaque JSON text.
    pub metadata: Option<String>,
    /// Categories of acts that the goal forbids.
    pub forbidden: Vec<String>,
    /// Hash of the request as the client made it.
    pub fingerprint: String,
    /// The account it uses; `None` when its work is not to be charged.
    pub terms: Option<Terms>,
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
    /// It says something impossible.
    #[error("{0}")]
    Invalid(String),
    /// A text of it is longer than what is kept in a record.
    #[error("{0}")]
    TooLarge(String),
    /// The session waits for no decision on this.
    #[error("the session waits for no decision on {0}")]
    NotPending(String),
    /// Only a human may decide.
    #[error("only a human may decide on an approval")]
    NotHuman,
    /// Forcing needs a stop that was asked for and not confirmed.
    #[error("there is no unconfirmed stop to force; cancel without --force first")]
    NothingToForce,
}

/// Work a session owes to the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A place among the active sessions.
    Slot {
        /// The account that must have credit, if it has one.
        account: Option<StreamId>,
    },
    /// Credit for a brain call, or for the patch at the end.
    Hold(Box<Purse>),
    /// A workspace and a sandbox.
    Prepare {
        /// What to make ready.
        workspace: WorkspaceSpec,
    },
    /// The checks that an act has to pass before it begins.
    Admit {
        /// The act.
        candidate: Candidate,
        /// What it is judged by, besides itself.
        setting: Box<Setting>,
        /// What is to be held for it, if its session has an account.
        purse: Option<Box<Purse>>,
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
        /// What the first act it calls for is judged by.
        setting: Option<Box<Setting>>,
    },
    /// One act of the hands.
    Act {
        /// The step.
        step: u64,
        /// What to do.
        call: Arc<ToolCall>,
        /// Active milliseconds it may take.
        limit_ms: u64,
        /// What it may use.
        resources: Resources,
        /// What stands around it.
        around: Around,
        /// The act that comes after it, and what that is judged by once this one is over.
        next: Option<Box<(Candidate, Setting)>>,
    },
    /// The files as they are after a record, kept.
    Checkpoint {
        /// The record.
        at: Seq,
        /// Whether somebody asked for it.
        requested: bool,
        /// What the workspace may grow to.
        resources: Resources,
    },
    /// The end of one running act.
    CancelStep {
        /// The step.
        step: u64,
    },
    /// An eye on a service until it ends.
    WatchService {
        /// The step that started it.
        step: u64,
    },
    /// The end of a service, which its watch then sees.
    EndService {
        /// The step that started it.
        step: u64,
    },
    /// The end of every process of the session.
    Stop {
        /// Report after this long, wall milliseconds, who is not confirmed gone; `None` waits for as long as it takes.
        confirm_ms: Option<u64>,
    },
}
