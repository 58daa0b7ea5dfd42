//! One stream as one file, for another place: sealed parts verbatim, and the bodies that its records name.
//!
//! The same stream makes the same bytes wherever and whenever it is exported. The file is drawn in
//! `docs/journal-format.md`; what is read from one is checked as a whole before anything is done with it: its checksum,
//! the chain of its frames, and that each body has the hash that names it.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::blobs::{BlobError, BlobId, Blobs};
use crate::codec::{self, Summary};
use crate::damage::SetAside;
use crate::files::RealDisk;
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::local::blobs::LocalBlobs;
use crate::offline::{Offline, OfflineError};
use crate::record::{Frame, Head};
use crate::rules;
use crate::scan::Found;

/// Neither text nor a segment; a transfer that mangles line ends breaks it.
const MAGIC: [u8; 8] = *b"\x8cLHX\r\n\x1a\n";
/// Version of the file that is written.
const VERSION: u32 = 1;
const CHECKSUM: usize = 32;

/// Why a stream could not be exported, or a file not be taken for one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortableError {
    /// There is no such stream.
    #[error("there is no stream {0}")]
    NotFound(StreamId),
    /// The stream lost an acknowledged frame. Repair it first, so that the export says what is lost.
    #[error("stream {stream} is damaged after seq {readable_to}: {reason}; repair it first")]
    Damaged {
        /// The stream.
        stream: StreamId,
        /// The last seq that can be read.
        readable_to: Seq,
        /// What is wrong.
        reason: String,
    },
    /// A body that the stream names cannot be had.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The bytes are no export, or not all of one.
    #[error("the file is no sound export of a session: {0}; export it again")]
    Unsound(String),
    /// A newer version made the file.
    #[error("the file has version {0}, this version reads up to {VERSION}; use the newer version")]
    Newer(u32),
    /// The journal cannot be looked at.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// The operating system refused.
    #[error("cannot read the journal: {0}")]
    Io(#[from] io::Error),
}

/// A stream as it is in a portable file.
#[derive(Debug)]
pub struct Portable {
    stream: StreamId,
    frames: Vec<Vec<u8>>,
    summaries: Vec<Summary>,
    blobs: Vec<(BlobId, Vec<u8>)>,
}

