//! A file system without room under the catalogue, which does not pass through the seam that the faults lie in.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{draft, segments, stream, until, write};
use longhaul_journal::{CatalogueState, Head, Journal, LocalJournal, Options, ReadError, Seq, verify};

const DIR: &str = "LONGHAUL_JOURNAL_TEST_DIR";
const STREAMS: u64 = 1_000;
const SEGMENT: u64 = 1 << 20;

/// Not a test by itself: the process with a file system of its own, played by this very program.
#[test]
fn the_other_process() {
    let Some(folder) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128m", "none"])
        .arg(&folder)
        .status();
    assert!(mounted.unwrap().success());
    full_disk(&folder);
}

/// A disk that was full for a while cost a server its catalogue for good: the first error of sled was taken for
/// damage, the sound catalogue was moved aside, no other could be built, and nobody tried again.
#[test]
#[ignore = "needs user namespaces, unshare and mount (util-linux)"]
fn a_catalogue_that_met_a_full_disk_is_used_again_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("unshare")
        .args(["-rm", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(DIR, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs in a mount namespace of its own.
fn full_disk(folder: &Path) {
    let (data, ballast) = (folder.join("data"), folder.join("ballast"));
    let mut options = Options::default();
    (options.segment_bytes, options.fill_ahead) = (SEGMENT, SEGMENT);
    let (journal, _) = LocalJournal::open(&data, options.clone()).unwrap();
    let mut rounds = 0;
    for story in ["the first time", "once more"] {
        // sled takes 8 MiB at a time: most segments find room there for what they add.
        let told = loop {
            if let Err(told) = sealed_without_room(&journal, &ballast, &mut rounds) {
                break told.to_string();
            }
            fs::remove_file(&ballast).unwrap();
        };
        assert!(told.contains("No space left"), "{story}: {told}");

        fs::remove_file(&ballast).unwrap();
        until("it is used again", || listed(&journal).is_ok());
        all_are_there(&journal, rounds);
        assert_eq!(moved_aside(&data), 0, "{story}: it was sound all the time");
    }

    // Opening on a full disk moves nothing aside either.
    drop(journal);
    fill(&ballast);
    if let Err(refused) = LocalJournal::open(&data, options.clone()) {
        assert!(refused.to_string().contains("No space left"), "{refused}");
    }
    fs::remove_file(&ballast).unwrap();
    let (journal, report) = LocalJournal::open(&data, options).unwrap();
    assert_eq!(report.catalogue, CatalogueState::Used);
    assert_eq!(report.damaged, []);
    assert_eq!(moved_aside(&data), 0);
    all_are_there(&journal, rounds);
    drop(journal);
    assert!(verify(&data, None).unwrap().is_sound());
}

/// Seals a segment when there is room for nothing: the one behind it was prepared before. Returns once it is in the
/// catalogue, or the catalogue says that there is no room.
fn sealed_without_room(journal: &LocalJournal, ballast: &Path, rounds: &mut u64) -> Result<(), ReadError> {
    let folder = journal.folder();
    let before = segments(folder).len();
    until("the next segment is ready", || {
        *rounds += 1;
        write(journal, STREAMS, 1);
        fs::metadata(folder.join("journal/next.tmp")).is_ok_and(|meta| meta.len() == SEGMENT)
    });
    fill(ballast);
    // One by one: a large batch would need room beyond the end of this segment.
    let beside = stream(STREAMS);
    until("a segment is sealed", || {
        let expected = journal.head(beside).unwrap().map_or(0, |head| head.seq.0);
        let draft = draft(beside, journal.claim(beside), expected, &"word ".repeat(400));
        journal.submit(draft).wait().unwrap();
        segments(folder).len() > before
    });
    let (mut told, all) = (Ok(()), segments(folder));
    let first = |path: &Path| u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
    let [.., sealed, active] = &all[..] else {
        panic!("{all:?}")
    };
    let dense = 64 + first(active) - first(sealed);
    until("the catalogue has taken it or has no room", || {
        told = listed(journal).map(drop);
        // A segment is cut behind its last frame once the catalogue has it.
        told.is_err() || fs::metadata(sealed).unwrap().len() == dense
    });
    told
}

/// Takes what room is left.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    let full = std::iter::repeat_with(|| file.write_all(&[1; 4 << 10])).find_map(Result::err);
    assert_eq!(full.unwrap().kind(), io::ErrorKind::StorageFull);
}

fn listed(journal: &LocalJournal) -> Result<Vec<Head>, ReadError> {
    journal.list("session", None, 2_000)
}

fn all_are_there(journal: &LocalJournal, rounds: u64) {
    let mut heads = listed(journal).unwrap();
    heads.retain(|head| head.stream != stream(STREAMS));
    assert_eq!(heads.len() as u64, STREAMS);
    for head in heads {
        assert_eq!(head.seq, Seq(rounds));
        assert_eq!(journal.head(head.stream).unwrap().unwrap(), head);
    }
}

fn moved_aside(data: &Path) -> usize {
    let names = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("catalogue.broken"))
        .count()
}
