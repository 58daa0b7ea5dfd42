//! What is taken from memory is what would have been read.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use std::path::Path;

use crate::catalogue::Catalogue;
use crate::id::{Position, Seq, StreamId};
use crate::local::indexer;
use crate::{Draft, Gap, Journal, Level, LocalJournal, NewRecord, Options, Standing};

const STREAMS: u64 = 40;

fn stream(number: u64) -> StreamId {
    StreamId::named("task", "local", &number.to_string())
}

fn draft(journal: &LocalJournal, number: u64, expected: u64) -> Draft {
    Draft {
        stream: stream(number),
        kind: "task".into(),
        epoch: journal.claim(stream(number)),
        expected: Seq(expected),
        time_ms: expected,
        standing: match (number + expected) % 3 {
            0 => Standing::Owed,
            1 => Standing::Until(expected),
            _ => Standing::Done,
        },
        records: vec![NewRecord {
            type_name: "task.moved".into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: b"{}".to_vec(),
        }],
    }
}

/// A journal with several sealed segments of which nothing is in the catalogue. Every third stream stops early, so that its
/// head lies in a sealed segment; the others move on in the active one.
fn journal(folder: &Path) -> LocalJournal {
    let options = Options {
        segment_bytes: 4 << 10,
        fill_ahead: 0,
        ..Options::default()
    };
    let (journal, _) = LocalJournal::open(folder, options).unwrap();
    // Nothing is indexed while nobody may write to the catalogue.
    journal.index.stop_settling();
    for round in 0..6 {
        for number in (0..STREAMS).filter(|number| round < 2 || number % 3 > 0) {
            journal.submit(draft(&journal, number, round)).wait().unwrap();
        }
    }
    journal
}

fn sealed(journal: &LocalJournal) -> (Vec<crate::segment::Segment>, Position) {
    let indexed = journal.index.settled();
    indexer::next_sealed(&journal.index.segments, indexed, Position(u64::MAX))
        .unwrap()
        .unwrap()
}

/// B-LOG-8: the catalogue is the same whichever way it came about.
#[test]
fn what_fresh_frames_add_is_what_reading_the_segments_adds() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let (sealed, through) = sealed(&journal);
    assert!(sealed.len() > 2, "several segments go in together");
    let catalogue = Catalogue::open(&folder.path().join("other"), 1 << 20, [7; 16]).unwrap();

    let (read, lost) = indexer::additions(&catalogue, &sealed).unwrap();
    let known = journal
        .index
        .additions_of_fresh(&catalogue, through)
        .unwrap()
        .expect("nothing is out of the ordinary");
    assert!(lost.is_empty());
    assert_eq!(read.streams.len() as u64, STREAMS);
    assert_eq!(format!("{known:?}"), format!("{read:?}"));

    // Once more over a catalogue that has a part of it, as after a close that did not wait.
    catalogue.absorb([7; 16], &known, through, || true).unwrap();
    let (read, _) = indexer::additions(&catalogue, &sealed).unwrap();
    let known = journal.index.additions_of_fresh(&catalogue, through).unwrap();
    assert_eq!(format!("{:?}", known.unwrap()), format!("{read:?}"));
    catalogue.close();
}

#[test]
fn a_stream_that_was_continued_over_a_gap_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let head = journal.head(stream(0)).unwrap().unwrap();
    let gap = Gap {
        resumes_after: head.seq,
        hash: head.hash,
    };
    journal
        .submit_over_gap(draft(&journal, 0, 9), gap)
        .wait()
        .unwrap();
    for round in 6..12 {
        for number in (0..STREAMS).filter(|number| number % 3 > 0) {
            journal.submit(draft(&journal, number, round)).wait().unwrap();
        }
    }
    let (_, through) = sealed(&journal);
    let catalogue = Catalogue::open(&folder.path().join("other"), 1 << 20, [7; 16]).unwrap();
    let known = journal.index.additions_of_fresh(&catalogue, through).unwrap();
    assert!(known.is_none());
    catalogue.close();
}

#[test]
fn where_anything_is_damaged_the_segments_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path());
    let (_, through) = sealed(&journal);
    let catalogue = Catalogue::open(&folder.path().join("other"), 1 << 20, [7; 16]).unwrap();
    journal.index.quarantine(crate::Damage {
        stream: stream(1),
        kind: "task".into(),
        readable_to: Seq(1),
        reason: "a test says so".into(),
    });
    assert!(
        journal
            .index
            .additions_of_fresh(&catalogue, through)
            .unwrap()
            .is_none()
    );
    catalogue.close();
}
