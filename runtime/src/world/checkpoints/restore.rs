//! Making the files of a checkpoint again, in a folder that nobody else knows yet.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use super::Checkpoints;
use super::manifest::{Entry, Kind, Manifest, hidden};

/// Makes `to`, which must not exist, with everything that the checkpoint holds. `owner` says whom an entry of this user and
/// group belongs to here; none leaves it to whoever restores.
///
/// # Errors
/// What the system says, or that contents are damaged; what is there by then is to be thrown away.
pub(crate) fn restore(
    checkpoints: &Checkpoints,
    manifest: &Manifest,
    to: &Path,
    owner: impl Fn(u32, u32) -> Option<(u32, u32)>,
) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in &manifest.entries {
        let path = to.join(hidden(&entry.path));
        match &entry.kind {
            Kind::Folder => fs::create_dir(&path)?,
            Kind::File { hash, .. } => copy(checkpoints, hash, &path)?,
            Kind::Link { target } => symlink(hidden(target), &path)?,
            Kind::Fifo => {
                rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(entry.mode), 0)?;
            }
        }
    }
    // What is in a folder changes the folder, so that each comes after what is in it.
    for entry in manifest.entries.iter().rev() {
        dress(entry, &to.join(hidden(&entry.path)), &owner)?;
    }
    Ok(())
}

/// Copies contents, and checks that they are what they were.
fn copy(checkpoints: &Checkpoints, hash: &str, path: &Path) -> io::Result<()> {
    let mut from = File::open(checkpoints.object(hash))?;
    let mut to = File::create_new(path)?;
    io::copy(&mut from, &mut to)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    if hasher.finalize().to_hex().as_str() == hash {
        return Ok(());
    }
    let name = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the kept contents of {name} are damaged"),
    ))
}

fn dress(entry: &Entry, path: &Path, owner: impl Fn(u32, u32) -> Option<(u32, u32)>) -> io::Result<()> {
    if let Some((uid, gid)) = owner(entry.uid, entry.gid) {
        lchown(path, Some(uid), Some(gid))?;
    }
    if !matches!(entry.kind, Kind::Link { .. }) {
        // After the owner: a change of it takes the bits that lend one.
        fs::set_permissions(path, Permissions::from_mode(entry.mode))?;
    }
    let time = Timespec {
        tv_sec: entry.mtime_s,
        tv_nsec: entry.mtime_ns.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}
