//! The fold of a session: what its records amount to. Nothing here is stored but in disposable snapshots.

use std::sync::Arc;

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::approval::Approval;
use super::checkpoint::Files;
use super::event::{
    AnswerEnd, BrainSpec, Limits, Mode, PauseReason, RunOutcome, SendMode, StopKind, Usage, WorkspaceSpec,
};
use super::fork::ForkedFrom;
use super::meter::{CrashMeter, LoopMeter};
use super::money::Money;
use super::service::RunningService;
use super::tool::ToolCall;

/// Everything that is known about a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What it was started with; `None` before its first record.
    pub origin: Option<Arc<Origin>>,
    /// Seq of its last record.
    pub head: Seq,
    /// Time of its last record, milliseconds since 1970.
    pub last_ms: u64,
    /// Where it stands.
    pub phase: Phase,
    /// The record that brought it there.
    pub phase_since: Seq,
    /// When that was, milliseconds since 1970.
    pub phase_since_ms: u64,
    /// Whether it can only be read.
    pub archived: bool,
    /// A pause that was asked for and has not come about yet.
    pub pause: Option<PauseWish>,
    /// Messages that no turn has taken.
    pub inbox: Vec<Unread>,
    /// Keys of recent messages, oldest first, for retry safety.
    pub keys: Vec<UsedKey>,
    /// The turn under way.
    pub turn: Option<Turn>,
    /// Turns begun so far.
    pub turns: u32,
    /// The step under way.
    pub open: Option<OpenStep>,
    /// Steps begun so far.
    pub steps: u64,
    /// The record that ended the last step. While none is open the next one waits for its admission from here on.
    pub settled: Seq,
    /// What a human was asked about the next step, until it begins or is given up.
    pub approval: Option<Approval>,
    /// Whether it has a place among the active sessions.
    pub seated: bool,
    /// How far the hands are walled in, once they are ready.
    pub isolation: Option<String>,
    /// Programs that go on beside the steps.
    pub services: Vec<RunningService>,
    /// Whether the workspace may differ from what the last patch holds.
    pub patch_due: bool,
    /// Crashes without progress.
    pub crashes: CrashMeter,
    /// Repetition without progress.
    pub loops: LoopMeter,
    /// Turns in a row that ran over their bounds.
    pub overruns: u32,
    /// Whether the last thing the runtime wrote is that it stops in good order.
    pub stopped_cleanly: bool,
    /// What all steps used.
    pub usage: Usage,
    /// What is known of its credit.
    pub money: Money,
    /// How it ended, in a line.
    pub outcome: String,
    /// How a completed run came out.
    pub completed: Option<RunOutcome>,
    /// What is known of its files.
    pub files: Files,
    /// Where it comes from, if it is a fork.
    pub forked: Option<ForkedFrom>,
}

/// What a session was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who it belongs to.
    pub owner: String,
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
    /// Categories of acts that its goal forbids.
    pub forbidden: Vec<String>,
    /// Its bounds.
    pub limits: Limits,
    /// What its commands may reach, as `name:port`; empty: no network.
    pub network: Vec<String>,
    /// Opaque JSON text.
    pub metadata: Option<String>,
    /// Hash of the request.
    pub fingerprint: String,
    /// When it was started, milliseconds since 1970.
    pub started_ms: u64,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It has no record yet.
    #[default]
    Unborn,
    /// It waits for a place among the active ones.
    Queued,
    /// Its workspace is being made ready.
    Starting,
    /// A turn is under way.
    Running,
    /// The brain asked, or set-up failed: a human must say something.
    AwaitingInput,
    /// The next act is done only if a human approves of it.
    AwaitingApproval,
    /// The last turn is over.
    Idle,
    /// Idle for long: nothing is held for it.
    Hibernated,
    /// It rests until resumed.
    Paused {
        /// Why.
        reason: PauseReason,
        /// Where it goes on.
        rest: Rest,
    },
    /// Its brain died; it is asked again at this time (milliseconds since 1970).
    Recovering {
        /// When.
        until_ms: u64,
    },
    /// Its processes are being ended.
    Stopping {
        /// What that leads to.
        stop: StopKind,
        /// Whether it was reported that some of them are not confirmed gone.
        reported: bool,
    },
    /// It reached its end.
    Completed,
    /// It cannot go on.
    Failed,
    /// A human ended it.
    Canceled,
}

/// Where a paused session goes on once it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// There is work: it queues.
    Work,
    /// It awaited input.
    AwaitingInput,
    /// It awaited an approval.
    AwaitingApproval,
    /// It was idle.
    Idle,
    /// It was hibernated.
    Hibernated,
}

