//! Facts of the gate: acts that were denied, and acts that wait for a human's word.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `policy.denied`: the policy forbids the act. It was not done, and the brain is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyDenied {
    /// The step that it would have been.
    pub step: u64,
    /// The tool.
    pub tool: String,
    /// The act in a line, for a person.
    pub action: String,
    /// Hash of the exact act.
    pub digest: String,
    /// What sort of act it is.
    pub category: String,
    /// The rule that decided.
    pub rule: String,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// `approval.requested`: the act is done only once a human approves of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequested {
    /// Its name: the same act at the same step of the same session has the same one, over any crash.
    pub id: String,
    /// The step that it will be.
    pub step: u64,
    /// The tool.
    pub tool: String,
    /// The act, for a person; cut at 2,000 characters.
    pub action: String,
    /// The arguments of the call; absent when they take more than 16 KiB. They stand whole in `model.completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// Hash of the exact act: an approval covers this and nothing else.
    pub digest: String,
    /// What sort of act it is: `publish`, `deploy`, `spend`.
    pub category: String,
    /// How much may go wrong: `low`, `medium`, `high`.
    pub risk: String,
    /// The rule that asks.
    pub rule: String,
    /// Why it asks, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Scripts that the act runs, each with the sha256 (hex) of what stands in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// Whether nothing but convention keeps the agent from deciding itself: its acts are not walled in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
    /// What happens if nobody decides.
    #[serde(default)]
    pub expiry: Expiry,
    /// When that happens, wall clock, milliseconds since 1970; absent when it waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// What happens to a request on which nobody decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expiry {
    /// It waits for ever.
    #[default]
    Wait,
    /// It counts as denied after a time.
    Deny,
}

/// A script that an act runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Its path as the act names it.
    pub path: String,
    /// sha256 (hex) of what stands in it.
    pub sha256: String,
}

/// What a human decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalDecision {
    /// The act may be done, once.
    Approve,
    /// The act may not be done; the brain is told why.
    Deny,
}

/// `approval.decided`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalDecided {
    /// The request.
    pub id: String,
    /// What was decided.
    pub decision: ApprovalDecision,
    /// By whom.
    pub by: String,
    /// On what grounds, in their words.
    pub evidence: String,
    /// The act that was decided on.
    pub digest: String,
}

/// `approval.expired`: nobody decided in time, which denies the act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalExpired {
    /// The request.
    pub id: String,
}

/// Why a request is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Void {
    /// The turn was interrupted.
    Interrupt,
    /// The session was canceled.
    Cancel,
    /// The turn ended without the act.
    TurnEnded,
    /// The act is another one by now: a script it runs was changed.
    Changed,
    /// The log lost records, or the session is a copy: the act may have been done.
    Uncertain,
}

/// `approval.canceled`: a request, or an approval that was not made use of, is void.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalCanceled {
    /// The request.
    pub id: String,
    /// Why.
    pub reason: Void,
}
