//! Reads the frames of all streams in the order they were written.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec;
use crate::id::Position;
use crate::journal::Limit;
use crate::record::Frame;
use crate::scan::{self, Found};
use crate::segment::{Segment, Segments};

/// Frames at positions above `after` and below `durable`.
///
/// Damaged stretches are passed over with a warning: whoever follows all streams must not be stopped for ever by one,
/// and the stream itself refuses to be read beyond its gap.
pub(crate) fn read_all(
    segments: &Segments,
    after: Position,
    durable: Position,
    limit: Limit,
) -> io::Result<Vec<Arc<Frame>>> {
    let mut frames: Vec<Arc<Frame>> = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    let mut segment = match segments.containing(after)? {
        Some(segment) => Some(segment),
        None => segments
            .firsts()
            .first()
            .map(|first| segments.get(*first))
            .transpose()?,
    };
    while let Some(here) = segment.filter(|segment| segment.first < durable) {
        let flow = scan::scan_until(&here, scan::boundary(&here, after)?, durable, |found| {
            let (envelope, sealed) = match found {
                Found::Frame { summary, .. } if summary.is_marker() => return Ok(ControlFlow::Continue(())),
                Found::Frame { envelope, .. } if envelope.position <= after => {
                    return Ok(ControlFlow::Continue(()));
                }
                Found::Frame { envelope, sealed, .. } => (envelope, sealed),
                Found::Bad(bad) => {
                    tracing::warn!(position = %bad.position, flaw = %bad.flaw, "a damaged frame is passed over");
                    return Ok(ControlFlow::Continue(()));
                }
            };
            let frame = match codec::open(sealed, envelope.position) {
                Ok(frame) => frame,
                Err(flaw) => {
                    tracing::warn!(position = %envelope.position, %flaw, "a damaged frame is passed over");
                    return Ok(ControlFlow::Continue(()));
                }
            };
            records += frame.records.len();
            bytes += frame.payload_bytes();
            if !frames.is_empty() && (records > limit.records || bytes > limit.bytes) {
                return Ok(ControlFlow::Break(()));
            }
            frames.push(Arc::new(frame));
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            break;
        }
        segment = next(segments, &here)?;
    }
    Ok(frames)
}

fn next(segments: &Segments, segment: &Segment) -> io::Result<Option<Segment>> {
    segment.end.map(|end| segments.get(end)).transpose()
}
