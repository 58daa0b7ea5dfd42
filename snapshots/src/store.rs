//! Putting snapshots away and finding one that may be used.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use longhaul_journal::{ChainHash, Journal, Limit, ReadError, Seq, StreamId, sabotage};

use crate::disk::DiskStore;

/// Largest state that is kept, in bytes. Larger ones are not stored but replayed.
///
/// sled puts a leaf of large values into files that nothing syncs, and rewrites neighbours together, so that values
/// have to stay small; and cutting a state into pieces would make a torn set of pieces possible. A fold over this size
/// is a rare one, and its replay is what every correct run can fall back to anyway.
pub const MAX_SNAPSHOT: usize = 48 << 10;

/// How many snapshots of a stream are kept: one to use, one to fall back to.
pub(crate) const KEPT: usize = 2;

/// Which fold made a state: the same bytes mean something else to another entity or another version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldId<'a> {
    /// The kind of entity.
    pub kind: &'a str,
    /// The version of its fold.
    pub version: u32,
}

impl FoldId<'_> {
    /// The eight bytes that stand for it in a key.
    pub(crate) fn key(&self) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.version.to_be_bytes());
        key[4..].copy_from_slice(&crc32c::crc32c(self.kind.as_bytes()).to_be_bytes());
        key
    }
}

/// A kept fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last seq it has folded.
    pub seq: Seq,
    /// The chain hash of the frame that ends with that seq, as it was when the snapshot was taken.
    pub hash: ChainHash,
    /// The state, encoded by its entity.
    pub state: Vec<u8>,
}

/// What happened to snapshots so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Kept.
    pub put: u64,
    /// Not kept because the state was too large.
    pub too_large: u64,
    /// Used for a recovery.
    pub used: u64,
    /// Found, and dropped because the journal has another history at that seq.
    pub mismatched: u64,
    /// Found, and dropped because the bytes were not what was put.
    pub damaged: u64,
    /// Times the store as a whole was moved aside and begun anew.
    pub renewed: u64,
}

/// Where snapshots are kept. Share it behind an `Arc`.
#[derive(Debug)]
pub struct SnapshotStore {
    backend: Backend,
    counts: Counts,
}

#[derive(Debug)]
enum Backend {
    Disk(DiskStore),
    Memory(Mutex<Memory>),
    Disabled,
}

/// Snapshots by stream and fold, then by seq.
type Memory = BTreeMap<(StreamId, [u8; 8]), BTreeMap<Seq, Snapshot>>;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    put: AtomicU64,
    too_large: AtomicU64,
    used: AtomicU64,
    mismatched: AtomicU64,
    pub(crate) damaged: AtomicU64,
    pub(crate) renewed: AtomicU64,
}

impl SnapshotStore {
    /// Opens the store in a folder of its own, or makes it. One that cannot be used is moved aside and begun anew. If even that
    /// fails, or the disk is full, nothing is kept for now, the log says so, and it is tried again when it is asked for.
    pub fn open(folder: &Path) -> Self {
        let counts = Counts::default();
        let backend = Backend::Disk(DiskStore::open(folder, &counts));
        Self { backend, counts }
    }

    /// A store that lives as long as this process, for tests.
    pub fn in_memory() -> Self {
        Self {
            backend: Backend::Memory(Mutex::default()),
            counts: Counts::default(),
        }
    }

    /// A store that keeps nothing: every recovery replays.
    pub fn disabled() -> Self {
        Self {
            backend: Backend::Disabled,
            counts: Counts::default(),
        }
    }

