//! A copy of a directory as it is at one moment, while somebody works in it.
//!
//! Segments only grow at their end and say how far they are durable, and a body is on disk before the frame that names it,
//! so that copying the segments up to that position, and the bodies after, is consistent without a lock. Every stream in
//! the copy is inert: whoever restores it decides which sessions shall belong to it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::files::{self, Disk, DiskFile, RealDisk};
use crate::id::Position;
use crate::local::inert;
use crate::offline::{Offline, OfflineError};
use crate::scan::Found;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Streams, each of them inert in the copy.
    pub streams: u64,
    /// Bytes of segments.
    pub segment_bytes: u64,
    /// Bodies.
    pub blobs: u64,
    /// Everything below this position is in it.
    pub durable_below: Position,
}

/// Copies the journal and the bodies of a data directory, which may be in use, to `target`, which must not exist.
///
/// The copy appears under its name once it is whole and synced. Files of sessions are not in it, nor what can be made anew
/// (catalogue, snapshots). Damage is copied as it is.
///
/// # Errors
/// When there is no journal, a newer version wrote it, the target exists, or the system refuses; what was begun lies under `<target>.partial`.
pub fn backup(folder: &Path, target: &Path) -> Result<BackupReport, OfflineError> {
    backup_on(&RealDisk, folder, target)
}

/// As [`backup`], written to another file system; for tests with faults.
#[doc(hidden)]
pub fn backup_on(disk: &dyn Disk, folder: &Path, target: &Path) -> Result<BackupReport, OfflineError> {
    if target.exists() {
        let reason = format!("{} is there already", target.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, reason).into());
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = target.with_file_name(name);
    if partial.exists() {
        // Left by a backup that did not come to its end; nobody was told that it was one.
        fs::remove_dir_all(&partial)?;
    }
    let journal = Offline::open(folder)?;
    let mut streams = BTreeSet::new();
    journal.scan(|found| {
        if let Found::Frame { summary, .. } = found
            && !summary.is_marker()
        {
            streams.insert(summary.head.stream);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let segments = partial.join("journal");
    disk.create_dir(&segments)?;
    // First of all: a copy without it would take every session for its own.
    inert::write(disk, &partial, &streams)?;
    let mut report = BackupReport {
        streams: streams.len() as u64,
        segment_bytes: 0,
        blobs: 0,
        durable_below: journal.durable_below(),
    };
    for (name, segment, bytes) in journal.extents()? {
        report.segment_bytes += copy(&*segment.file, disk, &segments.join(name), bytes)?;
    }
    disk.sync_dir(&segments)?;
    report.blobs = copy_blobs(disk, &folder.join("blobs"), &partial.join("blobs"))?;
    for file in ["format", "boot"] {
        match RealDisk.open(&folder.join(file), false) {
            Ok(source) => drop(copy(&*source, disk, &partial.join(file), u64::MAX)?),
            // A boot generation that is not there is found from the frames.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    disk.sync_dir(&partial)?;
    disk.rename(&partial, target)?;
    let above = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    disk.sync_dir(above)?;
    Ok(report)
}

/// Copies the first bytes of an open file, whatever has its name by now, and syncs them.
fn copy(from: &dyn DiskFile, disk: &dyn Disk, to: &Path, most: u64) -> io::Result<u64> {
    let copy = disk.create(to)?;
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0;
    while copied < most {
        let want = usize::try_from(most - copied).unwrap_or(CHUNK).min(CHUNK);
        let read = files::read_full(from, &mut buffer[..want], copied)?;
        files::write_all(&*copy, &buffer[..read], copied)?;
        copied += read as u64;
        if read < want {
            break;
        }
    }
    copy.sync_data()?;
    Ok(copied)
}

fn copy_blobs(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<u64> {
    disk.create_dir(to)?;
    let mut blobs = 0;
    for name in RealDisk.list(from)? {
        let (folder, target) = (from.join(&name), to.join(&name));
        // What is still being written lies beside the folders, under a temporary name.
        if !folder.is_dir() {
            continue;
        }
        disk.create_dir(&target)?;
        for blob in RealDisk.list(&folder)? {
            let source = match RealDisk.open(&folder.join(&blob), false) {
                Ok(source) => source,
                // Nothing named it, and a collection has swept it since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            copy(&*source, disk, &target.join(blob), u64::MAX)?;
            blobs += 1;
        }
        disk.sync_dir(&target)?;
    }
    disk.sync_dir(to)?;
    Ok(blobs)
}
