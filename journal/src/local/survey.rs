//! What may ever have been said in a stream, read from every segment: for whoever continues it over a gap.

use std::io;
use std::ops::ControlFlow;

use crate::codec::Summary;
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::rules::MAX_FRAME_RECORDS;
use crate::scan::{self, Bad, Found};
use crate::segment::Segments;

/// Fewest bytes that one record takes in a frame.
const LEAST_RECORD: u64 = 5;

/// The highest seq of a stream that was given to a record below `durable`, readable or not.
///
/// A damaged frame counts if its header names the stream, or the stream's last hash as its predecessor. How many records
/// it held is believed as far as there are bytes for them: too many only leaves numbers unused.
pub(super) fn highest_seen(segments: &Segments, stream: StreamId, durable: Position) -> io::Result<Seq> {
    let (mut highest, mut last) = (Seq::ZERO, ChainHash::ZERO);
    for first in segments.firsts() {
        let segment = segments.get(first)?;
        let flow = scan::scan_until(&segment, first, durable, |found| {
            match found {
                Found::Frame { summary, .. } if summary.head.stream == stream => {
                    highest = highest.max(summary.head.seq);
                    last = summary.head.hash;
                }
                Found::Bad(
                    ref bad @ Bad {
                        suspect: Some(ref suspect),
                        ..
                    },
                ) if suspect.head.stream == stream || last != ChainHash::ZERO && suspect.previous == last => {
                    highest = highest.max(last_of(bad, suspect, highest));
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(highest)
}

/// The last seq that a damaged frame may have held, if its header can be believed at all.
fn last_of(bad: &Bad, suspect: &Summary, before: Seq) -> Seq {
    let room = ((bad.end.0 - bad.position.0) / LEAST_RECORD).min(MAX_FRAME_RECORDS as u64);
    let count = u64::from(suspect.count);
    if suspect.first_seq == before.next() && (1..=room).contains(&count) {
        before.plus(count)
    } else {
        before.plus(room)
    }
}
