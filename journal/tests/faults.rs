//! What a failed sync, a failed write and a full disk do, and what they do not.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{ALL, content, draft, open, stream, write};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{Journal, LocalJournal, Options, Position, Seq, SubmitError, verify};

fn faulty(folder: &Path, segment_bytes: u64) -> (LocalJournal, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    // Only the committer writes and syncs, so that the nth write is the same one in every run.
    options.fill_ahead = 0;
    options.segment_bytes = segment_bytes;
    options.marker_after = Duration::from_secs(3600);
    let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
    (LocalJournal::open_on(disk, folder, options).unwrap().0, faults)
}

/// B-STREAM-3, B-LOG-5: after a failed sync nothing was shown, nothing more is acknowledged, and reopening tells.
#[test]
fn a_failed_sync_shows_nothing_and_poisons_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, faults) = faulty(folder.path(), 64 << 20);
    write(&journal, 2, 3);
    let before = content(&journal, 2);
    let (watch, end) = (journal.watch(stream(0)), journal.watch_all());
    let durable = *end.borrow();
    let epoch = journal.claim(stream(0));

    faults.fail_sync(1);
    let unknown = journal.submit(draft(stream(0), epoch, 3, "unknown")).wait();
    assert!(matches!(&unknown, Err(error @ SubmitError::OutcomeUnknown { .. }) if error.may_have_happened()));
    for expected in [3, 4] {
        let later = journal.submit(draft(stream(0), epoch, expected, "later")).wait();
        assert!(
            matches!(&later, Err(error @ SubmitError::Poisoned { .. }) if !error.may_have_happened()),
            "{later:?}"
        );
    }
    assert_eq!(*watch.borrow(), Seq(3));
    assert_eq!(*end.borrow(), durable);
    assert_eq!(content(&journal, 2), before);
    assert_eq!(journal.head(stream(0)).unwrap().unwrap().seq, Seq(3));
    assert_eq!(journal.read_all(Position::default(), ALL).unwrap().len(), 6);
    drop(journal);

    let (journal, report) = open(folder.path());
    assert!(
        report.copied.is_some(),
        "what the failed sync left in the page cache is synced anew: {report:?}"
    );
    let head = journal.head(stream(0)).unwrap().unwrap().seq;
    assert_eq!(
        head,
        Seq(4),
        "here the bytes were there after all; either way the caller looks before it goes on"
    );
    write(&journal, 2, 1);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}

/// A write that failed half done leaves a torn tail, which nobody was told of.
#[test]
fn a_half_done_write_is_a_torn_tail_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, faults) = faulty(folder.path(), 64 << 20);
    write(&journal, 2, 3);
    let before = content(&journal, 2);
    let epoch = journal.claim(stream(1));
    faults.fail_write(1);
    let unknown = journal.submit(draft(stream(1), epoch, 3, "half")).wait();
    assert!(
        matches!(unknown, Err(SubmitError::OutcomeUnknown { .. })),
        "{unknown:?}"
    );
    drop(journal);
    let (journal, report) = open(folder.path());
    assert!(report.torn.is_some());
    assert_eq!(report.damaged, []);
    assert_eq!(content(&journal, 2), before);
    write(&journal, 2, 1);
}

/// A full disk refuses and harms nothing: with room again, the same journal goes on.
#[test]
fn a_full_disk_is_not_written_and_no_poison() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, faults) = faulty(folder.path(), 2 << 10);
    write(&journal, 2, 3);
    faults.set_full(true);
    let epoch = journal.claim(stream(0));
    // Prepared room may take some frames still; then no segment can be made.
    let mut expected = 3;
    let refused = loop {
        match journal.submit(draft(stream(0), epoch, expected, "fits")).wait() {
            Ok(durable) => expected = durable.seq.0,
            Err(error) => break error,
        }
        assert!(expected < 10_000, "the disk is full");
    };
    assert!(matches!(refused, SubmitError::NotWritten { .. }), "{refused:?}");
    let behind: Vec<_> = (0..5)
        .map(|more| journal.submit(draft(stream(0), epoch, expected + more, "x")))
        .collect();
    for receipt in behind {
        let error = receipt.wait().unwrap_err();
        assert!(
            matches!(
                error,
                SubmitError::NotWritten { .. } | SubmitError::Conflict { .. }
            ),
            "{error:?}"
        );
    }
    assert_eq!(journal.head(stream(0)).unwrap().unwrap().seq, Seq(expected));
    faults.set_full(false);
    journal
        .submit(draft(stream(0), epoch, expected, "room again"))
        .wait()
        .unwrap();
    write(&journal, 2, 20);
    drop(journal);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}

/// Each sync in turn: what was acknowledged is there after reopening, whichever of them fails.
#[test]
fn whichever_sync_fails_what_was_acknowledged_stays() {
    for nth in 1..25 {
        let folder = tempfile::tempdir().unwrap();
        let (journal, faults) = faulty(folder.path(), 2 << 10);
        let epoch = journal.claim(stream(0));
        faults.fail_sync(nth);
        let mut acknowledged = 0;
        for expected in 0..40 {
            match journal
                .submit(draft(stream(0), epoch, expected, "counted"))
                .wait()
            {
                Ok(durable) => acknowledged = durable.seq.0,
                Err(SubmitError::NotWritten { .. }) => break,
                Err(SubmitError::OutcomeUnknown { .. } | SubmitError::Poisoned { .. }) => break,
                Err(other) => panic!("sync {nth}: {other}"),
            }
        }
        assert!(acknowledged < 40, "sync {nth} never came");
        drop(journal);
        let (journal, report) = open(folder.path());
        assert_eq!(report.damaged, [], "sync {nth}");
        let head = journal.head(stream(0)).unwrap().map_or(0, |head| head.seq.0);
        assert!(
            head == acknowledged || head == acknowledged + 1,
            "sync {nth}: {acknowledged} acknowledged, {head} there"
        );
        write(&journal, 1, 1);
        assert!(verify(folder.path(), None).unwrap().is_sound(), "sync {nth}");
    }
}
