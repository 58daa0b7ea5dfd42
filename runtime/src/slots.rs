//! Places among the active sessions: at most so many work at the same time, the others wait their turn (B-CREDIT-8).
//!
//! Who has a place is never more than a guess on the safe side: a session gets one before it is told, and loses it only
//! once its own fold says that it is not active any more. That is looked up when somebody needs a place and there is
//! none, so that sessions at work pay nothing for it. After a restart the sessions that were active are counted first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select_all};
use longhaul_actors::Registry;
use longhaul_actors::ports::{Clock, Slots};
use longhaul_actors::session::{Phase, Session};
use longhaul_journal::{Journal, StreamId};
use tokio::sync::{Notify, OnceCell, watch};

/// How far ahead of now a session that recovers may be due, milliseconds.
const RECOVERY_MS: u64 = 10_000;
/// Heads that are read from the index at a time.
const PAGE: usize = 256;
/// Between two looks at those who have a place, at least.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Between two looks at those who have a place, at most.
const LOOK_LATEST: Duration = Duration::from_secs(1);

/// Why a session that would not wait got no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) active: usize,
    pub(crate) limit: usize,
}

/// How many work, and how many may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupied {
    pub(crate) active: usize,
    pub(crate) queued: usize,
    pub(crate) limit: usize,
}

/// The places of one runtime.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    limit: usize,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    sessions: watch::Sender<Option<Registry<Session>>>,
    counted: OnceCell<()>,
    table: Mutex<Table>,
    moved: Notify,
}

#[derive(Default)]
struct Table {
    /// Who has a place, or is about to be told so.
    seated: BTreeSet<StreamId>,
    /// Of those, who got it with its start, before there was anything to wait for.
    reserved: BTreeSet<StreamId>,
    /// Who waits, the longest first.
    queue: BTreeMap<(u64, StreamId), ()>,
}

impl Places {
    pub(crate) fn new(limit: usize, journal: Arc<dyn Journal>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            limit: limit.max(1),
            journal,
            clock,
            sessions: watch::Sender::new(None),
            counted: OnceCell::new(),
            table: Mutex::default(),
            moved: Notify::new(),
        }))
    }

    /// Makes the sessions known, once they are open; `None` lets go of them.
    pub(crate) fn tie(&self, sessions: Option<Registry<Session>>) {
        self.0.sessions.send_replace(sessions);
    }

    /// A place for a session that is about to be started and would rather not wait; it is to be given back if nothing
    /// comes of it.
    pub(crate) async fn reserve(&self, session: StreamId) -> Result<(), Full> {
        self.0.count().await;
        self.0.refresh().await;
        let mut table = self.0.table();
        if table.seated.len() >= self.0.limit || !table.queue.is_empty() {
            return Err(Full {
                active: table.seated.len(),
                limit: self.0.limit,
            });
        }
        table.seated.insert(session);
        table.reserved.insert(session);
        Ok(())
    }

    /// Gives back what was reserved for nothing.
    pub(crate) fn give_back(&self, session: StreamId) {
        let mut table = self.0.table();
        if table.reserved.remove(&session) {
            table.seated.remove(&session);
        }
        drop(table);
        self.0.moved.notify_waiters();
    }

    /// How many sessions work now.
    pub(crate) async fn occupied(&self) -> Occupied {
        self.0.count().await;
        self.0.refresh().await;
        let table = self.0.table();
        Occupied {
            active: table.seated.len(),
            queued: table.queue.len(),
            limit: self.0.limit,
        }
    }

    async fn wait(self, session: StreamId) {
        let inner = &*self.0;
        inner.count().await;
        let Some(since) = inner.queued_since(session).await else {
            // It cannot be asked, so this wait is about to be abandoned.
            return futures_util::future::pending().await;
        };
        {
            let mut table = inner.table();
            if table.reserved.remove(&session) {
                return;
            }
            // A place it had before it rested is not kept for it.
            table.seated.remove(&session);
            table.queue.insert((since, session), ());
        }
        let turn = Turn {
            inner: Arc::clone(&self.0),
            place: (since, session),
        };
        loop {
            // Before looking, so that nothing that moves meanwhile is missed.
            let moved = inner.moved.notified();
            match inner.claim(turn.place) {
                Claim::Granted => return,
                Claim::Behind => moved.await,
                Claim::Full(seated) => {
                    inner.refresh().await;
                    if inner.is_full() {
                        inner.until_one_moves(&seated).await;
                    }
                }
            }
        }
    }
}

