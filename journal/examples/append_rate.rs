//! Durable appends per second, beside the yardstick: one zero-filled file, written and synced in groups by one thread.
//!
//! `cargo run --release -p longhaul-journal --example append_rate -- [FOLDER] [SECONDS] [STREAMS]`
//!
//! Both keep the same number of appends waiting and run in turns, so that the ratio says something even where the disk's
//! absolute speed does not. A closed loop: whoever is answered submits the next one.

use std::collections::VecDeque;
use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use longhaul_journal::{
    Draft, Epoch, Journal, Level, LocalJournal, NewRecord, Options, Seq, Standing, StreamId,
};

const PAYLOAD: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(2.0), |text| text.parse())?;
    let streams: u64 = arguments.next().map_or(Ok(1000), |text| text.parse())?;
    let time = Duration::from_secs_f64(seconds);
    println!("waiting  yardstick/s  p50 us  journal/s  p50 us  p99 us  ratio  p50 ratio");
    for waiting in [1, 8, 64, 512] {
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push((
                yardstick(&folder, waiting, time)?,
                journal(&folder, waiting, streams, time)?,
            ));
        }
        pairs.sort_by(|a, b| (a.1.rate / a.0.rate).total_cmp(&(b.1.rate / b.0.rate)));
        let (yard, ours) = &pairs[1];
        println!(
            "{waiting:7}  {:11.0}  {:6.0}  {:9.0}  {:6.0}  {:6.0}  {:5.2}  {:9.2}",
            yard.rate,
            yard.p50,
            ours.rate,
            ours.p50,
            ours.p99,
            ours.rate / yard.rate,
            ours.p50 / yard.p50
        );
    }
    Ok(())
}

struct Measured {
    rate: f64,
    p50: f64,
    p99: f64,
}

impl Measured {
    fn new(mut micros: Vec<f64>, elapsed: Duration) -> Self {
        micros.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            micros
                .get(micros.len() * percent / 100)
                .copied()
                .unwrap_or_default()
        };
        Self {
            rate: micros.len() as f64 / elapsed.as_secs_f64(),
            p50: at(50),
            p99: at(99),
        }
    }
}

/// Appends through the journal, over so many streams in turn.
fn journal(folder: &Path, waiting: usize, streams: u64, time: Duration) -> Result<Measured, Box<dyn Error>> {
    let own = folder.join(format!("append-rate-{}", std::process::id()));
    let (journal, _) = LocalJournal::open(&own, Options::default())?;
    let mut writers: Vec<(StreamId, Epoch, u64)> = (0..streams)
        .map(|number| StreamId::named("bench", "local", &number.to_string()))
        .map(|stream| (stream, journal.claim(stream), 0))
        .collect();
    let mut receipts = VecDeque::new();
    let mut micros = Vec::new();
    let begun = Instant::now();
    let mut turn = 0;
    while begun.elapsed() < time {
        while receipts.len() < waiting {
            let count = writers.len();
            let (stream, epoch, seq) = &mut writers[turn * 7919 % count];
            receipts.push_back((Instant::now(), journal.submit(draft(*stream, *epoch, *seq))));
            *seq += 1;
            turn += 1;
        }
        if let Some((since, receipt)) = receipts.pop_front() {
            receipt.wait()?;
            micros.push(since.elapsed().as_secs_f64() * 1e6);
        }
    }
    for (_, receipt) in receipts {
        receipt.wait()?;
    }
    let measured = Measured::new(micros, begun.elapsed());
    drop(journal);
    std::fs::remove_dir_all(&own)?;
    Ok(measured)
}

fn draft(stream: StreamId, epoch: Epoch, expected: u64) -> Draft {
    Draft {
        stream,
        kind: "bench".into(),
        epoch,
        expected: Seq(expected),
        time_ms: 1_764_000_000_000,
        standing: Standing::Done,
        records: vec![NewRecord {
            type_name: "command.run".into(),
            type_version: 1,
            cause: None,
            level: Level::Progress,
            payload: vec![b'x'; PAYLOAD],
        }],
    }
}

/// Work waiting for the yardstick's one writing thread.
#[derive(Default)]
struct Queue {
    items: Vec<(Vec<u8>, tokio::sync::oneshot::Sender<()>)>,
    closed: bool,
}

/// The best that one file can do: swap the queue, write it whole, sync, answer.
fn yardstick(folder: &Path, waiting: usize, time: Duration) -> Result<Measured, Box<dyn Error>> {
    let path = folder.join(format!("append-rate-{}.raw", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    let len: u64 = 1 << 28;
    let zeros = vec![0; 1 << 20];
    for at in (0..len).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let shared = Arc::new((Mutex::new(Queue::default()), Condvar::new()));
    let writer = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || write_groups(&shared, &file, len))
    };
    let mut receipts = VecDeque::new();
    let mut micros = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        while receipts.len() < waiting {
            let (answer, receipt) = tokio::sync::oneshot::channel();
            receipts.push_back((Instant::now(), receipt));
            let mut queue = shared.0.lock().map_err(|_| "the writer panicked")?;
            queue.items.push((vec![b'x'; PAYLOAD], answer));
            if queue.items.len() == 1 {
                shared.1.notify_one();
            }
        }
        if let Some((since, receipt)) = receipts.pop_front() {
            receipt.blocking_recv()?;
            micros.push(since.elapsed().as_secs_f64() * 1e6);
        }
    }
    let measured = Measured::new(micros, begun.elapsed());
    shared.0.lock().map_err(|_| "the writer panicked")?.closed = true;
    shared.1.notify_one();
    writer.join().map_err(|_| "the writer panicked")?;
    std::fs::remove_file(&path)?;
    Ok(measured)
}

fn write_groups(shared: &(Mutex<Queue>, Condvar), file: &File, len: u64) {
    let mut at = 0;
    loop {
        let mut queue = shared.0.lock().expect("nobody panics with the queue");
        while queue.items.is_empty() {
            if queue.closed {
                return;
            }
            queue = shared.1.wait(queue).expect("nobody panics with the queue");
        }
        let items = std::mem::take(&mut queue.items);
        drop(queue);
        let mut bytes = Vec::new();
        for (payload, _) in &items {
            bytes.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
            bytes.extend_from_slice(payload);
        }
        // Wraps around: the file never grows and never has to be filled again.
        if at + bytes.len() as u64 > len {
            at = 0;
        }
        file.write_all_at(&bytes, at)
            .and_then(|()| file.sync_data())
            .expect("the disk works");
        at += bytes.len() as u64;
        for (_, answer) in items {
            let _ = answer.send(());
        }
    }
}
