//! The trait every journal signs, and the errors a caller acts on.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::blobs::Blobs;
use crate::damage::Damage;
use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};
use crate::record::{Frame, Head, NewRecord, Standing};

/// One decision on its way to the journal.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The stream to append to.
    pub stream: StreamId,
    /// Its kind; the same in every frame of the stream.
    pub kind: Cow<'static, str>,
    /// The writer's right, from [`Journal::claim`].
    pub epoch: Epoch,
    /// The last seq the writer has folded or submitted; [`Seq::ZERO`] creates the stream.
    pub expected: Seq,
    /// Wall clock, milliseconds since 1970; not smaller than the stream's last time.
    pub time_ms: u64,
    /// What the stream waits for after this frame.
    pub standing: Standing,
    /// At least one.
    pub records: Vec<NewRecord>,
}

/// Where a stream continues after it lost an acknowledged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last seq that stands; the end of a frame.
    pub resumes_after: Seq,
    /// Chain hash of that frame.
    pub hash: ChainHash,
}

/// What a submitted frame became, once it is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Seq of its last record.
    pub seq: Seq,
    /// Its chain hash.
    pub hash: ChainHash,
    /// Where it lies.
    pub position: Position,
}

/// Why a frame was not acknowledged. A variant exists because the caller acts differently on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Not written: another writer moved the stream. Reload, decide again.
    #[error("stream {stream} is at seq {head}, the writer expected {expected}; reload and decide again")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// What the writer expected.
        expected: Seq,
        /// Where the stream is.
        head: Seq,
    },
    /// Not written: a later claim owns the stream. Stop quietly.
    #[error("stream {stream} belongs to epoch {holder}, the writer holds {offered}; a newer owner has it")]
    Fenced {
        /// The stream.
        stream: StreamId,
        /// The epoch that owns it.
        holder: Epoch,
        /// The epoch that was offered.
        offered: Epoch,
    },
    /// Not written: the frame itself is not acceptable (no records, too large, falling time). A programming error.
    #[error("the frame was refused: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// Not written: there was no room, or a segment could not be prepared. The journal is sound; try again later.
    #[error("nothing was written: {reason}; free some disk space and try again")]
    NotWritten {
        /// What stood in the way.
        reason: String,
    },
    /// Not written: the stream lost an acknowledged frame and is readable only up to the gap.
    #[error("stream {stream} is quarantined after seq {readable_to}: {reason}")]
    Quarantined {
        /// The stream.
        stream: StreamId,
        /// The last seq that can be read.
        readable_to: Seq,
        /// What is damaged.
        reason: String,
    },
    /// Not written: the stream was imported or restored, and is to be adopted first.
    #[error("stream {stream} was imported or restored, and belongs to nobody here until it is adopted")]
    Inert {
        /// The stream.
        stream: StreamId,
    },
    /// Not written: an earlier write or sync failed. Reopen the journal.
    #[error("the journal refuses work after a failed write or sync ({reason}); reopen it")]
    Poisoned {
        /// The failure that poisoned it.
        reason: String,
    },
    /// Not written: the journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// May be on disk: this very write or its sync failed. Reopen and read the tail before taking any other step.
    #[error("the frame may or may not be on disk ({reason}); reopen the journal and read the tail")]
    OutcomeUnknown {
        /// What failed.
        reason: String,
    },
}

impl SubmitError {
    /// Whether the frame may be on disk all the same.
    pub const fn may_have_happened(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. })
    }
}

/// Resolves once the frame is on disk, or is known not to be acknowledged.
///
/// # Cancel safety
/// Dropping the receipt does not withdraw the frame.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Durable, SubmitError>>);

impl Receipt {
    /// A receipt and the end that resolves it; for implementations of [`Journal`].
    pub fn pair() -> (oneshot::Sender<Result<Durable, SubmitError>>, Receipt) {
        let (sender, receiver) = oneshot::channel();
        (sender, Receipt(receiver))
    }

    /// Waits on the calling thread; for code outside an async runtime.
    ///
    /// # Errors
    /// As [`Journal::submit`] says.
    pub fn wait(self) -> Result<Durable, SubmitError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(Self::lost()))
    }

    fn lost() -> SubmitError {
        SubmitError::OutcomeUnknown {
            reason: "the committer went away before it answered".into(),
        }
    }
}

