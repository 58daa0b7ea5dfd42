//! The journal in a directory of this machine.
//!
//! # What it promises
//!
//! - A receipt that says `Ok` means: written and `fdatasync`ed. It survives `kill -9` and power loss, as far as the disk
//!   keeps what it says it has synced.
//! - After a crash, what was never acknowledged is either wholly there or wholly gone.
//! - Damage to what was acknowledged is found, named, and quarantines the stream it hit; the others go on.
//! - Segments are the truth. Everything else in the directory can be deleted at the price of a slower start.
//!
//! # What lies where
//!
//! ```text
//! lock                       who owns the directory
//! format                     which version of this layout it has
//! boot                       how often it was opened
//! journal/<position>.seg     frames
//! blobs/ab/cdef...           bodies too large for a record
//! catalogue/                 the index of sealed segments
//! ```
//!
//! # Threads
//!
//! Three of its own: the committer (writes), the filler (zero-fills ahead of it), the indexer (catalogues sealed
//! segments). Reading happens on the caller's thread.

mod batch;
pub(crate) mod blobs;
mod committer;
mod compact;
mod fresh;
pub(crate) mod identity;
mod import;
mod inbox;
pub(crate) mod index;
pub(crate) mod indexer;
pub(crate) mod inert;
mod lock;
mod open;
mod recover;
mod remove;
mod room;
mod scrub;
mod survey;

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::blobs::{BlobId, Blobs};
use crate::damage::Damage;
use crate::id::{Epoch, Position, Seq, StreamId};
use crate::journal::{Draft, Durable, Gap, Journal, Limit, ReadError, Receipt, SubmitError};
use crate::record::{Frame, Head, NewRecord};
use crate::rules::Intent;
use crate::watches::Watches;

pub use blobs::Swept;
pub use compact::{Compaction, CompactionReport};
pub use import::{ImportError, Imported};
pub use lock::Holder;
pub use open::{CatalogueState, CopiedTail, OpenError, OpenReport, TornTail};
pub use scrub::Scrubbed;

use blobs::LocalBlobs;
use inbox::Inbox;
use index::Index;
use inert::Inert;
use lock::Lock;
use room::Filler;

/// How a local journal shall work. The defaults are right for production.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// A segment is finished at the first batch that ends beyond this many bytes. Young journals have smaller ones.
    pub segment_bytes: u64,
    /// How many bytes of room are made ready when the journal is opened; each segment that is prepared after that is
    /// twice as large as the one before. 0 prepares nothing.
    pub fill_ahead: u64,
    /// How long the committer is idle before it writes a marker for readers without a lock.
    pub marker_after: Duration,
    /// How long after opening segments that were sealed before are left unindexed: their frames are known, and right after a
    /// crash everybody wants something else. A segment that is sealed takes them along sooner.
    pub index_after: Duration,
    /// Memory for the catalogue's cache, in bytes.
    pub cache_bytes: u64,
    /// Where the owner of the directory can be talked to; told to whoever finds it in use.
    pub socket: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            fill_ahead: 4 << 20,
            marker_after: Duration::from_millis(10),
            index_after: Duration::from_secs(5),
            cache_bytes: 32 << 20,
            socket: None,
        }
    }
}

/// A journal in a directory. One per directory; share it behind an `Arc`.
#[derive(Debug)]
pub struct LocalJournal {
    folder: PathBuf,
    disk: Arc<dyn crate::files::Disk>,
    inert: Inert,
    inbox: Arc<Inbox>,
    index: Arc<Index>,
    watches: Arc<Watches>,
    filler: Arc<Filler>,
    blobs: LocalBlobs,
    running: Mutex<Option<Running>>,
    /// Held by the one who thins segments.
    thinning: Mutex<()>,
}

/// What ends when the journal is closed.
#[derive(Debug)]
struct Running {
    committer: JoinHandle<()>,
    filler: JoinHandle<()>,
    indexer: JoinHandle<()>,
    /// Has the indexer look at once at what is sealed; it ends when this and the committer are gone.
    nudge: mpsc::Sender<Position>,
    lock: Lock,
}

impl LocalJournal {
    /// Opens the journal in `folder`, or makes one there, and says what it found.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed in a directory that is in use or has a newer format.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        open::open(Arc::new(crate::files::RealDisk), folder, options)
    }

    /// Opens a journal over another file system; for tests with faults.
    ///
    /// # Errors
    /// As [`LocalJournal::open`].
    #[doc(hidden)]
    pub fn open_on(
        disk: Arc<dyn crate::files::Disk>,
        folder: &Path,
        options: Options,
    ) -> Result<(Self, OpenReport), OpenError> {
        open::open(disk, folder, options)
    }

    /// The directory it lives in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the blobs that are not among `named` and were kept last before `old_before`. Blocks on the disk; others may keep
    /// and read blobs meanwhile, and what is kept again meanwhile stays.
    ///
    /// # Errors
    /// When the system refuses; some may be gone then.
    pub fn sweep_blobs(&self, named: &BTreeSet<BlobId>, old_before: SystemTime) -> io::Result<Swept> {
        self.blobs.sweep(named, old_before)
    }

    /// Becomes true once a write or a sync has failed, or the thread that does both has panicked: nothing is acknowledged
    /// from then on. Only opening the journal anew helps, and that is for its owner to do.
    pub fn poisoned(&self) -> watch::Receiver<bool> {
        self.inbox.poisoned()
    }

    /// What is known to be wrong with a stream: it takes no writes, and is readable up to the gap.
    pub fn damage(&self, stream: StreamId) -> Option<crate::Damage> {
        self.index.damage(stream)
    }
}

