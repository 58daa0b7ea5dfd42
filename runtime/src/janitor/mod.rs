//! Frees what sessions need no more.
//!
//! Reactions to durable records, not effects: what is freed twice or not at all loses nothing but room.

mod kept;
mod release;
mod rest;
mod scrub;

pub(crate) use release::Releases;
pub(crate) use rest::release_what_rests;
pub(crate) use scrub::{scrub, tell_damage};
