//! Forking: a new session with the records of another one up to a seq, and its files as they were then.
//!
//! Files first, then the records as a copy that nobody has adopted, then `session.forked`, by which it becomes a session of
//! its own: a crash before that leaves something inert, and the same request goes on where it stopped. Nothing of the source
//! is changed, and nothing of it is needed afterwards.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use longhaul_actors::session::{
    Actor, Command, Event, Fork, ForkedFrom, Session, State, WorkspaceKind, fork,
};
use longhaul_actors::{Entity, Moment, Placed};
use longhaul_journal::{Draft, Frame, Journal, Limit, NewRecord, Seq, StreamId};

use self::plan::History;
use super::mend::{at, draft, inert, not_submitted};
use super::problems::{conflict, read_problem, recover_problem, refusal_problem, send_problem};
use super::{OWNER, Service, keyed};
use crate::api::{self, Code, Problem, Started, session_id};
use crate::world::{Checkpoints, SessionFolder, copy_workspace};

/// How long a checkpoint of a session at work is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a source was at a seq.
struct Source {
    stream: StreamId,
    at: Seq,
    frames: Vec<Arc<Frame>>,
    /// The fold at that seq, and at the head.
    state: State,
    now: State,
    history: History,
}

/// Where the files of a fork come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// The fork makes its own workspace when it works: there was none, or nothing in it.
    Fresh,
    /// A checkpoint of the source.
    Checkpoint(u64),
    /// The workspace of the source as it is now.
    Present,
}

impl Service {
    /// Begins a session as another one was.
    pub(super) async fn fork_off(&self, id: &str, request: api::Fork) -> Result<Started, Problem> {
        let stream = self.resolve(id).await?;
        let asked = request.at;
        let source = self
            .blocking(move |journal| source(journal, stream, asked))
            .await?;
        let source = Arc::new(source);
        let target = self.address_of(&request);
        let fingerprint = fingerprint(stream, &request);
        if let Some(started) = self.found_again(target, &fingerprint).await? {
            return Ok(started);
        }
        let wish = Fork {
            by: Actor::human(OWNER),
            from: session_id(stream),
            at: source.at,
            key: request.key,
            fingerprint,
            say: request.say,
        };
        // Whatever the rules refuse is refused before anything is made.
        fork(&source.state, wish.clone(), self.moment(&source))
            .map_err(|refusal| refusal_problem(&refusal))?;
        let files = self.files_of(&source).await?;
        let files = match files {
            Files::Present => Files::Checkpoint(self.keep_present(&source).await?),
            files => files,
        };
        if let Files::Checkpoint(at) = files {
            let (from, to) = (self.folder(stream), self.folder(target));
            self.blocking(move |_| {
                copy_workspace(&from, at, &to).map_err(|error| {
                    let detail = format!("the files of the fork could not be made: {error}");
                    Problem::new(Code::StorageUnavailable, detail)
                })
            })
            .await?;
        }
        let (now_ms, copied) = (self.clock.now_ms(), Arc::clone(&source));
        self.blocking(move |journal| write(journal, target, &copied, wish, now_ms))
            .await?;
        self.folds.forget(target);
        self.sessions.lift_quarantine(target);
        if let Err(error) = self.sessions.wake(target).await {
            tracing::debug!(%target, %error, "a fork waits for somebody who serves");
        }
        let state = self.folded(target).await?;
        Ok(started(target, &state, false))
    }

    /// Keeps the files of a session as they are now.
    pub(super) async fn keep_files(&self, id: &str) -> Result<api::Accepted, Problem> {
        let by = Actor::human(OWNER);
        self.wish(id, Command::Checkpoint { by }).await
    }

    fn folder(&self, session: StreamId) -> SessionFolder {
        SessionFolder::new(&self.data, session)
    }

    fn moment(&self, source: &Source) -> Moment {
        let now_ms = self.clock.now_ms().max(source.state.last_ms);
        Moment { now_ms }
    }

