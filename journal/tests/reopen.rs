//! Opening what an earlier process left behind: clean, torn, damaged, without its catalogue, or still in use.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{ALL, Dice, content, copy_dir, draft, open, payloads, segments, small, stream, write};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{
    CatalogueState, Journal, LocalJournal, OpenError, Options, Position, ReadError, Seq, SubmitError, verify,
};

#[test]
fn a_clean_stop_leaves_nothing_to_mend() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, first) = open(folder.path());
    assert!(first.created);
    write(&journal, 3, 5);
    let before = content(&journal, 3);
    drop(journal);
    let (journal, report) = open(folder.path());
    assert_eq!(
        (report.boot, report.created, report.torn, report.copied),
        (first.boot + 1, false, None, None)
    );
    assert_eq!(report.damaged, []);
    assert_eq!(content(&journal, 3), before);
    assert_eq!(segments(folder.path()).len(), 1, "it goes on in place");
    write(&journal, 3, 5);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}

/// B-LOG-7: whatever half of a frame a crash leaves is dropped whole and reported; what was acknowledged stays.
#[test]
fn a_torn_tail_is_dropped_whole_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    // No marker: the frames of the last batch stay unconfirmed, as after a kill.
    options.marker_after = Duration::from_secs(3600);
    options.fill_ahead = 64 << 10;
    let (journal, _) = LocalJournal::open(folder.path(), options).unwrap();
    write(&journal, 4, 10);
    let kept = content(&journal, 4);
    let intact = tempfile::tempdir().unwrap();
    copy_dir(folder.path(), intact.path());
    let epoch = journal.claim(stream(0));
    let last = journal
        .submit(draft(stream(0), epoch, 10, "the torn one"))
        .wait()
        .unwrap();
    let torn_from = last.position.0;
    let bytes = fs::read(&segments(folder.path())[0]).unwrap();
    let frame_end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    drop(journal);

    let mut dice = Dice::seeded("torn tails");
    for _ in 0..40 {
        let cut = torn_from + 1 + dice.below(frame_end - torn_from - 1);
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(intact.path(), crashed.path());
        let mut torn = bytes.clone();
        torn[usize::try_from(cut).unwrap()..].fill(0);
        fs::write(&segments(crashed.path())[0], &torn).unwrap();
        let (journal, report) = open(crashed.path());
        let tail = report
            .torn
            .unwrap_or_else(|| panic!("cut at {cut} of {torn_from}..{frame_end} was not reported"));
        assert_eq!(tail.position.0, torn_from);
        assert_eq!(report.damaged, [], "a torn tail is no damage");
        assert_eq!(content(&journal, 4), kept);
        write(&journal, 4, 2);
        drop(journal);
        let (journal, report) = open(crashed.path());
        assert_eq!(report.torn, None, "it is reported once");
        assert_eq!(journal.head(stream(0)).unwrap().unwrap().seq, Seq(12));
        assert!(verify(crashed.path(), None).unwrap().is_sound());
    }
}

/// B-LOG-5: what the page cache shows after an unclean stop is synced anew before anything is acknowledged on top of it.
#[test]
fn an_unclean_stop_copies_the_unconfirmed_tail_to_a_new_segment() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.marker_after = Duration::from_secs(3600);
    let (journal, _) = LocalJournal::open(folder.path(), options).unwrap();
    write(&journal, 2, 6);
    let before = content(&journal, 2);
    let killed = tempfile::tempdir().unwrap();
    copy_dir(folder.path(), killed.path());
    drop(journal);

    let (journal, report) = open(killed.path());
    let copied = report
        .copied
        .expect("the last batch was not confirmed by anything after it");
    assert!(copied.frames > 0);
    assert_eq!(segments(killed.path()).len(), 2);
    assert_eq!(content(&journal, 2), before, "positions and hashes included");
    write(&journal, 2, 1);
    drop(journal);
    let (journal, report) = open(killed.path());
    assert_eq!(report.copied, None);
    assert_eq!(journal.head(stream(1)).unwrap().unwrap().seq, Seq(7));
    assert!(verify(killed.path(), None).unwrap().is_sound());
}

