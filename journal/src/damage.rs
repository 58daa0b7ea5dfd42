//! What was lost, and whose it was.

use crate::codec::Summary;
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::record::Head;
use crate::scan::Bad;

/// A stream that lost an acknowledged frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The stream.
    pub stream: StreamId,
    /// The last seq that can be read; the first bad one follows.
    pub readable_to: Seq,
    /// What is wrong.
    pub reason: String,
}

/// Bytes below the durable position that hold no readable frame, and whose stream nothing else tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where they begin.
    pub position: Position,
    /// How many there are.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
}

impl Lost {
    pub(crate) fn new(bad: &Bad) -> Self {
        Self {
            position: bad.position,
            bytes: bad.end.0 - bad.position.0,
            reason: bad.flaw.to_string(),
        }
    }
}

/// Finds the stream that lost the frame in a bad stretch.
///
/// The damaged header is believed only where a second witness agrees: the head it says it follows. One flipped byte
/// may sit in the stream's id; then the hash of the predecessor still names the stream.
pub(crate) fn blame<E>(
    bad: &Bad,
    mut head: impl FnMut(StreamId) -> Result<Option<Head>, E>,
    by_hash: impl FnOnce(ChainHash) -> Result<Option<Head>, E>,
) -> Result<Option<Damage>, E> {
    let Some(suspect) = &bad.suspect else {
        return Ok(None);
    };
    let damage = |stream, readable_to| Damage {
        stream,
        readable_to,
        reason: format!(
            "the frame of seq {} at position {}: {}",
            readable_to.next(),
            bad.position,
            bad.flaw
        ),
    };
    let Summary {
        head: claimed,
        previous,
        first_seq,
        ..
    } = suspect;
    if let Some(head) = head(claimed.stream)? {
        if head.hash == *previous || head.seq.next() == *first_seq {
            return Ok(Some(damage(head.stream, head.seq)));
        }
    } else if *previous == ChainHash::ZERO || *first_seq == Seq(1) {
        return Ok(Some(damage(claimed.stream, Seq::ZERO)));
    }
    if *previous == ChainHash::ZERO {
        return Ok(None);
    }
    Ok(by_hash(*previous)?.map(|head| damage(head.stream, head.seq)))
}
