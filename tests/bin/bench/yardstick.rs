//! The best that one file can do: zero-filled, written by one thread in groups, each group synced once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::load::{PAYLOAD, Store};
use crate::plan::Failure;

/// Bytes of the file; it is begun again from the start when it is full, so that it never grows.
const LEN: u64 = 256 << 20;

/// One file and its writing thread.
#[derive(Debug)]
pub(crate) struct Yardstick {
    path: PathBuf,
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    items: Vec<(Vec<u8>, oneshot::Sender<()>)>,
    closed: bool,
}

impl Yardstick {
    pub(crate) fn new(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("yardstick");
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..LEN).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        let shared = Arc::new(Shared::default());
        let writer = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || write_groups(&shared, &file)
        });
        Ok(Self {
            path,
            shared,
            writer: Some(writer),
        })
    }
}

impl Store for Yardstick {
    type Receipt = oneshot::Receiver<()>;

    fn submit(&mut self) -> Self::Receipt {
        let (answer, receipt) = oneshot::channel();
        let mut queue = self.shared.queue.lock().expect("nobody panics with the queue");
        queue.items.push((vec![b'x'; PAYLOAD], answer));
        let first = queue.items.len() == 1;
        drop(queue);
        if first {
            self.shared.arrived.notify_one();
        }
        receipt
    }

    fn wait(receipt: Self::Receipt) -> Result<(), Failure> {
        Ok(receipt.blocking_recv()?)
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        self.shared
            .queue
            .lock()
            .expect("nobody panics with the queue")
            .closed = true;
        self.shared.arrived.notify_one();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the disk works");
        }
        // The folder around it goes too.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn write_groups(shared: &Shared, file: &File) {
    let mut at = 0;
    let mut items = Vec::new();
    let mut bytes = Vec::new();
    loop {
        let mut queue = shared.queue.lock().expect("nobody panics with the queue");
        while queue.items.is_empty() {
            if queue.closed {
                return;
            }
            queue = shared.arrived.wait(queue).expect("nobody panics with the queue");
        }
        std::mem::swap(&mut items, &mut queue.items);
        drop(queue);
        bytes.clear();
        for (payload, _) in &items {
            bytes.extend_from_slice(payload);
        }
        if at + bytes.len() as u64 > LEN {
            at = 0;
        }
        file.write_all_at(&bytes, at)
            .and_then(|()| file.sync_data())
            .expect("the disk works");
        at += bytes.len() as u64;
        for (_, answer) in items.drain(..) {
            // The client waits for every answer.
            let _ = answer.send(());
        }
    }
}