/// The segment that holds the frame at a position, its bytes, and which of them the frame is.
fn lies(paths: &[PathBuf], position: Position) -> (&Path, Vec<u8>, Range<usize>) {
    let first_of =
        |path: &Path| u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
    let path = paths.iter().rfind(|path| first_of(path) <= position.0).unwrap();
    let bytes = fs::read(path).unwrap();
    let from = usize::try_from(64 + position.0 - first_of(path)).unwrap();
    let len = 29 + u32::from_le_bytes(bytes[from + 5..from + 9].try_into().unwrap());
    let place = from..from + usize::try_from(len).unwrap();
    (path, bytes, place)
}

/// B-LOG-6, B-LOG-10: nothing follows the last frame of a stream that could tell that it is missing, so whatever byte of it is
/// flipped, the frame itself has to say whose it was.
#[test]
fn whichever_byte_of_its_last_frame_is_flipped_a_stream_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 3, 2);
    let frames: Vec<_> = (0..3)
        .map(|number| content(&journal, 3)[&number][1].clone())
        .collect();
    drop(journal);
    let paths = segments(folder.path());
    for frame in frames {
        let (path, sound, place) = lies(&paths, frame.position);
        for at in place.clone() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                fs::write(path, &bytes).unwrap();
                let report = verify(folder.path(), None).unwrap();
                let named: Vec<_> = report
                    .damaged
                    .iter()
                    .map(|damage| (damage.stream, damage.readable_to))
                    .collect();
                assert_eq!(
                    named,
                    [(frame.stream, Seq(1))],
                    "byte {} bit {bit}: {report:?}",
                    at - place.start
                );
            }
        }
        fs::write(path, &sound).unwrap();
    }
}

/// B-LOG-6, B-LOG-10: a flipped byte of an acknowledged frame is found, named, and stops only its own stream.
#[test]
fn a_flipped_byte_is_named_and_quarantines_only_its_stream() {
    const STREAMS: u64 = 5;
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, STREAMS, 40);
    let before = content(&journal, STREAMS);
    drop(journal);
    let paths = segments(folder.path());
    assert!(paths.len() > 5);

    let mut dice = Dice::seeded("flipped bytes");
    for round in 0..60 {
        // A frame that was acknowledged, any of its bytes, and any bit.
        let number = dice.below(STREAMS);
        let frames = &before[&number];
        let frame = &frames[usize::try_from(dice.below(frames.len() as u64)).unwrap()];
        let (path, mut bytes, place) = lies(&paths, frame.position);
        let flipped = place.start + usize::try_from(dice.below(place.len() as u64)).unwrap();
        bytes[flipped] ^= 1 << dice.below(8);
        let hurt = tempfile::tempdir().unwrap();
        copy_dir(folder.path(), hurt.path());
        fs::write(
            hurt.path().join("journal").join(path.file_name().unwrap()),
            &bytes,
        )
        .unwrap();
        let story = format!(
            "round {round}: stream {number} seq {} byte {}",
            frame.first_seq(),
            flipped - place.start
        );

        let report = verify(hurt.path(), None).unwrap();
        assert!(!report.is_sound(), "{story}");
        // A byte of the id of a first frame may have been flipped: then a stream is named as well that nobody ever wrote.
        let named: Vec<_> = report
            .damaged
            .iter()
            .filter(|damage| (0..STREAMS).any(|number| damage.stream == stream(number)))
            .map(|damage| (damage.stream, damage.readable_to.next()))
            .collect();
        assert_eq!(
            named,
            [(stream(number), frame.first_seq())],
            "{story}: {report:?}"
        );

        // Half of the time without the catalogue, so that both ways of finding frames meet the damage.
        if round % 2 == 0 {
            fs::remove_dir_all(hurt.path().join("catalogue")).unwrap();
        }
        let (journal, _) = LocalJournal::open(hurt.path(), small()).unwrap();
        let after = content(&journal, STREAMS);
        for other in 0..STREAMS {
            let sound = if other == number {
                usize::try_from(frame.first_seq().0 - 1).unwrap()
            } else {
                40
            };
            assert_eq!(after[&other], before[&other][..sound], "{story}: stream {other}");
        }
        let read = journal.read(stream(number), Seq(frame.first_seq().0 - 1), ALL);
        assert!(
            matches!(read, Err(ReadError::Damaged { .. })),
            "{story}: {read:?}"
        );
        let epoch = journal.claim(stream(number));
        let refused = journal.submit(draft(stream(number), epoch, 40, "no")).wait();
        assert!(
            matches!(refused, Err(SubmitError::Quarantined { .. })),
            "{story}: {refused:?}"
        );
        let other = (number + 1) % STREAMS;
        journal
            .submit(draft(stream(other), journal.claim(stream(other)), 40, "yes"))
            .wait()
            .unwrap();
    }
}

