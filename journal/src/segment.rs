//! Segment files: how they are named, how they begin, and which one holds a position.
//!
//! A position counts bytes of frames over all segments. The file `<first>.seg` (sixteen hexadecimal digits) holds the
//! frames from position `first` on, the first of them at offset 64; the next file's name says where they end.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::files::{self, Disk, DiskFile};
use crate::id::Position;
use crate::runs::Runs;
use crate::sabotage;

/// Bytes before the first frame of a segment.
pub(crate) const HEADER_BYTES: usize = 64;
/// The same as a distance in a file.
pub(crate) const HEADER_LEN: u64 = HEADER_BYTES as u64;
/// Where a journal begins. Not 0, so that "after position 0" means everything.
pub(crate) const FIRST_POSITION: Position = Position(HEADER_LEN);
/// Version of the header of a dense segment, and of one that was thinned.
const DENSE: u32 = 1;
const THINNED: u32 = 2;
const MAGIC: [u8; 8] = *b"\x8cLHSEG\r\n";
/// Open files kept for reading; a journal may have more segments than a process may have files.
const MAX_OPEN: usize = 128;
/// Runs of thinned segments kept with them, of 24 bytes each.
const MAX_RUNS: usize = 1 << 20;

/// Identifies one journal, so that a segment that strayed in from another is noticed.
pub(crate) type JournalId = [u8; 16];

/// The first 64 bytes of a segment: magic 8, format u32, journal id 16, first position u64, zeros 24, crc32c u32.
pub(crate) fn header(journal: JournalId, first: Position) -> [u8; HEADER_BYTES] {
    header_of(DENSE, journal, first)
}

/// The same for a segment that was thinned: what an older version must not take for a dense one.
pub(crate) fn header_of_thinned(journal: JournalId, first: Position) -> [u8; HEADER_BYTES] {
    header_of(THINNED, journal, first)
}

fn header_of(format: u32, journal: JournalId, first: Position) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&format.to_le_bytes());
    out[12..28].copy_from_slice(&journal);
    out[28..36].copy_from_slice(&first.0.to_le_bytes());
    let crc = crc32c::crc32c(&out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The journal a segment belongs to, or `None` when its header is not sound or belongs to another place.
///
/// A damaged header loses nothing: the file's name says where its frames begin, and each frame says where it lies.
pub(crate) fn parse_header(bytes: &[u8], first: Position) -> Option<JournalId> {
    let bytes: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let mut journal = [0; 16];
    journal.copy_from_slice(&bytes[12..28]);
    let known = [DENSE, THINNED].map(|format| header_of(format, journal, first));
    known.contains(bytes).then_some(journal)
}

/// Whether a segment was thinned, as far as a sound header tells.
fn is_thinned(bytes: &[u8; HEADER_BYTES], first: Position) -> Option<bool> {
    let journal = parse_header(bytes, first)?;
    Some(*bytes == header_of_thinned(journal, first))
}

/// Name of the segment whose first frame lies at `first`.
pub(crate) fn file_name(first: Position) -> String {
    format!("{:016x}.seg", first.0)
}

/// The first position a segment's name states.
pub(crate) fn parse_file_name(name: &str) -> Option<Position> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16)
        .ok()
        .map(Position)
        .filter(|first| file_name(*first) == name)
}

/// Offset in its file of a position in a dense segment that begins at `first`.
pub(crate) fn offset_of(first: Position, position: Position) -> u64 {
    HEADER_LEN + (position.0 - first.0)
}

/// The segments of a journal.
#[derive(Debug)]
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    firsts: RwLock<BTreeSet<Position>>,
    open: Mutex<Open>,
}

/// What is left of a thinned segment; `None` for a dense one.
type Content = Option<Arc<Runs>>;

/// Files kept open for reading.
#[derive(Debug, Default)]
struct Open {
    files: HashMap<Position, (Arc<dyn DiskFile>, Content)>,
    runs: usize,
}

/// One segment with the position where its frames end, if another one follows.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) first: Position,
    pub(crate) end: Option<Position>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) runs: Content,
}

impl Segment {
    /// Where in the file a position lies, and up to which position the bytes follow it there; nothing for a position that
    /// was thinned out.
    pub(crate) fn place(&self, position: Position) -> Option<(u64, Position)> {
        match &self.runs {
            None if position < self.first => None,
            None => Some((
                offset_of(self.first, position),
                self.end.unwrap_or(Position(u64::MAX)),
            )),
            Some(runs) => runs.place(position),
        }
    }

