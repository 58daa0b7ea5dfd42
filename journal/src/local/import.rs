//! Taking in a stream from another place: its frames get new envelopes here and keep their sealed parts, byte for byte.

use std::io;

use super::{LocalJournal, identity};
use crate::blobs::{BlobError, Blobs};
use crate::codec::{self, Summary};
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::journal::{Draft, Gap, Journal, Limit, ReadError, SubmitError};
use crate::portable::Portable;
use crate::rules::{Intent, REMOVED};
use crate::sabotage;

/// Why a stream was not taken in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Not imported: the stream is here, and neither history is the beginning of the other.
    #[error("stream {stream} has another history here from seq {differs_at} on")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The first seq that differs.
        differs_at: Seq,
    },
    /// Not imported: the stream was here and was removed, and is not to come back unnoticed. Another directory takes it in.
    #[error("stream {0} was removed from this directory; what was removed is not taken in again")]
    Removed(StreamId),
    /// Not imported: a frame would not become the same bytes here.
    #[error("the frame of seq {0} cannot be written here as it was")]
    Foreign(Seq),
    /// What is here cannot be read, so that it cannot be compared.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A body could not be kept. No frame was written.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Some of the frames may be written. Importing again goes on where it stopped.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The operating system refused. No frame was written.
    #[error("cannot prepare the directory: {0}")]
    Io(#[from] io::Error),
}

/// What an import brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Frames that were not here before.
    pub frames: usize,
    /// Seq of the last record that is here now.
    pub head: Seq,
}

impl LocalJournal {
    /// Takes in a stream; it is inert from before its first new frame until it is adopted. Blocks on the disk.
    ///
    /// What is here already is compared: if it is the beginning of what comes, the rest is added, and the stream belongs to
    /// nobody here any more; if it is all of it or more, nothing changes. Its epochs may be above those of this journal: claims
    /// of it follow them, and the next boot generation is made larger than any of them.
    ///
    /// # Errors
    /// [`ImportError`]; after a crash or an error the same import may be done again.
    pub fn import(&self, portable: &Portable) -> Result<Imported, ImportError> {
        let stream = portable.stream();
        let is_removed = self.head(stream)?.is_some_and(|head| head.kind == REMOVED);
        if is_removed && !sabotage::is_on("take-in-what-was-removed") {
            return Err(ImportError::Removed(stream));
        }
        let here = self.chain(stream)?;
        let differs = portable
            .sealed()
            .zip(&here)
            .find(|((summary, _), hash)| summary.head.hash != **hash);
        if let Some(((summary, _), _)) = differs {
            return Err(ImportError::Conflict {
                stream,
                differs_at: summary.first_seq,
            });
        }
        let new: Vec<_> = portable.sealed().skip(here.len()).collect();
        let head = match new.last() {
            Some((summary, _)) => summary.head.seq,
            None => self.head(stream)?.map_or(Seq::ZERO, |head| head.seq),
        };
        let intents = new
            .iter()
            .map(|(summary, sealed)| intent(summary, sealed))
            .collect::<Result<Vec<_>, _>>()?;
        if !intents.is_empty() {
            let boot = new.iter().map(|(summary, _)| summary.head.epoch.boot()).max();
            if let Some(boot) = boot.filter(|boot| *boot > self.boot()) {
                identity::write_boot(&*self.disk, &self.folder, boot)?;
            }
            for mut body in portable.bodies() {
                self.blobs.put(&mut body)?;
            }
            self.inert.add(stream)?;
            if let Some((last, _)) = new.last() {
                self.inbox.claims_follow(stream, last.head.epoch);
            }
            let receipts: Vec<_> = intents
                .into_iter()
                .map(|intent| self.hand_in(Ok(intent)))
                .collect();
            for receipt in receipts {
                receipt.wait()?;
            }
        }
        Ok(Imported {
            frames: new.len(),
            head,
        })
    }

    /// Hashes of the frames of a stream that is here.
    fn chain(&self, stream: StreamId) -> Result<Vec<ChainHash>, ReadError> {
        let (mut hashes, mut after) = (Vec::new(), Seq::ZERO);
        loop {
            let page = self.read(stream, after, Limit::default())?;
            let Some(last) = page.last() else {
                return Ok(hashes);
            };
            after = last.last_seq();
            hashes.extend(page.iter().map(|frame| frame.hash));
        }
    }
}

/// The frame as it goes to the committer; refused if it would not become the very bytes it was.
fn intent(summary: &Summary, sealed: &[u8]) -> Result<Intent, ImportError> {
    let foreign = || ImportError::Foreign(summary.first_seq);
    let frame = codec::open(sealed, Position::default()).map_err(|_| foreign())?;
    let draft = Draft {
        stream: frame.stream,
        kind: frame.kind,
        epoch: frame.epoch,
        expected: Seq(summary.first_seq.0 - 1),
        time_ms: summary.head.time_ms,
        standing: frame.standing,
        records: frame.records.into_iter().map(|record| record.event).collect(),
    };
    let over_gap = summary.resumes_after.map(|resumes_after| Gap {
        resumes_after,
        hash: summary.previous,
    });
    let intent = Intent {
        imported: true,
        ..Intent::over(draft, over_gap)?
    };
    let mut again = Vec::new();
    codec::seal(&intent.unsealed, summary.previous, &mut again);
    if again == sealed {
        Ok(intent)
    } else {
        Err(foreign())
    }
}
