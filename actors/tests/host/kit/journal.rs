//! A journal whose receipts, and whose writes, wait for the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use longhaul_journal::{
    Blobs, Draft, Durable, Epoch, Frame, Head, Journal, Limit, MemoryJournal, Position, ReadError, Receipt,
    Seq, StreamId, SubmitError,
};
use tokio::sync::{oneshot, watch};

type Answer = oneshot::Sender<Result<Durable, SubmitError>>;

/// Passes everything on to a memory journal, except what it was told to hold.
#[derive(Debug)]
pub struct HeldJournal {
    inner: MemoryJournal,
    held: Mutex<Option<VecDeque<(Draft, Answer)>>>,
    count: watch::Sender<usize>,
}

impl HeldJournal {
    /// One that holds what is submitted.
    pub fn holding(inner: MemoryJournal) -> Arc<Self> {
        Arc::new(Self {
            inner,
            held: Mutex::new(Some(VecDeque::new())),
            count: watch::Sender::new(0),
        })
    }

    /// Resolves once this many frames are held.
    pub async fn until_held(&self, count: usize) {
        self.count
            .subscribe()
            .wait_for(|held| *held >= count)
            .await
            .unwrap();
    }

    /// Writes the oldest held frame and resolves its receipt.
    pub fn write_one(&self) {
        let (draft, answer) = self.take_one();
        let written = self.submit_now(draft);
        answer.send(written).unwrap();
    }

    /// Writes the oldest held frame but says that nobody knows.
    pub fn write_one_and_lose_the_answer(&self) {
        let (draft, answer) = self.take_one();
        self.submit_now(draft).unwrap();
        let reason = "the sync failed".into();
        answer.send(Err(SubmitError::OutcomeUnknown { reason })).unwrap();
    }

    /// Refuses all that is held with this error, and holds nothing from now on.
    pub fn refuse_held(&self, error: &SubmitError) {
        let held = self.held.lock().unwrap().take().unwrap_or_default();
        self.count.send_replace(0);
        for (_, answer) in held {
            answer.send(Err(error.clone())).unwrap();
        }
    }

    /// Writes all that is held, and holds nothing from now on.
    pub fn let_go(&self) {
        let mut held = self.held.lock().unwrap();
        for (draft, answer) in held.take().unwrap_or_default() {
            answer.send(self.submit_now(draft)).unwrap();
        }
        self.count.send_replace(0);
    }

    /// A memory journal answers before it returns.
    fn submit_now(&self, draft: Draft) -> Result<Durable, SubmitError> {
        self.inner
            .submit(draft)
            .now_or_never()
            .expect("a memory journal answers at once")
    }

    fn take_one(&self) -> (Draft, Answer) {
        let mut held = self.held.lock().unwrap();
        let one = held
            .as_mut()
            .and_then(VecDeque::pop_front)
            .expect("a frame is held");
        self.count.send_modify(|count| *count -= 1);
        one
    }
}

impl Journal for HeldJournal {
    fn boot(&self) -> u32 {
        self.inner.boot()
    }

    fn claim(&self, stream: StreamId) -> Epoch {
        self.inner.claim(stream)
    }

    fn submit(&self, draft: Draft) -> Receipt {
        match &mut *self.held.lock().unwrap() {
            None => self.inner.submit(draft),
            Some(held) => {
                let (answer, receipt) = Receipt::pair();
                held.push_back((draft, answer));
                self.count.send_replace(held.len());
                receipt
            }
        }
    }

    fn read(&self, stream: StreamId, after: Seq, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        self.inner.read(stream, after, limit)
    }

    fn head(&self, stream: StreamId) -> Result<Option<Head>, ReadError> {
        self.inner.head(stream)
    }

    fn watch(&self, stream: StreamId) -> watch::Receiver<Seq> {
        self.inner.watch(stream)
    }

    fn read_all(&self, after: Position, limit: Limit) -> Result<Vec<Arc<Frame>>, ReadError> {
        self.inner.read_all(after, limit)
    }

    fn watch_all(&self) -> watch::Receiver<Position> {
        self.inner.watch_all()
    }

    fn list(&self, kind: &str, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        self.inner.list(kind, after, limit)
    }

    fn due(&self, until_ms: u64, after: Option<StreamId>, limit: usize) -> Result<Vec<Head>, ReadError> {
        self.inner.due(until_ms, after, limit)
    }

    fn next_due(&self, after_ms: u64) -> Result<Option<u64>, ReadError> {
        self.inner.next_due(after_ms)
    }

    fn blobs(&self) -> &dyn Blobs {
        self.inner.blobs()
    }

    fn close(&self) {
        self.inner.close();
    }
}
