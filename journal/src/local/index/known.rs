//! What sealed segments add to the catalogue, as far as it is known without reading them.
//!
//! Every fresh frame was sealed by this process, or checked when the journal was opened; to read, hash and decode it once more
//! took as long as writing it had taken, and told nothing new. Only the last sealed frame of a stream that has moved on since
//! is read, for its head. Whatever is out of the ordinary is left to [`indexer::additions`](crate::local::indexer::additions),
//! which reads everything and finds out what is damaged.

use crate::catalogue::{Addition, Additions, Broken, Catalogue, Span};
use crate::damage::SetAside;
use crate::id::{Position, StreamId};
use crate::local::index::{Index, Run};
use crate::record::{Frame, Head};

/// Spans that are copied while the committer waits: some 10 us.
const SPANS_AT_ONCE: usize = 2_000;

/// Frames a stream must have here for this to be the quicker way. Where 100,000 streams have one or two each, nearly all of
/// them have moved on, and their heads cost more than reading the segments from one end to the other.
const FRAMES_PER_STREAM: usize = 4;

impl Index {
    /// What fresh frames below `through` add; `None` where only the segments tell.
    pub(super) fn additions_of_fresh(
        &self,
        catalogue: &Catalogue,
        through: Position,
    ) -> Result<Option<Additions>, Broken> {
        let is_worth_it = self.fresh().frames_per_stream() >= FRAMES_PER_STREAM;
        if !is_worth_it || !self.all_damage().is_empty() || !catalogue.damaged()?.is_empty() {
            return Ok(None);
        }
        let mut added = Additions::default();
        let mut from = None;
        loop {
            let page = self.fresh().below(through, from, SPANS_AT_ONCE);
            for sealed in page.streams {
                let stream = sealed.stream;
                let Some(addition) = self.addition(catalogue, stream, sealed.spans, sealed.head)? else {
                    return Ok(None);
                };
                added.streams.insert(stream, addition);
            }
            from = page.next;
            if from.is_none() {
                return Ok(Some(added));
            }
        }
    }

    /// `None` when the spans do not simply follow what the catalogue knows.
    fn addition(
        &self,
        catalogue: &Catalogue,
        stream: StreamId,
        spans: Vec<Span>,
        head: Option<Head>,
    ) -> Result<Option<Addition>, Broken> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Ok(None);
        };
        let continues =
            |aside: &SetAside| aside.first_seq >= first.first_seq && aside.first_seq <= last.last_seq;
        if self.gaps_of(stream).iter().any(continues) {
            return Ok(None);
        }
        let before = catalogue.head(stream)?;
        let known_to = before.as_ref().map_or(crate::Seq::ZERO, |before| before.seq);
        // What is in the catalogue already was put there before a crash or a close cut the rest short.
        if first.first_seq > known_to.next() {
            return Ok(None);
        }
        let head = match head {
            Some(head) => head,
            None => match self.fetch_one(&mut Run::default(), &[*last]) {
                Ok(frame) if frame.stream == stream && frame.last_seq() == last.last_seq => head_of(&frame),
                _ => return Ok(None),
            },
        };
        Ok(Some(Addition { before, head, spans }))
    }
}

fn head_of(frame: &Frame) -> Head {
    Head {
        stream: frame.stream,
        kind: frame.kind.clone(),
        seq: frame.last_seq(),
        hash: frame.hash,
        epoch: frame.epoch,
        time_ms: frame.records.last().map_or(0, |record| record.time_ms),
        standing: frame.standing.clone(),
    }
}

#[cfg(test)]
mod tests;
