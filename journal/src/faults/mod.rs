//! A file system that fails on demand, and loses power, under the real code.
//!
//! Everything the journal does to segments, blobs and its small files passes through [`Disk`](crate::files::Disk), so that
//! each of those acts can fail here: not done, half done, or done and not told. Beside the real files it keeps what each of
//! them was at its last sync; so it can say what a power loss would leave: of everything later, any part.
//! (The lock and the catalogue are not hit: no acknowledgement rests on them.)

mod shadow;

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::files::{Disk, DiskFile, RealDisk};
use shadow::{Inode, Shadow};

/// The faults that are in force; shared with the test that switches them.
#[derive(Debug, Default)]
pub struct Faults {
    /// Syncs, of files and folders, until one fails; 0 means none does.
    sync_in: AtomicU64,
    /// Writes until one fails half done.
    write_in: AtomicU64,
    /// Writes and creations that need room until there is none.
    full_in: AtomicU64,
    /// Acts until one is done and reported as failed.
    untold_in: AtomicU64,
    /// Acts until the power goes.
    power_in: AtomicU64,
    full: AtomicBool,
    short: AtomicBool,
    off: AtomicBool,
    dice: Mutex<Dice>,
}

impl Faults {
    /// No fault yet; whatever chance decides later follows from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            dice: Mutex::new(Dice(seed)),
            ..Self::default()
        }
    }

    /// The `nth` sync of a file or folder from now on fails (1 is the next).
    ///
    /// As with a real kernel, what it was to make durable may have got there, or may be dropped and called clean: then
    /// no later sync makes it durable either, unless it is written again.
    pub fn fail_sync(&self, nth: u64) {
        self.sync_in.store(nth, Ordering::SeqCst);
    }

    /// The `nth` write from now on writes half of its bytes, then fails.
    pub fn fail_write(&self, nth: u64) {
        self.write_in.store(nth, Ordering::SeqCst);
    }

    /// The `nth` act from now on that changes the disk is done, but reported as failed.
    pub fn fail_untold(&self, nth: u64) {
        self.untold_in.store(nth, Ordering::SeqCst);
    }

    /// As long as it is set, no file grows and none is made; what exists can be overwritten, as on a real full disk.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// The disk is full from the `nth` write or creation on that needs room, until [`Faults::set_full`] says otherwise.
    pub fn fill_up(&self, nth: u64) {
        self.full_in.store(nth, Ordering::SeqCst);
    }

    /// Whether the disk is full now.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::SeqCst)
    }

    /// From now on a write may take only the first part of what it is given, as POSIX allows.
    pub fn set_short_writes(&self, short: bool) {
        self.short.store(short, Ordering::SeqCst);
    }

    /// The power goes with the `nth` act from now on that changes the disk: that one may be done still, nothing after it.
    pub fn cut_power(&self, nth: u64) {
        self.power_in.store(nth, Ordering::SeqCst);
    }

    /// Whether every fault that was ordered has come.
    pub fn have_struck(&self) -> bool {
        let ordered = [
            &self.sync_in,
            &self.write_in,
            &self.full_in,
            &self.untold_in,
            &self.power_in,
        ];
        ordered.iter().all(|counter| counter.load(Ordering::SeqCst) == 0)
    }

    /// Does one thing to the disk, unless a fault says otherwise.
    fn act<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.off.load(Ordering::SeqCst) {
            return Err(io::Error::other("the power is off"));
        }
        if strikes(&self.power_in) {
            self.off.store(true, Ordering::SeqCst);
            if self.dice().below(2) == 0 {
                drop(act());
            }
            return Err(io::Error::other("the power went"));
        }
        if strikes(&self.untold_in) {
            drop(act());
            return Err(io::Error::other("an act was done, and reported as failed"));
        }
        act()
    }

    fn check_room(&self) -> io::Result<()> {
        if strikes(&self.full_in) {
            self.set_full(true);
        }
        if self.is_full() {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts down and says whether this is the one.
fn strikes(counter: &AtomicU64) -> bool {
    let counted = counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    counted == Ok(1)
}

/// Chance from a seed (splitmix64).
#[derive(Debug, Default)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The real file system with [`Faults`] in between.
#[derive(Debug)]
pub struct FaultyDisk {
    faults: Arc<Faults>,
    shadow: Arc<Mutex<Shadow>>,
    real: RealDisk,
}

impl FaultyDisk {
    /// A file system that fails as `faults` says. What exists already counts as durable.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self {
            faults,
            shadow: Arc::default(),
            real: RealDisk,
        }
    }

    /// Writes to `into` what a power loss at this moment would leave of `folder`; nothing at all if not even its name was
    /// durable.
    ///
    /// Of each file that was not synced since, every page of 4 KiB is as it was at the last sync, as it is now, or torn
    /// between both by sectors, and its length is the old one, the new one, or one in between. Of each folder that was
    /// not synced since, any of its changes is lost. The seed of the faults chooses.
    ///
    /// # Errors
    /// When the surviving files cannot be written.
    pub fn after_power_loss(&self, folder: &Path, into: &Path) -> io::Result<()> {
        self.faults.off.store(true, Ordering::SeqCst);
        self.shadow().materialise(folder, into, &mut self.faults.dice())
    }

    fn shadow(&self) -> MutexGuard<'_, Shadow> {
        self.shadow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, inode: Inode) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile {
            faults: Arc::clone(&self.faults),
            inode,
        })
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return self.real.create_dir(path);
        }
        self.faults.act(|| {
            self.faults.check_room()?;
            self.shadow().create_dir(&self.real, path)
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.real.list(path)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.faults.act(|| {
            self.faults.check_room()?;
            self.shadow().create(&self.real, path)
        })?;
        Ok(self.handle(inode))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.handle(self.shadow().open(&self.real, path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.act(|| self.shadow().rename(&self.real, from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.act(|| self.shadow().remove(&self.real, path))
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        self.real.modified(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.act(|| {
            if strikes(&self.faults.sync_in) {
                return Err(io::Error::other("the sync of a folder failed"));
            }
            self.shadow().sync_dir(path)
        })
    }
}

#[derive(Debug)]
struct FaultyFile {
    faults: Arc<Faults>,
    inode: Inode,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inode.pages().file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.faults.act(|| {
            let mut pages = self.inode.pages();
            if offset + bytes.len() as u64 > pages.file.size()? {
                self.faults.check_room()?;
            }
            if strikes(&self.faults.write_in) {
                pages.write(&bytes[..bytes.len() / 2], offset)?;
                return Err(io::Error::other("a write failed half done"));
            }
            let taken = if self.faults.short.load(Ordering::SeqCst) && !bytes.is_empty() {
                let all = bytes.len() as u64;
                usize::try_from(1 + self.faults.dice().below(all)).unwrap_or(bytes.len())
            } else {
                bytes.len()
            };
            pages.write(&bytes[..taken], offset)
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.act(|| {
            let mut pages = self.inode.pages();
            if strikes(&self.faults.sync_in) {
                pages.fail_sync(&mut self.faults.dice());
                return Err(io::Error::other("a sync failed"));
            }
            pages.sync()
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.act(|| self.inode.pages().set_len(len))
    }

    fn size(&self) -> io::Result<u64> {
        self.inode.pages().file.size()
    }
}
