//! The router in process: resolves ids, asks the actors, and shows what is durable.
//!
//! Questions are answered from the journal alone, by folding what is durable; they wake nobody. Only wishes reach an
//! actor, and each is on disk before it is answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use longhaul_actors::session::{
    Actor, Command, Limits, Origin, PauseReason, Phase, Refusal, Reply, Session, State, Work, brain_name,
};
use longhaul_actors::{Folded, RecoverError, Registry, SendError, fold};
use longhaul_journal::{BlobError, BlobId, Journal, Limit, ReadError, Seq, StreamId};

use crate::api::{
    Accepted, Cancel, Code, EventsPage, EventsQuery, ListPage, ListQuery, Pause, Problem, RecordView,
    Send as SendMessage, SessionView, Start, Started, StepView, rfc3339, session_id, stream_id,
};
use crate::brains;
use crate::control::{Answer, Control};
use crate::world::SessionFolder;

/// Whom sessions belong to until there are several owners.
const OWNER: &str = "local";
/// Longest wait of one long poll.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Most records of one page, and of one scan for records of a level.
const PAGE: usize = 500;
/// Sessions on one page, unless told, and at most.
const LIST: usize = 50;
const LIST_MOST: usize = 100;

/// Answers in process.
pub(crate) struct Service {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) sessions: Registry<Session>,
    pub(crate) data: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Service {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Journal) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let journal = Arc::clone(&self.journal);
        let done = self.runtime.spawn_blocking(move || work(&*journal)).await;
        done.map_err(|error| Problem::new(Code::Internal, format!("a reader stopped: {error}")))?
    }

    /// The stream of a session by its id, the beginning of one, or its key.
    async fn resolve(&self, id: &str) -> Result<StreamId, Problem> {
        let id = id.to_owned();
        self.blocking(move |journal| resolve(journal, &id)).await
    }

    async fn folded(&self, stream: StreamId) -> Result<Folded<Session>, Problem> {
        self.blocking(move |journal| fold::<Session>(journal, stream).map_err(recover_problem))
            .await
    }

    async fn wish(&self, id: &str, command: Command) -> Result<Accepted, Problem> {
        let stream = self.resolve(id).await?;
        let Reply { seq, repeated } = self.sessions.send(stream, command).await.map_err(send_problem)?;
        let state = self.folded(stream).await?.state.phase.name().to_owned();
        Ok(Accepted {
            id: session_id(stream),
            seq: seq.0,
            repeated,
            state,
        })
    }

    async fn begin(&self, request: Start) -> Result<Started, Problem> {
        let start = self.checked(request.clone()).await?;
        let stream = address(&request);
        let command = Command::Start(Box::new(start));
        let Reply { repeated, .. } = self.sessions.send(stream, command).await.map_err(send_problem)?;
        let folded = self.folded(stream).await?;
        let state = folded.state.phase.name().to_owned();
        Ok(Started {
            id: session_id(stream),
            state,
            head: folded.head.0,
            repeated,
        })
    }

    /// Checks a request before anything exists, and pins its brain.
    async fn checked(&self, request: Start) -> Result<longhaul_actors::session::Start, Problem> {
        let fingerprint = fingerprint(&request);
        if request.goal.trim().is_empty() {
            return Err(Problem::new(Code::MissingGoal, "say what the session is for")
                .next("start with a goal", "longhaul run --brain playbook:FILE \"GOAL\""));
        }
        let Some(brain) = request.brain else {
            return Err(brains::no_brain());
        };
        let brain = self
            .blocking(move |journal| brains::pin(&brain, journal.blobs()))
            .await?;
        Ok(longhaul_actors::session::Start {
            by: Actor::human(OWNER),
            key: request.key,
            goal: request.goal,
            mode: request.mode,
            brain,
            workspace: request.workspace,
            limits: request.limits.unwrap_or(self.limits),
            metadata: request.metadata,
            fingerprint,
        })
    }

    async fn page(&self, query: ListQuery) -> Result<ListPage, Problem> {
        let limit = query.limit.unwrap_or(LIST).clamp(1, LIST_MOST);
        let data = self.data.clone();
        self.blocking(move |journal| {
            let after = query.cursor.as_deref().map(stream_id).transpose()?;
            let heads = journal.list("session", after, limit).map_err(read_problem)?;
            let next_cursor = (heads.len() == limit)
                .then(|| heads.last().map(|head| session_id(head.stream)))
                .flatten();
            let mut sessions = Vec::with_capacity(heads.len());
            for head in heads {
                let view = match fold::<Session>(journal, head.stream) {
                    Ok(folded) => view(&data, head.stream, &folded.state),
                    Err(RecoverError::Quarantined(quarantine)) => {
                        quarantined(head.stream, head.seq, &quarantine.reason)
                    }
                    Err(error) => return Err(recover_problem(error)),
                };
                if query.archived || !view.archived {
                    sessions.push(view);
                }
            }
            sessions.sort_by(|one, other| other.updated_at.cmp(&one.updated_at));
            Ok(ListPage {
                sessions,
                next_cursor,
            })
        })
        .await
    }

    async fn records(&self, id: &str, query: EventsQuery) -> Result<EventsPage, Problem> {
        let stream = self.resolve(id).await?;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(query.wait_ms).min(LONGEST_WAIT);
        // Watched before reading, so that a record written between the two wakes us.
        let mut moved = self.journal.watch(stream);
        let mut after = query.after;
        loop {
            moved.mark_unchanged();
            let scan = EventsQuery {
                after,
                ..query.clone()
            };
            let page = self
                .blocking(move |journal| records(journal, stream, &scan))
                .await?;
            let caught_up = page.next_after >= page.head;
            if !page.events.is_empty() || page.ended && caught_up {
                return Ok(page);
            }
            after = page.next_after;
            if !caught_up {
                continue;
            }
            let waited = tokio::time::timeout_at(deadline, moved.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return Ok(page);
            }
        }
    }
}

