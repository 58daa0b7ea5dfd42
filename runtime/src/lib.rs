//! Durable agent sessions: brains, hands, control socket, command line.

pub mod api;
#[cfg(feature = "cli")]
pub mod client;
mod control;
#[cfg(feature = "server")]
pub mod http;
mod runtime;

pub use control::{Answer, Control};
pub use runtime::{Mode, Options, Runtime};
