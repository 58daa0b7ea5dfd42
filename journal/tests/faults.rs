//! What a failed sync, a failed write and a full disk do, and what they do not.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{ALL, Act, Dice, Hooked, content, draft, open, scratch, stream, write};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{BlobId, Journal, LocalJournal, Options, Position, Seq, SubmitError, verify};

fn faulty(folder: &Path, segment_bytes: u64) -> (LocalJournal, Arc<Faults>) {
    // Only the committer writes and syncs, so that the nth write is the same one in every run.
    faulty_with(folder, segment_bytes, 0)
}

fn faulty_with(folder: &Path, segment_bytes: u64, fill_ahead: u64) -> (LocalJournal, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let mut options = Options::default();
    options.fill_ahead = fill_ahead;
    options.segment_bytes = segment_bytes;
    options.marker_after = Duration::from_secs(3600);
    let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
    (LocalJournal::open_on(disk, folder, options).unwrap().0, faults)
}

/// B-STREAM-3, B-LOG-5: after a failed sync nothing was shown, nothing more is acknowledged, and reopening tells.
#[test]
fn a_failed_sync_shows_nothing_and_poisons_the_journal() {
    let folder = scratch();
    let (journal, faults) = faulty(folder.path(), 64 << 20);
    write(&journal, 2, 3);
    let before = content(&journal, 2);
    let (watch, end) = (journal.watch(stream(0)), journal.watch_all());
    let durable = *end.borrow();
    let epoch = journal.claim(stream(0));

    let poisoned = journal.poisoned();
    assert!(!*poisoned.borrow());
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
    assert!(*poisoned.borrow(), "whoever can open it anew is told");
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
    let folder = scratch();
    let (journal, faults) = faulty(folder.path(), 64 << 20);
    write(&journal, 2, 3);
    let before = content(&journal, 2);
    let epoch = journal.claim(stream(1));
    faults.fail_write(1);
    // Longer than the zeros behind it, so that half of the write is not all of the frame.
    let long = "half".repeat(4_096);
    let unknown = journal.submit(draft(stream(1), epoch, 3, &long)).wait();
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
    let folder = scratch();
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
    assert!(!*journal.poisoned().borrow());
    faults.set_full(false);
    journal
        .submit(draft(stream(0), epoch, expected, "room again"))
        .wait()
        .unwrap();
    write(&journal, 2, 20);
    drop(journal);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}

/// A fault at the `nth` of something.
type Order = fn(&Faults, u64);

/// B-LOG-5: each sync, each write and each act in turn fails, or finds the disk full from there on, while the journal works
/// and while it opens; what was acknowledged is there afterwards, and no more than one frame beside it.
#[test]
fn whatever_fails_what_was_acknowledged_stays() {
    let orders: [(&str, Order); 4] = [
        ("sync", Faults::fail_sync),
        ("write", Faults::fail_write),
        ("full disk", Faults::fill_up),
        ("act that is done and not told", Faults::fail_untold),
    ];
    let mut dice = Dice::seeded("failing acts");
    for (what, order) in orders {
        for before_opening in [true, false] {
            // With and without a filler that prepares segments ahead: they take their places in different ways.
            for fill_ahead in [0, 4 << 10] {
                // Every sync always; of the rest each fifth, from a place that rotates, unless all is asked for.
                let all = what == "sync" || std::env::var_os("LONGHAUL_TEST_DEEP").is_some();
                let step = if all { 1 } else { 5 };
                let begun = std::time::Instant::now();
                let mut nth = 1 + dice.below(step);
                while fail_at(what, order, nth, before_opening, fill_ahead) {
                    nth += step;
                    assert!(nth < 1_000, "{what} {nth} of a workload of 40 frames");
                }
                println!(
                    "{what} up to {nth}, before opening: {before_opening}, fill ahead {fill_ahead}: {:?}",
                    begun.elapsed()
                );
                assert!(nth > 6, "a workload with only {nth} times {what} proves little");
            }
        }
    }
}

