//! The command line as a person meets it: the real program, its whole output, and its exit code.
//!
//! The environment is empty but for what a test puts there, so that output is the same everywhere; ids and times are
//! blanked out. A failing test prints the command and both streams.

mod desk;
#[path = "../../../tests/src/watched.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the tests of other packages"
)]
mod watched;

mod bounded;
mod credits;
mod damage;
mod moving;
mod policy;
mod reading;
mod room;
mod running;
mod serving;
mod tasks;
mod tokens;
mod wrong;
