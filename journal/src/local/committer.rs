//! The one thread that writes: it takes whatever waits, checks it, writes it in one piece, syncs once, and answers.
//!
//! A batch is what arrived during the sync before it, and what its callers send back at once when they are answered: for
//! those the committer has a few microseconds of patience, or they would split into two batches that take turns, each
//! waiting for the sync of the other. A lone caller meets no timer. Failures are of two kinds. No room could be made: nothing was written, and the next batch tries again. A write or a sync failed: nobody
//! knows what is on disk (the kernel may have dropped the pages and call them clean), so nothing is ever
//! acknowledged again until the journal is opened anew.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::files;
use crate::frame;
use crate::id::{ChainHash, Position};
use crate::journal::{Durable, SubmitError};
use crate::local::batch::Batch;
use crate::local::inbox::{Abandoned, Answer, Awaited, Inbox};
use crate::local::index::Index;
use crate::local::room::{Filler, Room};
use crate::rules::Intent;
use crate::sabotage;
use crate::segment::{PlaceError, offset_of};
use crate::watches::Watches;

/// Bytes after which a batch is closed; a sync of this size takes about as long as two empty ones.
const BATCH_BYTES: usize = 1 << 20;

/// Sealed bytes that may wait for the indexer; beyond that the committer waits for it at each new segment, a little.
const UNINDEXED: u64 = 1 << 30;
const INDEXING: Duration = Duration::from_secs(1);

/// How long nothing may arrive before a batch is closed though fewer came than are expected, and how long that may go
/// on altogether. A sync takes 150 us and more; callers that are awake come 1 us after each other.
const QUIET: Duration = Duration::from_micros(10);
const PATIENCE: Duration = Duration::from_micros(100);

/// Room that is not worth staying for, when a whole segment is ready.
const LITTLE_ROOM: u64 = 64 << 10;

/// The writing end of a journal; owned by its thread.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) index: Arc<Index>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) filler: Arc<Filler>,
    /// Told the end of each segment that is finished.
    pub(crate) sealed: mpsc::Sender<Position>,
    pub(crate) room: Room,
    /// Where the next frame goes.
    pub(crate) head: Position,
    /// Below this position everything is on disk.
    pub(crate) durable: Position,
    /// Whether a frame already tells readers without a lock that all of it is durable.
    pub(crate) marked: bool,
    /// How many appends are likely to come: those that were answered last, and those that waited then.
    pub(crate) expected: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) marker_after: Duration,
}

/// Waits for the callers that were answered last, as long as they keep coming.
#[derive(Debug)]
struct Patience {
    expected: usize,
    arrived: usize,
    /// When the first wait began, and when somebody came last; `None` before the first wait, which reads no clock.
    since: Option<(Instant, Instant)>,
}

impl Patience {
    fn new(expected: usize) -> Self {
        Self {
            expected,
            arrived: 0,
            since: None,
        }
    }

    /// Whether to look once more, now that nobody waits and so many have come.
    fn lasts(&mut self, arrived: usize, now: impl FnOnce() -> Instant) -> bool {
        if arrived >= self.expected {
            return false;
        }
        let now = now();
        let (first, last) = self.since.get_or_insert((now, now));
        if arrived > self.arrived {
            self.arrived = arrived;
            *last = now;
        }
        now - *last < QUIET && now - *first < PATIENCE
    }
}

impl Committer {
    /// Works until the inbox closes and everything is answered; the body of a thread.
    pub(crate) fn run(mut self) {
        // Declared first, so that it goes last: what is taken from the inbox after a panic stays taken.
        let _abandoned = Abandoned(Arc::clone(&self.inbox));
        let mut waiting = VecDeque::new();
        let mut batch = Batch::default();
        loop {
            if waiting.is_empty() && !self.take(&mut waiting) {
                return;
            }
            if let Err(reason) = self.commit(&mut waiting, &mut batch) {
                self.inbox.turn_away(waiting, &reason);
                return;
            }
        }
    }

