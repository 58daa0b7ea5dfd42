//! Scrubbing: reading what is sealed, so that damage is met before anybody needs the frame.
//!
//! A session may rest for months, and wake from a snapshot without reading what lies before it. Whoever reads all sealed
//! segments now and then finds what the disk has lost while a backup still has it.

use std::io;
use std::ops::ControlFlow;

use super::LocalJournal;
use crate::codec;
use crate::damage::{Damage, Lost};
use crate::id::{Position, Seq};
use crate::journal::ReadError;
use crate::scan::{self, Bad, Found};

/// What a stretch of the journal was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Go on from here; `None` once all that is sealed was read.
    pub next: Option<Position>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Streams that lost a frame here. They are quarantined from now on.
    pub damaged: Vec<Damage>,
    /// Damaged bytes in which no frame of any stream lay that still counts.
    pub lost: Vec<Lost>,
}

impl LocalJournal {
    /// Reads the sealed segments from `from` on, at least one frame and about `most` bytes, and quarantines what has lost
    /// a frame there. Begin with the default position. Blocks on the disk; others go on meanwhile.
    ///
    /// # Errors
    /// [`ReadError::Io`] when a segment cannot be read.
    pub fn scrub(&self, from: Position, most: u64) -> Result<Scrubbed, ReadError> {
        let io_error = |error: io::Error| ReadError::Io {
            what: "a segment".into(),
            reason: error.to_string(),
        };
        let settled = self.index.settled();
        let segments = &self.index.segments;
        let mut scrubbed = Scrubbed::default();
        let mut bads = Vec::new();
        for first in segments.firsts() {
            let segment = segments.get(first).map_err(io_error)?;
            let Some(end) = segment.end.filter(|end| *end <= settled) else {
                break;
            };
            if end <= from {
                continue;
            }
            // Where the last step ended a frame begins, or a stretch that is none.
            let begin = from.max(first);
            let mut next = None;
            let flow = scan::scan_until(&segment, begin, end, |found| {
                let (at, behind) = match &found {
                    Found::Frame { envelope, .. } => (envelope.position, envelope.end()),
                    Found::Bad(bad) => (bad.position, bad.end),
                };
                match found {
                    Found::Bad(bad) => bads.push(bad),
                    Found::Frame {
                        envelope,
                        summary,
                        sealed,
                    } if !summary.is_marker() => {
                        if let Err(flaw) = codec::open(sealed, envelope.position) {
                            let suspect = None;
                            bads.push(Bad {
                                position: at,
                                end: behind,
                                flaw,
                                suspect,
                            });
                        }
                    }
                    Found::Frame { .. } => {}
                }
                scrubbed.bytes += behind.0 - at.0;
                next = Some(behind);
                Ok(if scrubbed.bytes >= most {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                })
            })
            .map_err(io_error)?;
            if flow.is_break() {
                scrubbed.next = next;
                break;
            }
        }
        for bad in &bads {
            self.attribute(bad, &mut scrubbed)?;
        }
        Ok(scrubbed)
    }

    /// Whose frames lay in a bad stretch: the catalogue knows where each of them began.
    fn attribute(&self, bad: &Bad, scrubbed: &mut Scrubbed) -> Result<(), ReadError> {
        let here = self
            .index
            .with_catalogue(|catalogue| catalogue.frames_between(bad.position, bad.end))?;
        if here.is_empty() {
            scrubbed.lost.push(Lost::new(bad));
        }
        for (stream, span) in here {
            let readable_to = Seq(span.first_seq.0.saturating_sub(1));
            let kind = self.index.kind(stream)?;
            let damage = Damage::of_frame(stream, kind, readable_to, bad.position, &bad.flaw);
            // What a repair continued over, or was removed, is no damage any more.
            self.index.quarantine(damage.clone());
            if self.index.damage(stream).is_some() {
                scrubbed.damaged.push(damage);
            }
        }
        Ok(())
    }
}
