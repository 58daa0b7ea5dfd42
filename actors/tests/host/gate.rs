//! Gated output: nobody learns anything from a state before it is durable, and no caller waits for ever.

use std::sync::Arc;

use crate::kit::{Bench, HeldJournal, Wish, counter};
use futures_util::FutureExt;
use futures_util::future::join_all;
use longhaul_actors::SendError;
use longhaul_journal::{MemoryJournal, Seq};

/// B-EMBED-1: from a plain tokio program, twice in one process.
#[tokio::test]
async fn a_command_is_answered_and_another_process_finds_what_it_did() {
    let journal = MemoryJournal::new();
    let first = Bench::open(Arc::new(journal.clone()));
    let second = Bench::open(Arc::new(MemoryJournal::new()));
    assert_eq!(first.counters.send(counter("a"), Wish::Add(2)).await, Ok(2));
    assert_eq!(second.counters.send(counter("a"), Wish::Add(5)).await, Ok(5));
    first.close().await;

    let again = Bench::open(Arc::new(journal.reopen()));
    assert_eq!(again.counters.send(counter("a"), Wish::Add(2)).await, Ok(4));
    again.close().await;
    second.close().await;
}

/// B-STREAM-3: nothing is shown before its receipt: no reply, no refusal, no query, no answer without facts.
#[tokio::test]
async fn nothing_is_shown_before_it_is_durable() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut add = bench.counters.send(a, Wish::Add(2)).boxed();
    let mut refused = bench.counters.send(a, Wish::AddUpTo(1, 2)).boxed();
    let mut look = bench.counters.send(a, Wish::Look).boxed();
    let mut query = bench.counters.query(a, |state, seq| (state.total, seq)).boxed();
    assert!((&mut add).now_or_never().is_none());
    assert!((&mut refused).now_or_never().is_none());
    assert!((&mut look).now_or_never().is_none());
    assert!((&mut query).now_or_never().is_none());
    held.until_held(1).await;
    // A second frame proves that the actor has read all four letters before it.
    let mut second = bench.counters.send(a, Wish::Add(10)).boxed();
    assert!((&mut second).now_or_never().is_none());
    held.until_held(2).await;
    for waiting in [&mut add, &mut refused, &mut look] {
        assert!(waiting.now_or_never().is_none());
    }
    assert!((&mut query).now_or_never().is_none());

    held.write_one();
    assert_eq!(add.await, Ok(2));
    assert!(matches!(refused.await, Err(SendError::Refused(_))));
    assert_eq!(look.await, Ok(2));
    assert_eq!(query.await, Ok((2, Seq(1))));
    assert!((&mut second).now_or_never().is_none());
    held.write_one();
    assert_eq!(second.await, Ok(12));
    held.let_go();
    bench.close().await;
}

/// Many frames of one stream are in flight, and their answers come in the order of the commands.
#[tokio::test]
async fn decisions_do_not_wait_for_each_other() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let counters = bench.counters.clone();
    let sends = tokio::spawn(async move { join_all((0..100).map(|_| counters.send(a, Wish::Add(1)))).await });
    held.until_held(100).await;
    held.let_go();
    assert_eq!(sends.await.unwrap(), (1..=100).map(Ok).collect::<Vec<_>>());
    bench.close().await;
}
