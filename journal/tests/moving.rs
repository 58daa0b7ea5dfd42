//! Streams on their way to another place: the same bytes there, nobody's until they are adopted, never two histories of one.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{Dice, draft, open, payloads, small, stream, write};
use longhaul_journal::faults::{Faults, FaultyDisk};
use longhaul_journal::{
    ImportError, Imported, Journal, Limit, LocalJournal, Portable, Seq, SubmitError, backup, inert_streams,
    verify,
};

/// B-LOG-12: sealed parts verbatim, the same file from either place, and nothing of it due or writable.
#[test]
fn an_imported_stream_is_the_same_and_belongs_to_nobody_until_it_is_adopted() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (there, _) = LocalJournal::open(from.path(), small()).unwrap();
    write(&there, 3, 20);
    let body = there.blobs().put(&mut &b"a body"[..]).unwrap();
    let named = draft(stream(1), there.claim(stream(1)), 20, &body.id.to_string());
    there.submit(named).wait().unwrap();
    let written = there.read(stream(1), Seq::ZERO, common::ALL).unwrap();
    there.close();
    let file = Portable::of(from.path(), stream(1)).unwrap().to_bytes();

    let (here, _) = open(to.path());
    write(&here, 1, 2);
    let portable = Portable::parse(&file).unwrap();
    let imported = here.import(&portable).unwrap();
    assert_eq!(
        imported,
        Imported {
            frames: 21,
            head: Seq(21)
        }
    );
    assert_eq!(here.import(&portable).unwrap().frames, 0, "twice is once");
    here.close();

    let (here, _) = open(to.path());
    let read = here.read(stream(1), Seq::ZERO, Limit::default()).unwrap();
    assert_eq!(payloads(&read), payloads(&written));
    assert_eq!(read.last().unwrap().hash, written.last().unwrap().hash);
    assert_eq!(here.blobs().get(body.id).unwrap(), b"a body");
    assert!(here.is_inert(stream(1)));
    let due = here.due(u64::MAX, None, 10).unwrap();
    assert_eq!(
        due.iter().map(|head| head.stream).collect::<Vec<_>>(),
        [stream(0)]
    );
    let refused = here
        .submit(draft(stream(1), here.claim(stream(1)), 21, "mine?"))
        .wait();
    assert!(matches!(refused, Err(SubmitError::Inert { .. })), "{refused:?}");
    assert_eq!(Portable::of(to.path(), stream(1)).unwrap().to_bytes(), file);

    here.adopt(draft(stream(1), here.claim(stream(1)), 21, "mine"))
        .unwrap();
    assert!(!here.is_inert(stream(1)));
    assert_eq!(here.due(u64::MAX, None, 10).unwrap().len(), 2);
    here.close();

    let (here, _) = open(to.path());
    assert!(!here.is_inert(stream(1)), "adopted is adopted");
    here.submit(draft(stream(1), here.claim(stream(1)), 22, "on"))
        .wait()
        .unwrap();
    drop(here);
    assert!(verify(to.path(), None).unwrap().is_sound());
}

