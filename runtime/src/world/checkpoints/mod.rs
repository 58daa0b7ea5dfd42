//! Checkpoints: what the files of a session were after a record, kept beside its workspace so that a fork can have them.
//!
//! `checkpoints/AT.json` lists every file, folder and link; `checkpoints/objects/` has the contents, each once, under their
//! hash. Contents are copied, never hard linked: the workspace is written by programs nobody trusts, in place. Where the file
//! system can share blocks between copies, it does. A file that did not change since the last checkpoint is not read again.
//!
//! Kept are contents, modes, modification times, symbolic links, empty folders and FIFOs, with names of any bytes. Not kept:
//! extended attributes, sockets and devices; hard links become files of their own.

mod manifest;
mod prune;
mod restore;
mod take;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

pub(super) use manifest::Manifest;
pub(super) use restore::restore;
pub(super) use take::{Bounds, TakeError, take};

/// Beyond so many entries a checkpoint is made on request only.
const ENTRIES_LIMIT: u64 = 50_000;
/// Beyond so many bytes a checkpoint is made on request only.
const BYTES_LIMIT: u64 = 512 << 20;
/// Bytes of the longest path below a workspace. Files are made again by their paths, and no path has over 4096 bytes.
const PATH_LIMIT: usize = 3_000;

/// The checkpoints of one session.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints(PathBuf);

impl Checkpoints {
    /// Those in this folder, which need not exist.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn folder(&self) -> &Path {
        &self.0
    }

    fn manifest(&self, at: u64) -> PathBuf {
        self.0.join(format!("{at}.json"))
    }

    /// Where the contents with this hash (hex) are.
    fn object(&self, hash: &str) -> PathBuf {
        let (folder, name) = hash.split_at(2.min(hash.len()));
        self.0.join("objects").join(folder).join(name)
    }

    /// The seqs that there are checkpoints of.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn seqs(&self) -> io::Result<BTreeSet<u64>> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries?,
        };
        let mut seqs = BTreeSet::new();
        for entry in entries {
            let name = entry?.file_name();
            let seq = name.to_str().and_then(|name| name.strip_suffix(".json"));
            seqs.extend(seq.and_then(|seq| seq.parse::<u64>().ok()));
        }
        Ok(seqs)
    }

    /// The list of what was kept for this seq.
    ///
    /// # Errors
    /// When it is not there or cannot be understood.
    pub(crate) fn load(&self, at: u64) -> io::Result<Manifest> {
        Manifest::parse(&std::fs::read(self.manifest(at))?)
    }
}

#[cfg(test)]
mod tests;
