//! A runtime in a directory: opens the journal, hosts the sessions, and lets go of everything in good order.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::account::{Account, AccountDesk, AccountWorld, DEFAULT_ACCOUNT, Linked};
use longhaul_actors::ports::{AllowAll, Brain, Clock, EndlessSlots, Gate, Hands, Slots};
use longhaul_actors::session::{Command, Effect, Limits, Session, SessionWorld};
use longhaul_actors::task::{Task, TaskDesk, TaskWorld};
use longhaul_actors::token::{TokenDesk, Tokens};
use longhaul_actors::{
    EffectContext, Entity, Link, ManualClock, Mode as Hosting, NoWorld, Options as RegistryOptions, Ports,
    Registry, System, SystemClock, SystemOptions, World,
};
use longhaul_hands::Pool;
use longhaul_hands::egress::AllowList;
use longhaul_journal::files::{Disk, RealDisk};
use longhaul_journal::{Journal, LocalJournal, OpenError, Options as JournalOptions, StreamId};
use longhaul_snapshots::SnapshotStore;
use tokio::task::JoinHandle;

use crate::api::{Code, Problem, TaskView, UNTIL_DONE_MS};
use crate::brains::playbook::PlaybookBrain;
use crate::brains::process::{ProcessBrain, ProcessOptions, kill_leftovers};
use crate::brains::{Brains, PinnedPlaybooks};
use crate::control::Control;
use crate::credits::{ACTIVE_SESSIONS, CreditOptions};
use crate::folds::Folds;
use crate::janitor::{self, Releases};
use crate::limiting::{LimitOptions, Limiting};
use crate::sandbox::{SandboxOptions, Sandboxing};
use crate::service::{OWNER, Service};
use crate::shim::find_shim;
use crate::slots::Places;
use crate::tokens::KeyFile;
use crate::world::{LocalHands, PolicyGate, load_policy};

/// How long closing waits for what sessions used to be settled.
const SETTLING: std::time::Duration = std::time::Duration::from_secs(2);
/// How long the folders of a session that has ended stay, unless told otherwise.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many streams are looked through for those beside one session that owe something.
const WOKEN: usize = 10_000;

/// Which sessions a runtime works for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of them: what is owed is found at boot and done.
    #[default]
    Serve,
    /// One of them; the others wait for somebody who serves.
    Only(StreamId),
    /// None: it takes wishes and answers questions, and does no work.
    Dormant,
}

/// How a runtime is opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Which sessions it works for.
    pub mode: Mode,
    /// The program that runs commands (`longhaul`); found as B-EMBED-2 says when absent.
    pub shim: Option<PathBuf>,
    /// Bounds of sessions that bring none of their own.
    pub limits: Limits,
    /// How commands are held to what they may use.
    pub limiting: LimitOptions,
    /// The most that sessions may be let to reach, as names and presets; a start that asks for more is refused. None: what
    /// each start asks for.
    pub network_bound: Option<Vec<String>>,
    /// Answers of a name server that is not there, for tests of the way out. Nothing sets it from outside the program.
    #[doc(hidden)]
    pub egress_fixture: Option<longhaul_hands::egress::Fixture>,
    /// A clock that a test moves by hand, instead of the machine's. Nothing sets it from outside the program.
    #[doc(hidden)]
    pub manual_clock: Option<ManualClock>,
    /// The disk that the journal is written to, where a test has a hand in it. Nothing sets it from outside the program.
    #[doc(hidden)]
    pub journal_disk: Option<Arc<dyn Disk>>,
    /// How commands are walled in: isolated, unless told otherwise.
    pub sandbox: SandboxOptions,
    /// Active milliseconds that a run of duration `until-done` may take at most: 24 h when absent.
    pub until_done_ms: Option<u64>,
    /// How long after the end of a session its folders stay: a week when absent, for ever when it is [`Duration::MAX`]. They
    /// go then as far as what is in them is kept elsewhere; only a runtime that serves, and `gc`, remove them.
    pub keep_workspaces: Option<Duration>,
    /// Keep no files at the end of a turn; a session can then be forked only from where somebody asked for a checkpoint, or
    /// from where it is.
    pub no_checkpoints: bool,
    /// Lets every act through, whatever a policy says: for a program that watches over the acts of its agents itself.
    pub allow_all: bool,
    /// The policy file by which acts are judged: `policy.toml` of the data directory when absent.
    pub policy: Option<PathBuf>,
    /// Where others can talk to this process; named to whoever finds the directory in use.
    pub socket: Option<PathBuf>,
    /// How work is charged.
    pub credits: CreditOptions,
    /// How many sessions work at the same time when all are served; 5 when absent.
    pub active_sessions: Option<usize>,
}