impl Future for Receipt {
    type Output = Result<Durable, SubmitError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0)
            .poll(cx)
            .map(|sent| sent.unwrap_or_else(|_| Err(Self::lost())))
    }
}

/// Why something could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are there but wrong: what was acknowledged is no longer what was written.
    #[error(
        "stream {stream} is damaged after seq {readable_to}: {reason}; `longhaul journal verify` names every loss"
    )]
    Damaged {
        /// The stream.
        stream: StreamId,
        /// The last seq that can be read.
        readable_to: Seq,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot read {what}: {reason}")]
    Io {
        /// What was being read.
        what: String,
        /// What the system said.
        reason: String,
    },
}

/// How much one read may return; it stops at whichever comes first, but returns at least one whole frame if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At most this many records.
    pub records: usize,
    /// At most about this many payload bytes.
    pub bytes: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            records: 1024,
            bytes: 1 << 20,
        }
    }
}

impl Limit {
    /// Takes frames until one of the bounds is reached, but at least one.
    pub(crate) fn take(self, frames: impl Iterator<Item = Arc<Frame>>) -> Vec<Arc<Frame>> {
        let mut taken = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        for frame in frames {
            records += frame.records.len();
            bytes += frame.payload_bytes();
            if !taken.is_empty() && (records > self.records || bytes > self.bytes) {
                break;
            }
            taken.push(frame);
        }
        taken
    }
}

