//! Turns sealed segments into entries of the catalogue, and builds the whole of it again when it is lost.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::catalogue::{Addition, Additions, Broken, Catalogue, Span};
use crate::codec::Summary;
use crate::damage::{Damage, Lost, SetAside, blame};
use crate::id::{Position, Seq};
use crate::local::index::{Index, Shelf};
use crate::record::Head;
use crate::rules;
use crate::scan::{self, Bad, Found};
use crate::segment::{JournalId, Segment, Segments};
use crate::spread::ByStream;

/// Segments of so many bytes are indexed together. An entry of the catalogue costs the same however many frames it stands
/// for: where 100,000 streams take turns, one segment after the other is slower than the segments are written.
const GROUP_BYTES: u64 = 512 << 20;

/// How long to wait before a segment that could not be indexed is tried again, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_MOST: Duration = Duration::from_secs(60);

/// How far the indexer steps back: a tenth of what others get on a busy core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// What came of building the catalogue again.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub(crate) moved_to: Option<PathBuf>,
    pub(crate) damaged: Vec<Damage>,
    pub(crate) lost: Vec<Lost>,
}

/// Why a segment could not be indexed.
#[derive(Debug)]
pub(crate) enum IndexError {
    Broken(Broken),
    Io(io::Error),
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(broken) => broken.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<Broken> for IndexError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads sealed segments that follow each other and works out what they add. Every stream's seqs and hashes are checked on
/// the way.
///
/// They are gathered by stream first and compared with the catalogue afterwards, in the order of its keys: looked up in the
/// order of the frames, 100,000 streams cost seconds.
pub(crate) fn additions(
    catalogue: &Catalogue,
    sealed: &[Segment],
) -> Result<(Additions, Vec<Lost>), IndexError> {
    let known_damaged: HashSet<_> = catalogue
        .damaged()?
        .into_iter()
        .map(|damage| damage.stream)
        .collect();
    // Boxed, because the map is half empty, and what is gathered of 100,000 streams is moved twice.
    let mut gathered: ByStream<Box<Gathered>> = ByStream::default();
    let mut bads: Vec<Bad> = Vec::new();
    for segment in sealed {
        scan::scan(segment, segment.first, |found| {
            match found {
                Found::Bad(bad) => bads.push(bad),
                Found::Frame { summary, .. } if summary.is_marker() => {}
                // Only a frame that continues over the gap brings a damaged stream back.
                Found::Frame { summary, .. }
                    if known_damaged.contains(&summary.head.stream)
                        && summary.resumes_after.is_none()
                        && !gathered.contains_key(&summary.head.stream) => {}
                Found::Frame {
                    envelope, summary, ..
                } => match gathered.entry(summary.head.stream) {
                    Entry::Occupied(mut known) => known.get_mut().extend(envelope.position, summary),
                    Entry::Vacant(place) => {
                        place.insert(Box::new(Gathered::new(envelope.position, summary)));
                    }
                },
            }
            Ok(())
        })?;
    }
    // By id from here on: the catalogue's keys are sorted, and so is what is compared with them.
    let mut gathered: Vec<_> = gathered.into_iter().collect();
    gathered.sort_unstable_by_key(|(stream, _)| *stream);
    let mut added = Additions::default();
    for (stream, gathered) in gathered {
        let gathered = *gathered;
        let before = catalogue.head(stream)?;
        // Already indexed, when the batches of this segment were cut short by a crash.
        let repeated = before
            .as_ref()
            .is_some_and(|before| before.seq >= gathered.first.head.seq);
        let gathered = match rules::follows(before.as_ref(), &gathered.first) {
            Err(reason) if !repeated => {
                let kind = gathered.head.kind.to_string();
                // What came before the last gap is of no account if the frame over it follows what is known.
                let Some(gathered) = gathered.behind_gap(before.as_ref()) else {
                    let readable_to = before.map_or(Seq::ZERO, |before| before.seq);
                    added.damaged.insert(
                        stream,
                        Damage {
                            stream,
                            kind,
                            readable_to,
                            reason,
                        },
                    );
                    continue;
                };
                gathered
            }
            _ => gathered,
        };
        if let Some(damage) = gathered.damage {
            added.damaged.insert(stream, *damage);
        }
        added
            .gaps
            .extend(gathered.gaps.iter().map(|aside| (stream, *aside)));
        let Gathered { head, spans, .. } = gathered;
        added.streams.insert(stream, Addition { before, head, spans });
    }
    let lost = attribute(catalogue, &mut added, &bads)?;
    Ok((added, lost))
}

/// The frames of one stream in one segment, as far as they follow each other.
struct Gathered {
    first: Summary,
    head: Head,
    spans: Vec<Span>,
    gaps: Vec<SetAside>,
    /// The last frame over a gap, and which of the spans is its own.
    over_gap: Option<Box<(Summary, usize)>>,
    damage: Option<Box<Damage>>,
}

impl Gathered {
    fn new(position: Position, summary: Summary) -> Self {
        let spans = vec![span(position, &summary)];
        let gaps: Vec<_> = SetAside::by(&summary).into_iter().collect();
        Self {
            head: summary.head.clone(),
            over_gap: (!gaps.is_empty()).then(|| Box::new((summary.clone(), 0))),
            gaps,
            first: summary,
            spans,
            damage: None,
        }
    }

