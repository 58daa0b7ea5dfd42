//! A session: one agent at work, as rules.

mod command;
mod event;
mod tool;

pub use command::{Command, Effect, Refusal, Reply, Start};
pub use event::*;
pub use tool::*;
