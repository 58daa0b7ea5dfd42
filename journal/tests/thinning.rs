//! Removing streams, and freeing the room they took: what stays is byte for byte what it was, whatever happens meanwhile.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{ALL, Act, Dice, Hooked, content, draft, scratch, segments, stream, write};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{
    Compaction, CompactionReport, Frame, ImportError, Journal, Level, LocalJournal, NewRecord, Options,
    Portable, PortableError, Position, REMOVED, Seq, SubmitError, verify,
};

const STREAMS: u64 = 6;

/// Seeds that once failed, with what they found. They are always run, of thinning and of flips. Empty: none was noted down
/// so far.
const KEPT: &[(&str, u64)] = &[];

fn options() -> Options {
    let mut options = Options::default();
    (options.segment_bytes, options.fill_ahead) = (4 << 10, 0);
    options.marker_after = Duration::from_secs(3600);
    options
}

fn open(folder: &Path) -> LocalJournal {
    LocalJournal::open(folder, options()).unwrap().0
}

fn said() -> NewRecord {
    NewRecord {
        type_name: "stream.removed".into(),
        type_version: 1,
        cause: None,
        level: Level::Internal,
        payload: b"{\"by\":\"a test\"}".to_vec(),
    }
}

fn remove(journal: &LocalJournal, number: u64) -> Seq {
    journal.remove(stream(number), 5_000, said()).unwrap().seq
}

/// Six streams in turns over some dozen segments, of which four are removed.
fn mostly_removed(folder: &Path) -> (LocalJournal, BTreeMap<u64, Vec<Arc<Frame>>>) {
    let journal = open(folder);
    let kept = remove_most(&journal);
    (journal, kept)
}

fn remove_most(journal: &LocalJournal) -> BTreeMap<u64, Vec<Arc<Frame>>> {
    write(journal, STREAMS, 60);
    for number in 0..4 {
        assert_eq!(remove(journal, number), Seq(61));
    }
    seal(journal, 4..STREAMS, 40);
    kept(journal)
}

/// Goes on for a while, so that the frames of removal are sealed.
fn seal(journal: &LocalJournal, streams: std::ops::Range<u64>, rounds: u64) {
    for _ in 0..rounds {
        for number in streams.clone() {
            let head = journal.head(stream(number)).unwrap().unwrap();
            let epoch = journal.claim(stream(number));
            journal
                .submit(draft(stream(number), epoch, head.seq.0, "later"))
                .wait()
                .unwrap();
        }
    }
}

fn kept(journal: &LocalJournal) -> BTreeMap<u64, Vec<Arc<Frame>>> {
    let mut all = content(journal, STREAMS);
    all.retain(|number, _| *number >= 4);
    all
}

fn disk_bytes(folder: &Path) -> u64 {
    segments(folder)
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum()
}

fn thin(journal: &LocalJournal) -> CompactionReport {
    journal.compact(Compaction::default()).unwrap()
}

/// What must hold whether or not anything was thinned.
fn is_as_it_was(journal: &LocalJournal, before: &BTreeMap<u64, Vec<Arc<Frame>>>, story: &str) {
    assert_eq!(
        &kept(journal),
        before,
        "{story}: positions, hashes, payloads and all"
    );
    for number in 0..4 {
        let left = journal.read(stream(number), Seq::ZERO, ALL).unwrap();
        assert!(
            left.len() == 1 && left[0].is_removal() && left[0].first_seq() == Seq(61),
            "{story}: {left:?}"
        );
        assert_eq!(journal.damage(stream(number)), None, "{story}");
    }
    let listed = journal.list("session", None, 100).unwrap();
    assert_eq!(listed.len(), 2, "{story}: {listed:?}");
    assert_eq!(journal.list(REMOVED, None, 100).unwrap().len(), 4, "{story}");
    let all = journal.read_all(Position::default(), ALL).unwrap();
    let mut positions: Vec<_> = all.iter().map(|frame| frame.position).collect();
    positions.dedup();
    assert_eq!(positions.len(), all.len(), "{story}: no frame twice");
    assert!(positions.is_sorted(), "{story}");
    for frames in before.values() {
        assert!(
            frames.iter().all(|frame| all.contains(frame)),
            "{story}: none is missing"
        );
    }
}

