//! The process at the other end of a connection.

use std::any::Any;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::rt::net::UnixStream;
use longhaul_hands::Held;

use super::edge::Edge;
use super::refusal::Refusal;
use crate::api::{Code, Problem};
use crate::lineage::{ForHumans, check_peer};

/// Who made a connection, as the kernel says; nobody where it does not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer(Option<Arc<Held>>);

impl Peer {
    /// The peer of a connection that was just made.
    pub(super) fn of(connection: &dyn Any) -> Self {
        let credentials = connection
            .downcast_ref::<UnixStream>()
            .and_then(|stream| stream.peer_cred().ok());
        let pid = credentials.and_then(|credentials| u32::try_from(credentials.pid()?).ok());
        Self(pid.and_then(Held::of).map(Arc::new))
    }

    /// The peer of the connection that a request came by.
    pub(super) fn of_request(request: &HttpRequest) -> Self {
        request.conn_data::<Self>().cloned().unwrap_or_default()
    }

    /// Refuses a request of an agent, as [`Peer::check`] does.
    ///
    /// # Errors
    /// `self_approval`.
    pub(super) async fn refuse_agents(self, what: ForHumans, edge: &Edge) -> Result<(), Refusal> {
        edge.ask(|_| self.check(what)).await
    }

    /// Refuses a process that acts for an agent, one that is gone, and one that cannot be seen.
    ///
    /// # Errors
    /// `self_approval`.
    async fn check(self, what: ForHumans) -> Result<(), Problem> {
        let checked = tokio::task::spawn_blocking(move || check_peer(self.0.as_deref(), what)).await;
        checked
            .map_err(|error| Problem::new(Code::Internal, format!("the peer was not looked at: {error}")))?
    }
}
