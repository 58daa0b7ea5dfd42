//! The text of client tokens: sealed with a key that only the data directory has.
//!
//! What a token says of itself is never enough: it counts only if the journal says so, too (`longhaul_actors::token`).

mod key;
mod seal;

pub(crate) use key::KeyFile;
pub(crate) use seal::{Claims, Key, open, seal};