impl Control for Service {
    fn start(&self, request: Start) -> Answer<'_, Started> {
        self.begin(request).boxed()
    }

    fn list(&self, query: ListQuery) -> Answer<'_, ListPage> {
        self.page(query).boxed()
    }

    fn show<'a>(&'a self, id: &'a str) -> Answer<'a, SessionView> {
        async move {
            let stream = self.resolve(id).await?;
            let data = self.data.clone();
            self.blocking(move |journal| match fold::<Session>(journal, stream) {
                Ok(folded) => Ok(view(&data, stream, &folded.state)),
                Err(RecoverError::Quarantined(quarantine)) => {
                    let head = journal
                        .head(stream)
                        .map_err(read_problem)?
                        .map_or(Seq::ZERO, |head| head.seq);
                    Ok(quarantined(stream, head, &quarantine.reason))
                }
                Err(error) => Err(recover_problem(error)),
            })
            .await
        }
        .boxed()
    }

    fn events<'a>(&'a self, id: &'a str, query: EventsQuery) -> Answer<'a, EventsPage> {
        self.records(id, query).boxed()
    }

    fn send<'a>(&'a self, id: &'a str, message: SendMessage) -> Answer<'a, Accepted> {
        let SendMessage {
            text,
            mode,
            idempotency_key,
        } = message;
        self.wish(
            id,
            Command::Send {
                by: Actor::human(OWNER),
                text,
                mode,
                idempotency_key,
            },
        )
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a str, request: Pause) -> Answer<'a, Accepted> {
        let (by, reason, now) = (Actor::human(OWNER), PauseReason::Requested, request.now);
        self.wish(id, Command::Pause { by, reason, now }).boxed()
    }

    fn resume<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        self.wish(
            id,
            Command::Resume {
                by: Actor::human(OWNER),
            },
        )
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str, request: Cancel) -> Answer<'a, Accepted> {
        self.wish(
            id,
            Command::Cancel {
                by: Actor::human(OWNER),
                force: request.force,
            },
        )
        .boxed()
    }

    fn archive<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        self.wish(
            id,
            Command::Archive {
                by: Actor::human(OWNER),
            },
        )
        .boxed()
    }

    fn blob<'a>(&'a self, sha256: &'a str) -> Answer<'a, Vec<u8>> {
        let sha256 = sha256.to_owned();
        self.blocking(move |journal| {
            let mut id = [0; 32];
            hex::decode_to_slice(&sha256, &mut id).map_err(|_| {
                Problem::new(
                    Code::InvalidRequest,
                    format!("{sha256:?} is no sha256; it has 64 hexadecimal digits"),
                )
            })?;
            journal.blobs().get(BlobId(id)).map_err(|error| match error {
                BlobError::NotFound(_) => Problem::new(Code::NotFound, error.to_string()),
                BlobError::Damaged(_) => Problem::new(Code::JournalDamaged, error.to_string()),
                other => Problem::new(Code::StorageUnavailable, other.to_string()),
            })
        })
        .boxed()
    }
}

