//! Taking on a stream that was restored from a backup: it is read-only until a record says that it belongs here.

use std::sync::Arc;

use longhaul_journal::{Draft, Journal, StreamId};

use crate::answer::SendError;
use crate::entity::{Entity, Placed};
use crate::recover::fold;
use crate::registry::Registry;

/// Writes, with this fact, that a restored stream belongs to this directory.
///
/// # Errors
/// [`SendError::NotWritten`]: it is as it was.
pub(crate) async fn adopt<E: Entity>(
    registry: &Registry<E>,
    journal: &Arc<dyn Journal>,
    stream: StreamId,
    event: E::Event,
    now_ms: u64,
) -> Result<(), SendError<E::Refusal>> {
    let journal = Arc::clone(journal);
    let written = tokio::task::spawn_blocking(move || write::<E>(&*journal, stream, &event, now_ms));
    let written = written.await.unwrap_or_else(|error| Err(error.to_string()));
    written.map_err(|reason| SendError::NotWritten { reason })?;
    // Who asked it before it was taken on has found it read-only.
    registry.lift_quarantine(stream);
    Ok(())
}

fn write<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    event: &E::Event,
    now_ms: u64,
) -> Result<(), String> {
    let mut folded = fold::<E>(journal, stream).map_err(|error| error.to_string())?;
    let time_ms = now_ms.max(folded.time_ms);
    let seq = folded.head.next();
    E::apply(&mut folded.state, Placed { seq, time_ms, event });
    let draft = Draft {
        stream,
        kind: E::KIND.into(),
        epoch: journal.claim(stream),
        expected: folded.head,
        time_ms,
        standing: E::standing(&folded.state),
        records: vec![E::encode(event)],
    };
    journal.adopt(draft).map(drop).map_err(|error| error.to_string())
}
