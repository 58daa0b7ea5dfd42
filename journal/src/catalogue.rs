//! The index that can be thrown away: which streams there are, where their sealed frames lie, what they wait for.
//!
//! It knows sealed segments only, and nothing here is the only copy of anything: a panic inside sled, a value whose checksum
//! fails or a missing folder means that it is moved aside and built again from the segments. A full disk proves nothing
//! against it: it is opened again. What is acknowledged never waits for it, because `sled::flush` does not reach the disk.
//!
//! One sorted map ([`packed`]), keys by prefix:
//!
//! ```text
//! s stream 0                    head of the stream: kind, seq, hash, epoch, time, standing
//! s stream 1 first_seq          where frames lie: base position, then (distance, records) per frame
//! k kind 00 stream              streams by kind
//! o stream                      streams that owe work
//! u time stream                 streams that wait for a time
//! d stream                      streams that lost a frame: last readable seq, kind, reason
//! g stream first_seq            frames over a gap: last seq that stands before it
//! ```
//!
//! Numbers in keys are big endian, so that they sort. Beside the entries: everything below which position is indexed, and the
//! journal's id.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::path::Path;

use crate::codec;
use crate::damage::{Damage, SetAside};
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::record::{Head, Standing};
use crate::segment::JournalId;

mod packed;
mod page;

use packed::{Changes, Packed};
use page::{put_varint, take_varint};

/// Frames in one location value: at most 4,096 * (5 + 2) bytes, under 32 KiB.
const FRAMES_PER_VALUE: usize = 4096;
/// Streams per batch. A batch holds a process-wide lock, and readers must not wait for 100,000 streams.
const STREAMS_PER_BATCH: usize = 256;

/// The catalogue cannot be used as it is. Nothing is lost.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It is no good any more, and is built again.
    Flawed(String),
    /// The disk is full. What it holds may be sound, so it is never moved aside: since sled repeats its first error for
    /// ever, it is dropped, and its folder is opened again once there is room.
    NoRoom(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flawed(reason) | Self::NoRoom(reason) => f.write_str(reason),
        }
    }
}

impl Broken {
    fn by_system(what: &str, error: &io::Error) -> Self {
        let reason = format!("{what}{error}");
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom(reason),
            _ => Self::Flawed(reason),
        }
    }

    /// Whether sled says that somebody has the folder open.
    fn is_held(&self) -> bool {
        matches!(self, Self::Flawed(reason) if reason.contains("could not acquire lock"))
    }
}

/// Where one frame lies, and the seq of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) position: Position,
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
}

/// What one segment adds to one stream.
#[derive(Clone, Debug)]
pub(crate) struct Addition {
    /// What the catalogue says of the stream so far.
    pub(crate) before: Option<Head>,
    pub(crate) head: Head,
    pub(crate) spans: Vec<Span>,
}

/// What one sealed segment adds to the catalogue.
#[derive(Debug, Default)]
pub(crate) struct Additions {
    pub(crate) streams: BTreeMap<StreamId, Addition>,
    pub(crate) damaged: BTreeMap<StreamId, Damage>,
    /// Gaps that streams were continued over, in order.
    pub(crate) gaps: Vec<(StreamId, SetAside)>,
}

/// The index of the sealed segments.
#[derive(Debug)]
pub(crate) struct Catalogue {
    entries: Packed,
}

impl Catalogue {
    /// Opens or creates the catalogue of this journal.
    pub(crate) fn open(folder: &Path, cache_bytes: u64, journal: JournalId) -> Result<Self, Broken> {
        let catalogue = Self {
            entries: Packed::open(folder, cache_bytes)?,
        };
        match catalogue.belong_to(journal) {
            Ok(()) => Ok(catalogue),
            Err(broken) => {
                catalogue.close();
                Err(broken)
            }
        }
    }

    fn belong_to(&self, journal: JournalId) -> Result<(), Broken> {
        match self.entries.meta()? {
            Some(meta) if meta.get(8..) == Some(&identity(journal)[..]) => Ok(()),
            Some(_) => Err(Broken::Flawed(
                "it belongs to another journal, or another version wrote it".into(),
            )),
            None => {
                self.entries.begin()?;
                self.put_meta(Position::default(), journal)
            }
        }
    }

    /// Lets go of the folder. What sled could not write is not written: it is indexed again.
    pub(crate) fn close(self) {
        if let Err(broken) = self.entries.close() {
            tracing::warn!(reason = %broken, "the catalogue did not close in good order");
        }
    }

