//! Thinning: sealed segments that hold mostly frames of removed streams are written anew without them.
//!
//! A frame that stays keeps its bytes and its position, so that nothing else has to change with it: not the catalogue, not
//! a cursor, not a chain (`docs/decisions/0006`). The new file gets the name of the old one by a rename, after it was
//! synced and read back: at every moment the name stands for one of the two, whole, and both hold every frame that
//! counts. Readers that have the old file open go on in it. So it works beside whoever writes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use super::{LocalJournal, identity};
use crate::files;
use crate::id::{Position, Seq, StreamId};
use crate::journal::{Journal, ReadError};
use crate::rules::REMOVED;
use crate::runs::Runs;
use crate::sabotage;
use crate::scan::{self, Found};
use crate::segment::{self, HEADER_LEN, Segment};

/// Name of a segment that is being written anew.
const UNFINISHED: &str = "thinned.tmp";
/// Streams looked up at a time.
const PAGE: usize = 1000;
/// How long to wait for the indexer; what it has not come to by then stays for the next time.
const INDEXING: Duration = Duration::from_secs(60);
/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

/// Which segments are worth writing anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// Those in which at least so many percent of the bytes belong to removed streams.
    pub at_least_percent: u8,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { at_least_percent: 50 }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Sealed segments that were looked through.
    pub segments: u64,
    /// Those that were written anew.
    pub rewritten: u64,
    /// Those that hold damage: they are left as they are, because what is unreadable today may be read by somebody else.
    pub damaged: u64,
    /// Frames that are gone.
    pub frames: u64,
    /// Bytes that the segment files took less afterwards.
    pub freed: u64,
    /// Bytes of removed streams that are still there: in segments that are not worth it, or not sealed yet.
    pub left: u64,
}

/// The frame that says that a stream was removed.
#[derive(Clone, Copy)]
struct Removal {
    seq: Seq,
    /// Whether it lies in a sealed segment. Until then whoever reads the files by themselves may not know that it is
    /// durable, and would take what is missing before it for damage.
    is_sealed: bool,
}

type Removed = HashMap<StreamId, Removal>;

/// What a segment holds.
#[derive(Default)]
struct Content {
    runs: Runs,
    kept_bytes: u64,
    dead_frames: u64,
    dead_bytes: u64,
    /// What is dead once the frame of removal is sealed.
    dying_bytes: u64,
    damaged: bool,
    /// Of every sealed part that stays, in order.
    proof: blake3::Hasher,
}

impl LocalJournal {
    /// Frees the room of removed streams, where enough of it lies together. Blocks on the disk, and reads all that is
    /// sealed; others may write and read meanwhile. Doing it again after a crash goes on where it stopped.
    ///
    /// # Errors
    /// When the system refuses. Each segment is then either what it was, or thinned.
    pub fn compact(&self, which: Compaction) -> io::Result<CompactionReport> {
        let _one_at_a_time = self.thinning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = CompactionReport::default();
        let segments = &self.index.segments;
        // What is sealed can be indexed.
        if let [_, .., last] = segments.firsts()[..] {
            if let Some(running) = &*self.running.lock().unwrap_or_else(PoisonError::into_inner) {
                let _ = running.nudge.send(last);
            }
            self.index.await_settled(last, INDEXING);
        }
        let settled = self.index.settled();
        let removed = self.removed().map_err(io::Error::other)?;
        if removed.is_empty() {
            return Ok(report);
        }
        for first in segments.firsts() {
            let segment = segments.get(first)?;
            let content = content(&segment, &removed, self.index.durable())?;
            // What is not sealed, or not in the catalogue yet, comes next time.
            let is_ready = segment.end.is_some_and(|end| end <= settled);
            report.segments += u64::from(is_ready);
            report.damaged += u64::from(content.damaged);
            let all = content.kept_bytes + content.dead_bytes;
            let is_worth = content.dead_bytes > 0
                && u128::from(content.dead_bytes) * 100
                    >= u128::from(all) * u128::from(which.at_least_percent);
            let is_worn = segment.runs.as_ref().is_some_and(|runs| runs.is_rescued);
            if !is_ready || content.damaged || !(is_worth || is_worn) {
                report.left += content.dead_bytes + content.dying_bytes;
                continue;
            }
            report.left += content.dying_bytes;
            report.freed += self.rewrite(&segment, content.runs, content.proof)?;
            report.rewritten += 1;
            report.frames += content.dead_frames;
        }
        Ok(report)
    }

