//! Failures: an actor is discarded and built anew, callers learn what became of their commands, neighbours live on.

use std::sync::Arc;

use crate::kit::{Bench, HeldJournal, Wish, counter};
use futures_util::FutureExt;
use longhaul_actors::{Mode, Options, QueryError, SendError};
use longhaul_journal::{Journal, MemoryJournal, Seq, SubmitError};

/// B-CRASH-4: recovered from the last seq; no acknowledged record is lost, and the panic is written down.
#[tokio::test]
async fn a_panicking_actor_is_built_anew_from_the_journal() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let (a, b) = (counter("a"), counter("b"));
    bench.counters.send(a, Wish::Add(3)).await.unwrap();
    bench.counters.send(b, Wish::Add(1)).await.unwrap();
    let panicked = bench.counters.send(a, Wish::Panic).await;
    assert!(
        matches!(panicked, Err(SendError::NotWritten { .. })),
        "{panicked:?}"
    );
    assert_eq!(bench.counters.send(a, Wish::Add(4)).await, Ok(7));
    let restarts = bench.counters.query(a, |state, _| state.restarts.clone()).await;
    assert_eq!(restarts, Ok(vec!["asked to panic".to_owned()]));
    assert_eq!(bench.counters.send(b, Wish::Look).await, Ok(1));
    bench.close().await;
}

/// B-CRASH-4: a fold torn by a panic is never read, and nothing of it is written.
#[tokio::test]
async fn a_panic_in_the_fold_leaves_no_trace_of_the_command() {
    let journal = MemoryJournal::new();
    let bench = Bench::open(Arc::new(journal.clone()));
    let a = counter("a");
    bench.counters.send(a, Wish::Add(3)).await.unwrap();
    let panicked = bench.counters.send(a, Wish::PanicInFold).await;
    assert!(
        matches!(panicked, Err(SendError::NotWritten { .. })),
        "{panicked:?}"
    );
    // One record for the addition, one for the restart.
    assert_eq!(
        bench.counters.query(a, |state, seq| (state.total, seq)).await,
        Ok((3, Seq(2)))
    );
    bench.close().await;
}

/// What was in flight before a panic is still answered by its own receipts, and what came after it is decided by the
/// successor.
#[tokio::test]
async fn a_panic_takes_nobody_with_it() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut before = bench.counters.send(a, Wish::Add(3)).boxed();
    assert!((&mut before).now_or_never().is_none());
    held.until_held(1).await;
    // It is answered at once, maybe before the first look at the answer: nothing of it waits for the journal.
    let panics = bench.counters.send(a, Wish::Panic);
    let mut after = bench.counters.send(a, Wish::Add(4)).boxed();
    let (panicked, ()) = tokio::join!(biased; panics, async {
        assert!((&mut after).now_or_never().is_none());
    });
    assert!(matches!(panicked, Err(SendError::NotWritten { .. })));
    assert!((&mut before).now_or_never().is_none());
    held.let_go();
    assert_eq!(before.await, Ok(3));
    assert_eq!(after.await, Ok(7));
    bench.close().await;
}

/// A frame that was not written says so; what stood behind it did not happen either, and the actor goes on.
#[tokio::test]
async fn what_the_journal_did_not_write_did_not_happen() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut first = bench.counters.send(a, Wish::Add(1)).boxed();
    let mut refused = bench.counters.send(a, Wish::AddUpTo(5, 3)).boxed();
    let mut look = bench.counters.query(a, |state, _| state.total).boxed();
    let mut second = bench.counters.send(a, Wish::Add(2)).boxed();
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut refused).now_or_never().is_none());
    assert!((&mut look).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    held.until_held(2).await;
    held.refuse_held(&SubmitError::NotWritten {
        reason: "no space left".into(),
    });
    assert!(matches!(first.await, Err(SendError::NotWritten { .. })));
    // The refusal and the sight came from a fold that never became true.
    assert!(matches!(refused.await, Err(SendError::NotWritten { .. })));
    assert_eq!(look.await, Err(QueryError::Interrupted));
    assert!(matches!(second.await, Err(SendError::NotWritten { .. })));
    assert_eq!(bench.counters.send(a, Wish::Add(7)).await, Ok(7));
    bench.close().await;
}