/// The address of the session a request is for: its name if it has one, else the key of the request, else a new one.
pub(crate) fn address(request: &Start) -> StreamId {
    match (&request.key, &request.idempotency_key) {
        (Some(key), _) => keyed(key),
        (None, Some(key)) => StreamId::named("session", OWNER, &format!("request:{key}")),
        (None, None) => StreamId::unnamed(),
    }
}

pub(crate) fn keyed(key: &str) -> StreamId {
    StreamId::named("session", OWNER, &format!("key:{key}"))
}

/// Hash of a request without its idempotency key, so that the same request sent again is known again.
fn fingerprint(request: &Start) -> String {
    let body = Start {
        idempotency_key: None,
        ..request.clone()
    };
    let text = serde_json::to_vec(&body).expect("plain structs with text keys always serialize");
    hex::encode(&blake3::hash(&text).as_bytes()[..16])
}

fn resolve(journal: &dyn Journal, id: &str) -> Result<StreamId, Problem> {
    let unknown =
        || Problem::new(Code::NotFound, format!("there is no session {id}")).next("list them", "longhaul ls");
    let exists = |stream| {
        journal
            .head(stream)
            .map_err(read_problem)
            .map(|head| head.filter(is_session).is_some())
    };
    if let Ok(stream) = stream_id(id) {
        return if exists(stream)? {
            Ok(stream)
        } else {
            Err(unknown())
        };
    }
    let named = keyed(id);
    if exists(named)? {
        return Ok(named);
    }
    let Some(first) = id.strip_prefix("s_").and_then(first_with_prefix) else {
        return Err(unknown());
    };
    let digits = &id[2..];
    let mut found = journal.list("session", first, 2).map_err(read_problem)?;
    found.retain(|head| head.stream.to_string().starts_with(digits));
    match found.as_slice() {
        [] => Err(unknown()),
        [only] => Ok(only.stream),
        _ => Err(Problem::new(
            Code::InvalidRequest,
            format!("several sessions begin with {id}; give more of the id"),
        )
        .next("list them", "longhaul ls")),
    }
}

fn is_session(head: &longhaul_journal::Head) -> bool {
    head.kind == "session"
}

/// The id right before all ids with these leading digits (`None`: before every id), or nothing when they are no digits.
fn first_with_prefix(digits: &str) -> Option<Option<StreamId>> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let lowest: StreamId = format!("{digits:0<32}").parse().ok()?;
    let before = u128::from_be_bytes(*lowest.as_bytes()).checked_sub(1);
    Some(before.map(|before| StreamId::from_bytes(before.to_be_bytes())))
}

fn records(journal: &dyn Journal, stream: StreamId, query: &EventsQuery) -> Result<EventsPage, Problem> {
    let head = journal.head(stream).map_err(read_problem)?;
    let head = head.ok_or_else(|| Problem::new(Code::NotFound, "there is no such session"))?;
    if query.after > head.seq.0 {
        let detail = format!(
            "after={} lies beyond the head; the last record is {}",
            query.after, head.seq
        );
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    let limit = query.limit.clamp(1, PAGE);
    let (mut events, mut next_after) = (Vec::new(), query.after);
    'scan: while events.len() < limit {
        let page = Limit {
            records: PAGE,
            ..Limit::default()
        };
        let frames = journal
            .read(stream, Seq(next_after), page)
            .map_err(read_problem)?;
        if frames.is_empty() {
            break;
        }
        for record in frames.iter().flat_map(|frame| &frame.records) {
            if record.seq.0 <= next_after {
                continue;
            }
            if record.event.level <= query.level {
                if events.len() == limit {
                    break 'scan;
                }
                let shown = RecordView::of(stream, record);
                events.push(shown.map_err(|error| Problem::new(Code::JournalDamaged, error.to_string()))?);
            }
            next_after = record.seq.0;
        }
    }
    // Records may have come since they were read above; the state is that of the fold, so the head must be too. A reader
    // who was told an old head together with a final state would leave before the last records.
    let (state, terminal, head) = match fold::<Session>(journal, stream) {
        Ok(folded) => (
            folded.state.phase.name().to_owned(),
            folded.state.phase.is_terminal(),
            folded.head.0.max(next_after),
        ),
        Err(RecoverError::Quarantined(_)) => ("quarantined".to_owned(), false, head.seq.0.max(next_after)),
        Err(error) => return Err(recover_problem(error)),
    };
    Ok(EventsPage {
        events,
        next_after,
        head,
        state,
        ended: terminal && next_after >= head,
    })
}

