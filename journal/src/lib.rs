//! Bytes in order: frames, segments, catalogue, group commit, reading, verifying.

mod blobs;
mod codec;
mod frame;
mod id;
mod journal;
mod memory;
mod record;
mod rules;
mod watches;

pub use blobs::{BlobError, BlobId, BlobRef, Blobs};
pub use codec::Flaw;
pub use frame::{ENVELOPE_LEN, FORMAT};
pub use id::{ChainHash, Epoch, ParseStreamIdError, Position, Seq, StreamId};
pub use journal::{Draft, Durable, Journal, Limit, ReadError, Receipt, SubmitError};
pub use memory::MemoryJournal;
pub use record::{Frame, Head, Level, NewRecord, Record, Standing};
pub use rules::{MAX_FRAME_PAYLOAD, MAX_FRAME_RECORDS, MAX_KIND, MAX_TYPE_NAME, MAX_WAIT_NAME};
