//! A disk under the journal that kills its own process at one frame: right before that frame is written, or right after it
//! is durable and before anybody was told.
//!
//! The frame is named by its stream and one of its records, so that it is the same one in every life, whichever frames of
//! other streams come before it or go to the disk with it: of those, what comes first is written, and nothing that comes
//! after. A stream is named by its kind and its turn: `session/2` is the second session that ever wrote anything.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use longhaul_journal::StreamId;
use longhaul_journal::files::{Disk, DiskFile, RealDisk};
use rustix::process::{Signal, getpid, kill_process};

use crate::wreck::{Lying, lying};

/// How long a frame is on its way to the disk before its process dies: longer than a command takes to begin.
const SLOW: Duration = Duration::from_millis(60);

/// On which side of a frame the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It was decided on, and nothing of it is written.
    Before,
    /// It is durable, and nobody knows.
    After,
}

/// The frame at which a process dies: `session/1:12:before`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Its stream, by kind and turn.
    pub stream: String,
    /// The seq of a record in it.
    pub seq: u64,
    /// On which side of it.
    pub side: Side,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(f, "{}:{}:{side}", self.stream, self.seq)
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} names no frame; write it like session/1:12:before");
        let [stream, seq, side] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        Ok(Self {
            stream: stream.to_owned(),
            seq: seq.parse().map_err(|_| wrong())?,
            side: match side {
                "before" => Side::Before,
                "after" => Side::After,
                _ => return Err(wrong()),
            },
        })
    }
}

/// The file system of this machine, under a process that dies at one frame.
#[derive(Debug)]
pub struct Blade {
    real: RealDisk,
    cutting: Arc<Cutting>,
}

/// Where its process dies, and what it needs to know of what was written before.
#[derive(Debug)]
struct Cutting {
    cut: Cut,
    /// Every stream with its kind, in the order of their first frames.
    streams: Mutex<Vec<(String, StreamId)>>,
}

impl Blade {
    /// A disk, empty so far, that kills its process there.
    pub fn over(cut: Cut) -> Self {
        let streams = Mutex::default();
        Self {
            real: RealDisk,
            cutting: Arc::new(Cutting { cut, streams }),
        }
    }

    fn under(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Edged {
            file,
            cutting: Arc::clone(&self.cutting),
        })
    }
}

impl Cutting {
    /// How many of these bytes are written by a process that dies in them; none of it when it lives on.
    fn falls_in(&self, bytes: &[u8]) -> Option<usize> {
        let Cut { stream, seq, side } = &self.cut;
        let mut frames = lying(bytes);
        let meant = frames.find(|frame| {
            self.name(frame) == *stream && (frame.first..frame.first + frame.count).contains(seq)
        });
        meant.map(|frame| match side {
            Side::Before => frame.offset,
            Side::After => frame.offset + frame.len,
        })
    }

    /// The stream of this frame, which is behind all that were asked for before.
    fn name(&self, frame: &Lying<'_>) -> String {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |(_, stream): &(String, StreamId)| *stream == frame.stream;
        if !streams.iter().any(is_its) {
            streams.push((frame.kind.to_owned(), frame.stream));
        }
        let of_kind = streams.iter().filter(|(kind, _)| kind == frame.kind);
        let before = of_kind.take_while(|stream| !is_its(stream)).count();
        named(frame.kind, before)
    }
}

/// The name of the stream that comes behind so many of its kind.
pub fn named(kind: &str, before: usize) -> String {
    format!("{kind}/{}", before + 1)
}

impl Disk for Blade {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.real.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.under(self.real.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.under(self.real.open(path, write)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        self.real.modified(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.real.sync_dir(path)
    }
}

#[derive(Debug)]
struct Edged {
    file: Arc<dyn DiskFile>,
    cutting: Arc<Cutting>,
}

impl DiskFile for Edged {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let Some(written) = self.cutting.falls_in(bytes) else {
            return self.file.write_at(bytes, offset);
        };
        let mut done = 0;
        while done < written {
            done += self.file.write_at(&bytes[done..written], offset + done as u64)?;
        }
        self.file.sync_data()?;
        // A slow disk: what is done before this frame is durable, though it may not be, has time to be done.
        if self.cutting.cut.side == Side::Before {
            std::thread::sleep(SLOW);
        }
        kill_process(getpid(), Signal::KILL)?;
        // The signal takes the whole process at the latest when this call returns to it.
        loop {
            std::thread::park();
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
