//! What any entity is: rules that map values to values, and nothing else.

use std::fmt;

use longhaul_journal::{NewRecord, Record, Seq, Standing};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The time at which a command is decided. Handed in, so that replay meets the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Wall clock, milliseconds since 1970. Never smaller than the stream's last record.
    pub now_ms: u64,
}

/// An event together with its place in the stream, as `apply` sees it, live and in replay alike.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a, E> {
    /// Its seq.
    pub seq: Seq,
    /// When it was decided, wall clock, milliseconds since 1970.
    pub time_ms: u64,
    /// The event.
    pub event: &'a E,
}

/// What a command led to: facts to be written, and the answer for whoever sent it.
///
/// The answer is held back until the facts are durable. Without facts it is held back until everything decided before is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<E, R> {
    /// The facts, in order; they become one frame.
    pub events: Vec<E>,
    /// The answer.
    pub reply: R,
}

/// Names one piece of owed work within its stream; the same work has the same id after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId {
    /// The seq of the record that made the work owed.
    pub seq: Seq,
    /// Distinguishes repeats and several pieces of work owed by one record.
    pub attempt: u32,
}

/// Work owed to the world. It stays owed until a command with its outcome changes the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed<F> {
    /// Its name.
    pub id: EffectId,
    /// What is to be done.
    pub effect: F,
}

/// Why an actor was built anew from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryCause {
    /// The actor had gone to sleep, or is needed for the first time since this process started.
    Wake,
    /// The actor panicked.
    Panic {
        /// What the panic said, if it said anything.
        message: String,
    },
    /// The journal refused or lost a frame of the actor.
    Journal {
        /// What the journal said.
        message: String,
    },
}

/// What a freshly recovered actor knows beyond its fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Why it was built.
    pub cause: RecoveryCause,
    /// The last seq that was folded.
    pub head: Seq,
    /// The boot generation that wrote the last record; smaller than `boot` when the process was restarted since.
    pub last_boot: u32,
    /// The present boot generation.
    pub boot: u32,
}

/// A stored record that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A type this version does not know, so a newer version wrote it.
    #[error("record type {type_name:?} (version {type_version}) is not known to this version of longhaul")]
    UnknownType {
        /// The type.
        type_name: String,
        /// Its version.
        type_version: u16,
    },
    /// The payload does not have the shape its type promises.
    #[error("record of type {type_name:?} has an unreadable payload: {reason}")]
    Payload {
        /// The type.
        type_name: String,
        /// What is wrong.
        reason: String,
    },
}

/// The rules of one kind of stream.
///
/// Every function is pure: no clock, no randomness, no lock, no await. Time and ids enter with the command and are
/// written in the events. The host calls `decide`, submits the events as one frame with the `standing` after them,
/// applies them, and lets replies and effects out only once the frame is durable.
///
/// An implementation signs:
/// - `apply` never fails on events that `decide` made, in the order it made them.
/// - The state after replaying all events equals the state of the live actor after the last of them.
/// - `standing` is [`Standing::Owed`] whenever `owed` is not empty, and [`Standing::Until`] no later than `due`.
/// - `State` is closed for bincode: no `serde_json::Value`, no `tag`, `flatten`, `untagged` or `skip_serializing_if`.
pub trait Entity: Sized + Send + 'static {
    /// Kind of the stream, at most 32 bytes: `session`.
    const KIND: &'static str;
    /// Rises when `State` or `apply` changes, so that older snapshots are dropped.
    const FOLD_VERSION: u32;

    /// The fold. `Default` is the state before the first record.
    type State: Default
        + Clone
        + PartialEq
        + fmt::Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;
    /// A wish.
    type Command: fmt::Debug + Send + 'static;
    /// A fact.
    type Event: Clone + fmt::Debug + Send + Sync + 'static;
    /// The answer to a wish that was granted.
    type Reply: fmt::Debug + Send + 'static;
    /// A wish denied by the rules. Nothing was written.
    type Refusal: std::error::Error + Clone + Send + Sync + 'static;
    /// Work owed to the world.
    type Effect: Clone + PartialEq + fmt::Debug + Send + Sync + 'static;

    /// Decides what a wish leads to.
    ///
    /// # Errors
    /// The refusal, when the rules deny it.
    fn decide(
        state: &Self::State,
        command: Self::Command,
        moment: Moment,
    ) -> Result<Decision<Self::Event, Self::Reply>, Self::Refusal>;

    /// Folds one fact in.
    fn apply(state: &mut Self::State, placed: Placed<'_, Self::Event>);

    /// What the stream waits for.
    fn standing(state: &Self::State) -> Standing;

    /// When the entity must next be woken, wall clock, milliseconds since 1970.
    fn due(state: &Self::State) -> Option<u64> {
        let _ = state;
        None
    }

    /// The command that is sent when `due` has come; `None` when there is nothing to do any more.
    fn alarm(state: &Self::State) -> Option<Self::Command> {
        let _ = state;
        None
    }

    /// All work owed now. The host starts what is new, leaves alone what is under way, and abandons what is gone.
    fn owed(state: &Self::State) -> Vec<Owed<Self::Effect>> {
        let _ = state;
        Vec::new()
    }

    /// Whether nothing is to be held for the stream from now on: its actor ends as soon as all it decided is durable,
    /// instead of waiting for a while in case somebody has more to say.
    fn is_asleep(state: &Self::State) -> bool {
        let _ = state;
        false
    }

    /// The command an actor gets first after it was recovered, so that a crash is written down.
    fn recovered(state: &Self::State, recovery: &Recovery) -> Option<Self::Command> {
        let _ = (state, recovery);
        None
    }

    /// The command an actor gets last when the runtime stops in good order.
    fn stopping(state: &Self::State) -> Option<Self::Command> {
        let _ = state;
        None
    }

    /// The stored form of a fact.
    fn encode(event: &Self::Event) -> NewRecord;

    /// A fact from its stored form.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it or it is damaged.
    fn decode(record: &Record) -> Result<Self::Event, DecodeError>;
}
