//! Wishes about the tokens of a session, and their answers and refusals.

use longhaul_journal::{Seq, StreamId};

use super::event::Scope;
use super::state::Token;
use crate::session::Actor;

/// A wish.
#[derive(Clone, Debug)]
pub enum Command {
    /// There shall be one more token.
    Mint(Box<Mint>),
    /// A token shall count no more.
    Revoke {
        /// Who.
        by: Actor,
        /// Which token.
        id: String,
    },
}

/// A token that is wished for.
#[derive(Clone, Debug, PartialEq)]
pub struct Mint {
    /// Who.
    pub by: Actor,
    /// To whom the session belongs.
    pub owner: String,
    /// The session.
    pub session: StreamId,
    /// Its id, which nothing else has.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// As whom it decides.
    pub human: Option<String>,
    /// How long it counts, seconds.
    pub ttl_s: u64,
}

/// The answer to a wish that was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The record that holds the wish, or the head when nothing had to be written.
    pub seq: Seq,
    /// Whether it was so before.
    pub repeated: bool,
    /// The token.
    pub token: Token,
}

/// A wish denied by the rules; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such token, or none any more.
    #[error("the session has no token {0}")]
    NotFound(String),
    /// A word of the wish is impossible.
    #[error("{0}")]
    Invalid(String),
    /// The log of the session's tokens was lost from its first record on, and removed.
    #[error("the log of its tokens was removed after it was damaged, and is not begun again")]
    Removed,
}
