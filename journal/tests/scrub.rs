//! Damage that nobody has run into yet: found by scrubbing, told with its owner, and met by nobody else.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{Dice, draft, scratch, segments, small, stream, write};
use longhaul_journal::{
    BadBlob, Journal, Limit, LocalJournal, Position, ReadError, Seq, SubmitError, acknowledge_lost, verify,
    verify_blobs,
};

const STREAMS: u64 = 4;

fn written(folder: &Path) {
    let mut options = small();
    // A marker belongs to no stream: one that is damaged is told as lost bytes, and is not what this is about.
    options.marker_after = std::time::Duration::from_secs(3600);
    let (journal, _) = LocalJournal::open(folder, options).unwrap();
    write(&journal, STREAMS, 60);
}

/// Scrubs in steps of a few frames, from the beginning to the end.
fn scrub(journal: &LocalJournal) -> (Vec<longhaul_journal::Damage>, Vec<longhaul_journal::Lost>) {
    let (mut damaged, mut lost, mut from) = (Vec::new(), Vec::new(), Position::default());
    for steps in 0.. {
        assert!(steps < 1_000, "it comes to an end");
        let scrubbed = journal.scrub(from, 1_000).unwrap();
        damaged.extend(scrubbed.damaged);
        lost.extend(scrubbed.lost);
        match scrubbed.next {
            Some(next) => from = next,
            None => break,
        }
    }
    (damaged, lost)
}

/// Opens, and waits until everything sealed is in the catalogue.
fn settled(folder: &Path) -> LocalJournal {
    let (journal, _) = LocalJournal::open(folder, small()).unwrap();
    let sealed = segments(folder).len();
    assert!(sealed > 3);
    journal.compact(longhaul_journal::Compaction::default()).unwrap();
    journal
}

/// B-LOG-10, B-LOG-6: one flipped byte anywhere in what is indexed is found, and its stream is quarantined at the right
/// seq, whatever byte it was: the catalogue knows whose it is.
#[test]
fn a_scrub_finds_what_was_damaged_after_it_was_indexed_and_names_its_owner() {
    let original = scratch();
    written(original.path());
    drop(settled(original.path()));
    let paths = segments(original.path());
    let mut dice = Dice::seeded("scrub");
    let deep = std::env::var_os("LONGHAUL_TEST_DEEP").is_some();
    let mut found = 0;
    for round in 0..if deep { 2_000 } else { 40 } {
        let folder = scratch();
        common::copy_dir(original.path(), folder.path());
        let journal = settled(folder.path());
        assert_eq!(scrub(&journal), (vec![], vec![]), "nothing is wrong yet");
        let sealed = paths.len() as u64 - 1;
        let path = folder.path().join("journal").join(
            paths[usize::try_from(dice.below(sealed)).unwrap()]
                .file_name()
                .unwrap(),
        );
        let mut bytes = fs::read(&path).unwrap();
        let at = usize::try_from(64 + dice.below(bytes.len() as u64 - 64)).unwrap();
        bytes[at] ^= 1 << dice.below(8);
        // The same file, so that who has it open reads the same.
        fs::write(&path, &bytes).unwrap();
        let story = format!("round {round}: byte {at} of {}", path.display());
        let (damaged, lost) = scrub(&journal);
        assert_eq!(lost, [], "{story}");
        let report = verify(folder.path(), None).unwrap();
        assert_eq!(
            report.is_sound(),
            damaged.is_empty(),
            "{story}: {damaged:?} {report:?}"
        );
        let Some(damage) = damaged.first() else { continue };
        found += 1;
        assert_eq!(damaged.len(), 1, "{story}: {damaged:?}");
        let known = journal.damage(damage.stream).unwrap();
        assert_eq!(known.readable_to, damage.readable_to, "{story}");
        let read = journal.read(damage.stream, damage.readable_to, Limit::default());
        assert!(
            matches!(read, Err(ReadError::Damaged { .. })),
            "{story}: {read:?}"
        );
        let refused = journal
            .submit(draft(damage.stream, journal.claim(damage.stream), 60, "on"))
            .wait();
        assert!(
            matches!(refused, Err(SubmitError::Quarantined { .. })),
            "{story}: {refused:?}"
        );
        for number in (0..STREAMS).filter(|number| stream(*number) != damage.stream) {
            let epoch = journal.claim(stream(number));
            journal
                .submit(draft(stream(number), epoch, 60, "others go on"))
                .wait()
                .unwrap();
        }
    }
    assert!(found > 20, "{found}");
}

