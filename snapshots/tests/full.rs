//! A full disk under the snapshots.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longhaul_journal::{ChainHash, Seq, StreamId};
use longhaul_snapshots::{FoldId, Snapshot, SnapshotStore};

const DIR: &str = "LONGHAUL_SNAPSHOTS_TEST_DIR";
const FOLD: FoldId<'static> = FoldId {
    kind: "counter",
    version: 1,
};

/// Not a test by itself: the process with a file system of its own, played by this very program.
#[test]
fn the_other_process() {
    let Some(folder) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "none"])
        .arg(&folder)
        .status();
    assert!(mounted.unwrap().success());
    full_disk(&folder);
}

/// A full disk was taken for damage: the whole store was moved aside, no other could be begun, and there were no snapshots
/// until the next start.
#[test]
#[ignore = "needs user namespaces, unshare and mount (util-linux)"]
fn a_store_that_met_a_full_disk_is_used_again_once_there_is_room() {
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
    let (path, ballast) = (folder.join("snapshots"), folder.join("ballast"));
    let store = SnapshotStore::open(&path);
    let first = StreamId::named("counter", "local", "first");
    store.put(first, FOLD, &at(1));
    // Half a second later sled has written it.
    until(|| fs::metadata(path.join("db")).is_ok_and(|meta| meta.len() > 0));
    std::thread::sleep(Duration::from_secs(1));
    fill(&ballast);
    let mut number = 0;
    until(|| {
        number += 1;
        let kept = store.counters().put;
        store.put(
            StreamId::named("counter", "local", &number.to_string()),
            FOLD,
            &at(1),
        );
        store.counters().put == kept
    });
    // A store that is opened meanwhile waits for room, too.
    let other = SnapshotStore::open(&folder.join("other"));
    assert_eq!(other.newest(first, FOLD, Seq(1)), None);
    fs::remove_file(&ballast).unwrap();
    for store in [&store, &other] {
        until(|| {
            store.put(first, FOLD, &at(2));
            store.newest(first, FOLD, Seq(2)) == Some(at(2))
        });
    }
    assert_eq!(
        store.newest(first, FOLD, Seq(1)),
        Some(at(1)),
        "what was kept before"
    );
    assert_eq!((store.counters().renewed, other.counters().renewed), (0, 0));
}

fn at(seq: u64) -> Snapshot {
    Snapshot {
        seq: Seq(seq),
        hash: ChainHash::ZERO,
        state: vec![7; 40 << 10],
    }
}

/// Takes what room is left.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    while file.write_all(&[1; 4 << 10]).is_ok() {}
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}
