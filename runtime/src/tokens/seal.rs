//! What is in a token, as PASETO v4.local: encrypted and authenticated, so that it can be neither read nor changed by whoever
//! carries it.

use std::fmt;

use chrono::DateTime;
use longhaul_actors::token::Scope;
use longhaul_journal::StreamId;
use pasetors::Local;
use pasetors::keys::{Generate, SymmetricKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{LocalToken, V4};
use serde::{Deserialize, Serialize};

use crate::api::{TokenText, rfc3339, session_id, stream_id};

/// Bound to every token, and sent with none: a text that was sealed with the same key for another purpose is none of ours.
const PURPOSE: &[u8] = b"longhaul client token";
/// No token of ours is as long, bytes.
const LONGEST: usize = 4_096;

/// The key of a data directory.
#[derive(Clone)]
pub(crate) struct Key(SymmetricKey<V4>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A new one. `None` when the system has no randomness to give.
    pub(crate) fn generate() -> Option<Self> {
        SymmetricKey::<V4>::generate().ok().map(Self)
    }

    /// From its bytes, if they are as many as a key has.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        SymmetricKey::<V4>::from(bytes).ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) id: String,
    pub(crate) session: StreamId,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) human: Option<String>,
    /// Wall clock, milliseconds since 1970.
    pub(crate) expires_ms: u64,
}

/// The same as it stands in the token, by the names that PASETO gives them.
#[derive(Serialize, Deserialize)]
struct Payload {
    jti: String,
    sub: String,
    exp: String,
    scopes: Vec<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    human: Option<String>,
}

/// The text of a token. `None` when the system has no randomness to give.
pub(crate) fn seal(key: &Key, claims: &Claims) -> Option<TokenText> {
    let payload = Payload {
        jti: claims.id.clone(),
        sub: session_id(claims.session),
        exp: rfc3339(claims.expires_ms),
        scopes: claims.scopes.clone(),
        human: claims.human.clone(),
    };
    let payload = serde_json::to_vec(&payload).expect("plain structs with text keys always serialize");
    let text = LocalToken::encrypt(&key.0, &payload, None, Some(PURPOSE)).ok()?;
    Some(TokenText::new(text))
}

/// What is in a token; `None` when this key did not seal it, or it is no token at all.
pub(crate) fn open(key: &Key, text: &TokenText) -> Option<Claims> {
    let text = text.reveal();
    // Ours have no footer, not even an empty one.
    if text.len() > LONGEST || text.matches('.').count() != 2 {
        return None;
    }
    let untrusted = UntrustedToken::<Local, V4>::try_from(text).ok()?;
    let trusted = LocalToken::decrypt(&key.0, &untrusted, None, Some(PURPOSE)).ok()?;
    let payload: Payload = serde_json::from_str(trusted.payload()).ok()?;
    let expires = DateTime::parse_from_rfc3339(&payload.exp).ok()?;
    Some(Claims {
        id: payload.jti,
        session: stream_id(&payload.sub).ok()?,
        scopes: payload.scopes,
        human: payload.human,
        expires_ms: u64::try_from(expires.timestamp_millis()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Key {
        Key::from_bytes(&[byte; 32]).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            id: "tk_1".into(),
            session: StreamId::from_bytes([7; 16]),
            scopes: vec![Scope::Read, Scope::Approve],
            human: Some("ann".into()),
            expires_ms: 1_700_000_000_123,
        }
    }

    #[test]
    fn what_was_sealed_is_read_back_and_does_not_show() {
        let text = seal(&key(1), &claims()).unwrap();
        assert!(text.reveal().starts_with("v4.local."), "{}", text.reveal());
        assert_eq!(open(&key(1), &text), Some(claims()));
        assert_ne!(seal(&key(1), &claims()), Some(text), "no two texts are the same");
    }

    #[test]
    fn another_key_opens_nothing() {
        let text = seal(&key(1), &claims()).unwrap();
        assert_eq!(open(&key(2), &text), None);
    }

    /// B-TOKEN-1: whatever is changed in it, it is no token any more.
    #[test]
    fn a_text_that_was_cut_or_changed_anywhere_is_no_token() {
        let whole = seal(&key(1), &claims()).unwrap();
        let whole = whole.reveal();
        for at in 0..whole.len() {
            assert_eq!(open(&key(1), &TokenText::new(&whole[..at])), None, "cut at {at}");
            let mut changed = whole.to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(open(&key(1), &TokenText::new(changed)), None, "changed at {at}");
        }
        assert_eq!(
            open(&key(1), &TokenText::new(format!("{whole}.Zm9vdGVy"))),
            None,
            "with a footer"
        );
    }

    #[test]
    fn another_version_or_purpose_of_paseto_is_no_token() {
        let text = seal(&key(1), &claims()).unwrap();
        for header in ["v1.local.", "v2.local.", "v3.local.", "v4.public.", "v5.local."] {
            let other = text.reveal().replace("v4.local.", header);
            assert_eq!(open(&key(1), &TokenText::new(other)), None, "{header}");
        }
        let foreign = LocalToken::encrypt(&key(1).0, b"{}", None, None).unwrap();
        assert_eq!(
            open(&key(1), &TokenText::new(foreign)),
            None,
            "sealed for something else"
        );
        let dotted = format!("{}.", text.reveal());
        for garbage in [
            &*dotted,
            "",
            ".",
            "v4.local.",
            "v4.local",
            "Bearer v4.local.x",
            "\u{fc}\0",
        ] {
            assert_eq!(open(&key(1), &TokenText::new(garbage)), None, "{garbage:?}");
        }
        assert_eq!(
            open(
                &key(1),
                &TokenText::new(format!("v4.local.{}", "A".repeat(1 << 20)))
            ),
            None
        );
    }
}
