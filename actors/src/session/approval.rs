//! A human's word on one act: asked for, given, withdrawn, run out.
//!
//! An approval covers one step of one session and the digest the gate gave the act; when the act begins it is judged once
//! more, and where the digest has changed the approval does not cover it and a new request is made.

use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};

use super::Event;
use super::admission::{Admission, turn_away};
use super::command::{Refusal, Reply};
use super::decide::granted;
use super::draft::Draft;
use super::event::{
    Actor, ActorKind, ApprovalCanceled, ApprovalDecided, ApprovalDecision, ApprovalExpired,
    ApprovalRequested, Expiry, Void,
};
use super::state::State;
use super::tool::{Tool, ToolCall};
use crate::entity::Decision;

/// Longest evidence, bytes.
pub const EVIDENCE_LIMIT: usize = 4 * 1024;
/// Most bytes that the arguments of a call may take in a request.
const ARGS_LIMIT: usize = 16 * 1024;
/// Longest action in a request, characters.
const ACTION_LIMIT: usize = 2_000;

/// A request for approval of the next act, and what came of it so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its name.
    pub id: String,
    /// The record that made it.
    pub seq: longhaul_journal::Seq,
    /// The step that the act will be.
    pub step: u64,
    /// The exact act.
    pub digest: String,
    /// When it counts as denied, wall clock, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    /// What was decided.
    pub answer: Option<Word>,
}

/// What was decided on a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// The act may be done, once.
    Approved,
    /// It may not, for this reason.
    Denied(String),
    /// Nobody decided in time.
    Expired,
}

/// What a request for approval of this act is called: the same over any crash, and found again by it, since the session's
/// id is its beginning.
pub fn approval_id(session: StreamId, step: u64, digest: &str) -> String {
    let act = blake3::hash(format!("{session}\0{step}\0{digest}").as_bytes());
    format!("ap_{session}{}", hex::encode(&act.as_bytes()[..8]))
}

/// The session that a request belongs to, by the name of the request.
pub fn approval_session(id: &str) -> Option<StreamId> {
    let digits = id.strip_prefix("ap_")?;
    (digits.len() == 48 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| digits[..32].parse().ok())
        .flatten()
}

/// Whether a human approved of exactly this act.
pub(super) fn covers(state: &State, admission: &Admission) -> bool {
    let digest_agrees = |approval: &Approval| {
        approval.digest == admission.judgement.digest
            || longhaul_journal::sabotage::is_on("approve-without-the-digest")
    };
    state.approval.as_ref().is_some_and(|approval| {
        approval.step == admission.step && approval.answer == Some(Word::Approved) && digest_agrees(approval)
    })
}

/// Asks a human about the next act. An approval of what the act was before is void.
pub(super) fn request(draft: &mut Draft, call: &ToolCall, tool: &Tool, admission: Admission) {
    void(draft, Void::Changed);
    let Admission {
        step,
        judgement,
        approval,
        ..
    } = admission;
    let bound_ms = judgement
        .expires_after_ms
        .unwrap_or(draft.state.limits().approval_ms);
    let args = (call.args.to_string().len() <= ARGS_LIMIT).then(|| call.args.clone());
    let requested = ApprovalRequested {
        id: approval,
        step,
        tool: call.tool.clone(),
        action: tool.line(ACTION_LIMIT),
        args,
        digest: judgement.digest,
        category: judgement.category,
        risk: judgement.risk,
        rule: judgement.rule,
        detail: judgement.detail,
        scripts: judgement.scripts,
        advisory: judgement.advisory,
        expiry: if bound_ms > 0 { Expiry::Deny } else { Expiry::Wait },
        expires_at_ms: (bound_ms > 0).then(|| draft.now_ms().saturating_add(bound_ms)),
    };
    draft.push(Actor::RUNTIME, None, requested);
}

/// Tells the brain of an act that a human denied; true when there was one.
pub(super) fn refused(draft: &mut Draft, call: &ToolCall, tool: &Tool) -> bool {
    let Some(approval) = draft.state.approval.clone() else {
        return false;
    };
    let told = match approval.answer {
        Some(Word::Denied(reason)) => (
            "approval_denied",
            format!("a human denied this: {reason}. It was not done"),
        ),
        Some(Word::Expired) => (
            "approval_expired",
            "nobody approved of this in time. It was not done".into(),
        ),
        Some(Word::Approved) | None => return false,
    };
    turn_away(draft, approval.seq, call, tool.brief(), approval.digest, told);
    true
}

/// What a human's word leads to.
pub(super) fn decide(
    mut draft: Draft,
    by: Actor,
    id: String,
    decision: ApprovalDecision,
    evidence: String,
) -> Result<Decision<Event, Reply>, Refusal> {
    if by.kind != ActorKind::Human {
        return Err(Refusal::NotHuman);
    }
    let pending = draft.state.approval.clone().filter(|pending| pending.id == id);
    let Some(Approval {
        seq, digest, answer, ..
    }) = pending
    else {
        return Err(Refusal::NotPending(id));
    };
    if answer.is_some() || !draft.state.phase.is_live() {
        return Err(Refusal::NotPending(id));
    }
    let evidence = evidence.trim().to_owned();
    if evidence.is_empty() {
        return Err(Refusal::Invalid(
            "a decision needs evidence: say on what grounds it is made".into(),
        ));
    }
    if evidence.len() > EVIDENCE_LIMIT {
        return Err(Refusal::TooLarge(format!(
            "the evidence has {} bytes, at most {EVIDENCE_LIMIT} are taken",
            evidence.len()
        )));
    }
    let decided = ApprovalDecided {
        id,
        decision,
        by: by.id.clone(),
        evidence,
        digest,
    };
    draft.push(by, Some(seq), decided);
    Ok(granted(draft))
}

/// Lets a request run out whose time has come.
pub(super) fn expire(draft: &mut Draft) {
    let Some(due) = due(&draft.state) else { return };
    if draft.now_ms() < due {
        return;
    }
    if let Some(Approval { id, seq, .. }) = draft.state.approval.clone() {
        draft.push(Actor::RUNTIME, Some(seq), ApprovalExpired { id });
    }
}

/// When a request that waits runs out, wall clock, milliseconds since 1970.
pub(super) fn due(state: &State) -> Option<u64> {
    let pending = state
        .approval
        .as_ref()
        .filter(|pending| pending.answer.is_none())?;
    pending.expires_at_ms
}

/// Makes a request void, or an approval that was not made use of.
pub(super) fn void(draft: &mut Draft, reason: Void) {
    if let Some(Approval { id, seq, .. }) = draft.state.approval.clone() {
        draft.push(Actor::RUNTIME, Some(seq), ApprovalCanceled { id, reason });
    }
}
