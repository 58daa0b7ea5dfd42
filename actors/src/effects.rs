//! Work owed to the world, done outside the actors: begun once, left alone, abandoned when nobody owes it any more.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_journal::StreamId;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::answer::SendError;
use crate::entity::{EffectId, Entity, Owed};
use crate::panics::panic_message;
use crate::ports::Clock;
use crate::supervisor::backoff_ms;

/// So many pieces of owed work are looked through one by one.
const FEW: usize = 8;

/// Where a piece of owed work comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectContext {
    /// The stream that owes it.
    pub stream: StreamId,
    /// Its name within the stream.
    pub id: EffectId,
    /// Whether it may have been begun before: the process or an earlier try may have ended in the middle of it.
    pub recovered: bool,
}

/// Does what entities of one kind owe.
///
/// Every implementation signs:
/// - Performing the same `(stream, id)` again with `recovered` set does not do the work twice where that matters: it
///   attaches to it, compares, or answers with a command that says the outcome is unknown.
/// - What went wrong is told in the command. A panic is not an outcome: the work is tried again, with `recovered` set.
///
/// # Cancel safety
/// The future is dropped when the work is no longer owed and when the runtime closes.
pub trait World<E: Entity>: Send + Sync + 'static {
    /// Does the work and says, as a command to the stream, what became of it. Runs on a tokio runtime of the host.
    ///
    /// What the function does before it returns its future is done before any work that is owed in place of this one;
    /// it must not block.
    fn perform(&self, context: EffectContext, effect: E::Effect) -> BoxFuture<'static, E::Command>;
}

/// The world of entities that owe it nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorld;

impl<E: Entity<Effect = std::convert::Infallible>> World<E> for NoWorld {
    fn perform(&self, _context: EffectContext, effect: E::Effect) -> BoxFuture<'static, E::Command> {
        match effect {}
    }
}

/// How an outcome gets back to its stream, whether or not the stream has a live actor.
pub(crate) trait Deliver<E: Entity>: Send + Sync + 'static {
    fn deliver(
        &self,
        stream: StreamId,
        outcome: E::Command,
    ) -> BoxFuture<'static, Result<(), SendError<E::Refusal>>>;
}

/// All work under way for entities of one kind.
pub(crate) struct Effects<E: Entity> {
    world: Arc<dyn World<E>>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    table: Arc<Table>,
}

type Table = Mutex<HashMap<StreamId, HashMap<EffectId, Task>>>;

struct Task {
    /// Tells this task from a later one of the same name, so that a task removes nobody but itself.
    number: u64,
    abort: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl<E: Entity> Effects<E> {
    pub(crate) fn new(world: Arc<dyn World<E>>, clock: Arc<dyn Clock>, runtime: Handle) -> Self {
        Self {
            world,
            clock,
            runtime,
            table: Arc::default(),
        }
    }

    /// Makes what is under way for a stream equal to what it owes, durably.
    ///
    /// `recovered` says of an effect that is begun now whether it may have been begun before.
    pub(crate) fn ensure(
        &self,
        stream: StreamId,
        owed: Vec<Arc<Owed<E::Effect>>>,
        recovered: impl Fn(EffectId) -> bool,
        deliver: &Arc<dyn Deliver<E>>,
    ) {
        let mut table = lock(&self.table);
        if owed.is_empty() {
            table.remove(&stream);
            return;
        }
        let running = table.entry(stream).or_default();
        // An account may owe many things at once; a session owes one or two.
        if owed.len() <= FEW {
            running.retain(|id, _| owed.iter().any(|owed| owed.id == *id));
        } else {
            let ids: HashSet<EffectId> = owed.iter().map(|owed| owed.id).collect();
            running.retain(|id, _| ids.contains(id));
        }
        for owed in owed {
            let id = owed.id;
            running.entry(id).or_insert_with(|| {
                let context = EffectContext {
                    stream,
                    id,
                    recovered: recovered(id),
                };
                self.begin(context, owed, Arc::clone(deliver))
            });
        }
    }

    /// Whether anything is under way for a stream.
    pub(crate) fn is_busy(&self, stream: StreamId) -> bool {
        lock(&self.table)
            .get(&stream)
            .is_some_and(|running| !running.is_empty())
    }

    /// Abandons what is under way for one stream.
    pub(crate) fn abandon(&self, stream: StreamId) {
        lock(&self.table).remove(&stream);
    }

    /// Abandons everything; it stays owed, and the next process finds it.
    pub(crate) fn abandon_all(&self) {
        lock(&self.table).clear();
    }

    fn begin(
        &self,
        context: EffectContext,
        owed: Arc<Owed<E::Effect>>,
        deliver: Arc<dyn Deliver<E>>,
    ) -> Task {
        static NUMBERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = NUMBERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (world, clock) = (Arc::clone(&self.world), Arc::clone(&self.clock));
        let table = Arc::downgrade(&self.table);
        let task = self.runtime.spawn(async move {
            // Under the lock: what was abandoned is not begun any more, not even by a task that runs already. So work
            // that is owed in its place, the end of a command for one, comes after it or without it.
            let begin = |context: EffectContext| {
                let table = table.upgrade()?;
                let table = lock(&table);
                let task = table.get(&context.stream)?.get(&context.id)?;
                (task.number == number).then(|| world.perform(context, owed.effect.clone()))
            };
            see_through::<E>(&begin, &*clock, &*deliver, context).await;
            if let Some(table) = table.upgrade() {
                forget(&table, context, number);
            }
        });
        Task {
            number,
            abort: task.abort_handle(),
        }
    }
}

/// Performs the work until its outcome is decided on, or denied.
async fn see_through<E: Entity>(
    begin: &(dyn Fn(EffectContext) -> Option<BoxFuture<'static, E::Command>> + Sync),
    clock: &dyn Clock,
    deliver: &dyn Deliver<E>,
    mut context: EffectContext,
) {
    let EffectContext { stream, id, .. } = context;
    for failures in 1.. {
        // Unwind safe: what panicked is dropped, and the implementation signs that it may be performed again.
        let performed = async {
            match begin(context) {
                Some(work) => Some(work.await),
                None => None,
            }
        };
        match AssertUnwindSafe(performed).catch_unwind().await {
            Ok(None) => return,
            Err(panic) => {
                let message = panic_message(&*panic);
                tracing::error!(%stream, ?id, message, "an effect panicked; it will be tried again");
            }
            Ok(Some(outcome)) => match deliver.deliver(stream, outcome).await {
                Ok(()) => return,
                Err(SendError::Refused(refusal)) => {
                    tracing::warn!(%stream, ?id, %refusal, "the outcome of an effect was refused");
                    return;
                }
                Err(SendError::Closed | SendError::Quarantined(_) | SendError::NotHosted) => return,
                Err(error) => {
                    tracing::warn!(%stream, ?id, %error, "the outcome of an effect was not taken; it will be tried again");
                }
            },
        }
        // The outcome is gone with the command, so the work is looked at again, as after a crash.
        context.recovered = true;
        clock.sleep(backoff_ms(failures)).await;
    }
}

fn forget(table: &Table, context: EffectContext, number: u64) {
    let mut table = lock(table);
    let Some(running) = table.get_mut(&context.stream) else {
        return;
    };
    if running.get(&context.id).is_some_and(|task| task.number == number) {
        running.remove(&context.id);
    }
    if running.is_empty() {
        table.remove(&context.stream);
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<StreamId, HashMap<EffectId, Task>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