impl Options {
    /// The defaults in this mode.
    pub fn of(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }
}

/// A runtime in a directory. Cheap to clone; works from any tokio program, several times in one process.
///
/// It installs no signal handler, no subscriber and no panic hook. Its actors live on threads of its own.
#[derive(Clone)]
pub struct Runtime {
    control: Arc<dyn Control>,
    parts: Arc<Parts>,
}

struct Parts {
    directory: PathBuf,
    mode: Mode,
    journal: Arc<LocalJournal>,
    folds: Arc<Folds>,
    clock: Arc<dyn Clock>,
    system: System,
    sessions: Registry<Session>,
    accounts: Registry<Account>,
    account_world: AccountWorld,
    tasks: Registry<Task>,
    task_world: TaskWorld,
    tokens: Registry<Tokens>,
    places: Option<Places>,
    janitors: Vec<JoinHandle<()>>,
    shims: Arc<Pool>,
    #[cfg(test)]
    releases: Releases,
    scrubber: Option<JoinHandle<()>>,
    /// Closes the registries of entities that the embedder brought.
    guests: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl Runtime {
    /// Opens the data directory, making it if it is not there, and begins to work.
    ///
    /// # Errors
    /// `data_dir_in_use` (who holds it), `newer_format` (both versions), `shim_not_found`, `storage_unavailable`;
    /// `invalid_request` when the policy has an error (file and line).
    pub async fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, Problem> {
        let directory = std::path::absolute(directory.as_ref())
            .map_err(|error| Problem::new(Code::StorageUnavailable, error.to_string()))?;
        let shim = find_shim(options.shim.as_deref())?;
        let limiting = Arc::new(Limiting::new(options.limiting));
        let network_bound = options.network_bound.map(AllowList::of).transpose();
        let network_bound = network_bound.map_err(|error| {
            Problem::new(Code::InvalidRequest, format!("the bound of the network: {error}"))
        })?;
        let sandbox = Arc::new(Sandboxing::new(options.sandbox, shim.clone()));
        // A runtime that does no work judges nothing, and is not to be kept from answering by an error in a policy.
        let gate: Option<Arc<dyn Gate>> = match options.mode {
            Mode::Dormant => None,
            Mode::Serve | Mode::Only(_) if options.allow_all => Some(Arc::new(AllowAll)),
            Mode::Serve | Mode::Only(_) => {
                let policy = load_policy(&directory, options.policy.as_deref())?;
                Some(Arc::new(PolicyGate::new(directory.clone(), policy)))
            }
        };
        let socket = options.socket.as_ref().map(|path| path.display().to_string());
        let journal = Arc::new(open_journal(directory.clone(), socket, options.journal_disk).await?);
        let shared: Arc<dyn Journal> = Arc::clone(&journal) as Arc<dyn Journal>;
        let clock: Arc<dyn Clock> = match options.manual_clock {
            Some(clock) => Arc::new(clock),
            None => Arc::new(SystemClock::new()),
        };
        let brains = Arc::new(brains(&directory, &shared));
        let shims = Arc::new(Pool::new(shim, directory.clone()));
        let hands = LocalHands::new(
            directory.clone(),
            Arc::clone(&shims),
            Arc::clone(&shared),
            Arc::clone(&sandbox),
            Arc::clone(&limiting),
        );
        let looks = hands.looks.clone();
        let hands: Arc<dyn Hands> = Arc::new(hands.with_fixture(options.egress_fixture));
        let system = System::start(SystemOptions::default())
            .map_err(|error| Problem::new(Code::StorageUnavailable, error.to_string()))?;
        let hosting = match options.mode {
            Mode::Serve => Hosting::Serve,
            Mode::Only(stream) => Hosting::Only(stream),
            Mode::Dormant => Hosting::OnDemand,
        };
        let snapshots = open_snapshots(directory.clone()).await?;
        let account_world =
            AccountWorld::new(Arc::clone(&shared), Arc::clone(&snapshots), Arc::clone(&clock));
        let accounts_world: Arc<dyn World<Account>> = Arc::new(account_world.clone());
        let beside = Beside {
            system: &system,
            mode: options.mode,
            journal: &shared,
            clock: &clock,
            snapshots: &snapshots,
        };
        let accounts = beside.open(accounts_world);
        let task_world = TaskWorld {
            journal: Arc::clone(&shared),
            snapshots: Arc::clone(&snapshots),
            clock: Arc::clone(&clock),
            sessions: Link::default(),
        };
        let tasks = beside.open(Arc::new(task_world.clone()) as Arc<dyn World<Task>>);
        let task_desk = TaskDesk {
            tasks: tasks.clone(),
            journal: Arc::clone(&shared),
            owner: OWNER.to_owned(),
            clock: Arc::clone(&clock),
        };
        let token_desk = TokenDesk {
            tokens: beside.open(Arc::new(NoWorld) as Arc<dyn World<Tokens>>),
            journal: Arc::clone(&shared),
            owner: OWNER.to_owned(),
            clock: Arc::clone(&clock),
        };
        let desk = AccountDesk {
            accounts: accounts.clone(),
            journal: Arc::clone(&shared),
            open: options.credits.open(OWNER),
            clock: Arc::clone(&clock),
        };
        let places = (options.mode == Mode::Serve).then(|| {
            let limit = options.active_sessions.unwrap_or(ACTIVE_SESSIONS);
            Places::new(limit, Arc::clone(&shared), Arc::clone(&clock))
        });
        let slots: Arc<dyn Slots> = match &places {
            Some(places) => Arc::new(places.clone()),
            None => Arc::new(EndlessSlots),
        };
        let world: Arc<dyn World<Session>> = match gate {
            None => Arc::new(AtRest(Arc::clone(&hands))),
            Some(gate) => Arc::new(SessionWorld {
                journal: Arc::clone(&shared),
                brain: Arc::clone(&brains) as Arc<dyn Brain>,
                hands: Arc::clone(&hands),
                gate,
                credit: Arc::new(desk.clone()),
                slots,
                suggestions: Arc::new(task_desk.clone()),
                clock: Arc::clone(&clock),
            }),
        };
        let ports = Ports {
            journal: Arc::clone(&shared),
            clock: Arc::clone(&clock),
            world,
        };
        let mut registry_options = RegistryOptions::of(hosting);
        registry_options.snapshots = Arc::clone(&snapshots);
        let sessions = Registry::open(&system, ports, registry_options);
        account_world.links.tie(Linked {
            accounts: accounts.clone(),
            sessions: sessions.clone(),
        });
        task_world.sessions.tie(sessions.clone());
        if let Some(places) = &places {
            places.tie(Some(sessions.clone()));
        }
        if matches!(options.mode, Mode::Only(_)) {
            wake_owing(&*shared, &*clock, &accounts).await;
            wake_owing(&*shared, &*clock, &tasks).await;
        }
        let scrubber =
            (options.mode == Mode::Serve).then(|| tokio::spawn(janitor::scrub(Arc::clone(&journal))));
        let janitor = tokio::spawn(janitor::release_what_rests(
            Arc::clone(&shared),
            brains as Arc<dyn Brain>,
            Arc::clone(&hands),
        ));
        let folds = Arc::new(Folds::new(snapshots));
        let keep = options.keep_workspaces.unwrap_or(A_WEEK);
        let releases = Releases {
            data: directory.clone(),
            journal: Arc::clone(&shared),
            folds: Arc::clone(&folds),
            sessions: sessions.clone(),
            hands: Arc::clone(&hands),
            looks,
            clock: Arc::clone(&clock),
            keep_ms: (keep < Duration::MAX).then(|| u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut janitors = vec![janitor];
        if options.mode == Mode::Serve {
            janitors.push(tokio::spawn(releases.clone().go_on()));
        }
        #[cfg(test)]
        let releases_for_tests = releases.clone();
        let control = Arc::new(Service {
            releases,
            journal: shared,
            local: Arc::clone(&journal),
            is_alone: options.mode == Mode::Dormant,
            sessions: sessions.clone(),
            accounts: accounts.clone(),
            desk,
            credits: options.credits,
            tasks: task_desk,
            task_world: task_world.clone(),
            tokens: token_desk.clone(),
            token_key: Arc::new(KeyFile::of(&directory)),
            places: places.clone(),
            data: directory.clone(),
            limits: options.limits,
            hands,
            checkpoints: !options.no_checkpoints,
            network_bound,
            sandbox,
            limiting,
            until_done_ms: options.until_done_ms.unwrap_or(UNTIL_DONE_MS),
            folds: Arc::clone(&folds),
            clock: Arc::clone(&clock),
            runtime: tokio::runtime::Handle::current(),
        });
        let mode = options.mode;
        let parts = Parts {
            directory,
            mode,
            journal,
            folds,
            clock,
            system,
            sessions,
            accounts,
            account_world,
            tasks,
            task_world,
            tokens: token_desk.tokens,
            places,
            janitors,
            shims,
            #[cfg(test)]
            releases: releases_for_tests,
            scrubber,
            guests: Mutex::default(),
        };
        Ok(Self {
            control,
            parts: Arc::new(parts),
        })
    }

    /// What a client can ask of it.
    pub fn control(&self) -> Arc<dyn Control> {
        Arc::clone(&self.control)
    }

    /// Its data directory.
    pub fn directory(&self) -> &Path {
        &self.parts.directory
    }

    /// Hosts entities of one's own in this directory, over the same journal and threads: durable, supervised, woken when
    /// they are due. To be called once for each kind; the handle is `Send` and may be cloned.
    pub fn host<E: Entity>(&self, world: Arc<dyn World<E>>) -> Registry<E> {
        let journal: Arc<dyn Journal> = Arc::clone(&self.parts.journal) as Arc<dyn Journal>;
        let ports = Ports {
            journal,
            clock: Arc::clone(&self.parts.clock),
            world,
        };
        let hosting = match self.parts.mode {
            Mode::Serve => Hosting::Serve,
            Mode::Only(_) | Mode::Dormant => Hosting::OnDemand,
        };
        let registry = Registry::open(&self.parts.system, ports, RegistryOptions::of(hosting));
        let guest = registry.clone();
        let mut guests = self.parts.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.push(async move { guest.close().await }.boxed());
        registry
    }

    /// How many sessions owe work that this runtime does not do, because its [`Mode`] leaves them to others. Counts to
    /// a thousand.
    pub fn left_waiting(&self) -> usize {
        let ours = |stream| match self.parts.mode {
            Mode::Serve => true,
            Mode::Only(only) => only == stream,
            Mode::Dormant => false,
        };
        let due = self
            .parts
            .journal
            .due(self.parts.clock.now_ms(), None, 1_000)
            .unwrap_or_default();
        due.iter()
            .filter(|head| head.kind == "session" && !ours(head.stream))
            .count()
    }

    /// Returns once nothing can be written in this directory any more until it is opened anew: a write or a sync has failed, and
    /// nobody knows what is on disk. Whoever keeps this runtime running closes it then, and opens another.
    pub async fn failed(&self) {
        let mut poisoned = self.parts.journal.poisoned();
        // The sender lives as long as the journal, which we hold.
        let _ = poisoned.wait_for(|poisoned| *poisoned).await;
    }

    /// How many sessions have an actor in this process. A session that hibernates, or that nobody has asked anything of for
    /// a while, has none.
    pub fn awake(&self) -> usize {
        self.parts.sessions.live()
    }

    #[cfg(test)]
    pub(crate) fn releases(&self) -> Releases {
        self.parts.releases.clone()
    }

    /// Writes down that it stops in good order, waits for what is being written, and lets go of the directory. Commands
    /// that still run go on without it, and are found again.
    pub async fn close(self) {
        let guests = std::mem::take(&mut *self.parts.guests.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(guests).await;
        // What rests or has ended is settled now rather than by the next process.
        self.settle().await;
        self.parts.sessions.close().await;
        self.parts.tasks.close().await;
        self.parts.tokens.close().await;
        self.parts.accounts.close().await;
        self.parts.account_world.links.untie();
        self.parts.task_world.sessions.untie();
        if let Some(places) = &self.parts.places {
            places.tie(None);
        }
        self.parts.system.close().await;
        self.parts.janitors.iter().for_each(JoinHandle::abort);
        self.parts.scrubber.iter().for_each(JoinHandle::abort);
        let (journal, shims) = (Arc::clone(&self.parts.journal), Arc::clone(&self.parts.shims));
        let closed = tokio::task::spawn_blocking(move || {
            // Those that wait for a command; who has one goes on.
            shims.close();
            journal.close()
        });
        let closed = closed.await;
        if let Err(error) = closed {
            tracing::error!(%error, "the journal did not close in good order; it will be checked when it is opened");
        }
    }
}

impl Runtime {
    /// Settles what the logs of the sessions allow to be settled, unless nobody holds any credit; and tells the task of the only
    /// session that was worked for where that stands now.
    async fn settle(&self) {
        if let Mode::Only(session) = self.parts.mode
            && tokio::time::timeout(SETTLING, self.tell_its_task(session))
                .await
                .is_err()
        {
            tracing::warn!("a task was not told of its run in time; the next process does it");
        }
        let account = Account::stream(OWNER, DEFAULT_ACCOUNT);
        if self.parts.accounts.is_awake(account) {
            let audited = tokio::time::timeout(SETTLING, self.parts.account_world.audit(account)).await;
            if audited.is_err() {
                tracing::warn!("what sessions used could not be settled in time; the next process does it");
            }
        }
    }

    async fn tell_its_task(&self, session: StreamId) {
        // Read in its log: an actor that has come to its end may be about to leave.
        let (journal, folds) = (Arc::clone(&self.parts.journal), Arc::clone(&self.parts.folds));
        let folded = tokio::task::spawn_blocking(move || folds.at_head(&*journal, session).ok());
        let state = folded.await.ok().flatten();
        let key = state.and_then(|state| state.origin?.key.clone());
        if let Some(task) = key.as_deref().and_then(TaskView::of_run_key) {
            self.parts.task_world.tell(&self.parts.tasks, task).await;
        }
    }
}

/// How the entities are opened that live beside the sessions.
struct Beside<'a> {
    system: &'a System,
    mode: Mode,
    journal: &'a Arc<dyn Journal>,
    clock: &'a Arc<dyn Clock>,
    snapshots: &'a Arc<SnapshotStore>,
}

impl Beside<'_> {
    /// Where only one session is worked for, they do what that one asks for.
    fn open<E: Entity>(&self, world: Arc<dyn World<E>>) -> Registry<E> {
        let ports = Ports {
            journal: Arc::clone(self.journal),
            clock: Arc::clone(self.clock),
            world,
        };
        let mut options = RegistryOptions::of(match self.mode {
            Mode::Serve => Hosting::Serve,
            Mode::Only(_) | Mode::Dormant => Hosting::OnDemand,
        });
        options.snapshots = Arc::clone(self.snapshots);
        Registry::open(self.system, ports, options)
    }
}

/// Lets those that owe something get on with it, where no sweeper does: the account, and tasks whose run is worked for.
async fn wake_owing<E: Entity>(journal: &dyn Journal, clock: &dyn Clock, registry: &Registry<E>) {
    let due = journal.due(clock.now_ms(), None, WOKEN).unwrap_or_default();
    for head in due.iter().filter(|head| head.kind == E::KIND) {
        if !journal.is_inert(head.stream)
            && let Err(error) = registry.wake(head.stream).await
        {
            tracing::warn!(stream = %head.stream, kind = E::KIND, %error, "what owes something could not be woken");
        }
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("directory", &self.parts.directory)
            .field("mode", &self.parts.mode)
            .finish()
    }
}

async fn open_snapshots(directory: PathBuf) -> Result<Arc<SnapshotStore>, Problem> {
    let opened = tokio::task::spawn_blocking(move || SnapshotStore::open(&directory.join("snapshots"))).await;
    opened
        .map(Arc::new)
        .map_err(|error| Problem::new(Code::Internal, error.to_string()))
}

/// The journal in a directory, or the problem that stands in the way of opening it.
pub(crate) async fn open_journal(
    directory: PathBuf,
    socket: Option<String>,
    disk: Option<Arc<dyn Disk>>,
) -> Result<LocalJournal, Problem> {
    let mut options = JournalOptions::default();
    options.socket = socket;
    let disk = disk.unwrap_or_else(|| Arc::new(RealDisk));
    let opened = tokio::task::spawn_blocking(move || LocalJournal::open_on(disk, &directory, options)).await;
    let opened = opened.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    let (journal, report) = opened.map_err(|error| open_problem(&error))?;
    report.damaged.iter().for_each(janitor::tell_damage);
    if let Some(torn) = &report.torn {
        tracing::info!(
            ?torn,
            "dropped a write that never finished; nobody was told that it was written"
        );
    }
    Ok(journal)
}

/// Every kind of brain, and none of the processes that a killed runtime in this directory left behind.
fn brains(directory: &Path, journal: &Arc<dyn Journal>) -> Brains {
    let directory_hash = blake3::hash(directory.as_os_str().as_encoded_bytes());
    let instance = hex::encode(&directory_hash.as_bytes()[..8]);
    let options = ProcessOptions {
        instance,
        ..ProcessOptions::default()
    };
    let leftovers = kill_leftovers(&options.instance);
    if !leftovers.is_empty() {
        tracing::info!(?leftovers, "ended brains that an earlier runtime left behind");
    }
    Brains::new(
        PlaybookBrain::new(PinnedPlaybooks(Arc::clone(journal))),
        ProcessBrain::new(options),
    )
}

fn open_problem(error: &OpenError) -> Problem {
    let detail = error.to_string();
    let unavailable = |detail| Problem::new(Code::StorageUnavailable, detail);
    match error {
        OpenError::InUse { folder, .. } => {
            let listing = format!("longhaul ls --data '{}'", folder.display());
            Problem::new(Code::DataDirInUse, detail).next("talk to who has it", listing)
        }
        OpenError::NewerFormat { .. } => Problem::newer_format(detail),
        OpenError::Unrecognised { .. } => Problem::unrecognised(detail),
        OpenError::Lost { .. } => Problem::new(Code::JournalDamaged, detail)
            .next("begin anew elsewhere", "longhaul --data DIR serve"),
        OpenError::NotWritable { .. } => {
            unavailable(detail).next("use another directory", "longhaul --data DIR serve")
        }
        _ => unavailable(detail),
    }
}

/// The world of a dormant runtime: what is owed stays owed, for whoever serves. Only files are kept, which takes no process.
struct AtRest(Arc<dyn Hands>);

impl World<Session> for AtRest {
    fn perform(&self, context: EffectContext, effect: Effect) -> BoxFuture<'static, Command> {
        let Effect::Checkpoint {
            at,
            requested,
            resources,
        } = effect
        else {
            return futures_util::future::pending().boxed();
        };
        let kept = self.0.checkpoint(context.stream, at, requested, resources);
        async move {
            Command::Checkpointed {
                at,
                result: kept.await,
            }
        }
        .boxed()
    }
}