/// The two cases are never confused: a lost answer is `OutcomeUnknown`, whatever is in the journal.
#[tokio::test]
async fn a_lost_answer_may_have_happened() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut add = bench.counters.send(a, Wish::Add(1)).boxed();
    assert!((&mut add).now_or_never().is_none());
    held.until_held(1).await;
    held.write_one_and_lose_the_answer();
    let answer = add.await;
    assert!(
        matches!(answer, Err(SendError::OutcomeUnknown { .. })),
        "{answer:?}"
    );
    held.let_go();
    bench.counters.until_live(0).await;
    assert_eq!(bench.counters.send(a, Wish::Look).await, Ok(1));
    bench.close().await;
}

/// B-CRASH-6: the older of two owners is refused by the journal, says so, and does not come back by itself.
#[tokio::test]
async fn a_stale_writer_stops_quietly() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let (old, new) = (Bench::open(Arc::clone(&journal)), Bench::open(journal));
    let a = counter("a");
    assert_eq!(old.counters.send(a, Wish::Add(1)).await, Ok(1));
    assert_eq!(new.counters.send(a, Wish::Add(1)).await, Ok(2));
    let stale = old.counters.send(a, Wish::Add(1)).await;
    assert!(matches!(stale, Err(SendError::NotWritten { .. })), "{stale:?}");
    old.counters.until_live(0).await;
    assert!(!old.counters.is_awake(a));
    assert_eq!(new.counters.send(a, Wish::Add(1)).await, Ok(3));
    old.close().await;
    new.close().await;
}

