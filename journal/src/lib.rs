//! Bytes in order: frames, segments, catalogue, group commit, reading, verifying.
//!
//! A journal is a set of streams. Each stream is a chain of frames, each frame the records of one decision. This crate
//! knows nothing of what the records mean.
//!
//! # What it promises
//!
//! - A frame is written whole or not at all, at exactly the seq its writer expected, by the owner of the stream.
//! - A receipt that says `Ok` means that the frame survives `kill -9` and power loss. Nothing that is not durable can
//!   be read, listed, watched, or found due.
//! - "Was not written" and "may have been written" are different answers ([`SubmitError`]).
//! - Within a stream, seqs are dense, time and epochs never fall, and each frame names the hash of the one before it.
//! - Damage to what was acknowledged is found and named, and stops its own stream only.
//!
//! What it does not promise: an order of frames across streams that means anything to their owners, a transaction over
//! two streams, or that a disk keeps what it says it has synced.
//!
//! # What stands where
//!
//! [`Journal`] is what every journal signs; [`LocalJournal`] is the one in a directory, [`MemoryJournal`] the one for tests.
//! [`tail()`] follows streams. [`verify()`] and [`Offline`] look at a directory without opening it, live or dead. The bytes
//! are drawn in `docs/journal-format.md`.
//!
//! ```
//! use longhaul_journal::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let (journal, report) = LocalJournal::open(folder.path(), Options::default())?;
//! assert!(report.created);
//!
//! let stream = StreamId::named("session", "local", "nightly");
//! let durable = journal
//!     .submit(Draft {
//!         stream,
//!         kind: "session".into(),
//!         epoch: journal.claim(stream),
//!         expected: Seq::ZERO,
//!         time_ms: 1_764_000_000_000,
//!         standing: Standing::Owed,
//!         records: vec![NewRecord {
//!             type_name: "session.started".into(),
//!             type_version: 1,
//!             cause: None,
//!             level: Level::User,
//!             payload: br#"{"goal":"tidy up"}"#.to_vec(),
//!         }],
//!     })
//!     .wait()?;
//! assert_eq!(durable.seq, Seq(1));
//! assert_eq!(journal.due(0, None, 10)?[0].stream, stream);
//!
//! let proof = verify(folder.path(), None)?;
//! assert!(proof.is_sound());
//! # Ok(()) }
//! ```

// The vocabulary, and what every journal signs.
mod blobs;
mod id;
mod journal;
mod record;

// The bytes: pure, but for the reading of a file.
mod codec;
mod damage;
mod frame;
mod rules;
mod runs;
mod scan;
mod segment;
mod sequence;

// The journals.
mod catalogue;
mod local;
mod memory;
mod spread;
mod watches;

// Reading beside them.
mod acknowledged;
mod backup;
mod offline;
mod portable;
mod tail;
mod verify;

// The seam to the disk, and what tests put under it and over it.
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod sabotage;

pub use acknowledged::acknowledge_lost;
pub use backup::{BackupReport, backup, backup_on};
pub use blobs::{BlobError, BlobId, BlobRef, Blobs};
pub use codec::Flaw;
pub use damage::{Damage, Lost};
pub use frame::{ENVELOPE_LEN, FORMAT};
pub use id::{ChainHash, Epoch, ParseStreamIdError, Position, Seq, StreamId};
pub use journal::{Draft, Durable, Gap, Journal, Limit, ReadError, Receipt, SubmitError};
pub use local::{
    CatalogueState, Compaction, CompactionReport, CopiedTail, Holder, ImportError, Imported, LocalJournal,
    OpenError, OpenReport, Options, Scrubbed, Swept, TornTail,
};
pub use memory::MemoryJournal;
pub use offline::{Entry, Offline, OfflineError, Stats, directory_format, inert_streams, stats};
pub use portable::{Portable, PortableError, blobs_named_in};
pub use record::{Frame, Head, Level, NewRecord, Record, Standing};
pub use rules::{MAX_FRAME_PAYLOAD, MAX_FRAME_RECORDS, MAX_KIND, MAX_TYPE_NAME, MAX_WAIT_NAME, REMOVED};
pub use tail::{Tail, TailAll, tail, tail_all};
pub use verify::{BadBlob, HeadCheck, Repaired, VerifyReport, verify, verify_blobs};
