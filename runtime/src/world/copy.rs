//! The files of a fork: a workspace of its own, made from a checkpoint of its source.

use std::fs;
use std::io;

use longhaul_hands::session_uid;
use longhaul_journal::StreamId;

use super::SessionFolder;
use super::checkpoints::{Checkpoints, restore};
use super::workspace::{self, Prepared};

/// Makes the workspace of `fork` from the checkpoint of `source` at this seq, or finds it made. A crash in the middle leaves
/// a half-made one that is thrown away the next time. Blocks on the disk.
///
/// # Errors
/// What the system says, or that the checkpoint is damaged. Nothing of the fork is usable then.
pub(crate) fn copy_workspace(
    source: &SessionFolder,
    at: u64,
    fork: &SessionFolder,
    ids: (StreamId, StreamId),
) -> io::Result<()> {
    let unreadable = |error: longhaul_actors::ports::SetupError| io::Error::other(error.to_string());
    if Prepared::load(fork).map_err(unreadable)?.is_some() {
        return Ok(());
    }
    let of_source = Prepared::load(source).map_err(unreadable)?;
    let checkpoints = Checkpoints::at(source.checkpoints());
    let manifest = checkpoints.load(at)?;
    fs::create_dir_all(fork.private().join("tmp"))?;
    fs::create_dir_all(fork.steps())?;
    let to = fork.workspace();
    workspace::discard(&to)?;
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let user = |session: StreamId| session_uid(&session.to_string(), &uid_map);
    let (before, after) = (user(ids.0), user(ids.1));
    let is_root = rustix::process::geteuid().is_root();
    restore(&checkpoints, &manifest, &to, |uid, gid| {
        // As root each session may be a user of its own; what was the source's is the fork's.
        let moved = |id: u32| {
            if Some(id) == before {
                after.unwrap_or(id)
            } else {
                id
            }
        };
        is_root.then(|| (moved(uid), moved(gid)))
    })?;
    let prepared = Prepared {
        workspace: to,
        base_tree: of_source.and_then(|prepared| prepared.base_tree),
    };
    workspace::note(fork, &prepared)
}
