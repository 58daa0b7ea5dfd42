//! Which positions of a thinned segment are still there, and where in its file they lie.
//!
//! A position is the name of a frame for as long as the frame exists: it stands in its envelope, in the catalogue and in the
//! cursors of whoever follows the journal. So thinning a segment moves no frame to another position. The frames that stay
//! are packed in the file, and this table, written before them, says which stretches of positions (*runs*) they are:
//!
//! ```text
//! offset 64   magic    length  runs                                    crc32c
//!             8c "LHR" u32     (gap before it, its length) * , varints of everything before
//! ```
//!
//! The first gap counts from the segment's first position. Every frame says its position itself, so that a table that was
//! damaged is found again from the frames.

use std::io;

use crate::files::{self, DiskFile};
use crate::frame::{ENVELOPE_LEN, Envelope, MAGIC as FRAME_MAGIC};
use crate::id::Position;
use crate::segment::HEADER_LEN;

/// The bytes a table begins with, where a dense segment has the magic of its first frame.
pub(crate) const MAGIC: [u8; 4] = *b"\x8cLHR";
/// Magic and length.
const HEAD: usize = 8;
/// The largest table that is believed: a run for every frame of a segment that is far larger than any.
const MOST: u32 = 64 << 20;
/// Bytes looked through at a time for frames.
const CHUNK: usize = 1 << 20;

/// A stretch of positions that a file holds without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) position: Position,
    pub(crate) len: u64,
    offset: u64,
}

impl Run {
    fn end(&self) -> Position {
        Position(self.position.0 + self.len)
    }
}

/// The runs of one file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    /// The table was damaged, and this one was made from the frames.
    pub(crate) is_rescued: bool,
}

impl Runs {
    /// Adds the next frame, which lies at `position` and takes `len` bytes.
    pub(crate) fn push(&mut self, position: Position, len: u64) {
        match self.runs.last_mut() {
            Some(last) if last.end() == position => last.len += len,
            last => {
                let offset = last.map_or(0, |last| last.offset + last.len);
                self.runs.push(Run {
                    position,
                    len,
                    offset,
                });
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }

    /// Position behind the last one that is there.
    pub(crate) fn end(&self) -> Option<Position> {
        self.runs.last().map(Run::end)
    }

    /// The first position from `position` on that is there.
    pub(crate) fn held_from(&self, position: Position) -> Option<Position> {
        let run = self.runs.get(self.after(position))?;
        Some(run.position.max(position))
    }

    /// Where in the file a position lies, and where its run ends.
    pub(crate) fn place(&self, position: Position) -> Option<(u64, Position)> {
        let run = self.runs.get(self.after(position))?;
        let into = position.0.checked_sub(run.position.0)?;
        Some((run.offset + into, run.end()))
    }

    /// Index of the first run that ends behind a position.
    fn after(&self, position: Position) -> usize {
        self.runs.partition_point(|run| run.end() <= position)
    }

    /// The table for a segment that begins at `first`.
    pub(crate) fn encode(&self, first: Position) -> Vec<u8> {
        let mut body = Vec::new();
        let mut at = first;
        for run in &self.runs {
            put_varint(&mut body, run.position.0 - at.0);
            put_varint(&mut body, run.len);
            at = run.end();
        }
        let len = u32::try_from(body.len()).expect("a segment has far fewer frames");
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&body);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// What a segment file holds whose header says that it was thinned (`is_certain`), or says nothing sound at all: then
    /// it is dense (`None`) unless a table lies in it.
    pub(crate) fn read(
        file: &dyn DiskFile,
        first: Position,
        end: Option<Position>,
        is_certain: bool,
    ) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD];
        let read = files::read_full(file, &mut head, HEADER_LEN)?;
        let has_magic = read == HEAD && head[..4] == MAGIC;
        if !has_magic && !is_certain {
            return Ok(None);
        }
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if has_magic && u64::from(len) <= file.size()?.min(MOST.into()) {
            let mut table = vec![0; HEAD + len as usize + 4];
            let read = files::read_full(file, &mut table, HEADER_LEN)?;
            if let Some(runs) = Self::decode(&table[..read], first, end) {
                return Ok(Some(runs));
            }
        }
        tracing::warn!(segment = %first, "the table of a thinned segment is damaged; it is made anew from the frames");
        Self::rescue(file, first, end).map(Some)
    }

    fn decode(table: &[u8], first: Position, end: Option<Position>) -> Option<Self> {
        let (body, crc) = table.split_at_checked(table.len().checked_sub(4)?)?;
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return None;
        }
        let mut rest = body.get(HEAD..)?;
        let mut runs = Self::default();
        let (mut at, mut offset) = (first.0, HEADER_LEN + table.len() as u64);
        while !rest.is_empty() {
            let position = at.checked_add(take_varint(&mut rest)?)?;
            let len = take_varint(&mut rest)?;
            at = position.checked_add(len)?;
            runs.runs.push(Run {
                position: Position(position),
                len,
                offset,
            });
            offset = offset.checked_add(len)?;
        }
        (len_fits(at, end)).then_some(runs)
    }

    /// Makes the table anew: whatever says soundly that it is a frame of this segment, in order, is one.
    fn rescue(file: &dyn DiskFile, first: Position, end: Option<Position>) -> io::Result<Self> {
        let mut runs = Self {
            is_rescued: true,
            ..Self::default()
        };
        let (mut offset, mut at) = (HEADER_LEN, first);
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = files::read_full(file, &mut buffer, offset)?;
            if read < ENVELOPE_LEN {
                return Ok(runs);
            }
            let found = (0..=read - ENVELOPE_LEN).find_map(|skip| {
                if buffer[skip] != FRAME_MAGIC[0] {
                    return None;
                }
                let envelope = Envelope::parse(&buffer[skip..read]).ok()?;
                (envelope.position >= at && len_fits(envelope.end().0, end)).then_some((skip, envelope))
            });
            match found {
                Some((skip, envelope)) => {
                    let lies_at = offset + skip as u64;
                    match runs.runs.last_mut() {
                        Some(last)
                            if last.end() == envelope.position && last.offset + last.len == lies_at =>
                        {
                            last.len += envelope.frame_len();
                        }
                        _ => runs.runs.push(Run {
                            position: envelope.position,
                            len: envelope.frame_len(),
                            offset: lies_at,
                        }),
                    }
                    (offset, at) = (lies_at + envelope.frame_len(), envelope.end());
                }
                None => offset += (read - ENVELOPE_LEN + 1) as u64,
            }
        }
    }
}

fn len_fits(at: u64, end: Option<Position>) -> bool {
    end.is_none_or(|end| at <= end.0)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
