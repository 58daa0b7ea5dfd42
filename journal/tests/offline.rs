//! Looking at a journal from beside it: while it is written, without its lock, and without its catalogue.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::fs;
use std::ops::ControlFlow;

use common::{content, copy_dir, draft, open, small, stream, write};
use longhaul_journal::{
    ChainHash, Entry, HeadCheck, Journal, LocalJournal, Offline, OfflineError, Portable, PortableError, Seq,
    backup, directory_format, stats, verify, verify_blobs,
};

fn frames_of(offline: &Offline, number: Option<u64>) -> Vec<(longhaul_journal::StreamId, u64)> {
    let mut seen = Vec::new();
    let walk = offline.walk(number.map(stream), |entry| {
        match entry {
            Entry::Frame(frame) => seen.push((frame.stream, frame.first_seq().0)),
            other => panic!("nothing is damaged here: {other:?}"),
        }
        ControlFlow::Continue(())
    });
    walk.unwrap();
    seen
}

#[test]
fn a_live_journal_is_read_without_its_lock_up_to_what_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 4, 30);
    // Each further commit says that everything before it is durable, so all of the above is visible by now.
    journal
        .submit(draft(stream(9), journal.claim(stream(9)), 0, "the last"))
        .wait()
        .unwrap();
    let offline = Offline::open(folder.path()).unwrap();
    for number in 0..4 {
        let expected: Vec<_> = (1..=30).map(|seq| (stream(number), seq)).collect();
        assert_eq!(frames_of(&offline, Some(number)), expected);
    }
    assert!(frames_of(&offline, None).len() >= 120);
    write(&journal, 4, 1);
    fs::remove_dir_all(folder.path().join("catalogue")).unwrap();
    assert!(
        verify(folder.path(), None).unwrap().is_sound(),
        "no catalogue is needed"
    );
}

#[test]
fn a_closed_journal_is_counted_to_the_last_record() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    write(&journal, 4, 30);
    let payload: usize = content(&journal, 4)
        .values()
        .flatten()
        .map(|frame| frame.payload_bytes())
        .sum();
    drop(journal);
    let stats = stats(folder.path()).unwrap();
    assert_eq!(
        (stats.frames, stats.records, stats.payload_bytes),
        (120, 120, payload as u64)
    );
    assert_eq!(stats.streams_by_kind, [("session".to_owned(), 4)].into());
    assert_eq!(stats.segments, common::segments(folder.path()).len() as u64);
    assert!(stats.disk_bytes >= stats.frame_bytes && stats.frame_bytes > stats.payload_bytes);
    assert!(matches!(
        Offline::open(&folder.path().join("nothing")),
        Err(OfflineError::NoJournal { .. })
    ));
}

/// B-LOG-8: whoever only reads would otherwise make something up of what it cannot know.
#[test]
fn what_a_newer_version_wrote_is_read_by_nobody_who_looks_from_beside() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (journal, _) = open(folder);
    write(&journal, 1, 3);
    drop(journal);
    assert_eq!(directory_format(folder).unwrap(), Some(1));
    let looks = || -> Vec<OfflineError> {
        let portable = match Portable::of(folder, stream(0)).unwrap_err() {
            PortableError::Offline(error) => error,
            other => panic!("{other:?}"),
        };
        vec![
            directory_format(folder).unwrap_err(),
            Offline::open(folder).unwrap_err(),
            stats(folder).unwrap_err(),
            verify(folder, None).unwrap_err(),
            verify_blobs(folder).unwrap_err(),
            backup(folder, &folder.join("copy")).unwrap_err(),
            portable,
        ]
    };
    fs::write(folder.join("format"), "longhaul 9\n").unwrap();
    for error in looks() {
        assert!(
            matches!(
                error,
                OfflineError::NewerFormat {
                    found: 9,
                    supported: 2,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    fs::write(folder.join("format"), "something else").unwrap();
    for error in looks() {
        assert!(matches!(error, OfflineError::Unrecognised { .. }), "{error:?}");
    }
    assert!(!folder.join("copy").exists());
    // A copy made by hand may lack the file; its frames say their own format.
    fs::remove_file(folder.join("format")).unwrap();
    assert_eq!(directory_format(folder).unwrap(), None);
    assert!(verify(folder, None).unwrap().is_sound());
}

/// B-LOG-6: a head noted elsewhere proves that the history before it is the same, even against a wholly sound rewrite.
#[test]
fn a_head_noted_elsewhere_tells_another_history_from_a_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    write(&journal, 2, 5);
    let noted = journal.head(stream(1)).unwrap().unwrap().hash;
    drop(journal);
    let earlier = tempfile::tempdir().unwrap();
    copy_dir(folder.path(), earlier.path());
    let (journal, _) = open(folder.path());
    write(&journal, 2, 5);
    let later = journal.head(stream(1)).unwrap().unwrap().hash;
    drop(journal);

    let check =
        |folder: &tempfile::TempDir, hash: ChainHash| verify(folder.path(), Some((stream(1), hash))).unwrap();
    assert_eq!(check(&folder, noted).head, Some(HeadCheck::Holds { seq: Seq(5) }));
    assert_eq!(
        check(&folder, later).head,
        Some(HeadCheck::Holds { seq: Seq(10) })
    );
    let cut = check(&earlier, later);
    assert_eq!((cut.head, cut.is_sound()), (Some(HeadCheck::Missing), false));
    assert_eq!(cut.heads[&stream(1)], (Seq(5), noted));
}
