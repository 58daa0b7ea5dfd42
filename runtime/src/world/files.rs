//! Keeping the files of sessions, one checkpoint of a session at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Kept, SetupError};
use longhaul_journal::{Seq, StreamId};

use super::checkpoints::{Bounds, Checkpoints, Manifest, TakeError, take};
use super::workspace::{Prepared, failed};
use super::{LocalHands, SessionFolder};

/// Whose files are being looked at. A look that was abandoned goes on in its thread; the next one waits for it, and finds
/// what it made, so that none goes on while an act changes the files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looks(Arc<Mutex<HashMap<StreamId, Arc<Mutex<()>>>>>);

impl Looks {
    /// Does this while nobody else looks at the files of the session. Blocks.
    pub(crate) fn alone<T>(&self, session: StreamId, work: impl FnOnce() -> T) -> T {
        let mine = Arc::clone(lock(&self.0).entry(session).or_default());
        let done = {
            let _alone = lock(&mine);
            work()
        };
        let mut all = lock(&self.0);
        // The map and this call are all that know it.
        if Arc::strong_count(&mine) == 2 {
            all.remove(&session);
        }
        done
    }
}

impl LocalHands {
    pub(super) fn keep_files(
        &self,
        session: StreamId,
        at: Seq,
        bounds: Bounds,
    ) -> BoxFuture<'static, Result<Kept, SetupError>> {
        let (folder, looks) = (self.folder(session), self.looks.clone());
        async move {
            let keeping =
                tokio::task::spawn_blocking(move || looks.alone(session, || keep(&folder, at, bounds)));
            let kept = keeping.await;
            kept.unwrap_or_else(|stopped| Err(failed("checkpoint_failed", stopped)))
        }
        .boxed()
    }
}

fn keep(folder: &SessionFolder, at: Seq, bounds: Bounds) -> Result<Kept, SetupError> {
    let prepared = Prepared::load(folder)?;
    let prepared = prepared.ok_or_else(|| failed("workspace_missing", "the workspace is not there"))?;
    if prepared.workspace != folder.workspace() {
        return Err(failed(
            "checkpoint_failed",
            "the session works in a folder of the user's own",
        ));
    }
    let checkpoints = Checkpoints::at(folder.checkpoints());
    let manifest = take(&checkpoints, &prepared.workspace, at.0, bounds).map_err(|error| match error {
        TakeError::TooLarge(_) => failed("workspace_too_large", error),
        TakeError::Io(_) => failed("checkpoint_failed", error),
    })?;
    Ok(kept(&manifest))
}

fn kept(manifest: &Manifest) -> Kept {
    let (entries, bytes) = manifest.size();
    Kept {
        entries,
        bytes,
        added_bytes: manifest.added_bytes,
        digest: manifest.digest(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whole values, sound whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
