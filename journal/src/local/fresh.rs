//! What the catalogue does not know yet: the frames of the active segment, and of sealed ones until they are indexed.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry as Place;
use std::ops::Bound;

use crate::catalogue::Span;
use crate::id::{Position, Seq, StreamId};
use crate::record::{Head, Standing};
use crate::spread::ByStream;

/// Durable frames that are not in the catalogue, by stream.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    streams: ByStream<Entry>,
    /// The same streams by id: for pages, so that the frames of a busy stream need no ordered look-up.
    order: BTreeSet<StreamId>,
    owed: BTreeSet<StreamId>,
    waiting: BTreeSet<(u64, StreamId)>,
    frames: usize,
    /// Frames that were published and are in none of the above yet.
    published: Vec<(Head, Span)>,
}

#[derive(Debug)]
struct Entry {
    head: Head,
    spans: Vec<Span>,
}

/// What is known of one stream below some position.
#[derive(Debug)]
pub(crate) struct Below {
    pub(crate) stream: StreamId,
    pub(crate) spans: Vec<Span>,
    /// Where it stood there, unless it has moved on since.
    pub(crate) head: Option<Head>,
}

/// Some streams by id, and where to go on.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) streams: Vec<Below>,
    pub(crate) next: Option<StreamId>,
}

impl Fresh {
    /// Takes over the frames of a batch; they are seen once they are sorted in.
    pub(crate) fn publish(&mut self, frames: &mut Vec<(Head, Span)>) {
        self.published.append(frames);
    }

    /// Sorts in what was published. Whoever asks does it first; mostly the committer has done it by then.
    pub(crate) fn sort_in(&mut self) {
        let mut published = std::mem::take(&mut self.published);
        for (head, span) in published.drain(..) {
            self.push(head, span);
        }
        // The room is kept.
        self.published = published;
    }

    /// Adds the next frame of a stream, by the head it makes and where it lies.
    pub(crate) fn push(&mut self, head: Head, span: Span) {
        let stream = head.stream;
        self.frames += 1;
        match self.streams.entry(stream) {
            Place::Occupied(mut place) => {
                let entry = place.get_mut();
                entry.spans.push(span);
                let old = std::mem::replace(&mut entry.head, head);
                if old.standing != entry.head.standing {
                    let new = entry.head.standing.clone();
                    self.forget(stream, &old.standing);
                    self.note(stream, &new);
                }
            }
            Place::Vacant(place) => {
                let standing = head.standing.clone();
                place.insert(Entry {
                    head,
                    spans: vec![span],
                });
                self.order.insert(stream);
                self.note(stream, &standing);
            }
        }
    }

    /// The head of a stream, if its last frame is here.
    pub(crate) fn head(&self, stream: StreamId) -> Option<&Head> {
        self.streams.get(&stream).map(|entry| &entry.head)
    }

    /// Whether this is where the present head of a stream is kept.
    pub(crate) fn holds(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Where the frames lie that hold seqs above `after`, and the first seq that is known here.
    pub(crate) fn spans(&self, stream: StreamId, after: Seq, limit: usize) -> (Vec<Span>, Option<Seq>) {
        let Some(entry) = self.streams.get(&stream) else {
            return (Vec::new(), None);
        };
        let from = entry.spans.partition_point(|span| span.last_seq <= after);
        let spans = entry.spans[from..].iter().take(limit).copied().collect();
        (spans, entry.spans.first().map(|span| span.first_seq))
    }

    /// Heads of one kind above `after`, by id.
    pub(crate) fn of_kind(&self, kind: &str, after: Option<StreamId>, limit: usize) -> Vec<Head> {
        let streams = self.order.range((bound(after), Bound::Unbounded));
        streams
            .filter_map(|stream| self.head(*stream))
            .filter(|head| head.kind == kind)
            .take(limit)
            .cloned()
            .collect()
    }

    /// Heads of streams that owe work, above `after`, by id.
    pub(crate) fn owed(&self, after: Option<StreamId>, limit: usize) -> Vec<Head> {
        let streams = self.owed.range((bound(after), Bound::Unbounded)).take(limit);
        streams.filter_map(|stream| self.head(*stream).cloned()).collect()
    }

    /// Streams that wait for a time up to `until_ms`.
    pub(crate) fn waiting(&self, until_ms: u64) -> impl Iterator<Item = StreamId> {
        let end = (until_ms, StreamId::from_bytes([0xff; 16]));
        self.waiting.range(..=end).map(|(_, stream)| *stream)
    }

    /// The earliest time above `after_ms` that a stream here waits for.
    pub(crate) fn next_due(&self, after_ms: u64) -> Option<u64> {
        let from = (after_ms.checked_add(1)?, StreamId::MARKER);
        self.waiting.range(from..).next().map(|(time_ms, _)| *time_ms)
    }

    /// Every head; for tracing damage.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Head> {
        self.streams.values().map(|entry| &entry.head)
    }