    /// Keeps a fold, and the one before it; older ones of this stream are let go. Never fails: what cannot be kept is
    /// counted and reported, since a replay does the same.
    ///
    /// `snapshot.seq` must be durable, and the end of a frame whose hash is `snapshot.hash`.
    pub fn put(&self, stream: StreamId, fold: FoldId<'_>, snapshot: &Snapshot) {
        if snapshot.state.len() > MAX_SNAPSHOT {
            add(&self.counts.too_large);
            tracing::debug!(%stream, bytes = snapshot.state.len(), "a fold is too large to be kept");
            return;
        }
        match &self.backend {
            Backend::Disk(store) => {
                if !store.put(stream, fold, snapshot, &self.counts) {
                    return;
                }
            }
            Backend::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = memory.entry((stream, fold.key())).or_default();
                kept.insert(snapshot.seq, snapshot.clone());
                while kept.len() > KEPT {
                    kept.pop_first();
                }
            }
            Backend::Disabled => return,
        }
        add(&self.counts.put);
    }

    /// The newest kept fold at or below `at_most`. It is a candidate: see [`SnapshotStore::recover`].
    pub fn newest(&self, stream: StreamId, fold: FoldId<'_>, at_most: Seq) -> Option<Snapshot> {
        match &self.backend {
            Backend::Disk(store) => store.newest(stream, fold, at_most, &self.counts),
            Backend::Memory(memory) => {
                let memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = memory.get(&(stream, fold.key()))?;
                kept.range(..=at_most)
                    .next_back()
                    .map(|(_, snapshot)| snapshot.clone())
            }
            Backend::Disabled => None,
        }
    }

    /// Drops one kept fold, because its caller found it wrong (it could not be decoded, its fold disagrees).
    pub fn forget(&self, stream: StreamId, fold: FoldId<'_>, seq: Seq) {
        match &self.backend {
            Backend::Disk(store) => store.forget(stream, fold, seq, &self.counts),
            Backend::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(kept) = memory.get_mut(&(stream, fold.key())) {
                    kept.remove(&seq);
                }
            }
            Backend::Disabled => {}
        }
    }

    /// Drops every kept fold of a stream, because it was removed.
    pub fn forget_stream(&self, stream: StreamId) {
        match &self.backend {
            Backend::Disk(store) => store.forget_stream(stream, &self.counts),
            Backend::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                memory.retain(|(kept, _), _| *kept != stream);
            }
            Backend::Disabled => {}
        }
    }

    /// The newest kept fold at or below `head` that belongs to the journal's history; `None` means: replay from the start.
    ///
    /// Each candidate's hash is compared with the hash the journal has at that seq. One that differs is reported and
    /// dropped, and the next older one is tried.
    ///
    /// # Errors
    /// When the journal cannot be read where a candidate lies. A damaged stream is damaged with or without snapshots.
    pub fn recover(
        &self,
        journal: &dyn Journal,
        stream: StreamId,
        fold: FoldId<'_>,
        head: Seq,
    ) -> Result<Option<Snapshot>, ReadError> {
        let mut at_most = head;
        while let Some(snapshot) = self.newest(stream, fold, at_most) {
            if sabotage::is_on("trust-a-stale-snapshot") || Self::holds(journal, stream, &snapshot)? {
                add(&self.counts.used);
                return Ok(Some(snapshot));
            }
            add(&self.counts.mismatched);
            tracing::warn!(%stream, seq = %snapshot.seq, "a snapshot belongs to another history and is dropped");
            self.forget(stream, fold, snapshot.seq);
            let Some(below) = snapshot.seq.0.checked_sub(1) else {
                break;
            };
            at_most = Seq(below);
        }
        Ok(None)
    }

    /// Whether the journal has a frame that ends at the snapshot's seq and has its hash.
    fn holds(journal: &dyn Journal, stream: StreamId, snapshot: &Snapshot) -> Result<bool, ReadError> {
        let Some(before) = snapshot.seq.0.checked_sub(1) else {
            return Ok(false);
        };
        let frames = journal.read(stream, Seq(before), Limit { records: 1, bytes: 1 })?;
        let frame = frames.first();
        Ok(frame.is_some_and(|frame| frame.last_seq() == snapshot.seq && frame.hash == snapshot.hash))
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counters {
            put: read(&self.counts.put),
            too_large: read(&self.counts.too_large),
            used: read(&self.counts.used),
            mismatched: read(&self.counts.mismatched),
            damaged: read(&self.counts.damaged),
            renewed: read(&self.counts.renewed),
        }
    }
}

pub(crate) fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
