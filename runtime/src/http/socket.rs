//! The listening socket, and the thread it is served on.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::{io, mem};

use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, rt, web};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::address::{self, Bound, Shelter};
use super::edge::{Edge, Settings};
use super::peer::Peer;
use super::refusal::name_the_path;
use super::routes::routes;
use crate::api::{Code, Problem};
use crate::control::Control;

/// How long requests may take to finish once the socket is closed, seconds. Streams and long polls end by themselves.
const LAST_REQUESTS_SECONDS: u64 = 5;

/// Serves a data directory to other processes of the same user.
///
/// It works from any tokio program: HTTP runs on a thread of its own, the calls run on the executor that opened it. It
/// installs no signal handler. Dropping it stops it, too, without waiting for the requests under way.
#[derive(Debug)]
pub struct ControlSocket {
    bound: Bound,
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Listens in `directory`, whose lock the caller holds: what an earlier process left there is replaced.
    ///
    /// # Errors
    /// `storage_unavailable`: nobody can be served there; says why and where.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind(directory: impl AsRef<Path>, control: Arc<dyn Control>) -> Result<Self, Problem> {
        Self::bind_with(directory, control, Settings::default()).await
    }

    /// Listens, with bounds of one's own.
    ///
    /// # Errors
    /// As [`ControlSocket::bind`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind_with(
        directory: impl AsRef<Path>,
        control: Arc<dyn Control>,
        settings: Settings,
    ) -> Result<Self, Problem> {
        Self::bind_sheltered(directory.as_ref(), control, settings, &Shelter::of_this_user()).await
    }

    pub(super) async fn bind_sheltered(
        directory: &Path,
        control: Arc<dyn Control>,
        settings: Settings,
        shelter: &Shelter,
    ) -> Result<Self, Problem> {
        let (listener, bound) =
            address::listen(directory, shelter).map_err(|error| cannot_listen(directory, &error))?;
        let (closing, closed) = watch::channel(false);
        let edge = Edge::new(control, Handle::current(), closed.clone(), settings);
        let (ready, is_ready) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("longhaul-control".to_owned())
            .spawn(move || rt::System::new().block_on(serve(listener, edge, closed, ready)))
            .map_err(|error| cannot_listen(directory, &error));
        // From here on a drop cleans up, whichever step fails.
        let mut socket = Self {
            bound,
            closing,
            thread: None,
        };
        socket.thread = Some(thread?);
        match is_ready.await {
            Ok(Ok(())) => Ok(socket),
            Ok(Err(error)) => Err(cannot_listen(directory, &error)),
            Err(_) => Err(Problem::new(
                Code::Internal,
                "the thread of the control socket ended at once",
            )),
        }
    }

    /// The socket file.
    pub fn path(&self) -> &Path {
        &self.bound.path
    }

    /// Takes the socket file away, ends the streams, finishes the requests under way, and stops.
    pub async fn close(mut self) {
        self.begin_to_close();
        let Some(thread) = mem::take(&mut self.thread) else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the thread of the control socket panicked");
        }
    }

    /// First the file, so that nobody new comes; then the streams, which would otherwise hold the server open; the server
    /// stops when it sees the same signal.
    fn begin_to_close(&self) {
        self.bound.remove();
        self.closing.send_replace(true);
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.begin_to_close();
    }
}

/// Serves until the socket is closed.
async fn serve(
    listener: UnixListener,
    edge: Edge,
    mut closed: watch::Receiver<bool>,
    ready: oneshot::Sender<io::Result<()>>,
) {
    let edge = web::Data::new(edge);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(edge.clone())
            .wrap(from_fn(name_the_path))
            .configure(routes)
    })
    // Held on to from here, so that whoever decides later is known to be this process and no later one of its number.
    .on_connect(|connection, data| {
        data.insert(Peer::of(connection));
    })
    // The handlers only hand calls over: one thread serves them all.
    .workers(1)
    .disable_signals()
    // Whoever hangs up is gone: otherwise an idle stream would live on until its next ping.
    .h1_allow_half_closed(false)
    .shutdown_timeout(LAST_REQUESTS_SECONDS)
    .listen_uds(listener);
    let server = match server {
        Ok(server) => server.run(),
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let handle = server.handle();
    rt::spawn(async move {
        // A sender that is gone has closed, too.
        let _ = closed.wait_for(|closed| *closed).await;
        handle.stop(true).await;
    });
    let _ = ready.send(Ok(()));
    if let Err(error) = server.await {
        tracing::error!(%error, "the control socket is not served any more");
    }
}

fn cannot_listen(directory: &Path, error: &io::Error) -> Problem {
    let shown = directory.display();
    Problem::new(
        Code::StorageUnavailable,
        format!("the control socket of {shown} cannot be made: {error}"),
    )
    .next(
        "see whose directory it is, and whether it can be written",
        format!("ls -ld '{shown}'"),
    )
    .next("see how much room is left there", format!("df -h '{shown}'"))
}
