//! A file system that fails on demand, under the real code.
//!
//! Only segments are hit: what fails elsewhere (catalogue, lock) is not what an acknowledgement rests on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::files::{Disk, DiskFile, RealDisk};

/// The faults that are in force; shared with the test that switches them.
#[derive(Debug, Default)]
pub struct Faults {
    /// Syncs of segments until one fails; 0 means none does.
    sync_in: AtomicU64,
    /// Writes to segments until one fails half done; 0 means none does.
    write_in: AtomicU64,
    full: AtomicBool,
}

impl Faults {
    /// The `nth` sync of a segment from now on fails (1 is the next).
    pub fn fail_sync(&self, nth: u64) {
        self.sync_in.store(nth, Ordering::SeqCst);
    }

    /// The `nth` write to a segment from now on writes half of its bytes, then fails.
    pub fn fail_write(&self, nth: u64) {
        self.write_in.store(nth, Ordering::SeqCst);
    }

    /// As long as it is set, no file grows and none is made; what exists can be overwritten, as on a real full disk.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    fn check_room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    /// Counts down and says whether this is the one.
    fn strikes(counter: &AtomicU64) -> bool {
        let counted = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        counted == Ok(1)
    }
}

/// The real file system with [`Faults`] in between.
#[derive(Debug)]
pub struct FaultyDisk {
    faults: Arc<Faults>,
    real: RealDisk,
}

impl FaultyDisk {
    /// A file system that fails as `faults` says.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self {
            faults,
            real: RealDisk,
        }
    }

    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let segment = path
            .extension()
            .is_some_and(|extension| extension == "seg" || extension == "tmp")
            && path.parent().is_some_and(|folder| folder.ends_with("journal"));
        if segment {
            Arc::new(FaultyFile {
                faults: Arc::clone(&self.faults),
                file,
            })
        } else {
            file
        }
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.real.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.check_room()?;
        Ok(self.wrap(path, self.real.create(path)?))
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, self.real.open(path, write)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.real.sync_dir(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    faults: Arc<Faults>,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if offset + bytes.len() as u64 > self.file.size()? {
            self.faults.check_room()?;
        }
        if Faults::strikes(&self.faults.write_in) {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::other("a write failed half done"));
        }
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        if Faults::strikes(&self.faults.sync_in) {
            return Err(io::Error::other("a sync failed"));
        }
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
