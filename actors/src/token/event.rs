//! What is stored of the tokens of a session: the record types, and the shape of each. Never the text of one.

use longhaul_journal::{NewRecord, Record, StreamId};
use serde::{Deserialize, Serialize};

use crate::entity::DecodeError;
use crate::facts::facts;
pub use crate::gap::JournalGap;
use crate::session::Actor;
use crate::shown;

/// A fact about tokens with who brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who acted.
    pub actor: Actor,
    /// What happened.
    pub body: Body,
}

facts! {
    "token.minted"  1 User     Minted,
    "token.revoked" 1 User     Revoked,
    "token.adopted" 1 Progress Adopted,
    "journal.gap"   1 User     JournalGap,
}

impl Event {
    /// A fact brought about by this actor.
    pub fn of(actor: Actor, body: impl Into<Body>) -> Self {
        let body = body.into();
        Self { actor, body }
    }

    /// Its stored form.
    pub fn encode(&self) -> NewRecord {
        self.body.encode(&self.actor, None, None)
    }

    /// A fact from its stored form.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it or it is damaged.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let stored = Body::decode(record)?;
        Ok(Self {
            actor: stored.actor,
            body: stored.data,
        })
    }
}

/// What a token may do in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at it.
    Read,
    /// Say something to it, pause, resume, cancel it.
    Steer,
    /// Decide on its requests for approval, as the human that the token names.
    Approve,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Read, Self::Steer, Self::Approve];

    /// Its word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Steer => "steer",
            Self::Approve => "approve",
        }
    }
}

/// `token.minted`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Minted {
    /// To whom the session belongs.
    pub owner: String,
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// Which token.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// As whom it decides; there only with [`Scope::Approve`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    /// When it runs out, wall clock, milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// `token.revoked`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revoked {
    /// Which token.
    pub id: String,
}

/// `token.adopted`: the stream was restored from a backup, and belongs to this directory from here on. No token that was
/// minted before counts any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {}
