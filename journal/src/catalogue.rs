//! The index that can be thrown away: which streams there are, where their sealed frames lie, what they wait for.
//!
//! The only file of this crate that imports `sled`. It knows sealed segments only, and nothing here is the only copy of
//! anything: a panic inside sled, a value whose checksum fails or a missing folder means that it is moved aside and
//! built again from the segments. A full disk proves nothing against it: it is opened again. What is acknowledged never waits
//! for it, because `sled::flush` does not reach the disk.
//!
//! One tree (a tree per stream costs half a millisecond and never shrinks), keys by prefix:
//!
//! ```text
//! h stream                      head of the stream: kind, seq, hash, epoch, time, standing
//! f stream first_seq            where frames lie: base position, then (distance, records) per frame
//! k kind 00 stream              streams by kind
//! o stream                      streams that owe work
//! u time stream                 streams that wait for a time
//! d stream                      streams that lost a frame: last readable seq, kind, reason
//! g stream first_seq            frames over a gap: last seq that stands before it
//! m                             everything below this position is indexed; and the journal's id
//! ```
//!
//! Numbers in keys are big endian, so that they sort. Each value ends in a crc32c of key and value.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::codec;
use crate::damage::{Damage, SetAside};
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::record::{Head, Standing};
use crate::segment::JournalId;

/// sled keeps values up to this size in its log; larger ones (per leaf) go to files which nothing syncs.
const SEGMENT_SIZE: usize = 8 << 20;
/// Frames in one location value: at most 4,096 * (5 + 2) bytes, under 32 KiB.
const FRAMES_PER_VALUE: usize = 4096;
/// Streams per sled batch. A batch holds a process-wide lock, and readers must not wait for 100,000 keys.
const STREAMS_PER_BATCH: usize = 128;

/// How long to wait for sled to let go of a folder, whose threads may outlive what was dropped by some milliseconds.
const LETTING_GO: Duration = Duration::from_secs(2);

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
    folder: PathBuf,
    db: sled::Db,
}

impl Catalogue {
    /// Opens or creates the catalogue of this journal.
    pub(crate) fn open(folder: &Path, cache_bytes: u64, journal: JournalId) -> Result<Self, Broken> {
        let is_new = !folder.exists();
        let db = open(folder, cache_bytes).inspect_err(|_| {
            // A folder that was begun without room holds nothing, and would be moved aside as damaged at the next attempt.
            if is_new {
                let _ = std::fs::remove_dir_all(folder);
            }
        })?;
        let catalogue = Self {
            folder: folder.to_owned(),
            db,
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
        match self.get(META)? {
            Some(meta) if meta.get(8..) == Some(&identity(journal)[..]) => Ok(()),
            Some(_) => Err(Broken::Flawed(
                "it belongs to another journal, or another version wrote it".into(),
            )),
            None => self.put_meta(Position::default(), journal),
        }
    }

    /// Lets go of the folder. What sled could not write is not written: it is indexed again.
    pub(crate) fn close(self) {
        // sled syncs when it is dropped, and panics where that fails.
        if let Err(broken) = guard(|| {
            drop(self);
            Ok(())
        }) {
            tracing::warn!(reason = %broken, "the catalogue did not close in good order");
        }
    }

    /// Every sealed frame below this position is indexed.
    pub(crate) fn indexed_through(&self) -> Result<Position, Broken> {
        let meta = self
            .get(META)?
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
            let mut batch = sled::Batch::default();
            for (stream, addition) in some {
                add(&mut batch, **stream, addition);
            }
            guard(|| self.db.apply_batch(batch))?;
        }
        for (stream, aside) in &additions.gaps {
            let healed = key(b'd', *stream, &[]);
            guard(|| self.db.remove(healed))?;
            if aside.is_removal() {
                self.forget_below(*stream, aside.first_seq)?;
                continue;
            }
            let key = key(b'g', *stream, &aside.first_seq.0.to_be_bytes());
            let value = aside.resumes_after.0.to_le_bytes().to_vec();
            guard(|| self.db.insert(&key, summed(&key, value)))?;
        }
        for damage in additions.damaged.values() {
            let mut value = damage.readable_to.0.to_le_bytes().to_vec();
            // Kinds are printable, so that the zero ends them.
            value.extend_from_slice(damage.kind.as_bytes());
            value.push(0);
            value.extend_from_slice(damage.reason.as_bytes());
            let key = key(b'd', damage.stream, &[]);
            guard(|| self.db.insert(&key, summed(&key, value)))?;
        }
        self.sync()?;
        self.put_meta(through, journal)?;
        Ok(true)
    }

