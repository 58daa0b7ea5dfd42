//! Real sessions in a world that takes no time: a brain and hands that answer at once, or never.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending, ready};
use longhaul_actors::account::{
    self, Account, AccountDesk, AccountWorld, Ask, Bound, Credits, DEFAULT_ACCOUNT, LastStep, Linked, Open,
    Reply, Used,
};
use longhaul_actors::ports::{
    Act, AllowAll, Brain, BrainCall, BrainFailure, Credit, EndlessSlots, Hands, NoTasks, SetupError,
};
use longhaul_actors::session::{
    Actor, Answer, AnswerEnd, BrainSpec, Command, Isolation, Limits, Mode, Session, SessionWorld, Start,
    Terms, ToolCall, ToolOutcome, WorkspaceSpec,
};
use longhaul_actors::{Link, Options, Ports, Registry, System, SystemClock, SystemOptions};
use longhaul_journal::{Journal, LocalJournal, OpenReport, Seq, StreamId};
use longhaul_snapshots::SnapshotStore;
use tokio::sync::watch;

use crate::plan::Failure;

/// What the brain answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mind {
    /// So many no-op calls, and then the next question, until the turn has run so many steps.
    Busy { calls: u64, until_step: u64 },
    /// Nothing more for now.
    Content,
    /// Nothing, ever: the session stays at work.
    Absorbed,
}

/// Counts what it was asked for.
#[derive(Debug)]
pub(crate) struct Virtual {
    mind: Mind,
    /// How long steps take, where that is wanted: a million sleepers would make it large.
    laps: Option<Mutex<Laps>>,
    /// How often it was asked.
    pub(crate) asked: watch::Sender<u64>,
}

/// Steps by session, from where one begins to where the next one does: its own frame and that of its outcome lie between.
#[derive(Debug, Default)]
struct Laps {
    began: HashMap<StreamId, Instant>,
    took: Vec<Duration>,
}

impl Virtual {
    pub(crate) fn new(mind: Mind) -> Arc<Self> {
        Arc::new(Self {
            mind,
            laps: None,
            asked: watch::Sender::new(0),
        })
    }

    /// As `new`, with a watch at hand.
    pub(crate) fn timed(mind: Mind) -> Arc<Self> {
        Arc::new(Self {
            mind,
            laps: Some(Mutex::default()),
            asked: watch::Sender::new(0),
        })
    }

    /// How long each step took that ended since this was asked last; thoughts count too.
    pub(crate) fn laps(&self) -> Vec<Duration> {
        let laps = self.laps.as_ref();
        laps.map_or_else(Vec::new, |laps| {
            std::mem::take(&mut laps.lock().expect("nobody panics with the watch").took)
        })
    }

    /// A step of a session begins.
    fn begins(&self, session: StreamId) {
        let Some(laps) = &self.laps else { return };
        let (now, mut laps) = (Instant::now(), laps.lock().expect("nobody panics with the watch"));
        if let Some(before) = laps.began.insert(session, now) {
            laps.took.push(now - before);
        }
    }

    /// Resolves once it was asked so often.
    pub(crate) async fn until_asked(&self, count: u64) {
        let mut asked = self.asked.subscribe();
        // The sender lives as long as `self`.
        let _ = asked.wait_for(|asked| *asked >= count).await;
    }
}

impl Brain for Virtual {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        self.begins(call.session);
        self.asked.send_modify(|asked| *asked += 1);
        match self.mind {
            Mind::Absorbed => pending().boxed(),
            Mind::Busy { calls, until_step } if call.step < until_step => {
                // Other paths each time, so that it is not taken for a loop.
                let calls = (0..calls).map(|number| ToolCall {
                    tool: "list".into(),
                    args: serde_json::json!({ "path": format!("{}/{number}", call.step) }),
                });
                let answer = Answer {
                    calls: calls.collect(),
                    ..Answer::default()
                };
                ready(Ok(answer)).boxed()
            }
            Mind::Busy { .. } | Mind::Content => ready(Ok(Answer {
                end: Some(AnswerEnd::Yield),
                ..Answer::default()
            }))
            .boxed(),
        }
    }

    fn release(&self, _session: StreamId) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

impl Hands for Virtual {
    fn prepare(
        &self,
        _session: StreamId,
        _spec: WorkspaceSpec,
    ) -> BoxFuture<'static, Result<Isolation, SetupError>> {
        ready(Ok(Isolation {
            mode: "none".into(),
            ..Isolation::default()
        }))
        .boxed()
    }

    fn perform(&self, act: Act) -> BoxFuture<'static, ToolOutcome> {
        self.begins(act.session);
        ready(ToolOutcome::Done {
            output: format!("step {}", act.step),
            active_ms: 0,
        })
        .boxed()
    }

    fn cancel(&self, _session: StreamId, _step: u64) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn stop(&self, _session: StreamId) -> BoxFuture<'static, Vec<u32>> {
        ready(Vec::new()).boxed()
    }
}

/// A journal on disk with real sessions over it.
pub(crate) struct Host {
    pub(crate) journal: Arc<LocalJournal>,
    pub(crate) found: OpenReport,
    pub(crate) sessions: Registry<Session>,
    system: System,
    accounts: Registry<Account>,
    links: Link<Linked>,
    desk: AccountDesk,
    charged: bool,
}

