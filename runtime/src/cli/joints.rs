//! Where the command line is joined to the parts of longhaul it does not speak to through [`Control`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_actors::session::State;
use longhaul_journal::StreamId;
use sha2::{Digest, Sha256};

use crate::Control;
use crate::api::{Code, Problem, SessionView, Start, TokenText};
use crate::brains::{self, playbook::Playbook};
use crate::client::SocketClient;

/// Whoever serves the directory, if anybody does; held to `token`, if there is one.
pub(super) async fn connect(
    data: &Path,
    token: Option<&TokenText>,
) -> Result<Option<Arc<dyn Control>>, Problem> {
    let Some(client) = SocketClient::connect(data).await? else {
        return Ok(None);
    };
    Ok(Some(match token {
        Some(token) => Arc::new(client.with_token(token.clone())),
        None => Arc::new(client),
    }))
}

/// Whether there is a journal in a data directory, or may be: what cannot be looked at is told by whoever opens it.
pub(super) fn holds_a_journal(data: &Path) -> bool {
    data.join("journal").try_exists().unwrap_or(true)
}

/// The bytes of a blob, read from the files of a data directory and checked against their name.
pub(super) fn blob(data: &Path, sha256: &str) -> Result<Vec<u8>, Problem> {
    let none = || {
        Problem::new(Code::NotFound, format!("there is no body {sha256}"))
            .next("see what there is", "longhaul journal stats")
    };
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (folder, name) = sha256.split_at_checked(2).filter(|_| is_hash).ok_or_else(none)?;
    let bytes =
        std::fs::read(data.join("blobs").join(folder).join(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => none(),
            _ => Problem::new(
                Code::StorageUnavailable,
                format!("cannot read the body {sha256}: {error}"),
            ),
        })?;
    if hex::encode(Sha256::digest(&bytes)) == sha256 {
        Ok(bytes)
    } else {
        Err(Problem::new(
            Code::JournalDamaged,
            format!("the body {sha256} is damaged: its bytes have another hash"),
        ))
    }
}

/// The program that would run commands, as it would be called.
pub(super) fn shim_as_run() -> Result<PathBuf, Problem> {
    crate::shim::find_shim(None)
}

/// The program that would run commands.
pub(super) fn shim() -> Result<PathBuf, Problem> {
    let found = crate::shim::find_shim(None)?;
    // This program names itself by a link that is right even after it was replaced; people want to see where it leads.
    Ok(std::fs::read_link(&found).unwrap_or(found))
}

/// Whether a playbook can be followed; says file, line and what to write instead when it cannot.
pub(super) fn check_playbook(file: &str, text: &str) -> Result<(), String> {
    Playbook::parse(file, text)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// The address of the session that a request makes or finds, known before it is made.
pub(super) fn address(start: &Start) -> StreamId {
    crate::service::address(start)
}

/// The address of the session with this key.
pub(super) fn keyed(key: &str) -> StreamId {
    crate::service::keyed(key)
}

/// The one request for approval that begins so.
pub(super) use crate::service::{meant, no_such};

/// A session as it is shown, from its fold.
pub(super) fn view(data: &Path, stream: StreamId, state: &State) -> SessionView {
    crate::service::view(data, stream, state)
}

/// Where others will be able to talk to a process that opens this directory, to be named to whoever finds it in use.
/// `None` when that is known only once the directory is there.
pub(super) fn socket_of(data: &Path) -> Option<PathBuf> {
    crate::http::inside(data)
}

/// No brain was named: three ways on.
pub(super) fn no_brain() -> Problem {
    brains::no_brain()
}

/// A brain was named that is of no known kind: three ways on.
pub(super) fn no_brain_called(name: &str) -> Problem {
    brains::no_brain_called(name)
}
