//! Turns sealed segments into entries of the catalogue, and builds the whole of it again when it is lost.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;

use crate::catalogue::{Addition, Additions, Broken, Catalogue, Span};
use crate::codec::Summary;
use crate::damage::{Damage, Lost, SetAside, blame};
use crate::id::{Position, Seq, StreamId};
use crate::local::index::{Index, Shelf};
use crate::record::Head;
use crate::rules;
use crate::scan::{self, Bad, Found};
use crate::segment::{JournalId, Segment, Segments};

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

/// Reads a sealed segment and works out what it adds. Every stream's seqs and hashes are checked on the way.
///
/// The segment is gathered by stream first and compared with the catalogue afterwards, in the order of its keys: looked
/// up in the order of the frames, 100,000 streams cost seconds.
pub(crate) fn additions(
    catalogue: &Catalogue,
    segment: &Segment,
) -> Result<(Additions, Vec<Lost>), IndexError> {
    let known_damaged: HashSet<_> = catalogue
        .damaged()?
        .into_iter()
        .map(|damage| damage.stream)
        .collect();
    let mut gathered: BTreeMap<StreamId, Gathered> = BTreeMap::new();
    let mut bads: Vec<Bad> = Vec::new();
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
                Entry::Vacant(place) => drop(place.insert(Gathered::new(envelope.position, summary))),
            },
        }
        Ok(())
    })?;
    let mut added = Additions::default();
    for (stream, gathered) in gathered {
        let before = catalogue.head(stream)?;
        // Already indexed, when the batches of this segment were cut short by a crash.
        let repeated = before
            .as_ref()
            .is_some_and(|before| before.seq >= gathered.first.head.seq);
        if !repeated && let Err(reason) = rules::follows(before.as_ref(), &gathered.first) {
            let readable_to = before.map_or(Seq::ZERO, |before| before.seq);
            let kind = gathered.head.kind.to_string();
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
        }
        if let Some(damage) = gathered.damage {
            added.damaged.insert(stream, damage);
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
    damage: Option<Damage>,
}

impl Gathered {
    fn new(position: Position, summary: Summary) -> Self {
        let spans = vec![span(position, &summary)];
        Self {
            head: summary.head.clone(),
            gaps: SetAside::by(&summary).into_iter().collect(),
            first: summary,
            spans,
            damage: None,
        }
    }

    fn extend(&mut self, position: Position, summary: Summary) {
        if self.damage.is_some() && summary.resumes_after.is_none() {
            return;
        }
        match rules::follows(Some(&self.head), &summary) {
            Ok(()) => {
                self.spans.push(span(position, &summary));
                if let Some(aside) = SetAside::by(&summary) {
                    self.gaps.push(aside);
                    self.damage = None;
                }
                self.head = summary.head;
            }
            Err(reason) => {
                let (stream, readable_to) = (self.head.stream, self.head.seq);
                self.damage.get_or_insert(Damage {
                    stream,
                    kind: self.head.kind.to_string(),
                    readable_to,
                    reason,
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
    let catalogue = Catalogue::open(&shelf.folder, shelf.cache_bytes, journal)?;
    let mut rebuilt = Rebuilt {
        moved_to,
        damaged: Vec::new(),
        lost: Vec::new(),
    };
    for first in segments.firsts() {
        let segment = segments.get(first)?;
        let Some(end) = segment.end.filter(|end| *end <= through) else {
            break;
        };
        let (added, lost) = additions(&catalogue, &segment)?;
        catalogue.absorb(journal, &added, end)?;
        rebuilt
            .damaged
            .retain(|damage| added.gaps.iter().all(|(stream, _)| *stream != damage.stream));
        rebuilt.damaged.extend(added.damaged.into_values());
        rebuilt.lost.extend(lost);
    }
    shelf.indexed = catalogue.indexed_through()?;
    shelf.catalogue = Some(catalogue);
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

/// Indexes sealed segments as they are finished; the body of a thread, which ends when the committer does.
pub(crate) fn run(index: &Index, sealed: &mpsc::Receiver<Position>) {
    while sealed.recv().is_ok() {
        if let Err(error) = index.settle_sealed() {
            // Their frames stay fresh, and are found all the same; the next sealed segment tries again.
            tracing::warn!(%error, "cannot index a sealed segment");
        }
    }
}
