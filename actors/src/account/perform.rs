//! Where an account's effects meet the sessions: it reads in their logs what became of a hold, and resumes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_journal::{Journal, Seq, Standing, StreamId};
use longhaul_snapshots::SnapshotStore;

use super::Account;
use super::command::{Command, Effect, Finding, Verdict};
use super::state::{Hold, State};
use crate::answer::SendError;
use crate::effects::{EffectContext, World};
use crate::entity::Entity;
use crate::link::Link;
use crate::ports::Clock;
use crate::recover::recover;
use crate::registry::Registry;
use crate::session::{self, Session};

/// How often an audit looks, monotonic milliseconds. A session that goes on settles by itself; this is for those that rest.
const AUDIT_EVERY_MS: u64 = 100;
/// How often an audit looks for sessions that ended without holding anything, monotonic milliseconds.
const SWEEP_EVERY_MS: u64 = 60_000;
/// Sessions on an account below which nobody looks whether some have ended.
const SWEEP_ABOVE: usize = 1_024;
/// Sessions that are forgotten in one record.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// The registries that accounts and sessions reach each other through.
#[derive(Clone, Debug)]
pub struct Linked {
    /// Of accounts.
    pub accounts: Registry<Account>,
    /// Of sessions.
    pub sessions: Registry<Session>,
}

/// The ports an account's effects are performed through.
#[derive(Clone)]
pub struct AccountWorld {
    /// Where the logs of sessions are.
    pub journal: Arc<dyn Journal>,
    /// Folds of sessions that are asleep.
    pub snapshots: Arc<SnapshotStore>,
    /// Measures the time between two looks.
    pub clock: Arc<dyn Clock>,
    /// The registries, known once both are open.
    pub links: Link<Linked>,
    swept_ms: Arc<AtomicU64>,
}

impl AccountWorld {
    /// A world over these ports.
    pub fn new(journal: Arc<dyn Journal>, snapshots: Arc<SnapshotStore>, clock: Arc<dyn Clock>) -> Self {
        Self {
            journal,
            snapshots,
            clock,
            links: Link::default(),
            swept_ms: Arc::default(),
        }
    }

    /// Settles and releases whatever the logs of the sessions allow, once.
    pub async fn audit(&self, account: StreamId) {
        let linked = self.links.get().await;
        self.look(&linked, account).await;
    }

    async fn audit_until_abandoned(self, account: StreamId) -> Command {
        let linked = self.links.get().await;
        loop {
            // First the session gets the time to come back by itself, as it does within a turn.
            self.clock.sleep(AUDIT_EVERY_MS).await;
            self.look(&linked, account).await;
        }
    }

    async fn look(&self, linked: &Linked, account: StreamId) {
        let holds = |state: &State, _: Seq| -> Vec<(StreamId, Hold)> {
            let held = state.sessions.iter();
            let held = held.filter_map(|(session, line)| Some((*session, line.hold.clone()?)));
            held.collect()
        };
        let Ok(holds) = linked.accounts.query(account, holds).await else {
            return;
        };
        let mut findings = self.ended(linked, account).await;
        for (session, hold) in holds {
            findings.extend(self.finding(linked, session, hold).await);
        }
        if findings.is_empty() {
            return;
        }
        match linked.accounts.send(account, Command::Audited(findings)).await {
            Ok(_) | Err(SendError::Closed) => {}
            Err(error) => tracing::warn!(%account, %error, "an audit was not taken; it will look again"),
        }
    }

    /// What the log of a session says about its hold, once it says anything.
    async fn finding(&self, linked: &Linked, session: StreamId, hold: Hold) -> Option<Finding> {
        if linked.sessions.is_awake(session) {
            let look = move |state: &session::State, _: Seq| session::finding(state, session, &hold);
            return linked.sessions.query(session, look).await.ok().flatten();
        }
        let (journal, snapshots) = (Arc::clone(&self.journal), Arc::clone(&self.snapshots));
        let looked = tokio::task::spawn_blocking(move || {
            let head = journal.head(session).ok()?;
            if head.is_none_or(|head| head.kind != Session::KIND) {
                // It was removed, and its log with it: nobody can say any more what it used.
                let verdict = Verdict::Release { hold: hold.seq };
                let ended = true;
                return Some(Finding {
                    session,
                    verdict,
                    ended,
                });
            }
            // One that cannot be folded keeps its hold until it is repaired.
            let state = recover::<Session>(&*journal, &snapshots, session).ok()?.state;
            session::finding(&state, session, &hold)
        });
        looked.await.ok().flatten()
    }

    /// Sessions that hold nothing and have ended, if it is time to look for them.
    async fn ended(&self, linked: &Linked, account: StreamId) -> Vec<Finding> {
        let now_ms = self.clock.mono_ms();
        let due_ms = self
            .swept_ms
            .load(Ordering::Relaxed)
            .saturating_add(SWEEP_EVERY_MS);
        if now_ms < due_ms {
            return Vec::new();
        }
        self.swept_ms.store(now_ms, Ordering::Relaxed);
        let at_rest = |state: &State, _: Seq| -> Vec<StreamId> {
            if state.sessions.len() <= SWEEP_ABOVE {
                return Vec::new();
            }
            let at_rest = state.sessions.iter().filter(|(_, line)| line.hold.is_none());
            at_rest.map(|(session, _)| *session).collect()
        };
        let Ok(at_rest) = linked.accounts.query(account, at_rest).await else {
            return Vec::new();
        };
        let journal = Arc::clone(&self.journal);
        let looked = tokio::task::spawn_blocking(move || {
            let has_ended = |session: &StreamId| {
                let head = journal.head(*session);
                matches!(head, Ok(Some(head)) if head.standing == Standing::Done)
            };
            let ended = at_rest.into_iter().filter(has_ended).take(FORGOTTEN_AT_ONCE);
            let forget = ended.map(|session| Finding {
                session,
                verdict: Verdict::Forget,
                ended: true,
            });
            forget.collect()
        });
        looked.await.unwrap_or_default()
    }

    async fn resume(self, session: StreamId, since: Seq) -> Command {
        let linked = self.links.get().await;
        loop {
            match linked
                .sessions
                .send(session, session::Command::CreditIsBack)
                .await
            {
                Ok(_) | Err(SendError::Refused(_) | SendError::Quarantined(_)) => {
                    return Command::Resumed { session, since };
                }
                // Another process will host it, and finds this owed.
                Err(SendError::Closed | SendError::NotHosted) => {
                    return futures_util::future::pending().await;
                }
                Err(error) => {
                    tracing::warn!(%session, %error, "a session was not told of credit; it will be told again");
                    self.clock.sleep(AUDIT_EVERY_MS).await;
                }
            }
        }
    }
}

impl World<Account> for AccountWorld {
    fn perform(&self, context: EffectContext, effect: Effect) -> BoxFuture<'static, Command> {
        let world = self.clone();
        match effect {
            Effect::Audit => world.audit_until_abandoned(context.stream).boxed(),
            Effect::Resume { session, since } => world.resume(session, since).boxed(),
        }
    }
}
