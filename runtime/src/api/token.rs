//! Client tokens as they are shown, and the requests that mint and revoke them.

use std::fmt;

use longhaul_actors::token::{TTL_S, Token};
use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};

pub use longhaul_actors::token::Scope;

use super::problem::{Code, Problem};
use super::record::rfc3339;
use super::session::session_id;

/// The text of a token: whoever shows it may do what it allows.
///
/// It is told once, to whoever had it minted, and stands in no log: its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenText(String);

impl TokenText {
    /// A text that somebody shows, whatever it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to be shown to a server and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(..)")
    }
}

/// A request to mint a token for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mint {
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long it counts, 60 to 86,400 seconds.
    #[serde(default = "an_hour")]
    pub ttl_seconds: u64,
    /// As whom it decides; needed with `approve`, and refused without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
}

const fn an_hour() -> u64 {
    TTL_S
}

impl Mint {
    /// A token with these scopes, for an hour.
    pub fn of(scopes: &[Scope]) -> Self {
        Self {
            scopes: scopes.to_vec(),
            ttl_seconds: TTL_S,
            human: None,
        }
    }
}

/// A token that was minted. Its text is told here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Minted {
    /// The text to be shown.
    pub token: TokenText,
    /// What it is called where it is listed and revoked.
    pub id: String,
    /// The session it is for.
    pub session: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// As whom it decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    /// When it runs out, RFC 3339.
    pub expires_at: String,
}

impl Minted {
    pub(crate) fn of(session: StreamId, token: Token, text: TokenText) -> Self {
        Self {
            token: text,
            id: token.id,
            session: session_id(session),
            scopes: token.scopes,
            human: token.human,
            expires_at: rfc3339(token.expires_ms),
        }
    }
}

/// A token of a session, without its text, which nobody has but whoever had it minted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    /// What it is called.
    pub id: String,
    /// `live`, `revoked`.
    pub status: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// As whom it decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub human: Option<String>,
    /// When it was minted, RFC 3339.
    pub minted_at: String,
    /// When it runs out, RFC 3339.
    pub expires_at: String,
    /// When it was revoked, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<String>,
}

impl From<&Token> for TokenView {
    fn from(token: &Token) -> Self {
        let status = if token.revoked_ms.is_some() {
            "revoked"
        } else {
            "live"
        };
        Self {
            id: token.id.clone(),
            status: status.to_owned(),
            scopes: token.scopes.clone(),
            human: token.human.clone(),
            minted_at: rfc3339(token.minted_ms),
            expires_at: rfc3339(token.expires_ms),
            revoked_at: token.revoked_ms.map(rfc3339),
        }
    }
}

/// The tokens of a session that have not run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensPage {
    /// The tokens, oldest first.
    pub tokens: Vec<TokenView>,
}

/// A token that counts no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Which token.
    pub id: String,
    /// Whether it was revoked before.
    pub repeated: bool,
}

/// What a token that counts allows to whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Which token.
    pub id: String,
    /// The one session it is for, by its whole id.
    pub session: String,
    /// What it may do there.
    pub scopes: Vec<Scope>,
    /// As whom it decides.
    pub human: Option<String>,
}

impl Bearer {
    /// Whether it may do this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

pub(crate) fn no_token(session: &str, id: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("{session} has no token {id}, or it has run out"),
    )
    .next("list them", format!("longhaul token ls {session}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_for_people_shows_the_text_of_a_token() {
        let minted = Minted {
            token: TokenText::new("v4.local.secret"),
            id: "tk_1".into(),
            session: "s_1".into(),
            scopes: vec![Scope::Read],
            human: None,
            expires_at: String::new(),
        };
        assert!(!format!("{minted:?} {minted:#?}").contains("secret"));
        assert_eq!(serde_json::to_value(&minted).unwrap()["token"], "v4.local.secret");
    }
}
