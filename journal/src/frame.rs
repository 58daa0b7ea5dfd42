//! The physical bytes around a sealed part: where it lies, how long it is, and how far the file was synced before it.
//!
//! ```text
//! offset  0     4        5             9           17              25               29
//!         magic format   sealed_len    position    durable_below   envelope crc32c  sealed part ...
//!         4     u8       u32           u64         u64             u32
//! ```
//!
//! Integers are little endian. The envelope is no part of the chain: it is written anew when a frame is imported.

use crate::codec::{self, Flaw};
use crate::id::{ChainHash, Position};
use crate::rules::Intent;

/// Version of the envelope that is written.
pub const FORMAT: u8 = 1;
/// The first byte is not ASCII and not zero, so that neither text nor prepared room looks like a frame.
pub(crate) const MAGIC: [u8; 4] = *b"\x8cLHF";
/// Bytes of an envelope.
pub const ENVELOPE_LEN: usize = 29;

/// What an envelope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) sealed_len: u32,
    pub(crate) position: Position,
    /// Everything below this position was on disk before this frame was written.
    pub(crate) durable_below: Position,
}

impl Envelope {
    /// Reads an envelope from the first bytes of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let bytes: &[u8; ENVELOPE_LEN] = bytes
            .get(..ENVELOPE_LEN)
            .and_then(|head| head.try_into().ok())
            .ok_or(Flaw::Short)?;
        if bytes[..4] != MAGIC {
            return Err(Flaw::Magic);
        }
        if crc32c::crc32c(&bytes[..25]).to_le_bytes() != bytes[25..] {
            return Err(Flaw::EnvelopeChecksum);
        }
        if bytes[4] != FORMAT {
            return Err(Flaw::NewerFormat(bytes[4]));
        }
        let envelope = Self {
            sealed_len: u32::from_le_bytes(field(bytes, 5)),
            position: Position(u64::from_le_bytes(field(bytes, 9))),
            durable_below: Position(u64::from_le_bytes(field(bytes, 17))),
        };
        if envelope.sealed_len as usize > codec::MAX_SEALED {
            return Err(Flaw::Length(envelope.sealed_len));
        }
        Ok(envelope)
    }

    /// Reads an envelope that must lie at `position`.
    pub(crate) fn parse_at(bytes: &[u8], position: Position) -> Result<Self, Flaw> {
        let envelope = Self::parse(bytes)?;
        if envelope.position != position || envelope.durable_below > position {
            return Err(Flaw::Misplaced {
                expected: position,
                found: envelope.position,
            });
        }
        Ok(envelope)
    }

    /// The bytes of this envelope.
    pub(crate) fn bytes(&self) -> [u8; ENVELOPE_LEN] {
        let mut out = [0; ENVELOPE_LEN];
        out[..4].copy_from_slice(&MAGIC);
        out[4] = FORMAT;
        out[5..9].copy_from_slice(&self.sealed_len.to_le_bytes());
        out[9..17].copy_from_slice(&self.position.0.to_le_bytes());
        out[17..25].copy_from_slice(&self.durable_below.0.to_le_bytes());
        let crc = crc32c::crc32c(&out[..25]);
        out[25..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_len(&self) -> u64 {
        ENVELOPE_LEN as u64 + u64::from(self.sealed_len)
    }

    /// Position right behind the frame.
    pub(crate) fn end(&self) -> Position {
        Position(self.position.0 + self.frame_len())
    }
}

/// Appends the frame of an admitted intent to `out` and returns its chain hash.
pub(crate) fn write(
    intent: &Intent,
    previous: ChainHash,
    position: Position,
    durable_below: Position,
    out: &mut Vec<u8>,
) -> ChainHash {
    enclose(position, durable_below, out, |out| {
        codec::seal(intent, previous, out)
    })
}

/// Appends a marker frame to `out`: everything below it is on disk, and the committer is idle.
pub(crate) fn write_marker(position: Position, out: &mut Vec<u8>) {
    enclose(position, position, out, codec::seal_marker);
}

fn enclose<T>(
    position: Position,
    durable_below: Position,
    out: &mut Vec<u8>,
    seal: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let start = out.len();
    out.resize(start + ENVELOPE_LEN, 0);
    let sealed = seal(out);
    let sealed_len = u32::try_from(out.len() - start - ENVELOPE_LEN).expect("MAX_SEALED fits in 32 bits");
    let envelope = Envelope {
        sealed_len,
        position,
        durable_below,
    };
    out[start..start + ENVELOPE_LEN].copy_from_slice(&envelope.bytes());
    sealed
}

fn field<const N: usize>(bytes: &[u8; ENVELOPE_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}
