//! The rules (entities), the actors that host them, and the ports to the world.
//!
//! # What is promised of any entity
//!
//! - A command that was answered is on disk. Another answer says whether it did not happen ([`SendError::NotWritten`] and
//!   most others) or may have ([`SendError::OutcomeUnknown`]). Nobody waits for ever.
//! - Replies, refusals, queries and effects leave in the order of the decisions they rest on, once those are durable.
//! - A panic or a failed write costs one actor. A new one is built from the journal; neighbours notice nothing. A stream
//!   that cannot be folded, or fails without end, is quarantined alone.
//! - Owed work is begun once per process, left alone while its actor is built anew, and found again by the next process.
//! - Timers are facts: one that was set is met, whatever was killed in between.
//!
//! # What is not
//!
//! - That an effect runs at most once over a crash: the [`World`] is told that it may have been begun, and looks.
//! - Anything across two streams.
//!
//! `examples/counter.rs` is an entity of one's own on a page.

pub mod account;
mod adopt;
mod answer;
mod clock;
mod codec;
mod effects;
mod entity;
mod facts;
mod gap;
mod host;
mod link;
mod panics;
pub mod ports;
mod recover;
mod registry;
pub mod session;
mod shown;
mod supervisor;
mod sweeper;
pub mod task;
pub mod token;

pub use answer::{Quarantine, QueryError, SendError};
pub use clock::{ManualClock, SystemClock};
pub use effects::{EffectContext, NoWorld, World};
pub use entity::{Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed, Recovery, RecoveryCause};
pub use link::Link;
pub use recover::{Folded, RecoverError, catch_up, fold, fold_to, recover};
pub use registry::{Mode, Options, Ports, Registry};
pub use supervisor::{System, SystemError, SystemOptions};
