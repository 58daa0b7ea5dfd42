//! The folders of sessions that ended long ago: removed once what is in them is kept elsewhere (B-START-4, B-LOG-11).
//!
//! What is about to go is noted on disk first (`released.json`), then it goes, then `sandbox.released` says so, then the note
//! goes. A crash anywhere in between is found by the note, and the rest is done; each session is released once.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longhaul_actors::ports::{Act, Clock, Hands, Report};
use longhaul_actors::session::{Around, Command, Session, State, ToolCall, ToolOutcome, WorkspaceKind};
use longhaul_actors::{Registry, SendError};
use longhaul_hands::remove_tree;
use longhaul_journal::{Journal, StreamId};
use serde::{Deserialize, Serialize};

use super::kept::why_it_stays;
use crate::folds::Folds;
use crate::service::bytes_below;
use crate::world::{Looks, SessionFolder, durable};

/// How often the folders are looked through.
const EVERY_MS: u64 = 3_600_000;

/// Looks through the folders of sessions and removes what is not needed any more.
#[derive(Clone)]
pub(crate) struct Releases {
    pub(crate) data: PathBuf,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) folds: Arc<Folds>,
    pub(crate) sessions: Registry<Session>,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) looks: Looks,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long after its end the folders of a session stay, wall clock; `None` for ever.
    pub(crate) keep_ms: Option<u64>,
}

/// What is going, from before it goes until that is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    freed_bytes: u64,
    /// Why the workspace stays, if it does.
    workspace_kept: String,
    /// sha256 and size of the patch that was made of it.
    patch: Option<(String, u64)>,
}

impl Releases {
    /// Looks through them now, and again every hour, until it is dropped.
    pub(crate) async fn go_on(self) {
        loop {
            self.round().await;
            self.clock.sleep(EVERY_MS).await;
        }
    }

    /// Looks through all of them once. How many sessions were released.
    pub(crate) async fn round(&self) -> usize {
        let Some(keep_ms) = self.keep_ms else { return 0 };
        let looking = self.clone();
        let found = tokio::task::spawn_blocking(move || looking.due(keep_ms)).await;
        let mut released = 0;
        for (session, state) in found.unwrap_or_default() {
            match self.release(session, state).await {
                Ok(()) => released += 1,
                Err(error) => {
                    tracing::warn!(%session, %error, "the folders of a session that has ended stay for now")
                }
            }
        }
        released
    }

    /// Sessions whose time is over and whose folders are there. Blocks on the disk.
    fn due(&self, keep_ms: u64) -> Vec<(StreamId, State)> {
        let entries = fs::read_dir(self.data.join("sessions")).into_iter().flatten();
        let named = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut due = Vec::new();
        for session in named {
            if self.journal.is_inert(session) {
                continue;
            }
            // What cannot be folded is for a human to look at.
            let Ok(state) = self.folds.at_head(&*self.journal, session) else {
                continue;
            };
            let ended = state.phase.is_terminal();
            let over = self.clock.now_ms() >= state.phase_since_ms.saturating_add(keep_ms);
            let noted = self.note_of(session).exists();
            if ended && over && (noted || !state.files.released) {
                due.push((session, state));
            }
        }
        due
    }

    fn folder(&self, session: StreamId) -> SessionFolder {
        SessionFolder::new(&self.data, session)
    }

    fn note_of(&self, session: StreamId) -> PathBuf {
        self.folder(session).root().join("released.json")
    }

    async fn release(&self, session: StreamId, state: State) -> io::Result<()> {
        let note = match self.noted(session)? {
            Some(note) => note,
            None => {
                let survivors = self.hands.stop(session).await;
                if !survivors.is_empty() {
                    return Err(io::Error::other(format!(
                        "processes of it are left: {survivors:?}"
                    )));
                }
                self.weigh(session, &state).await?
            }
        };
        let (folder, looks, kept) = (
            self.folder(session),
            self.looks.clone(),
            note.workspace_kept.clone(),
        );
        blocking(move || looks.alone(session, || remove(&folder, kept.is_empty()))).await?;
        let command = Command::Released {
            freed_bytes: note.freed_bytes,
            workspace_kept: note.workspace_kept,
            patch: note.patch.map(|(sha256, bytes)| Report { sha256, bytes }),
        };
        match self.sessions.send(session, command).await {
            Ok(_) => {}
            Err(error @ SendError::OutcomeUnknown { .. }) => return Err(io::Error::other(error.to_string())),
            Err(error) => return Err(io::Error::other(error.to_string())),
        }
        let (path, root) = (self.note_of(session), self.folder(session).root().to_owned());
        blocking(move || {
            fs::remove_file(path)?;
            // Whatever else is there was not ours to remove.
            let _ = fs::remove_dir(root);
            Ok(())
        })
        .await
    }

    fn noted(&self, session: StreamId) -> io::Result<Option<Note>> {
        match fs::read(self.note_of(session)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decides what goes, makes the patch that is missing, and notes it.
    async fn weigh(&self, session: StreamId, state: &State) -> io::Result<Note> {
        let kind = state
            .origin
            .as_ref()
            .map(|origin| origin.workspace.kind)
            .unwrap_or_default();
        let (folder, journal, state_then) = (self.folder(session), Arc::clone(&self.journal), state.clone());
        let stays = blocking(move || why_it_stays(&folder, &*journal, session, &state_then)).await?;
        let (mut workspace_kept, mut patch) = (stays.unwrap_or_default(), None);
        let is_there = self.folder(session).workspace().is_dir();
        if workspace_kept.is_empty() && kind == WorkspaceKind::Clone && state.patch_due && is_there {
            match self.patch(session, state).await {
                Ok(made) => patch = made,
                Err(why) => {
                    workspace_kept = format!("its last changes could not be made into a patch: {why}")
                }
            }
        }
        let (folder, path) = (self.folder(session), self.note_of(session));
        blocking(move || {
            let stays = if workspace_kept.is_empty() {
                0
            } else {
                bytes_below(&folder.workspace())?
            };
            let note = Note {
                freed_bytes: bytes_below(folder.root())?.saturating_sub(stays),
                workspace_kept,
                patch,
            };
            durable::write(&path, &serde_json::to_vec(&note)?)?;
            Ok(note)
        })
        .await
    }

    /// The patch of a session that ended without one: it was canceled, or its brain was gone.
    async fn patch(&self, session: StreamId, state: &State) -> Result<Option<(String, u64)>, String> {
        let limits = state.limits();
        let act = Act {
            session,
            step: state.steps + 1,
            call: Arc::new(ToolCall {
                tool: "patch".into(),
                args: serde_json::json!({}),
            }),
            limit_ms: limits.command_ms,
            resources: limits.resources,
            around: Around::default(),
            recovered: true,
        };
        match self.hands.perform(act).await {
            ToolOutcome::Artifact { sha256, bytes, .. } => Ok(Some((sha256, bytes))),
            ToolOutcome::Done { .. } => Ok(None),
            ToolOutcome::Failed { detail, .. } => Err(detail),
            other => Err(format!("{other:?}")),
        }
    }
}

/// Removes evidence, scratch and checkpoints, and the workspace if it may go. What is gone already is no trouble.
fn remove(folder: &SessionFolder, workspace_too: bool) -> io::Result<()> {
    for gone in [folder.steps(), folder.private(), folder.checkpoints()] {
        remove_tree(&gone)?;
    }
    if workspace_too {
        remove_tree(&folder.workspace())?;
        match fs::remove_file(folder.prepared()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::File::open(folder.root())?.sync_all()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
