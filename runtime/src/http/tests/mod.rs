//! The control socket over real sockets, in front of a router that the test can steer.

mod routes;
mod streams;
pub(crate) mod support;
