//! Kept folds: when to take one, and which one may be trusted.
//!
//! # What this crate promises
//!
//! - A snapshot is never the truth. Each carries the chain hash of the journal at its seq; whoever wants to start from
//!   one compares that hash with the journal's own, and only an equal one may be used. So a snapshot of another
//!   history (restored, imported, repaired), of another fold version, torn or flipped costs a replay, never a wrong state.
//! - Losing all of them loses nothing. A folder that is missing, damaged, or makes sled panic is moved aside and begun anew.
//! - Nothing here blocks the journal: a snapshot that cannot be kept is counted, reported and forgotten.
//!
//! # How recovery uses it
//!
//! ```
//! use longhaul_journal::{Journal, Limit, MemoryJournal, Seq, StreamId};
//! use longhaul_snapshots::{FoldId, SnapshotStore};
//!
//! # fn main() -> Result<(), longhaul_journal::ReadError> {
//! # let journal = MemoryJournal::new();
//! # let stream = StreamId::named("counter", "local", "a");
//! let store = SnapshotStore::in_memory();
//! let fold = FoldId { kind: "counter", version: 1 };
//! // Newest first; each is checked against the journal before its bytes are decoded.
//! let head = journal.head(stream)?.map_or(Seq::ZERO, |head| head.seq);
//! let start = store.recover(&journal, stream, fold, head)?;
//! let after = start.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
//! let rest = journal.read(stream, after, Limit::default())?;
//! # assert!(start.is_none() && rest.is_empty());
//! # Ok(()) }
//! ```

mod disk;
mod policy;
mod store;

pub use policy::Policy;
pub use store::{Counters, FoldId, MAX_SNAPSHOT, Snapshot, SnapshotStore};
