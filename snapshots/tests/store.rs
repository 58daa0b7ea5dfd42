//! Snapshots are used only where the journal agrees, and losing them costs nothing but a replay.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use std::fs;

use longhaul_journal::{ChainHash, Draft, Journal, Level, MemoryJournal, NewRecord, Seq, Standing, StreamId};
use longhaul_snapshots::{FoldId, MAX_SNAPSHOT, Snapshot, SnapshotStore};

const FOLD: FoldId<'static> = FoldId {
    kind: "counter",
    version: 1,
};

/// A journal with one stream, and the hash of each of its frames.
fn journal(frames: u64) -> (MemoryJournal, StreamId, Vec<ChainHash>) {
    let journal = MemoryJournal::new();
    let stream = StreamId::named("counter", "local", "a");
    let epoch = journal.claim(stream);
    let hashes = (0..frames).map(|expected| {
        let record = NewRecord {
            type_name: "counter.raised".into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: b"{}".to_vec(),
        };
        let draft = Draft {
            stream,
            kind: "counter".into(),
            epoch,
            expected: Seq(expected),
            time_ms: 1,
            standing: Standing::Done,
            records: vec![record],
        };
        journal.submit(draft).wait().unwrap().hash
    });
    let hashes = hashes.collect();
    (journal, stream, hashes)
}

fn at(seq: u64, hash: ChainHash) -> Snapshot {
    Snapshot {
        seq: Seq(seq),
        hash,
        state: format!("state at {seq}").into_bytes(),
    }
}

fn each_store(check: impl Fn(SnapshotStore)) {
    check(SnapshotStore::in_memory());
    let folder = tempfile::tempdir().unwrap();
    check(SnapshotStore::open(&folder.path().join("snapshots")));
}

#[test]
fn the_newest_one_of_the_journals_own_history_is_used() {
    each_store(|store| {
        let (journal, stream, hashes) = journal(30);
        for seq in [10u64, 20, 25] {
            store.put(stream, FOLD, &at(seq, hashes[usize::try_from(seq).unwrap() - 1]));
        }
        let recover = |head| {
            store
                .recover(&journal, stream, FOLD, Seq(head))
                .unwrap()
                .map(|found| found.seq.0)
        };
        assert_eq!(recover(30), Some(25));
        assert_eq!(recover(24), Some(20), "never ahead of the head");
        assert_eq!(recover(19), None, "only the last two are kept");
        let other = FoldId { version: 2, ..FOLD };
        assert_eq!(store.recover(&journal, stream, other, Seq(30)).unwrap(), None);
        let other = FoldId {
            kind: "session",
            ..FOLD
        };
        assert_eq!(store.recover(&journal, stream, other, Seq(30)).unwrap(), None);
        assert_eq!(store.counters().used, 2);
    });
}

#[test]
fn one_of_another_history_is_reported_and_dropped_for_an_older_one() {
    each_store(|store| {
        let (journal, stream, hashes) = journal(30);
        store.put(stream, FOLD, &at(10, hashes[9]));
        store.put(stream, FOLD, &at(20, ChainHash([9; 16])));
        assert_eq!(
            store.recover(&journal, stream, FOLD, Seq(30)).unwrap(),
            Some(at(10, hashes[9]))
        );
        assert_eq!(store.counters().mismatched, 1);
        assert_eq!(
            store.newest(stream, FOLD, Seq(30)),
            Some(at(10, hashes[9])),
            "dropped for good"
        );
    });
}

