//! What callers hand in: it waits here until the committer takes it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::id::{Epoch, StreamId};
use crate::journal::{Durable, SubmitError};
use crate::rules::Intent;
use crate::spread::ByStream;

pub(super) type Answer = oneshot::Sender<Result<Durable, SubmitError>>;

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Some,
    Nothing,
    /// There is nothing, and there will be no more.
    Closing,
}

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
    /// Bytes that were sealed: whoever hands in the next frame frees them. An allocator is slow at what one thread
    /// allocates and another one frees, and the committer would do it while everybody waits for it.
    spent: Vec<Vec<u8>>,
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
        let spent = state.spent.pop();
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        drop(spent);
        if sleeps {
            self.arrived.notify_one();
        }
    }

    /// Moves what waits here to `waiting`, which is empty.
    pub(super) fn take(&self, waiting: &mut VecDeque<(Intent, Answer)>) {
        // Swapped, so that both keep their capacity and pushing rarely allocates.
        std::mem::swap(&mut self.state().items, waiting);
    }

    /// As [`Inbox::take`], once something has come; sleeps until then, for `at_most` so long if told.
    pub(super) fn await_some(
        &self,
        waiting: &mut VecDeque<(Intent, Answer)>,
        at_most: Option<Duration>,
    ) -> Awaited {
        let mut state = self.state();
        loop {
            if !state.items.is_empty() {
                state.sleeps = false;
                std::mem::swap(&mut state.items, waiting);
                return Awaited::Some;
            }
            if state.closing {
                return Awaited::Closing;
            }
            state.sleeps = true;
            let Some(at_most) = at_most else {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(state, at_most);
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() && state.items.is_empty() && !state.closing {
                return Awaited::Nothing;
            }
        }
    }

    /// Leaves what was sealed to those who come next, instead of what nobody came for since the last time.
    pub(super) fn give_back(&self, spent: &mut Vec<Vec<u8>>) {
        std::mem::swap(&mut self.state().spent, spent);
        spent.clear();
    }

    /// How many wait here.
    pub(super) fn len(&self) -> usize {
        self.state().items.len()
    }

    /// Takes no more work; what was taken is still answered.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.refuses.get_or_insert(SubmitError::Closed);
        state.closing = true;
        self.arrived.notify_one();
    }

    /// Takes no more work, because nobody knows what is on disk.
    pub(super) fn refuse(&self, reason: &str) {
        self.state().refuses = Some(SubmitError::Poisoned {
            reason: reason.to_owned(),
        });
        self.poisoned.send_replace(true);
    }

    /// Answers what was not written and never will be, and what came in behind it.
    pub(super) fn turn_away(&self, waiting: VecDeque<(Intent, Answer)>, reason: &str) {
        let late = std::mem::take(&mut self.state().items);
        for (_, answer) in waiting.into_iter().chain(late) {
            let _ = answer.send(Err(SubmitError::Poisoned {
                reason: reason.to_owned(),
            }));
        }
    }

    /// Oldest epoch that may write to a stream. Without a claim, any of this boot: older writers are dead.
    pub(super) fn fence(&self, stream: StreamId) -> Epoch {
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
pub(super) struct Abandoned(pub(super) Arc<Inbox>);

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