    /// The head of a stream as of the last indexed segment.
    pub(crate) fn head(&self, stream: StreamId) -> Result<Option<Head>, Broken> {
        let value = self.get(&key(b'h', stream, &[]))?;
        value
            .map(|value| codec::decode_head(stream, &value).map_err(|flaw| Broken::Flawed(flaw.to_string())))
            .transpose()
    }

    /// Where the frames lie that hold seqs above `after`, at most about `limit` of them.
    pub(crate) fn spans(&self, stream: StreamId, after: Seq, limit: usize) -> Result<Vec<Span>, Broken> {
        let mut from = key(b'f', stream, &after.next().0.to_be_bytes());
        let end = key(b'f', stream, &u64::MAX.to_be_bytes());
        // The value that holds `after + 1` may begin below it.
        let start = key(b'f', stream, &0u64.to_be_bytes());
        if let Some((key, _)) = guard(|| self.db.range(start..=from.clone()).next_back().transpose())? {
            from = key.to_vec();
        }
        let mut found = Vec::new();
        self.each(from..=end, |key, value| {
            let first_seq = Seq(u64::from_be_bytes(tail(key)?));
            for span in decode_spans(&value, first_seq)? {
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
        self.each_key(from..=end, |key| {
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
        self.each(vec![b'd']..vec![b'd' + 1], |key, value| {
            let readable_to = Seq(read_u64(&value, 0)?);
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
        self.each(vec![b'g']..vec![b'g' + 1], |key, value| {
            let stream: [u8; 16] = key
                .get(1..17)
                .and_then(|stream| stream.try_into().ok())
                .ok_or_else(odd_key)?;
            let aside = SetAside {
                resumes_after: Seq(read_u64(&value, 0)?),
                first_seq: Seq(u64::from_be_bytes(tail(key)?)),
            };
            gaps.push((StreamId::from_bytes(stream), aside));
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
        self.each(vec![b'f']..vec![b'f' + 1], |key, value| {
            let stream: [u8; 16] = key
                .get(1..17)
                .and_then(|stream| stream.try_into().ok())
                .ok_or_else(odd_key)?;
            let first_seq = Seq(u64::from_be_bytes(tail(key)?));
            let spans = decode_spans(&value, first_seq)?.into_iter();
            let here = spans.filter(|span| span.position >= from && span.position < to);
            found.extend(here.map(|span| (StreamId::from_bytes(stream), span)));
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
        self.each(vec![b'h']..vec![b'h' + 1], |key, value| {
            let stream = StreamId::from_bytes(tail(key)?);
            let head = codec::decode_head(stream, &value).map_err(|flaw| Broken::Flawed(flaw.to_string()))?;
            Ok(visit(head))
        })
    }

    /// Removes what tells where the frames of a removed stream lay, and that it ever had gaps.
    fn forget_below(&self, stream: StreamId, first_seq: Seq) -> Result<(), Broken> {
        for prefix in [b'f', b'g'] {
            let from = key(prefix, stream, &0u64.to_be_bytes());
            let end = key(prefix, stream, &first_seq.0.to_be_bytes());
            let mut stale = Vec::new();
            self.each_key(from..end, |key| {
                stale.push(key.to_vec());
                Ok(true)
            })?;
            for some in stale.chunks(STREAMS_PER_BATCH) {
                let mut batch = sled::Batch::default();
                some.iter().for_each(|key| batch.remove(key.as_slice()));
                guard(|| self.db.apply_batch(batch))?;
            }
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
        let end = Bound::Included(with(StreamId::from_bytes([0xff; 16])));
        let mut found = Vec::new();
        if limit > 0 {
            self.each_key((from, end), |key| {
                found.push(StreamId::from_bytes(tail(key)?));
                Ok(found.len() < limit)
            })?;
        }
        Ok(found)
    }

    fn each(
        &self,
        range: impl std::ops::RangeBounds<Vec<u8>>,
        mut visit: impl FnMut(&[u8], Vec<u8>) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let mut entries = guard(|| Ok(self.db.range(range)))?;
        while let Some((key, value)) = guard(|| entries.next().transpose())? {
            if !visit(&key, checked(&key, &value)?.to_vec())? {
                break;
            }
        }
        Ok(())
    }

    fn each_key(
        &self,
        range: impl std::ops::RangeBounds<Vec<u8>>,
        mut visit: impl FnMut(&[u8]) -> Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let mut entries = guard(|| Ok(self.db.range(range)))?;
        while let Some((key, _)) = guard(|| entries.next().transpose())? {
            if !visit(&key)? {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        let value = guard(|| self.db.get(key))?;
        value
            .map(|value| checked(key, &value).map(<[u8]>::to_vec))
            .transpose()
    }

    fn put_meta(&self, through: Position, journal: JournalId) -> Result<(), Broken> {
        let value = [&through.0.to_le_bytes()[..], &identity(journal)].concat();
        guard(|| self.db.insert(META, summed(META, value)))?;
        Ok(())
    }

    /// Makes what was added survive power loss: sled's own flush only starts the writing.
    fn sync(&self) -> Result<(), Broken> {
        guard(|| self.db.flush())?;
        let data = File::open(self.folder.join("db")).and_then(|file| file.sync_data());
        data.map_err(|error| Broken::by_system("cannot sync it: ", &error))
    }
}

fn open(folder: &Path, cache_bytes: u64) -> Result<sled::Db, Broken> {
    remove_unfinished(folder).map_err(|error| Broken::by_system("cannot clear it: ", &error))?;
    let since = Instant::now();
    loop {
        let opened = guard(|| {
            sled::Config::new()
                .path(folder)
                .segment_size(SEGMENT_SIZE)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(500))
                .open()
        });
        match opened {
            // Nobody else opens it: the lock of the data directory is ours.
            Err(broken) if broken.is_held() && since.elapsed() < LETTING_GO => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Removes what sled was writing at an opening that a full disk or a kill cut short: it would take half a snapshot of its
/// pages for the newest one, and its whole folder for corrupt.
fn remove_unfinished(folder: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "generating")
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

const META: &[u8] = b"m";

/// Whose catalogue it is, and of which version: another one is built again.
fn identity(journal: JournalId) -> Vec<u8> {
    [&journal[..], &[2]].concat()
}

/// Adds the entries of one stream, and removes those that they replace.
fn add(batch: &mut sled::Batch, stream: StreamId, addition: &Addition) {
    let Addition { before, head, spans } = addition;
    if let Some(stale) = before
        .as_ref()
        .and_then(|before| standing_key(stream, &before.standing))
    {
        batch.remove(stale);
    }
    if let Some(key) = standing_key(stream, &head.standing) {
        batch.insert(key, &[]);
    }
    if let Some(before) = before.as_ref().filter(|before| before.kind != head.kind) {
        batch.remove(kind_key(&before.kind, stream));
    }
    if before.as_ref().is_none_or(|before| before.kind != head.kind) {
        batch.insert(kind_key(&head.kind, stream), &[]);
    }
    let head_key = key(b'h', stream, &[]);
    let value = summed(&head_key, codec::encode_head(head));
    batch.insert(head_key, value);
    // Within one value each frame begins where the one before ends, which a frame over a gap does not.
    let follows = |one: &Span, next: &Span| next.first_seq == one.last_seq.next();
    for spans in spans
        .chunk_by(follows)
        .flat_map(|run| run.chunks(FRAMES_PER_VALUE))
    {
        let key = key(b'f', stream, &spans[0].first_seq.0.to_be_bytes());
        let value = summed(&key, encode_spans(spans));
        batch.insert(key, value);
    }
}

/// Runs a call into sled; its errors and its panics both mean that the catalogue is no good any more, but for a full disk.
fn guard<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    // Unwind safety: a catalogue that panicked is thrown away, so nobody sees what it left half done.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(Broken::by_system("", &error)),
        Ok(Err(error)) => Err(Broken::Flawed(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(Broken::Flawed(format!("sled panicked: {text}")))
        }
    }
}

fn key(prefix: u8, stream: StreamId, rest: &[u8]) -> Vec<u8> {
    [&[prefix][..], stream.as_bytes(), rest].concat()
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

fn summed(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_le_bytes());
    value
}

fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Broken> {
    let split = value
        .len()
        .checked_sub(4)
        .ok_or_else(|| Broken::Flawed("a value is cut short".into()))?;
    let (value, crc) = value.split_at(split);
    if crc32c::crc32c_append(crc32c::crc32c(key), value).to_le_bytes() != crc {
        return Err(Broken::Flawed("the checksum of a value does not match".into()));
    }
    Ok(value)
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

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Broken::Flawed("a number does not end".into()))
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

fn odd_key() -> Broken {
    Broken::Flawed("a key has an odd shape".into())
}
