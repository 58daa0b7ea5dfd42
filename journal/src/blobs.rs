//! Bodies over 64 KiB, kept by the sha256 of their bytes; the frame that names one is written after it is on disk.

use std::io::Read;

/// Name of a blob: the sha256 of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

/// What was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRef {
    /// Its name.
    pub id: BlobId,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is no blob of that name.
    #[error("there is no blob {0}")]
    NotFound(BlobId),
    /// Its bytes no longer have the hash that is its name.
    #[error("blob {0} is damaged: its bytes do not have that sha256")]
    Damaged(BlobId),
    /// The operating system refused.
    #[error("cannot access blob: {0}")]
    Io(#[from] std::io::Error),
}

/// A store of bodies by hash.
pub trait Blobs: Send + Sync {
    /// Stores the bytes; durable on return, and the folder entry too. Storing the same bytes again changes nothing.
    ///
    /// # Errors
    /// [`BlobError::Io`]: nothing that could be named was kept.
    fn put(&self, source: &mut dyn Read) -> Result<BlobRef, BlobError>;

    /// Returns all bytes, after checking their hash.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] or [`BlobError::Damaged`].
    fn get(&self, id: BlobId) -> Result<Vec<u8>, BlobError>;
}

impl std::fmt::Display for BlobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