/// B-LOG-11
#[test]
fn a_removed_stream_is_read_no_more_and_its_name_is_never_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, before) = mostly_removed(folder.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let other = open(elsewhere.path());
    write(&other, 1, 5);
    drop(other);
    let copy = Portable::of(elsewhere.path(), stream(0)).unwrap();

    for what in ["as it is", "thinned", "opened again", "without a catalogue"] {
        let journal = match what {
            "as it is" => &journal,
            "thinned" => {
                assert!(thin(&journal).rewritten > 3);
                &journal
            }
            _ => break,
        };
        is_as_it_was(journal, &before, what);
        let again = journal
            .submit(draft(stream(0), journal.claim(stream(0)), 0, "anew"))
            .wait();
        assert!(
            matches!(again, Err(SubmitError::Conflict { .. })),
            "{what}: {again:?}"
        );
        let on = journal
            .submit(draft(stream(0), journal.claim(stream(0)), 61, "on"))
            .wait();
        assert!(matches!(on, Err(SubmitError::Invalid { .. })), "{what}: {on:?}");
        let back = journal.import(&copy);
        assert!(matches!(back, Err(ImportError::Removed(_))), "{what}: {back:?}");
        assert_eq!(remove(journal, 0), Seq(61), "{what}: twice is once");
        let unknown = journal.remove(stream(99), 5_000, said());
        assert!(matches!(unknown, Err(SubmitError::Invalid { .. })), "{what}");
        assert!(
            journal
                .due(u64::MAX, None, 100)
                .unwrap()
                .iter()
                .all(|head| head.kind == "session"),
            "{what}: it waits for nothing"
        );
    }
    drop(journal);
    for what in ["opened again", "without a catalogue"] {
        if what == "without a catalogue" {
            fs::remove_dir_all(folder.path().join("catalogue")).unwrap();
        }
        let journal = open(folder.path());
        is_as_it_was(&journal, &before, what);
        assert!(
            matches!(journal.import(&copy), Err(ImportError::Removed(_))),
            "{what}"
        );
    }
    let report = verify(folder.path(), None).unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.removed, report.repaired.len()), (4, 0));
    assert!(matches!(
        Portable::of(folder.path(), stream(0)),
        Err(PortableError::NotFound(_))
    ));
}

/// B-LOG-11: counts before and after; what is exported of the others is the same file.
#[test]
fn thinning_frees_the_room_of_what_was_removed_and_moves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, before) = mostly_removed(folder.path());
    let export = || Portable::of(folder.path(), stream(4)).unwrap().to_bytes();
    let (exported, bytes) = (export(), disk_bytes(folder.path()));
    let durable = *journal.watch_all().borrow();
    let report = thin(&journal);
    assert_eq!(report.damaged, 0);
    assert!(report.frames >= 200, "{report:?}");
    let after = disk_bytes(folder.path());
    assert!(
        report.freed > 20_000 && after + report.freed <= bytes,
        "{bytes} to {after}: {report:?}"
    );
    assert_eq!(*journal.watch_all().borrow(), durable);
    is_as_it_was(&journal, &before, "thinned");
    assert!(export() == exported, "the same bytes");
    let twice = thin(&journal);
    assert_eq!((twice.rewritten, twice.freed), (0, 0), "{twice:?}");
    assert_eq!(
        fs::read_to_string(folder.path().join("format")).unwrap(),
        "longhaul 2\n"
    );

    // A segment that was thinned is thinned again when more of it goes.
    remove(&journal, 4);
    let early = journal.compact(Compaction { at_least_percent: 1 }).unwrap();
    assert_eq!(
        early.rewritten, 0,
        "until it is sealed, who reads the files may not know: {early:?}"
    );
    assert!(early.left > 5_000, "{early:?}");
    seal(&journal, 5..6, 80);
    let before = kept(&journal);
    let more = journal.compact(Compaction { at_least_percent: 1 }).unwrap();
    assert!(more.rewritten > 3 && more.freed > 0, "{more:?}");
    assert_eq!(kept(&journal)[&5], before[&5]);
    drop(journal);
    let backup = folder.path().join("copy");
    longhaul_journal::backup(folder.path(), &backup).unwrap();
    let report = verify(&backup, None).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let restored = open(&backup);
    assert_eq!(kept(&restored)[&5], before[&5]);
}

/// A fault at the `nth` of something.
type Order = fn(&Faults, u64);

/// B-LOG-11: whatever fails, or wherever the power goes: nothing is lost and nothing is doubled, and doing it again ends it.
#[test]
fn a_crash_anywhere_in_thinning_leaves_the_old_segment_or_the_new() {
    crash_thinning(Dice::seeded("thinning"));
}

#[test]
fn seeds_that_once_failed_hold() {
    for (story, seed) in KEPT {
        eprintln!("{story}");
        crash_thinning(Dice(*seed));
        flip_thinned(Dice(*seed));
    }
}

