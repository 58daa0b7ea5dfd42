//! What a caller is told, and the guard by which no caller waits for ever.

use std::fmt;
use std::sync::Arc;

use longhaul_journal::{Seq, StreamId};
use tokio::sync::oneshot;

use crate::entity::Entity;

/// A stream that is read only until somebody has looked at it. All other streams go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stream {stream} is quarantined after seq {readable_to}: {reason}")]
pub struct Quarantine {
    /// The stream.
    pub stream: StreamId,
    /// The last seq that can be read and folded.
    pub readable_to: Seq,
    /// What is wrong.
    pub reason: String,
}

/// Why a command was not answered with a reply. A variant exists because the caller acts differently on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<R: std::error::Error + 'static> {
    /// Did not happen: the rules deny it.
    #[error(transparent)]
    Refused(R),
    /// Did not happen: a machine broke before the decision was on disk. It may be sent again.
    #[error("nothing was written: {reason}; send it again")]
    NotWritten {
        /// What broke.
        reason: String,
    },
    /// May have happened: the decision was handed to the journal, and its answer was lost. Look before sending again.
    #[error("the decision may or may not be on disk ({reason}); look at the stream before sending it again")]
    OutcomeUnknown {
        /// What broke.
        reason: String,
    },
    /// Did not happen: too many commands wait for this stream already. Send it again later.
    #[error("too many commands wait for this stream; send it again later")]
    Overloaded,
    /// Did not happen: the stream is read only.
    #[error(transparent)]
    Quarantined(Arc<Quarantine>),
    /// Did not happen: this process was opened for another stream, or only to read.
    #[error("this process does not host the stream; send it to the process that serves it")]
    NotHosted,
    /// Did not happen: the runtime is closing.
    #[error("the runtime is closing")]
    Closed,
}

impl<R: std::error::Error + 'static> SendError<R> {
    /// Whether the command may have been carried out all the same.
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}

/// Why a question about a state was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The actor was discarded before what it had folded was durable, or the question itself panicked. Ask again.
    #[error("the state was discarded before it was durable; ask again")]
    Interrupted,
    /// Too many commands wait for this stream already. Ask again later.
    #[error("too many commands wait for this stream; ask again later")]
    Overloaded,
    /// The stream is read only.
    #[error(transparent)]
    Quarantined(Arc<Quarantine>),
    /// This process was opened for another stream, or only to read.
    #[error("this process does not host the stream; ask the process that serves it")]
    NotHosted,
    /// The runtime is closing.
    #[error("the runtime is closing")]
    Closed,
}

/// Why a message is turned away before any rule saw it.
#[derive(Clone, Debug)]
pub(crate) enum TurnedAway {
    NotWritten(String),
    Overloaded,
    Quarantined(Arc<Quarantine>),
    NotHosted,
    Closed,
}

impl<R: std::error::Error + 'static> From<TurnedAway> for SendError<R> {
    fn from(why: TurnedAway) -> Self {
        match why {
            TurnedAway::NotWritten(reason) => Self::NotWritten { reason },
            TurnedAway::Overloaded => Self::Overloaded,
            TurnedAway::Quarantined(quarantine) => Self::Quarantined(quarantine),
            TurnedAway::NotHosted => Self::NotHosted,
            TurnedAway::Closed => Self::Closed,
        }
    }
}

impl From<TurnedAway> for QueryError {
    fn from(why: TurnedAway) -> Self {
        match why {
            TurnedAway::NotWritten(_) => Self::Interrupted,
            TurnedAway::Overloaded => Self::Overloaded,
            TurnedAway::Quarantined(quarantine) => Self::Quarantined(quarantine),
            TurnedAway::NotHosted => Self::NotHosted,
            TurnedAway::Closed => Self::Closed,
        }
    }
}

/// What a sent command comes to.
pub(crate) type Outcome<E> = Result<<E as Entity>::Reply, SendError<<E as Entity>::Refusal>>;

/// The way back to whoever sent a command.
///
/// Dropped without an answer, wherever that happens, it says the truth by how far the command had come: before its
/// frame was handed to the journal it did not happen, after that it may have.
pub(crate) struct Caller<E: Entity> {
    to: Option<oneshot::Sender<Outcome<E>>>,
    submitted: bool,
}

impl<E: Entity> Caller<E> {
    /// A caller, and where it listens.
    pub(crate) fn pair() -> (Self, oneshot::Receiver<Outcome<E>>) {
        let (sender, receiver) = oneshot::channel();
        let caller = Self {
            to: Some(sender),
            submitted: false,
        };
        (caller, receiver)
    }

    /// For commands of the host's own: nobody listens.
    pub(crate) const fn nobody() -> Self {
        Self {
            to: None,
            submitted: false,
        }
    }

    /// From here on the command may have happened.
    pub(crate) const fn submitted(&mut self) {
        self.submitted = true;
    }

    pub(crate) fn answer(mut self, outcome: Outcome<E>) {
        if let Some(to) = self.to.take() {
            // Whoever went away does not want to know; what was decided stands.
            let _ = to.send(outcome);
        }
    }

    pub(crate) fn turn_away(self, why: TurnedAway) {
        self.answer(Err(why.into()));
    }
}

impl<E: Entity> Drop for Caller<E> {
    fn drop(&mut self) {
        let Some(to) = self.to.take() else { return };
        let reason = "the actor ended before it answered".to_owned();
        let outcome = if self.submitted {
            Err(SendError::OutcomeUnknown { reason })
        } else {
            Err(SendError::NotWritten { reason })
        };
        let _ = to.send(outcome);
    }
}

impl<E: Entity> fmt::Debug for Caller<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("waits", &self.to.is_some())
            .field("submitted", &self.submitted)
            .finish()
    }
}

/// An answer to a question, held back until what it was read from is durable. Called, it is given; dropped, the asker
/// learns that the state was discarded.
pub(crate) type Held = Box<dyn FnOnce() + Send>;

/// A question about a state.
pub(crate) trait Ask<E: Entity>: Send {
    /// Looks at the state after `folded`.
    fn look(self: Box<Self>, state: &E::State, folded: Seq) -> Held;

    fn turn_away(self: Box<Self>, why: TurnedAway);
}

/// The function that looks, and the way back to the asker.
pub(crate) struct Question<F, T> {
    pub(crate) look: F,
    pub(crate) to: oneshot::Sender<Result<T, QueryError>>,
}

impl<E, F, T> Ask<E> for Question<F, T>
where
    E: Entity,
    F: FnOnce(&E::State, Seq) -> T + Send,
    T: Send + 'static,
{
    fn look(self: Box<Self>, state: &E::State, folded: Seq) -> Held {
        let Self { look, to } = *self;
        let seen = look(state, folded);
        Box::new(move || {
            // Whoever went away does not want to know.
            let _ = to.send(Ok(seen));
        })
    }

    fn turn_away(self: Box<Self>, why: TurnedAway) {
        let _ = self.to.send(Err(why.into()));
    }
}
