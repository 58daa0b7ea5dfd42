//! What every journal signs, as tests: one function per promise, run against any implementation.
//!
//! ```
//! longhaul_journal::conformance::suite(&|| std::sync::Arc::new(longhaul_journal::MemoryJournal::new()));
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use crate::{
    BlobError, BlobId, ChainHash, Draft, Epoch, Frame, Journal, Level, Limit, MAX_FRAME_PAYLOAD, NewRecord,
    Position, Seq, Standing, StreamId, SubmitError,
};

/// Makes an empty journal; it must stay usable as long as it is held.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Journal>;

/// Runs every promise, each on a journal of its own, and panics at the first that is broken.
pub fn suite(make: Make<'_>) {
    for (name, promise) in PROMISES {
        eprintln!("conformance: {name}");
        promise(&*make());
    }
}

type Promise = fn(&dyn Journal);

const PROMISES: &[(&str, Promise)] = &[
    (
        "seqs are dense under eight racing writers",
        seqs_are_dense_under_eight_racing_writers,
    ),
    (
        "a frame is written at exactly the expected seq",
        a_frame_is_written_at_exactly_the_expected_seq,
    ),
    ("a stale writer is fenced", a_stale_writer_is_fenced),
    ("time never falls", time_never_falls),
    (
        "frames that make no sense are refused",
        frames_that_make_no_sense_are_refused,
    ),
    (
        "frames are submitted without waiting",
        frames_are_submitted_without_waiting,
    ),
    (
        "after a refused frame everything behind it fails",
        after_a_refused_frame_everything_behind_it_fails,
    ),
    (
        "a frame of many records is read whole",
        a_frame_of_many_records_is_read_whole,
    ),
    (
        "reads stop at their limit but never inside a frame",
        reads_stop_at_their_limit_but_never_inside_a_frame,
    ),
    (
        "a visit ends when its visitor says so",
        a_visit_ends_when_its_visitor_says_so,
    ),
    (
        "each frame names the one before it",
        each_frame_names_the_one_before_it,
    ),
    ("what was written is read back", what_was_written_is_read_back),
    (
        "a watch starts at the head and follows it",
        a_watch_starts_at_the_head_and_follows_it,
    ),
    ("what is watched can be read", what_is_watched_can_be_read),
    (
        "all streams are read in the order they were written",
        all_streams_are_read_in_the_order_they_were_written,
    ),
    (
        "streams are listed by kind in pages",
        streams_are_listed_by_kind_in_pages,
    ),
    ("standings say who is due", standings_say_who_is_due),
    ("a new standing replaces the old", a_new_standing_replaces_the_old),
    ("blobs are kept by their hash", blobs_are_kept_by_their_hash),
    (
        "a closed journal has answered and refuses",
        a_closed_journal_has_answered_and_refuses,
    ),
];

