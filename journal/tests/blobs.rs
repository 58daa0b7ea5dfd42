//! Keeping bodies, and sweeping those that nobody names.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use common::{Act, Hooked, scratch};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{BlobError, Journal, LocalJournal, Options, Swept};

const BODY: &[u8] = b"the same bytes once more";

#[test]
fn a_sweep_removes_what_is_neither_named_nor_young() {
    let folder = scratch();
    let faults = Arc::new(Faults::default());
    let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
    let (journal, _) = LocalJournal::open_on(disk, folder.path(), Options::default()).unwrap();
    let [named, unnamed] = [&b"named"[..], BODY].map(|mut body| journal.blobs().put(&mut body).unwrap());
    let names = BTreeSet::from([named.id]);
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    assert_eq!(journal.sweep_blobs(&names, long_ago).unwrap(), Swept::default());

    let later = SystemTime::now() + Duration::from_secs(3600);
    faults.fail_untold(1);
    journal.sweep_blobs(&names, later).unwrap_err();
    let swept = journal.sweep_blobs(&names, later).unwrap();
    assert_eq!(swept, Swept::default(), "it was gone, though nobody was told");
    assert_eq!(journal.blobs().get(named.id).unwrap(), b"named");
    assert!(matches!(
        journal.blobs().get(unnamed.id),
        Err(BlobError::NotFound(_))
    ));
    journal.blobs().put(&mut &BODY[..]).unwrap();
    let swept = journal.sweep_blobs(&names, later).unwrap();
    assert_eq!((swept.blobs, swept.bytes), (1, BODY.len() as u64));
}

/// B-LOG-11: a sweep looked at an old blob, the same bytes were kept again under its name, and then the sweep removed that
/// name: what had just been kept was gone before the record that names it was written.
#[test]
fn what_is_kept_again_while_a_sweep_looks_at_it_stays() {
    let folder = scratch();
    let journal: Arc<OnceLock<LocalJournal>> = Arc::default();
    let in_sweep = Arc::clone(&journal);
    let disk = Hooked::by(move |act, _| {
        if act == Act::LookedAt {
            let journal = Arc::clone(&in_sweep);
            let keeping = thread::spawn(move || journal.get().unwrap().blobs().put(&mut &BODY[..]).unwrap());
            // It gets its time; as it should be, it waits for us.
            let since = SystemTime::now();
            while !keeping.is_finished() && since.elapsed().unwrap() < Duration::from_millis(300) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    });
    let (opened, _) = LocalJournal::open_on(disk, folder.path(), Options::default()).unwrap();
    let journal = journal.get_or_init(|| opened);
    let kept = journal.blobs().put(&mut &BODY[..]).unwrap();
    let now = SystemTime::now() + Duration::from_millis(1);
    let swept = journal.sweep_blobs(&BTreeSet::new(), now).unwrap();
    assert_eq!(swept.blobs, 1, "the old one");
    common::until("the other one is there", || journal.blobs().get(kept.id).is_ok());
}
