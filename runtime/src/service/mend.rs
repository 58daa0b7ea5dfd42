//! Repair and adoption: the two wishes that no actor can take, because the stream has none until they are granted.

use std::collections::BTreeMap;

use longhaul_actors::account::{self, Account, DEFAULT_ACCOUNT};
use longhaul_actors::session::{self, Actor, Command, Session};
use longhaul_actors::task::{self, Task};
use longhaul_actors::token::{self, Tokens};
use longhaul_actors::{
    Decision, Entity, Folded, Moment, Placed, Quarantine, RecoverError, Registry, fold, fold_to,
};
use longhaul_journal::{Draft, Gap, Journal, Seq, StreamId, SubmitError};

use super::address::{ACCOUNT, is_account, shown_name};
use super::problems::{read_problem, recover_problem};
use super::room::removed_by;
use super::{OWNER, Service};
use crate::api::{Accepted, Code, Problem, Quarantined, Remove, Removed, session_id, stream_id};

/// A stream that is neither a session nor the account.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beside {
    /// A task.
    Task(StreamId),
    /// The tokens of a session.
    Tokens(StreamId),
}

/// A kind of stream that goes on behind a gap.
trait Mend: Entity {
    /// Whether enough stands to go on with.
    fn has_begun(state: &Self::State) -> bool;

    /// What is written over the gap; the first of it gets the seq after `highest`.
    fn over_gap(state: &Self::State, highest: Seq, reason: String, moment: Moment) -> Vec<Self::Event>;
}

impl Mend for Session {
    fn has_begun(state: &session::State) -> bool {
        state.origin.is_some()
    }

    fn over_gap(state: &session::State, highest: Seq, reason: String, moment: Moment) -> Vec<session::Event> {
        session::over_gap(state, highest, reason, Actor::human(OWNER), moment)
    }
}

impl Mend for Account {
    fn has_begun(state: &account::State) -> bool {
        state.name.is_some()
    }

    fn over_gap(state: &account::State, highest: Seq, reason: String, _: Moment) -> Vec<account::Event> {
        account::over_gap(state, highest, reason, Actor::human(OWNER))
    }
}

impl Mend for Task {
    fn has_begun(state: &task::State) -> bool {
        state.phase != task::Phase::Unborn
    }

    fn over_gap(state: &task::State, highest: Seq, reason: String, _: Moment) -> Vec<task::Event> {
        let gap = task::JournalGap::between(state.head, highest, reason);
        vec![task::Event::of(Actor::human(OWNER), gap)]
    }
}

impl Mend for Tokens {
    fn has_begun(state: &token::State) -> bool {
        state.head > Seq::ZERO
    }

    fn over_gap(state: &token::State, highest: Seq, reason: String, _: Moment) -> Vec<token::Event> {
        let gap = token::JournalGap::between(state.head, highest, reason);
        vec![token::Event::of(Actor::human(OWNER), gap)]
    }
}

impl Service {
    /// Continues a quarantined stream behind what it lost: a session, the account, a task, or the tokens of a session, which
    /// are named by the id of their stream (B-LOG-10).
    pub(super) async fn mend(&self, id: &str) -> Result<Accepted, Problem> {
        if is_account(id) {
            return self.mend_account().await;
        }
        match self.beside(id).await? {
            Some(Beside::Task(stream)) => {
                let state = |task: &task::State| task.phase.name().to_owned();
                return self.mend_other(&self.tasks.tasks, stream, state).await;
            }
            Some(Beside::Tokens(stream)) => {
                let state = |_: &token::State| "usable".to_owned();
                return self.mend_other(&self.tokens.tokens, stream, state).await;
            }
            None => {}
        }
        let stream = self.resolve(id).await?;
        let now_ms = self.clock.now_ms();
        let mended = self
            .blocking(move |journal| repair::<Session>(journal, stream, now_ms))
            .await?;
        // What was folded before may reach further than what stands now.
        self.folds.forget(stream);
        // A stream that failed over and over is given another chance even though nothing of it is lost.
        let lifted = self.sessions.lift_quarantine(stream);
        self.accepted(stream, mended, !lifted).await
    }

    async fn mend_account(&self) -> Result<Accepted, Problem> {
        let stream = Account::stream(OWNER, DEFAULT_ACCOUNT);
        self.blocking(move |journal| {
            let head = journal.head(stream).map_err(read_problem)?;
            let is_damaged = journal.damaged().iter().any(|damage| damage.stream == stream);
            if head.is_none() && !is_damaged {
                let detail = "there is no account yet; the first session opens it";
                return Err(Problem::new(Code::NotFound, detail));
            }
            Ok(())
        })
        .await?;
        let state = |_: &account::State| "usable".to_owned();
        self.mend_other(&self.accounts, stream, state).await
    }