/// An ordered, durable set of streams.
///
/// Every implementation signs the following, and `conformance` checks it:
///
/// - A frame is written whole or not at all, at exactly `expected`, by the owner of the stream, or refused.
/// - A receipt says `Ok` only when the frame would survive power loss (the memory journal: would survive this process
///   only as long as the process lives, and says so).
/// - Receipts of one stream resolve in seq order. Nothing that is not durable can be read, listed, watched or due.
/// - Frames may be submitted without waiting for earlier receipts: `expected` counts submitted records, not durable ones.
///   When a frame fails, everything submitted after it on that stream fails too.
/// - Within a stream, seq has no gap and no repeat, time never falls, epochs never fall, and each frame names the hash
///   of the one before it.
///
/// The reading methods block on the disk; async callers run them where blocking is allowed.
pub trait Journal: Send + Sync + std::fmt::Debug + 'static {
    /// The boot generation: rises with every opening of this journal.
    fn boot(&self) -> u32;

    /// Takes the right to write to a stream. Later appends with an older epoch are refused. Writes nothing.
    fn claim(&self, stream: StreamId) -> Epoch;

    /// Hands over one frame; the receipt resolves when it is durable.
    ///
    /// # Errors
    /// The receipt resolves to a [`SubmitError`]; only [`SubmitError::OutcomeUnknown`] leaves open whether it was written.
    fn submit(&self, draft: Draft) -> Receipt;

    /// As [`Journal::submit`], for a frame that continues a stream over what it lost: it names the last frame that stands
    /// as its predecessor, and `draft.expected` is the highest seq that may ever have been given
    /// ([`Journal::highest_seen`]), so that no seq is given twice. Frames in between are set aside: they stay on disk, and
    /// are read no more. History is not edited.
    ///
    /// # Errors
    /// As [`Journal::submit`]. A journal that loses nothing refuses it as invalid.
    fn submit_over_gap(&self, draft: Draft, gap: Gap) -> Receipt {
        let (answer, receipt) = Receipt::pair();
        let stream = draft.stream;
        // A dropped receipt does not want to know.
        let _ = answer.send(Err(SubmitError::Invalid {
            reason: format!(
                "stream {stream} has nothing to continue over after seq {}",
                gap.resumes_after
            ),
        }));
        receipt
    }

    /// Removes a stream: one last frame of the kind [`crate::REMOVED`] takes the place of everything before it, which is read
    /// no more, and whose room may be freed from then on. The frame stays, so that the name is never given to something
    /// else, and no copy of the stream is taken for one that was never here. Removing it twice changes nothing.
    ///
    /// `record` says who wanted it; its seq is the first that was never given. A damaged stream, or one that is inert, can
    /// be removed as well. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Journal::submit`]; [`SubmitError::Invalid`] when there is no such stream, or the journal removes nothing.
    fn remove(&self, stream: StreamId, time_ms: u64, record: NewRecord) -> Result<Durable, SubmitError> {
        let _ = (time_ms, record);
        Err(SubmitError::Invalid {
            reason: format!("this journal does not remove streams, {stream} among them"),
        })
    }

    /// The highest seq of a stream that was, or may have been, given to a record: lost ones included. May read the whole
    /// journal.
    ///
    /// # Errors
    /// [`ReadError::Io`] when it cannot be read.
    fn highest_seen(&self, stream: StreamId) -> Result<Seq, ReadError> {
        Ok(self.head(stream)?.map_or(Seq::ZERO, |head| head.seq))
    }

    /// Streams that are known to have lost an acknowledged frame, by id. What was never read since this journal was opened
    /// may be damaged all the same; `verify` looks at everything.
    fn damaged(&self) -> Vec<Damage> {
        Vec::new()
    }

    /// Whether this is a copy that was imported or restored and that nobody has adopted: it is read like any other, and
    /// takes no frames but that of its adoption.
    fn is_inert(&self, stream: StreamId) -> bool {
        let _ = stream;
        false
    }

    /// Writes the beginning of a stream that does not exist: a copy of another one, frame by frame. It is inert from before
    /// its first frame until it is adopted, so that a crash in the middle leaves nothing that works. Done again, it goes on
    /// where it stopped, which the caller sees by the head. Blocks on the disk.
    ///
    /// # Errors
    /// [`SubmitError`]; some of the frames may be written.
    fn copy_in(&self, stream: StreamId, drafts: Vec<Draft>) -> Result<(), SubmitError> {
        let _ = (stream, drafts);
        let reason = "this journal takes no copies".into();
        Err(SubmitError::Invalid { reason })
    }

    /// As [`Journal::submit`], for the frame by which an inert stream comes to belong to this journal. Once it is durable
    /// the stream is inert no more.
    ///
    /// # Errors
    /// As [`Journal::submit`].
    fn adopt(&self, draft: Draft) -> Result<Durable, SubmitError> {
        self.submit(draft).wait()
    }

    /// Reads durable frames of a stream that hold records with a seq above `after`, in order.
    ///
    /// The first frame may begin at or below `after` (a frame is never cut); an empty answer means there is no more.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when the next frame is lost; what lies before it was returned by earlier calls.
    fn read(&self, stream: StreamId, after: Seq, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError>;

    /// As [`Journal::read`], frame by frame in the order of their seqs, so that nobody has to hold them all: `visit` is shown each
    /// right after it was read and checked, and says whether to go on. Nothing was shown when nothing follows `after`.
    ///
    /// # Errors
    /// As [`Journal::read`]; what was shown before stands.
    fn visit(
        &self,
        stream: StreamId,
        after: Seq,
        limit: Limit,
        visit: &mut dyn FnMut(&Frame) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        // Stopping early is no error.
        let _ = self
            .read(stream, after, limit)?
            .iter()
            .try_for_each(|frame| visit(frame));
        Ok(())
    }

    /// The last durable frame of a stream in brief, or `None` when there is no such stream.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the index cannot be read.
    fn head(&self, stream: StreamId) -> Result<Option<Head>, ReadError>;

    /// The durable head of a stream as it moves; starts at the present one.
    fn watch(&self, stream: StreamId) -> watch::Receiver<Seq>;

    /// Reads durable frames of all streams at positions above `after`, in the order they were written.
    ///
    /// # Errors
    /// As [`Journal::read`].
    fn read_all(&self, after: Position, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError>;

    /// The position below which everything is durable, as it moves.
    fn watch_all(&self) -> watch::Receiver<Position>;

    /// Streams of one kind, ordered by id, beginning after `after`.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the index cannot be read.
    fn list(&self, kind: &str, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError>;

    /// Streams that owe work or whose time has come: `Owed`, and `Until` up to `until_ms`; ordered by id, after `after`.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the index cannot be read.
    fn due(&self, until_ms: u64, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError>;

    /// The earliest `Until` above `after_ms`, so that a scheduler knows when to ask again.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the index cannot be read.
    fn next_due(&self, after_ms: u64) -> Result<Option<u64>, ReadError>;

    /// Bodies too large for a record.
    fn blobs(&self) -> &dyn Blobs;

    /// Waits until everything submitted is answered, then refuses further work. Calling it twice is harmless.
    fn close(&self);
}