    fn address_of(&self, request: &api::Fork) -> StreamId {
        match (&request.key, &request.idempotency_key) {
            (Some(key), _) => keyed(key),
            (None, Some(key)) => StreamId::named("session", OWNER, &format!("request:{key}")),
            (None, None) => StreamId::unnamed(),
        }
    }

    /// The fork that the same request made before.
    async fn found_again(&self, target: StreamId, fingerprint: &str) -> Result<Option<Started>, Problem> {
        let head = self
            .blocking(move |journal| journal.head(target).map_err(read_problem))
            .await?;
        if head.is_none() {
            return Ok(None);
        }
        let state = self.folded(target).await?;
        let is_copied = state.forked.is_some();
        if !is_copied && self.journal.is_inert(target) {
            // The records came, and the session did not begin: it goes on from there.
            return Ok(None);
        }
        let is_ours = state
            .origin
            .as_ref()
            .is_some_and(|origin| origin.fingerprint == fingerprint);
        if !is_copied || !is_ours {
            let detail =
                "this key was used for something else; use another key, or send the same request again";
            return Err(conflict(Problem::new(Code::IdempotencyConflict, detail)));
        }
        if self.journal.is_inert(target) {
            return Err(inert(target));
        }
        Ok(Some(started(target, &state, true)))
    }

    /// Where the files come from, or why they cannot be had.
    async fn files_of(&self, source: &Arc<Source>) -> Result<Files, Problem> {
        let folder = self.folder(source.stream);
        let source = Arc::clone(source);
        self.blocking(move |_| {
            let checkpoints = Checkpoints::at(folder.checkpoints());
            let there = checkpoints.seqs().map_err(|error| {
                Problem::new(
                    Code::StorageUnavailable,
                    format!("the checkpoints cannot be read: {error}"),
                )
            })?;
            let is_there = folder.workspace().is_dir();
            source.files(&there, is_there)
        })
        .await
    }

    /// Makes a checkpoint of the files as they are; the seq it is for.
    async fn keep_present(&self, source: &Source) -> Result<u64, Problem> {
        let stream = source.stream;
        if source.now.phase.is_terminal() {
            // Nothing will ever change them.
            let at = source.now.head;
            let resources = source.now.limits().resources;
            let kept = self.hands.checkpoint(stream, at, true, resources).await;
            return kept
                .map(|_| at.0)
                .map_err(|error| not_kept(stream, &error.to_string()));
        }
        if self.journal.is_inert(stream) {
            return Err(inert(stream));
        }
        let by = Actor::human(OWNER);
        let asked = self
            .sessions
            .send(stream, Command::Checkpoint { by })
            .await
            .map_err(send_problem)?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut moved = self.journal.watch(stream);
        loop {
            moved.mark_unchanged();
            if self.folded(stream).await?.files.due.is_none() {
                break;
            }
            let waited = tokio::time::timeout_at(deadline, moved.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return Err(not_kept(
                    stream,
                    "its files were not kept within a minute; try again",
                ));
            }
        }
        // It may have gone on meanwhile, so that what was kept is not what was asked for.
        let (at, folder) = (source.at.0, self.folder(stream));
        let found = self
            .blocking(move |journal| {
                let seen = frames(journal, stream, Seq(u64::MAX))?;
                let history = history(&seen)?;
                let there = Checkpoints::at(folder.checkpoints()).seqs().unwrap_or_default();
                Ok(history.checkpoint(at, &there))
            })
            .await?;
        found.ok_or_else(|| {
            let why = format!(
                "no checkpoint came of the wish of record {}; its log says why",
                asked.seq
            );
            not_kept(stream, &why)
        })
    }
}

