//! What the last process left behind, and where writing goes on: reads what the catalogue does not know, tells damage from
//! a torn tail, and copies what the page cache may only pretend to have.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::catalogue::{Broken, Catalogue, Span};
use crate::codec::Summary;
use crate::damage::{Damage, Lost, SetAside, blame};
use crate::files::{self, DiskFile};
use crate::id::{Position, StreamId};
use crate::local::fresh::Fresh;
use crate::local::index::Shelf;
use crate::local::indexer::IndexError;
use crate::local::open::{CatalogueState, CopiedTail, OpenError, TornTail, doing};
use crate::local::room::Room;
use crate::record::Head;
use crate::rules;
use crate::sabotage;
use crate::scan::{self, Bad, Found};
use crate::segment::{FIRST_POSITION, HEADER_LEN, JournalId, Segment, Segments, offset_of};

/// What reading the segments that are not in the catalogue brought to light.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) fresh: Fresh,
    pub(super) damaged: HashMap<StreamId, Damage>,
    pub(super) gaps: Vec<(StreamId, SetAside)>,
    pub(super) lost: Vec<Lost>,
    pub(super) catalogue: CatalogueState,
    pub(super) frames: u64,
    /// Everything below was known synced by the last process.
    pub(super) durable: Position,
    /// Behind the last frame that is kept.
    pub(super) end: Position,
    /// Frames from `durable` on, markers not counted.
    pub(super) doubtful: u64,
    pub(super) torn: Option<Position>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            fresh: Fresh::default(),
            damaged: HashMap::new(),
            gaps: Vec::new(),
            lost: Vec::new(),
            catalogue: CatalogueState::Created,
            frames: 0,
            durable: FIRST_POSITION,
            end: FIRST_POSITION,
            doubtful: 0,
            torn: None,
        }
    }
}

impl Findings {
    pub(super) fn load(
        &mut self,
        shelf: &Shelf,
        segments: &Segments,
        last: &Segment,
    ) -> Result<(), OpenError> {
        let scanning = doing("read the segments");
        self.durable = scan::durable_below(last).map_err(&scanning)?;
        let catalogue = shelf
            .catalogue
            .as_ref()
            .ok_or_else(|| scanning(io::Error::other("no catalogue")))?;
        self.gaps = catalogue
            .gaps()
            .map_err(|broken| scanning(io::Error::other(broken.to_string())))?;
        let unindexed = segments
            .firsts()
            .into_iter()
            .filter(|first| *first >= shelf.indexed)
            .map(|first| segments.get(first))
            .collect::<io::Result<Vec<_>>>()
            .map_err(&scanning)?;
        self.load_all(catalogue, &unindexed)
            .map_err(|error| scanning(io::Error::other(error.to_string())))
    }

    /// Looked up one by one, in the order in which they come, the streams of a busy journal cost more than reading it. So
    /// where nothing is known to be damaged, they are looked up in the order of the catalogue's keys, when everything was
    /// read; and if it turns out that anything is out of the ordinary, all is begun anew.
    fn load_all(&mut self, catalogue: &Catalogue, unindexed: &[Segment]) -> Result<(), IndexError> {
        if self.damaged.is_empty() && self.lost.is_empty() {
            let gaps = self.gaps.clone();
            let mut firsts = Firsts::Noted(Vec::new());
            for segment in unindexed {
                self.load_segment(catalogue, segment, &mut firsts)?;
            }
            let is_ordinary = self.damaged.is_empty() && self.lost.is_empty();
            if is_ordinary && firsts.follow(catalogue)? {
                return Ok(());
            }
            *self = Self {
                catalogue: std::mem::replace(&mut self.catalogue, CatalogueState::Created),
                durable: self.durable,
                gaps,
                ..Self::default()
            };
        }
        for segment in unindexed {
            self.load_segment(catalogue, segment, &mut Firsts::LookedUp)?;
        }
        Ok(())
    }

    fn load_segment(
        &mut self,
        catalogue: &Catalogue,
        segment: &Segment,
        firsts: &mut Firsts,
    ) -> Result<(), IndexError> {
        let mut bads: Vec<Bad> = Vec::new();
        let end = scan::scan(segment, segment.first, |found| {
            match found {
                _ if self.torn.is_some() => {}
                Found::Bad(bad) if bad.position >= self.durable => self.torn = Some(bad.position),
                Found::Bad(bad) => bads.push(bad),
                Found::Frame { summary, .. } if summary.is_marker() => {}
                Found::Frame {
                    envelope, summary, ..
                } => {
                    self.frames += 1;
                    self.doubtful += u64::from(envelope.position >= self.durable);
                    let stream = summary.head.stream;
                    let aside = SetAside::by(&summary);
                    if self.damaged.contains_key(&stream) && aside.is_none() {
                        return Ok(());
                    }
                    let fresh = self.fresh.head(stream);
                    let settled = match (fresh, &mut *firsts) {
                        (Some(_), _) => None,
                        (None, Firsts::Noted(noted)) => {
                            noted.push(summary.clone());
                            None
                        }
                        (None, Firsts::LookedUp) => catalogue
                            .head(stream)
                            .map_err(|broken| io::Error::other(broken.to_string()))?,
                    };
                    let before = fresh.or(settled.as_ref());
                    let follows = match (before, &*firsts) {
                        (None, Firsts::Noted(_)) => Ok(()),
                        (before, _) => rules::follows(before, &summary),
                    };
                    if let Err(reason) = follows
                        && !is_repeated(settled.as_ref(), &summary)
                    {
                        let damage = Damage::of_break(before, &summary, reason);
                        self.damaged.entry(stream).or_insert(damage);
                        return Ok(());
                    }
                    if let Some(aside) = aside {
                        self.damaged.remove(&stream);
                        self.gaps.push((stream, aside));
                    }
                    let (first_seq, last_seq) = (summary.first_seq, summary.head.seq);
                    self.fresh.push(
                        summary.head,
                        Span {
                            position: envelope.position,
                            first_seq,
                            last_seq,
                        },
                    );
                }
            }
            Ok(())
        })?;
        self.end = self.torn.unwrap_or(end);
        for bad in &bads {
            let blamed = blame(
                bad,
                |stream| self.head(catalogue, stream),
                |hash| match self.fresh.heads().find(|head| head.hash == hash) {
                    Some(head) => Ok(Some(head.clone())),
                    None => catalogue.head_with_hash(hash),
                },
            )?;
            match blamed {
                Some(damage) => drop(self.damaged.entry(damage.stream).or_insert(damage)),
                None => self.lost.push(Lost::new(bad)),
            }
        }
        Ok(())
    }

