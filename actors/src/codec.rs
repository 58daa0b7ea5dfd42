//! States as bytes for snapshots. The only file of this crate that knows how.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use longhaul_snapshots::MAX_SNAPSHOT;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bounded in both directions: hostile lengths would otherwise allocate whatever they say.
const fn config() -> Configuration<LittleEndian, Varint, Limit<MAX_SNAPSHOT>> {
    bincode::config::standard().with_limit::<MAX_SNAPSHOT>()
}

/// A state as bytes.
///
/// # Errors
/// What is wrong with it, in words for the log.
pub(crate) fn encode<S: Serialize>(state: &S) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(state, config()).map_err(|error| error.to_string())
}

/// A state from bytes, all of them.
///
/// # Errors
/// What is wrong with them, in words for the log.
pub(crate) fn decode<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, String> {
    let (state, used) =
        bincode::serde::decode_from_slice(bytes, config()).map_err(|error| error.to_string())?;
    if used == bytes.len() {
        Ok(state)
    } else {
        Err(format!("{} bytes are left over", bytes.len() - used))
    }
}
