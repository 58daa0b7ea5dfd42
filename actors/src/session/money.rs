//! What a session knows of its credit: the account it uses, its budget, and the hold of its last step.
//!
//! A step of a session with an account starts only with a hold, which its start record names (`hold`). Once the step has
//! ended the fold keeps what it used until the next hold, so that the next message to the account settles it. A session
//! that rests or has ended sends no such message: then the account reads it here ([`finding`]).

use longhaul_journal::{Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::Event;
use super::command::{Refusal, Reply};
use super::decide::{already, granted, resume};
use super::draft::Draft;
use super::event::{Actor, Body, HoldNamed, PauseReason, Paused, Resumed, Usage};
use super::state::{Phase, State};
use crate::account::{Account, Credits, Finding, Hold, LastStep, Shortage, Used, Verdict};
use crate::entity::Decision;

/// The account a session uses, and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The name of the account; it belongs to the owner of the session.
    pub account: String,
    /// What the session may cost in all, micro-credits; no bound of its own when absent.
    #[serde(default)]
    pub budget_micro: Option<Credits>,
}

/// What a session knows of its credit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Its account; `None` when its work is not charged.
    pub terms: Option<Terms>,
    /// The last step that was started with a hold.
    pub last: Option<Metered>,
    /// What it had cost when its last step started.
    pub spent: Credits,
}

/// A step that was started with a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// Seq of the hold in the stream of the account.
    pub hold: Seq,
    /// The step.
    pub step: u64,
    /// What it used so far.
    pub used: Used,
    /// Whether it has ended.
    pub ended: bool,
}

/// Why a session cannot pay for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfCredit {
    /// The account does not have it.
    Account(Shortage),
    /// Its own budget does not have it.
    Budget {
        /// What it has cost so far.
        spent: Credits,
        /// What the next step may cost.
        needed: Credits,
    },
}

impl State {
    /// The stream of the account that the session uses, if its work is charged.
    pub fn account(&self) -> Option<StreamId> {
        let (origin, terms) = (self.origin.as_ref()?, self.money.terms.as_ref()?);
        Some(Account::stream(&origin.owner, &terms.account))
    }
}

/// The record since which a session waits to start its next step: each resume makes it another one.
pub(super) fn attempt(state: &State) -> Seq {
    state.phase_since.max(state.settled)
}

/// The last step, once it has ended: its hold may be settled.
pub(super) fn last_step(state: &State) -> Option<LastStep> {
    let last = state.money.last.filter(|last| last.ended)?;
    Some(LastStep {
        hold: last.hold,
        used: last.used,
    })
}

/// What the log of a session says about a hold; `None` while it says nothing yet.
pub fn finding(state: &State, session: StreamId, hold: &Hold) -> Option<Finding> {
    let ended = state.phase.is_terminal();
    let verdict = match state.money.last {
        Some(last) if last.hold == hold.seq => Verdict::Settle(last_step(state)?),
        _ if waits_for(state, hold) => return None,
        _ => Verdict::Release { hold: hold.seq },
    };
    Some(Finding {
        session,
        verdict,
        ended,
    })
}

/// Whether the step may still be started with this hold.
fn waits_for(state: &State, hold: &Hold) -> bool {
    state.phase == Phase::Running
        && state.open.is_none()
        && state.steps + 1 == hold.step
        && attempt(state) == hold.attempt
}

/// Takes note of the hold that a step starts with.
pub(super) fn started(state: &mut State, step: u64, hold: Option<HoldNamed>) {
    let Some(HoldNamed {
        seq, spent_micro, ..
    }) = hold
    else {
        return;
    };
    state.money.spent = spent_micro;
    state.money.last = Some(Metered {
        hold: seq,
        step,
        used: Used::default(),
        ended: false,
    });
}

/// Takes note of what the open step used, also when it is lost to a crash and done again.
pub(super) fn spent(state: &mut State, usage: Usage) {
    if let Some(last) = state.money.last.as_mut().filter(|last| !last.ended) {
        let used = &mut last.used;
        used.active_ms = used.active_ms.saturating_add(usage.active_ms);
        used.input_tokens = used.input_tokens.saturating_add(usage.input_tokens);
        used.output_tokens = used.output_tokens.saturating_add(usage.output_tokens);
    }
}

/// Takes note that a step has ended, after what it used was noted.
pub(super) fn folded(state: &mut State, body: &Body) {
    // What was ended from outside, or by a crash, did not say what it used.
    let (step, unknown) = match body {
        Body::ModelCompleted(end) => (end.step, end.failure.is_some() && end.usage.active_ms == 0),
        Body::CommandRun(end) => (end.step, false),
        Body::FileWritten(end) => (end.step, false),
        Body::FileWasRead(end) => (end.step, false),
        Body::ToolCompleted(end) => (end.step, false),
        Body::ToolFailed(end) => (end.step, end.settled_by.is_some() && end.active_ms == 0),
        Body::ToolOutcomeUnknown(end) => (end.step, true),
        _ => return,
    };
    if let Some(last) = state.money.last.as_mut().filter(|last| last.step == step) {
        last.used.unknown |= unknown;
        last.ended = true;
    }
}

/// Takes note of a budget that was raised.
pub(super) fn resumed(state: &mut State, resumed: &Resumed) {
    if let (Some(budget), Some(terms)) = (resumed.budget_micro, &mut state.money.terms) {
        terms.budget_micro = Some(budget);
    }
}

/// Rests where it is, between two steps or before it begins to work. What comes late changes nothing.
pub(super) fn out_of_credit(mut draft: Draft, why: OutOfCredit) -> Decision<Event, Reply> {
    let between = draft.state.phase == Phase::Running && draft.state.open.is_none();
    if !between && draft.state.phase != Phase::Queued {
        return already(&draft);
    }
    let account = draft.state.money.terms.as_ref().map_or("", |terms| &terms.account);
    let (reason, detail) = match why {
        OutOfCredit::Account(Shortage { needed, available }) => (
            PauseReason::Credits,
            format!(
                "the account {account} has {available} credits left and the next step may cost {needed}; \
                 top it up: longhaul credits top-up AMOUNT"
            ),
        ),
        OutOfCredit::Budget { spent, needed } => {
            let budget = draft.state.money.terms.as_ref().and_then(|terms| terms.budget_micro);
            let budget = budget.unwrap_or_default();
            (
                PauseReason::Budget,
                format!(
                    "{spent} of the session's budget of {budget} credits is spent and the next step may cost {needed}; \
                     raise it: longhaul resume ID --budget AMOUNT"
                ),
            )
        }
    };
    draft.push(Actor::RUNTIME, None, Paused { reason, detail });
    granted(draft)
}

/// Goes on if it rests for lack of credit. What rests for another reason goes on resting.
pub(super) fn credit_is_back(draft: Draft) -> Result<Decision<Event, Reply>, Refusal> {
    let waits = matches!(
        draft.state.phase,
        Phase::Paused {
            reason: PauseReason::Credits,
            ..
        }
    );
    if !waits {
        return Ok(already(&draft));
    }
    resume(draft, Actor::RUNTIME, None)
}