/// B-LOG-12
#[test]
fn a_longer_history_extends_a_shorter_one_and_another_one_is_a_conflict() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (there, _) = open(from.path());
    write(&there, 2, 3);
    there.close();
    let short = Portable::of(from.path(), stream(1)).unwrap();
    let (here, _) = open(to.path());
    here.import(&short).unwrap();
    let (there, _) = open(from.path());
    write(&there, 2, 2);
    there.close();
    let long = Portable::of(from.path(), stream(1)).unwrap();
    assert_eq!(
        here.import(&long).unwrap(),
        Imported {
            frames: 2,
            head: Seq(5)
        }
    );
    assert_eq!(
        here.import(&short).unwrap(),
        Imported {
            frames: 0,
            head: Seq(5)
        },
        "what is here is longer"
    );
    here.close();
    // Both places go on by themselves.
    let (here, _) = open(to.path());
    here.adopt(draft(stream(1), here.claim(stream(1)), 5, "here"))
        .unwrap();
    let (there, _) = open(from.path());
    write(&there, 2, 1);
    there.close();
    let other = Portable::of(from.path(), stream(1)).unwrap();
    let refused = here.import(&other);
    assert!(
        matches!(
            refused,
            Err(ImportError::Conflict {
                differs_at: Seq(6),
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(!here.is_inert(stream(1)), "a refusal changes nothing");
}

/// B-LOG-12: whatever happened to the file on its way, no wrong history is taken in.
#[test]
fn a_file_with_a_flipped_bit_or_a_lost_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    write(&journal, 1, 4);
    journal.close();
    let file = Portable::of(folder.path(), stream(0)).unwrap().to_bytes();
    assert!(Portable::parse(&file).is_ok());
    let mut dice = Dice::seeded("flipped bits of an export");
    for _ in 0..400 {
        let mut bytes = file.clone();
        let bit = usize::try_from(dice.below(file.len() as u64 * 8)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Portable::parse(&bytes).is_err(), "bit {bit}");
        let cut = usize::try_from(dice.below(file.len() as u64)).unwrap();
        assert!(Portable::parse(&file[..cut]).is_err(), "cut at {cut}");
    }
}

/// B-LOG-12: a backup of a journal in full flow is a journal as it was at one moment, and all of it is inert.
#[test]
fn a_backup_of_a_live_journal_is_whole_and_belongs_to_nobody() {
    let (folder, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 3, 10);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&journal, 3, 200));
        for round in 0..5 {
            let target = copies.path().join(round.to_string());
            let report = backup(folder.path(), &target).unwrap();
            assert_eq!(report.streams, 3);
            let proof = verify(&target, None).unwrap();
            assert!(proof.is_sound() && proof.torn_bytes == 0, "{proof:?}");
            assert!(proof.records + proof.unconfirmed_frames > 20, "{proof:?}");
            assert_eq!(inert_streams(&target).unwrap().len(), 3);
            assert!(backup(folder.path(), &target).is_err(), "it is there already");
        }
        writing.join().unwrap();
    });
    let (restored, report) = open(&copies.path().join("4"));
    assert_eq!(report.damaged, []);
    assert_eq!(restored.due(u64::MAX, None, 10).unwrap(), []);
    let head = restored.head(stream(2)).unwrap().unwrap();
    restored
        .adopt(draft(stream(2), restored.claim(stream(2)), head.seq.0, "mine"))
        .unwrap();
    assert_eq!(restored.due(u64::MAX, None, 10).unwrap().len(), 1);
    assert_eq!(journal.damage(stream(2)), None);
}

/// B-LOG-12: wherever the power goes in an import, there is less of an inert stream afterwards, or none; the same import
/// ends it.
#[test]
fn an_import_that_is_cut_off_anywhere_leaves_less_of_an_inert_stream() {
    let from = common::scratch();
    let (there, _) = open(from.path());
    let body = there.blobs().put(&mut &b"a body"[..]).unwrap();
    write(&there, 1, 4);
    let named = draft(stream(0), there.claim(stream(0)), 4, &body.id.to_string());
    there.submit(named).wait().unwrap();
    there.close();
    let portable = Portable::of(from.path(), stream(0)).unwrap();
    let mut nth = 1;
    let mut partly = 0;
    loop {
        let folder = common::scratch();
        let (here, after) = (folder.path().join("here"), folder.path().join("after"));
        let faults = Arc::new(Faults::seeded(nth));
        let disk = Arc::new(FaultyDisk::new(Arc::clone(&faults)));
        let (journal, _) = LocalJournal::open_on(Arc::clone(&disk) as _, &here, small()).unwrap();
        faults.cut_power(nth);
        let imported = journal.import(&portable);
        if !faults.have_struck() {
            assert_eq!(imported.unwrap().frames, 5);
            break;
        }
        disk.after_power_loss(&here, &after).unwrap();
        drop(journal);
        let (journal, report) = open(&after);
        assert_eq!((report.damaged, report.lost), (vec![], vec![]), "act {nth}");
        let frames = journal.read(stream(0), Seq::ZERO, Limit::default()).unwrap();
        assert!(frames.is_empty() || journal.is_inert(stream(0)), "act {nth}");
        assert_eq!(journal.due(u64::MAX, None, 10).unwrap(), [], "act {nth}");
        partly += u32::from(!frames.is_empty());
        assert_eq!(journal.import(&portable).unwrap().head, Seq(5), "act {nth}");
        assert_eq!(journal.blobs().get(body.id).unwrap(), b"a body");
        assert!(journal.is_inert(stream(0)), "act {nth}");
        drop(journal);
        assert_eq!(
            Portable::of(&after, stream(0)).unwrap().to_bytes(),
            portable.to_bytes()
        );
        nth += 1;
    }
    assert!(nth > 8 && partly > 0, "{nth} acts, {partly} with frames");
}

