//! The way into a step: what has to be passed before its start record is written.
//!
//! A planned act begins only with an [`Admission`]: the gate's judgement of exactly this act. What waits for admission is
//! read off the fold like all owed work: a session that is `running` and has no open step waits for the admission of the
//! first call of its plan ([`candidate`]), and owes [`Effect::Admit`](super::Effect::Admit). The answer comes back as a
//! command, and the start record is written in the frame of that answer, so that an act which is allowed costs no record
//! of its own. To cost no frame either, the admission of the next act rides with the outcome of the step before it: it is
//! asked for once that step is over, since that may have written the script which the next one runs.
//!
//! Nothing of an admission is kept. After a crash it is asked for again, and the newer answer counts; so nothing is ever
//! done on the word of a judgement that may have been of another file. Every check that joins here (a hold of credit) has
//! to bear being asked again for the same session, step and act.

use std::sync::Arc;

use super::approval;
use super::draft::Draft;
use super::event::{Actor, PolicyDenied, RecoveryClass, ToolFailed, ToolStarted};
use super::follow::tool_started;
use super::money::{self, HeldStep};
use super::state::{Origin, Phase, State};
use super::tool::{Tool, ToolCall};
use crate::ports::{Judgement, Ruling};

/// A step that is about to begin, and has to be admitted first.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The number it will have.
    pub step: u64,
    /// The act.
    pub call: Arc<ToolCall>,
}

impl Candidate {
    /// The first of these calls that fits, the first of all being this step. Those before it are told to the brain as
    /// steps of their own, and nothing is done for them.
    pub(super) fn first(step: u64, calls: impl IntoIterator<Item = Arc<ToolCall>>) -> Option<Self> {
        let mut steps = (step..).zip(calls);
        let (step, call) = steps.find(|(_, call)| Tool::parse(call).is_ok())?;
        Some(Self { step, call })
    }
}

/// What an act is judged by, besides itself: facts of the session, as its fold has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What the session was started with.
    pub origin: Option<Arc<Origin>>,
    /// How far the hands are walled in.
    pub isolation: String,
}

impl Setting {
    /// Whether a brain of this kind wants the act.
    pub fn is_wanted_by(&self, kind: &str) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|origin| origin.brain.kind == kind)
    }

    /// Categories of acts that the goal forbids.
    pub fn forbidden(&self) -> &[String] {
        self.origin.as_ref().map_or(&[], |origin| &origin.forbidden)
    }
}

/// What the checks before a step said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    /// The step.
    pub step: u64,
    /// The call it is about: the word about one act admits no other.
    pub call: Arc<ToolCall>,
    /// What the gate says.
    pub judgement: Judgement,
    /// What a request for approval of this act is called; empty unless the gate asks for one.
    pub approval: String,
    /// The credit that is held for it, if it may begin and its session has an account.
    pub hold: Option<HeldStep>,
}

/// Hash of a call as it was made: the tool and all its arguments as JSON text with the keys in order.
///
/// The gate's own digest ([`Judgement::digest`]) covers more: what stands in the scripts that the act runs.
pub fn call_digest(call: &ToolCall) -> String {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(call.tool.as_bytes());
    text.push(0);
    serde_json::to_writer(&mut text, &call.args).expect("a Vec takes any bytes, and keys of JSON are text");
    blake3::hash(&text).to_hex()[..32].to_owned()
}

/// The act that waits to be admitted, if one does.
pub(super) fn candidate(state: &State) -> Option<Candidate> {
    let waits = state.phase == Phase::Running && state.open.is_none();
    waits.then(|| next_of_plan(state)).flatten()
}

/// The act that the plan goes on with, whatever is open.
pub(super) fn next_of_plan(state: &State) -> Option<Candidate> {
    let plan = &state.turn.as_ref()?.plan;
    Candidate::first(state.steps + 1, plan.iter().map(|planned| Arc::clone(&planned.0)))
}

/// What the acts of this session are judged by.
pub(super) fn setting(state: &State) -> Setting {
    Setting {
        origin: state.origin.clone(),
        isolation: state.isolation.clone().unwrap_or_default(),
    }
}

/// Begins the planned act if it is admitted; else says why it is not, or asks a human. Without an admission of exactly
/// this act nothing follows, and it stays owed.
pub(super) fn begin(draft: &mut Draft, call: &ToolCall, tool: &Tool) {
    let step = draft.state.steps + 1;
    if approval::refused(draft, call, tool) {
        return;
    }
    let admission = draft.admission.take();
    let Some(admission) = admission.filter(|given| given.step == step && *given.call == *call) else {
        return;
    };
    match admission.judgement.ruling {
        Ruling::Allow => start(draft, call, tool, admission.judgement.digest),
        Ruling::Deny => deny(draft, call, tool, admission.judgement),
        Ruling::Ask if approval::covers(&draft.state, &admission) => {
            start(draft, call, tool, admission.judgement.digest);
        }
        Ruling::Ask => approval::request(draft, call, tool, *admission),
    }
}

fn start(draft: &mut Draft, call: &ToolCall, tool: &Tool, digest: String) {
    let Some(hold) = money::take_hold(draft) else {
        return;
    };
    let step = draft.state.steps + 1;
    let started = ToolStarted {
        hold,
        ..tool_started(&draft.state, step, call, tool, digest)
    };
    draft.push(Actor::AGENT, None, started);
}

fn deny(draft: &mut Draft, call: &ToolCall, tool: &Tool, judgement: Judgement) {
    let Judgement {
        digest,
        category,
        rule,
        detail,
        ..
    } = judgement;
    let told =
        format!("the policy forbids this ({rule}): {detail}. It was not done; do not try to get around it");
    let denied = PolicyDenied {
        step: draft.state.steps + 1,
        tool: call.tool.clone(),
        action: tool.brief(),
        digest: digest.clone(),
        category,
        rule,
        detail,
    };
    let cause = draft.push(Actor::RUNTIME, None, denied);
    turn_away(draft, cause, call, tool.brief(), digest, ("policy_denied", told));
}

/// Writes down a step that was never done, so that the brain is told of it as of any tool that failed.
pub(super) fn turn_away(
    draft: &mut Draft,
    cause: impl Into<Option<longhaul_journal::Seq>>,
    call: &ToolCall,
    brief: String,
    digest: String,
    (code, detail): (&str, String),
) {
    let step = draft.state.steps + 1;
    let started = ToolStarted {
        step,
        tool: call.tool.clone(),
        brief,
        digest,
        class: RecoveryClass::Idempotent,
        limit_ms: 0,
        hold: None,
    };
    let begun = draft.push(Actor::AGENT, cause.into(), started);
    let failed = ToolFailed {
        step,
        code: code.into(),
        detail: super::draft::clip(detail),
        settled_by: None,
        active_ms: 0,
    };
    draft.push(Actor::RUNTIME, Some(begun), failed);
}
