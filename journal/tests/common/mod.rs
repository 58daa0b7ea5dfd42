//! What the tests on real directories share.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too
#![allow(dead_code, unreachable_pub)] // each test binary uses some of it

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use longhaul_journal::files::{Disk, DiskFile, RealDisk};
use longhaul_journal::{
    Draft, Epoch, Frame, Journal, Level, Limit, LocalJournal, NewRecord, OpenReport, Options, Seq, Standing,
    StreamId,
};

/// Everything in one read.
pub const ALL: Limit = Limit {
    records: usize::MAX,
    bytes: usize::MAX,
};

/// A frame of one record with this text.
pub fn draft(stream: StreamId, epoch: Epoch, expected: u64, text: &str) -> Draft {
    Draft {
        stream,
        kind: "session".into(),
        epoch,
        expected: Seq(expected),
        time_ms: 1_000 + expected,
        standing: Standing::Owed,
        records: vec![NewRecord {
            type_name: "agent.message".into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: format!("{{\"text\":\"{text}\"}}").into_bytes(),
        }],
    }
}

pub fn stream(number: u64) -> StreamId {
    StreamId::named("session", "local", &number.to_string())
}

/// A folder in memory where that is possible: for tests in which what a disk would keep is simulated.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

pub fn open(folder: &Path) -> (LocalJournal, OpenReport) {
    LocalJournal::open(folder, Options::default()).unwrap()
}

/// Small segments, so that most of a journal is sealed and in the catalogue.
pub fn small() -> Options {
    let mut options = Options::default();
    options.segment_bytes = 4 << 10;
    options.fill_ahead = 16 << 10;
    options
}

/// Appends `rounds` frames to each of `streams` streams, and waits for each round.
pub fn write(journal: &dyn Journal, streams: u64, rounds: u64) {
    let epochs: Vec<_> = (0..streams).map(|number| journal.claim(stream(number))).collect();
    for _ in 0..rounds {
        let receipts: Vec<_> = (0..streams)
            .zip(&epochs)
            .map(|(number, epoch)| {
                let expected = journal.head(stream(number)).unwrap().map_or(0, |head| head.seq.0);
                journal.submit(draft(
                    stream(number),
                    *epoch,
                    expected,
                    &format!("{number} says {expected}"),
                ))
            })
            .collect();
        for receipt in receipts {
            receipt.wait().unwrap();
        }
    }
}

/// All frames by stream; damaged streams up to their gap.
pub fn content(journal: &dyn Journal, streams: u64) -> BTreeMap<u64, Vec<Arc<Frame>>> {
    (0..streams)
        .map(|number| {
            let mut frames: Vec<Arc<Frame>> = Vec::new();
            loop {
                let after = frames.last().map_or(Seq::ZERO, |frame| frame.last_seq());
                match journal.read(stream(number), after, Limit::default()) {
                    Ok(page) if page.is_empty() => break,
                    Ok(page) => frames.extend(page),
                    Err(_) => break,
                }
            }
            (number, frames)
        })
        .collect()
}

/// The same frames, wherever they lie.
pub fn payloads(frames: &[Arc<Frame>]) -> Vec<Vec<u8>> {
    frames
        .iter()
        .flat_map(|frame| frame.records.iter().map(|record| record.event.payload.clone()))
        .collect()
}

pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    paths.sort();
    paths
}

/// A copy of a data directory, as a crash would leave it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Waits for what another thread does; a minute without it is a failure.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// What is about to be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    OpenToRead,
    OpenToWrite,
    /// Its age was just looked at.
    LookedAt,
    Sync,
}

type Hook = dyn Fn(Act, &Path) -> io::Result<()> + Send + Sync;

/// The real disk, and something that happens on the way to it.
#[derive(Clone)]
pub struct Hooked(Arc<Hook>);

impl Hooked {
    pub fn by(hook: impl Fn(Act, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Arc::new(hook)))
    }

    fn file(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(HookedFile {
            disk: self.clone(),
            path: path.to_owned(),
            file,
        })
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

#[derive(Debug)]
struct HookedFile {
    disk: Hooked,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl Disk for Hooked {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, RealDisk.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let act = if write { Act::OpenToWrite } else { Act::OpenToRead };
        (self.0)(act, path)?;
        Ok(self.file(path, RealDisk.open(path, write)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        let modified = RealDisk.modified(path)?;
        (self.0)(Act::LookedAt, path)?;
        Ok(modified)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.disk.0)(Act::Sync, &self.path)?;
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}

/// A small generator of numbers; its seed is printed by the tests that use it.
pub struct Dice(pub u64);

impl Dice {
    /// A seed from `LONGHAUL_TEST_SEED`, decimal or `0x` and hexadecimal, or from the clock; printed.
    pub fn seeded(name: &str) -> Self {
        let given = std::env::var("LONGHAUL_TEST_SEED").ok();
        let given = given.and_then(|text| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        });
        let seed = given.unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .subsec_nanos()
                .into()
        });
        eprintln!("{name}: LONGHAUL_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
