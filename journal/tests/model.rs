//! The local journal against the memory journal: the same wishes, the same answers, the same hashes, over many segments
//! and openings. What the memory journal does in twenty lines is the specification of what the catalogue does in many.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

mod common;

use common::{ALL, Dice, draft, small, stream};
use longhaul_journal::{
    Draft, Epoch, Head, Journal, Limit, LocalJournal, MemoryJournal, Position, Seq, Standing, StreamId,
};

const STREAMS: u64 = 30;
const KINDS: [&str; 3] = ["session", "task", "account"];

#[test]
fn the_local_journal_answers_as_the_memory_journal_does() {
    let mut dice = Dice::seeded("model");
    let folder = tempfile::tempdir().unwrap();
    let mut memory = MemoryJournal::new();
    let mut local = LocalJournal::open(folder.path(), small()).unwrap().0;
    let mut epochs: Vec<Epoch> = (0..STREAMS).map(|_| Epoch::new(1, 0)).collect();
    for step in 0..2_500 {
        let number = dice.below(STREAMS);
        match dice.below(400) {
            0 => {
                drop(local);
                local = LocalJournal::open(folder.path(), small()).unwrap().0;
                memory = memory.reopen();
                assert_eq!(local.boot(), memory.boot());
            }
            1..20 => {
                let epoch = local.claim(stream(number));
                assert_eq!(memory.claim(stream(number)), epoch);
                epochs[usize::try_from(number).unwrap()] = epoch;
            }
            20..30 => compare(&local, &memory, &mut dice),
            _ => {
                let wish = wish(
                    &memory,
                    &mut dice,
                    number,
                    epochs[usize::try_from(number).unwrap()],
                );
                let answers = (local.submit(wish.clone()).wait(), memory.submit(wish).wait());
                let seq_and_hash = |durable: longhaul_journal::Durable| (durable.seq, durable.hash);
                assert_eq!(
                    answers.0.map(seq_and_hash),
                    answers.1.map(seq_and_hash),
                    "step {step}"
                );
            }
        }
    }
    compare(&local, &memory, &mut dice);
}

/// Mostly a sound draft; sometimes at the wrong place, or from the past.
fn wish(memory: &MemoryJournal, dice: &mut Dice, number: u64, epoch: Epoch) -> Draft {
    let head = memory.head(stream(number)).unwrap();
    let (seq, time_ms) = head.map_or((0, 1_000), |head| (head.seq.0, head.time_ms));
    let mut wish = draft(
        stream(number),
        epoch,
        seq,
        &"x".repeat(usize::try_from(dice.below(300)).unwrap()),
    );
    wish.kind = KINDS[usize::try_from(number % 3).unwrap()].into();
    wish.time_ms = time_ms + dice.below(10);
    wish.standing = match dice.below(4) {
        0 => Standing::Owed,
        1 => Standing::Until(dice.below(1_000)),
        2 => Standing::Waits("input".into()),
        _ => Standing::Done,
    };
    wish.records = vec![wish.records[0].clone(); usize::try_from(1 + dice.below(3)).unwrap()];
    match dice.below(30) {
        0 => wish.expected = Seq(dice.below(seq + 3)),
        1 => wish.time_ms = time_ms.saturating_sub(1),
        2 => wish.kind = "session".into(),
        _ => {}
    }
    wish
}

fn compare(local: &dyn Journal, memory: &dyn Journal, dice: &mut Dice) {
    for number in 0..STREAMS {
        let id = stream(number);
        let head = memory.head(id).unwrap();
        assert_eq!(local.head(id).unwrap(), head);
        let after = Seq(dice.below(head.map_or(0, |head| head.seq.0) + 2));
        let limit = Limit {
            records: 1 + usize::try_from(dice.below(40)).unwrap(),
            bytes: 4_000,
        };
        for limit in [limit, ALL] {
            let key = |frame: &std::sync::Arc<longhaul_journal::Frame>| (frame.hash, frame.records.clone());
            let read = |journal: &dyn Journal| {
                journal
                    .read(id, after, limit)
                    .unwrap()
                    .iter()
                    .map(key)
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                read(local),
                read(memory),
                "stream {number} after {after}, {limit:?}"
            );
        }
    }
    for kind in KINDS {
        let list = |journal: &dyn Journal| paged(|after| journal.list(kind, after, 4).unwrap());
        assert_eq!(list(local), list(memory), "{kind}");
    }
    for until_ms in [0, dice.below(1_000), u64::MAX] {
        let due = |journal: &dyn Journal| paged(|after| journal.due(until_ms, after, 4).unwrap());
        assert_eq!(due(local), due(memory), "due at {until_ms}");
        assert_eq!(
            local.next_due(until_ms).unwrap(),
            memory.next_due(until_ms).unwrap(),
            "next after {until_ms}"
        );
    }
    let order = |journal: &dyn Journal| {
        let (mut order, mut after) = (Vec::new(), Position::default());
        loop {
            let page = journal
                .read_all(
                    after,
                    Limit {
                        records: 50,
                        bytes: usize::MAX,
                    },
                )
                .unwrap();
            let Some(last) = page.last() else { return order };
            after = last.position;
            order.extend(page.iter().map(|frame| frame.hash));
        }
    };
    assert_eq!(order(local), order(memory));
}

fn paged(fetch: impl Fn(Option<StreamId>) -> Vec<Head>) -> Vec<Head> {
    let mut all: Vec<Head> = Vec::new();
    loop {
        let page = fetch(all.last().map(|head| head.stream));
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