impl Host {
    pub(crate) fn open(folder: &Path, world: &Arc<Virtual>, options: Options) -> Result<Self, Failure> {
        Self::open_with(folder, world, options, false)
    }

    /// As `open`; sessions are charged to one account if asked for.
    pub(crate) fn open_with(
        folder: &Path,
        world: &Arc<Virtual>,
        options: Options,
        charged: bool,
    ) -> Result<Self, Failure> {
        let (journal, found) = LocalJournal::open(folder, longhaul_journal::Options::default())?;
        let journal = Arc::new(journal);
        let shared = Arc::clone(&journal) as Arc<dyn Journal>;
        let clock = Arc::new(SystemClock::new());
        let system = System::start(SystemOptions::default())?;
        let account_world = AccountWorld::new(
            Arc::clone(&shared),
            Arc::new(SnapshotStore::disabled()),
            Arc::clone(&clock) as _,
        );
        let links = account_world.links.clone();
        let ports = Ports {
            journal: Arc::clone(&shared),
            clock: Arc::clone(&clock) as _,
            world: Arc::new(account_world),
        };
        let accounts = Registry::open(&system, ports, Options::default());
        let desk = AccountDesk {
            accounts: accounts.clone(),
            journal: Arc::clone(&shared),
            open: Open {
                initial: Credits::MOST,
                ..Open::of_defaults()
            },
            clock: Arc::clone(&clock) as _,
        };
        let ports = Ports {
            journal: Arc::clone(&shared),
            clock: Arc::clone(&clock) as _,
            world: Arc::new(SessionWorld {
                journal: shared,
                brain: Arc::clone(world) as Arc<dyn Brain>,
                hands: Arc::clone(world) as Arc<dyn Hands>,
                gate: Arc::new(AllowAll),
                credit: Arc::new(desk.clone()),
                slots: Arc::new(EndlessSlots),
                suggestions: Arc::new(NoTasks),
                clock,
            }),
        };
        let sessions = Registry::open(&system, ports, options);
        links.tie(Linked {
            accounts: accounts.clone(),
            sessions: sessions.clone(),
        });
        Ok(Self {
            journal,
            found,
            sessions,
            system,
            accounts,
            links,
            desk,
            charged,
        })
    }

    /// Makes the session of this number, through the same command as any client's.
    pub(crate) async fn start(&self, number: u64) -> Result<StreamId, Failure> {
        let stream = session(number);
        self.sessions
            .send(stream, Command::Start(Box::new(start(number, self.charged))))
            .await?;
        Ok(stream)
    }

    /// Asks for one step after the other of a session that does nothing else, and says how long each took.
    pub(crate) fn charge(
        &self,
        number: u64,
        end: Instant,
    ) -> impl Future<Output = Result<Vec<Duration>, Failure>> + Send + 'static {
        let (desk, stream) = (self.desk.clone(), session(number));
        async move {
            let account = Account::stream("bench", DEFAULT_ACCOUNT);
            desk.ready(account).await?;
            let (mut took, mut last) = (Vec::new(), None);
            for step in 1.. {
                let since = Instant::now();
                if since >= end {
                    break;
                }
                let ask = Ask {
                    session: stream,
                    step,
                    attempt: Seq(step),
                    bound: Bound {
                        limit_ms: 120_000,
                        ..Bound::default()
                    },
                    budget: None,
                    last,
                };
                let reply = desk.ask(account, account::Command::Ask(Box::new(ask))).await;
                let Reply::Held(held) = reply else {
                    return Err(format!("{reply:?}").into());
                };
                took.push(since.elapsed());
                last = Some(LastStep {
                    hold: held.hold,
                    used: Used {
                        active_ms: 250,
                        ..Used::default()
                    },
                });
            }
            Ok(took)
        }
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.sessions.close().await;
        self.accounts.close().await;
        self.links.untie();
        self.system.close().await;
        Ok(tokio::task::spawn_blocking(move || self.journal.close()).await?)
    }
}

/// The stream of the session of this number.
pub(crate) fn session(number: u64) -> StreamId {
    StreamId::named("session", "bench", &number.to_string())
}

fn start(number: u64, charged: bool) -> Start {
    Start {
        by: Actor::human("bench"),
        key: Some(format!("bench-{number}")),
        goal: "Find out why the build is slow, and make it fast again".into(),
        mode: Mode::Interactive,
        brain: BrainSpec {
            kind: "virtual".into(),
            name: "virtual".into(),
            sha256: None,
            args: Vec::new(),
        },
        workspace: WorkspaceSpec::default(),
        network: Vec::new(),
        limits: Limits {
            turn_steps: u32::MAX,
            // It sleeps where it is; a hibernation would be one more record.
            idle_ms: 30 * 24 * 3_600_000,
            ..Limits::default()
        },
        metadata: None,
        forbidden: Vec::new(),
        fingerprint: number.to_string(),
        terms: charged.then(|| Terms {
            account: "local".into(),
            budget_micro: None,
        }),
    }
}
