//! Where the text of a playbook comes from once a session has pinned it.

use std::sync::Arc;

use longhaul_journal::{BlobError, BlobId, Journal};

/// Where the text of a playbook is kept once a session has pinned it.
///
/// A session names its playbook by the hash of its text, so that editing the file does not touch live sessions.
pub trait PlaybookSource: Send + Sync + 'static {
    /// Returns the text with this sha256 (hex). May block on the disk.
    ///
    /// # Errors
    /// [`SourceError::Gone`] when there is no such text or its bytes are damaged, [`SourceError::Unreadable`] when
    /// trying again may help.
    fn load(&self, sha256: &str) -> Result<String, SourceError>;
}

/// Why the text of a playbook could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It does not exist any more, or its bytes are not what was pinned.
    #[error("{0}")]
    Gone(String),
    /// It could not be read this time.
    #[error("{0}")]
    Unreadable(String),
}

/// Playbooks among the blobs of a journal.
pub struct Pinned(Arc<dyn Journal>);

impl Pinned {
    /// The blobs of this journal.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self(journal)
    }
}

impl PlaybookSource for Pinned {
    fn load(&self, sha256: &str) -> Result<String, SourceError> {
        let mut id = [0; 32];
        hex::decode_to_slice(sha256, &mut id)
            .map_err(|_| SourceError::Gone(format!("{sha256:?} is not a sha256 in hex")))?;
        let bytes = self.0.blobs().get(BlobId(id)).map_err(|error| match error {
            BlobError::Io(error) => SourceError::Unreadable(error.to_string()),
            error => SourceError::Gone(error.to_string()),
        })?;
        String::from_utf8(bytes).map_err(|_| SourceError::Gone(format!("blob {sha256} is not text")))
    }
}
