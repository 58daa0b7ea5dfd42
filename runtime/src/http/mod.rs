//! The control socket: [`Control`] as HTTP over a unix socket.
//!
//! What it promises:
//! - It adds no rules. Every answer is the answer of the [`Control`] behind it; the edge only reads requests, and
//!   refuses what it cannot read.
//! - A wish that was read completely is carried out, whatever becomes of the connection that brought it.
//! - A stream of records has no gap and no repeat (B-STREAM-2): catching up and staying live are the same call, a
//!   long poll of [`Control::events`] from the last seq that was passed, so there is no seam between them.
//! - Whoever can open the socket file may do everything; nobody but its owner can (mode 0600 from the first moment). Whoever
//!   shows a client token is held to what it allows, and an agent decides nothing, whatever it shows.
//! - The text of a token stands in no error and no log line.
//! - Every error is one [`Problem`](crate::api::Problem) as `application/problem+json`.
//!
//! This folder is the only place that imports actix-web, and no type of it is public. The shapes and routes are
//! described in `docs/http-api.md`.
//!
//! [`Control`]: crate::Control
//! [`Control::events`]: crate::Control::events

mod access;
mod address;
mod edge;
mod peer;
mod refusal;
mod request;
mod routes;
mod socket;
mod stream;

// They speak with the crates of the client, which come with `cli`.
#[cfg(feature = "cli")]
#[cfg(test)]
mod tests;

#[cfg(feature = "cli")]
pub(crate) use address::{inside, locate};
pub use edge::Settings;
pub use socket::ControlSocket;

/// Scaffolding that the tests of the client share with the tests of the server.
#[cfg(feature = "cli")]
#[cfg(test)]
pub(crate) use tests::support;
