//! Room to write in: the active segment is zero-filled ahead of its head, and the next one is made ready, in the
//! background.
//!
//! Overwriting zeros costs the disk nothing but the data; growing a file costs the file system a commit of its own with
//! every sync (1.4 to 1.9 times as slow here). The filler works in small steps and syncs each, so that an append never
//! waits behind many megabytes of zeros. Where it falls behind, the committer makes room itself: correct, only slower.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::files::{self, DiskFile};
use crate::id::Position;
use crate::segment::{HEADER_LEN, JournalId, Segments};

/// Zeros written, and synced, at a time.
static ZEROS: [u8; 512 << 10] = [0; 512 << 10];
/// Name of the next segment until its first position is known.
const NEXT: &str = "next.tmp";

/// The active segment.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) first: Position,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Offset below which every byte was written once. Held while zeros are written, so that they never land on frames.
    filled: Mutex<u64>,
}

impl Room {
    pub(crate) fn new(first: Position, file: Arc<dyn DiskFile>, filled: u64) -> Self {
        Self {
            first,
            file,
            filled: Mutex::new(filled),
        }
    }

    /// Makes sure that bytes up to `end` only overwrite. A failure here leaves every frame byte unwritten.
    pub(crate) fn ensure(&self, end: u64) -> io::Result<()> {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        while *filled < end {
            self.step(&mut filled)?;
        }
        Ok(())
    }

    fn filled(&self) -> u64 {
        *self.filled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self) -> io::Result<()> {
        self.step(&mut self.filled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn step(&self, filled: &mut u64) -> io::Result<()> {
        files::write_all(&*self.file, &ZEROS, *filled)?;
        *filled += ZEROS.len() as u64;
        Ok(())
    }
}

/// What the filler shall do, told by the committer.
#[derive(Debug)]
pub(crate) struct Filler {
    ahead: u64,
    segment_bytes: u64,
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wish {
    room: Option<Arc<Room>>,
    head: u64,
    next: Option<(PathBuf, Arc<dyn DiskFile>, u64)>,
    /// A step failed (a full disk, most likely): no more until the head moves.
    paused: bool,
    closed: bool,
}

impl Filler {
    /// Fills `ahead` bytes beyond the head; 0 leaves all the work to the committer.
    pub(crate) fn new(ahead: u64, segment_bytes: u64) -> Self {
        Self {
            ahead,
            segment_bytes,
            wish: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Says how far the active segment is written.
    pub(crate) fn moved(&self, room: &Arc<Room>, head: u64) {
        if self.ahead == 0 {
            return;
        }
        let mut wish = self.wish();
        wish.head = head;
        wish.paused = false;
        if wish.room.as_ref().is_none_or(|known| !Arc::ptr_eq(known, room)) {
            wish.room = Some(Arc::clone(room));
        }
        // Woken at half the distance, so that it works in strides and not at every commit.
        if room.filled() < head + self.ahead / 2 || self.wants_next(&wish) {
            self.changed.notify_one();
        }
    }

    /// Gives the next segment its place at `first`; one is made on the spot if none is ready.
    pub(crate) fn next(&self, journal: JournalId, segments: &Segments, first: Position) -> io::Result<Room> {
        let prepared = self.wish().next.take();
        let (path, file, filled) = match prepared {
            Some(prepared) => prepared,
            None => {
                let path = segments.folder().join("now.tmp");
                let file = segments.disk().create(&path)?;
                (path, file, HEADER_LEN)
            }
        };
        segments.place(journal, first, &path, &*file)?;
        Ok(Room::new(first, file, filled))
    }

    /// Works until [`Filler::close`]; the body of a thread.
    pub(crate) fn run(&self, segments: &Segments) {
        loop {
            let mut wish = self.wish();
            let room = loop {
                if wish.closed {
                    return;
                }
                let short = wish
                    .room
                    .as_ref()
                    .filter(|room| room.filled() < wish.head + self.ahead);
                if let Some(room) = short.filter(|_| !wish.paused) {
                    break Some(Arc::clone(room));
                }
                if self.wants_next(&wish) && !wish.paused {
                    break None;
                }
                wish = self.changed.wait(wish).unwrap_or_else(PoisonError::into_inner);
            };
            drop(wish);
            let done = match room {
                Some(room) => fill(segments, &room),
                None => prepare(segments, self.ahead).map(|next| self.wish().next = Some(next)),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "cannot prepare room for the journal");
                self.wish().paused = true;
            }
        }
    }

    pub(crate) fn close(&self) {
        self.wish().closed = true;
        self.changed.notify_all();
    }

    fn wants_next(&self, wish: &Wish) -> bool {
        wish.next.is_none() && wish.room.is_some() && wish.head + self.ahead * 2 > self.segment_bytes
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fill(segments: &Segments, room: &Room) -> io::Result<()> {
    room.extend()?;
    // Through a file of its own: an error of this sync is still reported to the committer's.
    segments
        .disk()
        .open(&segments.path(room.first), true)?
        .sync_data()
}

fn prepare(segments: &Segments, ahead: u64) -> io::Result<(PathBuf, Arc<dyn DiskFile>, u64)> {
    let path = segments.folder().join(NEXT);
    let file = segments.disk().create(&path)?;
    let room = Room::new(Position::default(), Arc::clone(&file), 0);
    while room.filled() < ahead {
        room.extend()?;
        file.sync_data()?;
    }
    Ok((path, file, room.filled()))
}