fn crash_thinning(mut dice: Dice) {
    let original = scratch();
    let before = mostly_removed(original.path()).1;
    let orders: [(&str, Order); 5] = [
        ("sync", Faults::fail_sync),
        ("write", Faults::fail_write),
        ("full disk", Faults::fill_up),
        ("act done and not told", Faults::fail_untold),
        ("power", Faults::cut_power),
    ];
    for (what, order) in orders {
        let step = if std::env::var_os("LONGHAUL_TEST_DEEP").is_some() {
            1
        } else {
            6
        };
        let mut nth = 1 + dice.below(step);
        loop {
            let story = format!("{what} {nth}");
            let folder = scratch();
            let (here, there) = (folder.path().join("here"), folder.path().join("there"));
            common::copy_dir(original.path(), &here);
            let faults = Arc::new(Faults::seeded(dice.below(u64::MAX)));
            let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
            let (journal, _) = LocalJournal::open_on(Arc::clone(&disk) as _, &here, options()).unwrap();
            order(&faults, nth);
            let thinned = journal.compact(Compaction::default());
            if !faults.have_struck() {
                assert!(
                    thinned.as_ref().is_ok_and(|report| report.rewritten > 3),
                    "{story}: {thinned:?}"
                );
                break;
            }
            // The indexer cuts off what is behind the frames meanwhile, and may be the one that is struck.
            assert!(thinned.is_err() || what != "power", "{story}: {thinned:?}");
            if what == "power" {
                disk.after_power_loss(&here, &there).unwrap();
            } else {
                is_as_it_was(&journal, &before, &format!("{story}, in the same process"));
                faults.set_full(false);
                // It was no write to the end of the journal, so nothing is poisoned.
                let epoch = journal.claim(stream(50));
                journal
                    .submit(draft(stream(50), epoch, 0, "goes on"))
                    .wait()
                    .unwrap();
                remove(&journal, 50);
            }
            drop(journal);
            let after = if what == "power" { &there } else { &here };
            let (journal, report) = LocalJournal::open(after, options()).unwrap();
            assert_eq!((report.damaged, report.lost), (vec![], vec![]), "{story}");
            let listed = journal.list(REMOVED, None, 100).unwrap().len();
            if listed == 4 {
                is_as_it_was(&journal, &before, &story);
            }
            thin(&journal);
            assert_eq!(kept(&journal), before, "{story}, done again");
            drop(journal);
            assert!(verify(after, None).unwrap().is_sound(), "{story}");
            nth += step;
        }
        assert!(nth > 5, "only {nth} times {what}");
    }
}

/// B-LOG-11, B-LOG-12: a crash in the removal itself leaves the stream whole or removed.
#[test]
fn a_crash_anywhere_in_a_removal_leaves_the_stream_or_the_frame_that_says_it_is_gone() {
    let mut nth = 1;
    let mut seen = [false; 2];
    loop {
        let folder = scratch();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let elsewhere = folder.path().join("elsewhere");
        let other = open(&elsewhere);
        write(&other, 1, 5);
        drop(other);
        let faults = Arc::new(Faults::seeded(nth));
        let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
        let (journal, _) = LocalJournal::open_on(Arc::clone(&disk) as _, &here, options()).unwrap();
        // A copy that nobody adopted can be removed as well.
        journal
            .import(&Portable::of(&elsewhere, stream(0)).unwrap())
            .unwrap();
        faults.cut_power(nth);
        let removed = journal.remove(stream(0), 5_000, said());
        if !faults.have_struck() {
            assert!(!journal.is_inert(stream(0)));
            break;
        }
        disk.after_power_loss(&here, &there).unwrap();
        drop(journal);
        let (journal, _) = LocalJournal::open(&there, options()).unwrap();
        let head = journal.head(stream(0)).unwrap().unwrap();
        let is_gone = head.kind == REMOVED;
        assert!(is_gone || removed.is_err(), "what was answered holds");
        assert!(is_gone || journal.is_inert(stream(0)), "a copy stays a copy");
        seen[usize::from(is_gone)] = true;
        assert_eq!(remove(&journal, 0), Seq(6), "and again");
        assert!(!journal.is_inert(stream(0)));
        nth += 1;
    }
    assert_eq!(seen, [true, true], "both were met in {nth} crashes");
}

/// B-LOG-6, B-LOG-7: one flipped byte of a thinned segment is met and told, or made good; the table of runs is made anew.
#[test]
fn a_flipped_byte_of_a_thinned_segment_loses_no_more_than_its_frame() {
    flip_thinned(Dice::seeded("flips"));
}

