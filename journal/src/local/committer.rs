//! The one thread that writes: it takes whatever waits, checks it, writes it in one piece, syncs once, and answers.
//!
//! A batch is what arrived during the sync before it, and what its callers send back at once when they are answered: for
//! those the committer has a few microseconds of patience, or they would split into two batches that take turns, each
//! waiting for the sync of the other. A lone caller meets no timer. Failures are of two kinds. No room could be made: nothing was written, and the next batch tries again. A write or a sync failed: nobody
//! knows what is on disk (the kernel may have dropped the pages and call them clean), so nothing is ever
//! acknowledged again until the journal is opened anew.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::catalogue::Span;
use crate::damage::SetAside;
use crate::files;
use crate::frame;
use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};
use crate::journal::{Durable, SubmitError};
use crate::local::index::Index;
use crate::local::room::{Filler, Room};
use crate::record::Head;
use crate::rules::Intent;
use crate::sabotage;
use crate::segment::{PlaceError, offset_of};
use crate::spread::ByStream;
use crate::watches::Watches;

/// Bytes after which a batch is closed; a sync of this size takes about as long as two empty ones.
const BATCH_BYTES: usize = 1 << 20;

/// Sealed bytes that may wait for the indexer; beyond that the committer waits for it at each new segment, a little.
const UNINDEXED: u64 = 1 << 30;
const INDEXING: Duration = Duration::from_secs(1);

/// Heads remembered from one batch to the next, so that a busy stream is not looked up again in the index.
const TIPS: usize = 1 << 17;

/// How long nothing may arrive before a batch is closed though fewer came than are expected, and how long that may go
/// on altogether. A sync takes 150 us and more; callers that are awake come 1 us after each other.
const QUIET: Duration = Duration::from_micros(10);
const PATIENCE: Duration = Duration::from_micros(100);

/// Room that is not worth staying for, when a whole segment is ready.
const LITTLE_ROOM: u64 = 64 << 10;

type Answer = oneshot::Sender<Result<Durable, SubmitError>>;

/// What callers and the committer share.
#[derive(Debug)]
pub(crate) struct Inbox {
    boot: u32,
    state: Mutex<Waiting>,
    arrived: Condvar,
    claims: Mutex<Claims>,
    /// Whether nothing is acknowledged any more until the journal is opened anew.
    poisoned: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<(Intent, Answer)>,
    /// Whether the committer sleeps until something arrives: waking it costs a system call, which nobody makes for nothing.
    sleeps: bool,
    /// Set once no more work is taken.
    refuses: Option<SubmitError>,
    closing: bool,
}

#[derive(Debug, Default)]
struct Claims {
    count: u32,
    by_stream: ByStream<Epoch>,
}

impl Inbox {
    pub(crate) fn new(boot: u32) -> Self {
        Self {
            boot,
            state: Mutex::default(),
            arrived: Condvar::new(),
            claims: Mutex::default(),
            poisoned: watch::Sender::new(false),
        }
    }

    pub(crate) fn poisoned(&self) -> watch::Receiver<bool> {
        self.poisoned.subscribe()
    }

    pub(crate) fn boot(&self) -> u32 {
        self.boot
    }

    pub(crate) fn claim(&self, stream: StreamId) -> Epoch {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.count += 1;
        let known = claims.by_stream.get(&stream).copied().unwrap_or_default();
        let epoch = Epoch::new(self.boot, claims.count).max(Epoch(known.0 + 1));
        claims.by_stream.insert(stream, epoch);
        epoch
    }

    /// Later claims of a stream come after this epoch: it was written elsewhere, in more boots than this journal had.
    pub(crate) fn claims_follow(&self, stream: StreamId, epoch: Epoch) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let known = claims.by_stream.entry(stream).or_default();
        *known = epoch.max(*known);
    }

    pub(crate) fn push(&self, intent: Intent, answer: Answer) {
        let mut state = self.state();
        if let Some(refusal) = &state.refuses {
            // A dropped receipt does not want to know.
            let _ = answer.send(Err(refusal.clone()));
            return;
        }
        state.items.push_back((intent, answer));
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        if sleeps {
            self.arrived.notify_one();
        }
    }

    /// Takes no more work; what was taken is still answered.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.refuses.get_or_insert(SubmitError::Closed);
        state.closing = true;
        self.arrived.notify_one();
    }

    /// Takes no more work, because nobody knows what is on disk.
    fn refuse(&self, reason: &str) {
        self.state().refuses = Some(SubmitError::Poisoned {
            reason: reason.to_owned(),
        });
        self.poisoned.send_replace(true);
    }

    /// Answers what was not written and never will be, and what came in behind it.
    fn turn_away(&self, waiting: VecDeque<(Intent, Answer)>, reason: &str) {
        let late = std::mem::take(&mut self.state().items);
        for (_, answer) in waiting.into_iter().chain(late) {
            let _ = answer.send(Err(SubmitError::Poisoned {
                reason: reason.to_owned(),
            }));
        }
    }

    /// Oldest epoch that may write to a stream. Without a claim, any of this boot: older writers are dead.
    fn fence(&self, stream: StreamId) -> Epoch {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims
            .by_stream
            .get(&stream)
            .copied()
            .unwrap_or(Epoch::new(self.boot, 0))
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the committer while it works: if it panics, nobody waits for it for ever.
///
/// Whatever it had taken is dropped with it, which says that the outcome is unknown. What still waits in the inbox was not
/// written, and is refused like whatever comes later.
struct Abandoned(Arc<Inbox>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let reason = "the thread that writes the journal panicked";
        tracing::error!("{reason}; it must be opened again");
        self.0.refuse(reason);
        self.0.turn_away(VecDeque::new(), reason);
    }
}

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