    /// How many frames a stream has here, by and large.
    pub(crate) fn frames_per_stream(&self) -> usize {
        self.frames / self.streams.len().max(1)
    }

    /// The frames below `through`, for streams above `from`, until there are `enough` of them.
    pub(crate) fn below(&self, through: Position, from: Option<StreamId>, enough: usize) -> Page {
        let (mut streams, mut looked_at) = (Vec::new(), 0);
        for stream in self.order.range((bound(from), Bound::Unbounded)) {
            if looked_at >= enough {
                // Of the last one that was looked at, which need not have frames down there.
                let next = self.order.range(..*stream).next_back().copied();
                return Page { streams, next };
            }
            looked_at += 1;
            let Some(entry) = self.streams.get(stream) else {
                continue;
            };
            let count = entry.spans.partition_point(|span| span.position < through);
            if count > 0 {
                looked_at += count;
                streams.push(Below {
                    stream: *stream,
                    spans: entry.spans[..count].to_vec(),
                    head: (count == entry.spans.len()).then(|| entry.head.clone()),
                });
            }
        }
        Page { streams, next: None }
    }

    /// Forgets frames below `through`, now that the catalogue has them, for up to `count` streams above `from`.
    ///
    /// Returns where to go on: the lock is let go in between, because the committer must not wait for 100,000 streams.
    pub(crate) fn settle(
        &mut self,
        through: Position,
        from: Option<StreamId>,
        count: usize,
    ) -> Option<StreamId> {
        let some: Vec<_> = self
            .order
            .range((bound(from), Bound::Unbounded))
            .take(count)
            .copied()
            .collect();
        for stream in &some {
            let Some(entry) = self.streams.get_mut(stream) else {
                continue;
            };
            let settled = entry.spans.partition_point(|span| span.position < through);
            self.frames -= settled;
            entry.spans.drain(..settled);
            if entry.spans.is_empty() {
                self.remove(*stream);
            } else {
                entry.spans.shrink_to_fit();
            }
        }
        some.last().copied().filter(|_| some.len() == count)
    }

    fn remove(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.remove(&stream) else {
            return;
        };
        self.order.remove(&stream);
        self.forget(stream, &entry.head.standing);
    }

    fn note(&mut self, stream: StreamId, standing: &Standing) {
        match standing {
            Standing::Owed => drop(self.owed.insert(stream)),
            Standing::Until(time_ms) => drop(self.waiting.insert((*time_ms, stream))),
            Standing::Done | Standing::Waits(_) => {}
        }
    }

    fn forget(&mut self, stream: StreamId, standing: &Standing) {
        match standing {
            Standing::Owed => drop(self.owed.remove(&stream)),
            Standing::Until(time_ms) => drop(self.waiting.remove(&(*time_ms, stream))),
            Standing::Done | Standing::Waits(_) => {}
        }
    }
}

fn bound(after: Option<StreamId>) -> Bound<StreamId> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}
