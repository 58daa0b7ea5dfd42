//! Reading a journal without opening it: no lock, no catalogue, nothing written.
//!
//! What a newer version wrote is not guessed at: the format of the directory is looked at first, as opening does.
//!
//! Segments only ever grow at their end, and every frame carries its own checksums, so that a second process can read
//! those of a live journal up to the position that the last frame says is durable. An idle journal says so of everything
//! within a few milliseconds; one that was killed may hold a little more, which only opening it can vouch for.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::{self, Flaw};
use crate::files::{Disk, RealDisk};
use crate::frame::ENVELOPE_LEN;
use crate::id::{Position, StreamId};
use crate::local::identity::{self, DIRECTORY_FORMAT, Format};
use crate::record::Frame;
use crate::scan::{self, Bad, Found};
use crate::segment::{HEADER_LEN, Segment, Segments, file_name, offset_of};

/// Why a directory could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OfflineError {
    /// There is no journal in it.
    #[error("there is no journal in {folder}")]
    NoJournal {
        /// The directory.
        folder: PathBuf,
    },
    /// A newer version wrote it, and what this one makes of it would be a guess.
    #[error("{folder} has format {found}, this version reads up to {supported}; use the newer version")]
    NewerFormat {
        /// The directory.
        folder: PathBuf,
        /// What it says.
        found: u32,
        /// What this version knows.
        supported: u32,
    },
    /// Its format file says something no version of longhaul has written.
    #[error(
        "{folder} holds a `format` file that is not longhaul's; choose another directory, or restore that file"
    )]
    Unrecognised {
        /// The directory.
        folder: PathBuf,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The segments of a journal as they were when it was looked at.
#[derive(Debug)]
pub struct Offline {
    segments: Segments,
    durable: Position,
}

/// What a walk over the frames meets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Entry {
    /// A whole frame.
    Frame(Arc<Frame>),
    /// Bytes that were durable and are no readable frame any more.
    Damaged {
        /// Where they begin.
        position: Position,
        /// How many there are.
        bytes: u64,
        /// What is wrong with them.
        flaw: Flaw,
    },
}

/// What a journal consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Segment files.
    pub segments: u64,
    /// Durable frames, markers not counted.
    pub frames: u64,
    /// Their records.
    pub records: u64,
    /// The bytes of their payloads.
    pub payload_bytes: u64,
    /// The bytes of frames, with everything around the payloads.
    pub frame_bytes: u64,
    /// What the segment files take, prepared room included.
    pub disk_bytes: u64,
    /// How many streams of each kind.
    pub streams_by_kind: std::collections::BTreeMap<String, u64>,
}

