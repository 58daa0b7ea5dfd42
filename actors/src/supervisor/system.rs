//! The threads that actors, effects and timers live on. They are ours, so that any program may use us, even twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use actix::{Arbiter, ArbiterHandle};
use longhaul_journal::StreamId;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Semaphore, watch};

/// How many threads, and how many recoveries at once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SystemOptions {
    /// Threads that actors live on.
    pub actor_threads: usize,
    /// Threads that effects, timers and the sweeper run on.
    pub effect_threads: usize,
    /// Recoveries at the same time; each holds one state, one frame, and the 256 KiB it was read with.
    pub recoveries: usize,
}

impl Default for SystemOptions {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            actor_threads: cores.min(4),
            effect_threads: cores.min(4),
            recoveries: 2 * cores,
        }
    }
}

/// The threads could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start threads for actors: {0}")]
pub struct SystemError(#[from] std::io::Error);

/// Threads shared by the registries of all kinds of entities over one journal.
///
/// It installs no signal handler, no panic hook and no subscriber, and needs no runtime around it. Close the registries
/// before it; without [`System::close`] its threads end with the last handle.
#[derive(Clone, Debug)]
pub struct System(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    arbiters: Vec<ArbiterHandle>,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
    recoveries: Arc<Semaphore>,
    stop: Mutex<Option<actix::System>>,
    ended: watch::Receiver<bool>,
    closing: AtomicBool,
}

/// Where one actor lives.
pub(crate) type Place = ArbiterHandle;

impl System {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`SystemError`] when the operating system refuses them.
    pub fn start(options: SystemOptions) -> Result<Self, SystemError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.effect_threads.max(1))
            .thread_name("longhaul-effects")
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (ready, started) = std::sync::mpsc::channel();
        let (end, ended) = watch::channel(false);
        let threads = options.actor_threads.max(1);
        thread::Builder::new()
            .name("longhaul-actors".into())
            .spawn(move || {
                host_arbiters(threads, &ready);
                // Nobody may wait any more.
                let _ = end.send(true);
            })?;
        let (system, arbiters) = started
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread of the actors ended at once")))?;
        Ok(Self(Arc::new(Inner {
            arbiters,
            runtime: Mutex::new(Some(runtime)),
            handle,
            recoveries: Arc::new(Semaphore::new(options.recoveries.max(1))),
            stop: Mutex::new(Some(system)),
            ended,
            closing: AtomicBool::new(false),
        })))
    }

    /// Ends the threads and waits for them. Calling it twice is harmless.
    pub async fn close(&self) {
        self.0.stop();
        let mut ended = self.0.ended.clone();
        // An error means that the thread is gone, which is what is waited for.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }
}

impl Inner {
    /// Where the actor of a stream lives: the same place each time.
    pub(crate) fn place(&self, stream: StreamId) -> &Place {
        let spread = stream.as_bytes().iter().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
        });
        &self.arbiters[spread % self.arbiters.len()]
    }

    /// Where effects, timers and recoveries run.
    pub(crate) const fn runtime(&self) -> &Handle {
        &self.handle
    }

    pub(crate) const fn recoveries(&self) -> &Arc<Semaphore> {
        &self.recoveries
    }

    fn stop(&self) {
        if self.closing.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(system) = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take() {
            system.stop();
        }
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Dropping it would block, which panics where the caller is itself inside a runtime.
            runtime.shutdown_background();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

type Started = std::io::Result<(actix::System, Vec<ArbiterHandle>)>;

/// Starts the arbiters, says so, and returns once they have been stopped and their threads are gone.
fn host_arbiters(threads: usize, ready: &std::sync::mpsc::Sender<Started>) {
    let runner = actix::System::new();
    let system = actix::System::current();
    let arbiters: std::io::Result<Vec<Arbiter>> = (0..threads).map(|_| Arbiter::try_new()).collect();
    let arbiters = match arbiters {
        Ok(arbiters) => arbiters,
        Err(error) => {
            // Whoever started us went away only if it panicked.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    let _ = ready.send(Ok((system, handles)));
    if let Err(error) = runner.run() {
        tracing::error!(%error, "the actor system ended with an error");
    }
    for arbiter in arbiters {
        // Stopping the system told those it knows; an arbiter that registered late is told here.
        arbiter.stop();
        if arbiter.join().is_err() {
            tracing::error!("a thread of actors panicked");
        }
    }
}
