//! The control socket over real sockets, in front of a router that the test can steer.

mod docs;
mod routes;
mod sockets;
mod streams;
pub(crate) mod support;