/// B-LOG-10: a stream that cannot be folded is set apart; the others go on.
#[tokio::test]
async fn a_stream_that_cannot_be_folded_is_quarantined_alone() {
    let journal = MemoryJournal::new();
    let (bad, good) = (counter("bad"), counter("good"));
    for (seq, payload) in [(0, r#"[{"Added":1}]"#), (1, r#"["Broken"]"#)] {
        let draft = longhaul_journal::Draft {
            stream: bad,
            kind: "counter".into(),
            epoch: journal.claim(bad),
            expected: Seq(seq),
            time_ms: crate::kit::NOON,
            standing: longhaul_journal::Standing::Owed,
            records: vec![longhaul_journal::NewRecord {
                type_name: "counter.note".into(),
                type_version: 1,
                cause: None,
                level: longhaul_journal::Level::User,
                payload: payload.into(),
            }],
        };
        journal.submit(draft).await.unwrap();
    }
    let bench = Bench::open(Arc::new(journal));
    let Err(SendError::Quarantined(quarantine)) = bench.counters.send(bad, Wish::Add(1)).await else {
        panic!("a stream that cannot be folded took a command");
    };
    assert_eq!(quarantine.readable_to, Seq(1));
    assert_eq!(bench.counters.quarantined(), [quarantine]);
    assert_eq!(bench.counters.send(good, Wish::Add(1)).await, Ok(1));
    bench.close().await;
}

/// Never an endless loop: a stream that only panics is set apart in the end.
#[tokio::test]
async fn a_stream_that_panics_without_end_is_quarantined() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let a = counter("a");
    let quarantine = loop {
        let mut sent = bench.counters.send(a, Wish::Panic).boxed();
        let answer = loop {
            // Later restarts wait for the clock.
            tokio::select! {
                answer = &mut sent => break answer,
                () = bench.clock.sleeping(2) => bench.clock.advance(1_000),
            }
        };
        match answer {
            Err(SendError::NotWritten { .. }) => {}
            Err(SendError::Quarantined(quarantine)) => break quarantine,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(quarantine.stream, a);
    assert!(bench.counters.lift_quarantine(a));
    bench.close().await;
}

/// Too many commands are turned away, and nothing of them is written.
#[tokio::test]
async fn a_full_line_says_so() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let mut options = Options::default();
    options.in_flight = 3;
    let bench = Bench::with(
        held.clone(),
        longhaul_actors::ManualClock::at(crate::kit::NOON),
        options,
    );
    let a = counter("a");
    let mut waiting: Vec<_> = (0..3)
        .map(|_| bench.counters.send(a, Wish::Add(1)).boxed())
        .collect();
    for send in &mut waiting {
        assert!(send.now_or_never().is_none());
    }
    held.until_held(3).await;
    assert_eq!(
        bench.counters.send(a, Wish::Add(1)).await,
        Err(SendError::Overloaded)
    );
    held.let_go();
    for (sent, total) in waiting.into_iter().zip(1..) {
        assert_eq!(sent.await, Ok(total));
    }
    assert_eq!(bench.counters.send(a, Wish::Look).await, Ok(3));
    bench.close().await;
}

/// A caller who goes away takes nothing back.
#[tokio::test]
async fn a_dropped_caller_does_not_withdraw_the_command() {
    let held = HeldJournal::holding(MemoryJournal::new());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    assert!(bench.counters.send(a, Wish::Add(1)).now_or_never().is_none());
    held.until_held(1).await;
    held.let_go();
    assert_eq!(bench.counters.send(a, Wish::Look).await, Ok(1));
    bench.close().await;
}

/// A question that panics harms nobody but its asker.
#[tokio::test]
async fn a_panicking_question_leaves_the_actor_alone() {
    let bench = Bench::open(Arc::new(MemoryJournal::new()));
    let a = counter("a");
    bench.counters.send(a, Wish::Add(1)).await.unwrap();
    let asked = bench.counters.query(a, |_, _| panic!("the asker erred")).await;
    assert_eq!(asked, Err::<(), _>(QueryError::Interrupted));
    let restarts = bench.counters.query(a, |state, _| state.restarts.len()).await;
    assert_eq!(restarts, Ok(0));
    bench.close().await;
}

/// `run` hosts its own session only, and a reader none.
#[tokio::test]
async fn a_process_hosts_only_what_it_was_opened_for() {
    let (a, b) = (counter("a"), counter("b"));
    for (mode, expected) in [
        (Mode::Only(a), Ok(1)),
        (Mode::ReadOnly, Err(SendError::NotHosted)),
    ] {
        let clock = longhaul_actors::ManualClock::at(crate::kit::NOON);
        let bench = Bench::with(Arc::new(MemoryJournal::new()), clock, Options::of(mode));
        assert_eq!(bench.counters.send(a, Wish::Add(1)).await, expected);
        assert_eq!(
            bench.counters.send(b, Wish::Add(1)).await,
            Err(SendError::NotHosted)
        );
        bench.close().await;
    }
}

/// B-EMBED-1: `close` lets every actor write its last word, and what comes later is turned away.
#[tokio::test]
async fn closing_drains() {
    let journal = MemoryJournal::new();
    let held = HeldJournal::holding(journal.clone());
    let bench = Bench::open(held.clone());
    let a = counter("a");
    let mut add = bench.counters.send(a, Wish::Add(1)).boxed();
    assert!((&mut add).now_or_never().is_none());
    held.until_held(1).await;
    let mut close = bench.counters.close().boxed();
    assert!((&mut close).now_or_never().is_none());
    held.until_held(2).await;
    assert_eq!(bench.counters.send(a, Wish::Add(1)).await, Err(SendError::Closed));
    held.let_go();
    close.await;
    assert_eq!(add.await, Ok(1));
    assert_eq!(journal.head(a).unwrap().unwrap().seq, Seq(2));
    bench.system.close().await;
}
