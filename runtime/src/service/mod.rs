//! The router in process: resolves ids, asks the actors, and shows what is durable.
//!
//! Questions are answered from the journal alone, by folding what is durable; they wake nobody. Only wishes reach an
//! actor, and each is on disk before it is answered.

mod address;
mod approvals;
mod artifacts;
mod credits;
mod fork;
mod mend;
mod problems;
mod records;
mod room;
mod tasks;
mod tokens;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::ready;
use longhaul_actors::account::{Account, AccountDesk};
use longhaul_actors::ports::{Clock, Hands};
use longhaul_actors::session::{Actor, Command, Limits, Mode, PauseReason, Reply, Session, State};
use longhaul_actors::task::{TaskDesk, TaskWorld};
use longhaul_actors::token::TokenDesk;
use longhaul_actors::{RecoverError, Registry};
use longhaul_hands::egress::AllowList;
use longhaul_journal::{BlobError, BlobId, Journal, LocalJournal, REMOVED, Seq, StreamId};

use crate::api::{
    self, Accepted, AccountView, ApprovalView, ApprovalsPage, ApprovalsQuery, ArtifactView, ArtifactsPage,
    ArtifactsQuery, Bearer, Cancel, Code, Collect, Collected, CreateTask, Decide, EventsPage, EventsQuery,
    Imported, LedgerPage, LedgerQuery, ListPage, ListQuery, Mint, Minted, OnLimit, Pause, Problem,
    Quarantined, Remove, Removed, Resume, Revoked, RunDuration, Send as SendMessage, SessionView, Start,
    Started, TaskChange, TaskChanged, TaskView, TasksPage, TasksQuery, TokenText, TokensPage, TopUp,
    ToppedUp, session_id, stream_id,
};
use crate::brains;
use crate::control::{Answer, Control};
use crate::credits::CreditOptions;
use crate::folds::Folds;
use crate::janitor::Releases;
use crate::limiting::Limiting;
use crate::sandbox::Sandboxing;
use crate::slots::{Full, Places};
use crate::tokens::KeyFile;

pub(crate) use self::address::address;
pub(crate) use self::address::keyed;
use self::address::resolve;
#[cfg(feature = "cli")]
pub(crate) use self::address::{ACCOUNT, shown_name};
#[cfg(feature = "cli")]
pub(crate) use self::approvals::{meant, no_such};
#[cfg(feature = "cli")]
pub(crate) use self::problems::poisoned;
use self::problems::{read_problem, recover_problem, send_problem};
use self::records::records;
pub(crate) use self::room::bytes_below;
#[cfg(feature = "cli")]
pub(crate) use self::view::view;
use self::view::{quarantined, shown};

/// Whom sessions belong to until there are several owners.
pub(crate) const OWNER: &str = "local";
/// Longest wait of one long poll.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Sessions on one page, unless told, and at most.
const LIST: usize = 50;
const LIST_MOST: usize = 100;

