//! Continuing a stream over what it lost: nothing that was given is given again, nothing is edited, others go on.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{draft, open, payloads, small, stream, write};
use longhaul_journal::{
    Frame, Gap, Journal, Limit, LocalJournal, Offline, Options, Seq, StreamId, SubmitError, verify,
};

/// Flips a byte in the records of the frame that begins with `seq`.
fn damage(folder: &Path, stream: StreamId, seq: u64) {
    let mut position = None;
    Offline::open(folder)
        .unwrap()
        .walk(Some(stream), |entry| {
            if let longhaul_journal::Entry::Frame(frame) = entry
                && frame.first_seq() == Seq(seq)
            {
                position = Some(frame.position.0);
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    let position = position.expect("the frame is there");
    let mut firsts: Vec<u64> = common::segments(folder)
        .iter()
        .map(|path| u64::from_str_radix(&path.file_stem().unwrap().to_string_lossy(), 16).unwrap())
        .collect();
    firsts.sort_unstable();
    let first = *firsts.iter().rev().find(|first| **first <= position).unwrap();
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(folder.join(format!("journal/{first:016x}.seg")))
        .unwrap();
    // Well behind the header, within the payload of the one record.
    let at = 64 + position - first + 100;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn all(journal: &LocalJournal, stream: StreamId) -> Vec<std::sync::Arc<Frame>> {
    let mut frames = Vec::new();
    loop {
        let after = frames
            .last()
            .map_or(Seq::ZERO, |frame: &std::sync::Arc<Frame>| frame.last_seq());
        let page = journal
            .read(
                stream,
                after,
                Limit {
                    records: 2,
                    bytes: 1 << 20,
                },
            )
            .unwrap();
        if page.is_empty() {
            return frames;
        }
        frames.extend(page);
    }
}

fn seqs(journal: &LocalJournal, stream: StreamId) -> Vec<u64> {
    all(journal, stream)
        .iter()
        .map(|frame| frame.first_seq().0)
        .collect()
}

/// Continues `stream` after `stands`, and says which seq that gave.
fn continue_after(journal: &LocalJournal, stream: StreamId, stands: u64) -> Seq {
    let frames = journal
        .read(stream, Seq(stands - 1), Limit { records: 1, bytes: 1 })
        .unwrap();
    let gap = Gap {
        resumes_after: Seq(stands),
        hash: frames[0].hash,
    };
    let expected = journal.highest_seen(stream).unwrap();
    let epoch = journal.claim(stream);
    journal
        .submit_over_gap(draft(stream, epoch, expected.0, "over the gap"), gap)
        .wait()
        .unwrap()
        .seq
}

/// B-LOG-10: one lost frame, wherever it lay; the stream goes on with a number nobody has seen, also after a restart,
/// also when the catalogue is built again, and the neighbours never notice.
#[test]
fn a_stream_goes_on_behind_its_gap_and_what_lay_in_it_is_set_aside() {
    for (options, what) in [
        (Options::default as fn() -> Options, "one segment"),
        (small, "many segments"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = LocalJournal::open(folder.path(), options()).unwrap();
        write(&journal, 3, 40);
        let neighbour = payloads(&all(&journal, stream(0)));
        drop(journal);
        damage(folder.path(), stream(1), 11);

        let (journal, _) = LocalJournal::open(folder.path(), options()).unwrap();
        assert!(
            journal.read(stream(1), Seq(10), Limit::default()).is_err(),
            "{what}"
        );
        let refused = journal
            .submit(draft(stream(1), journal.claim(stream(1)), 40, "no"))
            .wait();
        assert!(
            matches!(
                refused,
                Err(SubmitError::Quarantined {
                    readable_to: Seq(10),
                    ..
                })
            ),
            "{what}: {refused:?}"
        );
        assert_eq!(continue_after(&journal, stream(1), 10), Seq(41), "{what}");
        journal
            .submit(draft(stream(1), journal.claim(stream(1)), 41, "and on"))
            .wait()
            .unwrap();
        let expected: Vec<u64> = (1..=10).chain([41, 42]).collect();
        assert_eq!(seqs(&journal, stream(1)), expected, "{what}");
        // A reader who had come to a seq that is set aside goes on behind the gap.
        let later = journal.read(stream(1), Seq(25), Limit::default()).unwrap();
        assert_eq!(later[0].first_seq(), Seq(41), "{what}");
        assert_eq!(later[0].resumes_after, Some(Seq(10)), "{what}");
        drop(journal);

        for again in ["reopened", "without a catalogue", "with the new one"] {
            if again == "without a catalogue" {
                fs::remove_dir_all(folder.path().join("catalogue")).unwrap();
            }
            let (journal, _) = LocalJournal::open(folder.path(), options()).unwrap();
            assert_eq!(seqs(&journal, stream(1)), expected, "{what}, {again}");
            assert_eq!(journal.damage(stream(1)), None, "{what}, {again}");
            assert_eq!(payloads(&all(&journal, stream(0))), neighbour, "{what}, {again}");
        }
        let report = verify(folder.path(), None).unwrap();
        assert!(report.is_sound(), "{what}: {report:?}");
        assert_eq!(
            (report.repaired[0].resumes_after, report.repaired[0].first_seq),
            (Seq(10), Seq(41)),
            "{what}"
        );
    }
}

/// B-LOG-10: a seq that was acknowledged and lost is not given again, even when nothing came after it.
#[test]
fn the_seq_of_a_lost_last_frame_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path());
    write(&journal, 2, 5);
    drop(journal);
    damage(folder.path(), stream(1), 5);
    let (journal, report) = open(folder.path());
    assert_eq!(report.damaged.len(), 1, "{report:?}");
    assert_eq!(continue_after(&journal, stream(1), 4), Seq(6));
    assert_eq!(seqs(&journal, stream(1)), [1, 2, 3, 4, 6]);
    drop(journal);
    assert!(verify(folder.path(), None).unwrap().is_sound());
}

/// B-LOG-10: whoever lists the streams meets one whose very first frame is the damaged one.
#[test]
fn a_stream_without_its_first_frame_is_still_listed_and_takes_no_writes() {
    for options in [Options::default as fn() -> Options, small] {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = LocalJournal::open(folder.path(), options()).unwrap();
        write(&journal, 3, 40);
        drop(journal);
        damage(folder.path(), stream(1), 1);
        for catalogue in ["kept", "built again", "kept once more"] {
            if catalogue == "built again" {
                fs::remove_dir_all(folder.path().join("catalogue")).unwrap();
            }
            let (journal, _) = LocalJournal::open(folder.path(), options()).unwrap();
            // Damage to a segment that was indexed long ago is met when it is read.
            let read = journal.read(stream(1), Seq::ZERO, Limit::default());
            assert!(read.is_err(), "{catalogue}: {read:?}");
            let listed = journal.list("session", None, 10).unwrap();
            assert!(
                listed.iter().any(|head| head.stream == stream(1)),
                "{catalogue}: {listed:?}"
            );
            let refused = journal
                .submit(draft(
                    stream(1),
                    journal.claim(stream(1)),
                    0,
                    "again from the start",
                ))
                .wait();
            assert!(
                matches!(refused, Err(SubmitError::Quarantined { .. })),
                "{catalogue}: {refused:?}"
            );
        }
    }
}
