//! What must hold of the records themselves, judged without the fold that is under test.

use std::collections::BTreeSet;

use longhaul_actors::Owed;
use longhaul_actors::session::{Body, Effect, Event, PauseReason, RunOutcome, State};
use longhaul_journal::Seq;

/// Reads one record after the other and objects to the first that may not stand where it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    head: Seq,
    time_ms: u64,
    turn: bool,
    turns: u32,
    open: Option<(u64, Seq, bool)>,
    steps: u64,
    ended: bool,
    archived: bool,
    unread: BTreeSet<u64>,
    ranged_to: u64,
}

impl Witness {
    pub(crate) fn see(&mut self, seq: Seq, time_ms: u64, event: &Event) {
        assert_eq!(seq, self.head.next(), "seqs are dense");
        assert!(time_ms >= self.time_ms, "time never falls");
        assert_eq!(
            seq == Seq(1),
            matches!(event.body, Body::SessionStarted(_)),
            "the first record, and no other, is session.started"
        );
        assert!(
            event.cause.is_none_or(|cause| cause < seq),
            "a cause lies before its effect"
        );
        let archives = matches!(event.body, Body::Archived(_));
        assert_eq!(
            archives,
            self.ended && !self.archived && archives,
            "only an ended session is archived, once"
        );
        assert!(
            !self.ended
                || archives
                || matches!(
                    event.body,
                    Body::Adopted(_) | Body::SandboxReleased(_) | Body::ArtifactCreated(_)
                ),
            "{} after the end",
            event.body.type_name()
        );
        (self.head, self.time_ms) = (seq, time_ms);
        self.judge(seq, event);
    }

    fn judge(&mut self, seq: Seq, event: &Event) {
        match &event.body {
            Body::UserMessage(_) => {
                self.unread.insert(seq.0);
            }
            Body::TurnStarted(turn) => {
                assert!(!self.turn, "a turn within a turn");
                self.turn = true;
                self.turns += 1;
                assert_eq!(event.turn, Some(self.turns));
                self.take_range(turn.input_from_seq.0, turn.input_to_seq.0);
            }
            Body::TurnSteered(steered) => {
                assert!(self.turn, "steered without a turn");
                assert_eq!(steered.step, self.steps + 1, "the step that sees it comes next");
                assert!(self.unread.remove(&steered.message_seq.0), "read twice");
            }
            Body::TurnCompleted(_) => {
                assert!(self.turn, "no turn to end");
                assert_eq!(self.open, None, "a step outlives its turn");
                self.turn = false;
            }
            Body::ModelStarted(started) => {
                assert!(started.window_to < seq);
                self.open_step(started.step, seq, true);
            }
            Body::ModelCompleted(completed) => self.close_step(completed.step, true),
            Body::ToolStarted(started) => self.open_step(started.step, seq, false),
            Body::CommandRun(run) => self.close_step(run.step, false),
            Body::FileWritten(written) => self.close_step(written.step, false),
            Body::FileWasRead(read) => self.close_step(read.step, false),
            Body::ToolCompleted(completed) => self.close_step(completed.step, false),
            Body::ToolFailed(failed) => self.close_step(failed.step, false),
            Body::ToolOutcomeUnknown(unknown) => self.close_step(unknown.step, false),
            // An act that goes on under its shim while a crash loop is looked at is found again by whoever resumes.
            Body::Paused(paused) if paused.reason == PauseReason::CrashLoop => {
                assert!(
                    self.open.is_none_or(|(_, _, think)| !think),
                    "rest with an open brain call"
                );
            }
            Body::Paused(_) | Body::Hibernated(_) => assert_eq!(self.open, None, "rest with an open step"),
            Body::Completed(completed) => {
                self.end();
                let spent = completed.outcome == RunOutcome::DeadlineExceeded;
                assert!(spent || self.unread.is_empty(), "finished with unread input");
            }
            Body::Failed(_) | Body::Canceled(_) => self.end(),
            Body::Archived(_) => self.archived = true,
            _ => {}
        }
    }

    /// A turn takes every unread message there is; one in the range that was steered is not unread any more.
    fn take_range(&mut self, from: u64, to: u64) {
        if to == 0 {
            assert!(self.unread.is_empty(), "a turn that leaves input unread");
            return;
        }
        assert!(from > self.ranged_to && from <= to, "ranges of turns overlap");
        assert!(self.unread.contains(&from) && self.unread.contains(&to));
        self.unread.clear();
        self.ranged_to = to;
    }

    fn open_step(&mut self, step: u64, seq: Seq, think: bool) {
        assert!(self.turn, "a step outside a turn");
        assert_eq!(self.open, None, "two steps at once");
        assert_eq!(step, self.steps + 1, "steps are numbered densely");
        self.steps = step;
        self.open = Some((step, seq, think));
    }

    fn close_step(&mut self, step: u64, think: bool) {
        let open = self.open.take().map(|(step, _, think)| (step, think));
        assert_eq!(open, Some((step, think)), "an end without its start");
    }

    fn end(&mut self) {
        assert!(
            !self.turn && self.open.is_none(),
            "the session ends within a turn"
        );
        self.ended = true;
    }

    /// The fold sees what the records say, and no work is owed without its durable start record.
    pub(crate) fn agrees(&self, state: &State, owed: &[Owed<Effect>]) {
        assert_eq!(state.turn.is_some(), self.turn);
        assert_eq!(
            state.open.as_ref().map(|open| (open.step, open.seq)),
            self.open.map(|(step, seq, _)| (step, seq))
        );
        assert_eq!(state.phase.is_terminal(), self.ended);
        let inbox: Vec<u64> = state.inbox.iter().map(|unread| unread.seq.0).collect();
        assert_eq!(inbox, self.unread.iter().copied().collect::<Vec<_>>());
        for work in owed {
            match &work.effect {
                Effect::Think { step, .. } => assert_eq!(self.open, Some((*step, work.id.seq, true))),
                Effect::Act { step, .. } | Effect::CancelStep { step } => {
                    assert_eq!(self.open, Some((*step, work.id.seq, false)));
                }
                Effect::Checkpoint { at, .. } => {
                    assert_eq!(work.id.seq, *at);
                    assert!(*at <= self.head && !self.open.is_some_and(|(_, _, think)| !think));
                }
                Effect::Slot | Effect::Prepare { .. } | Effect::Stop { .. } => {
                    assert!(work.id.seq <= self.head)
                }
            }
        }
        let ids: BTreeSet<_> = owed.iter().map(|work| work.id).collect();
        assert_eq!(ids.len(), owed.len(), "owed work has names of its own");
    }
}
