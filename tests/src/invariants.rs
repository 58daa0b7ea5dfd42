//! What holds of every session's log, at every prefix: one function per property of section 3 of the contract.
//!
//! Judged from the stored frames, mostly without the fold that is under test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longhaul_actors::account::{self, Account};
use longhaul_actors::session::{ApprovalDecision, Body, RunOutcome, Session, State};
use longhaul_actors::{Entity, Placed};
use longhaul_journal::{Frame, Record, Standing};

/// A property, by name.
pub type Property = (&'static str, fn(&[Arc<Frame>]));

/// All of them.
pub const ALL: &[Property] = &[
    (
        "seqs are dense and time never falls",
        seqs_are_dense_and_time_never_falls,
    ),
    ("the epoch never falls", the_epoch_never_falls),
    ("frames are chained", frames_are_chained),
    (
        "the first record starts the session",
        the_first_record_starts_the_session,
    ),
    ("turns pair", turns_pair),
    ("steps end within their turn", steps_end_within_their_turn),
    (
        "nothing ends that was not started before",
        nothing_ends_that_was_not_started_before,
    ),
    (
        "nothing follows the end but the archive",
        nothing_follows_the_end_but_the_archive,
    ),
    (
        "a gated act was approved of before it",
        a_gated_act_was_approved_of_before_it,
    ),
    ("each message is consumed once", each_message_is_consumed_once),
    (
        "the sealed standing is the fold's",
        the_sealed_standing_is_the_folds,
    ),
];

/// Checks all of them; a panic names the property that does not hold.
///
/// # Panics
/// When one does not hold.
pub fn check(frames: &[Arc<Frame>]) {
    for (name, property) in ALL {
        let checked = std::panic::catch_unwind(|| property(frames));
        if let Err(panic) = checked {
            eprintln!("does not hold: {name}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// B-CREDIT-2: what holds of an account at every prefix, and between it and the session that used it up.
///
/// # Panics
/// When it does not hold.
pub fn check_ledger(account: &[Arc<Frame>], session: &[Arc<Frame>]) {
    let (mut granted, mut settled, mut open) = (0, 0, BTreeMap::new());
    let mut charged = BTreeSet::new();
    for record in records(account) {
        let event = Account::decode(record).expect("this version wrote it");
        match event.body {
            account::Body::Granted(grant) => granted += grant.amount_micro.micro(),
            account::Body::Held(held) => {
                open.insert(record.seq, held.amount_micro.micro());
            }
            account::Body::Settled(end) => {
                let held = open
                    .remove(&end.hold)
                    .expect("what is settled was held, and is settled once");
                assert!(
                    end.amount_micro.micro() <= held,
                    "settling takes at most the hold"
                );
                settled += end.amount_micro.micro();
                charged.insert(end.hold);
            }
            account::Body::Released(end) => {
                open.remove(&end.hold).expect("what is released was held");
            }
            _ => {}
        }
        let held: u64 = open.values().sum();
        assert!(settled + held <= granted, "at seq {} of the account", record.seq);
    }
    assert!(open.is_empty(), "held for ever: {open:?}");
    let mut named = BTreeSet::new();
    for (seq, body) in bodies(session) {
        let hold = match body {
            Body::ModelStarted(started) => started.hold,
            Body::ToolStarted(started) if started.limit_ms > 0 => started.hold,
            _ => continue,
        };
        let hold = hold.unwrap_or_else(|| panic!("the step at seq {seq} started without a hold"));
        assert!(named.insert(hold.seq), "a hold is used twice");
    }
    assert_eq!(named, charged, "each step is charged, once, and nothing else is");
}

fn records(frames: &[Arc<Frame>]) -> impl Iterator<Item = &Record> {
    frames.iter().flat_map(|frame| &frame.records)
}

fn bodies(frames: &[Arc<Frame>]) -> impl Iterator<Item = (u64, Body)> {
    records(frames).map(|record| {
        let event = Session::decode(record).expect("this version wrote it");
        (record.seq.0, event.body)
    })
}

/// B-GATE-4: where a human was asked about a step, it begins only behind a decision that approves of the same digest.
pub fn a_gated_act_was_approved_of_before_it(frames: &[Arc<Frame>]) {
    let (mut asked, mut approved) = (None, None);
    let mut turned_away = None;
    for (seq, body) in bodies(frames) {
        if let Some(step) = turned_away.take() {
            let failed = matches!(&body, Body::ToolFailed(failed) if failed.step == step && failed.settled_by.is_none());
            assert!(
                failed,
                "the act of step {step} was not approved of, and not turned away at {seq}"
            );
        }
        match body {
            Body::ApprovalRequested(requested) => {
                asked = Some((requested.id, requested.step, requested.digest))
            }
            Body::ApprovalDecided(decided) => {
                let known = asked.as_ref().is_some_and(|(id, ..)| *id == decided.id);
                assert!(known, "a decision on nothing at {seq}");
                approved = (decided.decision == ApprovalDecision::Approve).then_some(decided.digest);
            }
            Body::ApprovalCanceled(_) => (asked, approved) = (None, None),
            Body::ToolStarted(started) => {
                let was_asked = asked.take_if(|(_, step, _)| *step == started.step).is_some();
                let is_covered = approved.take() == Some(started.digest);
                turned_away = (was_asked && !is_covered).then_some(started.step);
            }
            _ => {}
        }
    }
}

/// B-LOG-1
pub fn seqs_are_dense_and_time_never_falls(frames: &[Arc<Frame>]) {
    let mut time_ms = 0;
    for (record, expected) in records(frames).zip(1..) {
        assert_eq!(record.seq.0, expected);
        assert!(record.time_ms >= time_ms, "the time of seq {expected} falls");
        time_ms = record.time_ms;
    }
}

/// B-CRASH-6
pub fn the_epoch_never_falls(frames: &[Arc<Frame>]) {
    for pair in frames.windows(2) {
        assert!(pair[1].epoch >= pair[0].epoch, "at seq {}", pair[1].first_seq());
    }
}

/// B-LOG-6
pub fn frames_are_chained(frames: &[Arc<Frame>]) {
    for pair in frames.windows(2) {
        assert_eq!(pair[1].previous, pair[0].hash, "at seq {}", pair[1].first_seq());
    }
}

/// The first record, and no other, is `session.started`.
pub fn the_first_record_starts_the_session(frames: &[Arc<Frame>]) {
    for (seq, body) in bodies(frames) {
        assert_eq!(seq == 1, matches!(body, Body::SessionStarted(_)), "seq {seq}");
    }
}

/// A turn ends before the next begins, and none is open when the session has ended.
pub fn turns_pair(frames: &[Arc<Frame>]) {
    let mut open = false;
    for (seq, body) in bodies(frames) {
        match body {
            Body::TurnStarted(_) => {
                assert!(!open, "a turn within a turn at seq {seq}");
                open = true;
            }
            Body::TurnCompleted(_) => {
                assert!(open, "no turn to end at seq {seq}");
                open = false;
            }
            body if is_end(&body) => assert!(!open, "the session ends within a turn at seq {seq}"),
            _ => {}
        }
    }
}

/// A step is closed before its turn ends, and before the session rests.
pub fn steps_end_within_their_turn(frames: &[Arc<Frame>]) {
    let mut open = None;
    for (seq, body) in bodies(frames) {
        if let Some((step, _)) = begins(&body) {
            assert_eq!(open, None, "two steps at once at seq {seq}");
            open = Some(step);
        } else if ends_step(&body).is_some() {
            open = None;
        } else if matches!(
            body,
            Body::TurnCompleted(_) | Body::Paused(_) | Body::Hibernated(_)
        ) || is_end(&body)
        {
            assert_eq!(open, None, "step left open at seq {seq}");
        }
    }
}

/// No outcome without a start in an earlier frame, but for calls that were refused before they began; one each.
pub fn nothing_ends_that_was_not_started_before(frames: &[Arc<Frame>]) {
    let mut started: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
    let mut ended = BTreeSet::new();
    for (index, frame) in frames.iter().enumerate() {
        for record in &frame.records {
            let body = Session::decode(record).expect("this version wrote it").body;
            if let Some((step, thinks)) = begins(&body) {
                let before = started.insert(step, (index, thinks));
                assert_eq!(before, None, "step {step} begins twice");
            }
            if let Some((step, thinks)) = ends_step(&body) {
                let (begun, thought) = started.get(&step).expect("its start is on record");
                assert_eq!(*thought, thinks, "step {step} ends as another kind");
                let refused = matches!(&body, Body::ToolFailed(_));
                assert!(
                    *begun < index || refused,
                    "step {step} ends in the frame of its start"
                );
                assert!(ended.insert(step), "step {step} ends twice");
            }
        }
    }
}

/// Nothing after a terminal record except archive.
pub fn nothing_follows_the_end_but_the_archive(frames: &[Arc<Frame>]) {
    let mut over = false;
    for (seq, body) in bodies(frames) {
        assert!(
            !over || matches!(body, Body::Archived(_)),
            "{} at seq {seq}",
            body.type_name()
        );
        over |= is_end(&body);
    }
}

/// B-STEER-2: each message is consumed by at most one turn, and by exactly one unless the session ended first.
pub fn each_message_is_consumed_once(frames: &[Arc<Frame>]) {
    let mut unread = BTreeSet::new();
    let mut ended_early = false;
    for (seq, body) in bodies(frames) {
        match body {
            Body::UserMessage(_) => {
                unread.insert(seq);
            }
            Body::TurnStarted(turn) if turn.input_to_seq.0 > 0 => {
                let (from, to) = (turn.input_from_seq.0, turn.input_to_seq.0);
                assert!(
                    unread.contains(&from) && unread.contains(&to),
                    "the range at seq {seq}"
                );
                unread.retain(|message| *message > to);
            }
            Body::TurnSteered(steered) => {
                let message = steered.message_seq.0;
                assert!(
                    unread.remove(&message),
                    "message {message} is consumed again at seq {seq}"
                );
            }
            Body::Completed(completed) => ended_early = completed.outcome == RunOutcome::DeadlineExceeded,
            Body::Failed(_) | Body::Canceled(_) => ended_early = true,
            _ => {}
        }
    }
    let is_over = bodies(frames).any(|(_, body)| is_end(&body));
    assert!(
        !is_over || ended_early || unread.is_empty(),
        "never consumed: {unread:?}"
    );
}

/// What a session has come to by the end of these frames.
pub fn folded(frames: &[Arc<Frame>]) -> State {
    let mut state = State::default();
    frames.iter().for_each(|frame| fold(&mut state, frame));
    state
}

/// B-CRASH-7: what each frame says its session waits for is what the fold says, and it is never nothing.
pub fn the_sealed_standing_is_the_folds(frames: &[Arc<Frame>]) {
    let mut state = State::default();
    for frame in frames {
        fold(&mut state, frame);
        let seq = frame.last_seq();
        assert_eq!(frame.standing, Session::standing(&state), "at seq {seq}");
        assert_eq!(
            frame.standing == Standing::Done,
            state.phase.is_terminal(),
            "at seq {seq}"
        );
    }
}

/// Folds one frame into a state.
pub fn fold(state: &mut State, frame: &Frame) {
    for record in &frame.records {
        let event = Session::decode(record).expect("this version wrote it");
        let placed = Placed {
            seq: record.seq,
            time_ms: record.time_ms,
            event: &event,
        };
        Session::apply(state, placed);
    }
}

fn is_end(body: &Body) -> bool {
    matches!(body, Body::Completed(_) | Body::Failed(_) | Body::Canceled(_))
}

/// The step a record begins, and whether it is a brain call.
fn begins(body: &Body) -> Option<(u64, bool)> {
    match body {
        Body::ModelStarted(start) => Some((start.step, true)),
        Body::ToolStarted(start) => Some((start.step, false)),
        _ => None,
    }
}

/// The step a record ends, and whether it is a brain call.
pub fn ends_step(body: &Body) -> Option<(u64, bool)> {
    match body {
        Body::ModelCompleted(end) => Some((end.step, true)),
        Body::CommandRun(end) => Some((end.step, false)),
        Body::FileWritten(end) => Some((end.step, false)),
        Body::FileWasRead(end) => Some((end.step, false)),
        Body::ToolCompleted(end) => Some((end.step, false)),
        Body::ToolFailed(end) => Some((end.step, false)),
        Body::ToolOutcomeUnknown(end) => Some((end.step, false)),
        _ => None,
    }
}