pub(crate) fn view(data: &std::path::Path, stream: StreamId, state: &State) -> SessionView {
    let origin = state.origin.as_ref();
    let text = |of: fn(&Origin) -> &String| origin.map(of).cloned().unwrap_or_default();
    SessionView {
        id: session_id(stream),
        state: state.phase.name().to_owned(),
        paused_reason: paused_reason(state),
        mode: state.mode(),
        goal: text(|origin| &origin.goal),
        brain: origin.map(|origin| brain_name(&origin.brain)).unwrap_or_default(),
        owner: text(|origin| &origin.owner),
        key: origin.and_then(|origin| origin.key.clone()),
        head: state.head.0,
        started_at: rfc3339(origin.map_or(0, |origin| origin.started_ms)),
        updated_at: rfc3339(state.last_ms),
        turns: state.turns,
        step: state.open.as_ref().map(|open| StepView {
            step: open.step,
            kind: match &open.work {
                Work::Think { .. } => "think".to_owned(),
                Work::Act { call, .. } => call.tool.clone(),
            },
            seq: open.seq.0,
        }),
        unread: state.inbox.len(),
        archived: state.archived,
        isolation: state.isolation.clone(),
        usage: state.usage,
        outcome: state.outcome.clone(),
        workspace: workspace(data, stream),
        quarantined: None,
        metadata: origin.and_then(|origin| origin.metadata.clone()),
    }
}

fn workspace(data: &std::path::Path, stream: StreamId) -> Option<String> {
    let workspace = SessionFolder::new(data, stream).workspace();
    workspace.is_dir().then(|| workspace.display().to_string())
}

fn paused_reason(state: &State) -> Option<String> {
    let Phase::Paused { reason, .. } = state.phase else {
        return None;
    };
    serde_json::to_value(reason).ok()?.as_str().map(str::to_owned)
}

/// What can be shown of a session whose log is damaged.
pub(crate) fn quarantined(stream: StreamId, head: Seq, reason: &str) -> SessionView {
    SessionView {
        id: session_id(stream),
        state: "quarantined".into(),
        paused_reason: None,
        mode: longhaul_actors::session::Mode::Interactive,
        goal: String::new(),
        brain: String::new(),
        owner: OWNER.into(),
        key: None,
        head: head.0,
        started_at: rfc3339(0),
        updated_at: rfc3339(0),
        turns: 0,
        step: None,
        unread: 0,
        archived: false,
        isolation: None,
        usage: longhaul_actors::session::Usage::default(),
        outcome: String::new(),
        workspace: None,
        quarantined: Some(reason.to_owned()),
        metadata: None,
    }
}

fn read_problem(error: ReadError) -> Problem {
    match error {
        ReadError::Damaged { .. } => Problem::new(Code::StreamQuarantined, error.to_string())
            .next("see what is damaged", "longhaul journal verify"),
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

fn recover_problem(error: RecoverError) -> Problem {
    match error {
        RecoverError::Quarantined(quarantine) => {
            Problem::new(Code::StreamQuarantined, quarantine.to_string())
                .next("see what is damaged", "longhaul journal verify")
        }
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

fn send_problem(error: SendError<Refusal>) -> Problem {
    match error {
        SendError::Refused(refusal) => refusal_problem(&refusal),
        SendError::OutcomeUnknown { .. } => Problem::new(Code::OutcomeUnknown, error.to_string()),
        SendError::Quarantined(quarantine) => Problem::new(Code::StreamQuarantined, quarantine.to_string())
            .next("see what is damaged", "longhaul journal verify"),
        SendError::NotHosted => {
            Problem::new(Code::NotServing, error.to_string()).next("serve all sessions", "longhaul serve")
        }
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

fn refusal_problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::NotFound => Code::NotFound,
        Refusal::IdempotencyConflict => Code::IdempotencyConflict,
        Refusal::Terminal(_) => Code::SessionTerminal,
        Refusal::Archived => Code::SessionArchived,
        Refusal::StillLive(_) => Code::SessionLive,
        _ => Code::InvalidRequest,
    };
    Problem::new(code, refusal.to_string())
}
