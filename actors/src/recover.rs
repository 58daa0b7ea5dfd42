//! A state from the journal: the newest snapshot that may be trusted, and the records after it.
//!
//! Blocks on the disk, and holds one frame at a time, however long the stream is.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use longhaul_journal::{ChainHash, Frame, Journal, Limit, ReadError, Record, Seq, StreamId};
use longhaul_snapshots::{FoldId, Snapshot, SnapshotStore};

use crate::answer::Quarantine;
use crate::codec;
use crate::entity::{DecodeError, Entity, Placed};
use crate::host::Kept;
use crate::panics::panic_message;

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
    /// Chain hash of the last frame.
    pub hash: ChainHash,
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

/// Folds all records of a stream, as far as they are durable. Blocks on the disk.
///
/// # Errors
/// - [`RecoverError::Quarantined`]: reading again will not help.
/// - [`RecoverError::Unreadable`]: the operating system refused; try again.
pub fn fold<E: Entity>(journal: &dyn Journal, stream: StreamId) -> Result<Folded<E>, RecoverError> {
    catch_up(journal, stream, nothing())
}

/// As [`fold`], from the newest snapshot that may be trusted. Blocks on the disk.
///
/// A snapshot is used only if the journal has its very frame; one that cannot be decoded is dropped and the next older
/// one is tried. Without any the whole stream is folded.
///
/// # Errors
/// As [`fold`].
pub fn recover<E: Entity>(
    journal: &dyn Journal,
    snapshots: &SnapshotStore,
    stream: StreamId,
) -> Result<Folded<E>, RecoverError> {
    let Some(head) = journal.head(stream).map_err(|error| unread(stream, error))? else {
        return fold(journal, stream);
    };
    while let Some(snapshot) = snapshots
        .recover(journal, stream, fold_id::<E>(), head.seq)
        .map_err(|error| unread(stream, error))?
    {
        match codec::decode(&snapshot.state) {
            Ok(state) => {
                // Right if nothing follows the snapshot; else the frames that follow say it again.
                let from = Folded {
                    state,
                    head: snapshot.seq,
                    time_ms: head.time_ms,
                    boot: head.epoch.boot(),
                    hash: snapshot.hash,
                    snapshotted: snapshot.seq,
                };
                return catch_up(journal, stream, from);
            }
            Err(reason) => {
                tracing::warn!(%stream, seq = %snapshot.seq, reason, "a snapshot cannot be decoded and is dropped");
                snapshots.forget(stream, fold_id::<E>(), snapshot.seq);
            }
        }
    }
    fold(journal, stream)
}

/// Puts a state away; a state that cannot be encoded is replayed instead.
pub(crate) fn keep<E: Entity>(snapshots: &SnapshotStore, stream: StreamId, kept: Kept<E>) {
    match codec::encode(&kept.state) {
        Ok(state) => {
            let Kept { seq, hash, .. } = kept;
            snapshots.put(stream, fold_id::<E>(), &Snapshot { seq, hash, state });
        }
        Err(reason) => tracing::warn!(%stream, kind = E::KIND, reason, "a state cannot be kept"),
    }
}

const fn fold_id<E: Entity>() -> FoldId<'static> {
    FoldId {
        kind: E::KIND,
        version: E::FOLD_VERSION,
    }
}

fn nothing<E: Entity>() -> Folded<E> {
    Folded {
        state: E::State::default(),
        head: Seq::ZERO,
        time_ms: 0,
        boot: 0,
        hash: ChainHash::ZERO,
        snapshotted: Seq::ZERO,
    }
}

fn unread(stream: StreamId, error: ReadError) -> RecoverError {
    match error {
        ReadError::Damaged {
            readable_to, reason, ..
        } => RecoverError::Quarantined(Quarantine {
            stream,
            readable_to,
            reason,
        }),
        error => RecoverError::Unreadable(error.to_string()),
    }
}

/// As [`fold`], going on from an earlier fold of the same stream. Blocks on the disk.
///
/// # Errors
/// As [`fold`].
pub fn catch_up<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    folded: Folded<E>,
) -> Result<Folded<E>, RecoverError> {
    catch_up_to(journal, stream, folded, Seq(u64::MAX))
}

/// As [`fold`], no further than the last whole frame that ends at or below `most`: what stands of a quarantined stream.
///
/// # Errors
/// As [`fold`].
pub fn fold_to<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    most: Seq,
) -> Result<Folded<E>, RecoverError> {
    catch_up_to(journal, stream, nothing(), most)
}

fn catch_up_to<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    mut folded: Folded<E>,
    most: Seq,
) -> Result<Folded<E>, RecoverError> {
    while folded.head < most {
        let mut last = None;
        journal
            .visit(stream, folded.head, Limit::default(), &mut |frame| {
                let taken = folded.take_in(frame, most);
                let goes_on = matches!(taken, Ok(Taken::Whole));
                last = Some(taken);
                if goes_on {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })
            .map_err(|error| unread(stream, error))?;
        match last.transpose()? {
            Some(Taken::Whole) => {}
            Some(Taken::Anew) => folded = nothing(),
            Some(Taken::Beyond) | None => break,
        }
    }
    Ok(folded)
}

/// What became of a frame that was to be folded.
enum Taken {
    /// All of it is folded.
    Whole,
    /// It ends behind the seq that nothing may be folded beyond.
    Beyond,
    /// The stream was repaired since the fold was made, and the fold went further than what stands.
    Anew,
}

impl<E: Entity> Folded<E> {
    /// Folds the records of the next frame. The first frame may begin at or below the head.
    fn take_in(&mut self, frame: &Frame, most: Seq) -> Result<Taken, Quarantine> {
        let quarantine = |readable_to, reason| Quarantine {
            stream: frame.stream,
            readable_to,
            reason,
        };
        if frame.last_seq() > most {
            return Ok(Taken::Beyond);
        }
        if frame.kind != E::KIND {
            let reason = format!("it is of kind {:?}, not {:?}", frame.kind, E::KIND);
            return Err(quarantine(self.head, reason));
        }
        let known = frame.records.partition_point(|record| record.seq <= self.head);
        if let Some(stands) = frame.resumes_after {
            if stands < self.head && known == 0 {
                return Ok(Taken::Anew);
            }
            if stands == self.head {
                // The records in between are lost, which the first one behind them says.
                self.head = Seq(frame.first_seq().0 - 1);
            }
        }
        for record in &frame.records[known..] {
            if record.seq != self.head.next() {
                let reason = format!("seq {} is followed by {}", self.head, record.seq);
                return Err(quarantine(self.head, reason));
            }
            // Unwind safe: a state torn by a panic is dropped with the error.
            let step = catch_unwind(AssertUnwindSafe(|| self.apply(record)));
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
                return Err(quarantine(self.head, reason));
            }
            self.head = record.seq;
            self.time_ms = record.time_ms;
        }
        self.boot = frame.epoch.boot();
        self.hash = frame.hash;
        Ok(Taken::Whole)
    }

    fn apply(&mut self, record: &Record) -> Result<(), DecodeError> {
        let event = E::decode(record)?;
        let placed = Placed {
            seq: record.seq,
            time_ms: record.time_ms,
            event: &event,
        };
        E::apply(&mut self.state, placed);
        Ok(())
    }
}
