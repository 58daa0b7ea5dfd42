//! Proving that nothing acknowledged was lost or changed, from the segments alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::acknowledged;
use crate::blobs::{BlobError, BlobId, Blobs};
use crate::codec::{self, Summary};
use crate::damage::{Damage, Lost, SetAside, blame};
use crate::files::RealDisk;
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::local::blobs::LocalBlobs;
use crate::offline::{Entry, Offline, OfflineError, directory_format};
use crate::portable::blobs_named_in;
use crate::record::Head;
use crate::rules;
use crate::scan::{Bad, Found};

/// What walking every chain brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Streams met.
    pub streams: u64,
    /// Frames that are sound, markers not counted.
    pub frames: u64,
    /// Their records.
    pub records: u64,
    /// Everything below this position was looked at.
    pub durable_below: Position,
    /// Streams that lost a frame; the first bad seq is the one after `readable_to`.
    pub damaged: Vec<Damage>,
    /// Gaps that streams were continued over; what lies in them is lost, or set aside, and is no damage any more.
    pub repaired: Vec<Repaired>,
    /// Streams that were removed; what is still there of them counts no more.
    pub removed: u64,
    /// Damaged bytes that no stream could be blamed for.
    pub lost: Vec<Lost>,
    /// The same, where somebody has said that it is known ([`crate::acknowledge_lost`]).
    pub known_lost: Vec<Lost>,
    /// Whole frames that are not known to be durable yet.
    pub unconfirmed_frames: u64,
    /// Bytes of a write that never finished. No damage: nobody was told of it.
    pub torn_bytes: u64,
    /// The last readable seq and hash of every stream: what to note elsewhere, and hand over as the expected head.
    pub heads: BTreeMap<StreamId, (Seq, ChainHash)>,
    /// Whether the expected head was found; `None` when none was given.
    pub head: Option<HeadCheck>,
}

/// A gap that a stream was continued over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The stream.
    pub stream: StreamId,
    /// What kind of stream it is.
    pub kind: String,
    /// The last seq that stands before the gap.
    pub resumes_after: Seq,
    /// The seq it goes on with.
    pub first_seq: Seq,
}

/// What became of a head that was noted elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadCheck {
    /// The stream holds a frame with this hash, so its history up to there is what it was.
    Holds {
        /// Seq of the last record of that frame.
        seq: Seq,
    },
    /// No frame of the stream has this hash: its history is another one, or was cut before it.
    Missing,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.lost.is_empty() && self.head != Some(HeadCheck::Missing)
    }
}