    /// Waits for work; writes a marker when none comes for a while. `false` when there will be no more.
    fn take(&mut self, waiting: &mut VecDeque<(Intent, Answer)>) -> bool {
        loop {
            let at_most = (!self.marked).then_some(self.marker_after);
            match self.inbox.await_some(waiting, at_most) {
                Awaited::Some => return true,
                Awaited::Nothing => self.mark(),
                Awaited::Closing => {
                    self.mark();
                    return false;
                }
            }
        }
    }

    /// Commits the first part of what waits. An error means that a write or a sync failed.
    fn commit(&mut self, waiting: &mut VecDeque<(Intent, Answer)>, batch: &mut Batch) -> Result<(), String> {
        let mut unprepared = self.roll_if_full()?;
        let mut patience = Patience::new(self.expected);
        while batch.bytes.len() < BATCH_BYTES {
            // What arrived while the first ones were sealed goes with them: it would wait for the whole next sync.
            if waiting.is_empty() {
                self.inbox.take(waiting);
            }
            let Some((intent, answer)) = waiting.pop_front() else {
                if patience.lasts(batch.len(), Instant::now) {
                    std::thread::yield_now();
                    continue;
                }
                break;
            };
            let stream = intent.stream;
            let verdict = match &unprepared {
                Some(error) => Err(not_written(error)),
                None => self.admit(intent, batch),
            };
            batch.will_answer(stream, answer, verdict);
        }
        if !batch.bytes.is_empty() {
            let offset = offset_of(self.room.first, self.head);
            unprepared = self.room.ensure(offset + batch.bytes.len() as u64).err();
            if let Some(error) = &unprepared {
                batch.fail(&not_written(error), &not_written(error));
            } else if let Err(error) = self.write(&mut batch.bytes, offset) {
                let reason = error.to_string();
                tracing::error!(%error, "a write or sync of the journal failed; it must be opened again");
                self.inbox.refuse(&reason);
                let unknown = SubmitError::OutcomeUnknown {
                    reason: reason.clone(),
                };
                batch.fail(
                    &unknown,
                    &SubmitError::Poisoned {
                        reason: reason.clone(),
                    },
                );
                batch.answer();
                return Err(reason);
            } else {
                self.release(batch);
            }
        }
        self.expected = batch.len() + waiting.len() + self.inbox.len();
        batch.answer();
        // Nobody who was answered waits for any of this: they are on their way back meanwhile.
        self.inbox.give_back(&mut batch.spent);
        self.index.sort_in();
        batch.clear();
        self.filler
            .used(&self.room, offset_of(self.room.first, self.head));
        Ok(())
    }

    /// Checks one frame and adds it to the batch.
    fn admit(&self, intent: Intent, batch: &mut Batch) -> Result<Durable, SubmitError> {
        let stream = intent.stream;
        let damage = self.index.damage(stream);
        if let Some(damage) = damage.filter(|_| intent.over_gap.is_none()) {
            let (readable_to, reason) = (damage.readable_to, damage.reason);
            return Err(SubmitError::Quarantined {
                stream,
                readable_to,
                reason,
            });
        }
        let fence = self.inbox.fence(stream);
        let settled;
        let tip = match batch.tips.get(&stream) {
            Some(tip) => Some(tip),
            None => {
                settled = self.index.head(stream).map_err(|error| SubmitError::NotWritten {
                    reason: error.to_string(),
                })?;
                settled.as_ref()
            }
        };
        intent.admit(tip, fence)?;
        let previous = match intent.over_gap {
            Some(gap) => gap.hash,
            None => tip.map_or(ChainHash::ZERO, |tip| tip.hash),
        };
        Ok(batch.seal(intent, previous, self.head, self.durable))
    }

    /// Up to the end of its last page, with the zeros that are on disk there: a page that is written in part is read first
    /// where it is not in memory, and the filler leaves none there.
    fn write(&self, bytes: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let len = bytes.len();
        let end = offset + len as u64;
        let padded = end.next_multiple_of(files::PAGE as u64).min(self.room.filled);
        bytes.resize(
            len + usize::try_from(padded.saturating_sub(end)).expect("less than a page"),
            0,
        );
        let written = files::write_all(&*self.room.file, bytes, offset);
        bytes.truncate(len);
        written?;
        if sabotage::is_on("acknowledge-before-sync") {
            return Ok(());
        }
        self.room.file.sync_data()
    }