/// An upgrade that changes the fold replays, and finds its own snapshots again afterwards.
#[test]
fn one_of_another_fold_version_or_kind_or_stream_is_not_even_looked_at() {
    each_store(|store| {
        let (journal, stream, hashes) = journal(30);
        let newer = FoldId {
            version: FOLD.version + 1,
            ..FOLD
        };
        let other = FoldId {
            kind: "other",
            ..FOLD
        };
        store.put(stream, FOLD, &at(10, hashes[9]));
        for fold in [newer, other] {
            assert_eq!(store.recover(&journal, stream, fold, Seq(30)).unwrap(), None);
        }
        let neighbour = StreamId::named("counter", "local", "neighbour");
        assert_eq!(store.newest(neighbour, FOLD, Seq(30)), None);
        assert_eq!(store.newest(stream, FOLD, Seq(30)), Some(at(10, hashes[9])));
    });
}

/// One that is ahead of the journal, as after a directory was restored from an older copy, waits for nobody.
#[test]
fn one_beyond_the_head_is_not_used() {
    each_store(|store| {
        let (journal, stream, hashes) = journal(30);
        store.put(stream, FOLD, &at(20, hashes[19]));
        // The older copy went on in its own way, up to the same seq and beyond.
        store.put(stream, FOLD, &at(40, ChainHash([4; 16])));
        assert_eq!(
            store.recover(&journal, stream, FOLD, Seq(30)).unwrap(),
            Some(at(20, hashes[19]))
        );
        assert_eq!(
            store.recover(&journal, stream, FOLD, Seq(40)).unwrap(),
            Some(at(20, hashes[19]))
        );
        assert_eq!(
            store.counters().mismatched,
            1,
            "found once the journal has got there"
        );
    });
}

#[test]
fn what_is_too_large_or_forgotten_is_replayed() {
    each_store(|store| {
        let (journal, stream, hashes) = journal(3);
        store.put(
            stream,
            FOLD,
            &Snapshot {
                state: vec![0; MAX_SNAPSHOT + 1],
                ..at(3, hashes[2])
            },
        );
        assert_eq!(store.recover(&journal, stream, FOLD, Seq(3)).unwrap(), None);
        assert_eq!(store.counters().too_large, 1);
        store.put(
            stream,
            FOLD,
            &Snapshot {
                state: vec![1; MAX_SNAPSHOT],
                ..at(3, hashes[2])
            },
        );
        assert!(store.recover(&journal, stream, FOLD, Seq(3)).unwrap().is_some());
        store.forget(stream, FOLD, Seq(3));
        assert_eq!(store.recover(&journal, stream, FOLD, Seq(3)).unwrap(), None);
    });
    let store = SnapshotStore::disabled();
    store.put(StreamId::unnamed(), FOLD, &at(1, ChainHash::ZERO));
    assert_eq!(store.counters().put, 0);
}

#[test]
fn a_store_that_is_gone_or_flipped_never_gives_a_wrong_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshots");
    let (journal, stream, hashes) = journal(30);
    let good = [at(10, hashes[9]), at(20, hashes[19])];
    let store = SnapshotStore::open(&path);
    good.iter().for_each(|snapshot| store.put(stream, FOLD, snapshot));
    drop(store);
    let bytes = fs::read(path.join("db")).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for step in 0..20 {
        let mut flipped = bytes.clone();
        flipped[step * used / 20] ^= 0x40;
        fs::write(path.join("db"), &flipped).unwrap();
        let store = SnapshotStore::open(&path);
        let found = store.recover(&journal, stream, FOLD, Seq(30)).unwrap();
        assert!(
            found.is_none_or(|found| good.contains(&found)),
            "byte {}",
            step * used / 20
        );
        store.put(stream, FOLD, &good[1]);
        assert_eq!(
            store.newest(stream, FOLD, Seq(30)).as_ref(),
            Some(&good[1]),
            "it works again"
        );
        drop(store);
        fs::remove_dir_all(&path).unwrap();
        fs::create_dir_all(&path).unwrap();
        drop(SnapshotStore::open(&path));
    }
    fs::remove_dir_all(&path).unwrap();
    let store = SnapshotStore::open(&path);
    assert_eq!(store.recover(&journal, stream, FOLD, Seq(30)).unwrap(), None);
}
