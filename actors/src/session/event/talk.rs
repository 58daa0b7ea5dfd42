//! Facts of talk: messages, turns, and the calls of the brain.

use std::sync::Arc;

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::work::HoldNamed;
use crate::session::tool::ToolCall;

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
#[serde(rename_all = "snake_case", rename_all_fields = "camelCase", tag = "kind")]
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
    /// The credit that is held for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldNamed>,
}

/// `model.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelCompleted {
    /// Its number in the session.
    pub step: u64,
    /// Tool calls to be made, in order, before the brain is asked again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Arc<ToolCall>>,
    /// How the turn ends after those calls, if the brain ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AnswerEnd>,
    /// Why there is no answer, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether none will ever come, so that the session fails once its services have ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
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
