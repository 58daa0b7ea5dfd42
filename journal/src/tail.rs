//! Following a stream, or all of them, without gap or repeat.
//!
//! There is no seam between catching up and live: a tail always *reads*, from the last frame it gave out, and the watch
//! only tells it when reading again is worth while. So nothing can fall between two sources, nothing that is not durable
//! can be seen, and a slow reader costs nobody any memory.
//!
//! ```
//! # use std::sync::Arc;
//! # use longhaul_journal::{Journal, MemoryJournal, Seq, StreamId, tail};
//! # async fn follow() -> Result<(), longhaul_journal::ReadError> {
//! let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
//! let mut tail = tail(journal, StreamId::named("session", "local", "nightly"), Seq::ZERO);
//! let first = tail.next().await?;
//! # Ok(()) }
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use crate::id::{Position, Seq, StreamId};
use crate::journal::{Journal, Limit, ReadError};
use crate::record::Frame;

/// What a tail fetches at once; also the bound of what it holds.
const PAGE: Limit = Limit {
    records: 256,
    bytes: 256 << 10,
};

/// Follows one stream. The first frame may begin at or below `after`, since a frame is never cut.
pub fn tail(journal: Arc<dyn Journal>, stream: StreamId, after: Seq) -> Tail {
    let moved = journal.watch(stream);
    Tail {
        journal,
        stream,
        after,
        page: VecDeque::new(),
        moved,
    }
}

/// Follows all streams, in the order they were written, from behind the frame at `after`.
///
/// To begin with what is written from now on, hand over one less than what [`Journal::watch_all`] shows.
pub fn tail_all(journal: Arc<dyn Journal>, after: Position) -> TailAll {
    let moved = journal.watch_all();
    TailAll {
        journal,
        after,
        page: VecDeque::new(),
        moved,
    }
}

/// Gives out the frames of one stream as they become durable.
#[derive(Debug)]
pub struct Tail {
    journal: Arc<dyn Journal>,
    stream: StreamId,
    after: Seq,
    page: VecDeque<Arc<Frame>>,
    moved: watch::Receiver<Seq>,
}

impl Tail {
    /// The next frame; waits until there is one. Reading a page from the disk blocks for microseconds where the page
    /// cache is warm; run a tail where that is allowed.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] behind the last frame that can be read; calling again says the same.
    ///
    /// # Cancel safety
    /// Dropping the future loses no frame.
    pub async fn next(&mut self) -> Result<Arc<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.page.pop_front() {
                self.after = frame.last_seq();
                return Ok(frame);
            }
            // Marked as seen before the read: a move during or after it wakes the wait below at once.
            self.moved.mark_unchanged();
            self.page = self.journal.read(self.stream, self.after, PAGE)?.into();
            if self.page.is_empty() && self.moved.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The last seq that was given out.
    pub fn passed(&self) -> Seq {
        self.after
    }
}

/// Gives out the frames of all streams as they become durable.
#[derive(Debug)]
pub struct TailAll {
    journal: Arc<dyn Journal>,
    after: Position,
    page: VecDeque<Arc<Frame>>,
    moved: watch::Receiver<Position>,
}

impl TailAll {
    /// The next frame; waits until there is one. See [`Tail::next`].
    ///
    /// # Errors
    /// [`ReadError::Io`] when the segments cannot be read. Damaged frames are passed over; their streams tell.
    ///
    /// # Cancel safety
    /// Dropping the future loses no frame.
    pub async fn next(&mut self) -> Result<Arc<Frame>, ReadError> {
        loop {
            if let Some(frame) = self.page.pop_front() {
                self.after = frame.position;
                return Ok(frame);
            }
            self.moved.mark_unchanged();
            self.page = self.journal.read_all(self.after, PAGE)?.into();
            if self.page.is_empty() && self.moved.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The position of the last frame that was given out.
    pub fn passed(&self) -> Position {
        self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryJournal;
    use crate::{Draft, Level, NewRecord, Standing};

    fn raise(journal: &dyn Journal, stream: StreamId, epoch: crate::Epoch, expected: u64) {
        let record = NewRecord {
            type_name: "counter.raised".into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: b"{}".to_vec(),
        };
        let draft = Draft {
            stream,
            kind: "counter".into(),
            epoch,
            expected: Seq(expected),
            time_ms: 1,
            standing: Standing::Done,
            records: vec![record],
        };
        journal.submit(draft).wait().unwrap();
    }

    /// B-STREAM-2: appends race with the seam between what was there and what comes.
    #[test]
    fn a_tail_has_no_gap_and_no_repeat_while_another_thread_appends() {
        let journal = Arc::new(MemoryJournal::new());
        let stream = StreamId::unnamed();
        let epoch = journal.claim(stream);
        (0..300).for_each(|seq| raise(&*journal, stream, epoch, seq));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (300..900).for_each(|seq| raise(&*journal, stream, epoch, seq)));
            runtime.block_on(async {
                let mut one = tail(Arc::clone(&journal) as Arc<dyn Journal>, stream, Seq(10));
                let mut all = tail_all(Arc::clone(&journal) as Arc<dyn Journal>, Position::default());
                for seq in 11..=900 {
                    assert_eq!(one.next().await.unwrap().first_seq(), Seq(seq));
                }
                for seq in 1..=900 {
                    assert_eq!(all.next().await.unwrap().first_seq(), Seq(seq));
                }
                assert_eq!(one.passed(), Seq(900));
            });
        });
    }
}
