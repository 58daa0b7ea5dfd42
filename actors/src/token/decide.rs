//! What a wish leads to: facts, or a refusal.

use super::command::{Command, Mint, Refusal, Reply};
use super::event::{Body, Event, Minted, Revoked, Scope};
use super::state::{State, Token};
use crate::entity::Decision;
use crate::session::Actor;

/// How long a token counts at least, seconds.
pub const TTL_LEAST_S: u64 = 60;
/// How long a token counts at most, seconds.
pub const TTL_MOST_S: u64 = 86_400;
/// How long a token counts unless told, seconds.
pub const TTL_S: u64 = 3_600;
/// Longest name of a human, bytes.
const NAME_LIMIT: usize = 200;
/// Tokens of one session that count at the same time at most.
const LIVE_MOST: usize = 1_000;

type Decided = Result<Decision<Event, Reply>, Refusal>;

pub(super) fn decide(state: &State, command: Command, now_ms: u64) -> Decided {
    match command {
        Command::Mint(mint) => self::mint(state, *mint, now_ms),
        Command::Revoke { by, id } => revoke(state, by, id, now_ms),
    }
}

fn mint(state: &State, mint: Mint, now_ms: u64) -> Decided {
    let scopes = scopes(mint.scopes)?;
    let human = human(mint.human, &scopes)?;
    if !(TTL_LEAST_S..=TTL_MOST_S).contains(&mint.ttl_s) {
        return invalid(format!(
            "a token counts for {TTL_LEAST_S} to {TTL_MOST_S} seconds, not {}",
            mint.ttl_s
        ));
    }
    let live = state.tokens.iter().filter(|token| !token.has_expired(now_ms));
    if live.count() >= LIVE_MOST {
        return invalid(format!(
            "the session has {LIVE_MOST} tokens that have not run out; mint fewer, for longer"
        ));
    }
    let token = Token {
        id: mint.id,
        scopes,
        human,
        minted_ms: now_ms,
        expires_ms: now_ms + mint.ttl_s * 1_000,
        revoked_ms: None,
    };
    let minted = Minted {
        owner: mint.owner,
        session: mint.session,
        id: token.id.clone(),
        scopes: token.scopes.clone(),
        human: token.human.clone(),
        expires_at_ms: token.expires_ms,
    };
    Ok(wrote(state, mint.by, minted, token))
}

fn revoke(state: &State, by: Actor, id: String, now_ms: u64) -> Decided {
    let Some(token) = state.token(&id) else {
        return Err(Refusal::NotFound(id));
    };
    let mut token = token.clone();
    if token.revoked_ms.is_some() {
        return Ok(Decision {
            events: Vec::new(),
            reply: Reply {
                seq: state.head,
                repeated: true,
                token,
            },
        });
    }
    token.revoked_ms = Some(now_ms);
    Ok(wrote(state, by, Revoked { id }, token))
}

/// Each scope once, in the order of the table.
fn scopes(mut scopes: Vec<Scope>) -> Result<Vec<Scope>, Refusal> {
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return invalid("a token needs a scope: read, steer or approve".into());
    }
    Ok(scopes)
}

/// A decision is somebody's: whoever may decide has a name, and nobody else needs one (B-GATE-3).
fn human(human: Option<String>, scopes: &[Scope]) -> Result<Option<String>, Refusal> {
    let approves = scopes.contains(&Scope::Approve);
    let Some(name) = human else {
        return if approves {
            invalid("a token may hold approve only if it names the human who decides with it".into())
        } else {
            Ok(None)
        };
    };
    if !approves {
        return invalid("a token names a human only if it holds approve".into());
    }
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
        return invalid(format!(
            "the name of a human is one line of 1 to {NAME_LIMIT} bytes"
        ));
    }
    Ok(Some(name.to_owned()))
}

fn wrote(state: &State, by: Actor, body: impl Into<Body>, token: Token) -> Decision<Event, Reply> {
    Decision {
        events: vec![Event::of(by, body)],
        reply: Reply {
            seq: state.head.next(),
            repeated: false,
            token,
        },
    }
}

fn invalid<T>(why: String) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why))
}