/// B-LOG-6: a body with another hash is named, with the streams that need it.
#[test]
fn a_damaged_body_is_named_with_whoever_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    let needed = journal.blobs().put(&mut &b"a body"[..]).unwrap().id;
    let other = journal.blobs().put(&mut &b"another"[..]).unwrap().id;
    for number in [1, 2] {
        let epoch = journal.claim(stream(number));
        journal
            .submit(draft(stream(number), epoch, 0, &needed.to_string()))
            .wait()
            .unwrap();
    }
    journal.close();
    assert_eq!(verify_blobs(folder.path()).unwrap(), (2, vec![]));
    for id in [needed, other] {
        let name = id.to_string();
        fs::write(
            folder.path().join("blobs").join(&name[..2]).join(&name[2..]),
            "changed",
        )
        .unwrap();
    }
    let (count, mut bad) = verify_blobs(folder.path()).unwrap();
    bad.sort_by_key(|bad| bad.streams.len());
    assert_eq!(count, 2);
    let of = |id, streams: &[u64]| BadBlob {
        id,
        streams: streams.iter().map(|number| stream(*number)).collect(),
    };
    assert_eq!(bad, [of(other, &[]), of(needed, &[1, 2])]);
}

/// B-LOG-7: a lost frame nobody can be blamed for is reported until somebody says that it is known, and again if it changes.
#[test]
fn lost_bytes_without_an_owner_are_reported_until_somebody_takes_note() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path());
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    let epoch = journal.claim(stream(9));
    let lonely = journal
        .submit(draft(stream(9), epoch, 0, "the only frame of its stream"))
        .wait()
        .unwrap();
    write(&journal, 1, 1);
    drop(journal);
    let segment = segments(folder.path())
        .into_iter()
        .rfind(|path| {
            let first = u64::from_str_radix(&path.file_stem().unwrap().to_string_lossy(), 16).unwrap();
            first <= lonely.position.0
        })
        .unwrap();
    let first = u64::from_str_radix(&segment.file_stem().unwrap().to_string_lossy(), 16).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let at = usize::try_from(64 + lonely.position.0 - first).unwrap();
    bytes[at..at + 80].fill(0xee);
    fs::write(&segment, &bytes).unwrap();
    let report = verify(folder.path(), None).unwrap();
    assert!(!report.is_sound() && report.damaged.is_empty(), "{report:?}");
    acknowledge_lost(folder.path(), &report.lost).unwrap();
    let noted = verify(folder.path(), None).unwrap();
    assert!(noted.is_sound(), "{noted:?}");
    assert_eq!(noted.known_lost, report.lost);
    // Its note is damaged: then it is told again, and nothing else happens.
    let mut note = fs::read(folder.path().join("lost")).unwrap();
    note[20] ^= 1;
    fs::write(folder.path().join("lost"), note).unwrap();
    assert_eq!(verify(folder.path(), None).unwrap().lost, report.lost);
    acknowledge_lost(folder.path(), &report.lost).unwrap();
    // And more of it is lost: that is news.
    let end = at + usize::try_from(report.lost[0].bytes).unwrap();
    bytes[end..end + 40].fill(0xee);
    fs::write(&segment, &bytes).unwrap();
    assert!(!verify(folder.path(), None).unwrap().is_sound());
    let (journal, _) = LocalJournal::open(folder.path(), small()).unwrap();
    assert_eq!(journal.read(stream(9), Seq::ZERO, Limit::default()).unwrap(), []);
}
