//! The suite that every journal signs, against both journals of this crate.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too
use std::sync::Arc;

use longhaul_journal::faults::FaultyDisk;
use longhaul_journal::{LocalJournal, MemoryJournal, Options, conformance};

#[test]
fn the_memory_journal_keeps_every_promise() {
    conformance::suite(&|| Arc::new(MemoryJournal::new()));
}

#[test]
fn the_local_journal_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    conformance::suite(&|| Arc::new(open(&folder, Options::default())));
}

/// Segments so small that nearly every batch seals one: reading has to cross from the catalogue to fresh frames.
#[test]
fn the_local_journal_keeps_every_promise_across_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.segment_bytes = 2 << 10;
    options.fill_ahead = 4 << 10;
    conformance::suite(&|| Arc::new(open(&folder, options.clone())));
}

/// Through the layer that will fail in other tests, so that those cannot blame it.
#[test]
fn the_local_journal_keeps_every_promise_over_the_faulty_layer_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    conformance::suite(&|| {
        let own = tempfile::tempdir_in(&folder).unwrap().keep();
        let disk = Arc::new(FaultyDisk::new(Arc::default()));
        Arc::new(LocalJournal::open_on(disk, &own, Options::default()).unwrap().0)
    });
}

fn open(folder: &tempfile::TempDir, options: Options) -> LocalJournal {
    let own = tempfile::tempdir_in(folder).unwrap().keep();
    LocalJournal::open(&own, options).unwrap().0
}
