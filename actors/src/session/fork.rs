//! A session that begins as another one was at some seq.
//!
//! Its log begins with the records of its source, under their seqs, so that its fold, and what its brain sees, are those of
//! the source, and nothing of the source is needed from then on. `session.forked` is the first record of its own.

use std::sync::Arc;

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::Event;
use super::approval;
use super::command::Refusal;
use super::decide::{check_text, check_writable};
use super::draft::Draft;
use super::event::{Actor, Forked, SendMode, UserMessage, Void};
use super::outcome::{SettledBy, close_open_step};
use super::service::{self, ServiceCause};
use super::state::{Phase, State};
use crate::entity::Moment;

/// What a fork is asked for with.
#[derive(Clone, Debug, PartialEq)]
pub struct Fork {
    /// Who forks, and owns the fork.
    pub by: Actor,
    /// The source, as it is shown.
    pub from: String,
    /// The last record it shares with its source.
    pub at: Seq,
    /// Its name for get-or-create.
    pub key: Option<String>,
    /// Hash of the request.
    pub fingerprint: String,
    /// Something to say to it before it goes on.
    pub say: Option<String>,
}

/// Where a fork comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The source, as it is shown.
    pub id: String,
    /// The last record of it that is here.
    pub at: Seq,
}

/// The first records of a fork's own; `state` is the fold of those it shares with its source.
///
/// What was under way there is under way there: an open act is said to be unknown and is never done again, an open brain
/// call is closed without an answer, and whatever was at work queues, so that its own workspace is made ready.
///
/// # Errors
/// [`Refusal`] when something is to be said to a session that has ended, or cannot be said.
pub fn fork(state: &State, fork: Fork, moment: Moment) -> Result<Vec<Event>, Refusal> {
    let Fork {
        by,
        from,
        at,
        key,
        fingerprint,
        say,
    } = fork;
    if let Some(text) = &say {
        check_writable(state)?;
        check_text(text, "the message")?;
    }
    let mut draft = Draft::new(state, moment);
    let owner = by.id.clone();
    let forked = Forked {
        from,
        at,
        owner,
        key,
        fingerprint,
    };
    draft.push(by.clone(), None, forked);
    if draft.state.phase.is_live() {
        service::end_all(&mut draft, ServiceCause::Forked);
    }
    if draft.state.approval.is_some() {
        // Whoever was asked was asked about the source, and the act may have been done there.
        approval::void(&mut draft, Void::Uncertain);
    }
    if draft.state.phase.is_live() {
        close_open_step(
            &mut draft,
            SettledBy::Fork,
            "it was under way in the session that this one was forked from",
        );
    }
    if let Some(text) = say {
        draft.wake();
        let (mode, idempotency_key) = (SendMode::Steer, None);
        let message = UserMessage {
            text,
            mode,
            idempotency_key,
        };
        draft.push(by, None, message);
    }
    Ok(draft.follow_through())
}

/// Folds `session.forked`: what belongs to the source alone is left behind. Whoever adds to the state something that another
/// stream or the world holds for the session drops it here.
pub(super) fn leave_behind(state: &mut State, forked: &Forked) {
    state.forked = Some(ForkedFrom {
        id: forked.from.clone(),
        at: forked.at,
    });
    if let Some(origin) = &mut state.origin {
        let origin = Arc::make_mut(origin);
        origin.owner.clone_from(&forked.owner);
        origin.key.clone_from(&forked.key);
        origin.fingerprint.clone_from(&forked.fingerprint);
    }
    // A message sent to the source is not a message sent to the fork.
    state.keys.clear();
    // A hold of the source is settled there; a fork begins with none.
    state.money.last = None;
    state.archived = false;
    state.files.released = false;
    if matches!(
        state.phase,
        Phase::Starting | Phase::Running | Phase::Recovering { .. }
    ) {
        state.phase = Phase::Queued;
    }
}
