//! The logical bytes of a frame: what is hashed into the chain and travels between machines.
//!
//! The only file of this crate that imports `bincode`. That library is finished (2.0.1 is its last usable version), so
//! that a codec byte stands before everything it wrote, and nothing is decoded without a limit or with bytes left over.
//!
//! ```text
//! sealed part:  codec u8 | header | (codec 2: last seq that stands) | record * count | crc32c u32 of everything before it
//! ```

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};

use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};
use crate::journal::Draft;
use crate::record::{Frame, Head, Level, NewRecord, Record, Standing};
use crate::rules::{MAX_FRAME_PAYLOAD, MAX_FRAME_RECORDS, MAX_KIND, MAX_TYPE_NAME, MAX_WAIT_NAME};
use crate::sabotage;

/// Codec 1: bincode 2.0.1, standard configuration (little endian, variable-length integers).
const CODEC_BINCODE_2: u8 = 1;
/// Codec 2: as codec 1, with the last seq that stands between header and records. A frame that continues over a gap.
const CODEC_OVER_GAP: u8 = 2;
/// Upper bound of an encoded header: ids and hashes, five integers of at most nine bytes, two names.
pub(crate) const MAX_HEADER: usize = 1 + 16 + 16 + 6 * 9 + (3 + MAX_KIND) + (1 + 3 + MAX_WAIT_NAME);
const MAX_RECORD_HEADER: usize = MAX_TYPE_NAME + RECORD_NUMBERS;
/// The same without the name.
const RECORD_NUMBERS: usize = 3 + 3 + 10 + 1 + 9;
/// Longest sealed part that can exist; a longer length in an envelope is damage.
pub(crate) const MAX_SEALED: usize =
    MAX_HEADER + MAX_FRAME_RECORDS * MAX_RECORD_HEADER + MAX_FRAME_PAYLOAD + 4;
const CRC_LEN: usize = 4;
/// Where the stream lies in a sealed part: behind the codec.
const STREAM: std::ops::Range<usize> = 1..17;
/// Where the hash of the frame before lies in a sealed part: behind the codec and the stream.
const PREVIOUS: std::ops::Range<usize> = 17..33;

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<MAX_SEALED>,
>;

const CONFIG: Config = bincode::config::standard().with_limit::<MAX_SEALED>();

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Flaw {
    /// There are fewer bytes than a frame needs.
    #[error("the frame is cut short")]
    Short,
    /// The bytes do not begin like a frame.
    #[error("no frame begins here")]
    Magic,
    /// The envelope's checksum disagrees.
    #[error("the envelope's checksum does not match")]
    EnvelopeChecksum,
    /// The frame was written by a newer version of the format.
    #[error("the frame has format {0}, this version reads up to {supported}", supported = crate::frame::FORMAT)]
    NewerFormat(u8),
    /// The envelope claims a length no frame has.
    #[error("a sealed part of {0} bytes cannot exist")]
    Length(u32),
    /// The envelope belongs to another place.
    #[error("the envelope says position {found}, it lies at {expected}")]
    Misplaced {
        /// Where it lies.
        expected: Position,
        /// Where it says it lies.
        found: Position,
    },
    /// The checksum of the sealed part disagrees.
    #[error("the checksum of the sealed part does not match")]
    Checksum,
    /// The codec byte is not known to this version.
    #[error("codec {0} is not known to this version")]
    Codec(u8),
    /// The checksum holds and the content makes no sense.
    #[error("the sealed part cannot be decoded: {0}")]
    Malformed(String),
}

#[derive(Encode, BorrowDecode)]
struct StoredHeader<'a> {
    stream: [u8; 16],
    previous: [u8; 16],
    kind: &'a str,
    boot: u32,
    claim: u32,
    first_seq: u64,
    count: u32,
    time_ms: u64,
    standing: StoredStanding<'a>,
}

#[derive(Encode, BorrowDecode)]
enum StoredStanding<'a> {
    Done,
    Owed,
    Until(u64),
    Waits(&'a str),
}