/// B-LOG-1: every winner has its own seq, every loser a conflict, and nothing is lost.
pub fn seqs_are_dense_under_eight_racing_writers(journal: &dyn Journal) {
    const EACH: usize = 25;
    let stream = StreamId::named("counter", "local", "raced");
    // One claim shared by all: this is about seqs, not about ownership.
    let epoch = journal.claim(stream);
    let won: Vec<Vec<u64>> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8u64)
            .map(|writer| {
                scope.spawn(move || {
                    let mut won = Vec::new();
                    while won.len() < EACH {
                        let expected = head_seq(journal, stream);
                        let text = format!("{{\"writer\":{writer}}}");
                        match journal.submit(draft(stream, epoch, expected).say(&text)).wait() {
                            Ok(durable) => won.push(durable.seq.0),
                            Err(SubmitError::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    won
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().expect("a writer panicked"))
            .collect()
    });
    let all: BTreeSet<u64> = won.iter().flatten().copied().collect();
    assert_eq!(all, (1..=8 * EACH as u64).collect(), "each seq was won once");
    for frame in read_all_of(journal, stream) {
        let text = String::from_utf8_lossy(&frame.records[0].event.payload).into_owned();
        let writer: usize = text
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .expect("a number");
        assert!(
            won[writer].contains(&frame.first_seq().0),
            "{text} won seq {}",
            frame.first_seq()
        );
    }
}

/// A frame lands where its writer thinks it does, or not at all.
pub fn a_frame_is_written_at_exactly_the_expected_seq(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let early = journal.submit(draft(stream, epoch, 1)).wait();
    assert_eq!(
        early,
        Err(SubmitError::Conflict {
            stream,
            expected: Seq(1),
            head: Seq(0)
        })
    );
    assert!(
        journal.head(stream).expect("readable").is_none(),
        "a refused frame makes no stream"
    );
    append(journal, draft(stream, epoch, 0));
    let again = journal.submit(draft(stream, epoch, 0)).wait();
    assert_eq!(
        again,
        Err(SubmitError::Conflict {
            stream,
            expected: Seq(0),
            head: Seq(1)
        })
    );
    assert_eq!(read_all_of(journal, stream).len(), 1);
}

/// B-CRASH-6: a later claim ends the right of every earlier one, even of one that never wrote.
pub fn a_stale_writer_is_fenced(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let old = journal.claim(stream);
    append(journal, draft(stream, old, 0));
    let new = journal.claim(stream);
    assert!(new > old);
    assert_eq!(new.boot(), journal.boot());
    let refused = journal.submit(draft(stream, old, 1)).wait();
    assert_eq!(
        refused,
        Err(SubmitError::Fenced {
            stream,
            holder: new,
            offered: old
        })
    );
    append(journal, draft(stream, new, 1));
    let refused = journal.submit(draft(stream, old, 2)).wait();
    assert_eq!(
        refused,
        Err(SubmitError::Fenced {
            stream,
            holder: new,
            offered: old
        })
    );
    let dead = Epoch::new(journal.boot() - 1, u32::MAX);
    let refused = journal.submit(draft(StreamId::unnamed(), dead, 0)).wait();
    assert!(
        matches!(refused, Err(SubmitError::Fenced { .. })),
        "an epoch of an earlier boot: {refused:?}"
    );
}

/// B-LOG-1: a clock set back is refused, not recorded.
pub fn time_never_falls(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    append(journal, draft(stream, epoch, 0).at(5_000));
    append(journal, draft(stream, epoch, 1).at(5_000));
    let refused = journal.submit(draft(stream, epoch, 2).at(4_999)).wait();
    assert!(matches!(refused, Err(SubmitError::Invalid { .. })), "{refused:?}");
    assert_eq!(head_seq(journal, stream), 2);
}

/// What is not a frame does not get as far as the disk.
pub fn frames_that_make_no_sense_are_refused(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let sound = || draft(stream, epoch, 0);
    let cases: Vec<(&str, Draft)> = vec![
        (
            "no records",
            Draft {
                records: vec![],
                ..sound()
            },
        ),
        (
            "the marker stream",
            Draft {
                stream: StreamId::MARKER,
                ..sound()
            },
        ),
        (
            "no kind",
            Draft {
                kind: "".into(),
                ..sound()
            },
        ),
        (
            "a kind with a zero",
            Draft {
                kind: "a\0b".into(),
                ..sound()
            },
        ),
        (
            "a long kind",
            Draft {
                kind: "k".repeat(33).into(),
                ..sound()
            },
        ),
        (
            "a long type",
            sound().each(|record| record.type_name = "t".repeat(65).into()),
        ),
        ("type version 0", sound().each(|record| record.type_version = 0)),
        (
            "too large",
            sound().each(|record| record.payload = vec![b' '; MAX_FRAME_PAYLOAD + 1]),
        ),
        (
            "a long wait",
            Draft {
                standing: Standing::Waits("w".repeat(65).into()),
                ..sound()
            },
        ),
    ];
    for (what, draft) in cases {
        let refused = journal.submit(draft).wait();
        assert!(
            matches!(refused, Err(SubmitError::Invalid { .. })),
            "{what}: {refused:?}"
        );
    }
    append(
        journal,
        sound().each(|record| record.payload = vec![b' '; MAX_FRAME_PAYLOAD]),
    );
    let other = journal
        .submit(Draft {
            kind: "other".into(),
            ..draft(stream, epoch, 1)
        })
        .wait();
    assert!(
        matches!(other, Err(SubmitError::Invalid { .. })),
        "a stream keeps its kind: {other:?}"
    );
}

/// `expected` counts what was submitted, not what is durable.
pub fn frames_are_submitted_without_waiting(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let receipts: Vec<_> = (0..500)
        .map(|seq| journal.submit(draft(stream, epoch, seq)))
        .collect();
    for (index, receipt) in receipts.into_iter().enumerate() {
        assert_eq!(receipt.wait().expect("durable").seq, Seq(index as u64 + 1));
    }
    assert_eq!(head_seq(journal, stream), 500);
}

/// A hole never opens: behind a refused frame there is nothing.
pub fn after_a_refused_frame_everything_behind_it_fails(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let first = journal.submit(draft(stream, epoch, 0).at(2_000));
    let refused = journal.submit(draft(stream, epoch, 1).at(1_000));
    let behind: Vec<_> = (2..20)
        .map(|seq| journal.submit(draft(stream, epoch, seq).at(3_000)))
        .collect();
    first.wait().expect("the first is sound");
    assert!(refused.wait().is_err());
    for receipt in behind {
        assert!(receipt.wait().is_err());
    }
    assert_eq!(head_seq(journal, stream), 1);
}

/// All records of one decision stand together, under one time.
pub fn a_frame_of_many_records_is_read_whole(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    append(journal, draft(stream, epoch, 0));
    append(journal, draft(stream, epoch, 1).times(7));
    append(journal, draft(stream, epoch, 8));
    let frames = journal.read(stream, Seq(4), Limit::default()).expect("readable");
    let seqs: Vec<_> = frames[0].records.iter().map(|record| record.seq.0).collect();
    assert_eq!(
        seqs,
        [2, 3, 4, 5, 6, 7, 8],
        "seq 5 lies inside this frame, and it is not cut"
    );
    assert_eq!(frames[1].first_seq(), Seq(9));
    assert_eq!(
        journal.read(stream, Seq(9), Limit::default()).expect("readable"),
        []
    );
    assert_eq!(
        journal.read(stream, Seq(99), Limit::default()).expect("readable"),
        []
    );
}

/// Pages joined together are the stream.
pub fn reads_stop_at_their_limit_but_never_inside_a_frame(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let mut expected = 0;
    for size in [3, 1, 4, 1, 5, 9, 2, 6] {
        append(journal, draft(stream, epoch, expected).times(size));
        expected += size as u64;
    }
    let whole = read_all_of(journal, stream);
    for limit in [
        Limit {
            records: 1,
            bytes: usize::MAX,
        },
        Limit {
            records: 5,
            bytes: usize::MAX,
        },
        Limit {
            records: usize::MAX,
            bytes: 1,
        },
        Limit {
            records: usize::MAX,
            bytes: 60,
        },
    ] {
        let mut joined: Vec<Arc<Frame>> = Vec::new();
        loop {
            let after = joined.last().map_or(Seq::ZERO, |frame| frame.last_seq());
            let page = journal.read(stream, after, limit).expect("readable");
            assert_eq!(
                shown(journal, stream, after, limit),
                page,
                "a visit shows what is read"
            );
            let records: usize = page.iter().map(|frame| frame.records.len()).sum();
            assert!(
                page.len() <= 1 || records <= limit.records,
                "{limit:?} gave {records} records"
            );
            if page.is_empty() {
                break;
            }
            joined.extend(page);
        }
        assert_eq!(joined, whole, "{limit:?}");
    }
}

/// A visit shows frames until its visitor has seen enough.
pub fn a_visit_ends_when_its_visitor_says_so(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    for expected in 0..5 {
        append(journal, draft(stream, epoch, expected));
    }
    let mut seen = Vec::new();
    let visited = journal.visit(stream, Seq(1), Limit::default(), &mut |frame| {
        seen.push(frame.last_seq().0);
        if seen.len() < 2 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    visited.expect("readable");
    assert_eq!(seen, [2, 3]);
}

fn shown(journal: &dyn Journal, stream: StreamId, after: Seq, limit: Limit) -> Vec<Arc<Frame>> {
    let mut shown = Vec::new();
    let visited = journal.visit(stream, after, limit, &mut |frame| {
        shown.push(Arc::new(frame.clone()));
        ControlFlow::Continue(())
    });
    visited.expect("readable");
    shown
}

/// B-LOG-6: the chain has no missing link, and a receipt names its own.
pub fn each_frame_names_the_one_before_it(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let hashes: Vec<_> = (0..20)
        .map(|seq| {
            journal
                .submit(draft(stream, epoch, seq))
                .wait()
                .expect("durable")
                .hash
        })
        .collect();
    let mut previous = ChainHash::ZERO;
    for (frame, hash) in read_all_of(journal, stream).iter().zip(&hashes) {
        assert_eq!((frame.previous, frame.hash), (previous, *hash));
        previous = frame.hash;
    }
    assert_eq!(
        journal.head(stream).expect("readable").expect("exists").hash,
        previous
    );
}

/// Every field comes back as it went in.
pub fn what_was_written_is_read_back(journal: &dyn Journal) {
    let stream = StreamId::named("session", "local", "fields");
    let epoch = journal.claim(stream);
    let records = vec![
        NewRecord {
            type_name: "session.started".into(),
            type_version: 3,
            cause: None,
            level: Level::User,
            payload: br#"{"goal":"grow \u00fc"}"#.to_vec(),
        },
        NewRecord {
            type_name: "user.message".into(),
            type_version: 1,
            cause: Some(Seq(1)),
            level: Level::Internal,
            payload: vec![],
        },
    ];
    let sent = Draft {
        stream,
        kind: "session".into(),
        epoch,
        expected: Seq::ZERO,
        time_ms: 1_764_000_000_123,
        standing: Standing::Waits("input".into()),
        records: records.clone(),
    };
    let durable = journal.submit(sent).wait().expect("durable");
    let frames = journal
        .read(stream, Seq::ZERO, Limit::default())
        .expect("readable");
    let frame = &frames[0];
    assert_eq!(
        (frame.stream, &*frame.kind, frame.epoch),
        (stream, "session", epoch)
    );
    assert_eq!(frame.standing, Standing::Waits("input".into()));
    assert_eq!((frame.position, frame.hash), (durable.position, durable.hash));
    assert_eq!(
        (frame.time_ms(), frame.last_seq()),
        (1_764_000_000_123, durable.seq)
    );
    let events: Vec<_> = frame.records.iter().map(|record| record.event.clone()).collect();
    assert_eq!(events, records);
    let head = journal.head(stream).expect("readable").expect("exists");
    assert_eq!(
        (head.seq, head.hash, head.epoch, &*head.kind),
        (Seq(2), durable.hash, epoch, "session")
    );
    assert_eq!(
        (head.time_ms, head.standing),
        (1_764_000_000_123, Standing::Waits("input".into()))
    );
}

/// B-STREAM-2: a subscriber that watches first and reads then sees no gap.
pub fn a_watch_starts_at_the_head_and_follows_it(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let mut early = journal.watch(stream);
    assert_eq!(*early.borrow_and_update(), Seq::ZERO);
    append(journal, draft(stream, epoch, 0).times(3));
    assert_eq!(*journal.watch(stream).borrow(), Seq(3));
    assert!(early.has_changed().expect("alive"));
    assert_eq!(*early.borrow_and_update(), Seq(3));
    append(
        journal,
        draft(StreamId::unnamed(), journal.claim(StreamId::unnamed()), 0),
    );
    assert!(
        !early.has_changed().expect("alive"),
        "another stream is none of its business"
    );
}

/// B-STREAM-3: whoever is told of a seq can read it.
pub fn what_is_watched_can_be_read(journal: &dyn Journal) {
    const LAST: u64 = 300;
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    thread::scope(|scope| {
        let watch = journal.watch(stream);
        let reader = scope.spawn(move || {
            let mut passed = Seq::ZERO;
            while passed < Seq(LAST) {
                let told = *watch.borrow();
                let page = journal
                    .read(
                        stream,
                        passed,
                        Limit {
                            records: 16,
                            bytes: usize::MAX,
                        },
                    )
                    .expect("readable");
                assert!(
                    told <= passed || !page.is_empty(),
                    "told of {told}, nothing after {passed}"
                );
                for frame in page {
                    assert_eq!(frame.first_seq(), passed.next(), "no gap, no repeat");
                    passed = frame.last_seq();
                }
            }
        });
        let receipts: Vec<_> = (0..LAST)
            .map(|seq| journal.submit(draft(stream, epoch, seq)))
            .collect();
        for receipt in receipts {
            let seq = receipt.wait().expect("durable").seq;
            assert!(
                head_seq(journal, stream) >= seq.0,
                "an acknowledged seq is the head or below it"
            );
        }
        reader.join().expect("the reader panicked");
    });
}

/// Pages by position, joined together, are everything, once, and in order.
pub fn all_streams_are_read_in_the_order_they_were_written(journal: &dyn Journal) {
    let streams: Vec<_> = (0..5).map(|_| StreamId::unnamed()).collect();
    let epochs: Vec<_> = streams.iter().map(|stream| journal.claim(*stream)).collect();
    let end = journal.watch_all();
    let mut written = Vec::new();
    for round in 0..10 {
        for (stream, epoch) in streams.iter().zip(&epochs) {
            written.push((*stream, append(journal, draft(*stream, *epoch, round))));
        }
    }
    let mut joined = Vec::new();
    let mut after = Position::default();
    loop {
        let page = journal
            .read_all(
                after,
                Limit {
                    records: 7,
                    bytes: usize::MAX,
                },
            )
            .expect("readable");
        let Some(last) = page.last() else { break };
        after = last.position;
        joined.extend(page.iter().map(|frame| (frame.stream, frame.last_seq())));
    }
    assert_eq!(joined, written);
    assert!(*end.borrow() > after, "the end lies behind the last frame");
    assert_eq!(journal.read_all(after, Limit::default()).expect("readable"), []);
}

/// A listing is complete, ordered and cut into pages without loss.
pub fn streams_are_listed_by_kind_in_pages(journal: &dyn Journal) {
    let mut wanted = BTreeSet::new();
    for number in 0..30 {
        let kind = if number % 3 == 0 { "task" } else { "session" };
        let stream = StreamId::named(kind, "local", &number.to_string());
        append(
            journal,
            Draft {
                kind: kind.into(),
                ..draft(stream, journal.claim(stream), 0)
            },
        );
        if kind == "session" {
            wanted.insert(stream);
        }
    }
    let mut listed = Vec::new();
    loop {
        let page = journal
            .list("session", listed.last().copied(), 7)
            .expect("readable");
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        assert!(
            page.iter()
                .all(|head| head.kind == "session" && head.seq == Seq(1))
        );
        listed.extend(page.into_iter().map(|head| head.stream));
    }
    assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>());
    assert!(journal.list("nobody", None, 7).expect("readable").is_empty());
}

/// B-CRASH-7: who must be woken is found without folding.
pub fn standings_say_who_is_due(journal: &dyn Journal) {
    let with = |name: &str, standing: Standing| {
        let stream = StreamId::named("counter", "local", name);
        append(
            journal,
            Draft {
                standing,
                ..draft(stream, journal.claim(stream), 0)
            },
        );
        stream
    };
    let owed = with("owed", Standing::Owed);
    let soon = with("soon", Standing::Until(1_000));
    let late = with("late", Standing::Until(9_000));
    with("done", Standing::Done);
    with("waits", Standing::Waits("input".into()));
    let due = |until_ms: u64| -> BTreeSet<StreamId> {
        let mut due: Vec<StreamId> = Vec::new();
        loop {
            let page = journal.due(until_ms, due.last().copied(), 1).expect("readable");
            let Some(head) = page.first() else { break };
            due.push(head.stream);
        }
        assert!(due.is_sorted());
        due.into_iter().collect()
    };
    assert_eq!(due(999), BTreeSet::from([owed]));
    assert_eq!(due(1_000), BTreeSet::from([owed, soon]));
    assert_eq!(due(u64::MAX), BTreeSet::from([owed, soon, late]));
    assert_eq!(journal.next_due(0).expect("readable"), Some(1_000));
    assert_eq!(journal.next_due(1_000).expect("readable"), Some(9_000));
    assert_eq!(journal.next_due(9_000).expect("readable"), None);
}

/// Only the last frame's standing counts.
pub fn a_new_standing_replaces_the_old(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let steps = [
        (Standing::Owed, vec![stream], None),
        (Standing::Until(700), vec![], Some(700)),
        (Standing::Until(300), vec![stream], Some(300)),
        (Standing::Waits("approval".into()), vec![], None),
        (Standing::Owed, vec![stream], None),
        (Standing::Done, vec![], None),
    ];
    for (seq, (standing, due, next)) in steps.into_iter().enumerate() {
        append(
            journal,
            Draft {
                standing: standing.clone(),
                ..draft(stream, epoch, seq as u64)
            },
        );
        let found: Vec<_> = journal
            .due(500, None, 9)
            .expect("readable")
            .into_iter()
            .map(|head| head.stream)
            .collect();
        assert_eq!(
            (found, journal.next_due(0).expect("readable")),
            (due, next),
            "{standing:?}"
        );
    }
}

/// B-LOG-4: a body is found by the hash a user can compute.
pub fn blobs_are_kept_by_their_hash(journal: &dyn Journal) {
    let body: Vec<u8> = (0..200_000u32).map(|byte| (byte % 251) as u8).collect();
    let first = journal.blobs().put(&mut &body[..]).expect("stored");
    assert_eq!(first.bytes, 200_000);
    assert_eq!(journal.blobs().put(&mut &body[..]).expect("stored again"), first);
    assert_eq!(journal.blobs().get(first.id).expect("found"), body);
    let empty = journal.blobs().put(&mut &b""[..]).expect("stored");
    assert_eq!(
        empty.id.to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "the sha256 of nothing"
    );
    let missing = journal.blobs().get(BlobId([7; 32]));
    assert!(matches!(missing, Err(BlobError::NotFound(_))));
}

/// Closing loses nothing that was handed over.
pub fn a_closed_journal_has_answered_and_refuses(journal: &dyn Journal) {
    let stream = StreamId::unnamed();
    let epoch = journal.claim(stream);
    let receipts: Vec<_> = (0..100)
        .map(|seq| journal.submit(draft(stream, epoch, seq)))
        .collect();
    journal.close();
    for receipt in receipts {
        receipt
            .wait()
            .expect("what was submitted before the close is durable");
    }
    assert_eq!(
        journal.submit(draft(stream, epoch, 100)).wait(),
        Err(SubmitError::Closed)
    );
    journal.close();
}

/// A frame of one small record; the tests say only what matters to them.
fn draft(stream: StreamId, epoch: Epoch, expected: u64) -> Draft {
    Draft {
        stream,
        kind: "counter".into(),
        epoch,
        expected: Seq(expected),
        time_ms: 1_000,
        standing: Standing::Done,
        records: vec![NewRecord {
            type_name: "counter.raised".into(),
            type_version: 1,
            cause: None,
            level: Level::Progress,
            payload: b"{\"by\":1}".to_vec(),
        }],
    }
}

impl Draft {
    fn at(self, time_ms: u64) -> Self {
        Self { time_ms, ..self }
    }

    fn say(self, json: &str) -> Self {
        self.each(|record| record.payload = json.as_bytes().to_vec())
    }

    fn times(mut self, records: usize) -> Self {
        self.records = vec![self.records[0].clone(); records];
        self
    }

    fn each(mut self, change: impl Fn(&mut NewRecord)) -> Self {
        self.records.iter_mut().for_each(change);
        self
    }
}

fn append(journal: &dyn Journal, draft: Draft) -> Seq {
    journal
        .submit(draft)
        .wait()
        .expect("an append that nothing speaks against")
        .seq
}

fn head_seq(journal: &dyn Journal, stream: StreamId) -> u64 {
    journal
        .head(stream)
        .expect("readable")
        .map_or(0, |head| head.seq.0)
}

fn read_all_of(journal: &dyn Journal, stream: StreamId) -> Vec<Arc<Frame>> {
    let limit = Limit {
        records: usize::MAX,
        bytes: usize::MAX,
    };
    journal.read(stream, Seq::ZERO, limit).expect("readable")
}