    /// Every sealed frame below this position is indexed.
    pub(crate) fn indexed_through(&self) -> Result<Position, Broken> {
        let meta = self
            .entries
            .meta()?
            .ok_or_else(|| Broken::Flawed("its first key is gone".into()))?;
        Ok(Position(read_u64(&meta, 0)?))
    }

    /// Adds sealed segments, whose frames end at `through`. Doing it twice changes nothing.
    ///
    /// `indexed_through` moves last, after everything before it was synced, so that it never promises what is not there. It
    /// does not move at all, and `false` is returned, when `goes_on` says no in between: a close must not wait.
    pub(crate) fn absorb(
        &self,
        journal: JournalId,
        additions: &Additions,
        through: Position,
        goes_on: impl Fn() -> bool,
    ) -> Result<bool, Broken> {
        let streams: Vec<_> = additions.streams.iter().collect();
        for some in streams.chunks(STREAMS_PER_BATCH) {
            if !goes_on() {
                return Ok(false);
            }
            let mut changes = Changes::new();
            for (stream, addition) in some {
                add(&mut changes, **stream, addition);
            }
            self.entries.apply(&changes)?;
        }
        for (stream, aside) in &additions.gaps {
            self.entries
                .apply(&Changes::from([(key(b'd', *stream, &[]), None)]))?;
            if aside.is_removal() {
                self.forget_below(*stream, aside.first_seq)?;
                continue;
            }
            let key = key(b'g', *stream, &aside.first_seq.0.to_be_bytes());
            let value = aside.resumes_after.0.to_le_bytes().to_vec();
            self.entries.apply(&Changes::from([(key, Some(value))]))?;
        }
        for damage in additions.damaged.values() {
            let mut value = damage.readable_to.0.to_le_bytes().to_vec();
            // Kinds are printable, so that the zero ends them.
            value.extend_from_slice(damage.kind.as_bytes());
            value.push(0);
            value.extend_from_slice(damage.reason.as_bytes());
            let key = key(b'd', damage.stream, &[]);
            self.entries.apply(&Changes::from([(key, Some(value))]))?;
        }
        self.entries.sync()?;
        self.put_meta(through, journal)?;
        Ok(true)
    }

    /// The head of a stream as of the last indexed segment.
    pub(crate) fn head(&self, stream: StreamId) -> Result<Option<Head>, Broken> {
        let value = self.entries.get(&head_key(stream))?;
        value
            .map(|value| codec::decode_head(stream, &value).map_err(|flaw| Broken::Flawed(flaw.to_string())))
            .transpose()
    }