#[test]
fn a_catalogue_that_is_gone_or_damaged_is_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 6, 40);
    let before = content(&journal, 6);
    let listed = journal.list("session", None, 100).unwrap();
    drop(journal);

    let gone = tempfile::tempdir().unwrap();
    copy_dir(folder.path(), gone.path());
    fs::remove_dir_all(gone.path().join("catalogue")).unwrap();
    let (journal, report) = LocalJournal::open(gone.path(), small()).unwrap();
    assert!(
        matches!(report.catalogue, CatalogueState::Rebuilt { moved_to: None, .. }),
        "{:?}",
        report.catalogue
    );
    assert_eq!(content(&journal, 6), before);
    assert_eq!(journal.list("session", None, 100).unwrap(), listed);
    drop(journal);

    let mut dice = Dice::seeded("flipped catalogues");
    for round in 0..25 {
        let hurt = tempfile::tempdir().unwrap();
        copy_dir(folder.path(), hurt.path());
        let db = hurt.path().join("catalogue/db");
        let mut bytes = fs::read(&db).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
        let at = usize::try_from(dice.below(used)).unwrap();
        bytes[at] ^= 1 << dice.below(8);
        fs::write(&db, &bytes).unwrap();
        let (journal, report) = LocalJournal::open(hurt.path(), small()).unwrap();
        let story = format!(
            "round {round}: byte {at} of the catalogue, {:?}",
            report.catalogue
        );
        assert_eq!(report.damaged, [], "{story}");
        assert_eq!(content(&journal, 6), before, "{story}");
        assert_eq!(journal.list("session", None, 100).unwrap(), listed, "{story}");
        assert_eq!(journal.due(0, None, 100).unwrap(), listed, "{story}");
        write(&journal, 6, 2);
    }
}

#[test]
fn a_directory_in_use_says_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.socket = Some("/run/longhaul.sock".into());
    let (journal, _) = LocalJournal::open(folder.path(), options).unwrap();
    let second = LocalJournal::open(folder.path(), Options::default());
    let Err(OpenError::InUse { holder, .. }) = second else {
        panic!("{second:?}")
    };
    assert_eq!(holder.pid, std::process::id());
    write(&journal, 1, 1);
    journal.close();
    let (next, _) = LocalJournal::open(folder.path(), Options::default()).unwrap();
    write(&next, 1, 1);
}

/// B-LOG-8
#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format"), "longhaul 7\n").unwrap();
    let refused = LocalJournal::open(folder.path(), Options::default());
    assert!(
        matches!(
            refused,
            Err(OpenError::NewerFormat {
                found: 7,
                supported: 2,
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(!folder.path().join("journal").exists());
    fs::write(folder.path().join("format"), "something else").unwrap();
    let refused = LocalJournal::open(folder.path(), Options::default());
    assert!(
        matches!(refused, Err(OpenError::Unrecognised { .. })),
        "{refused:?}"
    );
}

/// B-LOG-7: a directory whose segments were gone was begun anew without a word, and every session in it was lost.
#[test]
fn a_directory_that_lost_its_segments_is_not_begun_anew() {
    for (kept, lost) in [("boot", "`boot`"), ("blobs", "`blobs`")] {
        for folder_too in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let (journal, _) = open(folder.path());
            write(&journal, 2, 2);
            journal.blobs().put(&mut &b"a body"[..]).unwrap();
            drop(journal);
            let away = tempfile::tempdir().unwrap();
            copy_dir(&folder.path().join("journal"), away.path());
            fs::remove_dir_all(folder.path().join("journal")).unwrap();
            if !folder_too {
                fs::create_dir(folder.path().join("journal")).unwrap();
            }
            if kept == "blobs" {
                fs::remove_file(folder.path().join("boot")).unwrap();
            }
            for _ in 0..2 {
                let refused = LocalJournal::open(folder.path(), Options::default())
                    .map(drop)
                    .unwrap_err();
                assert!(matches!(refused, OpenError::Lost { .. }), "{refused:?}");
                let told = refused.to_string();
                assert!(
                    told.contains(lost) && told.contains("restore a backup") && told.contains("remove"),
                    "{told}"
                );
            }
            assert_eq!(
                folder.path().join("journal").exists(),
                !folder_too,
                "nothing was changed"
            );
            copy_dir(away.path(), &folder.path().join("journal"));
            let (journal, _) = open(folder.path());
            assert_eq!(journal.head(stream(1)).unwrap().unwrap().seq, Seq(2));
        }
    }
}

/// A crash at the first start, anywhere: what it leaves is not taken for a journal that was lost.
#[test]
fn a_first_start_that_is_cut_short_anywhere_can_be_made_again() {
    for nth in 1.. {
        let folder = common::scratch();
        let (here, there) = (folder.path().join("here"), folder.path().join("there"));
        let faults = Arc::new(Faults::seeded(nth));
        let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
        faults.cut_power(nth);
        let opened = LocalJournal::open_on(Arc::clone(&disk) as _, &here, Options::default());
        let struck = faults.have_struck();
        disk.after_power_loss(&here, &there).unwrap();
        drop(opened);
        // The process was killed, or the machine lost its power.
        for folder in [&here, &there] {
            let (journal, report) = open(folder);
            assert_eq!(report.damaged, [], "act {nth}");
            write(&journal, 1, 1);
        }
        if !struck {
            assert!(nth > 10, "only {nth} acts");
            break;
        }
    }
}

/// B-LOG-12: a backup of a journal that nothing was written to yet is one, too.
#[test]
fn a_backup_of_an_empty_journal_opens() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder.path().join("data")));
    longhaul_journal::backup(&folder.path().join("data"), &folder.path().join("copy")).unwrap();
    let (journal, _) = open(&folder.path().join("copy"));
    write(&journal, 1, 1);
}

