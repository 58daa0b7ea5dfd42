//! The fold of a task: what its records amount to.

use longhaul_journal::{Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::event::{Grade, Source};

/// Everything that is known about a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Seq of its last record.
    pub head: Seq,
    /// Seq of the record with which its phase, or its run, last changed.
    pub moved: Seq,
    /// When it was suggested or created, wall clock, milliseconds since 1970.
    pub created_ms: u64,
    /// Time of its last record, milliseconds since 1970.
    pub last_ms: u64,
    /// To whom it belongs.
    pub owner: String,
    /// A line.
    pub title: String,
    /// The beginning of what else is said about it.
    pub body: String,
    /// The goal of a run that works on it, if that was said.
    pub goal: Option<String>,
    /// How urgent.
    pub priority: Grade,
    /// How much may go wrong in doing it.
    pub risk: Grade,
    /// The artifact it was suggested with.
    pub source: Option<Source>,
    /// Tells the request that created it from another.
    pub fingerprint: String,
    /// Whose it is.
    pub claimed_by: Option<String>,
    /// The run that works on it, or the last one that did.
    pub session: Option<StreamId>,
    /// How many runs worked on it.
    pub runs: u32,
    /// How it came to stand where it stands, in words; empty where the phase says it all.
    pub why: String,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It has no record yet.
    #[default]
    Unborn,
    /// An agent suggested it; nobody has taken it up.
    Suggested,
    /// It is to be done, by whoever comes.
    Open,
    /// It is somebody's.
    Claimed,
    /// A run works on it.
    InProgress,
    /// Its run waits for a human's word.
    WaitingApproval,
    /// It is done.
    Completed,
    /// It will not be done.
    Canceled,
    /// The suggestion was not taken up.
    Archived,
}

impl Phase {
    /// Every phase of a task that is there, in the order of its life.
    pub const ALL: [Self; 8] = [
        Self::Suggested,
        Self::Open,
        Self::Claimed,
        Self::InProgress,
        Self::WaitingApproval,
        Self::Completed,
        Self::Canceled,
        Self::Archived,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unborn => "unborn",
            Self::Suggested => "suggested",
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::InProgress => "in_progress",
            Self::WaitingApproval => "waiting_approval",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
            Self::Archived => "archived",
        }
    }

    /// The phase of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Whether nothing will happen to it any more.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Archived)
    }

    /// Whether a run works on it.
    pub const fn is_at_work(self) -> bool {
        matches!(self, Self::InProgress | Self::WaitingApproval)
    }
}

impl State {
    /// The goal of a run that works on it.
    pub fn goal(&self) -> String {
        match (&self.goal, self.body.is_empty()) {
            (Some(goal), _) => goal.clone(),
            (None, true) => self.title.clone(),
            (None, false) => format!("{}\n\n{}", self.title, self.body),
        }
    }
}
