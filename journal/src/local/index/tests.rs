//! What the index does about a catalogue that cannot be used.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use std::path::Path;

use super::*;
use crate::{Draft, Journal, Level, LocalJournal, NewRecord, Options};

fn stream(number: u64) -> StreamId {
    StreamId::named("task", "local", &number.to_string())
}

/// A journal whose first streams are in the catalogue alone.
fn journal(folder: &Path) -> LocalJournal {
    let options = Options {
        segment_bytes: 4 << 10,
        fill_ahead: 0,
        ..Options::default()
    };
    let (journal, _) = LocalJournal::open(folder, options).unwrap();
    for number in 0..100 {
        let draft = Draft {
            stream: stream(number),
            kind: "task".into(),
            epoch: journal.claim(stream(number)),
            expected: Seq::ZERO,
            time_ms: number,
            standing: Standing::Done,
            records: vec![NewRecord {
                type_name: "task.moved".into(),
                type_version: 1,
                cause: None,
                level: Level::User,
                payload: br#"{"words":"some, so that segments fill up"}"#.to_vec(),
            }],
        };
        journal.submit(draft).wait().unwrap();
    }
    let sealed = journal.index.segments.last().unwrap();
    journal.index.await_settled(sealed, Duration::from_secs(60));
    assert!(!journal.index.is_fresh(stream(0)));
    journal
}

fn turn(journal: &LocalJournal) -> u64 {
    journal.index.catalogue.read().unwrap().turn
}

fn all_are_found(journal: &LocalJournal) {
    assert_eq!(journal.list("task", None, 200).unwrap().len(), 100);
    assert_eq!(journal.head(stream(0)).unwrap().unwrap().seq, Seq(1));
}

fn moved_aside(folder: &Path) -> usize {
    (1..10)
        .filter(|number| folder.join(format!("catalogue.broken-{number}")).exists())
        .count()
}

#[test]
fn a_full_disk_is_no_broken_catalogue() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let full = || Broken::NoRoom("the disk is full".into());
    journal.index.put_right(turn(&journal), Some(&full())).unwrap();
    all_are_found(&journal);

    // As long as it is full, whoever asks is told so.
    let mut asked = 0;
    let refused = journal.index.with_catalogue(|_| -> Result<(), _> {
        asked += 1;
        Err(full())
    });
    assert!(
        matches!(&refused, Err(ReadError::Io { reason, .. }) if reason.contains("full")),
        "{refused:?}"
    );
    assert_eq!(asked, 2);
    all_are_found(&journal);
    assert_eq!(moved_aside(folder.path()), 0);
}

#[test]
fn whoever_comes_late_with_a_broken_catalogue_does_not_break_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let (turn, flawed) = (turn(&journal), Broken::Flawed("a key has an odd shape".into()));
    for _ in 0..3 {
        journal.index.put_right(turn, Some(&flawed)).unwrap();
    }
    assert_eq!(moved_aside(folder.path()), 1);
    all_are_found(&journal);
}

/// sled takes half a snapshot of its pages, which a full disk or a kill at an opening leaves, for the newest one.
#[test]
fn what_an_opening_that_was_cut_short_has_left_is_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    drop(journal(folder.path()));
    let half = folder.path().join("catalogue/snap.00000000FFFFFFFF.generating");
    std::fs::write(&half, "half").unwrap();
    let (journal, report) = LocalJournal::open(folder.path(), Options::default()).unwrap();
    assert_eq!(report.catalogue, crate::CatalogueState::Used);
    all_are_found(&journal);
}

/// A catalogue that could not be built again was given up for good: `the journal is closed`, until the next start.
#[test]
fn a_catalogue_that_could_not_be_built_again_is_built_by_a_later_question() {
    let folder = tempfile::tempdir().unwrap();
    drop(journal(folder.path()));
    let (journal, _) = LocalJournal::open(folder.path(), Options::default()).unwrap();
    // Not the very first, which is open since its header was read.
    let segments = &journal.index.segments;
    let segment = segments.path(segments.firsts()[1]);
    let away = folder.path().join("away");
    std::fs::rename(&segment, &away).unwrap();
    let flawed = Broken::Flawed("a key has an odd shape".into());
    journal
        .index
        .put_right(turn(&journal), Some(&flawed))
        .unwrap_err();
    let told = journal.list("task", None, 200).unwrap_err().to_string();
    assert!(told.contains("No such file"), "{told}");

    std::fs::rename(&away, &segment).unwrap();
    std::thread::sleep(LEFT_ALONE);
    all_are_found(&journal);
    assert_eq!(moved_aside(folder.path()), 1);
    journal.close();
    let told = journal.list("task", None, 200).unwrap_err().to_string();
    assert!(told.contains("closed"), "{told}");
}
