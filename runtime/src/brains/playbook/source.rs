//! Where the text of a playbook comes from once a session has pinned it.

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
