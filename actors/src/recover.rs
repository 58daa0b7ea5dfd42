//! A state from the journal: the newest snapshot that may be trusted, and the records after it.
//!
//! Blocks on the disk, and holds one page of records at a time, however long the stream is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use longhaul_journal::{Journal, Limit, ReadError, Seq, StreamId};

use crate::answer::Quarantine;
use crate::entity::{DecodeError, Entity, Placed};
use crate::host::panic_message;

/// A fold of everything durable in a stream.
#[derive(Clone, Debug)]
pub struct Folded<E: Entity> {
    /// The state after `head`.
    pub state: E::State,
    /// The last seq that was folded; [`Seq::ZERO`] when there is no such stream.
    pub head: Seq,
    /// Time of the last record, milliseconds since 1970.
    pub time_ms: u64,
    /// The boot generation that wrote the last record.
    pub boot: u32,
    /// The seq of the snapshot it was built from; [`Seq::ZERO`] when all records were folded.
    pub snapshotted: Seq,
}

/// Why a stream could not be folded.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// It is damaged, was written by a newer version, or its fold panics. It stays read only; others are not concerned.
    #[error(transparent)]
    Quarantined(#[from] Quarantine),
    /// The journal could not be read just now. Try again.
    #[error("{0}; try again")]
    Unreadable(String),
}

/// Folds a stream as far as it is durable. Blocks on the disk.
///
/// # Errors
/// - [`RecoverError::Quarantined`]: reading again will not help.
/// - [`RecoverError::Unreadable`]: the operating system refused; try again.
pub fn fold<E: Entity>(journal: &dyn Journal, stream: StreamId) -> Result<Folded<E>, RecoverError> {
    let from = Folded {
        state: E::State::default(),
        head: Seq::ZERO,
        time_ms: 0,
        boot: 0,
        snapshotted: Seq::ZERO,
    };
    fold_from(journal, stream, from)
}

fn fold_from<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    mut folded: Folded<E>,
) -> Result<Folded<E>, RecoverError> {
    let quarantine = |readable_to, reason| Quarantine {
        stream,
        readable_to,
        reason,
    };
    loop {
        let page = match journal.read(stream, folded.head, Limit::default()) {
            Ok(page) if page.is_empty() => return Ok(folded),
            Ok(page) => page,
            Err(ReadError::Damaged {
                readable_to, reason, ..
            }) => return Err(quarantine(readable_to, reason).into()),
            Err(error) => return Err(RecoverError::Unreadable(error.to_string())),
        };
        for frame in page {
            if frame.kind != E::KIND {
                let reason = format!("it is of kind {:?}, not {:?}", frame.kind, E::KIND);
                return Err(quarantine(folded.head, reason).into());
            }
            // The first frame may begin at or below the head.
            let known = frame.records.partition_point(|record| record.seq <= folded.head);
            for record in &frame.records[known..] {
                if record.seq != folded.head.next() {
                    let reason = format!("seq {} is followed by {}", folded.head, record.seq);
                    return Err(quarantine(folded.head, reason).into());
                }
                // Unwind safe: a state torn by a panic is dropped with the error.
                let step = catch_unwind(AssertUnwindSafe(|| {
                    let event = E::decode(record)?;
                    let placed = Placed {
                        seq: record.seq,
                        time_ms: record.time_ms,
                        event: &event,
                    };
                    E::apply(&mut folded.state, placed);
                    Ok::<(), DecodeError>(())
                }));
                let reason = match step {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(panic) => Some(format!(
                        "folding seq {} panicked: {}",
                        record.seq,
                        panic_message(&*panic)
                    )),
                };
                if let Some(reason) = reason {
                    return Err(quarantine(folded.head, reason).into());
                }
                folded.head = record.seq;
                folded.time_ms = record.time_ms;
            }
            folded.boot = frame.epoch.boot();
        }
    }
}
