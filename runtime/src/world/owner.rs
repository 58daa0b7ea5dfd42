//! Whose the files of a session are: as root, each isolated session is a user of its own, to whom its files must belong.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

/// Makes a folder and everything in it somebody's. Follows no link and leaves other file systems alone.
///
/// To be called before anything of the session executes: nobody can plant anything on the way.
///
/// # Errors
/// What the system says; part of it may have been given by then, and giving again is fine.
pub(crate) fn give(path: &Path, uid: u32) -> io::Result<()> {
    give_below(path, uid, fs::symlink_metadata(path)?.dev())
}

fn give_below(path: &Path, uid: u32, device: u64) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.dev() != device {
        return Ok(());
    }
    if meta.uid() != uid || meta.gid() != uid {
        lchown(path, Some(uid), Some(uid))?;
    }
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give_below(&entry?.path(), uid, device)?;
        }
    }
    Ok(())
}