impl Source {
    fn files(
        &self,
        there: &std::collections::BTreeSet<u64>,
        workspace_is_there: bool,
    ) -> Result<Files, Problem> {
        let kind = self.state.origin.as_ref().map(|origin| origin.workspace.kind);
        if kind == Some(WorkspaceKind::InPlace) {
            let why = "it works in a folder of your own, which a fork would share with it";
            return Err(not_forkable(self.stream, why.to_owned()));
        }
        let forked_itself = self.now.forked.is_some();
        let present = self.history.present().filter(|_| workspace_is_there);
        let can_be_had = |state: u32| {
            state == 0
                || state == 1 && kind == Some(WorkspaceKind::Empty) && !forked_itself
                || present == Some(state)
                || there.iter().any(|at| self.history.at(*at) == Some(state))
        };
        let Some(wanted) = self.history.at(self.at.0).filter(|state| can_be_had(*state)) else {
            return Err(self.not_there(&self.history.forkable(can_be_had)));
        };
        if let Some(at) = self.history.checkpoint(self.at.0, there) {
            Ok(Files::Checkpoint(at))
        } else if present == Some(wanted) && wanted > 0 {
            Ok(Files::Present)
        } else {
            Ok(Files::Fresh)
        }
    }

    fn not_there(&self, ranges: &[(u64, u64)]) -> Problem {
        let (id, at) = (session_id(self.stream), self.at);
        let which = match plan::shown(ranges) {
            none if none.is_empty() => "no seq of it can be forked at the moment".to_owned(),
            ranges => format!("seqs that can be forked: {ranges}"),
        };
        let why = format!("its files as they were at seq {at} are not kept; {which}");
        let problem = not_forkable(self.stream, why);
        match plan::nearest(ranges, at) {
            Some(near) => problem.next("the nearest", format!("longhaul fork {id} --at {near}")),
            None => problem,
        }
    }
}

fn not_forkable(stream: StreamId, why: String) -> Problem {
    Problem::new(
        Code::NotForkable,
        format!("{} cannot be forked: {why}", session_id(stream)),
    )
}

fn not_kept(stream: StreamId, why: &str) -> Problem {
    let id = session_id(stream);
    not_forkable(stream, why.to_owned()).next(
        "see what stood in the way",
        format!("longhaul tail {id} --level internal"),
    )
}

