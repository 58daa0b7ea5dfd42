//! Removing a stream: the frame that takes the place of all before it.

use super::LocalJournal;
use crate::id::{ChainHash, Seq, StreamId};
use crate::journal::{Draft, Durable, Gap, Journal, ReadError, SubmitError};
use crate::record::{NewRecord, Standing};
use crate::rules::{Intent, REMOVED};

pub(super) fn remove(
    journal: &LocalJournal,
    stream: StreamId,
    time_ms: u64,
    record: NewRecord,
) -> Result<Durable, SubmitError> {
    let unreadable = |error: ReadError| SubmitError::NotWritten {
        reason: error.to_string(),
    };
    let head = journal.head(stream).map_err(unreadable)?;
    let damaged = journal.damage(stream).is_some();
    match &head {
        Some(head) if head.kind == REMOVED => {
            // A crash may have come between the frame and this.
            journal
                .inert
                .remove(stream)
                .map_err(|error| SubmitError::NotWritten {
                    reason: error.to_string(),
                })?;
            return Ok(Durable {
                seq: head.seq,
                hash: head.hash,
                position: journal.index.durable(),
            });
        }
        None if !damaged => {
            return Err(SubmitError::Invalid {
                reason: format!("there is no stream {stream}"),
            });
        }
        _ => {}
    }
    // Whose last frames may be lost had higher numbers than one can see; finding them reads everything.
    let expected = match &head {
        Some(head) if !damaged => head.seq,
        _ => journal.highest_seen(stream).map_err(unreadable)?,
    };
    let draft = Draft {
        stream,
        kind: REMOVED.into(),
        epoch: journal.claim(stream),
        expected,
        time_ms: head.map_or(time_ms, |head| time_ms.max(head.time_ms)),
        standing: Standing::Done,
        records: vec![record],
    };
    let gap = Gap {
        resumes_after: Seq::ZERO,
        hash: ChainHash::ZERO,
    };
    let durable = journal.hand_in(Intent::over(draft, Some(gap))).wait()?;
    // Only now: until then it is a copy that nobody adopted.
    journal
        .inert
        .remove(stream)
        .map_err(|error| SubmitError::OutcomeUnknown {
            reason: format!("the stream is removed, and still counts as inert: {error}"),
        })?;
    Ok(durable)
}