    /// What there is from the last frame over a gap on, if that one follows `before`.
    fn behind_gap(mut self, before: Option<&Head>) -> Option<Self> {
        let (first, at) = *self.over_gap.take()?;
        rules::follows(before, &first).ok()?;
        self.spans.drain(..at);
        self.gaps.retain(|aside| aside.first_seq >= first.first_seq);
        Some(Self { first, ..self })
    }

    fn extend(&mut self, position: Position, summary: Summary) {
        if self.damage.is_some() && summary.resumes_after.is_none() {
            return;
        }
        match rules::follows(Some(&self.head), &summary) {
            Ok(()) => {
                if let Some(aside) = SetAside::by(&summary) {
                    if aside.is_removal() {
                        self.spans.clear();
                    }
                    self.over_gap = Some(Box::new((summary.clone(), self.spans.len())));
                    self.gaps.push(aside);
                    self.damage = None;
                }
                self.spans.push(span(position, &summary));
                self.head = summary.head;
            }
            Err(reason) => {
                let (stream, readable_to) = (self.head.stream, self.head.seq);
                let kind = self.head.kind.to_string();
                self.damage.get_or_insert_with(|| {
                    Box::new(Damage {
                        stream,
                        kind,
                        readable_to,
                        reason,
                    })
                });
            }
        }
    }
}

fn span(position: Position, summary: &Summary) -> Span {
    Span {
        position,
        first_seq: summary.first_seq,
        last_seq: summary.head.seq,
    }
}

/// Finds the streams that lost the frames in bad stretches; what no stream can be blamed for is returned.
fn attribute(catalogue: &Catalogue, added: &mut Additions, bads: &[Bad]) -> Result<Vec<Lost>, Broken> {
    let mut lost = Vec::new();
    for bad in bads {
        let blamed = blame(
            bad,
            |stream| match added.streams.get(&stream) {
                Some(addition) => Ok(Some(addition.head.clone())),
                None => catalogue.head(stream),
            },
            |hash| match added.streams.values().find(|addition| addition.head.hash == hash) {
                Some(addition) => Ok(Some(addition.head.clone())),
                None => catalogue.head_with_hash(hash),
            },
        )?;
        match blamed {
            Some(damage) => drop(added.damaged.entry(damage.stream).or_insert(damage)),
            None => lost.push(Lost::new(bad)),
        }
    }
    Ok(lost)
}

/// The sealed segments from `indexed` on that are indexed together, and where they end; none when none end by `through`.
///
/// A group that was cut short by a crash comes again, perhaps with more segments at its end and never with fewer: so what
/// it wrote the first time is written over, value by value.
pub(crate) fn next_sealed(
    segments: &Segments,
    indexed: Position,
    through: Position,
) -> io::Result<Option<(Vec<Segment>, Position)>> {
    let mut group: Vec<Segment> = Vec::new();
    for first in segments.firsts().into_iter().filter(|first| *first >= indexed) {
        let segment = segments.get(first)?;
        let begin = group.first().map_or(first, |segment| segment.first);
        match segment.end {
            Some(end) if end <= through && (group.is_empty() || end.0 - begin.0 <= GROUP_BYTES) => {
                group.push(segment);
            }
            _ => break,
        }
    }
    let end = group.last().and_then(|segment| segment.end);
    Ok(end.map(|end| (group, end)))
}

/// Moves the broken catalogue aside and builds another from all segments that end at or below `through`.
pub(crate) fn rebuild(
    shelf: &mut Shelf,
    journal: JournalId,
    segments: &Segments,
    through: Position,
    broken: &Broken,
) -> Result<Rebuilt, IndexError> {
    let moved_to = move_aside(&shelf.folder)?;
    tracing::warn!(reason = %broken, moved_to = ?moved_to, "the catalogue is broken and is built again from the segments");
    put_up(shelf, journal, segments, through).map(|rebuilt| Rebuilt { moved_to, ..rebuilt })
}

/// Opens the catalogue that lies there, or begins one, and adds what it lacks of the segments that end at or below `through`.
///
/// One that was dropped because the disk was full may have lost its last steps; one that could not be finished is gone on with.
pub(crate) fn put_up(
    shelf: &mut Shelf,
    journal: JournalId,
    segments: &Segments,
    through: Position,
) -> Result<Rebuilt, IndexError> {
    let catalogue = Catalogue::open(&shelf.folder, shelf.cache_bytes, journal)?;
    let added = catch_up(&catalogue, journal, segments, through);
    match added.and_then(|added| Ok((added, catalogue.indexed_through()?))) {
        Ok((added, indexed)) => {
            // What it knows beyond is fresh still, and is indexed once more.
            shelf.indexed = indexed.min(through);
            shelf.catalogue = Some(catalogue);
            Ok(added)
        }
        Err(error) => {
            catalogue.close();
            Err(error)
        }
    }
}

fn catch_up(
    catalogue: &Catalogue,
    journal: JournalId,
    segments: &Segments,
    through: Position,
) -> Result<Rebuilt, IndexError> {
    let mut rebuilt = Rebuilt {
        moved_to: None,
        damaged: Vec::new(),
        lost: Vec::new(),
    };
    while let Some((sealed, end)) = next_sealed(segments, catalogue.indexed_through()?, through)? {
        let (added, lost) = additions(catalogue, &sealed)?;
        catalogue.absorb(journal, &added, end, || true)?;
        rebuilt
            .damaged
            .retain(|damage| added.gaps.iter().all(|(stream, _)| *stream != damage.stream));
        rebuilt.damaged.extend(added.damaged.into_values());
        rebuilt.lost.extend(lost);
    }
    Ok(rebuilt)
}

/// Gives a broken catalogue another name: it may still tell somebody what went wrong.
fn move_aside(folder: &std::path::Path) -> io::Result<Option<PathBuf>> {
    if !folder.exists() {
        return Ok(None);
    }
    for number in 1u32.. {
        let target = folder.with_extension(format!("broken-{number}"));
        if !target.exists() {
            std::fs::rename(folder, &target)?;
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Indexes sealed segments as they are finished; the body of a thread, which ends when nobody can tell it of any more. What
/// was sealed before the journal was opened is left alone for `at_first`, unless somebody asks for it.
pub(crate) fn run(index: &Index, sealed: &mpsc::Receiver<Position>, at_first: Duration) {
    step_back();
    let (mut told, mut wait) = (sealed.recv_timeout(at_first), None);
    while told != Err(RecvTimeoutError::Disconnected) {
        // Whatever else was sealed meanwhile is settled with it.
        while sealed.try_recv().is_ok() {}
        wait = match index.settle_sealed() {
            Ok(()) => None,
            Err(error) => {
                // Their frames stay fresh, and are found without the catalogue. What was indexed before them is not found
                // while the catalogue cannot be opened: whoever asks for it is told why, and tries to open it again.
                tracing::warn!(%error, "cannot index a sealed segment; it will be tried again");
                // Only a wait that was to no avail makes the next one longer: many segments may be sealed in a second.
                Some(match wait {
                    None => RETRY,
                    Some(wait) if told.is_ok() => wait,
                    Some(wait) => (wait * 2).min(RETRY_AT_MOST),
                })
            }
        };
        told = match wait {
            None => sealed.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => sealed.recv_timeout(wait),
        };
    }
}

/// Lets everybody else go first: appends wait for the committer, and nobody waits for a catalogue.
fn step_back() {
    // Only Linux has a niceness per thread; without it the indexer is merely in the way more often.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::cell::Cell;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::files::RealDisk;
    use crate::{Draft, Journal, Level, LocalJournal, NewRecord, Options, Standing, StreamId};

    const STREAMS: u64 = 600;

    fn stream(number: u64) -> StreamId {
        StreamId::named("task", "local", &number.to_string())
    }

    /// A journal of many small segments in which every stream has moved several times.
    fn journal(folder: &Path) -> Segments {
        let options = Options {
            segment_bytes: 16 << 10,
            fill_ahead: 16 << 10,
            ..Options::default()
        };
        let (journal, _) = LocalJournal::open(folder, options).unwrap();
        for round in 0..4 {
            let receipts: Vec<_> = (0..STREAMS)
                .map(|number| {
                    journal.submit(Draft {
                        stream: stream(number),
                        kind: "task".into(),
                        epoch: journal.claim(stream(number)),
                        expected: Seq(round),
                        time_ms: round,
                        standing: match (number + round) % 3 {
                            0 => Standing::Owed,
                            1 => Standing::Until(round),
                            _ => Standing::Done,
                        },
                        records: vec![NewRecord {
                            type_name: "task.moved".into(),
                            type_version: 1,
                            cause: None,
                            level: Level::User,
                            payload: b"{}".to_vec(),
                        }],
                    })
                })
                .collect();
            for receipt in receipts {
                receipt.wait().unwrap();
            }
        }
        journal.close();
        Segments::open(Arc::new(RealDisk), &folder.join("journal")).unwrap()
    }

    /// Everything that a catalogue can be asked.
    fn content(catalogue: &Catalogue) -> impl PartialEq + std::fmt::Debug + use<> {
        let streams: Vec<_> = (0..STREAMS)
            .map(|number| {
                let spans = catalogue.spans(stream(number), Seq::ZERO, usize::MAX).unwrap();
                (catalogue.head(stream(number)).unwrap(), spans)
            })
            .collect();
        let mut waiting = Vec::new();
        catalogue
            .waiting(0, u64::MAX, |time_ms, stream| {
                waiting.push((time_ms, stream));
                true
            })
            .unwrap();
        let owed = catalogue.owed(None, usize::MAX).unwrap();
        let listed = catalogue.of_kind("task", None, usize::MAX).unwrap();
        let indexed = catalogue.indexed_through().unwrap();
        (streams, waiting, owed, listed, indexed)
    }

    /// A close does not wait for the indexer, and a crash does not ask: whatever got in by then is written over.
    #[test]
    fn indexing_that_is_broken_off_anywhere_and_begun_again_leads_to_the_same_catalogue() {
        let folder = tempfile::tempdir().unwrap();
        let segments = journal(folder.path());
        let index = |name: &str, breaks: &[usize]| {
            let catalogue = Catalogue::open(&folder.path().join(name), 1 << 20, [7; 16]).unwrap();
            let all = Position(u64::MAX);
            let mut groups = 0;
            let mut breaks = breaks.iter();
            while let Some((sealed, end)) =
                next_sealed(&segments, catalogue.indexed_through().unwrap(), all).unwrap()
            {
                assert!(sealed.len() > 2, "several segments go in together");
                let (added, lost) = additions(&catalogue, &sealed).unwrap();
                assert!(lost.is_empty() && added.damaged.is_empty());
                let left = Cell::new(breaks.next().copied().unwrap_or(usize::MAX));
                let goes_on = || {
                    left.set(left.get().saturating_sub(1));
                    left.get() > 0
                };
                let before = catalogue.indexed_through().unwrap();
                let whole = catalogue.absorb([7; 16], &added, end, goes_on).unwrap();
                let after = if whole { end } else { before };
                assert_eq!(
                    catalogue.indexed_through().unwrap(),
                    after,
                    "it promises what is there"
                );
                groups += 1;
            }
            (groups, content(&catalogue))
        };
        let (groups, in_one_go) = index("whole", &[]);
        let (broken_groups, broken_off) = index("broken off", &[1, 2, 3, 2]);
        assert_eq!(broken_groups, groups + 4);
        assert_eq!(broken_off, in_one_go);
    }
}
