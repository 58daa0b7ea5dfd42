//! A journal in memory: the same rules and the same chain hashes, without a disk.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::blobs::{BlobError, BlobId, BlobRef, Blobs};
use crate::codec;
use crate::frame::ENVELOPE_LEN;
use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};
use crate::journal::{Draft, Durable, Journal, Limit, ReadError, Receipt, SubmitError};
use crate::record::{Frame, Head, Standing};
use crate::rules::Intent;
use crate::watches::Watches;

/// A journal that lives as long as this process, for tests of what stands on a journal.
///
/// It keeps every promise of [`Journal`] except surviving the process: a receipt resolves before `submit` returns.
/// [`MemoryJournal::reopen`] plays a crash and a restart.
#[derive(Clone, Debug)]
pub struct MemoryJournal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    boot: u32,
    state: Mutex<State>,
    watches: Watches,
    blobs: Arc<MemoryBlobs>,
}

#[derive(Clone, Debug, Default)]
struct State {
    streams: BTreeMap<StreamId, Stream>,
    order: Vec<Arc<Frame>>,
    end: Position,
    claims: HashMap<StreamId, Epoch>,
    claimed: u32,
    refuses: Option<SubmitError>,
}

#[derive(Clone, Debug)]
struct Stream {
    head: Head,
    frames: Vec<Arc<Frame>>,
}

impl MemoryJournal {
    /// An empty journal in its first boot generation.
    pub fn new() -> Self {
        // As in the local journal, no frame lies at position 0: "after 0" means everything.
        let state = State {
            end: Position(ENVELOPE_LEN as u64),
            ..State::default()
        };
        Self::with(1, state, Arc::default())
    }

