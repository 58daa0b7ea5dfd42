//! Small files that are there whole or not at all, also after power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file under another name, syncs it, gives it its name, and syncs the folder.
///
/// # Errors
/// What the system says; the file is then as it was.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // As the umask has it.
    write_for(path, bytes, 0o666)
}

/// The same, for those whom `mode` lets: from its first moment on it is for nobody else.
///
/// # Errors
/// As [`write`].
pub(crate) fn write_for(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("a file lies in a folder"))?;
    let temporary = path.with_extension("tmp");
    // One that a killed process left behind may be for others than ours is.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
