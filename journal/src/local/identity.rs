//! The small files beside the segments: which format the directory has, and how often it was opened.

use std::io;
use std::path::Path;

use crate::files::{self, Disk};

/// Newest version of the directory as a whole that is known. A newer one is refused, not guessed at.
pub(crate) const DIRECTORY_FORMAT: u32 = WITH_THINNED;
/// What a new directory is.
pub(crate) const FIRST: u32 = 1;
/// There may be thinned segments in it.
pub(crate) const WITH_THINNED: u32 = 2;

const FORMAT_FILE: &str = "format";
const BOOT_FILE: &str = "boot";

/// What `<dir>/format` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Absent,
    Version(u32),
    Unreadable,
}

pub(crate) fn read_format(disk: &dyn Disk, folder: &Path) -> io::Result<Format> {
    let bytes = match files::read_small(disk, &folder.join(FORMAT_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Format::Absent),
        Err(error) => return Err(error),
    };
    let version = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.trim().strip_prefix("longhaul "));
    Ok(version
        .and_then(|version| version.parse().ok())
        .map_or(Format::Unreadable, Format::Version))
}

pub(crate) fn write_format(disk: &dyn Disk, folder: &Path, version: u32) -> io::Result<()> {
    files::replace(
        disk,
        folder,
        FORMAT_FILE,
        format!("longhaul {version}\n").as_bytes(),
    )
}

/// The boot generation of the last opening; `None` when the file is missing or not what was written.
pub(crate) fn read_boot(disk: &dyn Disk, folder: &Path) -> io::Result<Option<u32>> {
    let bytes = match files::read_small(disk, &folder.join(BOOT_FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let boot = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok(boot.filter(|boot| boot_text(*boot) == text))
}

/// Whether it was opened before, even if nobody can read how often.
pub(crate) fn has_boot(disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
    Ok(disk.list(folder)?.iter().any(|name| name == BOOT_FILE))
}

/// Makes a boot generation durable. An epoch of it may be handed out only afterwards.
pub(crate) fn write_boot(disk: &dyn Disk, folder: &Path, boot: u32) -> io::Result<()> {
    files::replace(disk, folder, BOOT_FILE, boot_text(boot).as_bytes())
}

fn boot_text(boot: u32) -> String {
    format!("{boot} {:08x}\n", crc32c::crc32c(&boot.to_le_bytes()))
}
