//! The fold of the journal is the state of the live actor, from the start or from any snapshot.

use std::sync::Arc;

use crate::kit::{Bench, Counter, NOON, Wish, counter};
use longhaul_actors::{ManualClock, Options, Ports, Registry, System, SystemOptions, fold, recover};
use longhaul_journal::{Journal, MemoryJournal};
use longhaul_snapshots::{Policy, SnapshotStore};
use proptest::prelude::*;

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        4 => (1..10_u64).prop_map(Wish::Add),
        2 => (1..10_u64, 0..60_u64).prop_map(|(by, most)| Wish::AddUpTo(by, most)),
        1 => Just(Wish::Look),
        1 => (NOON + 1_000..NOON + 9_000).prop_map(Wish::RemindAt),
        1 => "[a-c]".prop_map(Wish::Owe),
        1 => "[a-c]".prop_map(Wish::Drop),
        1 => ("[a-c]", "[x-z]").prop_map(|(job, what)| Wish::Done(job, what)),
        1 => Just(Wish::Panic),
        1 => Just(Wish::PanicInFold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// B-LOG-8 in part, and the second promise of every entity: replay meets the state of the live actor.
    ///
    /// Proptest prints the case that failed, and keeps its seed beside this file.
    #[test]
    fn replay_meets_the_live_state(wishes in proptest::collection::vec(wish(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let journal = MemoryJournal::new();
            let snapshots = Arc::new(SnapshotStore::in_memory());
            let system = System::start(SystemOptions::default()).unwrap();
            let clock = ManualClock::at(NOON);
            let ports = Ports {
                journal: Arc::new(journal.clone()) as Arc<dyn Journal>,
                clock: Arc::new(clock.clone()),
                world: Arc::new(crate::kit::Desk::default()),
            };
            let mut options = Options::default();
            options.snapshots = Arc::clone(&snapshots);
            options.keep = Policy { every: 7, at_passivation: 1 };
            let counters = Registry::<Counter>::open(&system, ports, options);
            let a = counter("a");
            for wish in wishes {
                // Whatever becomes of it: refused, panicked, or quarantined after too many panics.
                let _ = drive(&clock, counters.send(a, wish)).await;
            }
            let live = drive(&clock, counters.query(a, |state, seq| (state.clone(), seq))).await;
            counters.close().await;
            system.close().await;
            if let Ok((live, seq)) = live {
                // Closing wrote one record more; the state before it is compared.
                let full = fold::<Counter>(&journal, a).unwrap();
                let short = recover::<Counter>(&journal, &snapshots, a).unwrap();
                assert_eq!(full.state, short.state);
                assert_eq!((full.head, full.hash, full.time_ms), (short.head, short.hash, short.time_ms));
                let mut expected = live;
                expected.stops += full.head.0 - seq.0;
                expected.last_time_ms = full.time_ms;
                assert_eq!(full.state, expected);
            }
        });
    }
}

/// Lets restarts have the time they wait for, and keeps the wall clock where no reminder rings.
async fn drive<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::task::yield_now() => {}
        }
        clock.advance(10);
        clock.set_wall(NOON);
    }
}

/// A recovery begins at the newest snapshot, whose bytes are believed because the journal has its frame.
#[tokio::test]
async fn a_woken_actor_folds_only_what_came_after_its_snapshot() {
    let (journal, snapshots) = (MemoryJournal::new(), Arc::new(SnapshotStore::in_memory()));
    let system = System::start(SystemOptions::default()).unwrap();
    let ports = Ports {
        journal: Arc::new(journal.clone()) as Arc<dyn Journal>,
        clock: Arc::new(ManualClock::at(NOON)),
        world: Arc::new(crate::kit::Desk::default()),
    };
    let mut options = Options::default();
    options.snapshots = Arc::clone(&snapshots);
    options.keep.every = 10;
    let counters = Registry::<Counter>::open(&system, ports, options);
    let a = counter("a");
    for _ in 0..25 {
        counters.send(a, Wish::Add(1)).await.unwrap();
    }
    counters.close().await;
    // Snapshots are put away in the background; the threads are gone once `close` is through, but not that work.
    while snapshots.counters().put < 2 {
        tokio::task::yield_now().await;
    }
    let short = recover::<Counter>(&journal, &snapshots, a).unwrap();
    assert_eq!(short.snapshotted.0, 20);
    assert_eq!(short.state, fold::<Counter>(&journal, a).unwrap().state);
    system.close().await;
}

/// A snapshot of another history costs a replay, never a wrong state.
#[tokio::test]
async fn a_snapshot_of_another_history_is_not_believed() {
    let (one, other) = (MemoryJournal::new(), MemoryJournal::new());
    let a = counter("a");
    for (journal, by) in [(&one, 1), (&other, 1_000)] {
        let bench = Bench::open(Arc::new(journal.clone()));
        for _ in 0..3 {
            bench.counters.send(a, Wish::Add(by)).await.unwrap();
        }
        bench.close().await;
    }
    let snapshots = SnapshotStore::in_memory();
    let folded = fold::<Counter>(&one, a).unwrap();
    let snapshot = longhaul_snapshots::Snapshot {
        seq: folded.head,
        hash: folded.hash,
        state: vec![0; 64],
    };
    let fold_id = longhaul_snapshots::FoldId {
        kind: "counter",
        version: 1,
    };
    // Bytes that are no state at all, under the right hash for one journal and a wrong one for the other.
    snapshots.put(a, fold_id, &snapshot);
    let of_other = recover::<Counter>(&other, &snapshots, a).unwrap();
    assert_eq!(of_other.state.total, 3_000);
    assert_eq!(snapshots.counters().mismatched, 1);
    snapshots.put(a, fold_id, &snapshot);
    let of_one = recover::<Counter>(&one, &snapshots, a).unwrap();
    assert_eq!(of_one.state.total, 3);
    assert_eq!(of_one.snapshotted.0, 0);
}