/// B-LOG-12: a backup has its name once it is whole and on disk, whenever the power goes, and whatever fails.
#[test]
fn a_backup_that_is_cut_off_anywhere_is_whole_or_none() {
    let from = common::scratch();
    let (there, _) = LocalJournal::open(from.path(), small()).unwrap();
    there.blobs().put(&mut &b"a body"[..]).unwrap();
    write(&there, 2, 30);
    there.close();
    let heads = verify(from.path(), None).unwrap().heads;
    let mut seen = [0; 2];
    for (what, order) in [
        ("power", Faults::cut_power as fn(&Faults, u64)),
        ("sync", Faults::fail_sync),
        ("write", Faults::fail_write),
    ] {
        let mut nth = 1;
        loop {
            let folder = common::scratch();
            let (here, after) = (folder.path().join("here"), folder.path().join("after"));
            std::fs::create_dir_all(&here).unwrap();
            let faults = Arc::new(Faults::seeded(nth));
            let disk = FaultyDisk::new(Arc::clone(&faults));
            order(&faults, nth);
            let done = longhaul_journal::backup_on(&disk, from.path(), &here.join("copy"));
            if !faults.have_struck() {
                done.unwrap();
                break;
            }
            disk.after_power_loss(&here, &after).unwrap();
            let copy = after.join("copy");
            seen[usize::from(copy.exists())] += 1;
            if copy.exists() {
                let story = format!("{what} {nth}");
                let report = verify(&copy, None).unwrap();
                assert!(report.is_sound(), "{story}: {report:?}");
                assert_eq!(inert_streams(&copy).unwrap().len(), 2, "{story}");
                let (restored, _) = open(&copy);
                for (stream, (seq, hash)) in &heads {
                    let head = restored.head(*stream).unwrap().unwrap();
                    assert_eq!((head.seq, head.hash), (*seq, *hash), "{story}");
                }
            }
            // Another try begins anew.
            assert!(done.is_err());
            if what != "power" && !here.join("copy").exists() {
                backup(from.path(), &here.join("copy")).unwrap();
                assert_eq!(open(&here.join("copy")).1.damaged, []);
            }
            nth += 1;
        }
        assert!(nth > 5, "{what}: {nth}");
    }
    assert!(seen[0] > 10, "{seen:?}");
}

/// B-LOG-12: a session that was started anew more often than this journal was opened can be adopted at once.
#[test]
fn what_had_more_boots_elsewhere_is_adopted_without_another_opening() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for _ in 0..5 {
        let (there, _) = open(from.path());
        write(&there, 1, 2);
    }
    let (here, _) = open(to.path());
    here.import(&Portable::of(from.path(), stream(0)).unwrap())
        .unwrap();
    here.adopt(draft(stream(0), here.claim(stream(0)), 10, "mine"))
        .unwrap();
    let epoch = here.claim(stream(0));
    here.submit(draft(stream(0), epoch, 11, "on")).wait().unwrap();
    assert!(epoch.boot() > here.boot(), "no restart of the writer shows");
    drop(here);
    let (here, _) = open(to.path());
    assert!(here.boot() > epoch.boot());
    here.submit(draft(stream(0), here.claim(stream(0)), 12, "and on"))
        .wait()
        .unwrap();
    drop(here);
    assert!(verify(to.path(), None).unwrap().is_sound());
}