/// Whether the fault came at all.
fn fail_at(what: &str, order: Order, nth: u64, before_opening: bool, fill_ahead: u64) -> bool {
    let story = format!("{what} {nth}, before opening: {before_opening}, fill ahead {fill_ahead}");
    let folder = scratch();
    let faults = Arc::new(Faults::seeded(nth));
    let mut options = Options::default();
    (options.fill_ahead, options.segment_bytes) = (fill_ahead, 2 << 10);
    options.marker_after = Duration::from_secs(3600);
    if before_opening {
        order(&faults, nth);
    }
    let mut done = Done::default();
    if let Ok((journal, _)) = LocalJournal::open_on(
        Arc::new(FaultyDisk::new(Arc::clone(&faults))),
        folder.path(),
        options,
    ) {
        if !before_opening {
            order(&faults, nth);
        }
        done = forty_frames(&journal, &story);
    }
    if !faults.have_struck() {
        return false;
    }
    let (journal, report) = open(folder.path());
    assert_eq!(report.damaged, [], "{story}");
    let head = journal.head(stream(0)).unwrap().map_or(0, |head| head.seq.0);
    let acknowledged = done.frames;
    assert!(
        head == acknowledged || head == acknowledged + 1,
        "{story}: {acknowledged} acknowledged, {head} there"
    );
    for (id, body) in done.blobs {
        assert_eq!(journal.blobs().get(id).unwrap(), body, "{story}");
    }
    write(&journal, 1, 1);
    drop(journal);
    assert!(verify(folder.path(), None).unwrap().is_sound(), "{story}");
    true
}

/// What was acknowledged.
#[derive(Default)]
struct Done {
    frames: u64,
    blobs: Vec<(BlobId, Vec<u8>)>,
}

/// Appends, again where nothing was written, and puts a blob beside every fifth frame, until it is done or the journal is
/// poisoned; says what was acknowledged.
fn forty_frames(journal: &LocalJournal, story: &str) -> Done {
    let epoch = journal.claim(stream(0));
    let (mut acknowledged, mut tries) = (0, 0);
    let mut blobs = Vec::new();
    while acknowledged < 40 && tries < 50 {
        tries += 1;
        if acknowledged % 5 == 0 {
            let body = format!("body {tries}").into_bytes();
            // One that was refused is nothing that anybody names.
            if let Ok(kept) = journal.blobs().put(&mut &body[..]) {
                blobs.push((kept.id, body));
            }
        }
        match journal
            .submit(draft(
                stream(0),
                epoch,
                acknowledged,
                "counted, and of some length",
            ))
            .wait()
        {
            Ok(durable) => acknowledged = durable.seq.0,
            Err(SubmitError::NotWritten { .. }) => {}
            Err(SubmitError::OutcomeUnknown { .. } | SubmitError::Poisoned { .. }) => break,
            Err(other) => panic!("{story}: {other}"),
        }
    }
    let frames = acknowledged;
    Done { frames, blobs }
}

/// The disk is full from each write of a workload on, in turn: nothing is poisoned, nothing is half there, and with room
/// again the same journal goes on.
#[test]
fn whenever_the_disk_fills_up_the_journal_waits_and_goes_on() {
    for fill_ahead in [0, 4 << 10] {
        let mut nth = 1;
        loop {
            let folder = scratch();
            let (journal, faults) = faulty_with(folder.path(), 2 << 10, fill_ahead);
            faults.fill_up(nth);
            let epoch = journal.claim(stream(0));
            let mut refusals = 0;
            let mut acknowledged = 0;
            while acknowledged < 40 {
                match journal
                    .submit(draft(stream(0), epoch, acknowledged, "counted"))
                    .wait()
                {
                    Ok(durable) => acknowledged = durable.seq.0,
                    Err(SubmitError::NotWritten { .. }) => {
                        refusals += 1;
                        // A blob is refused as well, and leaves nothing.
                        journal.blobs().put(&mut &b"no room"[..]).unwrap_err();
                        if refusals % 3 == 0 {
                            faults.set_full(false);
                        }
                    }
                    Err(other) => panic!("full at write {nth}: {other}"),
                }
            }
            let struck = faults.have_struck();
            drop(journal);
            let (journal, report) = open(folder.path());
            assert_eq!(report.damaged, []);
            assert_eq!(
                journal.head(stream(0)).unwrap().unwrap().seq,
                Seq(40),
                "full at write {nth}"
            );
            drop(journal);
            assert!(
                verify(folder.path(), None).unwrap().is_sound(),
                "full at write {nth}"
            );
            if !struck {
                break;
            }
            nth += 1;
        }
        assert!(nth > 3, "only {nth} writes need room");
    }
}

