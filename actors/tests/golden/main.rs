//! Whole data directories as released versions wrote them, with what they amounted to then (`read`), and how one is
//! written (`write`).
//!
//! A folder `v*` beside this file holds a directory of data, a portable file, and the folded states. It is added to and left
//! alone: when a record type is new, or a state has grown, `LONGHAUL_GOLDEN=v1-later cargo test -p longhaul-actors --test golden`
//! writes another one.

mod read;
mod write;

// The worlds of the session's rules make records that are legal in their order.
#[path = "../session/moves.rs"]
#[allow(dead_code, reason = "the rules use more of it")]
mod moves;
#[path = "../session/story.rs"]
#[allow(dead_code, reason = "the rules use more of it")]
mod story;
#[path = "../session/witness.rs"]
mod witness;
#[path = "../session/world.rs"]
#[allow(dead_code, reason = "the rules use more of it")]
mod world;
