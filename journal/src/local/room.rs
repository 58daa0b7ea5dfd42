//! Room to write in: frames overwrite zeros that are on disk already, and the next segment is made ready in the
//! background.
//!
//! Overwriting zeros costs the disk nothing but the data; growing a file costs the file system a commit of its own with
//! the next sync (1.4 to 1.9 times as slow here), and it does so whoever grew it. So the filler never touches the active
//! segment: it prepares a whole next one, at the pace at which the active one is used up. Segments begin small and double,
//! so that a small journal stays small on disk. Where the filler falls behind, the committer makes room in the active
//! segment itself: correct, only slower.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::files::DiskFile;
use crate::id::Position;
use crate::segment::{HEADER_LEN, JournalId, PlaceError, Segments};

/// Zeros written, and synced, at a time: little enough that an append hardly waits behind them.
const STEP: usize = 512 << 10;
/// Name of the next segment until its first position is known.
const NEXT: &str = "next.tmp";

/// The active segment; only the committer writes to it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) first: Position,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Offset below which every byte was written once.
    pub(crate) filled: u64,
}

impl Room {
    /// Makes sure that bytes up to `end` only overwrite. A failure here leaves every frame byte unwritten.
    pub(crate) fn ensure(&mut self, end: u64) -> io::Result<()> {
        while self.filled < end {
            self.extend(STEP)?;
        }
        Ok(())
    }

    /// Fills up to `end` and syncs, before anybody waits for an append.
    pub(crate) fn prepare(&mut self, end: u64) -> io::Result<()> {
        if self.filled >= end {
            return Ok(());
        }
        while self.filled < end {
            self.extend(short_of(end, self.filled))?;
        }
        self.file.sync_data()
    }

    fn extend(&mut self, bytes: usize) -> io::Result<()> {
        self.file.write_zeros(bytes, self.filled)?;
        self.filled += bytes as u64;
        Ok(())
    }
}

/// Prepares the next segment.
#[derive(Debug)]
pub(crate) struct Filler {
    smallest: u64,
    largest: u64,
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wish {
    /// How large the next segment shall be; 0 while it is not wanted yet.
    size: u64,
    /// How much of it may be filled by now.
    pace: u64,
    next: Option<Prepared>,
    /// A step failed (a full disk, most likely): no more until the active segment is used further.
    paused: bool,
    closed: bool,
}

#[derive(Debug)]
struct Prepared {
    path: PathBuf,
    room: Room,
}

impl Filler {
    /// Prepares segments of `smallest` bytes at first and of `largest` in the end; a `smallest` of 0 leaves all the
    /// work to the committer.
    pub(crate) fn new(smallest: u64, largest: u64) -> Self {
        Self {
            smallest,
            largest,
            wish: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Says how far the active segment is used. Preparing the next begins at its half and is to end at three quarters.
    pub(crate) fn used(&self, room: &Room, head: u64) {
        if self.smallest == 0 {
            return;
        }
        let begin = room.filled / 2;
        let span = (room.filled / 4).max(1);
        let Some(beyond) = head.checked_sub(begin) else {
            return;
        };
        let mut wish = self.wish();
        if wish.size == 0 {
            wish.size = (room.filled * 2).max(self.smallest).min(self.largest);
        }
        let share = u128::from(wish.size) * u128::from(beyond.min(span)) / u128::from(span);
        wish.pace = u64::try_from(share).unwrap_or(wish.size).max(1);
        wish.paused = false;
        if wish.wants_step() {
            self.changed.notify_one();
        }
    }

    /// Whether a whole next segment is ready.
    pub(crate) fn is_ready(&self) -> bool {
        let wish = self.wish();
        wish.next
            .as_ref()
            .is_some_and(|next| next.room.filled >= wish.size)
    }

    /// Gives the next segment its place at `first`; one is made on the spot if none is ready.
    pub(crate) fn next(
        &self,
        journal: JournalId,
        segments: &Segments,
        first: Position,
    ) -> Result<Room, PlaceError> {
        let prepared = {
            let mut wish = self.wish();
            (wish.size, wish.pace) = (0, 0);
            wish.next.take()
        };
        let Prepared { path, room } = match prepared {
            Some(prepared) => prepared,
            None => create(segments, "now.tmp")?,
        };
        segments.place(journal, first, &path, &*room.file)?;
        Ok(Room {
            first,
            filled: room.filled.max(HEADER_LEN),
            ..room
        })
    }

    /// Works until [`Filler::close`]; the body of a thread.
    pub(crate) fn run(&self, segments: &Segments) {
        loop {
            let mut wish = self.wish();
            while !wish.closed && !wish.wants_step() {
                wish = self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner);
            }
            if wish.closed {
                return;
            }
            let (size, next) = (wish.size, wish.next.take());
            drop(wish);
            let step = step(segments, next, size);
            let mut wish = self.wish();
            match step {
                // The committer did not wait, and has made a segment of its own meanwhile: this one is for later.
                Ok(next) => wish.next = Some(next),
                Err(error) => {
                    tracing::warn!(%error, "cannot prepare room for the journal");
                    wish.paused = true;
                }
            }
        }
    }

    pub(crate) fn close(&self) {
        self.wish().closed = true;
        self.changed.notify_all();
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    fn wants_step(&self) -> bool {
        let filled = self.next.as_ref().map_or(0, |next| next.room.filled);
        !self.paused && filled < self.pace.min(self.size)
    }
}

fn step(segments: &Segments, next: Option<Prepared>, size: u64) -> io::Result<Prepared> {
    let mut next = match next {
        Some(next) => next,
        None => create(segments, NEXT)?,
    };
    next.room.extend(short_of(size, next.room.filled))?;
    next.room.file.sync_data()?;
    Ok(next)
}

fn create(segments: &Segments, name: &str) -> io::Result<Prepared> {
    let path = segments.folder().join(name);
    let file = segments.disk().create(&path)?;
    Ok(Prepared {
        path,
        room: Room {
            first: Position::default(),
            file,
            filled: 0,
        },
    })
}

/// The zeros of one step towards `end`.
fn short_of(end: u64, filled: u64) -> usize {
    usize::try_from(end.saturating_sub(filled))
        .unwrap_or(usize::MAX)
        .min(STEP)
}