#[derive(Encode, BorrowDecode)]
struct StoredRecord<'a> {
    type_name: &'a str,
    type_version: u16,
    cause: Option<u64>,
    level: u8,
    payload: &'a [u8],
}

#[derive(Encode, BorrowDecode)]
struct StoredHead<'a> {
    kind: &'a str,
    seq: u64,
    hash: [u8; 16],
    epoch: u64,
    time_ms: u64,
    standing: StoredStanding<'a>,
}

/// What the header of a sealed part says, records left undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) head: Head,
    pub(crate) previous: ChainHash,
    pub(crate) first_seq: Seq,
    pub(crate) count: u32,
    /// The last seq that stands before a gap, for a frame that continues over one.
    pub(crate) resumes_after: Option<Seq>,
}

impl Summary {
    /// Whether this is a marker: no stream, no records.
    pub(crate) fn is_marker(&self) -> bool {
        self.head.stream == StreamId::MARKER
    }
}

/// A sealed part before it is sealed: the hash of the frame before it is zeros, and the checksum is not there yet.
///
/// All of it is known to whoever hands the frame in, so that the committer has nothing to encode.
pub(crate) fn unsealed(draft: &Draft, resumes_after: Option<Seq>) -> Vec<u8> {
    let records: usize = draft
        .records
        .iter()
        .map(|record| record.payload.len() + record.type_name.len() + RECORD_NUMBERS)
        .sum();
    let mut out = Vec::with_capacity(MAX_HEADER - MAX_KIND + draft.kind.len() + records);
    put_header(
        &mut out,
        &StoredHeader {
            stream: *draft.stream.as_bytes(),
            previous: ChainHash::ZERO.0,
            kind: &draft.kind,
            boot: draft.epoch.boot(),
            claim: claim_of(draft.epoch),
            first_seq: draft.expected.0 + 1,
            count: u32::try_from(draft.records.len()).expect("MAX_FRAME_RECORDS fits in 32 bits"),
            time_ms: draft.time_ms,
            standing: stored_standing(&draft.standing),
        },
        resumes_after,
    );
    for record in &draft.records {
        put(
            &mut out,
            &StoredRecord {
                type_name: &record.type_name,
                type_version: record.type_version,
                cause: record.cause.map(|seq| seq.0),
                level: record.level.code(),
                payload: &record.payload,
            },
        );
    }
    out
}

/// Appends to `out` what [`unsealed`] made, sealed behind the frame with the hash `previous`, and returns its chain hash.
pub(crate) fn seal(unsealed: &[u8], previous: ChainHash, out: &mut Vec<u8>) -> ChainHash {
    let start = out.len();
    out.extend_from_slice(unsealed);
    out[start..][PREVIOUS].copy_from_slice(&previous.0);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    ChainHash::of(&out[start..])
}

/// Appends the sealed part of a marker: it holds nothing, only its envelope matters.
pub(crate) fn seal_marker(out: &mut Vec<u8>) {
    let mut unsealed = Vec::with_capacity(MAX_HEADER);
    let header = StoredHeader {
        stream: *StreamId::MARKER.as_bytes(),
        previous: ChainHash::ZERO.0,
        kind: "",
        boot: 0,
        claim: 0,
        first_seq: 0,
        count: 0,
        time_ms: 0,
        standing: StoredStanding::Done,
    };
    put_header(&mut unsealed, &header, None);
    seal(&unsealed, ChainHash::ZERO, out);
}

fn put_header(out: &mut Vec<u8>, header: &StoredHeader<'_>, resumes_after: Option<Seq>) {
    out.push(match resumes_after {
        None => CODEC_BINCODE_2,
        Some(_) => CODEC_OVER_GAP,
    });
    put(out, header);
    if let Some(seq) = resumes_after {
        put(out, &seq.0);
    }
}

/// Checks a sealed part and reads its header.
pub(crate) fn summarize(sealed: &[u8]) -> Result<Summary, Flaw> {
    let (codec, body) = checked_body(sealed)?;
    let (summary, _) = summarize_body(codec, body, sealed)?;
    Ok(summary)
}

