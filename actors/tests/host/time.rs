//! Timers that outlive the process, and the sweeper that finds them.

use std::sync::Arc;

use crate::kit::{Bench, NOON, Wish, counter};
use longhaul_actors::{ManualClock, Options};
use longhaul_journal::{Journal, MemoryJournal, Seq, StreamId};

const HOUR: u64 = 3_600_000;

/// A timer rings once, at its time, in a live actor.
#[tokio::test]
async fn a_reminder_rings_at_its_time() {
    let journal = MemoryJournal::new();
    let bench = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    bench.counters.send(a, Wish::RemindAt(NOON + HOUR)).await.unwrap();
    bench.clock.advance(HOUR - 1);
    assert_eq!(reminded(&bench, a).await, 0);
    bench.clock.advance(1);
    until_seq(&journal, a, 2).await;
    assert_eq!(reminded(&bench, a).await, 1);
    bench.close().await;
}

/// A reminder that was moved rings at its new time only.
#[tokio::test]
async fn a_moved_reminder_rings_at_its_new_time() {
    let journal = MemoryJournal::new();
    let bench = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    bench.counters.send(a, Wish::RemindAt(NOON + HOUR)).await.unwrap();
    bench
        .counters
        .send(a, Wish::RemindAt(NOON + 3 * HOUR))
        .await
        .unwrap();
    bench.clock.advance(2 * HOUR);
    assert_eq!(reminded(&bench, a).await, 0);
    bench.clock.advance(HOUR);
    until_seq(&journal, a, 3).await;
    bench.close().await;
}

/// B-CRASH-7: a reminder set before a kill rings in the next process, which nobody asked for anything.
#[tokio::test]
async fn a_reminder_outlives_the_process() {
    let journal = MemoryJournal::new();
    let killed = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    killed
        .counters
        .send(a, Wish::RemindAt(NOON + HOUR))
        .await
        .unwrap();

    let journal = journal.reopen();
    let next = Bench::with(
        Arc::new(journal.clone()),
        ManualClock::at(NOON + 10),
        Options::default(),
    );
    // The sweeper sleeps until something is due, and folds nothing before that.
    next.clock.sleeping(1).await;
    assert!(!next.counters.is_awake(a));
    next.clock.set_wall(NOON + HOUR);
    until_seq(&journal, a, 2).await;
    assert_eq!(reminded(&next, a).await, 1);
    next.close().await;
    killed.close().await;
}

/// B-CRASH-7: the sweeper wakes what is due, however much sleeps beside it.
#[tokio::test]
async fn the_sweeper_wakes_nobody_before_their_time() {
    let journal = MemoryJournal::new();
    let killed = Bench::open(Arc::new(journal.clone()));
    let sleepers: Vec<StreamId> = (0..600).map(|n| counter(&format!("sleeper {n}"))).collect();
    for (stream, hours) in sleepers.iter().zip([1, 100].into_iter().cycle()) {
        let at = NOON + hours * HOUR;
        killed.counters.send(*stream, Wish::RemindAt(at)).await.unwrap();
    }

    let journal = journal.reopen();
    let clock = ManualClock::at(NOON + 2 * HOUR);
    let next = Bench::with(Arc::new(journal.clone()), clock, Options::default());
    for (number, stream) in sleepers.iter().enumerate() {
        if number % 2 == 0 {
            until_seq(&journal, *stream, 2).await;
        } else {
            assert!(!next.counters.is_awake(*stream));
        }
    }
    assert_eq!(next.counters.live(), 300);
    next.close().await;
    killed.close().await;
}

/// An actor that went to sleep with a reminder is woken by the sweeper.
#[tokio::test]
async fn a_sleeping_actor_is_woken_for_its_reminder() {
    let journal = MemoryJournal::new();
    let mut options = Options::default();
    options.idle_after_ms = 1_000;
    options.sweep_every_ms = 100 * HOUR;
    let bench = Bench::with(Arc::new(journal.clone()), ManualClock::at(NOON), options);
    let a = counter("a");
    // The sweeper has nothing to wait for yet.
    bench.clock.sleeping(1).await;
    bench.counters.send(a, Wish::RemindAt(NOON + HOUR)).await.unwrap();
    bench.clock.sleeping(3).await;
    bench.clock.advance(1_000);
    bench.counters.until_live(0).await;
    bench.clock.sleeping(1).await;
    bench.clock.advance(HOUR);
    until_seq(&journal, a, 2).await;
    bench.close().await;
}

/// B-LOG-1: time never falls within a stream, though the wall clock is set back.
#[tokio::test]
async fn a_wall_clock_that_is_set_back_does_not_turn_records_back() {
    let journal = MemoryJournal::new();
    let bench = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    bench.counters.send(a, Wish::Add(1)).await.unwrap();
    bench.clock.set_wall(NOON - HOUR);
    bench.counters.send(a, Wish::Add(1)).await.unwrap();
    let last = bench.counters.query(a, |state, _| state.last_time_ms).await;
    assert_eq!(last, Ok(NOON));
    bench.close().await;
}

async fn reminded(bench: &Bench, stream: StreamId) -> u64 {
    bench
        .counters
        .query(stream, |state, _| state.reminded)
        .await
        .unwrap()
}

async fn until_seq(journal: &MemoryJournal, stream: StreamId, seq: u64) {
    journal
        .watch(stream)
        .wait_for(|head| *head >= Seq(seq))
        .await
        .unwrap();
}
