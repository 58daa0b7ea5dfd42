//! Pinned playbooks, from the blobs of the journal.

use std::sync::Arc;

use longhaul_journal::{BlobError, BlobId, Journal};

use super::playbook::{PlaybookSource, SourceError};

/// Finds a playbook by the hash that its session pinned.
pub(crate) struct PinnedPlaybooks(pub(crate) Arc<dyn Journal>);

impl PlaybookSource for PinnedPlaybooks {
    fn load(&self, sha256: &str) -> Result<String, SourceError> {
        let gone = |why: String| SourceError::Gone(format!("the playbook {sha256} {why}"));
        let mut id = [0; 32];
        hex::decode_to_slice(sha256, &mut id).map_err(|_| gone("is not named by a sha256".into()))?;
        let bytes = self.0.blobs().get(BlobId(id)).map_err(|error| match error {
            BlobError::NotFound(_) | BlobError::Damaged(_) => gone(format!("is lost: {error}")),
            other => SourceError::Unreadable(other.to_string()),
        })?;
        String::from_utf8(bytes).map_err(|_| gone("is not text".into()))
    }
}