fn flip_thinned(mut dice: Dice) {
    let original = scratch();
    let (journal, before) = mostly_removed(original.path());
    thin(&journal);
    drop(journal);
    let paths = segments(original.path());
    let deep = std::env::var_os("LONGHAUL_TEST_DEEP").is_some();
    let mut harmless = 0;
    for round in 0..if deep { 2_000 } else { 60 } {
        let folder = scratch();
        common::copy_dir(original.path(), folder.path());
        if round % 2 == 0 {
            fs::remove_dir_all(folder.path().join("catalogue")).unwrap();
        }
        let place = usize::try_from(dice.below(paths.len() as u64 - 1)).unwrap();
        let path = folder
            .path()
            .join("journal")
            .join(paths[place].file_name().unwrap());
        let mut bytes = fs::read(&path).unwrap();
        // Half of them in the header and the table.
        let most = if round % 4 < 2 { 160 } else { bytes.len() as u64 };
        let at = usize::try_from(dice.below(most.min(bytes.len() as u64))).unwrap();
        bytes[at] ^= 1 << dice.below(8);
        fs::write(&path, bytes).unwrap();
        let story = format!("round {round}: byte {at} of {}", path.display());
        let report = verify(folder.path(), None).unwrap();
        let journal = open(folder.path());
        for (number, frames) in &before {
            let mut read = Vec::new();
            let ended = loop {
                let after = read
                    .last()
                    .map_or(Seq::ZERO, |frame: &Arc<Frame>| frame.last_seq());
                match journal.read(stream(*number), after, ALL) {
                    Ok(page) if page.is_empty() => break Ok(()),
                    Ok(page) => read.extend(page),
                    Err(error) => break Err(error),
                }
            };
            assert!(
                frames.starts_with(&read),
                "{story}: what is served is what was written"
            );
            assert!(
                ended.is_err() || read.len() == frames.len(),
                "{story}: a loss is told"
            );
            assert!(
                ended.is_ok() || !report.is_sound(),
                "{story}: verify tells of it too: {ended:?} {report:?}"
            );
        }
        harmless += u32::from(report.is_sound());
    }
    assert!(harmless > 5, "headers and tables can be done without: {harmless}");
}

/// Writers append and readers read while segments are thinned under them.
#[test]
fn thinning_goes_on_beside_writers_and_readers() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, before) = mostly_removed(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let epoch = journal.claim(stream(7));
            let mut written = 0;
            while !done.load(Ordering::Relaxed) || written < 50 {
                journal
                    .submit(draft(stream(7), epoch, written, "meanwhile"))
                    .wait()
                    .unwrap();
                written += 1;
            }
            written
        });
        let reading = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(kept(&journal), before);
                let copy = tempfile::tempdir().unwrap();
                let backup = copy.path().join("copy");
                longhaul_journal::backup(folder.path(), &backup).unwrap();
                assert!(verify(&backup, None).unwrap().is_sound());
            }
        });
        assert!(thin(&journal).rewritten > 3);
        done.store(true, Ordering::Relaxed);
        let written = writing.join().unwrap();
        assert_eq!(journal.head(stream(7)).unwrap().unwrap().seq, Seq(written));
        reading.join().unwrap();
    });
}

/// A segment counted as settled before its room was cut off: thinning put another file under its name in between, and that
/// one was stretched to the length of the old.
#[test]
fn a_segment_is_cut_before_it_may_be_thinned() {
    let folder = tempfile::tempdir().unwrap();
    let journal: Arc<OnceLock<LocalJournal>> = Arc::default();
    let (known, thinning) = (Arc::clone(&journal), Arc::new(Mutex::new(None)));
    let started = Arc::clone(&thinning);
    let disk = Hooked::by(move |act, _| {
        if thread::current().name() != Some("journal-index") {
            return Ok(());
        }
        if known.get().is_none() {
            // So that most of it is indexed at once, when all is written.
            return match act {
                Act::OpenToRead => Err(std::io::Error::other("not yet")),
                _ => Ok(()),
            };
        }
        let mut started = started.lock().unwrap();
        if act == Act::OpenToWrite && started.is_none() {
            let known = Arc::clone(&known);
            let thinning = started.insert(thread::spawn(move || thin(known.get().unwrap())));
            // It gets its time; as it should be, it waits until this segment and all others are cut.
            let since = Instant::now();
            while !thinning.is_finished() && since.elapsed() < Duration::from_millis(500) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    });
    let (opened, _) = LocalJournal::open_on(disk, folder.path(), options()).unwrap();
    let before = remove_most(&opened);
    let journal = journal.get_or_init(|| opened);
    common::until("all is thinned", || {
        let thinning = thinning.lock().unwrap();
        thinning.as_ref().is_some_and(JoinHandle::is_finished)
    });
    is_as_it_was(journal, &before, "thinned");
    // The indexer has ended then.
    journal.close();
    let thinning = thinning.lock().unwrap().take().unwrap();
    assert!(thinning.join().unwrap().rewritten > 3);
    let mut thinned = 0;
    for path in segments(folder.path()) {
        let bytes = fs::read(path).unwrap();
        if bytes[8] == 2 {
            thinned += 1;
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            assert!(bytes.len() - end < 8, "it ends with a frame, not with zeros");
        }
    }
    assert!(thinned > 3);
}
