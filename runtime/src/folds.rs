//! Folds of sessions for whoever asks, kept so that a follower does not fold a long session anew for each record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use longhaul_actors::session::{Session, State};
use longhaul_actors::{Folded, RecoverError, catch_up, recover};
use longhaul_journal::{Journal, StreamId};
use longhaul_snapshots::SnapshotStore;

/// Folds that are kept at most; a session beyond them is folded from its snapshot.
const KEPT: usize = 256;

/// Durable states of sessions. What is kept may be dropped at any time: it is only ever caught up from the journal.
pub(crate) struct Folds {
    snapshots: Arc<SnapshotStore>,
    kept: Mutex<HashMap<StreamId, Arc<Folded<Session>>>>,
}

impl Folds {
    pub(crate) fn new(snapshots: Arc<SnapshotStore>) -> Self {
        Self {
            snapshots,
            kept: Mutex::default(),
        }
    }

    /// The state of a session after its last durable record. Blocks on the disk.
    ///
    /// # Errors
    /// As [`recover`].
    pub(crate) fn at_head(&self, journal: &dyn Journal, stream: StreamId) -> Result<State, RecoverError> {
        let earlier = self.lock().get(&stream).map(Arc::clone);
        let folded = match earlier {
            Some(earlier) => catch_up(journal, stream, (*earlier).clone())?,
            None => recover::<Session>(journal, &self.snapshots, stream)?,
        };
        let state = folded.state.clone();
        let mut kept = self.lock();
        if kept.len() >= KEPT && !kept.contains_key(&stream) {
            kept.clear();
        }
        kept.insert(stream, Arc::new(folded));
        Ok(state)
    }

    /// Forgets a fold whose history was continued from an earlier point.
    pub(crate) fn forget(&self, stream: StreamId) {
        self.lock().remove(&stream);
    }

    /// Forgets everything of a session that was removed.
    pub(crate) fn forget_removed(&self, stream: StreamId) {
        self.lock().remove(&stream);
        self.snapshots.forget_stream(stream);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<StreamId, Arc<Folded<Session>>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