    /// The stream beside those of sessions that has this id, if it is one.
    pub(super) async fn beside(&self, id: &str) -> Result<Option<Beside>, Problem> {
        if id.starts_with("t_") {
            return Ok(Some(Beside::Task(self.which_task(id).await?)));
        }
        let Ok(stream) = stream_id(id) else {
            return Ok(None);
        };
        self.blocking(move |journal| {
            let head = journal.head(stream).map_err(read_problem)?;
            Ok(head.and_then(|head| match &*head.kind {
                Task::KIND => Some(Beside::Task(stream)),
                Tokens::KIND => Some(Beside::Tokens(stream)),
                _ => None,
            }))
        })
        .await
    }

    /// Removes a task, or the tokens of a session, of which nothing stands: neither can be taken up again (B-LOG-10).
    pub(super) async fn give_up(&self, beside: Beside, request: Remove) -> Result<Removed, Problem> {
        let (stream, kind) = match beside {
            Beside::Task(stream) => (stream, Task::KIND),
            Beside::Tokens(stream) => (stream, Tokens::KIND),
        };
        let (name, now_ms) = (shown_name(stream, kind), self.clock.now_ms());
        let id = name.clone();
        self.blocking(move |journal| {
            let stands = match beside {
                Beside::Task(_) => fold::<Task>(journal, stream).map(drop),
                Beside::Tokens(_) => fold::<Tokens>(journal, stream).map(drop),
            };
            match stands {
                Err(RecoverError::Quarantined(_)) if request.log => {}
                Err(RecoverError::Quarantined(quarantine)) => {
                    let detail = format!("{name} has no files, and its log is damaged: {quarantine}");
                    return Err(Problem::new(Code::InvalidRequest, detail).next(
                        "remove the log as well",
                        format!("longhaul rm {name} --log --yes"),
                    ));
                }
                Err(error) => return Err(recover_problem(error)),
                Ok(()) => {
                    let detail = format!("{name} is sound; only what is damaged is removed");
                    return Err(Problem::new(Code::InvalidRequest, detail)
                        .next("see what is there", "longhaul tasks ls --all"));
                }
            }
            journal
                .remove(stream, now_ms, removed_by())
                .map_err(not_submitted)?;
            Ok(())
        })
        .await?;
        match beside {
            Beside::Task(stream) => self.tasks.tasks.lift_quarantine(stream),
            Beside::Tokens(stream) => self.tokens.tokens.lift_quarantine(stream),
        };
        Ok(Removed {
            id,
            freed: 0,
            log: true,
        })
    }

    /// Continues a stream that is no session.
    async fn mend_other<E: Mend>(
        &self,
        actors: &Registry<E>,
        stream: StreamId,
        name: impl FnOnce(&E::State) -> String + Send + 'static,
    ) -> Result<Accepted, Problem> {
        let now_ms = self.clock.now_ms();
        let (mended, head, state) = self
            .blocking(move |journal| {
                let mended = repair::<E>(journal, stream, now_ms)?;
                let stands = fold::<E>(journal, stream).map_err(recover_problem)?;
                Ok((mended, stands.head, name(&stands.state)))
            })
            .await?;
        let lifted = actors.lift_quarantine(stream);
        Ok(Accepted {
            id: shown_name(stream, E::KIND),
            seq: mended.unwrap_or(head).0,
            repeated: mended.is_none() && !lifted,
            state,
        })
    }

    /// Takes on a session that was imported or restored (B-LOG-12).
    pub(super) async fn take_on(&self, id: &str) -> Result<Accepted, Problem> {
        let stream = self.resolve(id).await?;
        let now_ms = self.clock.now_ms();
        let adopted = self
            .blocking(move |journal| adopt(journal, stream, now_ms))
            .await?;
        self.sessions.lift_quarantine(stream);
        // It may owe work; whoever serves begins at once. Where nobody may, it waits.
        if adopted.is_some()
            && let Err(error) = self.sessions.wake(stream).await
        {
            tracing::debug!(%stream, %error, "an adopted session waits for somebody who serves");
        }
        self.accepted(stream, adopted, true).await
    }

    async fn accepted(
        &self,
        stream: StreamId,
        written: Option<Seq>,
        repeated: bool,
    ) -> Result<Accepted, Problem> {
        let state = self.folded(stream).await?;
        Ok(Accepted {
            id: session_id(stream),
            seq: written.unwrap_or(state.head).0,
            repeated: written.is_none() && repeated,
            state: state.phase.name().to_owned(),
        })
    }

    /// Every session that is known to be quarantined, by the journal or by its actor; and the account, tasks and tokens.
    pub(super) fn all_quarantined(&self) -> Vec<Quarantined> {
        const KINDS: [&str; 4] = [Session::KIND, Account::KIND, Task::KIND, Tokens::KIND];
        let by_journal = self.journal.damaged().into_iter();
        let mut found: BTreeMap<StreamId, Quarantined> = by_journal
            .filter(|damage| KINDS.contains(&damage.kind.as_str()))
            .map(|damage| {
                (
                    damage.stream,
                    quarantined(damage.stream, &damage.kind, damage.reason),
                )
            })
            .collect();
        let by_actor = [
            (Session::KIND, self.sessions.quarantined()),
            (Account::KIND, self.accounts.quarantined()),
            (Task::KIND, self.tasks.tasks.quarantined()),
            (Tokens::KIND, self.tokens.tokens.quarantined()),
        ];
        for (kind, quarantines) in by_actor {
            for quarantine in quarantines {
                let (stream, reason) = (quarantine.stream, &quarantine.reason);
                if !self.journal.is_inert(stream) {
                    let shown = || quarantined(stream, kind, reason.clone());
                    found.entry(stream).or_insert_with(shown);
                }
            }
        }
        found.into_values().collect()
    }
}

