//! Bytes in order: frames, segments, catalogue, group commit, reading, verifying.

mod blobs;
mod id;
mod journal;
mod record;

pub use blobs::{BlobError, BlobId, BlobRef, Blobs};
pub use id::{ChainHash, Epoch, ParseStreamIdError, Position, Seq, StreamId};
pub use journal::{Draft, Durable, Journal, Limit, ReadError, Receipt, SubmitError};
pub use record::{Frame, Head, Level, NewRecord, Record, Standing};