/// Reads the header of a sealed part whose checksum does not hold, to guess which stream has lost a frame.
pub(crate) fn guess(damaged: &[u8]) -> Option<Summary> {
    let (codec, body) = damaged.split_first()?;
    // The codec byte may be what is damaged: the plain one is by far the likelier.
    summarize_body(*codec, body, damaged)
        .or_else(|_| summarize_body(CODEC_BINCODE_2, body, damaged))
        .ok()
        .map(|(summary, _)| summary)
        .or_else(|| guess_by_place(damaged))
}

/// As [`guess`], where the header cannot be decoded any more: what lies in it at a fixed place. A frame that follows none has
/// no second witness there, and is not guessed at.
fn guess_by_place(damaged: &[u8]) -> Option<Summary> {
    let stream = damaged.get(STREAM)?.try_into().ok()?;
    let previous = ChainHash(damaged.get(PREVIOUS)?.try_into().ok()?);
    (previous != ChainHash::ZERO).then(|| Summary {
        head: Head {
            stream: StreamId::from_bytes(stream),
            kind: Cow::Borrowed(""),
            seq: Seq::ZERO,
            hash: ChainHash::ZERO,
            epoch: Epoch::default(),
            time_ms: 0,
            standing: Standing::Done,
        },
        previous,
        // No frame begins there, so that it agrees with no head.
        first_seq: Seq::ZERO,
        count: 0,
        resumes_after: None,
    })
}

/// Checks a sealed part and decodes all of it.
pub(crate) fn open(sealed: &[u8], position: Position) -> Result<Frame, Flaw> {
    let (codec, body) = checked_body(sealed)?;
    let (summary, used) = summarize_body(codec, body, sealed)?;
    let mut rest = &body[used..];
    // Each record takes at least five bytes: a hostile count cannot make us reserve more than what is there.
    let mut records = Vec::with_capacity((summary.count as usize).min(rest.len() / 5));
    for index in 0..u64::from(summary.count) {
        let (stored, used) = take::<StoredRecord<'_>>(rest)?;
        rest = &rest[used..];
        records.push(Record {
            seq: summary.first_seq.plus(index),
            time_ms: summary.head.time_ms,
            event: NewRecord {
                type_name: Cow::Owned(stored.type_name.to_owned()),
                type_version: stored.type_version,
                cause: stored.cause.map(Seq),
                level: Level::from_code(stored.level)
                    .ok_or_else(|| Flaw::Malformed(format!("level {}", stored.level)))?,
                payload: stored.payload.to_vec(),
            },
        });
    }
    if !rest.is_empty() {
        return Err(Flaw::Malformed(format!(
            "{} bytes after the last record",
            rest.len()
        )));
    }
    let Head {
        stream,
        kind,
        epoch,
        standing,
        hash,
        ..
    } = summary.head;
    Ok(Frame {
        stream,
        kind,
        epoch,
        standing,
        previous: summary.previous,
        resumes_after: summary.resumes_after,
        hash,
        position,
        records,
    })
}

/// Encodes a head as a value of the catalogue.
pub(crate) fn encode_head(head: &Head) -> Vec<u8> {
    let mut out = vec![CODEC_BINCODE_2];
    put(
        &mut out,
        &StoredHead {
            kind: &head.kind,
            seq: head.seq.0,
            hash: head.hash.0,
            epoch: head.epoch.0,
            time_ms: head.time_ms,
            standing: stored_standing(&head.standing),
        },
    );
    out
}

/// Decodes a value made by [`encode_head`].
pub(crate) fn decode_head(stream: StreamId, bytes: &[u8]) -> Result<Head, Flaw> {
    let body = match bytes {
        [CODEC_BINCODE_2, body @ ..] => body,
        [codec, ..] => return Err(Flaw::Codec(*codec)),
        [] => return Err(Flaw::Short),
    };
    let (stored, used) = take::<StoredHead<'_>>(body)?;
    if used != body.len() {
        return Err(Flaw::Malformed("bytes after the head".into()));
    }
    Ok(Head {
        stream,
        kind: Cow::Owned(stored.kind.to_owned()),
        seq: Seq(stored.seq),
        hash: ChainHash(stored.hash),
        epoch: Epoch(stored.epoch),
        time_ms: stored.time_ms,
        standing: standing(&stored.standing),
    })
}

