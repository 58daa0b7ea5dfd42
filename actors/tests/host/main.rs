//! How any entity lives: hosted, recovered, supervised, woken. No test here sleeps; time is moved by hand.
#![allow(
    clippy::unwrap_used,
    reason = "a test that meets a surprise shall end with it"
)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "what the kit shares stays in this binary"
)]

mod crash;
mod fold;
mod gate;
mod kit;
mod time;
mod work;
