//! Effects: begun once they are durable, left alone over a restart of the actor, dropped when nobody owes them.

use std::sync::Arc;

use crate::kit::{Bench, HeldJournal, Wish, counter};
use futures_util::FutureExt;
use longhaul_actors::{EffectId, ManualClock, Options};
use longhaul_journal::{MemoryJournal, Seq, SubmitError};

/// B-CRASH-1: nothing is begun that a crash could take back.
#[tokio::test]
async fn work_is_begun_only_when_it_is_durable() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut owe = bench.counters.send(a, Wish::Owe("dig".into())).boxed();
    assert!((&mut owe).now_or_never().is_none());
    held.until_held(1).await;
    assert_eq!(bench.desk.begun(), []);
    held.write_one();
    owe.await.unwrap();
    let begun = bench.desk.until_begun(1).await;
    assert_eq!(begun[0].job, "dig");
    assert_eq!(
        begun[0].context.id,
        EffectId {
            seq: Seq(1),
            attempt: 1
        }
    );
    assert!(!begun[0].context.recovered);
    held.let_go();
    bench.desk.finish("dig", "a hole");
    until_done(&bench, "a hole").await;
    bench.close().await;
}

/// B-CRASH-1: what was owed by a frame that is not there was never begun.
#[tokio::test]
async fn work_of_a_frame_that_was_not_written_is_never_begun() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut owe = bench.counters.send(a, Wish::Owe("dig".into())).boxed();
    assert!((&mut owe).now_or_never().is_none());
    held.until_held(1).await;
    let reason = "the disk is full".into();
    held.refuse_held(&SubmitError::NotWritten { reason });
    owe.await.unwrap_err();
    // The next actor of the stream has lived since.
    assert_eq!(bench.counters.send(a, Wish::Add(1)).await, Ok(1));
    let desk = Arc::clone(&bench.desk);
    bench.close().await;
    assert_eq!(desk.begun(), []);
}

/// B-CRASH-1: the outcome finds its stream; the work is done once though its actor died twice meanwhile.
#[tokio::test]
async fn work_goes_on_while_its_actor_is_built_anew() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let a = counter("a");
    bench.counters.send(a, Wish::Owe("dig".into())).await.unwrap();
    bench.desk.until_begun(1).await;
    for _ in 0..2 {
        bench.counters.send(a, Wish::Panic).await.unwrap_err();
        bench.counters.send(a, Wish::Add(1)).await.unwrap();
    }
    bench.desk.finish("dig", "a hole");
    until_done(&bench, "a hole").await;
    assert_eq!(bench.desk.begun().len(), 1);
    bench.close().await;
}

/// Work that is no longer owed is dropped; other work of the same stream is left alone.
#[tokio::test]
async fn work_that_nobody_owes_is_dropped() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let a = counter("a");
    bench.counters.send(a, Wish::Owe("dig".into())).await.unwrap();
    bench.counters.send(a, Wish::Owe("sing".into())).await.unwrap();
    bench.desk.until_begun(2).await;
    bench.counters.send(a, Wish::Drop("dig".into())).await.unwrap();
    assert_eq!(bench.desk.until_dropped(1).await, ["dig"]);
    bench.desk.finish("sing", "a song");
    until_done(&bench, "a song").await;
    assert_eq!(bench.desk.begun().len(), 2);
    bench.close().await;
}

/// A panic is not an outcome: the work is tried again, and told that it may have been begun.
#[tokio::test]
async fn work_that_panics_is_tried_again() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let a = counter("a");
    bench.desk.panic_in("dig", 2);
    bench.desk.finish("dig", "a hole");
    bench.counters.send(a, Wish::Owe("dig".into())).await.unwrap();
    for failures in 1..=2 {
        bench.desk.until_begun(failures).await;
        // The sweeper, the idle timer of the actor, and the work that waits to be tried again.
        bench.clock.sleeping(3).await;
        bench.clock.advance(1_000);
    }
    let begun = bench.desk.until_begun(3).await;
    let recovered: Vec<bool> = begun.iter().map(|begun| begun.context.recovered).collect();
    assert_eq!(recovered, [false, true, true]);
    until_done(&bench, "a hole").await;
    bench.close().await;
}

/// B-CRASH-7: after a kill the next process finds owed work by itself, and tells that it may have been begun.
#[tokio::test]
async fn owed_work_is_found_after_a_kill() {
    let journal = MemoryJournal::new();
    let killed = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    killed.counters.send(a, Wish::Owe("dig".into())).await.unwrap();
    killed.desk.until_begun(1).await;

    let next = Bench::open(Arc::new(journal.reopen()));
    let begun = next.desk.until_begun(1).await;
    assert!(begun[0].context.recovered);
    assert_eq!(begun[0].context.stream, a);
    next.desk.finish("dig", "a hole");
    until_done(&next, "a hole").await;
    next.close().await;
    killed.close().await;
}

/// B-IDLE-1 in part: an actor with work under way stays, one without goes, and the next command wakes it.
#[tokio::test]
async fn an_idle_actor_ends_and_a_busy_one_stays() {
    let clock = ManualClock::at(crate::kit::NOON);
    let mut options = Options::default();
    options.idle_after_ms = 1_000;
    options.sweep_every_ms = 1_000_000;
    let bench = Bench::with(Arc::new(MemoryJournal::new()), clock, options);
    let (idle, busy) = (counter("idle"), counter("busy"));
    bench.counters.send(idle, Wish::Add(1)).await.unwrap();
    bench.counters.send(busy, Wish::Owe("dig".into())).await.unwrap();
    bench.desk.until_begun(1).await;
    // Both idle timers and the sweeper.
    bench.clock.sleeping(3).await;
    bench.clock.advance(1_000);
    bench.counters.until_live(1).await;
    assert!(bench.counters.is_awake(busy));
    assert_eq!(bench.counters.send(idle, Wish::Add(1)).await, Ok(2));
    bench.close().await;
}

async fn until_done(bench: &Bench, what: &str) {
    let a = counter("a");
    loop {
        let done = bench
            .counters
            .query(a, |state, _| state.done.clone())
            .await
            .unwrap();
        if done.iter().any(|(_, done)| done == what) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
