//! Requests for approval as they are shown, and what is said about them.

use longhaul_actors::session::{
    ApprovalCanceled, ApprovalDecided, ApprovalDecision, ApprovalExpired, ApprovalRequested, Body, Event,
    Expiry, Script, ToolStarted,
};
use longhaul_actors::{DecodeError, Entity, session::Session};
use longhaul_journal::{Record, StreamId};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use super::record::rfc3339;
use super::session::session_id;

/// Longest evidence of a decision, bytes.
pub use longhaul_actors::session::EVIDENCE_LIMIT;

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalStatus {
    /// It waits for a decision.
    Pending,
    /// The act may be done, once.
    Approved,
    /// The act is not done.
    Denied,
    /// Nobody decided in time: the act is not done.
    Expired,
    /// There is nothing to decide on any more.
    Canceled,
}

impl ApprovalStatus {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }
}

/// A request for approval as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// The session that asks.
    pub session: String,
    /// The record that asks.
    pub seq: u64,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// The step that the act is to be.
    pub step: u64,
    /// The tool.
    pub tool: String,
    /// The act, for a person; cut at 2,000 characters.
    pub action: String,
    /// The arguments of the call; absent when they take more than 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<serde_json::Value>,
    /// Hash of the exact act, which is what an approval covers.
    pub digest: String,
    /// What sort of act it is.
    pub category: String,
    /// How much may go wrong: `low`, `medium`, `high`.
    pub risk: String,
    /// The rule that asks.
    pub rule: String,
    /// Why it asks.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Scripts that the act runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// Whether nothing but convention keeps the agent from deciding itself.
    #[serde(default)]
    pub advisory: bool,
    /// When it was asked for, RFC 3339.
    pub requested_at: String,
    /// What happens if nobody decides: `wait`, `deny`.
    pub expiry: Expiry,
    /// When that happens, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// On what grounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// When it was decided, expired or canceled, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<String>,
    /// Why it was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_by: Option<String>,
    /// Whether the approved act was begun.
    #[serde(default)]
    pub used: bool,
}

pub(crate) fn no_approval(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no request for approval {id}"))
        .next("list what waits for a decision", "longhaul approvals ls")
}

/// Which requests are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ApprovalsQuery {
    /// Only those of this session; then the ones that are settled, too.
    pub session: Option<String>,
}

/// Requests for approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalsPage {
    /// The requests, oldest first.
    pub approvals: Vec<ApprovalView>,
}

/// A human's word on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decide {
    /// What is said.
    pub decision: ApprovalDecision,
    /// On what grounds: at most 4 KiB, not empty.
    pub evidence: String,
    /// The human, where it is another one than whoever runs the program. Whoever sets it vouches for them: over HTTP it is
    /// the one that a token was minted for, and nothing in a body says so.
    pub by: Option<String>,
}

/// Collects the requests that go by in the log of one session.
#[derive(Debug)]
pub(crate) struct Requests {
    stream: StreamId,
    found: Vec<ApprovalView>,
}

impl Requests {
    pub(crate) const fn of(stream: StreamId) -> Self {
        Self {
            stream,
            found: Vec::new(),
        }
    }

    /// Takes note of a record.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it.
    pub(crate) fn see(&mut self, record: &Record) -> Result<(), DecodeError> {
        let name = &*record.event.type_name;
        if !name.starts_with("approval.") && name != "tool.started" {
            return Ok(());
        }
        let Event { body, .. } = Session::decode(record)?;
        let at = || Some(rfc3339(record.time_ms));
        match body {
            Body::ApprovalRequested(requested) => {
                self.found.push(pending(self.stream, record, requested));
            }
            Body::ApprovalDecided(ApprovalDecided {
                id,
                decision,
                by,
                evidence,
                ..
            }) => {
                if let Some(asked) = self.last(&id) {
                    asked.status = match decision {
                        ApprovalDecision::Approve => ApprovalStatus::Approved,
                        ApprovalDecision::Deny => ApprovalStatus::Denied,
                    };
                    (asked.decided_by, asked.evidence) = (Some(by), Some(evidence));
                    asked.settled_at = at();
                }
            }
            Body::ApprovalExpired(ApprovalExpired { id }) => {
                if let Some(asked) = self.last(&id) {
                    (asked.status, asked.settled_at) = (ApprovalStatus::Expired, at());
                }
            }
            Body::ApprovalCanceled(ApprovalCanceled { id, reason }) => {
                if let Some(asked) = self.last(&id) {
                    (asked.status, asked.settled_at) = (ApprovalStatus::Canceled, at());
                    let reason = serde_json::to_value(reason).ok();
                    asked.canceled_by = reason.and_then(|reason| reason.as_str().map(str::to_owned));
                }
            }
            Body::ToolStarted(ToolStarted { step, digest, .. }) => {
                let asked = self.found.last_mut();
                if let Some(asked) = asked.filter(|asked| asked.step == step && asked.digest == digest) {
                    asked.used = asked.status == ApprovalStatus::Approved;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The same act at the same step may be asked for again; the last time counts.
    fn last(&mut self, id: &str) -> Option<&mut ApprovalView> {
        self.found.iter_mut().rev().find(|asked| asked.id == id)
    }

    /// All of them, in the order in which they were asked for.
    pub(crate) fn into_views(self) -> Vec<ApprovalView> {
        self.found
    }
}

fn pending(stream: StreamId, record: &Record, requested: ApprovalRequested) -> ApprovalView {
    ApprovalView {
        id: requested.id,
        session: session_id(stream),
        seq: record.seq.0,
        status: ApprovalStatus::Pending,
        step: requested.step,
        tool: requested.tool,
        action: requested.action,
        args: requested.args,
        digest: requested.digest,
        category: requested.category,
        risk: requested.risk,
        rule: requested.rule,
        detail: requested.detail,
        scripts: requested.scripts,
        advisory: requested.advisory,
        requested_at: rfc3339(record.time_ms),
        expiry: requested.expiry,
        expires_at: requested.expires_at_ms.map(rfc3339),
        decided_by: None,
        evidence: None,
        settled_at: None,
        canceled_by: None,
        used: false,
    }
}
