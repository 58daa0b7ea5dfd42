//! Folding facts into the state of the tokens of a session.

use super::event::{Body, Event};
use super::state::{State, Token};
use crate::entity::Placed;

pub(super) fn apply(state: &mut State, placed: Placed<'_, Event>) {
    state.head = placed.seq;
    match &placed.event.body {
        Body::Minted(minted) => {
            // What has run out is kept no longer, so that the fold does not grow for ever.
            state.tokens.retain(|token| !token.has_expired(placed.time_ms));
            state.tokens.push(Token {
                id: minted.id.clone(),
                scopes: minted.scopes.clone(),
                human: minted.human.clone(),
                minted_ms: placed.time_ms,
                expires_ms: minted.expires_at_ms,
                revoked_ms: None,
            });
        }
        Body::Revoked(revoked) => {
            let token = state.tokens.iter_mut().find(|token| token.id == revoked.id);
            if let Some(token) = token {
                token.revoked_ms = Some(placed.time_ms);
            }
        }
        // The key stayed behind, and what was revoked after the backup is not known here.
        Body::Adopted(_) => state.tokens.clear(),
        // What was revoked in the gap is not known either.
        Body::JournalGap(_) => state.tokens.clear(),
    }
}
