//! Facts of a session as a whole: what it was started with, its rests, its end.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use crate::account::Credits;
use crate::session::money::Terms;
use crate::session::resources::Resources;

/// How a run ends: by its turns, or only by the brain, its budget or a human.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A turn ends in `idle`.
    #[default]
    Interactive,
    /// Many turns, until the brain finishes, the budget is spent or a human ends it.
    Bounded,
}

/// Which brain thinks for a session, pinned at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrainSpec {
    /// `playbook`, `process`.
    pub kind: String,
    /// What it was called by: a file, a program.
    pub name: String,
    /// sha256 (hex) of the blob that pins it, for a kind that is a file.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Further words, for a kind that is a program.
    #[serde(default)]
    pub args: Vec<String>,
}

/// What the session works on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceSpec {
    /// An empty folder, a clone, or a folder of the user's own.
    pub kind: WorkspaceKind,
    /// The repository or folder it comes from; empty for an empty folder.
    #[serde(default)]
    pub source: String,
    /// How its commands are walled in; as the runtime is configured when absent.
    // Always written: a state that holds it is also kept in a form without names.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
}

/// How commands are walled in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Namespaces, a root of their own, no rights, filtered system calls.
    #[default]
    Isolated,
    /// Not at all: they run as the user of the runtime.
    Process,
}

impl Sandbox {
    /// The word for records and command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Isolated => "isolated",
            Self::Process => "process",
        }
    }
}

/// Where the files of a session come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceKind {
    /// Nothing at first.
    #[default]
    Empty,
    /// A clone of HEAD with the uncommitted changes on top; the source is not touched, and a patch comes out.
    Clone,
    /// The user's own folder, on explicit demand.
    InPlace,
}

/// Bounds of a session, in active milliseconds or counts, and of its commands. Written down, so that replay meets the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// One brain call.
    pub brain_call_ms: u64,
    /// One command, unless it asks for more.
    pub command_ms: u64,
    /// One command at most.
    pub command_max_ms: u64,
    /// One turn.
    pub turn_ms: u64,
    /// Steps of one turn.
    pub turn_steps: u32,
    /// The whole run; 0 means no bound of its own.
    pub run_ms: u64,
    /// Idle this long (wall clock): hibernate.
    pub idle_ms: u64,
    /// A stop that is not confirmed after this long (wall clock) is reported.
    pub stop_confirm_ms: u64,
    /// Whether the files are kept at the end of each turn that may have changed them. No bound, but like them fixed at the
    /// start; sessions of before there were checkpoints have none.
    pub checkpoints: bool,
    /// A request for approval that nobody decides on for this long (wall clock) counts as denied; 0 waits for ever.
    pub approval_ms: u64,
    /// What one command may use.
    pub resources: Resources,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            brain_call_ms: 600_000,
            command_ms: 120_000,
            command_max_ms: 1_800_000,
            turn_ms: 1_800_000,
            turn_steps: 64,
            run_ms: 0,
            idle_ms: 180_000,
            stop_confirm_ms: 60_000,
            checkpoints: false,
            approval_ms: 0,
            resources: Resources::default(),
        }
    }
}

/// `session.started`: the first record, and the only one that holds what the session was started with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionStarted {
    /// Who it belongs to.
    pub owner: String,
    /// Its name for get-or-create, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What it is for, in the words of whoever started it.
    pub goal: String,
    /// How it ends.
    pub mode: Mode,
    /// Who thinks.
    pub brain: BrainSpec,
    /// What it works on.
    pub workspace: WorkspaceSpec,
    /// Its bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What its commands may reach, as `name:port`; empty: no network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<String>,
    /// Opaque JSON text, returned byte-equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Hash of the request, so that a repeat is told from another request under the same key.
    pub fingerprint: String,
    /// The account it uses; absent when its work is not charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Categories of acts that the goal forbids, as it was read at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forbidden: Vec<String>,
}

/// `session.pause_requested`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PauseRequested {
    /// Why.
    pub reason: PauseReason,
    /// Whether the open step is ended instead of awaited.
    #[serde(default)]
    pub now: bool,
}

/// Why a session is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// A human asked.
    Requested,
    /// No progress, twice over.
    Stuck,
    /// Too many crashes without a settled step.
    CrashLoop,
    /// An acknowledged record was lost.
    Damaged,
    /// The account is empty.
    Credits,
    /// The session's own budget is spent.
    Budget,
}

/// `session.paused`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paused {
    /// Why.
    pub reason: PauseReason,
    /// What to do about it, where that does not go without saying.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Paused {
    /// For a reason that says it all.
    pub const fn because(reason: PauseReason) -> Self {
        Self {
            reason,
            detail: String::new(),
        }
    }
}

/// `session.resumed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// How long it was paused, wall clock.
    pub paused_ms: u64,
    /// What it may cost in all from here on, micro-credits, if that was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_micro: Option<Credits>,
}

/// `session.hibernated`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hibernated {}

/// `session.woken`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Woken {}

/// What a stop is to lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// The end of the session.
    Cancel,
    /// The end of the turn; unread input follows.
    Interrupt,
}

/// `session.stop_requested`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopRequested {
    /// What it is to lead to.
    pub stop: StopKind,
}

/// `session.stop_unconfirmed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopUnconfirmed {
    /// Processes that are not confirmed gone.
    pub pids: Vec<u32>,
}

/// How a run came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// The brain says that the goal is reached.
    Success,
    /// The run's budget is spent.
    DeadlineExceeded,
}

/// `session.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// How it came out.
    pub outcome: RunOutcome,
    /// In the brain's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// `session.failed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Stable code: `brain_failed`, `brain_gone`.
    pub code: String,
    /// For a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// `session.canceled`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canceled {}

/// `session.adopted`: a copy that was imported or restored belongs to this directory from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {}

/// `journal.gap`: acknowledged records of the session are lost, or can no longer be folded. It goes on behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalGap {
    /// The first seq that is lost.
    pub from_seq: Seq,
    /// The last seq that is lost, or may be.
    pub to_seq: Seq,
    /// What happened to them.
    pub reason: String,
    /// No step up to this number is begun any more: each may have been begun in the gap.
    pub steps_to: u64,
}

/// `session.archived`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archived {}