    /// The first position from `position` on that the file holds, as far as the table tells.
    pub(crate) fn held_from(&self, position: Position) -> Option<Position> {
        match &self.runs {
            None => Some(position.max(self.first)),
            Some(runs) => runs.held_from(position),
        }
    }

    pub(crate) fn is_thinned(&self) -> bool {
        self.runs.is_some()
    }
}

/// Why a segment did not get its place.
#[derive(Debug)]
pub(crate) enum PlaceError {
    /// It has no name yet: writing may go on in the segment before it.
    NotPlaced(io::Error),
    /// It may have its name. Whoever opens the journal next takes that name for the end of the segment before it, so
    /// that frames written on there would be lost: nothing more may be written.
    Doubtful(io::Error),
}

impl From<PlaceError> for io::Error {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::NotPlaced(error) | PlaceError::Doubtful(error) => error,
        }
    }
}

impl From<io::Error> for PlaceError {
    fn from(error: io::Error) -> Self {
        Self::NotPlaced(error)
    }
}

impl Segments {
    /// Lists the segments of a folder.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        let names = disk.list(folder)?;
        let firsts = names.iter().filter_map(|name| parse_file_name(name)).collect();
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            firsts: RwLock::new(firsts),
            open: Mutex::default(),
        })
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, first: Position) -> PathBuf {
        self.folder.join(file_name(first))
    }

    pub(crate) fn firsts(&self) -> Vec<Position> {
        self.firsts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    pub(crate) fn last(&self) -> Option<Position> {
        self.firsts
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .copied()
    }

    /// Makes a new segment known, or forgets the file that was open under the name of a replaced one.
    pub(crate) fn add(&self, first: Position) {
        self.firsts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(first);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files
            .remove(&first);
    }

    /// The segment that begins at `first`.
    pub(crate) fn get(&self, first: Position) -> io::Result<Segment> {
        let end = {
            let firsts = self.firsts.read().unwrap_or_else(PoisonError::into_inner);
            firsts
                .range((Bound::Excluded(first), Bound::Unbounded))
                .next()
                .copied()
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((file, runs)) = open.files.get(&first) {
            return Ok(Segment {
                first,
                end,
                file: Arc::clone(file),
                runs: runs.clone(),
            });
        }
        if open.files.len() >= MAX_OPEN || open.runs >= MAX_RUNS {
            *open = Open::default();
        }
        let segment = self.open_file(first, end, &self.path(first))?;
        open.runs += segment.runs.as_ref().map_or(0, |runs| runs.count());
        let kept = (Arc::clone(&segment.file), segment.runs.clone());
        open.files.insert(first, kept);
        Ok(segment)
    }

    /// A segment as it lies in a file, whatever its name.
    pub(crate) fn open_file(
        &self,
        first: Position,
        end: Option<Position>,
        path: &Path,
    ) -> io::Result<Segment> {
        let file = self.disk.open(path, false)?;
        let mut header = [0; HEADER_BYTES];
        files::read_full(&*file, &mut header, 0)?;
        let runs = match is_thinned(&header, first) {
            Some(false) => None,
            told => Runs::read(&*file, first, end, told.is_some())?.map(Arc::new),
        };
        Ok(Segment {
            first,
            end,
            file,
            runs,
        })
    }

    /// The segment that holds a position, if any begins at or below it.
    pub(crate) fn containing(&self, position: Position) -> io::Result<Option<Segment>> {
        let first = {
            let firsts = self.firsts.read().unwrap_or_else(PoisonError::into_inner);
            firsts.range(..=position).next_back().copied()
        };
        first.map(|first| self.get(first)).transpose()
    }

    /// Writes a file that begins at `first` under a temporary name, then gives it its place: whole or not there at all.
    pub(crate) fn place(
        &self,
        journal: JournalId,
        first: Position,
        prepared: &Path,
        file: &dyn DiskFile,
    ) -> Result<(), PlaceError> {
        files::write_all(file, &header(journal, first), 0).map_err(PlaceError::NotPlaced)?;
        file.sync_data().map_err(PlaceError::NotPlaced)?;
        let renamed = self.disk.rename(prepared, &self.path(first));
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PlaceError::NotPlaced(error),
            _ => PlaceError::Doubtful(error),
        })?;
        if !sabotage::is_on("leave-a-segment-unnamed") {
            self.disk.sync_dir(&self.folder).map_err(PlaceError::Doubtful)?;
        }
        self.add(first);
        Ok(())
    }
}
