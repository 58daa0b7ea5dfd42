//! The files of a fork: a workspace of its own, made from a checkpoint of its source.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;

use longhaul_hands::remove_tree;

use super::SessionFolder;
use super::checkpoints::{Checkpoints, restore};
use super::owner::give;
use super::workspace::{self, Prepared};
use crate::sandbox::{Walled, user_of};

/// Makes the workspace of `fork` from the checkpoint of `source` at this seq, or finds it made. A crash in the middle leaves
/// a half-made one that is thrown away the next time. Blocks on the disk.
///
/// # Errors
/// What the system says, or that the checkpoint is damaged. Nothing of the fork is usable then.
pub(crate) fn copy_workspace(source: &SessionFolder, at: u64, fork: &SessionFolder) -> io::Result<()> {
    let unreadable = |error: longhaul_actors::ports::SetupError| io::Error::other(error.to_string());
    if Prepared::load(fork).map_err(unreadable)?.is_some() {
        return Ok(());
    }
    let Some(of_source) = Prepared::load(source).map_err(unreadable)? else {
        return Err(io::Error::other("the workspace of the source is gone"));
    };
    let checkpoints = Checkpoints::at(source.checkpoints());
    let manifest = checkpoints.load(at)?;
    fs::create_dir_all(fork.private().join("tmp"))?;
    fs::create_dir_all(fork.steps())?;
    let to = fork.workspace();
    remove_tree(&to)?;
    // As root each isolated session is a user of its own; what was the source's is the fork's.
    let (before, after) = match of_source.sandbox {
        Walled::Isolated { host_uid: Some(uid) } => (Some(uid), user_of(&fork.name())),
        _ => (None, None),
    };
    let moved = |id: u32| after.filter(|_| Some(id) == before).unwrap_or(id);
    let is_root = rustix::process::geteuid().is_root();
    restore(&checkpoints, &manifest, &to, |uid, gid| {
        is_root.then(|| (moved(uid), moved(gid)))
    })?;
    if let Some(uid) = after {
        lchown(&to, Some(uid), Some(uid))?;
        give(&fork.private(), uid)?;
    }
    let sandbox = match of_source.sandbox {
        Walled::Isolated { .. } => Walled::Isolated { host_uid: after },
        as_it_is => as_it_is,
    };
    let prepared = Prepared {
        workspace: to,
        base_tree: of_source.base_tree,
        sandbox,
        in_place: false,
    };
    workspace::note(fork, &prepared)
}
