//! Where the files of a session lie in the data directory.

use std::path::{Path, PathBuf};

use longhaul_journal::StreamId;

/// The folder of one session: its workspace, and beside it, out of its commands' sight, the evidence of its steps.
#[derive(Clone, Debug)]
pub(crate) struct SessionFolder(PathBuf);

impl SessionFolder {
    /// The folder of `session` in this data directory.
    pub(crate) fn new(data: &Path, session: StreamId) -> Self {
        Self(data.join("sessions").join(session.to_string()))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The name of the session, as its commands are marked with it.
    pub(crate) fn name(&self) -> String {
        self.0
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Where the commands of the session work, unless they work in place.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.0.join("workspace")
    }

    /// Their HOME and TMPDIR.
    pub(crate) fn private(&self) -> PathBuf {
        self.0.join("private")
    }

    /// What was learnt when the workspace was made: written last, so that it says the workspace is whole.
    pub(crate) fn prepared(&self) -> PathBuf {
        self.0.join("prepared.json")
    }

    /// What its files were at earlier seqs.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// All steps.
    pub(crate) fn steps(&self) -> PathBuf {
        self.0.join("steps")
    }

    /// Evidence of one step.
    pub(crate) fn step(&self, step: u64) -> PathBuf {
        self.steps().join(step.to_string())
    }
}
