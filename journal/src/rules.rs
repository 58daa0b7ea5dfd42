//! What makes a draft acceptable: pure rules, the same for every journal of this crate.

use std::borrow::Cow;

use crate::codec::{self, Summary};
use crate::damage::SetAside;
use crate::id::{ChainHash, Epoch, Seq, StreamId};
use crate::journal::{Draft, Gap, SubmitError};
use crate::record::{Head, NewRecord, Standing};
use crate::sabotage;

/// Most payload bytes one frame may carry. Larger bodies belong in a blob.
pub const MAX_FRAME_PAYLOAD: usize = 1 << 20;
/// Most records one frame may carry.
pub const MAX_FRAME_RECORDS: usize = 4096;
/// Longest name of a record type, in bytes.
pub const MAX_TYPE_NAME: usize = 64;
/// Longest kind of a stream, in bytes.
pub const MAX_KIND: usize = 32;
/// Longest name in [`Standing::Waits`], in bytes.
pub const MAX_WAIT_NAME: usize = 64;

/// Kind of a stream that was removed: what is left of it is the frame that says so.
pub const REMOVED: &str = "removed";

/// A draft that is well formed, already encoded on the caller's thread.
///
/// The committer is the one thread everybody waits for, so that whatever needs no order is done before it.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) stream: StreamId,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) epoch: Epoch,
    pub(crate) expected: Seq,
    pub(crate) time_ms: u64,
    pub(crate) standing: Standing,
    pub(crate) count: u32,
    /// The frame as it will be sealed, but for what only its place in the chain tells ([`codec::unsealed`]).
    pub(crate) unsealed: Vec<u8>,
    /// Set when the stream continues over a gap.
    pub(crate) over_gap: Option<Gap>,
    /// Whether it comes from another place, with the epoch it was written under there.
    pub(crate) imported: bool,
}

impl Intent {
    /// Checks what can be checked without knowing the stream.
    pub(crate) fn new(draft: Draft) -> Result<Self, SubmitError> {
        Self::over(draft, None)
    }

    /// As [`Intent::new`], for a frame that may continue over a gap.
    pub(crate) fn over(draft: Draft, over_gap: Option<Gap>) -> Result<Self, SubmitError> {
        check_shape(&draft).map_err(|reason| SubmitError::Invalid { reason })?;
        let unsealed = codec::unsealed(&draft, over_gap.map(|gap| gap.resumes_after));
        Ok(Self {
            stream: draft.stream,
            kind: draft.kind,
            epoch: draft.epoch,
            expected: draft.expected,
            time_ms: draft.time_ms,
            standing: draft.standing,
            count: u32::try_from(draft.records.len()).expect("check_shape bounds the number of records"),
            unsealed,
            over_gap,
            imported: false,
        })
    }

    /// Checks this frame against the stream it wants to extend; `fence` is the oldest epoch that may still write.
    ///
    /// A stale writer is told so even when its `expected` is wrong as well: it must stop, not reload.
    pub(crate) fn admit(&self, head: Option<&Head>, fence: Epoch) -> Result<(), SubmitError> {
        // Nobody here writes to a stream that is being imported, so only its own epochs count.
        let fence = if self.imported { Epoch::default() } else { fence };
        let holder = head.map_or(fence, |head| head.epoch.max(fence));
        if self.epoch < holder && !sabotage::is_on("skip-the-epoch-check") {
            return Err(SubmitError::Fenced {
                stream: self.stream,
                holder,
                offered: self.epoch,
            });
        }
        let at = head.map_or(Seq::ZERO, |head| head.seq);
        let beyond_the_gap = self
            .over_gap
            .is_some_and(|gap| self.expected >= at && gap.resumes_after <= at);
        if self.expected != at && !beyond_the_gap && !sabotage::is_on("skip-the-expected-check") {
            return Err(SubmitError::Conflict {
                stream: self.stream,
                expected: self.expected,
                head: at,
            });
        }
        if let Some(head) = head {
            if self.time_ms < head.time_ms {
                return Err(SubmitError::Invalid {
                    reason: format!("time fell from {} ms to {} ms", head.time_ms, self.time_ms),
                });
            }
            if self.kind != head.kind && !self.is_removal() {
                return Err(SubmitError::Invalid {
                    reason: format!(
                        "the stream is of kind {:?}, the frame says {:?}",
                        head.kind, self.kind
                    ),
                });
            }
        }
        Ok(())
    }

    /// Whether it takes the place of the whole stream.
    pub(crate) fn is_removal(&self) -> bool {
        self.over_gap.is_some_and(|gap| gap.resumes_after == Seq::ZERO)
    }

    /// Where the stream stands once this frame is on disk.
    pub(crate) fn into_head(self, hash: ChainHash) -> Head {
        Head {
            seq: self.last_seq(),
            stream: self.stream,
            kind: self.kind,
            hash,
            epoch: self.epoch,
            time_ms: self.time_ms,
            standing: self.standing,
        }
    }

    /// Seq of the last record, once it is written.
    pub(crate) fn last_seq(&self) -> Seq {
        self.expected.plus(u64::from(self.count))
    }
}