enum Claim {
    Granted,
    /// Somebody waits for longer.
    Behind,
    /// These have the places.
    Full(Vec<StreamId>),
}

/// Somebody's place in the queue; gone with whoever no longer waits.
struct Turn {
    inner: Arc<Inner>,
    place: (u64, StreamId),
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.table().queue.remove(&self.place);
        self.inner.moved.notify_waiters();
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.table().seated.len() >= self.limit
    }

    fn claim(&self, place: (u64, StreamId)) -> Claim {
        let mut table = self.table();
        if table
            .queue
            .first_key_value()
            .is_some_and(|(first, ())| *first != place)
        {
            return Claim::Behind;
        }
        if table.seated.len() >= self.limit {
            return Claim::Full(table.seated.iter().copied().collect());
        }
        table.queue.remove(&place);
        table.seated.insert(place.1);
        Claim::Granted
    }

    async fn sessions(&self) -> Option<Registry<Session>> {
        let mut sessions = self.sessions.subscribe();
        let known = sessions.wait_for(Option::is_some).await;
        known.ok().and_then(|known| known.clone())
    }

    /// Counts those who were active when the process before this one ended.
    async fn count(&self) {
        self.counted
            .get_or_init(|| async {
                let (mut after, until) = (None, self.clock.now_ms().saturating_add(RECOVERY_MS));
                loop {
                    let journal = Arc::clone(&self.journal);
                    let page = tokio::task::spawn_blocking(move || journal.due(until, after, PAGE)).await;
                    let page = page.ok().and_then(Result::ok).unwrap_or_default();
                    let Some(last) = page.last() else { return };
                    after = Some(last.stream);
                    for head in page.iter().filter(|head| head.kind == "session") {
                        if self.is_active(head.stream, false).await {
                            self.table().seated.insert(head.stream);
                        }
                    }
                }
            })
            .await;
    }

    /// Takes the places of those who are not active any more.
    async fn refresh(&self) {
        let seated: Vec<StreamId> = self.table().seated.iter().copied().collect();
        for session in seated {
            // One that is queued has been given its place and is about to hear of it.
            if !self.is_active(session, true).await {
                let mut table = self.table();
                if !table.reserved.contains(&session) {
                    table.seated.remove(&session);
                }
            }
        }
        self.moved.notify_waiters();
    }

    async fn is_active(&self, session: StreamId, or_queued: bool) -> bool {
        let Some(sessions) = self.sessions().await else {
            return false;
        };
        let phase = sessions.query(session, |state, _| state.phase).await;
        phase.is_ok_and(|phase| phase.has_compute() || or_queued && phase == Phase::Queued)
    }

    async fn queued_since(&self, session: StreamId) -> Option<u64> {
        let sessions = self.sessions().await?;
        sessions
            .query(session, |state, _| state.phase_since_ms)
            .await
            .ok()
    }

    /// Waits until one of these may have left its place.
    async fn until_one_moves(&self, seated: &[StreamId]) {
        let mut watches: Vec<_> = seated
            .iter()
            .map(|session| self.journal.watch(*session))
            .collect();
        let moves = watches.iter_mut().map(|watch| watch.changed().boxed());
        let moved = select_all(moves.chain([futures_util::future::pending().boxed()]));
        let _ = tokio::time::timeout(LOOK_LATEST, moved).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Slots for Places {
    fn take(&self, session: StreamId) -> BoxFuture<'static, ()> {
        self.clone().wait(session).boxed()
    }
}
