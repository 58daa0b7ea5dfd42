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
    /// What kind of stream it is; empty when nothing that is left tells.
    pub kind: String,
    /// The last seq that can be read; the first bad one follows.
    pub readable_to: Seq,
    /// What is wrong.
    pub reason: String,
}

impl Damage {
    /// A frame that does not follow what is known of its stream.
    pub(crate) fn of_break(before: Option<&Head>, frame: &Summary, reason: String) -> Self {
        Self {
            stream: frame.head.stream,
            kind: frame.head.kind.to_string(),
            readable_to: before.map_or(Seq::ZERO, |before| before.seq),
            reason,
        }
    }

    /// A frame that cannot be read, right behind the last seq that can.
    pub(crate) fn of_frame(
        stream: StreamId,
        kind: impl Into<String>,
        readable_to: Seq,
        position: Position,
        flaw: impl std::fmt::Display,
    ) -> Self {
        let seq = readable_to.next();
        Self {
            stream,
            kind: kind.into(),
            readable_to,
            reason: format!("the frame of seq {seq} at position {position}: {flaw}"),
        }
    }
}

/// Seqs of one stream that a frame over a gap has set aside: those above `resumes_after` and below `first_seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetAside {
    pub(crate) resumes_after: Seq,
    /// First seq of the frame over the gap.
    pub(crate) first_seq: Seq,
}

impl SetAside {
    /// What this frame sets aside, if it continues over a gap.
    pub(crate) fn by(frame: &Summary) -> Option<Self> {
        let resumes_after = frame.resumes_after?;
        Some(Self {
            resumes_after,
            first_seq: frame.first_seq,
        })
    }

    /// Whether the whole stream was removed: nothing stands before this frame, and what was there may be gone.
    pub(crate) fn is_removal(&self) -> bool {
        self.resumes_after == Seq::ZERO
    }

    /// Whether the record of this seq no longer counts.
    pub(crate) fn covers(&self, seq: Seq) -> bool {
        seq > self.resumes_after && seq < self.first_seq
    }

    /// Whether damage right after this seq is what was continued over.
    pub(crate) fn heals(&self, readable_to: Seq) -> bool {
        readable_to >= self.resumes_after && readable_to < self.first_seq
    }
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
    let damage = |stream, kind: &str, readable_to: Seq| {
        Damage::of_frame(stream, kind, readable_to, bad.position, &bad.flaw)
    };
    let Summary {
        head: claimed,
        previous,
        first_seq,
        ..
    } = suspect;
    if let Some(head) = head(claimed.stream)? {
        if head.hash == *previous || head.seq.next() == *first_seq {
            return Ok(Some(damage(head.stream, &head.kind, head.seq)));
        }
    } else if *previous == ChainHash::ZERO || *first_seq == Seq(1) {
        return Ok(Some(damage(claimed.stream, &claimed.kind, Seq::ZERO)));
    }
    if *previous == ChainHash::ZERO {
        return Ok(None);
    }
    Ok(by_hash(*previous)?.map(|head| damage(head.stream, &head.kind, head.seq)))
}
