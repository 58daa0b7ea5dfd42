//! Small files that are there whole or not at all, also after power loss.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file under another name, syncs it, gives it its name, and syncs the folder.
///
/// # Errors
/// What the system says; the file is then as it was.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("a file lies in a folder"))?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}
