//! The registry: one live actor per stream of a kind, found or built from the journal.

mod home;

use std::sync::Arc;

use longhaul_journal::{Journal, Seq, StreamId};
use longhaul_snapshots::{Policy, SnapshotStore};
use tokio::sync::oneshot;

use crate::answer::{Caller, Quarantine, QueryError, Question, SendError};
use crate::effects::World;
use crate::entity::Entity;
use crate::host::Request;
use crate::ports::Clock;
use crate::supervisor::System;
use crate::sweeper;

pub(crate) use home::Home;

/// The world that entities of one kind live in.
pub struct Ports<E: Entity> {
    /// Where their facts are.
    pub journal: Arc<dyn Journal>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Who does what they owe.
    pub world: Arc<dyn World<E>>,
}

/// Which streams live in this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// All of them; whatever is owed or due is woken.
    #[default]
    Serve,
    /// Whatever a message is sent to; nothing is woken by itself.
    OnDemand,
    /// This one; it is woken when it owes work or is due.
    Only(StreamId),
    /// None: nothing is claimed, nothing is written.
    ReadOnly,
}

impl Mode {
    /// Whether a stream may have an actor here.
    pub(crate) fn hosts(self, stream: StreamId) -> bool {
        match self {
            Self::Serve | Self::OnDemand => true,
            Self::Only(only) => only == stream,
            Self::ReadOnly => false,
        }
    }

    /// Whether a stream is woken by itself.
    pub(crate) fn wakes(self, stream: StreamId) -> bool {
        self != Self::OnDemand && self.hosts(stream)
    }
}

/// Bounds of a registry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which streams live here.
    pub mode: Mode,
    /// Undecided messages of one stream; what is beyond is answered [`SendError::Overloaded`].
    pub mailbox: usize,
    /// Decided and not yet durable messages of one stream; what is beyond is answered [`SendError::Overloaded`].
    pub in_flight: usize,
    /// An actor without work ends after this time without a message.
    pub idle_after_ms: u64,
    /// The index of standings is read at least this often.
    pub sweep_every_ms: u64,
    /// Where folds are kept. Nowhere by default: then every recovery replays the whole stream.
    pub snapshots: Arc<SnapshotStore>,
    /// When a fold is kept.
    pub keep: Policy,
    /// Streams that one sweep wakes at the same time.
    pub sweep_width: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Serve,
            mailbox: 1024,
            in_flight: 4096,
            idle_after_ms: 180_000,
            sweep_every_ms: 60_000,
            snapshots: Arc::new(SnapshotStore::disabled()),
            keep: Policy::default(),
            sweep_width: 16,
        }
    }
}

impl Options {
    /// The defaults in this mode.
    pub fn of(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

/// All streams of one kind of entity, in this process.
///
/// A handle: clone it, send it to any thread, use it from any runtime or from none. Call [`Registry::close`] before the
/// [`System`] is closed.
///
/// - A command that was answered is on disk; one that got another answer says whether it may be.
/// - Commands to one stream are decided one after the other, in the order they arrive.
/// - Nobody sees anything of a state before it is durable.
pub struct Registry<E: Entity>(Arc<Home<E>>);

impl<E: Entity> Registry<E> {
    /// Opens the streams of this kind over a journal, and begins to wake those that owe work or are due.
    pub fn open(system: &System, ports: Ports<E>, options: Options) -> Self {
        let home = Home::new(Arc::clone(system.inner()), ports, options);
        sweeper::start(&home);
        Self(home)
    }

    /// Sends a command and returns its reply once all it rests on is durable.
    ///
    /// # Errors
    /// [`SendError`]; only [`SendError::OutcomeUnknown`] leaves open whether it happened.
    ///
    /// # Cancel safety
    /// The command is on its way once the future was polled; dropping it then withdraws nothing.
    pub async fn send(
        &self,
        stream: StreamId,
        command: E::Command,
    ) -> Result<E::Reply, SendError<E::Refusal>> {
        let (caller, answer) = Caller::pair();
        self.0.bring(stream, Request::Command(command, caller));
        answer.await.unwrap_or(Err(SendError::Closed))
    }

    /// Looks at the state of a stream and the seq it belongs to; returns what was seen once that is durable.
    ///
    /// A stream that does not exist shows the state before its first record.
    ///
    /// # Errors
    /// [`QueryError`]; nothing was changed in any case.
    pub async fn query<T: Send + 'static>(
        &self,
        stream: StreamId,
        look: impl FnOnce(&E::State, Seq) -> T + Send + 'static,
    ) -> Result<T, QueryError> {
        let (to, answer) = oneshot::channel();
        self.0
            .bring(stream, Request::Ask(Box::new(Question { look, to })));
        answer.await.unwrap_or(Err(QueryError::Interrupted))
    }

    /// Makes sure that a stream has a live actor, and that it is at what it owes.
    ///
    /// # Errors
    /// [`QueryError`] when it cannot have one.
    pub async fn wake(&self, stream: StreamId) -> Result<(), QueryError> {
        self.query(stream, |_, _| ()).await
    }

    /// Whether a stream has an actor, or is about to have one.
    pub fn is_awake(&self, stream: StreamId) -> bool {
        self.0.is_awake(stream)
    }

    /// How many actors live.
    pub fn live(&self) -> usize {
        *self.0.live().borrow()
    }

    /// Resolves once exactly this many actors live.
    pub async fn until_live(&self, count: usize) {
        let mut live = self.0.live();
        // The sender lives as long as `self`.
        let _ = live.wait_for(|live| *live == count).await;
    }

    /// Streams that are read only until somebody has looked at them.
    pub fn quarantined(&self) -> Vec<Arc<Quarantine>> {
        self.0.quarantined()
    }

    /// Lifts a quarantine after the stream was looked at; the next message folds it again. `false` if there was none.
    pub fn lift_quarantine(&self, stream: StreamId) -> bool {
        self.0.release(stream)
    }

    /// Takes nothing more, lets every actor write its last word, and waits until they are gone.
    ///
    /// Effects under way are dropped; they stay owed, and the next process finds them. Calling it twice is harmless.
    pub async fn close(&self) {
        self.0.close();
        self.until_live(0).await;
    }
}

impl<E: Entity> Clone for Registry<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Entity> std::fmt::Debug for Registry<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("kind", &E::KIND)
            .finish_non_exhaustive()
    }
}