impl Portable {
    /// Reads a stream and the bodies its records name from the journal in a data directory, which may be in use.
    ///
    /// What a repair has set aside is left behind. Bodies that are named and were never there are no error: a record may
    /// speak of any hash.
    ///
    /// # Errors
    /// [`PortableError`]; a damaged stream is not exported.
    pub fn of(folder: &Path, stream: StreamId) -> Result<Self, PortableError> {
        let blobs = LocalBlobs::of(Arc::new(RealDisk), &folder.join("blobs"));
        let mut chain = Chain::default();
        Offline::open(folder)?.scan(|found| {
            if let Found::Frame { summary, sealed, .. } = found
                && summary.head.stream == stream
            {
                chain.add(summary, sealed);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(reason) = chain.broken {
            return Err(PortableError::Damaged {
                stream,
                readable_to: chain.head.map_or(Seq::ZERO, |head| head.seq),
                reason,
            });
        }
        let is_removed = chain
            .summaries
            .last()
            .and_then(SetAside::by)
            .is_some_and(|aside| aside.is_removal());
        if chain.frames.is_empty() || is_removed {
            return Err(PortableError::NotFound(stream));
        }
        let mut bodies = Vec::new();
        for id in named(&chain.frames)? {
            match blobs.get(id) {
                Ok(body) => bodies.push((id, body)),
                Err(BlobError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            stream,
            frames: chain.frames,
            summaries: chain.summaries,
            blobs: bodies,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`PortableError::Unsound`] or [`PortableError::Newer`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PortableError> {
        let unsound = |what: &str| PortableError::Unsound(what.to_owned());
        let mut rest = Reader(bytes);
        if rest.take(8) != Some(&MAGIC) {
            return Err(unsound("it does not begin like one"));
        }
        let version = rest.number().ok_or_else(|| unsound("it is cut short"))?;
        if version != VERSION {
            return Err(PortableError::Newer(version));
        }
        let body = bytes
            .len()
            .checked_sub(CHECKSUM)
            .and_then(|split| bytes.split_at_checked(split));
        let (body, checksum) = body.ok_or_else(|| unsound("it is cut short"))?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(unsound("its checksum does not match"));
        }
        rest.0 = &body[12..];
        let short = || unsound("its parts do not fit their lengths");
        let stream: [u8; 16] = rest
            .take(16)
            .and_then(|id| id.try_into().ok())
            .ok_or_else(short)?;
        let stream = StreamId::from_bytes(stream);
        let mut chain = Chain::default();
        for _ in 0..rest.number().ok_or_else(short)? {
            let len = rest.number().ok_or_else(short)? as usize;
            let sealed = rest.take(len).ok_or_else(short)?;
            let summary = codec::open(sealed, Position::default())
                .and_then(|_| codec::summarize(sealed))
                .map_err(|flaw| unsound(&flaw.to_string()))?;
            if summary.head.stream != stream || summary.is_marker() {
                return Err(unsound("it holds a frame of another stream"));
            }
            chain.add(summary, sealed);
        }
        if let Some(reason) = chain.broken {
            return Err(PortableError::Unsound(reason));
        }
        let mut blobs = Vec::new();
        for _ in 0..rest.number().ok_or_else(short)? {
            let id = rest
                .take(32)
                .and_then(|id| id.try_into().ok())
                .ok_or_else(short)?;
            let len = rest.long().and_then(|len| usize::try_from(len).ok());
            let body = len.and_then(|len| rest.take(len)).ok_or_else(short)?;
            if Sha256::digest(body).as_slice() != id {
                return Err(unsound("a body in it does not have its hash"));
            }
            blobs.push((BlobId(id), body.to_vec()));
        }
        if !rest.0.is_empty() || chain.frames.is_empty() {
            return Err(short());
        }
        Ok(Self {
            stream,
            frames: chain.frames,
            summaries: chain.summaries,
            blobs,
        })
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(self.stream.as_bytes());
        put_len(&mut out, self.frames.len());
        for sealed in &self.frames {
            put_len(&mut out, sealed.len());
            out.extend_from_slice(sealed);
        }
        put_len(&mut out, self.blobs.len());
        for (id, body) in &self.blobs {
            out.extend_from_slice(&id.0);
            out.extend_from_slice(&(body.len() as u64).to_le_bytes());
            out.extend_from_slice(body);
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    /// Whose history it is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// What kind of stream it is.
    pub fn kind(&self) -> &str {
        self.summaries.first().map_or("", |first| &first.head.kind)
    }

    /// Seq and hash of its last frame.
    pub fn head(&self) -> (Seq, ChainHash) {
        let last = self.summaries.last();
        last.map_or((Seq::ZERO, ChainHash::ZERO), |last| {
            (last.head.seq, last.head.hash)
        })
    }

    /// How many frames it has.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// How many bodies come with it.
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }

    pub(crate) fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.blobs.iter().map(|(_, body)| body.as_slice())
    }

    /// Each frame with its sealed bytes.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (&Summary, &[u8])> {
        let sealed = self.frames.iter().map(Vec::as_slice);
        self.summaries.iter().zip(sealed)
    }
}

/// The frames of one stream as they come, as far as they follow each other.
#[derive(Debug, Default)]
struct Chain {
    head: Option<Head>,
    frames: Vec<Vec<u8>>,
    summaries: Vec<Summary>,
    broken: Option<String>,
}

impl Chain {
    fn add(&mut self, summary: Summary, sealed: &[u8]) {
        if let Some(aside) = SetAside::by(&summary) {
            let stands = self
                .summaries
                .partition_point(|earlier| !aside.covers(earlier.first_seq));
            self.summaries.truncate(stands);
            self.frames.truncate(stands);
            self.head = self.summaries.last().map(|last| last.head.clone());
            self.broken = None;
        } else if self.broken.is_some() {
            return;
        }
        match rules::follows(self.head.as_ref(), &summary) {
            Ok(()) => {
                self.head = Some(summary.head.clone());
                self.frames.push(sealed.to_vec());
                self.summaries.push(summary);
            }
            Err(reason) => self.broken = Some(reason),
        }
    }
}

/// The bodies that the records of these frames name.
fn named(frames: &[Vec<u8>]) -> Result<BTreeSet<BlobId>, PortableError> {
    let mut ids = BTreeSet::new();
    for sealed in frames {
        let frame = codec::open(sealed, Position::default())
            .map_err(|flaw| PortableError::Unsound(flaw.to_string()))?;
        ids.extend(blobs_named_in(&frame));
    }
    Ok(ids)
}

/// The bodies that a frame may name: each run of exactly 64 hexadecimal digits in a payload counts, whatever it stands
/// for, so that nothing that is named is ever missed.
pub fn blobs_named_in(frame: &Frame) -> BTreeSet<BlobId> {
    let payloads = frame.records.iter().map(|record| &record.event.payload);
    payloads
        .flat_map(|payload| {
            let runs = payload.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            runs.filter(|run| run.len() == 64).filter_map(|run| {
                let mut id = [0; 32];
                hex::decode_to_slice(run, &mut id).ok().map(|()| BlobId(id))
            })
        })
        .collect()
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len)
        .expect("frames have at most 1.4 MiB, and a stream fewer than four billion of them");
    out.extend_from_slice(&len.to_le_bytes());
}

/// Bytes that are believed only as far as they are there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}
