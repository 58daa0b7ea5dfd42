//! Indexing in the background: what fails there is tried again, and nobody notices meanwhile.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{content, segments, small, write};
use longhaul_journal::files::{Disk, DiskFile, RealDisk};
use longhaul_journal::{LocalJournal, MemoryJournal};

/// A disk whose segments cannot be opened for reading while it says so.
#[derive(Debug, Default)]
struct Unreadable {
    real: RealDisk,
    is_unreadable: AtomicBool,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Shared(Arc<Unreadable>);

impl Disk for Shared {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.real.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.real.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.real.create(path)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        if !write && self.0.is_unreadable.load(Ordering::SeqCst) {
            self.0.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::other("it cannot be opened just now"));
        }
        self.0.real.open(path, write)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.real.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.real.sync_dir(path)
    }
}

/// Waits for what another thread does; a minute without it is a failure.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// A segment that could not be read once was not indexed before the next one was sealed, which may be never.
#[test]
fn a_segment_that_could_not_be_indexed_is_tried_again_without_another_being_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Unreadable::default());
    let (journal, _) =
        LocalJournal::open_on(Arc::new(Shared(Arc::clone(&disk))), folder.path(), small()).unwrap();
    disk.is_unreadable.store(true, Ordering::SeqCst);
    write(&journal, 5, 80);
    let sealed = segments(folder.path());
    assert!(sealed.len() > 3, "some segments were sealed");
    until("the indexer has tried", || {
        disk.refused.load(Ordering::SeqCst) > 0
    });

    disk.is_unreadable.store(false, Ordering::SeqCst);
    // A segment is cut behind its last frame once the catalogue has it.
    let len = |path: &Path| std::fs::metadata(path).unwrap().len();
    let last_sealed = &sealed[sealed.len() - 2];
    let end = u64::from_str_radix(
        sealed[sealed.len() - 1].file_stem().unwrap().to_str().unwrap(),
        16,
    )
    .unwrap();
    let first = u64::from_str_radix(last_sealed.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
    until("the last sealed segment is indexed", || {
        len(last_sealed) == 64 + end - first
    });

    let model = MemoryJournal::new();
    write(&model, 5, 80);
    assert_eq!(
        common::payloads(&content(&journal, 5)[&3]),
        common::payloads(&content(&model, 5)[&3])
    );
}