fn checked_body(sealed: &[u8]) -> Result<(u8, &[u8]), Flaw> {
    let Some(split) = sealed.len().checked_sub(CRC_LEN).filter(|split| *split > 0) else {
        return Err(Flaw::Short);
    };
    let (checked, crc) = sealed.split_at(split);
    if crc32c::crc32c(checked).to_le_bytes() != crc && !sabotage::is_on("take-a-torn-frame") {
        return Err(Flaw::Checksum);
    }
    match checked[0] {
        codec @ (CODEC_BINCODE_2 | CODEC_OVER_GAP) => Ok((codec, &checked[1..])),
        codec => Err(Flaw::Codec(codec)),
    }
}

fn summarize_body(codec: u8, body: &[u8], sealed: &[u8]) -> Result<(Summary, usize), Flaw> {
    let (stored, mut used) = take::<StoredHeader<'_>>(body)?;
    let mut resumes_after = None;
    if codec == CODEC_OVER_GAP {
        let (seq, more) = take::<u64>(&body[used..])?;
        if seq >= stored.first_seq {
            return Err(Flaw::Malformed(format!(
                "seq {} continues after seq {seq}",
                stored.first_seq
            )));
        }
        used += more;
        resumes_after = Some(Seq(seq));
    }
    let marker = stored.stream == *StreamId::MARKER.as_bytes();
    if marker != (stored.count == 0) || marker != (stored.first_seq == 0) {
        return Err(Flaw::Malformed(
            "only a marker has no records, and a marker has none".into(),
        ));
    }
    if stored.count as usize > MAX_FRAME_RECORDS {
        return Err(Flaw::Malformed(format!("{} records in one frame", stored.count)));
    }
    let last = stored
        .first_seq
        .checked_add(u64::from(stored.count))
        .ok_or_else(|| Flaw::Malformed(format!("seq {} and {} records", stored.first_seq, stored.count)))?;
    let summary = Summary {
        head: Head {
            stream: StreamId::from_bytes(stored.stream),
            kind: Cow::Owned(stored.kind.to_owned()),
            seq: Seq(last.saturating_sub(1)),
            hash: ChainHash::of(sealed),
            epoch: Epoch::new(stored.boot, stored.claim),
            time_ms: stored.time_ms,
            standing: standing(&stored.standing),
        },
        previous: ChainHash(stored.previous),
        first_seq: Seq(stored.first_seq),
        count: stored.count,
        resumes_after,
    };
    Ok((summary, used))
}

fn claim_of(epoch: Epoch) -> u32 {
    u32::try_from(epoch.0 & 0xffff_ffff).expect("masked to 32 bits")
}

fn stored_standing(standing: &Standing) -> StoredStanding<'_> {
    match standing {
        Standing::Done => StoredStanding::Done,
        Standing::Owed => StoredStanding::Owed,
        Standing::Until(time_ms) => StoredStanding::Until(*time_ms),
        Standing::Waits(name) => StoredStanding::Waits(name),
    }
}

fn standing(stored: &StoredStanding<'_>) -> Standing {
    match stored {
        StoredStanding::Done => Standing::Done,
        StoredStanding::Owed => Standing::Owed,
        StoredStanding::Until(time_ms) => Standing::Until(*time_ms),
        StoredStanding::Waits(name) => Standing::Waits(Cow::Owned((*name).to_owned())),
    }
}

fn put(out: &mut Vec<u8>, value: &impl Encode) {
    bincode::encode_into_std_write(value, out, CONFIG)
        .expect("a Vec takes any bytes and the shapes are closed");
}

fn take<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<(T, usize), Flaw> {
    bincode::borrow_decode_from_slice(bytes, CONFIG).map_err(|error| Flaw::Malformed(error.to_string()))
}
