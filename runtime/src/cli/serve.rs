//! `longhaul serve`

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::args::Serve;
use super::reach::Place;
use super::ui::{Failure, Ui};
use crate::api::{Code, Problem};
use crate::http::ControlSocket;
use crate::service::poisoned;
use crate::{Mode, Runtime};

/// Stops within this time of the first one are the same wish.
const SAME_BREATH: Duration = Duration::from_secs(1);

pub(super) async fn serve(args: Serve, place: &Place, ui: &Ui) -> Outcome {
    // Before anything is opened, so that no signal finds the process half ready and unwilling to stop in good order.
    let mut stops = Stops::new()?;
    // Whoever serves finds out now, and not with the first session.
    place.check_the_walls()?;
    let mut options = super::settings::options(Mode::Serve)?;
    options.network_bound = args.net_bound;
    if let Some(days) = &args.keep_workspaces {
        options.keep_workspaces = Some(super::settings::keep_for(days)?);
    }
    let runtime = place.open_with(options).await?;
    let socket = match ControlSocket::bind(place.data(), runtime.control()).await {
        Ok(socket) => socket,
        Err(problem) => {
            runtime.close().await;
            return Err(problem.into());
        }
    };
    let mut ended = tell(&socket, place, ui);
    if ended.is_ok() {
        tokio::select! {
            () = stops.next() => ui.note("stopping; once more to stop at once"),
            () = runtime.failed() => {
                // Only opening the directory anew helps, and whoever starts us does that: he sees that we ended, and not that
                // we refuse everything.
                tracing::error!("a write or a sync of the journal failed; stopping, to be started again");
                ended = Err(poisoned().into());
            }
        }
    }
    tokio::select! {
        () = close(socket, runtime) => ended.map(|()| 0),
        // What was acknowledged is on disk; the next one to open the directory treats the rest as a crash.
        () = stops.impatient() => std::process::exit(130),
    }
}

/// Whoever starts us reads the socket's path, and knows from it that we are ready.
fn tell(socket: &ControlSocket, place: &Place, ui: &Ui) -> Result<(), Failure> {
    let path = socket.path().display().to_string();
    ui.note(&format!("serving {}", place.data().display()));
    if ui.is_json() {
        ui.object(&json!({ "socket": path, "data": place.data(), "pid": std::process::id() }))
    } else {
        ui.line(&path)
    }
}

async fn close(socket: ControlSocket, runtime: Runtime) {
    socket.close().await;
    runtime.close().await;
}

/// SIGINT and SIGTERM.
pub(super) struct Stops {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stops {
    /// From now on these signals no longer end the process by themselves.
    pub(super) fn new() -> Result<Self, Problem> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Problem::new(Code::Internal, format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Resolves when somebody loses patience: one comes that does not belong to the first. Some senders repeat themselves
    /// at once: `timeout` signals a process and then its group, a terminal and a supervisor each send their own.
    async fn impatient(&mut self) {
        let since = Instant::now();
        loop {
            self.next().await;
            if since.elapsed() >= SAME_BREATH {
                return;
            }
        }
    }

    /// Resolves when one of them comes.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
