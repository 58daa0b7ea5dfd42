//! What of the walls is the same for all commands of a runtime, so that it can stand before a command is known.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::namespaces::Ids;
use super::root;
use crate::walls::{ProcMount, Walls};

/// Walls without what only their command says: its folders, what is protected in them, its way out, and often its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Who the commands are, where all of them are the user of the runtime. None: each is another, and says so.
    pub(crate) ids: Option<Ids>,
    /// Their `/proc`.
    pub(crate) proc: ProcMount,
    /// Room in `/tmp`, and as much again in `/dev/shm`, bytes.
    pub(crate) tmp_bytes: u64,
    /// Further folders and files of this machine that are shown.
    pub(crate) read_only: Vec<PathBuf>,
}

impl Frame {
    /// That of these walls, as the runtime and its shims see it.
    pub(crate) fn of(walls: &Walls) -> Self {
        Self {
            ids: Some(Ids::of(walls)).filter(|ids| !ids.changes_user()),
            proc: walls.proc,
            tmp_bytes: walls.tmp_bytes,
            read_only: walls.read_only.clone(),
        }
    }

    /// What lies at this moment where the walls take hold of the machine's own: device and number of each file, or none
    /// where there is none. Who compares two of these learns of a file that was replaced, or came, or went.
    pub(crate) fn shown(&self) -> Vec<Option<(u64, u64)>> {
        let identity =
            |found: std::io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
        let system = root::SYSTEM.iter().map(|name| PathBuf::from("/").join(name));
        // As a link where it is shown as one.
        let links = system.clone().map(|path| identity(fs::symlink_metadata(path)));
        let etc = super::etc::SHOWN
            .iter()
            .map(|name| PathBuf::from("/etc").join(name));
        let trees = system.chain(etc).chain(self.read_only.iter().cloned());
        links
            .chain(trees.map(|path| identity(fs::metadata(path))))
            .collect()
    }
}
