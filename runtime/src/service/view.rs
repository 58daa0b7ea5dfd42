//! From the fold of a session to what is shown of it.

use std::path::Path;

use longhaul_actors::session::{Origin, Phase, Session, State, Work, brain_name};
use longhaul_actors::{Quarantine, fold_to};
use longhaul_journal::{Journal, Seq, StreamId};

use super::OWNER;
use crate::api::{ForkedFrom, SessionCredits, SessionView, StepView, WaitingView, rfc3339, session_id};
use crate::world::SessionFolder;

/// A session as it is shown.
pub(crate) fn view(data: &Path, stream: StreamId, state: &State) -> SessionView {
    let origin = state.origin.as_deref();
    let text = |of: fn(&Origin) -> &String| origin.map(of).cloned().unwrap_or_default();
    SessionView {
        id: session_id(stream),
        state: state.phase.name().to_owned(),
        paused_reason: paused_reason(state),
        mode: state.mode(),
        goal: text(|origin| &origin.goal),
        brain: origin.map(|origin| brain_name(&origin.brain)).unwrap_or_default(),
        owner: text(|origin| &origin.owner),
        key: origin.and_then(|origin| origin.key.clone()),
        head: state.head.0,
        started_at: rfc3339(origin.map_or(0, |origin| origin.started_ms)),
        updated_at: rfc3339(state.last_ms),
        turns: state.turns,
        step: state.open.as_ref().map(|open| StepView {
            step: open.step,
            kind: match &open.work {
                Work::Think { .. } => "think".to_owned(),
                Work::Act { call, .. } => call.0.tool.clone(),
            },
            seq: open.seq.0,
        }),
        approval: waiting(state),
        unread: state.inbox.len(),
        archived: state.archived,
        isolation: state.isolation.clone(),
        network: origin.map(|origin| origin.network.clone()).unwrap_or_default(),
        services: state
            .services
            .iter()
            .map(|service| service.name.clone())
            .collect(),
        usage: state.usage,
        // What a session that is paused no more once waited for is told by its log.
        paused_detail: paused_reason(state).map_or_else(String::new, |_| state.money.why.clone()),
        credits: session_credits(state),
        run_limit_ms: Some(state.limits().run_ms).filter(|limit_ms| *limit_ms > 0),
        outcome: state.outcome.clone(),
        workspace: workspace(data, stream),
        forked_from: state.forked.as_ref().map(ForkedFrom::from),
        quarantined: None,
        metadata: origin.and_then(|origin| origin.metadata.clone()),
    }
}

/// As [`view`], of a session in this journal: one that nobody has adopted is `inert`.
pub(crate) fn shown(data: &Path, journal: &dyn Journal, stream: StreamId, state: &State) -> SessionView {
    let mut shown = view(data, stream, state);
    if journal.is_inert(stream) {
        shown.state = "inert".into();
    }
    shown
}

fn session_credits(state: &State) -> Option<SessionCredits> {
    let terms = state.money.terms.as_ref()?;
    Some(SessionCredits {
        account: terms.account.clone(),
        spent: state.money.spent.to_string(),
        budget: terms.budget_micro.map(|budget| budget.to_string()),
    })
}

fn waiting(state: &State) -> Option<WaitingView> {
    let asked = state.approval.as_ref().filter(|asked| asked.answer.is_none())?;
    Some(WaitingView {
        id: asked.id.clone(),
        seq: asked.seq.0,
        expires_at: asked.expires_at_ms.map(rfc3339),
    })
}

fn workspace(data: &Path, stream: StreamId) -> Option<String> {
    let workspace = SessionFolder::new(data, stream).workspace();
    workspace.is_dir().then(|| workspace.display().to_string())
}

fn paused_reason(state: &State) -> Option<String> {
    let Phase::Paused { reason, .. } = state.phase else {
        return None;
    };
    serde_json::to_value(reason).ok()?.as_str().map(str::to_owned)
}

/// What can be shown of a session whose log is damaged: what stands of it, and that it is quarantined.
pub(crate) fn quarantined(
    data: &Path,
    journal: &dyn Journal,
    head: Seq,
    quarantine: &Quarantine,
) -> SessionView {
    let stands = fold_to::<Session>(journal, quarantine.stream, quarantine.readable_to);
    let state = stands.map_or_else(|_| State::default(), |folded| folded.state);
    SessionView {
        state: "quarantined".into(),
        owner: OWNER.into(),
        head: head.0.max(state.head.0),
        step: None,
        quarantined: Some(quarantine.reason.clone()),
        ..view(data, quarantine.stream, &state)
    }
}
