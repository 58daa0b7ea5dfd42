//! The fold of the tokens of a session, and whether one of them counts.

use longhaul_journal::{Seq, sabotage};
use serde::{Deserialize, Serialize};

use super::event::Scope;

/// Everything that is known about the tokens of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Seq of the last record.
    pub head: Seq,
    /// Tokens that had not run out when the last one was minted, oldest first; revoked ones among them.
    pub tokens: Vec<Token>,
}

/// A token as it was minted, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// As whom it decides.
    pub human: Option<String>,
    /// When it was minted, wall clock, milliseconds since 1970.
    pub minted_ms: u64,
    /// When it runs out, wall clock, milliseconds since 1970.
    pub expires_ms: u64,
    /// When it was revoked, wall clock, milliseconds since 1970.
    pub revoked_ms: Option<u64>,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// Its time is over.
    Expired,
    /// Its minting is not on record, or not with these rights.
    Unknown,
    /// It was revoked.
    Revoked,
}

impl Token {
    /// Whether it has run out.
    pub const fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_ms <= now_ms
    }
}

impl State {
    /// The token of this id.
    pub fn token(&self, id: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.id == id)
    }

    /// Whether a token counts that says all this of itself: it must be on record, word for word.
    ///
    /// # Errors
    /// Why it does not.
    pub fn admits(
        &self,
        id: &str,
        scopes: &[Scope],
        human: Option<&str>,
        expires_ms: u64,
        now_ms: u64,
    ) -> Result<(), Void> {
        if expires_ms <= now_ms && !sabotage::is_on("forget-the-expiry") {
            return Err(Void::Expired);
        }
        let token = self.token(id).ok_or(Void::Unknown)?;
        if token.scopes != scopes || token.human.as_deref() != human || token.expires_ms != expires_ms {
            return Err(Void::Unknown);
        }
        if token.revoked_ms.is_some() && !sabotage::is_on("forget-revocations") {
            return Err(Void::Revoked);
        }
        Ok(())
    }
}