fn quarantined(stream: StreamId, kind: &str, reason: String) -> Quarantined {
    let id = shown_name(stream, kind);
    Quarantined { id, reason }
}

/// The session belongs to nobody here.
pub(super) fn inert(stream: StreamId) -> Problem {
    let id = session_id(stream);
    let detail = format!("{id} was imported or restored; it is only read here until it is adopted");
    Problem::new(Code::SessionInert, detail).next(
        "take it on, once it runs nowhere else",
        format!("longhaul adopt {id}"),
    )
}

/// Writes what is written over a gap; returns the seq of `journal.gap`, or nothing when the stream is sound.
fn repair<E: Mend>(journal: &dyn Journal, stream: StreamId, now_ms: u64) -> Result<Option<Seq>, Problem> {
    let quarantine = match fold::<E>(journal, stream) {
        Ok(_) => return Ok(None),
        Err(RecoverError::Quarantined(quarantine)) => quarantine,
        Err(error) => return Err(recover_problem(error)),
    };
    let stands = fold_to::<E>(journal, stream, quarantine.readable_to).map_err(recover_problem)?;
    if !E::has_begun(&stands.state) {
        return Err(nothing_stands(&quarantine, E::KIND));
    }
    let highest = journal.highest_seen(stream).map_err(read_problem)?;
    let moment = at(journal, stream, now_ms)?;
    let events = E::over_gap(&stands.state, highest, quarantine.reason, moment);
    let gap = Gap {
        resumes_after: stands.head,
        hash: stands.hash,
    };
    let draft = draft::<E>(journal, stream, &stands.state, highest, &events, moment);
    let written = journal.submit_over_gap(draft, gap).wait();
    written.map_err(not_submitted)?;
    Ok(Some(highest.next()))
}

fn nothing_stands(quarantine: &Quarantine, kind: &str) -> Problem {
    let (stream, why) = (quarantine.stream, &quarantine.reason);
    let name = shown_name(stream, kind);
    let detail = format!("the beginning of {name} is lost ({why}), so there is nothing to take up");
    let problem = Problem::new(Code::StreamQuarantined, detail);
    if name == ACCOUNT {
        return problem
            .next("read what is left", format!("longhaul journal inspect {stream}"))
            .next("go on without an account", "LONGHAUL_CREDITS=off longhaul serve");
    }
    problem
        .next("read what is left", format!("longhaul journal inspect {stream}"))
        .next("give it up", format!("longhaul rm {name} --log --yes"))
}

/// Writes that an inert session belongs to this directory; returns the seq, or nothing when it did already.
fn adopt(journal: &dyn Journal, stream: StreamId, now_ms: u64) -> Result<Option<Seq>, Problem> {
    if !journal.is_inert(stream) {
        return Ok(None);
    }
    let Folded { state, head, .. } = fold::<Session>(journal, stream).map_err(recover_problem)?;
    let moment = at(journal, stream, now_ms)?;
    let by = Actor::human(OWNER);
    let Decision { events, .. } = Session::decide(&state, Command::Adopt { by }, moment)
        .map_err(|refusal| Problem::new(Code::InvalidRequest, refusal.to_string()))?;
    let draft = draft::<Session>(journal, stream, &state, head, &events, moment);
    journal.adopt(draft).map_err(not_submitted)?;
    Ok(Some(head.next()))
}

/// Now, but not before anything that is known of the stream.
pub(super) fn at(journal: &dyn Journal, stream: StreamId, now_ms: u64) -> Result<Moment, Problem> {
    let head = journal.head(stream).map_err(read_problem)?;
    let now_ms = head.map_or(now_ms, |head| now_ms.max(head.time_ms));
    Ok(Moment { now_ms })
}

/// The frame of these events, the first of which gets the seq after `expected`.
pub(super) fn draft<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    before: &E::State,
    expected: Seq,
    events: &[E::Event],
    moment: Moment,
) -> Draft {
    let (mut state, mut seq) = (before.clone(), expected);
    for event in events {
        seq = seq.next();
        E::apply(
            &mut state,
            Placed {
                seq,
                time_ms: moment.now_ms,
                event,
            },
        );
    }
    Draft {
        stream,
        kind: E::KIND.into(),
        epoch: journal.claim(stream),
        expected,
        time_ms: moment.now_ms,
        standing: E::standing(&state),
        records: events.iter().map(E::encode).collect(),
    }
}

pub(super) fn not_submitted(error: SubmitError) -> Problem {
    let code = if error.may_have_happened() {
        Code::OutcomeUnknown
    } else {
        match error {
            SubmitError::Quarantined { .. } => Code::StreamQuarantined,
            _ => Code::StorageUnavailable,
        }
    };
    Problem::new(code, error.to_string())
}
