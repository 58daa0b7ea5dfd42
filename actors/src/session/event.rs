//! Facts of a session as they are stored. Adding a field here is a promise: give it a serde default.
//!
//! The payload of a record is `{"actor": .., "turn": .., "data": ..}`, so that a reader splices it into the wire form
//! without decoding `data`.

use longhaul_journal::{Level, NewRecord, Record, Seq};
use serde::{Deserialize, Serialize};

use super::tool::{Execution, FileRead, FileWrite, ToolCall};
use crate::entity::DecodeError;

/// A fact of a session with who brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who acted.
    pub actor: Actor,
    /// The turn it belongs to.
    pub turn: Option<u32>,
    /// The record that brought it about.
    pub cause: Option<Seq>,
    /// What happened.
    pub body: Body,
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What sort of actor.
    pub kind: ActorKind,
    /// Which one; `local` for the human at this machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

/// What sort of actor acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A person, or a program on a person's behalf.
    Human,
    /// The brain of the session.
    Agent,
    /// longhaul itself.
    Runtime,
}

impl Actor {
    /// longhaul itself.
    pub const RUNTIME: Actor = Actor {
        kind: ActorKind::Runtime,
        id: String::new(),
    };
    /// The brain of the session.
    pub const AGENT: Actor = Actor {
        kind: ActorKind::Agent,
        id: String::new(),
    };

    /// A person by name.
    pub fn human(id: impl Into<String>) -> Self {
        Self {
            kind: ActorKind::Human,
            id: id.into(),
        }
    }
}

/// The table of all facts: type on the wire, version, level, shape. "Add an event" starts with a line here.
macro_rules! bodies {
    ($($type_name:literal $version:literal $level:ident $name:ident),+ $(,)?) => {
        /// What happened, by type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Body {
            $(#[doc = concat!("`", $type_name, "`")] $name($name),)+
        }

        impl Body {
            /// Every record type of a session, in the order of the table.
            pub const TYPES: &'static [&'static str] = &[$($type_name),+];

            /// Its dotted name on the wire.
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$name(_) => $type_name,)+ }
            }

            /// Who it is meant for.
            pub const fn level(&self) -> Level {
                match self { $(Self::$name(_) => Level::$level,)+ }
            }

            const fn type_version(&self) -> u16 {
                match self { $(Self::$name(_) => $version,)+ }
            }
        }

        $(impl From<$name> for Body {
            fn from(data: $name) -> Self { Self::$name(data) }
        })+

        impl Event {
            /// Its stored form.
            pub fn encode(&self) -> NewRecord {
                let payload = match &self.body {
                    $(Body::$name(data) => serde_json::to_vec(&Payload { actor: &self.actor, turn: self.turn, data }),)+
                };
                NewRecord {
                    type_name: self.body.type_name().into(),
                    type_version: self.body.type_version(),
                    cause: self.cause,
                    level: self.body.level(),
                    payload: payload.expect("plain structs with text keys always serialize"),
                }
            }

            /// A fact from its stored form.
            ///
            /// # Errors
            /// [`DecodeError`] when a newer version wrote it or it is damaged.
            pub fn decode(record: &Record) -> Result<Self, DecodeError> {
                let stored = &record.event;
                match (&*stored.type_name, stored.type_version) {
                    $(($type_name, $version) => {
                        let payload: OwnedPayload<$name> = serde_json::from_slice(&stored.payload).map_err(|error| {
                            DecodeError::Payload { type_name: $type_name.into(), reason: error.to_string() }
                        })?;
                        Ok(Event { actor: payload.actor, turn: payload.turn, cause: stored.cause, body: payload.data.into() })
                    })+
                    (type_name, type_version) => {
                        Err(DecodeError::UnknownType { type_name: type_name.into(), type_version })
                    }
                }
            }
        }
    };
}

bodies! {
    "session.started"          1 User     SessionStarted,
    "session.pause_requested"  1 Progress PauseRequested,
    "session.paused"           1 User     Paused,
    "session.resumed"          1 User     Resumed,
    "session.hibernated"       1 Progress Hibernated,
    "session.woken"            1 Progress Woken,
    "session.stop_requested"   1 Progress StopRequested,
    "session.stop_unconfirmed" 1 User     StopUnconfirmed,
    "session.completed"        1 User     Completed,
    "session.failed"           1 User     Failed,
    "session.canceled"         1 User     Canceled,
    "session.archived"         1 User     Archived,
    "user.message"             1 User     UserMessage,
    "agent.message"            1 User     AgentMessage,
    "agent.question"           1 User     AgentQuestion,
    "turn.started"             1 Progress TurnStarted,
    "turn.steered"             1 Progress TurnSteered,
    "turn.stuck"               1 Progress TurnStuck,
    "turn.completed"           1 Progress TurnCompleted,
    "model.started"            1 Internal ModelStarted,
    "model.completed"          1 Internal ModelCompleted,
    "tool.started"             1 Internal ToolStarted,
    "command.run"              1 Progress CommandRun,
    "file.write"               1 Progress FileWritten,
    "file.read"                1 Internal FileWasRead,
    "tool.completed"           1 Internal ToolCompleted,
    "tool.failed"              1 Internal ToolFailed,
    "tool.outcome_unknown"     1 User     ToolOutcomeUnknown,
    "artifact.created"         1 User     ArtifactCreated,
    "sandbox.starting"         1 Internal SandboxStarting,
    "sandbox.ready"            1 Internal SandboxReady,
    "sandbox.setup_failed"     1 User     SandboxSetupFailed,
    "runtime.crashed"          1 Progress RuntimeCrashed,
    "runtime.restarted"        1 Progress RuntimeRestarted,
    "runtime.stopped"          1 Internal RuntimeStopped,
}