fn check_shape(draft: &Draft) -> Result<(), String> {
    if draft.stream == StreamId::MARKER {
        return Err("the marker stream holds no records".into());
    }
    if draft.records.is_empty() {
        return Err("a frame holds at least one record".into());
    }
    if draft.records.len() > MAX_FRAME_RECORDS {
        return Err(format!(
            "{} records, at most {MAX_FRAME_RECORDS}",
            draft.records.len()
        ));
    }
    check_name("kind", &draft.kind, MAX_KIND)?;
    if let Standing::Waits(name) = &draft.standing {
        check_name("name of a wait", name, MAX_WAIT_NAME)?;
    }
    if draft.expected.0.checked_add(MAX_FRAME_RECORDS as u64).is_none() {
        return Err(format!("seq {} leaves no room for records", draft.expected));
    }
    draft.records.iter().try_for_each(check_record)?;
    let payload: usize = draft.records.iter().map(|record| record.payload.len()).sum();
    if payload > MAX_FRAME_PAYLOAD {
        return Err(format!(
            "{payload} payload bytes, at most {MAX_FRAME_PAYLOAD}; keep large bodies in a blob"
        ));
    }
    Ok(())
}

fn check_record(record: &NewRecord) -> Result<(), String> {
    check_name("record type", &record.type_name, MAX_TYPE_NAME)?;
    if record.type_version == 0 {
        return Err(format!("{}: type versions count from 1", record.type_name));
    }
    Ok(())
}

/// Names are printable ASCII, so that they can be keys of an index and words of a command line.
fn check_name(what: &str, name: &str, most: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > most || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{what} {name:?} is not 1 to {most} printable ASCII characters"
        ));
    }
    Ok(())
}

/// Checks that a frame read back is the one right after `head`: what [`Intent::admit`] checked before the write.
pub(crate) fn follows(head: Option<&Head>, frame: &Summary) -> Result<(), String> {
    let (seq, hash) = head.map_or((Seq::ZERO, ChainHash::ZERO), |head| (head.seq, head.hash));
    if let Some(resumes_after) = frame.resumes_after {
        return follows_over_gap(seq, hash, resumes_after, frame).and_then(|()| never_falls(head, frame));
    }
    if frame.first_seq != seq.next() {
        return Err(format!("seq {} follows seq {seq}", frame.first_seq));
    }
    if frame.previous != hash {
        return Err(format!(
            "seq {} names {} as its predecessor, which is {hash}",
            frame.first_seq, frame.previous
        ));
    }
    never_falls(head, frame)
}

/// A frame over a gap names the last frame that stands, and a seq above all that were ever given.
///
/// What is known here ends either with that frame (the next one was lost), or beyond it (the next one is there and cannot
/// be folded); in the second case whoever reads the stream compares the hashes.
fn follows_over_gap(seq: Seq, hash: ChainHash, resumes_after: Seq, frame: &Summary) -> Result<(), String> {
    if resumes_after > seq || frame.first_seq <= seq {
        return Err(format!(
            "seq {} continues after seq {resumes_after}, the last one is {seq}",
            frame.first_seq
        ));
    }
    if resumes_after == seq && frame.previous != hash {
        return Err(format!(
            "seq {} names {} as its predecessor, which is {hash}",
            frame.first_seq, frame.previous
        ));
    }
    Ok(())
}

fn never_falls(head: Option<&Head>, frame: &Summary) -> Result<(), String> {
    let Some(head) = head else { return Ok(()) };
    if frame.head.time_ms < head.time_ms {
        return Err(format!("time falls at seq {}", frame.first_seq));
    }
    if frame.head.epoch < head.epoch {
        return Err(format!(
            "the epoch falls from {} to {} at seq {}",
            head.epoch, frame.head.epoch, frame.first_seq
        ));
    }
    let removes = SetAside::by(frame).is_some_and(|aside| aside.is_removal());
    if frame.head.kind != head.kind && !removes {
        return Err(format!("the kind changes at seq {}", frame.first_seq));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-LOG-1, B-LOG-6: each thing that a frame must share with its predecessor is checked by itself.
    #[test]
    fn a_frame_that_does_not_follow_is_told_apart_by_each_of_its_fields() {
        let head = Head {
            stream: StreamId::named("session", "local", "a"),
            kind: "session".into(),
            seq: Seq(7),
            hash: ChainHash([1; 16]),
            epoch: Epoch::new(2, 5),
            time_ms: 1_000,
            standing: Standing::Owed,
        };
        let sound = Summary {
            head: Head {
                seq: Seq(9),
                hash: ChainHash([2; 16]),
                ..head.clone()
            },
            previous: ChainHash([1; 16]),
            first_seq: Seq(8),
            count: 2,
            resumes_after: None,
        };
        assert_eq!(follows(Some(&head), &sound), Ok(()));
        let with = |change: fn(&mut Summary)| {
            let mut changed = sound.clone();
            change(&mut changed);
            changed
        };
        for (what, wrong) in [
            ("a gap", with(|frame| frame.first_seq = Seq(9))),
            ("a repeat", with(|frame| frame.first_seq = Seq(7))),
            (
                "another predecessor",
                with(|frame| frame.previous = ChainHash([3; 16])),
            ),
            ("falling time", with(|frame| frame.head.time_ms = 999)),
            (
                "a falling epoch",
                with(|frame| frame.head.epoch = Epoch::new(2, 4)),
            ),
            ("another kind", with(|frame| frame.head.kind = "task".into())),
        ] {
            assert!(follows(Some(&head), &wrong).is_err(), "{what}");
        }
        assert!(follows(None, &sound).is_err(), "a first frame that is none");
        assert_eq!(
            follows(
                None,
                &Summary {
                    first_seq: Seq(1),
                    previous: ChainHash::ZERO,
                    ..sound
                }
            ),
            Ok(())
        );
    }
}
