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
        codec::seal(&intent.unsealed, previous, out)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Level, NewRecord, Standing};
    use crate::{Draft, Epoch, Frame, Seq, StreamId};

    /// Frames of released versions, as they lie on disk. Added to, never changed: B-LOG-8.
    const GOLDEN: &[(&str, &str)] = &[
        ("marker", include_str!("../tests/golden/v1-marker.hex")),
        ("one record", include_str!("../tests/golden/v1-one-record.hex")),
        ("every field", include_str!("../tests/golden/v1-every-field.hex")),
    ];

    fn draft(standing: Standing, records: Vec<NewRecord>) -> Draft {
        Draft {
            stream: StreamId::named("session", "local", "golden"),
            kind: "session".into(),
            epoch: Epoch::new(3, 70_000),
            expected: Seq(41),
            time_ms: 1_764_000_000_123,
            standing,
            records,
        }
    }

    fn record(type_name: &'static str, cause: Option<Seq>, level: Level, payload: &str) -> NewRecord {
        NewRecord {
            type_name: type_name.into(),
            type_version: 2,
            cause,
            level,
            payload: payload.as_bytes().to_vec(),
        }
    }

    fn golden_draft(name: &str) -> Option<Draft> {
        match name {
            "one record" => Some(draft(
                Standing::Owed,
                vec![record("turn.started", None, Level::Progress, r#"{"turn":1}"#)],
            )),
            "every field" => Some(draft(
                Standing::Until(1_764_000_600_000),
                vec![
                    record("user.message", Some(Seq(300)), Level::User, r#"{"text":"go on"}"#),
                    record("tool.started", Some(Seq(42)), Level::Internal, ""),
                ],
            )),
            _ => None,
        }
    }

    fn bytes_of(draft: Draft) -> Vec<u8> {
        let mut bytes = Vec::new();
        let intent = Intent::new(draft).unwrap();
        write(
            &intent,
            ChainHash([0xab; 16]),
            Position(4_096),
            Position(4_000),
            &mut bytes,
        );
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Frame, Flaw> {
        let envelope = Envelope::parse(bytes)?;
        let end = usize::try_from(envelope.frame_len()).unwrap();
        codec::open(
            bytes.get(ENVELOPE_LEN..end).ok_or(Flaw::Short)?,
            envelope.position,
        )
    }

    #[test]
    fn frames_of_every_version_are_read_and_written_as_they_were() {
        for (name, text) in GOLDEN {
            let golden: String = text.split_whitespace().collect();
            let Some(draft) = golden_draft(name) else {
                let mut marker = Vec::new();
                write_marker(Position(4_096), &mut marker);
                assert_eq!(hex::encode(&marker), golden, "{name}");
                continue;
            };
            assert_eq!(hex::encode(bytes_of(draft.clone())), golden, "{name}");
            let golden = hex::decode(golden).unwrap();
            let frame = read(&golden).unwrap();
            assert_eq!(
                (frame.stream, frame.epoch, frame.standing),
                (draft.stream, draft.epoch, draft.standing)
            );
            assert_eq!(
                (frame.previous, frame.position),
                (ChainHash([0xab; 16]), Position(4_096))
            );
            assert_eq!(frame.hash, ChainHash::of(&golden[ENVELOPE_LEN..]));
            let events: Vec<_> = frame.records.into_iter().map(|record| record.event).collect();
            assert_eq!(events, draft.records);
        }
    }

    /// B-LOG-8, B-LOG-10
    #[test]
    fn a_frame_over_a_gap_is_read_and_written_as_it_was() {
        let golden = include_str!("../tests/golden/v1-over-a-gap.hex");
        let golden: String = golden.split_whitespace().collect();
        let gap = crate::Gap {
            resumes_after: Seq(36),
            hash: ChainHash([0xab; 16]),
        };
        let intent = Intent::over(golden_draft("one record").unwrap(), Some(gap)).unwrap();
        let mut bytes = Vec::new();
        write(
            &intent,
            ChainHash([0xab; 16]),
            Position(4_096),
            Position(4_000),
            &mut bytes,
        );
        assert_eq!(hex::encode(&bytes), golden);
        let frame = read(&bytes).unwrap();
        assert_eq!((frame.resumes_after, frame.first_seq()), (Some(Seq(36)), Seq(42)));
    }

    #[test]
    fn one_record_costs_at_most_120_bytes_more_than_its_payload() {
        let bytes = bytes_of(draft(
            Standing::Owed,
            vec![record("model.completed", Some(Seq(40)), Level::Internal, "")],
        ));
        assert!(bytes.len() <= 120, "{} bytes", bytes.len());
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        let sound = bytes_of(golden_draft("every field").unwrap());
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
        for cut in 0..sound.len() {
            assert!(read(&sound[..cut]).is_err(), "cut at {cut}");
        }
    }

    /// Sealed bytes with a sound checksum and hostile content: what a malicious export could hold.
    fn resealed(mut body: Vec<u8>) -> Vec<u8> {
        let crc = crc32c::crc32c(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        body
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Envelope::parse(&body);
            let _ = codec::open(&body, Position(64));
            let mut body = body;
            if let Some(first) = body.first_mut() {
                *first = 1;
            }
            let _ = codec::open(&resealed(body), Position(64));
        }

        #[test]
        fn hostile_lengths_in_a_real_frame_are_refused_without_a_panic(
            at in 1usize..120,
            with in proptest::collection::vec(any::<u8>(), 1..9),
        ) {
            let sound = bytes_of(golden_draft("every field").unwrap());
            let mut body = sound[ENVELOPE_LEN..sound.len() - 4].to_vec();
            for (offset, byte) in with.into_iter().enumerate() {
                let at = (at + offset) % body.len();
                body[at] = byte;
            }
            body[0] = 1;
            let _ = codec::open(&resealed(body), Position(64));
        }

        #[test]
        fn what_was_sealed_opens_again(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
            cause in proptest::option::of(1u64..u64::MAX),
            wait in "[a-z]{1,64}",
        ) {
            let records: Vec<_> = payloads
                .into_iter()
                .map(|payload| NewRecord { payload, ..record("a.b", cause.map(Seq), Level::User, "") })
                .collect();
            let draft = draft(Standing::Waits(wait.into()), records);
            let frame = read(&bytes_of(draft.clone())).unwrap();
            prop_assert_eq!(frame.standing, draft.standing);
            let events: Vec<_> = frame.records.into_iter().map(|record| record.event).collect();
            prop_assert_eq!(events, draft.records);
        }
    }
}