    fn head(&self, catalogue: &Catalogue, stream: StreamId) -> Result<Option<Head>, Broken> {
        match self.fresh.head(stream) {
            Some(head) => Ok(Some(head.clone())),
            None => catalogue.head(stream),
        }
    }
}

/// The first frames that were found of each stream, and whether they follow what the catalogue knows.
enum Firsts {
    /// Each is compared when it is found.
    LookedUp,
    /// They are compared later.
    Noted(Vec<Summary>),
}

impl Firsts {
    /// Whether each follows what the catalogue knows of its stream.
    fn follow(self, catalogue: &Catalogue) -> Result<bool, Broken> {
        let Self::Noted(mut noted) = self else {
            return Ok(true);
        };
        noted.sort_unstable_by_key(|first| first.head.stream);
        for first in &noted {
            let settled = catalogue.head(first.head.stream)?;
            if rules::follows(settled.as_ref(), first).is_err() && !is_repeated(settled.as_ref(), first) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The catalogue may be ahead of what it says is indexed, when its batches were cut short by a crash.
fn is_repeated(settled: Option<&Head>, frame: &Summary) -> bool {
    settled.is_some_and(|settled| settled.seq >= frame.head.seq)
}

/// Where writing goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) room: Room,
    pub(super) head: Position,
    pub(super) durable: Position,
    pub(super) marked: bool,
    pub(super) torn: Option<TornTail>,
    pub(super) copied: Option<CopiedTail>,
}

impl Tail {
    /// Decides whether the last segment can be written on as it is.
    ///
    /// Frames above `durable` are shown by the page cache, and after a failed sync the page cache shows what is not on
    /// disk and never will be. So they are copied to a new segment and synced there before anything else is
    /// acknowledged; half a frame behind them is left behind with the old one.
    pub(super) fn settle(
        segments: &Segments,
        journal: JournalId,
        last: &Segment,
        found: &Findings,
    ) -> io::Result<Self> {
        let torn = match found.torn {
            Some(position) => Some(TornTail {
                position,
                bytes: scan::written_to(last, position)?.0 - position.0,
            }),
            None => None,
        };
        let believed = sabotage::is_on("believe-the-page-cache");
        // Behind a thinned segment, whose successor somebody removed, a new one begins.
        if torn.is_none() && (found.doubtful == 0 || believed) && !last.is_thinned() {
            let file = segments.disk().open(&segments.path(last.first), true)?;
            let filled = file.size()?.max(HEADER_LEN);
            return Ok(Self {
                room: Room {
                    first: last.first,
                    file,
                    filled,
                },
                head: found.end,
                durable: found.durable,
                marked: found.end > found.durable || found.end == last.first,
                torn: None,
                copied: None,
            });
        }
        let (first, end) = match last.is_thinned() {
            true => (found.end, found.end),
            false => (found.durable, found.end),
        };
        let file = copy(segments, journal, last, first, end)?;
        if first > last.first && !last.is_thinned() {
            // Cosmetic: the name of the new segment already says where this one ends.
            segments
                .disk()
                .open(&segments.path(last.first), true)?
                .set_len(offset_of(last.first, first))?;
        }
        let copied = CopiedTail {
            position: first,
            frames: found.doubtful,
        };
        if let Some(torn) = torn {
            tracing::warn!(position = %torn.position, bytes = torn.bytes, "dropped a torn tail that was never acknowledged");
        }
        Ok(Self {
            room: Room {
                first,
                file,
                filled: offset_of(first, end),
            },
            head: end,
            durable: end,
            marked: false,
            torn,
            copied: (found.doubtful > 0).then_some(copied),
        })
    }
}

/// Copies frames verbatim to a new segment that begins with them.
fn copy(
    segments: &Segments,
    journal: JournalId,
    last: &Segment,
    first: Position,
    end: Position,
) -> io::Result<Arc<dyn DiskFile>> {
    let path = segments.folder().join("copy.tmp");
    let file = segments.disk().create(&path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = first;
    while at < end {
        let want = usize::try_from(end.0 - at.0)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = files::read_full(&*last.file, &mut buffer[..want], offset_of(last.first, at))?;
        if read < want {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        files::write_all(&*file, &buffer[..want], offset_of(first, at))?;
        at = Position(at.0 + want as u64);
    }
    segments.place(journal, first, &path, &*file)?;
    Ok(file)
}