/// Walks every chain of the journal in a data directory; it may be in use.
///
/// Each frame is checked for its checksums, its place, its predecessor's hash, dense seqs, and that neither time nor epoch
/// falls. `expected_head` proves against a hash noted elsewhere that the stream was not rewritten as a whole.
///
/// # Errors
/// When there is no journal, a newer version wrote it, or it cannot be read. Damage is in the report.
pub fn verify(
    folder: &Path,
    expected_head: Option<(StreamId, ChainHash)>,
) -> Result<VerifyReport, OfflineError> {
    let offline = Offline::open(folder)?;
    let mut walk = Walk {
        expected_head,
        ..Walk::default()
    };
    walk.report.head = expected_head.map(|_| HeadCheck::Missing);
    offline.scan(|found| {
        walk.see(found);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut report = walk.finish();
    let noted = acknowledged::read(folder)?;
    (report.known_lost, report.lost) = report
        .lost
        .into_iter()
        .partition(|lost| acknowledged::holds(&noted, lost));
    report.durable_below = offline.durable_below();
    (report.unconfirmed_frames, report.torn_bytes) = offline.beyond()?;
    Ok(report)
}

/// A body whose bytes are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBlob {
    /// Its name, which is the hash it should have.
    pub id: BlobId,
    /// Streams whose records name it.
    pub streams: BTreeSet<StreamId>,
}

/// Reads every body of a data directory, which may be in use, and returns those that do not have the hash they are named
/// by, with the streams that need them. How many bodies there are comes with it.
///
/// A body that is missing cannot be found in this way: a record may speak of any hash.
///
/// # Errors
/// When a newer version wrote the directory, or the bodies or the journal cannot be read.
pub fn verify_blobs(folder: &Path) -> Result<(u64, Vec<BadBlob>), OfflineError> {
    directory_format(folder)?;
    let blobs = LocalBlobs::of(Arc::new(RealDisk), &folder.join("blobs"));
    let (mut count, mut bad) = (0, BTreeMap::new());
    for id in blobs.ids()? {
        match blobs.get(id) {
            Ok(_) => count += 1,
            Err(BlobError::Damaged(id)) => {
                count += 1;
                bad.insert(id, BTreeSet::new());
            }
            // Swept meanwhile.
            Err(BlobError::NotFound(_)) => {}
            Err(BlobError::Io(error)) => return Err(error.into()),
        }
    }
    if !bad.is_empty() {
        Offline::open(folder)?.walk(None, |entry| {
            if let Entry::Frame(frame) = entry {
                for id in blobs_named_in(&frame) {
                    if let Some(streams) = bad.get_mut(&id) {
                        streams.insert(frame.stream);
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
    }
    let bad = bad.into_iter().map(|(id, streams)| BadBlob { id, streams });
    Ok((count, bad.collect()))
}

#[derive(Debug, Default)]
struct Walk {
    expected_head: Option<(StreamId, ChainHash)>,
    heads: HashMap<StreamId, Head>,
    damaged: BTreeMap<StreamId, Damage>,
    bads: Vec<Bad>,
    /// With the hash of the last frame that stands.
    repaired: Vec<(StreamId, SetAside, ChainHash)>,
    report: VerifyReport,
}

impl Walk {
    fn see(&mut self, found: Found<'_>) {
        let (envelope, summary, sealed) = match found {
            Found::Bad(bad) => return self.bads.push(bad),
            Found::Frame { summary, .. } if summary.is_marker() => return,
            Found::Frame {
                envelope,
                summary,
                sealed,
            } => (envelope, summary, sealed),
        };
        let stream = summary.head.stream;
        if self.damaged.contains_key(&stream) && summary.resumes_after.is_none() {
            return;
        }
        let before = self.heads.get(&stream);
        let sound = rules::follows(before, &summary)
            .and_then(|()| codec::open(sealed, envelope.position).map_err(|flaw| flaw.to_string()));
        if let Err(reason) = sound {
            let damage = Damage::of_break(before, &summary, reason);
            self.damaged.entry(stream).or_insert(damage);
            return;
        }
        if let Some(aside) = SetAside::by(&summary) {
            self.damaged.remove(&stream);
            self.repaired.push((stream, aside, summary.previous));
        }
        self.report.frames += 1;
        self.report.records += u64::from(summary.count);
        if self.expected_head == Some((stream, summary.head.hash)) {
            self.report.head = Some(HeadCheck::Holds {
                seq: summary.head.seq,
            });
        }
        self.heads.insert(stream, summary.head);
    }

    fn finish(mut self) -> VerifyReport {
        for bad in &self.bads {
            let in_a_gap = |suspect: &Summary| {
                self.repaired.iter().any(|(stream, aside, previous)| {
                    *stream == suspect.head.stream && aside.covers(suspect.first_seq)
                        || suspect.previous == *previous && aside.resumes_after > Seq::ZERO
                })
            };
            if bad.suspect.as_ref().is_some_and(in_a_gap) {
                continue;
            }
            let heads = &self.heads;
            let blamed = blame(
                bad,
                |stream| Ok::<_, std::convert::Infallible>(heads.get(&stream).cloned()),
                |hash| Ok(heads.values().find(|head| head.hash == hash).cloned()),
            );
            match blamed {
                Ok(Some(damage)) => drop(self.damaged.entry(damage.stream).or_insert(damage)),
                Ok(None) => self.report.lost.push(Lost::new(bad)),
                Err(never) => match never {},
            }
        }
        let (removed, repaired): (Vec<_>, Vec<_>) =
            self.repaired.iter().partition(|(_, aside, _)| aside.is_removal());
        self.report.removed = removed.len() as u64;
        let repaired = repaired.iter().map(|(stream, aside, _)| Repaired {
            stream: *stream,
            kind: self
                .heads
                .get(stream)
                .map_or_else(String::new, |head| head.kind.to_string()),
            resumes_after: aside.resumes_after,
            first_seq: aside.first_seq,
        });
        self.report.repaired = repaired.collect();
        self.report.streams = self.heads.len() as u64;
        self.report.heads = self
            .heads
            .into_iter()
            .map(|(stream, head)| (stream, (head.seq, head.hash)))
            .collect();
        self.report.damaged = self.damaged.into_values().collect();
        self.report
    }
}
