//! The playbook brain: a TOML file of steps, taken in order. No key, no process, no network.
//!
//! What it answers is a pure function of the file and of the records in the window. `file` reads the text
//! strictly, `fold` turns records into what the interpreter must know, `cursor` is the interpreter, and this file is
//! the rim: it fetches the pinned text and reads the window. A fold is kept per session only to save work; dropping
//! it at any time changes no answer.

mod acts;
mod cursor;
mod error;
mod file;
mod fold;
mod outcome;
mod raw;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure, WindowError};
use longhaul_actors::session::{Answer, BrainSpec};
use longhaul_journal::{Seq, StreamId};

pub use self::error::PlaybookError;
pub use self::file::Playbook;
use self::fold::Fold;
pub use self::source::{PlaybookSource, SourceError};
#[cfg(test)]
pub(super) use self::tests::Part;

/// The brain that follows a playbook.
#[derive(Clone)]
pub struct PlaybookBrain {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<dyn PlaybookSource>,
    kept: Mutex<HashMap<StreamId, Kept>>,
}

/// A fold that may be thrown away.
#[derive(Clone)]
struct Kept {
    sha256: String,
    playbook: Arc<Playbook>,
    fold: Fold,
    to: Seq,
}

impl PlaybookBrain {
    /// A brain that finds its playbooks in `source`.
    pub fn new(source: impl PlaybookSource) -> Self {
        let inner = Inner {
            source: Box::new(source),
            kept: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Brain for PlaybookBrain {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        let inner = self.inner.clone();
        async move {
            let answered = tokio::task::spawn_blocking(move || inner.answer(&call)).await;
            answered.unwrap_or_else(|stopped| Err(BrainFailure::Died(stopped.to_string())))
        }
        .boxed()
    }

    fn release(&self, session: StreamId) -> BoxFuture<'static, ()> {
        self.inner.kept().remove(&session);
        futures_util::future::ready(()).boxed()
    }
}

impl Inner {
    fn answer(&self, call: &BrainCall) -> Result<Answer, BrainFailure> {
        let to = call.window.to();
        let mut kept = match self.kept().remove(&call.session) {
            Some(kept) if kept.to <= to && call.brain.sha256.as_ref() == Some(&kept.sha256) => kept,
            _ => self.open(&call.brain)?,
        };
        for seen in call.window.read_all(kept.to).map_err(unreadable)? {
            kept.fold
                .see(&kept.playbook, &seen)
                .map_err(|unlike| BrainFailure::Gone(unlike.to_string()))?;
        }
        kept.to = to;
        let answer = kept.fold.answer(&kept.playbook);
        self.kept().insert(call.session, kept);
        Ok(answer)
    }

    fn open(&self, brain: &BrainSpec) -> Result<Kept, BrainFailure> {
        let Some(sha256) = brain.sha256.clone() else {
            let text = format!(
                "the session does not say which text of playbook {} it follows",
                brain.name
            );
            return Err(BrainFailure::Gone(text));
        };
        let text = self.source.load(&sha256).map_err(|error| match error {
            SourceError::Gone(why) => BrainFailure::Gone(format!("playbook {}: {why}", brain.name)),
            SourceError::Unreadable(why) => BrainFailure::Died(format!("playbook {}: {why}", brain.name)),
        })?;
        let playbook =
            Playbook::parse(&brain.name, &text).map_err(|error| BrainFailure::Gone(error.to_string()))?;
        Ok(Kept {
            sha256,
            playbook: Arc::new(playbook),
            fold: Fold::default(),
            to: Seq::ZERO,
        })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<StreamId, Kept>> {
        // Whatever a panicking thread left here is a whole fold or none, and a fold can be made again.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: WindowError) -> BrainFailure {
    match error {
        WindowError::Read(error) => BrainFailure::Died(error.to_string()),
        WindowError::Decode(error) => BrainFailure::Gone(error.to_string()),
    }
}
