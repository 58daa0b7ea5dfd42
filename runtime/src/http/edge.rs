//! What every route holds: the router behind it, and the place where its calls run.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::refusal::Refusal;
use crate::api::{Code, Problem};
use crate::control::Control;

/// Bounds of the control socket.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// A stream of records gets a `ping` this often; 15 s unless told.
    pub ping_every: Duration,
    /// The largest body of a request in bytes; 1 MiB unless told.
    pub body_limit: usize,
    /// The largest session that is taken in, in bytes of its file; 1 GiB unless told.
    pub import_limit: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_secs(15),
            body_limit: 1 << 20,
            import_limit: 1 << 30,
        }
    }
}

/// The edge between HTTP and the router.
pub(super) struct Edge {
    control: Arc<dyn Control>,
    /// The executor of whoever opened the socket. Calls run there and not on the HTTP thread, which is one thread that
    /// all connections share, and which ends before a wish that it brought may be through.
    home: Handle,
    closing: watch::Receiver<bool>,
    pub(super) settings: Settings,
}

impl Edge {
    pub(super) fn new(
        control: Arc<dyn Control>,
        home: Handle,
        closing: watch::Receiver<bool>,
        settings: Settings,
    ) -> Self {
        Self {
            control,
            home,
            closing,
            settings,
        }
    }

    /// Carries a wish out to its end, even when the connection that brought it is gone.
    pub(super) async fn wish<T, F>(&self, ask: impl FnOnce(Arc<dyn Control>) -> F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let answer = self.home.spawn(ask(Arc::clone(&self.control))).await;
        answer.map_err(lost_wish)?.map_err(Refusal::from)
    }

    /// Asks a question, and stops asking when nobody listens any more.
    pub(super) async fn ask<T, F>(&self, ask: impl FnOnce(Arc<dyn Control>) -> F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        // Unlike a handle, a set aborts its tasks when it is dropped.
        let mut asked = JoinSet::new();
        asked.spawn_on(ask(Arc::clone(&self.control)), &self.home);
        let answer = asked.join_next().await.expect("the set holds one task");
        answer.map_err(lost_question)?.map_err(Refusal::from)
    }

    /// Whether the socket is being closed.
    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Returns once the socket is being closed.
    pub(super) async fn closing(&self) {
        // A sender that is gone has closed, too.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// The call panicked, or its executor went away under it: what it did before, nobody knows.
fn lost_wish(error: JoinError) -> Refusal {
    Problem::new(
        Code::OutcomeUnknown,
        format!("the call did not come to its end ({error}); look at the session before asking again"),
    )
    .next("see what was recorded", "longhaul ls")
    .into()
}

fn lost_question(error: JoinError) -> Refusal {
    Problem::new(
        Code::Internal,
        format!("the call did not come to its end ({error})"),
    )
    .next("see what the program says of itself", "longhaul doctor")
    .into()
}