impl Offline {
    /// Looks at the journal in a data directory. It may be in use.
    ///
    /// # Errors
    /// When there is no journal, a newer version wrote it, or it cannot be read.
    pub fn open(folder: &Path) -> Result<Self, OfflineError> {
        Self::open_on(Arc::new(RealDisk), folder)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, OfflineError> {
        format_on(&*disk, folder)?;
        let none = || OfflineError::NoJournal {
            folder: folder.to_owned(),
        };
        let segments = match Segments::open(disk, &folder.join("journal")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
            segments => segments?,
        };
        let last = segments.last().ok_or_else(none)?;
        let durable = scan::durable_below(&segments.get(last)?)?;
        Ok(Self { segments, durable })
    }

    /// Everything below this position is known to be durable, and is what the other methods look at.
    pub fn durable_below(&self) -> Position {
        self.durable
    }

    /// Walks the frames of all streams, or of one, in the order they were written, until `visit` breaks off.
    ///
    /// # Errors
    /// When the segments cannot be read. Damage is no error here but an [`Entry`].
    pub fn walk(
        &self,
        stream: Option<StreamId>,
        mut visit: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> io::Result<()> {
        self.scan(|found| match found {
            Found::Frame { summary, .. } if summary.is_marker() => Ok(ControlFlow::Continue(())),
            Found::Frame { summary, .. } if stream.is_some_and(|wanted| wanted != summary.head.stream) => {
                Ok(ControlFlow::Continue(()))
            }
            Found::Frame { envelope, sealed, .. } => {
                Ok(visit(match codec::open(sealed, envelope.position) {
                    Ok(frame) => Entry::Frame(Arc::new(frame)),
                    Err(flaw) => {
                        let bytes = ENVELOPE_LEN as u64 + sealed.len() as u64;
                        Entry::Damaged {
                            position: envelope.position,
                            bytes,
                            flaw,
                        }
                    }
                }))
            }
            Found::Bad(Bad {
                position, end, flaw, ..
            }) => Ok(visit(Entry::Damaged {
                position,
                bytes: end.0 - position.0,
                flaw,
            })),
        })
    }

    /// Counts what is there.
    ///
    /// # Errors
    /// When the segments cannot be read.
    pub fn stats(&self) -> io::Result<Stats> {
        let mut stats = Stats::default();
        for first in self.segments.firsts() {
            stats.segments += 1;
            stats.disk_bytes += self.segments.get(first)?.file.size()?;
        }
        let mut known = std::collections::HashSet::new();
        self.walk(None, |entry| {
            if let Entry::Frame(frame) = entry {
                stats.frames += 1;
                stats.records += frame.records.len() as u64;
                stats.payload_bytes += frame.payload_bytes() as u64;
                if known.insert(frame.stream) {
                    *stats.streams_by_kind.entry(frame.kind.to_string()).or_default() += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        let first = self.segments.firsts().first().map_or(HEADER_LEN, |first| first.0);
        stats.frame_bytes = self.durable.0 - first;
        Ok(stats)
    }

    /// The segment files by name, and how many bytes of each hold what is durable. A file is taken as it is when it is
    /// looked at, so that it may be thinned meanwhile.
    pub(crate) fn extents(&self) -> io::Result<Vec<(String, Segment, u64)>> {
        let mut extents = Vec::new();
        for first in self.segments.firsts() {
            let segment = self.segments.get(first)?;
            let bytes = match segment.is_thinned() {
                true => segment.file.size()?,
                false => offset_of(first, segment.end.unwrap_or(self.durable).max(first)),
            };
            extents.push((file_name(first), segment, bytes));
        }
        Ok(extents)
    }

    /// Shows everything below the durable position.
    pub(crate) fn scan(
        &self,
        mut visit: impl FnMut(Found<'_>) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        for first in self.segments.firsts() {
            let segment = self.segments.get(first)?;
            if scan::scan_until(&segment, first, self.durable, &mut visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Whole frames and other bytes beyond the durable position: `(frames, bytes that are none)`.
    pub(crate) fn beyond(&self) -> io::Result<(u64, u64)> {
        let Some(last) = self.segments.last() else {
            return Ok((0, 0));
        };
        let segment = self.segments.get(last)?;
        let (mut frames, mut torn) = (0, None);
        scan::scan(&segment, self.durable, |found| {
            match found {
                Found::Frame { summary, .. } => frames += u64::from(!summary.is_marker() && torn.is_none()),
                Found::Bad(bad) => torn = torn.or(Some(bad.position)),
            }
            Ok(())
        })?;
        let torn = torn
            .map(|at| scan::written_to(&segment, at).map(|end| end.0 - at.0))
            .transpose()?;
        Ok((frames, torn.unwrap_or(0)))
    }
}

/// Counts what the journal in a data directory consists of; it may be in use.
///
/// # Errors
/// When there is no journal, a newer version wrote it, or it cannot be read.
pub fn stats(folder: &Path) -> Result<Stats, OfflineError> {
    Ok(Offline::open(folder)?.stats()?)
}

/// Which format a data directory says it has; `None` when it says nothing, as one does that is not there yet.
///
/// # Errors
/// [`OfflineError::NewerFormat`] and [`OfflineError::Unrecognised`], or when it cannot be read.
pub fn directory_format(folder: &Path) -> Result<Option<u32>, OfflineError> {
    format_on(&RealDisk, folder)
}

fn format_on(disk: &dyn Disk, folder: &Path) -> Result<Option<u32>, OfflineError> {
    match identity::read_format(disk, folder)? {
        Format::Version(found) if found > DIRECTORY_FORMAT => Err(OfflineError::NewerFormat {
            folder: folder.to_owned(),
            found,
            supported: DIRECTORY_FORMAT,
        }),
        Format::Version(found) => Ok(Some(found)),
        // It is written before the first segment, but a copy that was made by hand may lack it.
        Format::Absent => Ok(None),
        Format::Unreadable => Err(OfflineError::Unrecognised {
            folder: folder.to_owned(),
        }),
    }
}

/// Streams of a data directory that were imported or restored and not adopted; it may be in use.
///
/// # Errors
/// When the file that says so cannot be read, or is not what was written.
pub fn inert_streams(folder: &Path) -> io::Result<std::collections::BTreeSet<StreamId>> {
    crate::local::inert::read(&RealDisk, folder)
}
