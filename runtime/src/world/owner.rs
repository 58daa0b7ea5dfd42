//! Whose the files of a session are: as root, each isolated session is a user of its own, to whom its files must belong.

use std::io;
use std::path::Path;

use longhaul_hands::{Step, Walk};
use rustix::fs::{AtFlags, Gid, Stat, Uid, chownat, fchown, fstat};

/// Makes a folder and everything in it somebody's. Follows no link and leaves other file systems alone.
///
/// To be called before anything of the session executes: nobody can plant anything on the way.
///
/// # Errors
/// What the system says; part of it may have been given by then, and giving again is fine.
pub(crate) fn give(path: &Path, uid: u32) -> io::Result<()> {
    let mut walk = Walk::of(path)?;
    let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
    let is_given = |stat: &Stat| stat.st_uid == uid && stat.st_gid == uid;
    let root = fstat(walk.folder())?;
    if !is_given(&root) {
        fchown(walk.folder(), user, group)?;
    }
    while let Some(step) = walk.step()? {
        let Step::Met(met) = step else { continue };
        if met.stat.st_dev != root.st_dev {
            continue;
        }
        if !is_given(&met.stat) {
            chownat(walk.folder(), &met.name, user, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if met.is_folder() {
            match walk.enter(&met) {
                Err(error) if error.kind() != io::ErrorKind::CrossesDevices => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
