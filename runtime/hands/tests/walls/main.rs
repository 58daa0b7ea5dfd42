//! What isolated commands can do, and what they cannot: a hostile script in the workspace, and its expected end. The ids
//! (A1 to E3) are those of the table in `docs/isolation.md`.
//!
//! Real processes, POSIX sh and coreutils only; what no shell can ask is asked by `inside`, which is this very test binary,
//! copied into the workspace. Every test runs as root and as a plain user.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod inside;
mod kernel;
mod machine;
mod missing;
mod secrets;
mod tools;
