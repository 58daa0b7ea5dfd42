//! Bytes in order: frames, segments, catalogue, group commit, reading, verifying.

mod blobs;
mod catalogue;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
mod damage;
#[cfg(any(test, feature = "faults"))]
pub mod faults;
#[doc(hidden)]
pub mod files;
mod frame;
mod id;
mod journal;
mod local;
mod memory;
mod offline;
mod record;
mod rules;
mod scan;
mod segment;
mod sequence;
mod tail;
mod verify;
mod watches;

pub use blobs::{BlobError, BlobId, BlobRef, Blobs};
pub use codec::Flaw;
pub use damage::{Damage, Lost};
pub use frame::{ENVELOPE_LEN, FORMAT};
pub use id::{ChainHash, Epoch, ParseStreamIdError, Position, Seq, StreamId};
pub use journal::{Draft, Durable, Journal, Limit, ReadError, Receipt, SubmitError};
pub use local::{CatalogueState, CopiedTail, Holder, LocalJournal, OpenError, OpenReport, Options, TornTail};
pub use memory::MemoryJournal;
pub use offline::{Entry, Offline, Stats, stats};
pub use record::{Frame, Head, Level, NewRecord, Record, Standing};
pub use rules::{MAX_FRAME_PAYLOAD, MAX_FRAME_RECORDS, MAX_KIND, MAX_TYPE_NAME, MAX_WAIT_NAME};
pub use tail::{Tail, TailAll, tail, tail_all};
pub use verify::{HeadCheck, VerifyReport, verify};
