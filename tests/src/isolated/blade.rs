//! A disk under the journal that kills its own process at one frame: right before that frame is written, or right after it
//! is durable and before anybody was told.
//!
//! The frame is named by the kind of its stream and one of its records, so that it is the same one in every life, whichever
//! frames of other streams come before it or go to the disk with it: of those, what comes first is written, and nothing that
//! comes after.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use longhaul_journal::files::{Disk, DiskFile, RealDisk};
use rustix::process::{Signal, getpid, kill_process};

use crate::wreck::lying;

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

/// The frame at which a process dies: `session:12:before`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// The kind of its stream.
    pub kind: String,
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
        write!(f, "{}:{}:{side}", self.kind, self.seq)
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} names no frame; write it like session:12:before");
        let [kind, seq, side] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(wrong());
        };
        Ok(Self {
            kind: kind.to_owned(),
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
    cut: Arc<Cut>,
}

impl Blade {
    /// A disk that kills its process there. There is one stream of that kind, or the first one is meant.
    pub fn over(cut: Cut) -> Self {
        Self {
            real: RealDisk,
            cut: Arc::new(cut),
        }
    }

    fn under(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(Cutting {
            file,
            cut: Arc::clone(&self.cut),
        })
    }
}

impl Cut {
    /// How many of these bytes are written by a process that dies here; none of it when it lives on.
    fn falls_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut frames = lying(bytes);
        let meant = frames.find(|frame| {
            frame.kind == self.kind && (frame.first..frame.first + frame.count).contains(&self.seq)
        });
        meant.map(|frame| match self.side {
            Side::Before => frame.offset,
            Side::After => frame.offset + frame.len,
        })
    }
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
struct Cutting {
    file: Arc<dyn DiskFile>,
    cut: Arc<Cut>,
}

impl DiskFile for Cutting {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let Some(written) = self.cut.falls_in(bytes) else {
            return self.file.write_at(bytes, offset);
        };
        let mut done = 0;
        while done < written {
            done += self.file.write_at(&bytes[done..written], offset + done as u64)?;
        }
        self.file.sync_data()?;
        // A slow disk: what is done before this frame is durable, though it may not be, has time to be done.
        if self.cut.side == Side::Before {
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