    /// Every removed stream, with the frame of it that counts.
    fn removed(&self) -> Result<Removed, ReadError> {
        let (mut removed, mut after) = (HashMap::new(), None);
        loop {
            let page = self.list(REMOVED, after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(removed);
            };
            after = Some(last.stream);
            removed.extend(page.iter().map(|head| {
                let is_sealed =
                    !self.index.is_fresh(head.stream) || sabotage::is_on("thin-before-it-is-sealed");
                (
                    head.stream,
                    Removal {
                        seq: head.seq,
                        is_sealed,
                    },
                )
            }));
        }
    }

    /// Returns how many bytes the file is smaller.
    fn rewrite(&self, old: &Segment, runs: Runs, proof: blake3::Hasher) -> io::Result<u64> {
        let disk = self.index.segments.disk();
        let folder = self.index.segments.folder();
        // Before the first of them is there: an older version would take it for damage.
        if identity::read_format(disk, &self.folder)? != identity::Format::Version(identity::WITH_THINNED) {
            identity::write_format(disk, &self.folder, identity::WITH_THINNED)?;
        }
        let unfinished = folder.join(UNFINISHED);
        let size = self.write_thinned(old, &runs, &unfinished).and_then(|size| {
            self.check(old, &unfinished, proof)?;
            Ok(size)
        });
        let size = match size {
            Ok(size) => size,
            Err(error) => {
                // What stays is removed at the next opening.
                let _ = disk.remove(&unfinished);
                return Err(error);
            }
        };
        let before = old.file.size()?;
        disk.rename(&unfinished, &self.index.segments.path(old.first))?;
        // Readers see the new file from here on, and whichever of the two a power loss leaves is right.
        self.index.segments.add(old.first);
        disk.sync_dir(folder)?;
        tracing::debug!(segment = %old.first, before, after = size, "thinned a segment");
        Ok(before.saturating_sub(size))
    }

    fn write_thinned(&self, old: &Segment, runs: &Runs, path: &Path) -> io::Result<u64> {
        let file = self.index.segments.disk().create(path)?;
        let header = segment::header_of_thinned(self.index.journal, old.first);
        files::write_all(&*file, &header, 0)?;
        let table = runs.encode(old.first);
        files::write_all(&*file, &table, HEADER_LEN)?;
        let mut offset = HEADER_LEN + table.len() as u64;
        let mut buffer = Vec::new();
        for run in runs.iter() {
            let (mut at, end) = (run.position, Position(run.position.0 + run.len));
            while at < end {
                let gone = || io::Error::other("a frame that stays is not where it was");
                let (from, until) = old.place(at).ok_or_else(gone)?;
                let len = (end.0.min(until.0) - at.0).min(CHUNK);
                buffer.resize(usize::try_from(len).map_err(io::Error::other)?, 0);
                if files::read_full(&*old.file, &mut buffer, from)? < buffer.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                files::write_all(&*file, &buffer, offset)?;
                (at, offset) = (Position(at.0 + len), offset + len);
            }
        }
        if !sabotage::is_on("place-an-unsynced-segment") {
            file.sync_data()?;
        }
        Ok(offset)
    }

    /// Reads the new file back: every frame that stays is there, in its place, byte for byte.
    fn check(&self, old: &Segment, path: &Path, proof: blake3::Hasher) -> io::Result<()> {
        let thinned = self.index.segments.open_file(old.first, old.end, path)?;
        let read_back = content(&thinned, &HashMap::new(), Position(u64::MAX))?;
        let is_sound = !read_back.damaged && thinned.is_thinned();
        if is_sound && read_back.proof.finalize() == proof.finalize() {
            Ok(())
        } else {
            Err(io::Error::other(
                "a thinned segment was not read back as it was written",
            ))
        }
    }
}

/// Walks a segment up to `until`, and tells what stays from what was removed.
fn content(segment: &Segment, removed: &Removed, until: Position) -> io::Result<Content> {
    let mut content = Content::default();
    let _ = scan::scan_until(segment, segment.first, until, |found| {
        match found {
            Found::Bad(_) => content.damaged = true,
            Found::Frame { summary, .. } if summary.is_marker() => {}
            Found::Frame {
                envelope,
                summary,
                sealed,
            } => {
                let removal = removed.get(&summary.head.stream);
                let removal = removal.filter(|removal| summary.first_seq < removal.seq);
                if removal.is_some_and(|removal| removal.is_sealed) {
                    content.dead_frames += 1;
                    content.dead_bytes += envelope.frame_len();
                } else {
                    content.dying_bytes += removal.map_or(0, |_| envelope.frame_len());
                    content.kept_bytes += envelope.frame_len();
                    content.runs.push(envelope.position, envelope.frame_len());
                    content.proof.update(&envelope.position.0.to_le_bytes());
                    content.proof.update(sealed);
                }
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(content)
}
