//! One process, and one journal inside it, owns a data directory.
//!
//! The lock is a POSIX record lock on `<dir>/lock`: it dies with the process, and children do not inherit it (a command
//! that outlives the runtime must not keep its directory locked). Such a lock does not exclude the process that holds
//! it, and is lost when *any* descriptor of that file is closed there; hence the table of directories below, which is
//! asked before the file is touched.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};

/// Directories locked by this process, by device and inode.
static HELD: LazyLock<Mutex<HashSet<(u64, u64)>>> = LazyLock::new(Mutex::default);

/// Who holds a data directory, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id; 0 if it could not be learnt.
    pub pid: u32,
    /// When it took the lock, milliseconds since 1970.
    pub since_ms: u64,
    /// Where it can be talked to, if anywhere.
    pub socket: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            // It holds the lock and has not said yet who it is.
            0 => write!(f, "a process that has just begun")?,
            pid => write!(f, "process {pid}")?,
        }
        self.socket
            .as_ref()
            .map_or(Ok(()), |socket| write!(f, ", listening at {socket}"))
    }
}

/// The lock; dropping it releases the directory.
#[derive(Debug)]
pub(crate) struct Lock {
    key: (u64, u64),
    // Closing the file is what releases the lock, and must come before the table forgets it.
    file: Option<File>,
}

/// Why the lock could not be had.
#[derive(Debug)]
pub(crate) enum LockError {
    Held(Holder),
    Io(io::Error),
}

impl Lock {
    pub(crate) fn take(folder: &Path, socket: Option<String>, now_ms: u64) -> Result<Self, LockError> {
        let meta = folder.metadata().map_err(LockError::Io)?;
        let key = (meta.dev(), meta.ino());
        if !held().insert(key) {
            // Reading the file here would release the lock, so we say only what we know.
            return Err(LockError::Held(Holder {
                pid: std::process::id(),
                ..Holder::default()
            }));
        }
        let mut lock = Self { key, file: None };
        let path = folder.join("lock");
        let open = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut file = open.map_err(LockError::Io)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => {
                let mut text = String::new();
                // Whoever holds it may be writing its name just now; then the name stays unknown.
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held(serde_json::from_str(&text).unwrap_or_default()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let holder = Holder {
            pid: std::process::id(),
            since_ms: now_ms,
            socket,
        };
        let text = serde_json::to_vec(&holder).map_err(|error| LockError::Io(error.into()))?;
        let write = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text));
        write.map_err(LockError::Io)?;
        lock.file = Some(file);
        Ok(lock)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.file.take());
        held().remove(&self.key);
    }
}

fn held() -> std::sync::MutexGuard<'static, HashSet<(u64, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_known_has_no_number() {
        let mut holder = Holder::default();
        assert_eq!(holder.to_string(), "a process that has just begun");
        holder.pid = 7;
        assert_eq!(holder.to_string(), "process 7");
    }
}
