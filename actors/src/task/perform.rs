//! Where a task's watch meets its run: it reads in the log of the session where that stands.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_journal::{Journal, REMOVED, Seq, StreamId};
use longhaul_snapshots::SnapshotStore;
use serde::{Deserialize, Serialize};

use super::Task;
use super::command::{Command, Effect};
use super::state::State;
use crate::effects::{EffectContext, World};
use crate::link::Link;
use crate::ports::Clock;
use crate::recover::recover;
use crate::registry::Registry;
use crate::session::{self, RunOutcome, Session};

/// How long a watch lets its run go on before it looks again, monotonic milliseconds: a run writes many records a second,
/// and hardly any of them changes what is seen here.
const LOOK_EVERY_MS: u64 = 50;
/// How long a watch waits before it looks again at a run that cannot be read, monotonic milliseconds.
const RETRY_MS: u64 = 5_000;

/// How often a run is looked at for a task that is to be told once.
const LOOKS_TO_TELL: usize = 20;

/// Where a run stands, as far as a task cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// It goes on, or waits for something that is not an approval.
    Working,
    /// It waits for a human's word on an act.
    WaitsForApproval,
    /// It reached its goal.
    Done {
        /// In the brain's words.
        summary: String,
    },
    /// It ended without that.
    GaveUp {
        /// How.
        why: String,
    },
}

/// Where this session stands, as far as a task cares.
pub fn progress(state: &session::State) -> Progress {
    use session::Phase;
    let with_words = |what: &str| match state.outcome.as_str() {
        "" => what.to_owned(),
        words => format!("{what}: {words}"),
    };
    match state.phase {
        Phase::Completed => match state.completed {
            Some(RunOutcome::DeadlineExceeded) => Progress::GaveUp {
                why: with_words("its time was spent"),
            },
            _ => Progress::Done {
                summary: state.outcome.clone(),
            },
        },
        Phase::Failed => Progress::GaveUp {
            why: with_words("it failed"),
        },
        Phase::Canceled => Progress::GaveUp {
            why: with_words("it was canceled"),
        },
        Phase::AwaitingApproval => Progress::WaitsForApproval,
        _ => Progress::Working,
    }
}

/// The ports a task's effects are performed through.
#[derive(Clone)]
pub struct TaskWorld {
    /// Where the logs of sessions are.
    pub journal: Arc<dyn Journal>,
    /// Folds of sessions that are asleep.
    pub snapshots: Arc<SnapshotStore>,
    /// Measures the time between two looks.
    pub clock: Arc<dyn Clock>,
    /// The sessions, known once they are open.
    pub sessions: Link<Registry<Session>>,
}

impl TaskWorld {
    /// Tells a task where its run stands, if one works on it and that is news. Its watch does so by itself as long as a process
    /// goes on.
    pub async fn tell(&self, tasks: &Registry<Task>, task: StreamId) {
        let run = |state: &State, _: Seq| state.session.filter(|_| state.phase.is_at_work());
        let Ok(Some(session)) = tasks.query(task, run).await else {
            return;
        };
        let sessions = self.sessions.get().await;
        for _ in 0..LOOKS_TO_TELL {
            if let Some(progress) = self.look(&sessions, session).await {
                // What it knows changes nothing.
                let told = tasks.send(task, Command::Observed { session, progress });
                if let Err(error) = told.await {
                    tracing::warn!(%task, %error, "a task was not told of its run; the next process does it");
                }
                return;
            }
            // Its actor may be about to leave.
            self.clock.sleep(LOOK_EVERY_MS).await;
        }
    }

    async fn watch(self, session: StreamId, known: Progress) -> Command {
        let sessions = self.sessions.get().await;
        let mut moved = self.journal.watch(session);
        loop {
            moved.mark_unchanged();
            match self.look(&sessions, session).await {
                Some(progress) if progress != known => return Command::Observed { session, progress },
                Some(_) => {
                    if moved.changed().await.is_err() {
                        // The journal is closing; the next process finds this owed.
                        return futures_util::future::pending().await;
                    }
                    self.clock.sleep(LOOK_EVERY_MS).await;
                }
                // Nothing can be told of it now; it may be mended.
                None => self.clock.sleep(RETRY_MS).await,
            }
        }
    }

    async fn look(&self, sessions: &Registry<Session>, session: StreamId) -> Option<Progress> {
        if sessions.is_awake(session) {
            let look = |state: &session::State, _: Seq| progress(state);
            return sessions.query(session, look).await.ok();
        }
        let (journal, snapshots) = (Arc::clone(&self.journal), Arc::clone(&self.snapshots));
        let looked = tokio::task::spawn_blocking(move || {
            match journal.head(session).ok()? {
                Some(head) if head.kind == REMOVED => {
                    let why = "it was removed".to_owned();
                    return Some(Progress::GaveUp { why });
                }
                Some(_) => {}
                None => {
                    let why = "it is not there".to_owned();
                    return Some(Progress::GaveUp { why });
                }
            }
            let folded = recover::<Session>(&*journal, &snapshots, session).ok()?;
            Some(progress(&folded.state))
        });
        looked.await.ok().flatten()
    }
}

impl World<Task> for TaskWorld {
    fn perform(&self, _context: EffectContext, effect: Effect) -> BoxFuture<'static, Command> {
        let Effect::Watch { session, known } = effect;
        self.clone().watch(session, known).boxed()
    }
}