    /// The batch is on disk: from here on it can be found, read and watched.
    fn release(&mut self, batch: &mut Batch) {
        self.head = Position(self.head.0 + batch.bytes.len() as u64);
        self.durable = self.head;
        self.marked = false;
        self.index.publish(&mut batch.frames, self.durable);
        for (stream, aside) in batch.gaps.drain(..) {
            self.index.continue_over(stream, aside);
        }
        self.watches.publish(batch.moved.iter().copied(), self.durable);
    }

    /// Goes on to the next segment once this one is long enough. `Some` when that could not be prepared.
    fn roll_if_full(&mut self) -> Result<Option<io::Error>, String> {
        let offset = offset_of(self.room.first, self.head);
        let used_up = offset + LITTLE_ROOM > self.room.filled && self.filler.is_ready();
        if offset < self.segment_bytes && !used_up {
            return Ok(None);
        }
        // A marker may be unsynced still; once the next segment exists, everything below it counts as durable.
        if self.durable < self.head {
            if let Err(error) = self.room.file.sync_data() {
                self.inbox.refuse(&error.to_string());
                return Err(error.to_string());
            }
            self.durable = self.head;
        }
        match self
            .filler
            .next(self.index.journal, &self.index.segments, self.head)
        {
            Ok(room) => {
                self.room = room;
                // The indexer may have ended with its own error; then the segment waits for the next opening.
                let _ = self.sealed.send(self.head);
                // Frames that are not in the catalogue take memory, and time at the next opening.
                let oldest = Position(self.head.0.saturating_sub(UNINDEXED));
                self.index.await_settled(oldest, INDEXING);
                Ok(None)
            }
            Err(PlaceError::NotPlaced(error)) => Ok(Some(error)),
            Err(PlaceError::Doubtful(error)) => {
                tracing::error!(%error, "a new segment may or may not be in its place; the journal must be opened again");
                self.inbox.refuse(&error.to_string());
                Err(error.to_string())
            }
        }
    }

    /// Writes a frame without records, whose envelope tells readers without a lock that all before it is durable.
    ///
    /// It is not synced: if it is lost, they only see less. A failure is no harm either, since the next batch
    /// overwrites it.
    fn mark(&mut self) {
        if self.marked {
            return;
        }
        self.marked = true;
        self.expected = 0;
        self.inbox.give_back(&mut Vec::new());
        let mut bytes = Vec::new();
        frame::write_marker(self.head, &mut bytes);
        let offset = offset_of(self.room.first, self.head);
        let end = offset + bytes.len() as u64;
        let written = self
            .room
            .ensure(end)
            .and_then(|()| files::write_all(&*self.room.file, &bytes, offset));
        match written {
            Ok(()) => self.head = Position(self.head.0 + bytes.len() as u64),
            Err(error) => tracing::warn!(%error, "cannot write a marker"),
        }
    }
}

fn not_written(error: &io::Error) -> SubmitError {
    SubmitError::NotWritten {
        reason: format!("no room for the journal: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_alone_is_not_waited_for() {
        let clock = || unreachable!("a lone caller reads no clock");
        assert!(!Patience::new(0).lasts(1, clock));
        assert!(!Patience::new(1).lasts(1, clock));
    }

    #[test]
    fn those_who_were_answered_are_awaited_while_they_keep_coming() {
        let start = Instant::now();
        let at = |micros| move || start + Duration::from_micros(micros);
        let mut patience = Patience::new(64);
        assert!(patience.lasts(32, at(0)));
        assert!(patience.lasts(33, at(9)));
        assert!(patience.lasts(34, at(18)));
        assert!(patience.lasts(34, at(27)));
        assert!(!patience.lasts(34, at(28)), "nobody came for 10 us");
        assert!(!Patience::new(64).lasts(64, at(0)), "all have come");
    }

    #[test]
    fn patience_ends_though_somebody_always_comes() {
        let start = Instant::now();
        let mut patience = Patience::new(usize::MAX);
        let rounds =
            (0..).take_while(|&round| patience.lasts(round, || start + Duration::from_micros(round as u64)));
        assert_eq!(rounds.count(), 100);
    }
}
