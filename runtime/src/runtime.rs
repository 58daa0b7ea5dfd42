//! A runtime in a directory: opens the journal, hosts the sessions, and lets go of everything in good order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_actors::session::Limits;
use longhaul_journal::StreamId;

use crate::api::Problem;
use crate::control::Control;

/// Which sessions a runtime works for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of them: what is owed is found at boot and done.
    #[default]
    Serve,
    /// One of them; the others wait for somebody who serves.
    Only(StreamId),
    /// None: it takes wishes and answers questions, and does no work.
    Dormant,
}

/// How a runtime is opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Which sessions it works for.
    pub mode: Mode,
    /// The program that runs commands (`longhaul`); found as B-EMBED-2 says when absent.
    pub shim: Option<PathBuf>,
    /// Bounds of sessions that bring none of their own.
    pub limits: Limits,
}

/// A runtime in a directory. Cheap to clone; works from any tokio program, several times in one process.
#[derive(Clone)]
pub struct Runtime {
    control: Arc<dyn Control>,
    directory: PathBuf,
}

impl Runtime {
    /// Opens the data directory, making it if it is not there, and begins to work.
    ///
    /// # Errors
    /// `data_dir_in_use` (who holds it), `newer_format` (both versions), `shim_not_found`, `storage_unavailable`.
    pub async fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, Problem> {
        let _ = (directory.as_ref(), options);
        unimplemented!("being written")
    }

    /// What a client can ask of it.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }

    /// Its data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How many sessions owe work that this runtime does not do, because its [`Mode`] leaves them to others.
    pub async fn left_waiting(&self) -> usize {
        0
    }

    /// Writes down that it stops in good order, waits for what is being written, and lets go of the directory. Commands
    /// that still run go on without it.
    pub async fn close(self) {}
}