    /// The same content in the next boot generation, as if the process had died and started again.
    ///
    /// Handles to the old one still read; their appends are refused.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let mut old = self.state();
        let state = State {
            claims: HashMap::new(),
            claimed: 0,
            refuses: None,
            ..old.clone()
        };
        old.refuses = Some(SubmitError::Poisoned {
            reason: "it was opened again by a successor".into(),
        });
        Self::with(self.0.boot + 1, state, Arc::clone(&self.0.blobs))
    }

    fn with(boot: u32, state: State, blobs: Arc<MemoryBlobs>) -> Self {
        let watches = Watches::new(state.end);
        Self(Arc::new(Inner {
            boot,
            state: Mutex::new(state),
            watches,
            blobs,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, draft: Draft) -> Result<Durable, SubmitError> {
        let intent = Intent::new(draft)?;
        let mut state = self.state();
        if let Some(refusal) = &state.refuses {
            return Err(refusal.clone());
        }
        let stream = intent.stream;
        let oldest = Epoch::new(self.0.boot, 0);
        let fence = state.claims.get(&stream).copied().unwrap_or(oldest);
        let head = state.streams.get(&stream).map(|entry| &entry.head);
        intent.admit(head, fence)?;
        let previous = head.map_or(ChainHash::ZERO, |head| head.hash);
        let mut sealed = Vec::new();
        let hash = codec::seal(&intent.unsealed, previous, &mut sealed);
        let position = state.end;
        let frame = codec::open(&sealed, position).expect("what was just sealed opens again");
        let head = intent.into_head(hash);
        let seq = head.seq;
        state.end = Position(position.0 + (ENVELOPE_LEN + sealed.len()) as u64);
        state.push(head, Arc::new(frame));
        let end = state.end;
        // Published under the lock, so that watchers see heads in order.
        self.0.watches.publish(std::iter::once((stream, seq)), end);
        Ok(Durable { seq, hash, position })
    }
}

impl State {
    fn push(&mut self, head: Head, frame: Arc<Frame>) {
        self.order.push(Arc::clone(&frame));
        match self.streams.get_mut(&head.stream) {
            Some(entry) => {
                entry.head = head;
                entry.frames.push(frame);
            }
            None => {
                self.streams.insert(
                    head.stream,
                    Stream {
                        head,
                        frames: vec![frame],
                    },
                );
            }
        }
    }

    fn heads(&self, after: Option<StreamId>, limit: usize, wanted: impl Fn(&Head) -> bool) -> Vec<Head> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.streams.range((from, Bound::Unbounded));
        entries
            .map(|(_, entry)| &entry.head)
            .filter(|head| wanted(head))
            .take(limit)
            .cloned()
            .collect()
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal for MemoryJournal {
    fn boot(&self) -> u32 {
        self.0.boot
    }

    fn claim(&self, stream: StreamId) -> Epoch {
        let mut state = self.state();
        state.claimed += 1;
        let epoch = Epoch::new(self.0.boot, state.claimed);
        state.claims.insert(stream, epoch);
        epoch
    }

    fn submit(&self, draft: Draft) -> Receipt {
        let (answer, receipt) = Receipt::pair();
        // A dropped receipt does not withdraw the frame.
        let _ = answer.send(self.append(draft));
        receipt
    }

    fn read(&self, stream: StreamId, after: Seq, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        let state = self.state();
        let Some(entry) = state.streams.get(&stream) else {
            return Ok(Vec::new());
        };
        let from = entry.frames.partition_point(|frame| frame.last_seq() <= after);
        Ok(limit.take(entry.frames[from..].iter().cloned()))
    }

    fn head(&self, stream: StreamId) -> Result<Option<Head>, ReadError> {
        Ok(self.state().streams.get(&stream).map(|entry| entry.head.clone()))
    }

    fn watch(&self, stream: StreamId) -> watch::Receiver<Seq> {
        // The state is locked first here and in `append`, the watches second.
        let state = self.state();
        self.0.watches.stream(stream, || {
            state
                .streams
                .get(&stream)
                .map_or(Seq::ZERO, |entry| entry.head.seq)
        })
    }

    fn read_all(&self, after: Position, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        let state = self.state();
        let from = state.order.partition_point(|frame| frame.position <= after);
        Ok(limit.take(state.order[from..].iter().cloned()))
    }

    fn watch_all(&self) -> watch::Receiver<Position> {
        self.0.watches.all()
    }

    fn list(&self, kind: &str, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        Ok(self.state().heads(after, limit, |head| head.kind == kind))
    }

    fn due(&self, until_ms: u64, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        Ok(self
            .state()
            .heads(after, limit, |head| head.standing.is_due(until_ms)))
    }

    fn next_due(&self, after_ms: u64) -> Result<Option<u64>, ReadError> {
        let state = self.state();
        let times = state
            .streams
            .values()
            .filter_map(|entry| match entry.head.standing {
                Standing::Until(time_ms) if time_ms > after_ms => Some(time_ms),
                _ => None,
            });
        Ok(times.min())
    }

    fn blobs(&self) -> &dyn Blobs {
        &*self.0.blobs
    }

    fn close(&self) {
        let mut state = self.state();
        state.refuses.get_or_insert(SubmitError::Closed);
    }
}

#[derive(Debug, Default)]
struct MemoryBlobs(Mutex<HashMap<BlobId, Vec<u8>>>);

impl Blobs for MemoryBlobs {
    fn put(&self, source: &mut dyn Read) -> Result<BlobRef, BlobError> {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes)?;
        let id = BlobId(Sha256::digest(&bytes).into());
        let blob = BlobRef {
            id,
            bytes: bytes.len() as u64,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, bytes);
        Ok(blob)
    }

    fn get(&self, id: BlobId) -> Result<Vec<u8>, BlobError> {
        let blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.get(&id).cloned().ok_or(BlobError::NotFound(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Level, NewRecord};

    fn draft(stream: StreamId, epoch: Epoch, expected: u64) -> Draft {
        Draft {
            stream,
            kind: "counter".into(),
            epoch,
            expected: Seq(expected),
            time_ms: 1_000,
            standing: Standing::Owed,
            records: vec![NewRecord {
                type_name: "counter.raised".into(),
                type_version: 1,
                cause: None,
                level: Level::User,
                payload: b"{\"by\":1}".to_vec(),
            }],
        }
    }

    #[test]
    fn a_reopened_journal_holds_everything_and_its_predecessor_writes_no_more() {
        let old = MemoryJournal::new();
        let stream = StreamId::named("counter", "local", "a");
        let epoch = old.claim(stream);
        old.submit(draft(stream, epoch, 0)).wait().unwrap();

        let new = old.reopen();
        assert_eq!(new.boot(), old.boot() + 1);
        assert_eq!(new.head(stream).unwrap().unwrap().seq, Seq(1));
        let refused = old.submit(draft(stream, epoch, 1)).wait();
        assert!(
            matches!(refused, Err(SubmitError::Poisoned { .. })),
            "{refused:?}"
        );
        let stale = new.submit(draft(stream, epoch, 1)).wait();
        assert!(matches!(stale, Err(SubmitError::Fenced { .. })), "{stale:?}");
        new.submit(draft(stream, new.claim(stream), 1)).wait().unwrap();
    }
}
