//! Indexing in the background: what fails there is tried again, and nobody notices meanwhile.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::{Act, Hooked, content, segments, small, until, write};
use longhaul_journal::{LocalJournal, MemoryJournal};

/// A disk whose segments cannot be opened for reading while it says so, and how often that was tried.
fn unreadable() -> (Arc<Hooked>, Arc<AtomicBool>, Arc<AtomicU64>) {
    let (is_unreadable, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (is, count) = (Arc::clone(&is_unreadable), Arc::clone(&refused));
    let disk = Hooked::by(move |act, _: &Path| {
        if act == Act::OpenToRead && is.load(Ordering::SeqCst) {
            count.fetch_add(1, Ordering::SeqCst);
            return Err(std::io::Error::other("it cannot be opened just now"));
        }
        Ok(())
    });
    (disk, is_unreadable, refused)
}

/// A segment that could not be read once was not indexed before the next one was sealed, which may be never.
#[test]
fn a_segment_that_could_not_be_indexed_is_tried_again_without_another_being_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, is_unreadable, refused) = unreadable();
    let (journal, _) = LocalJournal::open_on(disk, folder.path(), small()).unwrap();
    is_unreadable.store(true, Ordering::SeqCst);
    write(&journal, 5, 80);
    let sealed = segments(folder.path());
    assert!(sealed.len() > 3, "some segments were sealed");
    until("the indexer has tried", || refused.load(Ordering::SeqCst) > 0);

    is_unreadable.store(false, Ordering::SeqCst);
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