/// A failed sync may leave pages that the kernel calls clean and that are not on disk: reopening writes them anew, so
/// that they survive the power loss that comes then.
#[test]
fn after_a_failed_sync_the_page_cache_is_not_believed() {
    for seed in 0..20 {
        let folder = scratch();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let faults = Arc::new(Faults::seeded(seed));
        let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
        let (journal, _) = LocalJournal::open_on(Arc::clone(&disk) as _, &here, Options::default()).unwrap();
        write(&journal, 2, 3);
        let epoch = journal.claim(stream(0));
        faults.fail_sync(1);
        journal
            .submit(draft(stream(0), epoch, 3, "unknown"))
            .wait()
            .unwrap_err();
        drop(journal);
        // The same page cache, as after a restart of the process alone.
        let (journal, report) =
            LocalJournal::open_on(Arc::clone(&disk) as _, &here, Options::default()).unwrap();
        assert!(report.copied.is_some(), "{report:?}");
        assert_eq!(
            journal.head(stream(0)).unwrap().unwrap().seq,
            Seq(4),
            "seen, and so relied upon"
        );
        write(&journal, 2, 2);
        let before = content(&journal, 2);
        disk.after_power_loss(&here, &there).unwrap();
        drop(journal);
        let (journal, _) = open(&there);
        assert_eq!(content(&journal, 2), before, "seed {seed}");
    }
}

/// A writer that panicked left every later caller waiting for ever, and nobody knew.
#[test]
fn a_panic_of_the_writer_is_poison_and_nobody_waits_for_it() {
    let folder = scratch();
    let panics = Arc::new(AtomicBool::new(false));
    let armed = Arc::clone(&panics);
    let disk = Hooked::by(move |act, path| {
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        assert!(
            !(act == Act::Sync && is_segment && armed.load(Ordering::SeqCst)),
            "on purpose"
        );
        Ok(())
    });
    let mut options = Options::default();
    (options.fill_ahead, options.marker_after) = (0, Duration::from_secs(3600));
    drop(LocalJournal::open_on(Arc::clone(&disk) as _, folder.path(), options.clone()).unwrap());
    let (journal, _) = LocalJournal::open_on(disk, folder.path(), options).unwrap();
    write(&journal, 2, 3);
    let poisoned = journal.poisoned();
    assert!(!*poisoned.borrow());
    panics.store(true, Ordering::SeqCst);
    let epoch = journal.claim(stream(0));
    let receipts: Vec<_> = (3..6)
        .map(|expected| journal.submit(draft(stream(0), epoch, expected, "unknown")))
        .collect();
    for receipt in receipts {
        let error = receipt.wait().unwrap_err();
        assert!(
            matches!(
                error,
                SubmitError::OutcomeUnknown { .. } | SubmitError::Poisoned { .. }
            ),
            "{error:?}"
        );
    }
    let later = journal.submit(draft(stream(1), epoch, 3, "later")).wait();
    assert!(matches!(later, Err(SubmitError::Poisoned { .. })), "{later:?}");
    assert!(*poisoned.borrow());
    assert_eq!(journal.head(stream(0)).unwrap().unwrap().seq, Seq(3));
    drop(journal);
    let (journal, report) = open(folder.path());
    assert_eq!(report.damaged, []);
    assert!(!*journal.poisoned().borrow());
    write(&journal, 2, 1);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}
