//! One life of a session: from opening the directory to its end, with the real journal, registry, actors and effects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longhaul_actors::account::{
    self, Account, AccountDesk, AccountWorld, Credits, DEFAULT_ACCOUNT, Linked, Open, PriceTable,
};
use longhaul_actors::ports::{Clock, EndlessSlots};
use longhaul_actors::session::{Actor, Session, SessionWorld, State};
use longhaul_actors::task::{Task, TaskDesk, TaskWorld};
use longhaul_actors::{Entity, Link, Options, Ports, Registry, System, SystemClock, SystemOptions};
use longhaul_journal::{Frame, Journal, LocalJournal, OpenReport, Options as JournalOptions, StreamId};

use longhaul_snapshots::SnapshotStore;

use super::gate::MatrixGate;
use super::human::{Log, next_wish};
use super::outside::{Outside, VirtualHands, World};
use super::script::{Script, ScriptedBrain};
use crate::wreck::frames;

/// How long a life may take; what takes longer has stopped.
const DEADLINE: Duration = Duration::from_secs(60);

/// What one life came to.
#[derive(Debug)]
pub struct Life {
    /// What opening the journal found.
    pub opened: OpenReport,
    /// The whole log.
    pub frames: Vec<Arc<Frame>>,
    /// The records of the account that its steps were charged to.
    pub account: Vec<Arc<Frame>>,
    /// Every task, with its records.
    pub tasks: Vec<(StreamId, Vec<Arc<Frame>>)>,
    /// The state of the live actor after the last record.
    pub state: State,
    /// The outside world afterwards.
    pub world: World,
}

/// The session of the matrix.
pub fn session() -> StreamId {
    StreamId::named("session", "local", "key:matrix")
}

/// Its account.
pub fn account() -> StreamId {
    Account::stream("local", DEFAULT_ACCOUNT)
}

/// What it begins with is spent before the session is through: a command costs more than its time.
fn account_of_the_matrix() -> Open {
    let mut prices = PriceTable::default();
    prices.tools.insert("exec".into(), Credits::from_micro(1_000));
    Open {
        initial: Credits::from_micro(8_500),
        prices: Some(prices),
        ..Open::of_defaults()
    }
}

/// Opens the directory, and lets the session run to its end.
///
/// # Panics
/// When the session does not end.
pub fn live(directory: &Path, world: World) -> Life {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let life = tokio::time::timeout(DEADLINE, run(directory, world));
        life.await
            .unwrap_or_else(|_| panic!("the session did not end:\n{}", last_words(directory)))
    })
}

/// What a session that does not end had written.
fn last_words(directory: &Path) -> String {
    let offline = longhaul_journal::Offline::open(directory).expect("there is a journal");
    let mut words = String::new();
    let walked = offline.walk(None, |entry| {
        if let longhaul_journal::Entry::Frame(frame) = entry {
            for record in &frame.records {
                words.push_str(&format!("{:>4} {}\n", record.seq, record.event.type_name));
            }
        }
        std::ops::ControlFlow::Continue(())
    });
    walked.expect("it is readable");
    words
}

async fn run(directory: &Path, world: World) -> Life {
    // Small segments, so that boundaries of segments are among the boundaries of frames.
    let mut options = JournalOptions::default();
    options.segment_bytes = 12 << 10;
    options.fill_ahead = 8 << 10;
    options.cache_bytes = 1 << 20;
    let (journal, opened) = LocalJournal::open(directory, options).expect("the journal opens");
    let journal: Arc<dyn Journal> = Arc::new(journal);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let outside = Outside::new(world);
    let mut threads = SystemOptions::default();
    (threads.actor_threads, threads.effect_threads, threads.recoveries) = (1, 1, 1);
    let system = System::start(threads).expect("threads");
    let accounts_world = AccountWorld::new(
        Arc::clone(&journal),
        Arc::new(SnapshotStore::disabled()),
        Arc::clone(&clock),
    );
    let accounts = Registry::<Account>::open(
        &system,
        Ports {
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            world: Arc::new(accounts_world.clone()),
        },
        Options::default(),
    );
    let desk = AccountDesk {
        accounts: accounts.clone(),
        journal: Arc::clone(&journal),
        open: account_of_the_matrix(),
        clock: Arc::clone(&clock),
    };
    let tasks_world = TaskWorld {
        journal: Arc::clone(&journal),
        snapshots: Arc::new(SnapshotStore::disabled()),
        clock: Arc::clone(&clock),
        sessions: Link::default(),
    };
    let tasks = Registry::<Task>::open(
        &system,
        Ports {
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            world: Arc::new(tasks_world.clone()),
        },
        Options::default(),
    );
    let tasks_desk = TaskDesk {
        tasks: tasks.clone(),
        journal: Arc::clone(&journal),
        owner: "local".into(),
        clock: Arc::clone(&clock),
    };
    let sessions = Registry::<Session>::open(
        &system,
        Ports {
            journal: Arc::clone(&journal),
            clock: Arc::clone(&clock),
            world: Arc::new(SessionWorld {
                journal: Arc::clone(&journal),
                brain: Arc::new(ScriptedBrain::new(Script::of_the_matrix(), outside.clone())),
                hands: Arc::new(VirtualHands::new(outside.clone(), Arc::clone(&journal))),
                gate: Arc::new(MatrixGate),
                credit: Arc::new(desk),
                slots: Arc::new(EndlessSlots),
                suggestions: Arc::new(tasks_desk),
                clock,
            }),
        },
        Options::default(),
    );
    accounts_world.links.tie(Linked {
        accounts: accounts.clone(),
        sessions: sessions.clone(),
    });
    tasks_world.sessions.tie(sessions.clone());
    let mut moved = journal.watch(session());
    loop {
        moved.mark_unchanged();
        let log = Log::read(&*journal, session());
        if log.is_over() {
            break;
        }
        if log.waits_for_credit() {
            let top_up = account::Command::TopUp {
                by: Actor::human("local"),
                request: "the one top-up".into(),
                amount: Credits::from_micro(1_000_000),
            };
            accounts
                .send(account(), top_up)
                .await
                .expect("it is granted, once");
        }
        match next_wish(&log) {
            Some(wish) => {
                let described = format!("{wish:?}");
                if let Err(error) = sessions.send(session(), wish).await {
                    panic!("{described}: {error}");
                }
            }
            None => moved.changed().await.expect("the journal lives"),
        }
    }
    accounts_world.audit(account()).await;
    let state = sessions
        .query(session(), |state, _| state.clone())
        .await
        .expect("the actor answers");
    sessions.close().await;
    tasks.close().await;
    accounts.close().await;
    accounts_world.links.untie();
    tasks_world.sessions.untie();
    system.close().await;
    let frames_of_account = frames(&*journal, account());
    let heads = journal.list(Task::KIND, None, 100).expect("the journal is sound");
    let frames_of_tasks = heads
        .iter()
        .map(|head| (head.stream, frames(&*journal, head.stream)))
        .collect();
    let frames = frames(&*journal, session());
    journal.close();
    Life {
        opened,
        frames,
        account: frames_of_account,
        tasks: frames_of_tasks,
        state,
        world: outside.world(),
    }
}