/// The records of a session up to a seq, and what they amount to.
fn source(journal: &dyn Journal, stream: StreamId, asked: Option<u64>) -> Result<Source, Problem> {
    let head = journal
        .head(stream)
        .map_err(read_problem)?
        .map_or(Seq::ZERO, |head| head.seq);
    let at = asked.map_or(head, Seq);
    if at == Seq::ZERO || at > head {
        let detail = format!(
            "at={at} is no record of {}; they are 1 to {head}",
            session_id(stream)
        );
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let frames = frames(journal, stream, Seq(u64::MAX))?;
    if frames.iter().any(|frame| frame.resumes_after.is_some()) {
        let why = "it lost records, and was continued behind them";
        return Err(not_forkable(stream, why.to_owned()));
    }
    let history = history(&frames)?;
    let state = fold(&frames, at)?;
    let now = longhaul_actors::fold::<Session>(journal, stream)
        .map_err(recover_problem)?
        .state;
    Ok(Source {
        stream,
        at,
        frames,
        state,
        now,
        history,
    })
}

fn frames(journal: &dyn Journal, stream: StreamId, to: Seq) -> Result<Vec<Arc<Frame>>, Problem> {
    let (mut frames, mut after) = (Vec::<Arc<Frame>>::new(), Seq::ZERO);
    while after < to {
        let page = journal
            .read(stream, after, Limit::default())
            .map_err(read_problem)?;
        let Some(last) = page.last() else { break };
        after = last.last_seq();
        frames.extend(page);
    }
    Ok(frames)
}

fn events(frames: &[Arc<Frame>]) -> impl Iterator<Item = Result<(Seq, u64, Event), Problem>> {
    frames.iter().flat_map(|frame| &frame.records).map(|record| {
        let event = Session::decode(record)
            .map_err(|error| Problem::new(Code::StreamQuarantined, error.to_string()))?;
        Ok((record.seq, record.time_ms, event))
    })
}

fn history(frames: &[Arc<Frame>]) -> Result<History, Problem> {
    let mut history = History::default();
    for event in events(frames) {
        history.see(&event?.2);
    }
    Ok(history)
}

/// The fold after a record, which may lie within a frame.
fn fold(frames: &[Arc<Frame>], at: Seq) -> Result<State, Problem> {
    let mut state = State::default();
    for event in events(frames) {
        let (seq, time_ms, event) = event?;
        if seq > at {
            break;
        }
        let event = &event;
        Session::apply(&mut state, Placed { seq, time_ms, event });
    }
    Ok(state)
}

/// Writes the records, as far as they are not there, and then that they are a session of their own.
fn write(
    journal: &dyn Journal,
    target: StreamId,
    source: &Source,
    wish: Fork,
    now_ms: u64,
) -> Result<(), Problem> {
    let there = journal
        .head(target)
        .map_err(read_problem)?
        .map_or(Seq::ZERO, |head| head.seq);
    if there > Seq::ZERO && !is_beginning(journal, target, source)? {
        let detail = "this key was used for another fork, which is not finished; use another key";
        return Err(conflict(Problem::new(Code::IdempotencyConflict, detail)));
    }
    let epoch = journal.claim(target);
    let mut drafts = Vec::new();
    for frame in &source.frames {
        let records: Vec<NewRecord> = frame
            .records
            .iter()
            .filter(|record| record.seq > there && record.seq <= source.at)
            .map(|record| record.event.clone())
            .collect();
        if records.is_empty() {
            continue;
        }
        // A frame that is cut leads to another state.
        let standing = if frame.last_seq() > source.at {
            Session::standing(&source.state)
        } else {
            frame.standing.clone()
        };
        drafts.push(Draft {
            stream: target,
            kind: Session::KIND.into(),
            epoch,
            expected: Seq(frame.first_seq().0.max(there.next().0) - 1),
            time_ms: frame.time_ms(),
            standing,
            records,
        });
    }
    journal.copy_in(target, drafts).map_err(not_submitted)?;
    let moment = at(journal, target, now_ms)?;
    let events = fork(&source.state, wish, moment).map_err(|refusal| refusal_problem(&refusal))?;
    let draft = draft::<Session>(journal, target, &source.state, source.at, &events, moment);
    journal.adopt(draft).map_err(not_submitted)?;
    Ok(())
}

/// Whether what is there is the beginning of what is to be there.
fn is_beginning(journal: &dyn Journal, target: StreamId, source: &Source) -> Result<bool, Problem> {
    let there = frames(journal, target, Seq(u64::MAX))?;
    let records = |frames: &[Arc<Frame>]| -> Vec<NewRecord> {
        let records = frames.iter().flat_map(|frame| frame.records.clone());
        records.map(|record| record.event).collect()
    };
    let (there, wanted) = (records(&there), records(&source.frames));
    let most = usize::try_from(source.at.0).unwrap_or(usize::MAX);
    Ok(there.len() <= most && wanted.starts_with(&there))
}

fn fingerprint(stream: StreamId, request: &api::Fork) -> String {
    let body = api::Fork {
        idempotency_key: None,
        ..request.clone()
    };
    let text = serde_json::to_string(&body).expect("plain structs with text keys always serialize");
    let hash = blake3::hash(format!("fork {stream} {text}").as_bytes());
    hex::encode(&hash.as_bytes()[..16])
}

fn started(stream: StreamId, state: &State, repeated: bool) -> Started {
    Started {
        id: session_id(stream),
        state: state.phase.name().to_owned(),
        head: state.head.0,
        repeated,
        token: None,
    }
}

impl From<&ForkedFrom> for api::ForkedFrom {
    fn from(from: &ForkedFrom) -> Self {
        Self {
            id: from.id.clone(),
            seq: from.at.0,
        }
    }
}
