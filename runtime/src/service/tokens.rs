//! Client tokens: minted for one session, revoked, and looked at whenever one is shown (B-TOKEN-1).

use std::sync::Arc;

use longhaul_actors::session::{Actor, Session};
use longhaul_actors::token::{self, Command, Refusal, Reply, Scope, Tokens, Void};
use longhaul_actors::{Entity, QueryError, SendError};
use longhaul_journal::StreamId;

use super::problems::{damaged, read_problem, unsent_code};
use super::{OWNER, Service, mend};
use crate::api::{
    Bearer, Code, Mint, Minted, Problem, Revoked, TokenText, TokenView, TokensPage, no_token, session_id,
};
use crate::tokens::{Claims, Key, KeyFile, open, seal};

impl Service {
    pub(super) async fn mint_for(&self, id: &str, request: Mint) -> Result<Minted, Problem> {
        let session = self.resolve(id).await?;
        if self.journal.is_inert(session) {
            return Err(mend::inert(session));
        }
        // First, so that no token is on record that could never be told.
        let key = self.keys(|file| file.find_or_make()).await?;
        let mint = token::Mint {
            by: Actor::human(OWNER),
            owner: OWNER.to_owned(),
            session,
            id: format!("tk_{}", uuid::Uuid::now_v7().simple()),
            scopes: request.scopes,
            human: request.human,
            ttl_s: request.ttl_seconds,
        };
        let Reply { token, .. } = self
            .tokens
            .send(session, Command::Mint(Box::new(mint)))
            .await
            .map_err(|error| send_problem(session, error))?;
        let claims = Claims {
            id: token.id.clone(),
            session,
            scopes: token.scopes.clone(),
            human: token.human.clone(),
            expires_ms: token.expires_ms,
        };
        let text = seal(&key, &claims).ok_or_else(|| {
            Problem::new(Code::StorageUnavailable, "the system has no randomness to give")
                .next("try again", format!("longhaul token create {id} --scope read"))
        })?;
        Ok(Minted::of(session, token, text))
    }

    /// The token that is answered with a start (B-START-1).
    pub(super) async fn mint_with(&self, started: &str) -> Result<Minted, Problem> {
        let minted = self
            .mint_for(started, Mint::of(&[Scope::Read, Scope::Steer]))
            .await;
        minted.map_err(|mut problem| {
            problem.detail = format!("{started} was started, but it has no token: {}", problem.detail);
            problem
        })
    }

    pub(super) async fn tokens_of(&self, id: &str) -> Result<TokensPage, Problem> {
        let session = self.resolve(id).await?;
        let now_ms = self.clock.now_ms();
        let tokens = self
            .tokens
            .look(session, move |state| {
                let live = state.tokens.iter().filter(|token| !token.has_expired(now_ms));
                live.map(TokenView::from).collect()
            })
            .await
            .map_err(|error| look_problem(session, &error))?;
        Ok(TokensPage { tokens })
    }

    pub(super) async fn revoke_of(&self, id: &str, token: &str) -> Result<Revoked, Problem> {
        let session = self.resolve(id).await?;
        let revoke = Command::Revoke {
            by: Actor::human(OWNER),
            id: token.to_owned(),
        };
        let Reply { repeated, token, .. } = self
            .tokens
            .send(session, revoke)
            .await
            .map_err(|error| send_problem(session, error))?;
        Ok(Revoked {
            id: token.id,
            repeated,
        })
    }

    /// What a token allows now. Everything that it says of itself must be on record, in the journal of this directory.
    pub(super) async fn shown(&self, text: &TokenText) -> Result<Bearer, Problem> {
        let key = self.keys(KeyFile::find).await?;
        let claims = key.as_ref().and_then(|key: &Key| open(key, text)).ok_or_else(|| {
            unauthorized("what was shown is no token that this server has minted: it is cut short, changed, or of another server")
        })?;
        let Claims {
            id,
            session,
            scopes,
            human,
            expires_ms,
        } = claims;
        let now_ms = self.clock.now_ms();
        let (looked, rights) = (id.clone(), (scopes.clone(), human.clone()));
        let admitted = self
            .tokens
            .look(session, move |state| {
                let (scopes, human) = rights;
                state.admits(&looked, &scopes, human.as_deref(), expires_ms, now_ms)
            })
            .await
            .map_err(|error| look_problem(session, &error))?;
        admitted.map_err(|void| match void {
            Void::Expired => Problem::new(Code::TokenExpired, format!("the token {id} has run out"))
                .next("mint another one", mint_another(session, &scopes)),
            Void::Revoked => unauthorized(&format!("the token {id} was revoked")),
            Void::Unknown => unauthorized(&format!("the token {id} is not on record here")),
        })?;
        let exists = self
            .blocking(move |journal| {
                let head = journal.head(session).map_err(read_problem)?;
                Ok(head.is_some_and(|head| head.kind == Session::KIND))
            })
            .await?;
        if !exists {
            let detail = format!("the session of the token {id} is here no more");
            return Err(
                Problem::new(Code::AgentSessionInvalid, detail).next("list what there is", "longhaul ls")
            );
        }
        Ok(Bearer {
            id,
            session: session_id(session),
            scopes,
            human,
        })
    }

    /// Looks into the key file, off the threads that answer.
    async fn keys<T: Send + 'static>(
        &self,
        look: impl FnOnce(&KeyFile) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let file = Arc::clone(&self.token_key);
        self.blocking(move |_| look(&file)).await
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Code::Unauthorized, detail).next(
        "mint a token, as whoever owns the session",
        "longhaul token create ID --scope read",
    )
}

fn mint_another(session: StreamId, scopes: &[Scope]) -> String {
    let mut line = format!("longhaul token create {}", session_id(session));
    for scope in scopes {
        line.push_str(" --scope ");
        line.push_str(scope.word());
    }
    line
}

fn send_problem(session: StreamId, error: SendError<Refusal>) -> Problem {
    let id = session_id(session);
    let code = match &error {
        SendError::Refused(Refusal::NotFound(token)) => return no_token(&id, token),
        SendError::Refused(Refusal::Removed) => {
            return Problem::new(Code::InvalidRequest, format!("{id}: {error}"))
                .next("fork it, and mint for the fork", format!("longhaul fork {id}"));
        }
        SendError::Refused(_) => {
            return Problem::new(Code::InvalidRequest, error.to_string())
                .next("see what there is to say", "longhaul token create --help");
        }
        SendError::Quarantined(_) => return damaged_tokens(session, &error.to_string()),
        unsent => unsent_code(unsent),
    };
    Problem::new(code, format!("the tokens of {id}: {error}"))
}

fn look_problem(session: StreamId, error: &QueryError) -> Problem {
    let code = match error {
        QueryError::Quarantined(_) => return damaged_tokens(session, &error.to_string()),
        QueryError::NotHosted => Code::NotServing,
        _ => Code::StorageUnavailable,
    };
    Problem::new(code, format!("the tokens of {}: {error}", session_id(session)))
}

/// Their stream has an id of its own, by which it is repaired.
fn damaged_tokens(session: StreamId, why: &str) -> Problem {
    let detail = format!("the tokens of {}: {why}", session_id(session));
    damaged(detail, &session_id(Tokens::of(OWNER, session)))
}
