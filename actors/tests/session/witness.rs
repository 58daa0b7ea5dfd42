//! What must hold of the records themselves, judged without the fold that is under test.

use std::collections::BTreeSet;

use longhaul_actors::Owed;
use longhaul_actors::session::{
    Actor, ActorKind, ApprovalDecision, Body, Effect, Event, HoldNamed, PauseReason, RunOutcome,
    SERVICES_LIMIT, State,
};
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
    pending: Option<(String, String)>,
    approved: Option<(String, String)>,
    admitted: bool,
    ranged_to: u64,
    services: BTreeSet<u64>,
    /// Whether its work is charged, and the holds that steps were started with.
    charged: bool,
    holds: BTreeSet<Seq>,
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
            Body::SessionStarted(started) => self.charged = started.terms.is_some(),
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
                self.holds(started.hold);
                self.open_step(started.step, seq, true);
            }
            Body::ModelCompleted(completed) => self.close_step(completed.step, true),
            Body::ToolStarted(started) => {
                self.open_step(started.step, seq, false);
                // What is only told to the brain does nothing, and costs nothing.
                if started.limit_ms > 0 {
                    self.holds(started.hold);
                }
                // The digests of this world begin with what the gate says of the act.
                let of_ours = event.actor == Actor::RUNTIME;
                let approved = self
                    .approved
                    .take()
                    .is_some_and(|(_, digest)| digest == started.digest);
                self.admitted = of_ours || started.digest.starts_with("Allow") || approved;
                self.pending = None;
            }
            Body::ApprovalRequested(requested) => {
                assert_eq!((self.open, &self.pending, &self.approved), (None, &None, &None));
                assert_eq!(requested.step, self.steps + 1);
                self.pending = Some((requested.id.clone(), requested.digest.clone()));
            }
            Body::ApprovalDecided(decided) => {
                let pending = self.pending.clone().expect("it was asked for");
                assert_eq!(pending, (decided.id.clone(), decided.digest.clone()));
                assert_eq!(event.actor.kind, ActorKind::Human);
                assert!(!decided.evidence.is_empty());
                if decided.decision == ApprovalDecision::Approve {
                    self.approved = self.pending.take();
                }
            }
            Body::ApprovalExpired(expired) => {
                assert_eq!(self.pending.as_ref().map(|(id, _)| id), Some(&expired.id));
            }
            Body::ApprovalCanceled(canceled) => {
                let asked = self.pending.take().or(self.approved.take());
                assert_eq!(asked.map(|(id, _)| id), Some(canceled.id.clone()));
            }
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
            Body::Hibernated(_) => {
                assert_eq!(self.open, None, "rest with an open step");
                assert!(self.services.is_empty(), "asleep with a service");
            }
            Body::Paused(paused) => {
                assert_eq!(self.open, None, "rest with an open step");
                // What comes about by itself (a loop, an empty account) ends them from there.
                let asked = paused.reason == PauseReason::Requested;
                assert!(
                    !asked || self.services.is_empty(),
                    "paused on demand with a service"
                );
            }
            Body::ServiceStarted(started) => {
                assert!(self.services.insert(started.step), "a service starts once");
                assert!(self.services.len() <= SERVICES_LIMIT);
            }
            Body::ServiceEnded(ended) => {
                assert!(self.services.remove(&ended.step), "a service ends once");
            }
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

    /// B-CREDIT-2: no hold, no start; and no hold is used twice.
    fn holds(&mut self, hold: Option<HoldNamed>) {
        assert_eq!(
            hold.is_some(),
            self.charged,
            "a step starts with a hold where work is charged"
        );
        if let Some(hold) = hold {
            assert!(self.holds.insert(hold.seq), "a hold is used twice");
        }
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
        assert!(self.services.is_empty(), "the session ends before its services");
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
        let services: BTreeSet<u64> = state.services.iter().map(|service| service.step).collect();
        assert_eq!(services, self.services);
        let inbox: Vec<u64> = state.inbox.iter().map(|unread| unread.seq.0).collect();
        assert_eq!(inbox, self.unread.iter().copied().collect::<Vec<_>>());
        for work in owed {
            match &work.effect {
                Effect::Think { step, .. } => assert_eq!(self.open, Some((*step, work.id.seq, true))),
                Effect::Act { step, .. } | Effect::CancelStep { step } => {
                    assert!(self.admitted, "an act that was not admitted");
                    assert_eq!(self.open, Some((*step, work.id.seq, false)));
                }
                Effect::Checkpoint { at, .. } => {
                    assert_eq!(work.id.seq, *at);
                    assert!(*at <= self.head && self.open.is_none_or(|(_, _, think)| think));
                }
                Effect::WatchService { step } | Effect::EndService { step } => {
                    assert!(self.services.contains(step), "a service that never started");
                }
                Effect::Admit { candidate, .. } => {
                    assert_eq!((self.open, candidate.step), (None, self.steps + 1));
                }
                Effect::Hold(purse) => {
                    assert_eq!((self.open, purse.step), (None, self.steps + 1));
                }
                Effect::Slot { .. } | Effect::Prepare { .. } | Effect::Stop { .. } => {
                    assert!(work.id.seq <= self.head)
                }
            }
        }
        let ids: BTreeSet<_> = owed.iter().map(|work| work.id).collect();
        assert_eq!(ids.len(), owed.len(), "owed work has names of its own");
    }
}