    /// Where the frames lie that hold seqs above `after`, at most about `limit` of them.
    pub(crate) fn spans(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Span>, Broken> {
        let start = spans_key(stream, Seq::ZERO);
        let mut from = spans_key(stream, after.next());
        let end = spans_key(stream, Seq(u64::MAX));
        // The value that holds `after + 1` may begin below it.
        if let Some(key) = self.entries.last_key(&start, &from)? {
            from = key;
        }
        let mut found = Vec::new();
        self.each(&from, Bound::Included(&end), |key, value| {
            let first_seq = Seq(u64::from_be_bytes(tail(key)?));
            for span in decode_spans(value, first_seq)? {
                if span.last_seq > after {
                    found.push(span);
                }
            }
            Ok(found.len() < limit)
        })?;
        found.truncate(limit);
        Ok(found)
    }

    /// Streams of one kind with an id above `after`.
    pub(crate) fn of_kind(
        &self,
        kind: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<StreamId>, Broken> {
        self.streams(kind_key(kind, StreamId::MARKER), after, limit)
    }

    /// Streams that owe work, with an id above `after`.
    pub(crate) fn owed(&self, after: Option<StreamId>, limit: usize) -> Result<Vec<StreamId>, Broken> {
        self.streams(key(b'o', StreamId::MARKER, &[]), after, limit)
    }

    /// Shows the streams that wait for a time from `from_ms` to `until_ms`, the earliest first, until told to stop.
    pub(crate) fn waiting(
        &self,
        from_ms: u64,
        until_ms: u64,
        mut visit: impl FnMut(u64, StreamId) -> bool,
    ) -> Result<(), Broken> {
        let from = until_key(from_ms, StreamId::MARKER);
        let end = until_key(until_ms, StreamId::from_bytes([0xff; 16]));
        self.each(&from, Bound::Included(&end), |key, _| {
            let time: [u8; 8] = key
                .get(1..9)
                .and_then(|time| time.try_into().ok())
                .ok_or_else(odd_key)?;
            Ok(visit(u64::from_be_bytes(time), StreamId::from_bytes(tail(key)?)))
        })
    }

    /// Streams known to have lost a frame.
    pub(crate) fn damaged(&self) -> Result<Vec<Damage>, Broken> {
        let mut damaged = Vec::new();
        self.each(b"d", Bound::Excluded(b"e"), |key, value| {
            let readable_to = Seq(read_u64(value, 0)?);
            let words = String::from_utf8_lossy(&value[8..]).into_owned();
            let (kind, reason) = words.split_once('\0').unwrap_or(("", &words));
            damaged.push(Damage {
                stream: StreamId::from_bytes(tail(key)?),
                kind: kind.to_owned(),
                readable_to,
                reason: reason.to_owned(),
            });
            Ok(true)
        })?;
        Ok(damaged)
    }

    /// Gaps that streams were continued over.
    pub(crate) fn gaps(&self) -> Result<Vec<(StreamId, SetAside)>, Broken> {
        let mut gaps = Vec::new();
        self.each(b"g", Bound::Excluded(b"h"), |key, value| {
            let aside = SetAside {
                resumes_after: Seq(read_u64(value, 0)?),
                first_seq: Seq(u64::from_be_bytes(tail(key)?)),
            };
            gaps.push((stream_of(key)?, aside));
            Ok(true)
        })?;
        Ok(gaps)
    }

    /// The frames that begin from one position on and below another. Looks at every entry: only for tracing damage.
    pub(crate) fn frames_between(
        &self,
        from: Position,
        to: Position,
    ) -> Result<Vec<(StreamId, Span)>, Broken> {
        let mut found = Vec::new();
        self.each(b"s", Bound::Excluded(b"t"), |key, value| {
            if key.get(17) == Some(&SPANS) {
                let stream = stream_of(key)?;
                let first_seq = Seq(u64::from_be_bytes(tail(key)?));
                let spans = decode_spans(value, first_seq)?.into_iter();
                let here = spans.filter(|span| span.position >= from && span.position < to);
                found.extend(here.map(|span| (stream, span)));
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// The stream whose head has this hash. Looks at every head: only for tracing damage.
    pub(crate) fn head_with_hash(&self, hash: ChainHash) -> Result<Option<Head>, Broken> {
        let mut found = None;
        self.each_head(|head| {
            if head.hash == hash {
                found = Some(head);
            }
            found.is_none()
        })?;
        Ok(found)
    }

    /// Shows every head until told to stop.
    pub(crate) fn each_head(&self, mut visit: impl FnMut(Head) -> bool) -> Result<(), Broken> {
        self.each(b"s", Bound::Excluded(b"t"), |key, value| {
            if key.get(17) != Some(&HEAD) {
                return Ok(true);
            }
            let head = codec::decode_head(stream_of(key)?, value)
                .map_err(|flaw| Broken::Flawed(flaw.to_string()))?;
            Ok(visit(head))
        })
    }

    /// Removes what tells where the frames of a removed stream lay, and that it ever had gaps.
    fn forget_below(&self, stream: StreamId, first_seq: Seq) -> Result<(), Broken> {
        let ranges = [
            (spans_key(stream, Seq::ZERO), spans_key(stream, first_seq)),
            (
                key(b'g', stream, &[]),
                key(b'g', stream, &first_seq.0.to_be_bytes()),
            ),
        ];
        for (from, end) in ranges {
            let mut stale = Changes::new();
            self.each(&from, Bound::Excluded(&end), |key, _| {
                stale.insert(key.to_vec(), None);
                Ok(true)
            })?;
            self.entries.apply(&stale)?;
        }
        Ok(())
    }

    fn streams(
        &self,
        prefix: Vec<u8>,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<StreamId>, Broken> {
        let stem = &prefix[..prefix.len() - 16];
        let with = |stream: StreamId| [stem, stream.as_bytes()].concat();
        let from = after.map_or_else(
            || Bound::Included(prefix.clone()),
            |after| Bound::Excluded(with(after)),
        );
        let end = with(StreamId::from_bytes([0xff; 16]));
        let mut found = Vec::new();
        if limit > 0 {
            let from = from.as_ref().map(Vec::as_slice);
            self.entries.each(from, Bound::Included(&end), |key, _| {
                found.push(StreamId::from_bytes(tail(key)?));
                Ok(found.len() < limit)
            })?;
        }
        Ok(found)
    }

    fn each(
        &self,
        from: &[u8],
        to: Bound<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        self.entries.each(Bound::Included(from), to, visit)
    }

    fn put_meta(&self, through: Position, journal: JournalId) -> Result<(), Broken> {
        self.entries
            .put_meta([&through.0.to_le_bytes()[..], &identity(journal)].concat())
    }
}

/// Whose catalogue it is, and of which version: another one is built again.
fn identity(journal: JournalId) -> Vec<u8> {
    [&journal[..], &[3]].concat()
}

/// Adds the entries of one stream, and removes those that they replace.
fn add(changes: &mut Changes, stream: StreamId, addition: &Addition) {
    let Addition { before, head, spans } = addition;
    if let Some(stale) = before
        .as_ref()
        .and_then(|before| standing_key(stream, &before.standing))
    {
        changes.insert(stale, None);
    }
    if let Some(key) = standing_key(stream, &head.standing) {
        changes.insert(key, Some(Vec::new()));
    }
    if let Some(before) = before.as_ref().filter(|before| before.kind != head.kind) {
        changes.insert(kind_key(&before.kind, stream), None);
    }
    if before.as_ref().is_none_or(|before| before.kind != head.kind) {
        changes.insert(kind_key(&head.kind, stream), Some(Vec::new()));
    }
    changes.insert(head_key(stream), Some(codec::encode_head(head)));
    // Within one value each frame begins where the one before ends, which a frame over a gap does not.
    let follows = |one: &Span, next: &Span| next.first_seq == one.last_seq.next();
    for spans in spans
        .chunk_by(follows)
        .flat_map(|run| run.chunks(FRAMES_PER_VALUE))
    {
        changes.insert(spans_key(stream, spans[0].first_seq), Some(encode_spans(spans)));
    }
}

fn key(prefix: u8, stream: StreamId, rest: &[u8]) -> Vec<u8> {
    [&[prefix][..], stream.as_bytes(), rest].concat()
}

/// What follows the stream in the key of its head, and of where its frames lie.
const HEAD: u8 = 0;
const SPANS: u8 = 1;

fn head_key(stream: StreamId) -> Vec<u8> {
    key(b's', stream, &[HEAD])
}

fn spans_key(stream: StreamId, first_seq: Seq) -> Vec<u8> {
    [
        &[b's'][..],
        stream.as_bytes(),
        &[SPANS],
        &first_seq.0.to_be_bytes(),
    ]
    .concat()
}

fn kind_key(kind: &str, stream: StreamId) -> Vec<u8> {
    // Kinds are printable, so that the zero ends them.
    [b"k", kind.as_bytes(), &[0], stream.as_bytes()].concat()
}

fn until_key(time_ms: u64, stream: StreamId) -> Vec<u8> {
    [b"u", &time_ms.to_be_bytes()[..], stream.as_bytes()].concat()
}

fn standing_key(stream: StreamId, standing: &Standing) -> Option<Vec<u8>> {
    match standing {
        Standing::Owed => Some(key(b'o', stream, &[])),
        Standing::Until(time_ms) => Some(until_key(*time_ms, stream)),
        Standing::Done | Standing::Waits(_) => None,
    }
}

/// Base position u64, then per frame two variable-length integers: distance from the frame before, number of records.
fn encode_spans(spans: &[Span]) -> Vec<u8> {
    let mut at = spans[0].position;
    let mut out = at.0.to_le_bytes().to_vec();
    for span in spans {
        put_varint(&mut out, span.position.0 - at.0);
        put_varint(&mut out, span.last_seq.0 + 1 - span.first_seq.0);
        at = span.position;
    }
    out
}

fn decode_spans(value: &[u8], first_seq: Seq) -> Result<Vec<Span>, Broken> {
    let mut at = read_u64(value, 0)?;
    let mut rest = &value[8..];
    let mut next = first_seq.0;
    let mut spans = Vec::with_capacity(rest.len() / 2);
    while !rest.is_empty() {
        at = at.saturating_add(take_varint(&mut rest)?);
        let records = take_varint(&mut rest)?.max(1);
        let last = next.saturating_add(records - 1);
        spans.push(Span {
            position: Position(at),
            first_seq: Seq(next),
            last_seq: Seq(last),
        });
        next = last.saturating_add(1);
    }
    Ok(spans)
}

fn read_u64(bytes: &[u8], at: usize) -> Result<u64, Broken> {
    let field = bytes.get(at..at + 8).and_then(|field| field.try_into().ok());
    field
        .map(u64::from_le_bytes)
        .ok_or_else(|| Broken::Flawed("a value is cut short".into()))
}

fn tail<const N: usize>(key: &[u8]) -> Result<[u8; N], Broken> {
    key.last_chunk::<N>().copied().ok_or_else(odd_key)
}

fn stream_of(key: &[u8]) -> Result<StreamId, Broken> {
    let stream = key.get(1..17).and_then(|stream| stream.try_into().ok());
    stream.map(StreamId::from_bytes).ok_or_else(odd_key)
}

fn odd_key() -> Broken {
    Broken::Flawed("a key has an odd shape".into())
}