impl Phase {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unborn => "unborn",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::AwaitingInput => "awaiting_input",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Idle => "idle",
            Self::Hibernated => "hibernated",
            Self::Paused { .. } => "paused",
            Self::Recovering { .. } => "recovering",
            Self::Stopping { .. } => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether nothing but an archive record may follow.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// Whether it has begun and not ended.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Unborn) && !self.is_terminal()
    }

    /// Whether processes may be at work for it, so that their death is a crash of this session.
    pub const fn has_compute(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Recovering { .. } | Self::Stopping { .. }
        )
    }
}

/// A pause that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseWish {
    /// Why.
    pub reason: PauseReason,
    /// Whether the open step is ended instead of awaited.
    pub now: bool,
}

/// A message that no turn has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Its seq.
    pub seq: Seq,
    /// When it is to be seen.
    pub mode: SendMode,
}

/// A key that a message came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    /// The key.
    pub key: String,
    /// Hash of what came with it.
    pub fingerprint: String,
    /// The message.
    pub seq: Seq,
    /// When it came, milliseconds since 1970.
    pub time_ms: u64,
}

/// A turn under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its number, from 1.
    pub number: u32,
    /// What it used so far.
    pub usage: Usage,
    /// Calls of the brain's last answer that are still to be made.
    pub plan: Vec<PlannedCall>,
    /// How the turn ends after them.
    pub end: Option<Ending>,
    /// The brain's last word.
    pub result: Option<Seq>,
}

/// How the brain wants a turn to end: [`AnswerEnd`] in a form that a snapshot can hold, since that one is tagged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Nothing more for now.
    Yield,
    /// With this question to the human.
    Ask(String),
    /// The goal is reached; in the brain's words.
    Finish(String),
    /// The goal cannot be reached, and why.
    Fail(String),
    /// Not at all: the brain can never answer again, and why.
    Gone(String),
}

impl Ending {
    /// Whether the whole run ends with the turn, for good or for ill.
    pub const fn ends_the_run(&self) -> bool {
        matches!(self, Self::Finish(_) | Self::Fail(_) | Self::Gone(_))
    }
}

impl From<&AnswerEnd> for Ending {
    fn from(end: &AnswerEnd) -> Self {
        match end {
            AnswerEnd::Yield => Self::Yield,
            AnswerEnd::Ask { text } => Self::Ask(text.clone()),
            AnswerEnd::Finish { summary } => Self::Finish(summary.clone()),
            AnswerEnd::Fail { detail } => Self::Fail(detail.clone()),
        }
    }
}

/// A call still to be made, as the record of the brain's answer has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "KeptCall", into = "KeptCall")]
pub struct PlannedCall(pub Arc<ToolCall>);

/// A call in a form that a snapshot can hold, which has no values of a shape that is not known: the arguments are JSON text.
#[derive(Serialize, Deserialize)]
struct KeptCall {
    tool: String,
    args: String,
}

impl From<PlannedCall> for KeptCall {
    fn from(PlannedCall(call): PlannedCall) -> Self {
        Self {
            tool: call.tool.clone(),
            args: call.args.to_string(),
        }
    }
}

impl TryFrom<KeptCall> for PlannedCall {
    type Error = serde_json::Error;

    fn try_from(KeptCall { tool, args }: KeptCall) -> Result<Self, Self::Error> {
        let args = serde_json::from_str(&args)?;
        Ok(Self(Arc::new(ToolCall { tool, args })))
    }
}

/// A step that was started and has no end yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStep {
    /// Its number in the session.
    pub step: u64,
    /// Its start record.
    pub seq: Seq,
    /// What it is.
    pub work: Work,
}

/// What a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A brain call.
    Think {
        /// The last seq the brain may see.
        window_to: Seq,
        /// 1 for the first try.
        attempt: u32,
    },
    /// An act of the hands.
    Act {
        /// The call.
        call: PlannedCall,
        /// Hash of the exact act.
        digest: String,
        /// Active milliseconds it may take.
        limit_ms: u64,
    },
}

impl State {
    /// The bounds of the session.
    pub fn limits(&self) -> Limits {
        self.origin
            .as_ref()
            .map_or_else(Limits::default, |origin| origin.limits)
    }

    /// How the session ends.
    pub fn mode(&self) -> Mode {
        self.origin
            .as_ref()
            .map_or(Mode::Interactive, |origin| origin.mode)
    }

    /// Active milliseconds that are left of the turn and of the run, whichever ends first.
    pub fn remaining_ms(&self) -> u64 {
        let limits = self.limits();
        let spent = self.turn.as_ref().map_or(0, |turn| turn.usage.active_ms);
        let of_turn = limits.turn_ms.saturating_sub(spent);
        if limits.run_ms == 0 {
            of_turn
        } else {
            of_turn.min(limits.run_ms.saturating_sub(self.usage.active_ms))
        }
    }

    /// Whether the run's own budget is spent.
    pub fn run_is_spent(&self) -> bool {
        let limit = self.limits().run_ms;
        limit != 0 && self.usage.active_ms >= limit
    }
}