/// A batch on its way to the disk.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Every item in the order of submission, refused or not, so that answers keep that order.
    answers: Vec<(StreamId, Answer, Result<Durable, SubmitError>)>,
    frames: Vec<(Head, Span)>,
    gaps: Vec<(StreamId, SetAside)>,
    moved: Vec<(StreamId, Seq)>,
    /// Where streams stand after this batch, or stood after one before it.
    tips: ByStream<Head>,
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
        let inbox = Arc::clone(&self.inbox);
        let mut state = inbox.state();
        loop {
            if !state.items.is_empty() {
                state.sleeps = false;
                // Swapped, so that both keep their capacity and pushing rarely allocates.
                std::mem::swap(&mut state.items, waiting);
                return true;
            }
            if state.closing {
                drop(state);
                self.mark();
                return false;
            }
            state.sleeps = true;
            if self.marked {
                state = inbox.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, waited) = inbox
                .arrived
                .wait_timeout(state, self.marker_after)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() && state.items.is_empty() && !state.closing {
                drop(state);
                self.mark();
                state = inbox.state();
            }
        }
    }

    /// Commits the first part of what waits. An error means that a write or a sync failed.
    fn commit(&mut self, waiting: &mut VecDeque<(Intent, Answer)>, batch: &mut Batch) -> Result<(), String> {
        batch.clear();
        let mut unprepared = self.roll_if_full()?;
        let mut patience = Patience::new(self.expected);
        while batch.bytes.len() < BATCH_BYTES {
            // What arrived while the first ones were sealed goes with them: it would wait for the whole next sync.
            if waiting.is_empty() {
                std::mem::swap(&mut self.inbox.state().items, waiting);
            }
            let Some((intent, answer)) = waiting.pop_front() else {
                if patience.lasts(batch.answers.len(), Instant::now) {
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
            batch.answers.push((stream, answer, verdict));
        }
        if !batch.bytes.is_empty() {
            let offset = offset_of(self.room.first, self.head);
            unprepared = self.room.ensure(offset + batch.bytes.len() as u64).err();
            if let Some(error) = &unprepared {
                batch.fail(&not_written(error), &not_written(error));
            } else if let Err(error) = self.write(&batch.bytes, offset) {
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
        self.expected = batch.answers.len() + waiting.len() + self.inbox.state().items.len();
        batch.answer();
        // Nobody who was answered waits for this.
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
        let position = Position(self.head.0 + batch.bytes.len() as u64);
        let hash = frame::write(&intent, previous, position, self.durable, &mut batch.bytes);
        let span = Span {
            position,
            first_seq: intent.expected.next(),
            last_seq: intent.last_seq(),
        };
        if let Some(gap) = intent.over_gap {
            let aside = SetAside {
                resumes_after: gap.resumes_after,
                first_seq: span.first_seq,
            };
            batch.gaps.push((stream, aside));
        }
        let head = intent.into_head(hash);
        batch.moved.push((stream, head.seq));
        batch.tips.insert(stream, head.clone());
        batch.frames.push((head, span));
        Ok(Durable {
            seq: span.last_seq,
            hash,
            position,
        })
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        files::write_all(&*self.room.file, bytes, offset)?;
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
        self.index.publish(batch.frames.drain(..), self.durable);
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

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.answers.clear();
        self.frames.clear();
        self.gaps.clear();
        self.moved.clear();
        if self.tips.len() > TIPS {
            self.tips.clear();
        }
    }

    /// Takes back every acceptance. A conflict with a frame that is taken back was no conflict.
    fn fail(&mut self, accepted: &SubmitError, refused: &SubmitError) {
        let taken_back: HashSet<StreamId> = self.moved.iter().map(|(stream, _)| *stream).collect();
        self.tips.clear();
        for (stream, _, verdict) in &mut self.answers {
            match verdict {
                Ok(_) => *verdict = Err(accepted.clone()),
                Err(SubmitError::Conflict { .. }) if taken_back.contains(stream) => {
                    *verdict = Err(refused.clone());
                }
                Err(_) => {}
            }
        }
    }

    fn answer(&mut self) {
        for (_, answer, verdict) in self.answers.drain(..) {
            // A dropped receipt does not withdraw the frame.
            let _ = answer.send(verdict);
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