#[derive(Serialize)]
struct Payload<'a, D> {
    actor: &'a Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<u32>,
    data: &'a D,
}

#[derive(Deserialize)]
struct OwnedPayload<D> {
    actor: Actor,
    #[serde(default)]
    turn: Option<u32>,
    data: D,
}

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

/// Bounds of a session, all in active milliseconds or counts. Written down, so that replay meets the same ones.
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
    /// Opaque JSON text, returned byte-equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    /// Hash of the request, so that a repeat is told from another request under the same key.
    pub fingerprint: String,
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
}

/// `session.resumed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// How long it was paused, wall clock.
    pub paused_ms: u64,
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

/// `session.archived`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archived {}

/// When a message is to be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendMode {
    /// By the next brain call of the running turn.
    #[default]
    Steer,
    /// By the next turn.
    Queue,
    /// At once: the running turn ends.
    Interrupt,
}

/// `user.message`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserMessage {
    /// The text, at most 32 KiB.
    pub text: String,
    /// When it is to be seen.
    #[serde(default)]
    pub mode: SendMode,
    /// Retry safety: the same key is the same message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// `agent.message`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentMessage {
    /// The text.
    pub text: String,
}

/// `agent.question`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentQuestion {
    /// The text.
    pub text: String,
}

/// Why a turn began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnCause {
    /// There is unread input.
    Input,
    /// A bounded run goes on.
    Continue,
}

/// `turn.started`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnStarted {
    /// Why.
    pub cause: TurnCause,
    /// First unread message it takes; 0 when it takes none. A message in the range that an earlier `turn.steered`
    /// names was read then, and is not taken again.
    pub input_from_seq: Seq,
    /// Last unread message it takes; 0 when it takes none.
    pub input_to_seq: Seq,
}

/// `turn.steered`: a message that came during the turn is seen by the step that follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnSteered {
    /// The message.
    pub message_seq: Seq,
    /// The brain call that sees it.
    pub step: u64,
}

/// `turn.stuck`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TurnStuck {
    /// What shows it.
    pub evidence: StuckEvidence,
}

/// What shows that a turn is stuck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StuckEvidence {
    /// The same act with the same result, over and over.
    Loop {
        /// Digest of the act.
        digest: String,
        /// How often.
        times: u32,
    },
    /// Its active time is spent.
    Deadline {
        /// Spent, active milliseconds.
        spent_ms: u64,
    },
    /// Its steps are spent.
    Steps {
        /// Taken.
        steps: u32,
    },
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// The brain yielded.
    Yielded,
    /// The brain finished the run.
    Finished,
    /// The brain asked.
    NeedsInput,
    /// A human interrupted.
    Interrupted,
    /// A human canceled.
    Canceled,
    /// Its time or steps are spent.
    DeadlineExceeded,
    /// A loop.
    Stuck,
    /// The run failed.
    Failed,
}

/// `turn.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnCompleted {
    /// Why it ended.
    pub reason: TurnEnd,
    /// The brain's last word in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_seq: Option<Seq>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// What was used, raw, so that a log can be priced again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Tokens put in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Active milliseconds of all steps.
    pub active_ms: u64,
    /// Steps.
    pub steps: u32,
}

/// `model.started`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelStarted {
    /// Its number in the session.
    pub step: u64,
    /// The last seq the brain may see.
    pub window_to: Seq,
}

/// `model.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelCompleted {
    /// Its number in the session.
    pub step: u64,
    /// Tool calls to be made, in order, before the brain is asked again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// How the turn ends after those calls, if the brain ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AnswerEnd>,
    /// Why there is no answer, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// What a brain answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Something to say first.
    pub say: Option<String>,
    /// Tool calls, made in order before the brain is asked again.
    pub calls: Vec<ToolCall>,
    /// How the turn ends after those calls; absent while the brain goes on.
    pub end: Option<AnswerEnd>,
    /// Tokens, if the brain knows them.
    pub usage: Usage,
}

/// How a brain ends a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum AnswerEnd {
    /// Nothing more for now.
    Yield,
    /// A question to the human.
    Ask {
        /// The question.
        text: String,
    },
    /// The goal is reached.
    Finish {
        /// In the brain's words.
        #[serde(default)]
        summary: String,
    },
    /// The goal cannot be reached.
    Fail {
        /// Why.
        #[serde(default)]
        detail: String,
    },
}

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
    /// The step that made it.
    pub step: u64,
    /// `report`, `research_note`, `content_draft`, `patch`, `task_suggestion`.
    pub kind: String,
    /// What to call it.
    pub name: String,
    /// sha256 (hex) of its bytes, which is its name in the blob store.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// `sandbox.starting`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxStarting {
    /// Counts the sandboxes of the session.
    pub generation: u32,
}

/// How far the hands are walled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// `process`: own process group, scrubbed environment, no wall.
    pub mode: String,
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
    /// Crashes in a row without a settled step, this one included.
    pub attempt: u32,
    /// The seq it goes on from.
    pub resumed_from_seq: Seq,
}

/// `runtime.stopped`: a clean stop; the restart after it is no crash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuntimeStopped {}
