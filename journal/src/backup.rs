//! A copy of a directory as it is at one moment, while somebody works in it.
//!
//! Segments only grow at their end and say how far they are durable, and a body is on disk before the frame that names it,
//! so that copying the segments up to that position, and the bodies after, is consistent without a lock. Every stream in
//! the copy is inert: whoever restores it decides which sessions shall belong to it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;

use crate::files::{self, DiskFile, RealDisk};
use crate::id::Position;
use crate::local::inert;
use crate::offline::Offline;
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
/// When there is no journal, the target exists, or the system refuses; what was begun lies under `<target>.partial`.
pub fn backup(folder: &Path, target: &Path) -> io::Result<BackupReport> {
    if target.exists() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} is there already", target.display()),
        ));
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
    fs::create_dir_all(partial.join("journal"))?;
    // First of all: a copy without it would take every session for its own.
    inert::write(&RealDisk, &partial, &streams)?;
    let mut report = BackupReport {
        streams: streams.len() as u64,
        segment_bytes: 0,
        blobs: 0,
        durable_below: journal.durable_below(),
    };
    for (name, segment, bytes) in journal.extents()? {
        report.segment_bytes += copy_open(&*segment.file, &partial.join("journal").join(&name), bytes)?;
    }
    report.blobs = copy_blobs(&folder.join("blobs"), &partial.join("blobs"))?;
    for file in ["format", "boot"] {
        match copy(&folder.join(file), &partial.join(file), u64::MAX) {
            Ok(_) => {}
            // A boot generation that is not there is found from the frames.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_folders(&partial)?;
    fs::rename(&partial, target)?;
    let above = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::File::open(above)?.sync_all()?;
    Ok(report)
}

/// Copies the first bytes of an open file, whatever has its name by now.
fn copy_open(from: &dyn DiskFile, to: &Path, most: u64) -> io::Result<u64> {
    let mut copy = fs::File::create_new(to)?;
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0;
    while copied < most {
        let want = usize::try_from(most - copied).unwrap_or(CHUNK).min(CHUNK);
        let read = files::read_full(from, &mut buffer[..want], copied)?;
        copy.write_all(&buffer[..read])?;
        copied += read as u64;
        if read < want {
            break;
        }
    }
    copy.sync_all()?;
    Ok(copied)
}

fn copy(from: &Path, to: &Path, most: u64) -> io::Result<u64> {
    let mut source = fs::File::open(from)?.take(most);
    let mut copy = fs::File::create_new(to)?;
    let bytes = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    Ok(bytes)
}

fn copy_blobs(from: &Path, to: &Path) -> io::Result<u64> {
    fs::create_dir_all(to)?;
    let mut blobs = 0;
    let folders = match fs::read_dir(from) {
        Ok(folders) => folders,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    for folder in folders {
        let folder = folder?;
        // What is still being written lies beside the folders, under a temporary name.
        if !folder.file_type()?.is_dir() {
            continue;
        }
        let target = to.join(folder.file_name());
        fs::create_dir_all(&target)?;
        for blob in fs::read_dir(folder.path())? {
            let blob = blob?;
            copy(&blob.path(), &target.join(blob.file_name()), u64::MAX)?;
            blobs += 1;
        }
    }
    Ok(blobs)
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    fs::File::open(folder)?.sync_all()
}
