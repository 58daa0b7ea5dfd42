//! Blobs as files: `blobs/ab/cdef...`, named by the sha256 of their bytes.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::blobs::{BlobError, BlobId, BlobRef, Blobs};
use crate::files::{self, Disk};
use crate::sabotage;

/// Bytes copied at a time, so that a large body needs no large memory on its way in.
const CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct LocalBlobs {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    /// Tells the temporary files of concurrent writers apart.
    serial: AtomicU64,
    /// Folders whose own entry this process has made durable. That one exists is no proof: it may be the work of a
    /// concurrent `put`, or of a process that was killed, and not be synced yet.
    placed: Mutex<HashSet<PathBuf>>,
    /// Held while a blob gets its name, and while one is looked at and removed: what was old when it was looked at may have
    /// been replaced by the same bytes, kept again a moment ago, when it is removed.
    naming: Mutex<()>,
}

/// What a sweep freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many blobs.
    pub blobs: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl LocalBlobs {
    /// Blobs below a folder. What an interrupted `put` left behind is removed.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path) -> io::Result<Self> {
        disk.create_dir(folder)?;
        for name in disk.list(folder)? {
            if name.ends_with(".tmp") {
                disk.remove(&folder.join(name))?;
            }
        }
        Ok(Self::of(disk, folder))
    }

    /// Blobs below a folder that others may be at work in; only to be read.
    pub(crate) fn of(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            serial: AtomicU64::new(0),
            placed: Mutex::default(),
            naming: Mutex::default(),
        }
    }

    /// Every blob there is.
    pub(crate) fn ids(&self) -> io::Result<Vec<BlobId>> {
        let mut ids = Vec::new();
        for folder in self.disk.list(&self.folder)? {
            // What is still being written lies beside the folders.
            if folder.len() != 2 {
                continue;
            }
            for rest in self.disk.list(&self.folder.join(&folder))? {
                let mut id = [0; 32];
                if hex::decode_to_slice(format!("{folder}{rest}"), &mut id).is_ok() {
                    ids.push(BlobId(id));
                }
            }
        }
        Ok(ids)
    }

    /// Removes every blob that is neither named nor younger than `old_before`.
    pub(crate) fn sweep(&self, named: &BTreeSet<BlobId>, old_before: SystemTime) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for id in self.ids()? {
            if named.contains(&id) {
                continue;
            }
            let (_, path) = self.place(id);
            let _naming = self.naming();
            let modified = match self.disk.modified(&path) {
                Ok(modified) => modified,
                // Another sweep was here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if modified < old_before {
                let bytes = self.disk.open(&path, false)?.size()?;
                self.disk.remove(&path)?;
                swept.blobs += 1;
                swept.bytes += bytes;
            }
        }
        Ok(swept)
    }

    fn place(&self, id: BlobId) -> (PathBuf, PathBuf) {
        let name = id.to_string();
        let folder = self.folder.join(&name[..2]);
        let path = folder.join(&name[2..]);
        (folder, path)
    }

    fn keep(&self, source: &mut dyn Read, temporary: &Path) -> io::Result<BlobRef> {
        let file = self.disk.create(temporary)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            let read = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..read]);
            files::write_all(&*file, &buffer[..read], bytes)?;
            bytes += read as u64;
        }
        if !sabotage::is_on("name-an-unsynced-blob") {
            file.sync_data()?;
        }
        let id = BlobId(hasher.finalize().into());
        let (folder, path) = self.place(id);
        self.disk.create_dir(&folder)?;
        // An existing blob of this name is replaced: it may be damaged, and these bytes are not.
        let naming = self.naming();
        self.disk.rename(temporary, &path)?;
        drop(naming);
        self.disk.sync_dir(&folder)?;
        if !self.placed().contains(&folder) {
            self.disk.sync_dir(&self.folder)?;
            self.placed().insert(folder);
        }
        Ok(BlobRef { id, bytes })
    }

    fn naming(&self) -> MutexGuard<'_, ()> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn placed(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for LocalBlobs {
    fn put(&self, source: &mut dyn Read) -> Result<BlobRef, BlobError> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!("{serial}.tmp"));
        self.keep(source, &temporary).map_err(|error| {
            // Best effort: what stays is removed when the journal is opened again.
            let _ = self.disk.remove(&temporary);
            BlobError::Io(error)
        })
    }

    fn get(&self, id: BlobId) -> Result<Vec<u8>, BlobError> {
        let (_, path) = self.place(id);
        let bytes = files::read_small(&*self.disk, &path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound(id),
            _ => BlobError::Io(error),
        })?;
        if Sha256::digest(&bytes).as_slice() != id.0 {
            return Err(BlobError::Damaged(id));
        }
        Ok(bytes)
    }
}
