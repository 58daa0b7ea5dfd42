//! Which streams are copies that nobody has adopted: `<dir>/inert`.
//!
//! It is a fact about this directory and not about the streams, so no frame can hold it: the same frames are live where
//! they came from. The file is written before the first frame of an import, and changed after the frame of an adoption is
//! durable, so that a crash in between leaves a stream inert and never lets two places work on it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::files::{self, Disk};
use crate::id::StreamId;

const FILE: &str = "inert";
const HEADING: &str = "longhaul inert 1\n";

/// The streams of a directory that belong to nobody in it.
#[derive(Debug)]
pub(crate) struct Inert {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    streams: Mutex<BTreeSet<StreamId>>,
}

impl Inert {
    /// Reads the file. One that is not what was written is an error: to take a copy for one's own is what must not happen.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        let streams = read(&*disk, folder)?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            streams: Mutex::new(streams),
        })
    }

    pub(crate) fn holds(&self, stream: StreamId) -> bool {
        self.lock().contains(&stream)
    }

    /// Makes a stream inert; durable on return.
    pub(crate) fn add(&self, stream: StreamId) -> io::Result<()> {
        self.change(|streams| streams.insert(stream))
    }

    /// Lets a stream be live; durable on return.
    pub(crate) fn remove(&self, stream: StreamId) -> io::Result<()> {
        self.change(|streams| streams.remove(&stream))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<StreamId>) -> bool) -> io::Result<()> {
        let mut streams = self.lock();
        let mut changed = streams.clone();
        if change(&mut changed) {
            files::replace(&*self.disk, &self.folder, FILE, text(&changed).as_bytes())?;
            *streams = changed;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<StreamId>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The inert streams of a directory.
pub(crate) fn read(disk: &dyn Disk, folder: &Path) -> io::Result<BTreeSet<StreamId>> {
    let bytes = match files::read_small(disk, &folder.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    parse(&bytes).ok_or_else(|| {
        let reason = "the file `inert` is not what was written; restore it, or the backup it came with";
        io::Error::new(io::ErrorKind::InvalidData, reason)
    })
}

/// Writes the file of a directory that nobody has open yet.
pub(crate) fn write(disk: &dyn Disk, folder: &Path, streams: &BTreeSet<StreamId>) -> io::Result<()> {
    files::replace(disk, folder, FILE, text(streams).as_bytes())
}

/// A heading, one id a line, and the checksum of all that.
fn text(streams: &BTreeSet<StreamId>) -> String {
    let mut text = HEADING.to_owned();
    for stream in streams {
        text += &format!("{stream}\n");
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text + &format!("crc {crc:08x}\n")
}

fn parse(bytes: &[u8]) -> Option<BTreeSet<StreamId>> {
    let written = std::str::from_utf8(bytes).ok()?;
    let ids = written.strip_prefix(HEADING)?.lines();
    let streams = ids
        .filter(|line| !line.starts_with("crc "))
        .map(|line| line.parse().ok())
        .collect::<Option<BTreeSet<StreamId>>>()?;
    (text(&streams) == written).then_some(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-LOG-12
    #[test]
    fn no_flipped_bit_makes_a_copy_ones_own() {
        let streams: BTreeSet<_> = (0..3u8)
            .map(|number| StreamId::named("session", "local", &number.to_string()))
            .collect();
        let sound = text(&streams);
        assert_eq!(parse(sound.as_bytes()), Some(streams));
        for bit in 0..sound.len() * 8 {
            let mut bytes = sound.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bytes), None, "bit {bit}");
        }
        assert_eq!(parse(b""), None);
    }
}
