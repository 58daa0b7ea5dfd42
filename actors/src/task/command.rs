//! Wishes a task may be sent, its answers and refusals, and the work it owes to the world.

use longhaul_journal::{Seq, StreamId};

use super::event::{Grade, Source, Wanted};
use super::perform::Progress;
use super::state::Phase;
use crate::session::Actor;

/// A wish.
#[derive(Clone, Debug)]
pub enum Command {
    /// Be the suggestion of a step. The first one stands.
    Suggest(Box<Suggest>),
    /// Be a task that a human wrote down. The same request again is the same task.
    Create(Box<Create>),
    /// Take the suggestion up.
    Open {
        /// Who.
        by: Actor,
        /// How urgent; as suggested when absent.
        priority: Option<Grade>,
        /// How much may go wrong; as suggested when absent.
        risk: Option<Grade>,
    },
    /// Do not take the suggestion up.
    Archive {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Be somebody's.
    Claim {
        /// Who says so.
        by: Actor,
        /// Whose.
        who: String,
    },
    /// Be nobody's again.
    Release {
        /// Who.
        by: Actor,
    },
    /// Be worked on by this run.
    Begin {
        /// Who.
        by: Actor,
        /// The run, which is there.
        session: StreamId,
    },
    /// Outcome of [`Effect::Watch`].
    Observed {
        /// The run.
        session: StreamId,
        /// Where it stands.
        progress: Progress,
    },
    /// Be done, as somebody says.
    Complete {
        /// Who.
        by: Actor,
        /// What came of it.
        summary: String,
    },
    /// Not be done.
    Cancel {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
}

/// What a step of a session suggests.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggest {
    /// To whom the session belongs.
    pub owner: String,
    /// What.
    pub wanted: Wanted,
    /// Where it comes from.
    pub source: Source,
}

/// What a human wrote down.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Who.
    pub by: Actor,
    /// To whom it belongs.
    pub owner: String,
    /// What.
    pub wanted: Wanted,
    /// Tells the same request from another.
    pub fingerprint: String,
}

/// The answer to a wish that was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The record that holds the wish, or the head when nothing had to be written.
    pub seq: Seq,
    /// Whether it was so before.
    pub repeated: bool,
    /// Where the task stands now.
    pub phase: Phase,
    /// The artifact it was suggested with: after a repeated suggestion the first one.
    pub source: Option<Source>,
}

/// A wish denied by the rules; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such task.
    #[error("there is no such task")]
    NotFound,
    /// It was a suggestion, and somebody has said something about it.
    #[error("it is a suggestion no more; it is {}", .0.name())]
    SuggestionNotOpen(Phase),
    /// It is a suggestion that nobody has taken up.
    #[error("it is only suggested; take it up first")]
    OnlySuggested,
    /// Its phase does not allow the wish.
    #[error("a task that is {} cannot be {wish}", .phase.name())]
    Elsewhere {
        /// Where it stands.
        phase: Phase,
        /// What was wished for, as a participle.
        wish: &'static str,
    },
    /// It is somebody else's.
    #[error("it is claimed by {0}; release it first")]
    ClaimedBy(String),
    /// A run works on it.
    #[error("a run works on it; cancel the run, or wait for it")]
    RunAtWork(StreamId),
    /// The same name was used for another task.
    #[error("there is another task under this key; take another key for another task")]
    IdempotencyConflict,
    /// A word of the wish is impossible.
    #[error("{0}")]
    Invalid(String),
}

/// Work a task owes to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// See where its run stands, as soon as that is not what is known.
    Watch {
        /// The run.
        session: StreamId,
        /// What is known of it.
        known: Progress,
    },
}
