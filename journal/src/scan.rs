//! Walks the frames of one segment from its bytes alone, over damage and up to the end.

use std::io;
use std::ops::ControlFlow;

use crate::codec::{self, Flaw, Summary};
use crate::files;
use crate::frame::{ENVELOPE_LEN, Envelope, MAGIC};
use crate::id::Position;
use crate::segment::Segment;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;

/// What lies at a place of a segment.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A whole frame with a sound checksum; a marker if its summary says so.
    Frame {
        envelope: Envelope,
        summary: Summary,
        sealed: &'a [u8],
    },
    /// Bytes that are no frame. Damage or torn tail: whoever knows what was durable decides.
    Bad(Bad),
}

/// A stretch that holds no readable frame.
#[derive(Clone, Debug)]
pub(crate) struct Bad {
    pub(crate) position: Position,
    /// Where readable frames begin again, or the segment ends.
    pub(crate) end: Position,
    pub(crate) flaw: Flaw,
    /// What the damaged header seems to say. Not to be trusted without a second witness.
    pub(crate) suspect: Option<Summary>,
}

/// Walks a whole segment and shows what it finds, in order, to `visit`.
///
/// Returns the position behind the last frame. What follows there is prepared room (zeros), or was shown as bad.
pub(crate) fn scan(
    segment: &Segment,
    from: Position,
    mut visit: impl FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<Position> {
    let mut end = from;
    let flow = walk(
        segment,
        from,
        None,
        &mut |found| visit(found).map(ControlFlow::Continue),
        &mut end,
    )?;
    debug_assert!(flow.is_continue(), "nothing breaks off this walk");
    Ok(end)
}

/// As [`scan`], but no further than `until`, and no further than the visitor wants.
pub(crate) fn scan_until(
    segment: &Segment,
    from: Position,
    until: Position,
    mut visit: impl FnMut(Found<'_>) -> io::Result<ControlFlow<()>>,
) -> io::Result<ControlFlow<()>> {
    walk(segment, from, Some(until), &mut visit, &mut Position::default())
}

/// The frame at `position` if one lies there, else the beginning of the segment: a place from which to walk on.
pub(crate) fn boundary(segment: &Segment, position: Position) -> io::Result<Position> {
    if position <= segment.first || segment.place(position).is_none() {
        return Ok(segment.first);
    }
    let sound = Window::new(segment)?.envelope(position)?.is_ok();
    Ok(if sound { position } else { segment.first })
}

type Visit<'a> = dyn FnMut(Found<'_>) -> io::Result<ControlFlow<()>> + 'a;

fn walk(
    segment: &Segment,
    from: Position,
    until: Option<Position>,
    visit: &mut Visit<'_>,
    end: &mut Position,
) -> io::Result<ControlFlow<()>> {
    let mut window = Window::new(segment)?;
    if let Some(until) = until {
        window.end = window.end.min(until);
    }
    let mut at = from;
    loop {
        *end = at;
        at = match segment.held_from(at) {
            Some(held) => held,
            // Everything from here on was thinned out.
            None => return Ok(ControlFlow::Continue(())),
        };
        let flaw = match window.envelope(at)? {
            Ok(envelope) if envelope.end() > window.limit(at) => Flaw::Short,
            Ok(envelope) => {
                let sealed = window.sealed(&envelope)?;
                let found = match codec::summarize(sealed) {
                    Ok(summary) => Found::Frame {
                        envelope,
                        summary,
                        sealed,
                    },
                    Err(flaw) => Found::Bad(Bad {
                        position: at,
                        end: envelope.end(),
                        flaw,
                        suspect: codec::guess(sealed).filter(|summary| !summary.is_marker()),
                    }),
                };
                if visit(found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                at = envelope.end();
                continue;
            }
            Err(flaw) => flaw,
        };
        if at >= window.end || (segment.end.is_none() && window.zeros(at)?) {
            return Ok(ControlFlow::Continue(()));
        }
        let next = window.resync(at)?;
        let suspect = window.guess(at)?;
        let bad = Bad {
            position: at,
            end: next.unwrap_or(window.end).min(window.limit(at)),
            flaw,
            suspect,
        };
        if visit(Found::Bad(bad))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match next {
            Some(next) => at = next,
            None => return Ok(ControlFlow::Continue(())),
        }
    }
}

/// The highest position that any envelope of this segment says was durable, damaged neighbours notwithstanding.
///
/// That the segment exists says as much of everything before it: it was given its name only after that was synced.
pub(crate) fn durable_below(segment: &Segment) -> io::Result<Position> {
    let mut window = Window::new(segment)?;
    let mut highest = segment.first;
    let mut at = segment.first;
    loop {
        at = match segment.held_from(at) {
            Some(held) => held,
            None => return Ok(highest),
        };
        match window.envelope(at)? {
            Ok(envelope) => {
                highest = highest.max(envelope.durable_below);
                at = envelope.end();
            }
            Err(_) if at >= window.end || window.zeros(at)? => return Ok(highest),
            Err(_) => match window.resync(at)? {
                Some(next) => at = next,
                None => return Ok(highest),
            },
        }
    }
}

/// The position behind the last byte from `from` on that is not zero.
pub(crate) fn written_to(segment: &Segment, from: Position) -> io::Result<Position> {
    let mut window = Window::new(segment)?;
    let (mut at, mut written) = (from, from);
    loop {
        let bytes = window.view(at, CHUNK)?;
        if bytes.is_empty() {
            return Ok(written);
        }
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            written = Position(at.0 + last as u64 + 1);
        }
        at = Position(at.0 + bytes.len() as u64);
    }
}

/// A sliding view of a segment by position.
struct Window<'a> {
    segment: &'a Segment,
    /// Where the segment's bytes end: at the next segment, or at the end of the file.
    end: Position,
    start: Position,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(segment: &'a Segment) -> io::Result<Self> {
        let file_end = segment.first.0 + segment.file.size()?.saturating_sub(crate::segment::HEADER_LEN);
        // A sealed segment may be longer than its data (a tail that was copied on), or shorter if it was cut: the
        // next segment's name is what counts, and bytes missing below it are damage.
        let end = match &segment.runs {
            Some(runs) => runs.end().unwrap_or(segment.first),
            None => segment.end.unwrap_or(Position(file_end)),
        };
        Ok(Self {
            segment,
            end,
            start: segment.first,
            bytes: Vec::new(),
        })
    }

    /// Up to which position the bytes follow that lie at `at`.
    fn limit(&self, at: Position) -> Position {
        let run_end = self.segment.place(at).map_or(at, |(_, end)| end);
        self.end.min(run_end)
    }

    /// Up to `len` bytes at a position; fewer at the end of the segment, or of what was left of it there.
    fn view(&mut self, at: Position, len: usize) -> io::Result<&[u8]> {
        let Some((offset, _)) = self.segment.place(at) else {
            return Ok(&[]);
        };
        let room = usize::try_from(self.limit(at).0.saturating_sub(at.0)).unwrap_or(usize::MAX);
        let len = len.min(room);
        let have = self.start.0 + self.bytes.len() as u64;
        if at < self.start || at.0 + len as u64 > have {
            let wanted = len.max(CHUNK).min(room);
            self.bytes.resize(wanted, 0);
            let read = files::read_full(&*self.segment.file, &mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = at;
        }
        let skip = usize::try_from(at.0 - self.start.0).map_err(io::Error::other)?;
        let until = (skip + len).min(self.bytes.len());
        Ok(&self.bytes[skip.min(until)..until])
    }

    fn envelope(&mut self, at: Position) -> io::Result<Result<Envelope, Flaw>> {
        Ok(Envelope::parse_at(self.view(at, ENVELOPE_LEN)?, at))
    }

    fn sealed(&mut self, envelope: &Envelope) -> io::Result<&[u8]> {
        let at = Position(envelope.position.0 + ENVELOPE_LEN as u64);
        self.view(at, envelope.sealed_len as usize)
    }

    /// What a frame with an unreadable envelope at `at` seems to have been.
    fn guess(&mut self, at: Position) -> io::Result<Option<Summary>> {
        let at = Position(at.0 + ENVELOPE_LEN as u64);
        let bytes = self.view(at, codec::MAX_HEADER)?;
        Ok(codec::guess(bytes).filter(|summary| !summary.is_marker()))
    }

    /// Whether nothing but prepared room follows.
    fn zeros(&mut self, from: Position) -> io::Result<bool> {
        let mut at = from;
        loop {
            let bytes = self.view(at, CHUNK)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = Position(at.0 + bytes.len() as u64);
        }
    }

    /// The next place after `at` where an envelope says that it lies just there.
    fn resync(&mut self, at: Position) -> io::Result<Option<Position>> {
        // What was left of a thinned segment goes on behind this run, whatever lies in it.
        let next_run = self.segment.runs.as_ref().and_then(|runs| {
            let (_, run_end) = runs.place(at)?;
            runs.held_from(run_end).filter(|next| *next < self.end)
        });
        let mut at = Position(at.0 + 1);
        loop {
            let bytes = self.view(at, CHUNK)?;
            if bytes.len() < ENVELOPE_LEN {
                return Ok(next_run);
            }
            let found = (0..=bytes.len() - ENVELOPE_LEN).find(|offset| {
                let bytes = &bytes[*offset..];
                bytes[0] == MAGIC[0] && Envelope::parse_at(bytes, Position(at.0 + *offset as u64)).is_ok()
            });
            match found {
                Some(offset) => return Ok(Some(Position(at.0 + offset as u64))),
                None => at = Position(at.0 + (bytes.len() - ENVELOPE_LEN + 1) as u64),
            }
        }
    }
}
