//! Durable agent sessions: brains, hands, control socket, command line.

pub mod api;
mod control;
mod runtime;

pub use control::{Answer, Control};
pub use runtime::{Mode, Options, Runtime};
