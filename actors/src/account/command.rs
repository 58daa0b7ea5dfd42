//! Wishes an account may be sent, its answers and refusals, and the work it owes to the world.

use longhaul_journal::{Seq, StreamId};

use super::credits::Credits;
use super::event::ResumePolicy;
use super::price::{Bound, PriceTable, Used};
use crate::session::Actor;

/// A wish.
#[derive(Clone, Debug)]
pub enum Command {
    /// Exist, with this configuration. An account that exists takes on the prices and the policy.
    Open(Box<Open>),
    /// Have more credit.
    TopUp {
        /// Who pays.
        by: Actor,
        /// Names the request: the same name with the same amount is granted once.
        request: String,
        /// How much.
        amount: Credits,
    },
    /// Let a queued session begin, if there is any credit at all.
    Admit {
        /// The session.
        session: StreamId,
    },
    /// Settle the last step of a session, and hold for its next.
    Ask(Box<Ask>),
    /// Outcome of [`Effect::Audit`]: what became of steps that credit is held for.
    Audited(Vec<Finding>),
    /// Outcome of [`Effect::Resume`].
    Resumed {
        /// The session.
        session: StreamId,
        /// The record that made it wait.
        since: Seq,
    },
}

/// What an account is opened with.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// Who opens it.
    pub by: Actor,
    /// What it is called.
    pub name: String,
    /// What a new account is granted.
    pub initial: Credits,
    /// What work costs; `None` leaves it as it is, or as it is by default.
    pub prices: Option<PriceTable>,
    /// What happens after a top-up; `None` leaves it as it is, or as it is by default.
    pub resume: Option<ResumePolicy>,
}

/// A session asks for credit before a step. Asking the same again is harmless.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The session.
    pub session: StreamId,
    /// The step that is to start.
    pub step: u64,
    /// Seq of the session's record since which it waits to start it.
    pub attempt: Seq,
    /// What the step may use.
    pub bound: Bound,
    /// What the session may cost in all, if it has a budget of its own.
    pub budget: Option<Credits>,
    /// Its last step that credit was held for, if that has ended.
    pub last: Option<LastStep>,
}

/// A step that has ended, and the hold its start record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastStep {
    /// Seq of the hold.
    pub hold: Seq,
    /// What it used.
    pub used: Used,
}

/// What the log of a session says about a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The session.
    pub session: StreamId,
    /// What it says.
    pub verdict: Verdict,
    /// Whether the session has ended.
    pub ended: bool,
}

/// What is to be done about a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The step it was for has ended.
    Settle(LastStep),
    /// No step was started with it, and none will be.
    Release {
        /// Seq of the hold.
        hold: Seq,
    },
    /// There is no hold, and nothing to remember.
    Forget,
}

/// The answer to a wish that was granted.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`Command::Open`], [`Command::TopUp`], [`Command::Audited`] and [`Command::Resumed`].
    Done {
        /// The record that holds the wish, or the head when nothing had to be written.
        seq: Seq,
        /// Whether it was so before.
        repeated: bool,
        /// Neither settled nor held.
        available: Credits,
    },
    /// To [`Command::Admit`]: there is credit, or nothing costs any.
    Admitted,
    /// To [`Command::Ask`]: the step may start.
    Held(HeldFor),
    /// There is not enough. It is written down that the session waits, and it hears of it when there is more.
    Denied(Shortage),
    /// The session's own budget does not cover the step.
    OverBudget {
        /// What it has cost so far.
        spent: Credits,
        /// What the step may cost.
        needed: Credits,
    },
    /// A message that came late: the session has gone on since it was sent.
    Late,
    /// The account lost records: nobody knows what it has, so it holds nothing. Said by the desk, never by the account.
    Damaged,
}

/// Credit that is held for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldFor {
    /// Seq of the hold in the stream of the account; the start record of the step names it.
    pub hold: Seq,
    /// How much.
    pub amount: Credits,
    /// What the session has cost so far.
    pub spent: Credits,
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What the step may cost.
    pub needed: Credits,
    /// Neither settled nor held.
    pub available: Credits,
}

/// A wish denied by the rules; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such account.
    #[error("there is no such account")]
    NotFound,
    /// The request was made before, with another amount.
    #[error("the request {request:?} was granted before, over {granted}; use another request id")]
    IdempotencyConflict {
        /// Its name.
        request: String,
        /// What it was granted.
        granted: Credits,
    },
    /// Nothing is to be granted.
    #[error("the amount is zero; grant something above zero")]
    Zero,
    /// More than may be granted to one account in all.
    #[error("{amount} is too much: {granted} were granted, and at most {most} may be in all", most = Credits::MOST)]
    TooMuch {
        /// What was asked for.
        amount: Credits,
        /// What was granted before.
        granted: Credits,
    },
    /// The request has no name, or too long a one.
    #[error("a request id has 1 to 256 bytes")]
    RequestId,
}

/// Work an account owes to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look what became of the steps that credit is held for, until none is held any more.
    Audit,
    /// Tell a session that waits for credit that there is some.
    Resume {
        /// The session.
        session: StreamId,
        /// The record that made it wait.
        since: Seq,
    },
}
