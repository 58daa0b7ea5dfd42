//! Names of things in the journal: streams, sequence numbers, positions, epochs, hashes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Identifies one stream: a session, an account, an agent, or an entity of an embedder's own.
///
/// A name is an address: a stream that has a natural name gets `StreamId::named`, so that "get or create" is an
/// append which expects an empty stream. Everything else gets [`StreamId::unnamed`], a UUIDv7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId([u8; 16]);

impl StreamId {
    /// The stream that marker frames carry; it never holds a record.
    pub const MARKER: StreamId = StreamId([0; 16]);

    /// Derives the address of what has a name.
    ///
    /// The 16 bytes are the head of a BLAKE3 hash over the length-prefixed parts, shaped as a UUIDv8 (RFC 9562, 5.8).
    pub fn named(kind: &str, owner: &str, name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("longhaul stream id v1");
        for part in [kind, owner, name] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut head = [0; 16];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(uuid::Builder::from_custom_bytes(head).into_uuid().into_bytes())
    }

    /// Makes a fresh address (UUIDv7) for what has no name.
    pub fn unnamed() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// The sixteen bytes as stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id with these sixteen bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stream id is 32 hexadecimal digits, found {0:?}")]
pub struct ParseStreamIdError(String);

impl FromStr for StreamId {
    type Err = ParseStreamIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseStreamIdError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

/// Number of a record within its stream: 1, 2, 3, without gap or repeat. 0 stands before the first record.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Seq = Seq(0);

    /// The seq `records` further on.
    #[must_use]
    pub const fn plus(self, records: u64) -> Seq {
        Seq(self.0 + records)
    }

    /// The seq right after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seq({})", self.0)
    }
}

/// Byte offset of a frame in the journal as a whole: the first position of its segment plus the offset inside it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({})", self.0)
    }
}

/// Right to write to a stream: boot generation in the upper 32 bits, claim counter in the lower.
///
/// A later claim has a larger epoch, and an append with a smaller one than the stream has seen is refused. Claiming
/// writes nothing; the boot generation costs one durable write per start.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of claim number `claim` in boot generation `boot`.
    pub const fn new(boot: u32, claim: u32) -> Self {
        Self((boot as u64) << 32 | claim as u64)
    }

    /// The boot generation this epoch was claimed in.
    pub const fn boot(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot(), self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// First 16 bytes of the BLAKE3 hash of a frame's sealed part; each frame names the one before it in its stream.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChainHash(pub [u8; 16]);

impl ChainHash {
    /// What the first frame of a stream names as its predecessor.
    pub const ZERO: ChainHash = ChainHash([0; 16]);

    /// The chain hash of these sealed bytes.
    pub fn of(sealed: &[u8]) -> Self {
        let mut head = [0; 16];
        head.copy_from_slice(&blake3::hash(sealed).as_bytes()[..16]);
        Self(head)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

/// Ids are written with every record that names one, so that no text is made on the way.
fn write_hex(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut digits = [0; 32];
    hex::encode_to_slice(bytes, &mut digits).map_err(|_| fmt::Error)?;
    f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_an_address() {
        let one = StreamId::named("session", "local", "nightly");
        assert_eq!(one, StreamId::named("session", "local", "nightly"));
        assert_ne!(one, StreamId::named("session", "localn", "ightly"));
        assert_eq!(one.to_string().parse::<StreamId>(), Ok(one));
    }

    #[test]
    fn a_later_boot_outranks_any_claim_of_an_earlier_one() {
        assert!(Epoch::new(2, 0) > Epoch::new(1, u32::MAX));
        assert_eq!(Epoch::new(7, 3).to_string(), "7.3");
    }
}