/// B-CRASH-6: epochs rise over every opening, even if the file that counts them is lost.
#[test]
fn a_lost_boot_file_does_not_bring_old_writers_back() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let (journal, _) = open(folder.path());
        write(&journal, 2, 1);
    }
    for damage in [None, Some("3 00000000\n"), Some("")] {
        let path = folder.path().join("boot");
        match damage {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let (journal, report) = open(folder.path());
        let written = journal.head(stream(0)).unwrap().unwrap().epoch.boot();
        assert!(
            report.boot > written,
            "{damage:?}: boot {} after {written}",
            report.boot
        );
        write(&journal, 2, 1);
    }
}

#[test]
fn standings_and_lists_survive_in_the_catalogue_and_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 50, 4);
    let listed = journal.list("session", None, 100).unwrap();
    assert_eq!(listed.len(), 50);
    drop(journal);
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    assert_eq!(journal.list("session", None, 100).unwrap(), listed);
    let mut paged = Vec::new();
    loop {
        let page = journal
            .due(
                0,
                paged.last().map(|head: &longhaul_journal::Head| head.stream),
                7,
            )
            .unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, listed);
}

#[test]
fn a_small_journal_is_small_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    write(&journal, 1, 3);
    drop(journal);
    let bytes: u64 = segments(folder.path())
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(bytes < 6 << 20, "{bytes} bytes");
    let (journal, _) = open(folder.path());
    assert_eq!(payloads(&content(&journal, 1)[&0]).len(), 3);
}

/// A reader once looked at the catalogue, and then at what was fresh: a segment that moved from one to the other in
/// between was in neither, its frames seemed to be missing, and a healthy stream was quarantined.
#[test]
fn a_reader_misses_nothing_while_segments_move_to_the_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = small();
    options.segment_bytes = 1 << 10;
    let (journal, _) = LocalJournal::open(folder.path(), options).unwrap();
    let epoch = journal.claim(stream(0));
    let writing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for expected in 0..800 {
                journal
                    .submit(draft(stream(0), epoch, expected, "word"))
                    .wait()
                    .unwrap();
            }
            writing.store(false, std::sync::atomic::Ordering::SeqCst);
        });
        while writing.load(std::sync::atomic::Ordering::SeqCst) {
            let head = journal.head(stream(0)).unwrap().map_or(0, |head| head.seq.0);
            let after = Seq(head.saturating_sub(40));
            let frames = journal.read(stream(0), after, ALL).unwrap();
            assert!(frames.last().is_none_or(|frame| frame.last_seq() >= Seq(head)));
        }
    });
    assert_eq!(journal.damage(stream(0)), None);
}