/// Answers in process.
pub(crate) struct Service {
    pub(crate) journal: Arc<dyn Journal>,
    /// The same: for what concerns the directory as a whole.
    pub(crate) local: Arc<LocalJournal>,
    /// Whether nobody but the caller can be writing meanwhile.
    pub(crate) is_alone: bool,
    pub(crate) sessions: Registry<Session>,
    pub(crate) accounts: Registry<Account>,
    /// Opens the account, where there is none.
    pub(crate) desk: AccountDesk,
    pub(crate) credits: CreditOptions,
    /// What agents suggest and humans write down.
    pub(crate) tasks: TaskDesk,
    /// Where their runs stand.
    pub(crate) task_world: TaskWorld,
    /// Which tokens count.
    pub(crate) tokens: TokenDesk,
    /// What their texts are sealed with.
    pub(crate) token_key: Arc<KeyFile>,
    /// Places among the active sessions, in a process that serves them all.
    pub(crate) places: Option<Places>,
    pub(crate) data: PathBuf,
    pub(crate) limits: Limits,
    /// The most that a session may be let to reach.
    pub(crate) network_bound: Option<AllowList>,
    pub(crate) sandbox: Arc<Sandboxing>,
    pub(crate) limiting: Arc<Limiting>,
    /// Active milliseconds of a run that goes on until it is done.
    pub(crate) until_done_ms: u64,
    pub(crate) folds: Arc<Folds>,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) releases: Releases,
    /// Whether files are kept at the end of each turn.
    pub(crate) checkpoints: bool,
    pub(crate) clock: Arc<dyn Clock>,
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

    async fn folded(&self, stream: StreamId) -> Result<State, Problem> {
        let folds = Arc::clone(&self.folds);
        self.blocking(move |journal| folds.at_head(journal, stream).map_err(recover_problem))
            .await
    }

    async fn wish(&self, id: &str, command: Command) -> Result<Accepted, Problem> {
        let stream = self.resolve(id).await?;
        if self.journal.is_inert(stream) {
            return Err(mend::inert(stream));
        }
        let sent = self.sessions.send(stream, command).await;
        let reply = sent.map_err(|error| send_problem(error).about(&session_id(stream)))?;
        self.answered(stream, reply).await
    }

    /// What a session answered to a wish, with where it stands now.
    async fn answered(&self, stream: StreamId, reply: Reply) -> Result<Accepted, Problem> {
        let Reply { seq, repeated } = reply;
        let state = self.folded(stream).await?.phase.name().to_owned();
        Ok(Accepted {
            id: session_id(stream),
            seq: seq.0,
            repeated,
            state,
        })
    }

    async fn begin(&self, request: Start) -> Result<Started, Problem> {
        let wants_token = request.token;
        let mut started = match request.task.clone() {
            Some(task) => self.begin_for_task(request, &task).await,
            None => self.begin_session(request).await,
        }?;
        if wants_token {
            started.token = Some(self.mint_with(&started.id).await?);
        }
        Ok(started)
    }

    async fn begin_session(&self, request: Start) -> Result<Started, Problem> {
        let stream = address(&request);
        let exists = self
            .blocking(move |journal| match journal.head(stream).map_err(read_problem)? {
                Some(head) if head.kind == REMOVED => Err(address::removed(stream)),
                head => Ok(head.is_some()),
            })
            .await?;
        let start = self.checked(request.clone(), exists).await?;
        let reserved = (request.on_limit == OnLimit::Reject && !exists).then_some(self.places.as_ref());
        let reserved = reserved.flatten();
        if let Some(places) = reserved {
            places.reserve(stream).await.map_err(all_at_work)?;
        }
        let command = Command::Start(Box::new(start));
        let sent = self.sessions.send(stream, command).await.map_err(send_problem);
        if let (Err(_) | Ok(Reply { repeated: true, .. }), Some(places)) = (&sent, reserved) {
            places.give_back(stream);
        }
        let Reply { repeated, .. } = sent?;
        let folded = self.folded(stream).await?;
        let state = folded.phase.name().to_owned();
        Ok(Started {
            id: session_id(stream),
            state,
            head: folded.head.0,
            repeated,
            token: None,
        })
    }

    /// Checks a request before anything exists, and pins its brain.
    async fn checked(
        &self,
        request: Start,
        exists: bool,
    ) -> Result<longhaul_actors::session::Start, Problem> {
        let fingerprint = fingerprint(&request);
        if request.goal.trim().is_empty() {
            return Err(Problem::new(Code::MissingGoal, "say what the session is for")
                .next("start with a goal", "longhaul run --brain playbook:FILE \"GOAL\""));
        }
        let (mode, limits) = self.bounds(&request)?;
        let Some(brain) = request.brain else {
            return Err(brains::no_brain());
        };
        let terms = self.terms(request.budget.as_deref(), exists).await?;
        let network = self.network(&request.network)?;
        let (walls, wish) = (Arc::clone(&self.sandbox), request.workspace.sandbox);
        let limiting = Arc::clone(&self.limiting);
        let (sandbox, brain) = self
            .blocking(move |journal| {
                let sandbox = walls.agree(wish)?;
                limiting.agree(sandbox)?;
                Ok((sandbox, brains::pin(&brain, journal.blobs())?))
            })
            .await?;
        let reading = longhaul_policy::goal::read(&request.goal);
        let forbidden = reading
            .forbidden
            .iter()
            .map(|category| category.name().to_owned())
            .collect();
        Ok(longhaul_actors::session::Start {
            by: Actor::human(OWNER),
            key: request.key,
            goal: request.goal,
            mode,
            brain,
            workspace: request.workspace.walled(sandbox),
            limits,
            network,
            metadata: request.metadata,
            forbidden,
            fingerprint,
            terms,
        })
    }

    /// What these words stand for, within what this runtime lets sessions reach.
    fn network(&self, words: &[String]) -> Result<Vec<String>, Problem> {
        let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
        let wanted = AllowList::of(words).map_err(|error| invalid(format!("network: {error}")))?;
        if let Some(bound) = &self.network_bound
            && let Some(beyond) = wanted.beyond(bound)
        {
            let detail =
                format!("network: {beyond} is not among the places that this server lets sessions reach");
            return Err(invalid(detail).next(
                "ask whoever serves to allow it",
                "longhaul serve --net-bound NAME",
            ));
        }
        Ok(wanted.iter().map(ToString::to_string).collect())
    }

    /// How the session ends, and its bounds: a duration makes it a bounded run of that much active time (B-RUN-1).
    fn bounds(&self, request: &Start) -> Result<(Mode, Limits), Problem> {
        let wish = request.limits.unwrap_or_default();
        let mut limits = wish.over(self.limits);
        limits.resources = request.resources.over(limits.resources);
        limits.checkpoints |= self.checkpoints;
        let Some(word) = &request.duration else {
            return Ok((request.mode, limits));
        };
        let duration = RunDuration::parse(word)?;
        if wish.run_ms.is_some_and(|own| own > 0) {
            let detail = "the time of the run is given twice, by duration and by limits.runMs; leave one out";
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        limits.run_ms = duration.run_ms(self.until_done_ms);
        Ok((Mode::Bounded, limits))
    }

    async fn page(&self, query: ListQuery) -> Result<ListPage, Problem> {
        let limit = query.limit.unwrap_or(LIST).clamp(1, LIST_MOST);
        let (data, folds) = (self.data.clone(), Arc::clone(&self.folds));
        self.blocking(move |journal| {
            let after = query.cursor.as_deref().map(stream_id).transpose()?;
            let heads = journal.list("session", after, limit).map_err(read_problem)?;
            let next_cursor = (heads.len() == limit)
                .then(|| heads.last().map(|head| session_id(head.stream)))
                .flatten();
            let mut sessions = Vec::with_capacity(heads.len());
            for head in heads {
                let view = match folds.at_head(journal, head.stream) {
                    Ok(state) => shown(&data, journal, head.stream, &state),
                    Err(RecoverError::Quarantined(quarantine)) => {
                        quarantined(&data, journal, head.seq, &quarantine)
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
            let folds = Arc::clone(&self.folds);
            let page = self
                .blocking(move |journal| records(journal, &folds, stream, &scan))
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

/// The one by that name, or whoever runs the program.
fn human(name: Option<String>) -> Actor {
    Actor::human(name.unwrap_or_else(|| OWNER.to_owned()))
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
            let (data, folds) = (self.data.clone(), Arc::clone(&self.folds));
            self.blocking(move |journal| match folds.at_head(journal, stream) {
                Ok(state) => Ok(shown(&data, journal, stream, &state)),
                Err(RecoverError::Quarantined(quarantine)) => {
                    let head = journal
                        .head(stream)
                        .map_err(read_problem)?
                        .map_or(Seq::ZERO, |head| head.seq);
                    Ok(quarantined(&data, journal, head, &quarantine))
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
            by,
        } = message;
        self.wish(
            id,
            Command::Send {
                by: human(by),
                text,
                mode,
                idempotency_key,
            },
        )
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a str, request: Pause) -> Answer<'a, Accepted> {
        let (by, reason, now) = (human(request.by), PauseReason::Requested, request.now);
        self.wish(id, Command::Pause { by, reason, now }).boxed()
    }

    fn resume<'a>(&'a self, id: &'a str, request: Resume) -> Answer<'a, Accepted> {
        async move {
            let budget = request
                .budget
                .as_deref()
                .map(|text| credits::read_budget(text, &format!("longhaul resume {id} --budget 0.50")))
                .transpose()?;
            let stream = self.resolve(id).await?;
            self.check_resumable(stream).await?;
            let by = human(request.by);
            self.wish(id, Command::Resume { by, budget }).await
        }
        .boxed()
    }

    fn account(&self) -> Answer<'_, AccountView> {
        Service::account(self).boxed()
    }

    fn top_up(&self, request: TopUp) -> Answer<'_, ToppedUp> {
        self.top_up_account(request).boxed()
    }

    fn ledger(&self, query: LedgerQuery) -> Answer<'_, LedgerPage> {
        self.ledger_page(query).boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str, request: Cancel) -> Answer<'a, Accepted> {
        self.wish(
            id,
            Command::Cancel {
                by: human(request.by),
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

    fn fork<'a>(&'a self, id: &'a str, request: api::Fork) -> Answer<'a, Started> {
        self.fork_off(id, request).boxed()
    }

    fn checkpoint<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        self.keep_files(id).boxed()
    }

    fn repair<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        self.mend(id).boxed()
    }

    fn adopt<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        self.take_on(id).boxed()
    }

    fn approvals(&self, query: ApprovalsQuery) -> Answer<'_, ApprovalsPage> {
        self.requests(query).boxed()
    }

    fn approval<'a>(&'a self, id: &'a str) -> Answer<'a, ApprovalView> {
        self.request(id).boxed()
    }

    fn decide<'a>(&'a self, id: &'a str, request: Decide) -> Answer<'a, Accepted> {
        self.decided(id, request).boxed()
    }

    fn mint<'a>(&'a self, id: &'a str, request: Mint) -> Answer<'a, Minted> {
        self.mint_for(id, request).boxed()
    }

    fn tokens<'a>(&'a self, id: &'a str) -> Answer<'a, TokensPage> {
        self.tokens_of(id).boxed()
    }

    fn revoke<'a>(&'a self, id: &'a str, token: &'a str) -> Answer<'a, Revoked> {
        self.revoke_of(id, token).boxed()
    }

    fn bearer<'a>(&'a self, token: &'a TokenText) -> Answer<'a, Bearer> {
        self.shown(token).boxed()
    }

    fn artifacts(&self, query: ArtifactsQuery) -> Answer<'_, ArtifactsPage> {
        self.artifacts_page(query).boxed()
    }

    fn artifact<'a>(&'a self, id: &'a str) -> Answer<'a, ArtifactView> {
        self.artifact_of(id).boxed()
    }

    fn tasks(&self, query: TasksQuery) -> Answer<'_, TasksPage> {
        self.tasks_page(query).boxed()
    }

    fn task<'a>(&'a self, id: &'a str) -> Answer<'a, TaskView> {
        self.task_of(id).boxed()
    }

    fn create_task(&self, request: CreateTask) -> Answer<'_, TaskChanged> {
        self.write_down(request).boxed()
    }

    fn change_task<'a>(&'a self, id: &'a str, change: TaskChange) -> Answer<'a, TaskChanged> {
        self.change(id, change).boxed()
    }

    fn remove<'a>(&'a self, id: &'a str, request: Remove) -> Answer<'a, Removed> {
        self.let_go(id, request).boxed()
    }

    fn collect(&self, request: Collect) -> Answer<'_, Collected> {
        self.free(request).boxed()
    }

    fn import(&self, portable: Vec<u8>) -> Answer<'_, Imported> {
        self.take_in(portable).boxed()
    }

    fn writable(&self) -> Answer<'_, ()> {
        let poisoned = *self.local.poisoned().borrow();
        ready(if poisoned {
            Err(problems::poisoned())
        } else {
            Ok(())
        })
        .boxed()
    }

    fn quarantined(&self) -> Answer<'_, Vec<Quarantined>> {
        ready(Ok(self.all_quarantined())).boxed()
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

/// As many sessions work as may, and this one would not wait.
fn all_at_work(full: Full) -> Problem {
    let Full { active, limit } = full;
    let mut problem = Problem::new(
        Code::ConcurrencyLimit,
        format!("{active} of {limit} sessions are at work, so nothing was started"),
    )
    .next("let it wait its turn", "longhaul run --on-limit queue ...")
    .next("see what is at work", "longhaul ls");
    (problem.fields.active, problem.fields.limit) = (Some(active), Some(limit));
    problem
}

/// Hash of a request without its idempotency key, so that the same request sent again is known again.
fn fingerprint(request: &Start) -> String {
    let body = Start {
        idempotency_key: None,
        // How long somebody is willing to wait does not make it another request.
        on_limit: OnLimit::Queue,
        // Nor does what is handed out with the answer.
        token: false,
        ..request.clone()
    };
    let text = serde_json::to_vec(&body).expect("plain structs with text keys always serialize");
    hex::encode(&blake3::hash(&text).as_bytes()[..16])
}
