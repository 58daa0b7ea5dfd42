//! Where sessions ask: commands to the account, sent until they are answered.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_journal::{Journal, StreamId};

use super::command::{Command, Open, Refusal, Reply};
use super::event::{Adopted, Event};
use super::{Account, DEFAULT_ACCOUNT};
use crate::adopt::adopt;
use crate::answer::SendError;
use crate::ports::{Clock, Credit};
use crate::registry::Registry;
use crate::session::Actor;

/// How long to wait before a message is sent again, monotonic milliseconds.
const RETRY_MS: u64 = 200;

/// The accounts of a directory, as sessions see them.
///
/// A message is sent until it is answered, which is safe: the account knows one that it had. An account that is not there
/// is opened with the configuration.
#[derive(Clone)]
pub struct AccountDesk {
    /// The accounts.
    pub accounts: Registry<Account>,
    /// Where an account that was restored from a backup is taken on.
    pub journal: Arc<dyn Journal>,
    /// What a new account is opened with.
    pub open: Open,
    /// Measures the time between two tries.
    pub clock: Arc<dyn Clock>,
}

impl Open {
    /// The defaults: five credits, 0.012 for an hour of active time, resumed after a top-up.
    pub fn of_defaults() -> Self {
        Self {
            by: Actor::RUNTIME,
            name: DEFAULT_ACCOUNT.into(),
            initial: super::Credits::from_micro(5_000_000),
            prices: None,
            resume: None,
        }
    }
}

impl AccountDesk {
    /// Makes the account of this directory usable: opens one that is not there, with the configuration, and takes on one
    /// that was restored from a backup.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn ready(&self, account: StreamId) -> Result<(), SendError<Refusal>> {
        if self.journal.is_inert(account) {
            let event = Event {
                actor: Actor::RUNTIME,
                body: Adopted {}.into(),
            };
            adopt(&self.accounts, &self.journal, account, event, self.clock.now_ms()).await?;
        }
        let open = Command::Open(Box::new(self.open.clone()));
        self.accounts.send(account, open).await.map(drop)
    }

    async fn send(self, account: StreamId, command: Command) -> Reply {
        loop {
            if self.journal.is_inert(account)
                && let Err(error) = self.ready(account).await
            {
                tracing::warn!(%account, %error, "a restored account was not taken on; it will be tried again");
                self.clock.sleep(RETRY_MS).await;
                continue;
            }
            match self.accounts.send(account, command.clone()).await {
                Ok(reply) => return reply,
                Err(SendError::Refused(Refusal::NotFound)) => {
                    if let Err(error) = self.ready(account).await {
                        tracing::warn!(%account, %error, "an account could not be opened; it will be tried again");
                        self.clock.sleep(RETRY_MS).await;
                    }
                }
                // It will not answer before a human has looked at it.
                Err(SendError::Quarantined(_)) => return Reply::Damaged,
                // Whoever waits is abandoned when the runtime closes.
                Err(SendError::Closed) => return futures_util::future::pending().await,
                Err(error) => {
                    tracing::warn!(%account, %error, "an account did not answer; it will be asked again");
                    self.clock.sleep(RETRY_MS).await;
                }
            }
        }
    }
}

impl Credit for AccountDesk {
    fn ask(&self, account: StreamId, command: Command) -> BoxFuture<'static, Reply> {
        self.clone().send(account, command).boxed()
    }
}
