//! Facts of work: the acts of the hands, what they made, the sandbox around them and the runtime below.

use longhaul_journal::{Seq, StreamId};
use serde::{Deserialize, Serialize};

use crate::account::Credits;
use crate::session::resources::LimitsReport;
use crate::session::tool::{Execution, FileRead, FileWrite};
use crate::shown;

/// What recovery may do with an act that may have begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryClass {
    /// It goes on under its shim: attach to it again.
    Reattach,
    /// Doing it again leads to the same.
    Idempotent,
    /// The hashes before and after tell whether it happened.
    Compare,
    /// May be done again; the waste is accounted for.
    Repeatable,
    /// Never again: tell, and ask.
    Once,
}

/// `tool.started`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolStarted {
    /// Its number in the session.
    pub step: u64,
    /// The tool.
    pub tool: String,
    /// The act in a line, for a person.
    pub brief: String,
    /// Hash of the exact act.
    pub digest: String,
    /// What recovery may do with it.
    pub class: RecoveryClass,
    /// Active milliseconds it may take.
    #[serde(rename = "limitMs")]
    pub limit_ms: u64,
    /// The credit that is held for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldNamed>,
}

/// The credit that is held for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldNamed {
    /// Seq of `credits.held` in the stream of the account.
    pub seq: Seq,
    /// How much, micro-credits.
    pub amount_micro: Credits,
    /// What the session had cost before, micro-credits.
    pub spent_micro: Credits,
}

/// `command.run`: a command ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRun {
    /// Its number in the session.
    pub step: u64,
    /// How it ended, and what it said.
    #[serde(flatten)]
    pub execution: Execution,
}

/// `file.write`: a file was written or edited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileWritten {
    /// Its number in the session.
    pub step: u64,
    /// What was written.
    #[serde(flatten)]
    pub file: FileWrite,
}

/// `file.read`: a file was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileWasRead {
    /// Its number in the session.
    pub step: u64,
    /// What was read.
    #[serde(flatten)]
    pub file: FileRead,
}

/// `tool.completed`: any other tool ended well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolCompleted {
    /// Its number in the session.
    pub step: u64,
    /// The tool.
    pub tool: String,
    /// What it returned, as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Active milliseconds.
    #[serde(default)]
    pub active_ms: u64,
}

/// `tool.failed`: the act did not happen, or happened and failed; the brain is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolFailed {
    /// Its number in the session.
    pub step: u64,
    /// Stable code: `not_found`, `outside_workspace`, `unknown_tool`.
    pub code: String,
    /// What went wrong and what to do next.
    pub detail: String,
    /// What settled it, when it was not the tool itself: `cancel`, `interrupt`, `repair`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    /// Active milliseconds.
    #[serde(default)]
    pub active_ms: u64,
}

/// `tool.outcome_unknown`: nobody can know whether the act happened; it is never silently done again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolOutcomeUnknown {
    /// Its number in the session.
    pub step: u64,
    /// Why nobody can know.
    pub why: String,
}

/// `artifact.created`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArtifactCreated {
    /// The step that made it; 0 when none did.
    pub step: u64,
    /// `report`, `research_note`, `content_draft`, `patch`, `task_suggestion`.
    pub kind: String,
    /// What to call it.
    pub name: String,
    /// sha256 (hex) of its bytes, which is its name in the blob store.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The task that it is, if it is a suggestion.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shown::maybe_task")]
    pub task: Option<StreamId>,
}

/// `sandbox.starting`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxStarting {
    /// Counts the sandboxes of the session.
    pub generation: u32,
}

/// How far the hands are walled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// `isolated`, or `process`: own process group, scrubbed environment, no wall.
    pub mode: String,
    /// What stands between a command and the machine: `namespaces`, `root`, `user`, `capabilities`, `seccomp`,
    /// `landlock`, `proc`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Version of Landlock in the kernel, 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock_abi: Option<u32>,
    /// The network of a command: `none` is a loopback device of its own, `listed` the same with a way out to the names of
    /// `session.started`, `host` that of the machine, whatever the list says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// How commands are held to what they may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsReport>,
}

/// `sandbox.ready`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxReady {
    /// What it got.
    pub isolation: Isolation,
}

/// `sandbox.setup_failed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSetupFailed {
    /// Stable code.
    pub code: String,
    /// What to do next.
    pub detail: String,
}

/// What died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashCause {
    /// The whole process.
    Server,
    /// The actor of this session.
    Actor,
    /// The brain's process.
    Brain,
    /// The hands.
    Hands,
}

/// `runtime.crashed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeCrashed {
    /// What died.
    pub cause: CrashCause,
    /// The last seq before it.
    pub last_seq: Seq,
    /// Whether it counts against this session.
    pub counted: bool,
    /// What is known about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Active milliseconds of the work that was lost and is done again; they are spent all the same.
    #[serde(default)]
    pub active_ms: u64,
}

/// `runtime.restarted`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeRestarted {
    /// Crashes in a row without a settled step, this one included if it was one.
    pub attempt: u32,
    /// The seq it goes on from.
    pub resumed_from_seq: Seq,
}

/// `runtime.stopped`: a clean stop; the restart after it is no crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuntimeStopped {}
