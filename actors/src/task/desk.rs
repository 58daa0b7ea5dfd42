//! Where sessions file what they suggest, and humans say what becomes of it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_journal::{BlobError, BlobId, Journal, StreamId};

use super::Task;
use super::command::{Command, Refusal, Reply, Suggest};
use super::event::{Adopted, Event, Source};
use super::suggestion::{SUGGESTION_LIMIT, read_suggestion};
use crate::adopt::adopt;
use crate::answer::SendError;
use crate::ports::{Clock, Filed, Suggestions};
use crate::registry::Registry;
use crate::session::{Actor, CallError};

/// How long to wait before a message is sent again, monotonic milliseconds.
const RETRY_MS: u64 = 200;

/// The tasks of a directory.
#[derive(Clone)]
pub struct TaskDesk {
    /// The tasks.
    pub tasks: Registry<Task>,
    /// Where the bodies of suggestions are, and where a task that was restored from a backup is taken on.
    pub journal: Arc<dyn Journal>,
    /// To whom tasks belong.
    pub owner: String,
    /// Measures the time between two tries.
    pub clock: Arc<dyn Clock>,
}

impl TaskDesk {
    /// Sends a wish to a task, which is taken on first if it was restored from a backup.
    ///
    /// # Errors
    /// [`SendError`]; only [`SendError::OutcomeUnknown`] leaves open whether it happened.
    pub async fn send(&self, task: StreamId, command: Command) -> Result<Reply, SendError<Refusal>> {
        if self.journal.is_inert(task) {
            let event = Event::of(Actor::RUNTIME, Adopted {});
            adopt(&self.tasks, &self.journal, task, event, self.clock.now_ms()).await?;
        }
        self.tasks.send(task, command).await
    }

    async fn file_at_once(self, source: Source) -> Result<Filed, CallError> {
        let task = Task::suggested_by(&self.owner, source.session, source.step);
        let wanted = self.read(&source).await?;
        let suggest = Suggest {
            owner: self.owner.clone(),
            wanted,
            source,
        };
        loop {
            match self.send(task, Command::Suggest(Box::new(suggest.clone()))).await {
                Ok(reply) => {
                    let source = reply.source.unwrap_or(suggest.source);
                    return Ok(Filed {
                        task: Some(task),
                        name: source.name,
                        sha256: source.sha256,
                        bytes: source.bytes,
                    });
                }
                Err(error @ (SendError::Refused(_) | SendError::Quarantined(_))) => {
                    return Err(CallError {
                        code: "suggestion_not_kept",
                        detail: error.to_string(),
                    });
                }
                // Whoever waits is abandoned when the runtime closes.
                Err(SendError::Closed | SendError::NotHosted) => {
                    return futures_util::future::pending().await;
                }
                Err(error) => {
                    tracing::warn!(%task, %error, "a suggestion was not filed; it will be tried again");
                    self.clock.sleep(RETRY_MS).await;
                }
            }
        }
    }

    async fn read(&self, source: &Source) -> Result<super::Wanted, CallError> {
        let refused = |detail: String| CallError {
            code: "invalid_suggestion",
            detail,
        };
        if source.bytes > SUGGESTION_LIMIT {
            let detail = format!(
                "a suggestion has at most {SUGGESTION_LIMIT} bytes, {} has {}; keep the rest as a report",
                source.name, source.bytes
            );
            return Err(refused(detail));
        }
        let mut id = [0; 32];
        hex::decode_to_slice(&source.sha256, &mut id).map_err(|error| refused(error.to_string()))?;
        let journal = Arc::clone(&self.journal);
        let bytes = tokio::task::spawn_blocking(move || journal.blobs().get(BlobId(id))).await;
        let bytes = bytes.map_err(|error| refused(error.to_string()))?;
        let bytes = bytes.map_err(|error: BlobError| CallError {
            code: "storage_unavailable",
            detail: error.to_string(),
        })?;
        read_suggestion(&bytes).map_err(refused)
    }
}

impl Suggestions for TaskDesk {
    fn file(&self, source: Source) -> BoxFuture<'static, Result<Filed, CallError>> {
        self.clone().file_at_once(source).boxed()
    }
}
