//! Where tokens are minted, revoked and looked at.

use std::sync::Arc;

use longhaul_journal::{Journal, REMOVED, StreamId};

use super::Tokens;
use super::command::{Command, Refusal, Reply};
use super::event::{Adopted, Event};
use super::state::State;
use crate::adopt::adopt;
use crate::answer::{QueryError, SendError};
use crate::ports::Clock;
use crate::registry::Registry;
use crate::session::Actor;

/// The tokens of a directory.
#[derive(Clone)]
pub struct TokenDesk {
    /// The tokens, a stream for each session that has any.
    pub tokens: Registry<Tokens>,
    /// Where a stream that was restored from a backup is taken on.
    pub journal: Arc<dyn Journal>,
    /// To whom they belong.
    pub owner: String,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl TokenDesk {
    /// Sends a wish about the tokens of a session, whose stream is taken on first if it was restored from a backup.
    ///
    /// # Errors
    /// [`SendError`]; only [`SendError::OutcomeUnknown`] leaves open whether it happened.
    pub async fn send(&self, session: StreamId, command: Command) -> Result<Reply, SendError<Refusal>> {
        let stream = Tokens::of(&self.owner, session);
        if self.journal.is_inert(stream) {
            let event = Event::of(Actor::RUNTIME, Adopted {});
            adopt(&self.tokens, &self.journal, stream, event, self.clock.now_ms()).await?;
        }
        let sent = self.tokens.send(stream, command).await;
        match sent {
            Err(SendError::Quarantined(_)) if self.is_removed(stream) => {
                Err(SendError::Refused(Refusal::Removed))
            }
            sent => sent,
        }
    }

    /// Looks at the tokens of a session. In a stream that was restored and not taken on none counts.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn look<T: Send + 'static>(
        &self,
        session: StreamId,
        look: impl FnOnce(&State) -> T + Clone + Send + 'static,
    ) -> Result<T, QueryError> {
        let stream = Tokens::of(&self.owner, session);
        if self.journal.is_inert(stream) {
            return Ok(look(&State::default()));
        }
        let again = look.clone();
        match self.tokens.query(stream, |state, _| look(state)).await {
            Err(QueryError::Quarantined(_)) if self.is_removed(stream) => Ok(again(&State::default())),
            looked => looked,
        }
    }

    /// Whether nothing but that it was there is left of a stream.
    fn is_removed(&self, stream: StreamId) -> bool {
        matches!(self.journal.head(stream), Ok(Some(head)) if head.kind == REMOVED)
    }
}