impl LocalJournal {
    fn hand_in(&self, intent: Result<Intent, SubmitError>) -> Receipt {
        let (answer, receipt) = Receipt::pair();
        match intent {
            Ok(intent) => self.inbox.push(intent, answer),
            // A dropped receipt does not want to know.
            Err(error) => drop(answer.send(Err(error))),
        }
        receipt
    }
}

impl Journal for LocalJournal {
    fn boot(&self) -> u32 {
        self.inbox.boot()
    }

    fn claim(&self, stream: StreamId) -> Epoch {
        self.inbox.claim(stream)
    }

    fn submit(&self, draft: Draft) -> Receipt {
        let stream = draft.stream;
        self.hand_in(if self.inert.holds(stream) {
            Err(SubmitError::Inert { stream })
        } else {
            Intent::new(draft)
        })
    }

    fn is_inert(&self, stream: StreamId) -> bool {
        self.inert.holds(stream)
    }

    fn copy_in(&self, stream: StreamId, drafts: Vec<Draft>) -> Result<(), SubmitError> {
        if self.head(stream).is_ok_and(|head| head.is_some()) && !self.inert.holds(stream) {
            let reason = format!("{stream} is there, and is no copy that nobody adopted");
            return Err(SubmitError::Invalid { reason });
        }
        self.inert.add(stream).map_err(|error| SubmitError::NotWritten {
            reason: error.to_string(),
        })?;
        let receipts: Vec<_> = drafts
            .into_iter()
            .map(|draft| self.hand_in(Intent::new(draft)))
            .collect();
        receipts
            .into_iter()
            .try_for_each(|receipt| receipt.wait().map(drop))
    }

    fn adopt(&self, draft: Draft) -> Result<Durable, SubmitError> {
        let stream = draft.stream;
        let durable = self.hand_in(Intent::new(draft)).wait()?;
        // Only now: a crash before this leaves it inert, and it is adopted once more.
        match self.inert.remove(stream) {
            Ok(()) => Ok(durable),
            Err(error) => Err(SubmitError::OutcomeUnknown {
                reason: format!("the adoption is written, and the stream is still inert: {error}"),
            }),
        }
    }

    fn remove(&self, stream: StreamId, time_ms: u64, record: NewRecord) -> Result<Durable, SubmitError> {
        remove::remove(self, stream, time_ms, record)
    }

    fn submit_over_gap(&self, draft: Draft, gap: Gap) -> Receipt {
        if gap.resumes_after == Seq::ZERO {
            let reason = "nothing stands before this gap; such a stream can only be removed".into();
            return self.hand_in(Err(SubmitError::Invalid { reason }));
        }
        self.hand_in(Intent::over(draft, Some(gap)))
    }

    fn highest_seen(&self, stream: StreamId) -> Result<Seq, ReadError> {
        let head = self.index.head(stream)?.map_or(Seq::ZERO, |head| head.seq);
        let seen = survey::highest_seen(&self.index.segments, stream, self.index.durable());
        let seen = seen.map_err(|error| ReadError::Io {
            what: "the segments".into(),
            reason: error.to_string(),
        })?;
        Ok(seen.max(head))
    }

    fn damaged(&self) -> Vec<Damage> {
        self.index.all_damage()
    }

    fn read(&self, stream: StreamId, after: Seq, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        let mut frames = Vec::new();
        self.index.visit(stream, after, limit, |frame| {
            frames.push(Arc::new(frame));
            ControlFlow::Continue(())
        })?;
        Ok(frames)
    }

    fn visit(
        &self,
        stream: StreamId,
        after: Seq,
        limit: Limit,
        visit: &mut dyn FnMut(&Frame) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.index.visit(stream, after, limit, |frame| visit(&frame))
    }

    fn head(&self, stream: StreamId) -> Result<Option<Head>, ReadError> {
        self.index.head(stream)
    }

    fn watch(&self, stream: StreamId) -> watch::Receiver<Seq> {
        self.watches.stream(stream, || match self.index.head(stream) {
            Ok(head) => head.map_or(Seq::ZERO, |head| head.seq),
            Err(error) => {
                tracing::warn!(%stream, %error, "a watch begins without its head");
                Seq::ZERO
            }
        })
    }

    fn read_all(&self, after: Position, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        let durable = self.index.durable();
        crate::sequence::read_all(&self.index.segments, after, durable, limit).map_err(|error| {
            ReadError::Io {
                what: "the segments".into(),
                reason: error.to_string(),
            }
        })
    }

    fn watch_all(&self) -> watch::Receiver<Position> {
        self.watches.all()
    }

    fn list(&self, kind: &str, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        self.index.list(kind, after, limit)
    }

    fn due(&self, until_ms: u64, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        // What is inert waits for nobody, whatever its frames say.
        let (mut due, mut from) = (Vec::new(), after);
        loop {
            let page = self.index.due(until_ms, from, limit)?;
            let is_full = page.len() >= limit;
            from = page.last().map(|head| head.stream);
            due.extend(page.into_iter().filter(|head| !self.inert.holds(head.stream)));
            if !is_full || due.len() >= limit {
                due.truncate(limit);
                return Ok(due);
            }
        }
    }

    fn next_due(&self, after_ms: u64) -> Result<Option<u64>, ReadError> {
        self.index.next_due(after_ms)
    }

    fn blobs(&self) -> &dyn Blobs {
        &self.blobs
    }

    fn close(&self) {
        let Some(running) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        // In this order: what was submitted is answered, then nobody needs room or an index, then others may come.
        self.inbox.close();
        self.index.stop_settling();
        join(running.committer);
        self.filler.close();
        join(running.filler);
        drop(running.nudge);
        join(running.indexer);
        self.index.close();
        drop(running.lock);
    }
}

impl Drop for LocalJournal {
    fn drop(&mut self) {
        self.close();
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the journal panicked");
    }
}
