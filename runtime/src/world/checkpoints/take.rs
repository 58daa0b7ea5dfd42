//! Making a checkpoint.
//!
//! The tree is walked by descriptors that follow no link, since a service of the session may still be moving things about in
//! it, and whatever it puts in the way must not lead outside.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::manifest::{Entry, FORM, Kind, Manifest, shown};
use super::{BYTES_LIMIT, Checkpoints, DEPTH_LIMIT, ENTRIES_LIMIT, prune};
use crate::world::durable;

/// What changed so shortly before the last checkpoint was begun may have changed again in the same tick of the clock.
const TICK_MS: u64 = 100;

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// It is too much to keep without being asked.
    #[error("{0}")]
    TooLarge(String),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// Keeps what is in `workspace`, unless there is a checkpoint of that seq already. On disk when it returns.
///
/// # Errors
/// [`TakeError`]; what was copied by then is used by the next one, or pruned.
pub(crate) fn take(
    checkpoints: &Checkpoints,
    workspace: &Path,
    at: u64,
    requested: bool,
) -> Result<Manifest, TakeError> {
    let io = |error| TakeError::Io {
        path: checkpoints.folder().to_owned(),
        error,
    };
    if let Ok(taken) = checkpoints.load(at) {
        return Ok(taken);
    }
    let taken_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let known = last_known(checkpoints).map_err(io)?;
    let mut taking = Taking {
        checkpoints,
        known,
        bounded: !requested,
        entries: Vec::new(),
        bytes: 0,
        added_bytes: 0,
    };
    fs::create_dir_all(checkpoints.folder().join("objects")).map_err(io)?;
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(workspace, open, Mode::empty()).map_err(|error| TakeError::Io {
        path: workspace.to_owned(),
        error: error.into(),
    })?;
    taking.folder(&root, Path::new(""), 0)?;
    let manifest = Manifest {
        form: FORM,
        at,
        requested,
        taken_ms,
        added_bytes: taking.added_bytes,
        entries: taking.entries,
    };
    // The contents first: a list that is there has all of them.
    if manifest.added_bytes > 0 {
        let folder = File::open(checkpoints.folder()).map_err(io)?;
        rustix::fs::syncfs(folder).map_err(|error| io(error.into()))?;
    }
    let text = serde_json::to_vec(&manifest).map_err(|error| io(error.into()))?;
    durable::write(&checkpoints.manifest(at), &text).map_err(io)?;
    if let Err(error) = prune::prune(checkpoints) {
        tracing::warn!(%error, "old checkpoints could not be removed");
    }
    Ok(manifest)
}

/// Files of the newest checkpoint, by path.
fn last_known(checkpoints: &Checkpoints) -> io::Result<HashMap<String, Entry>> {
    let Some(newest) = checkpoints.seqs()?.into_iter().next_back() else {
        return Ok(HashMap::new());
    };
    // One that cannot be read only costs reading every file.
    let Ok(manifest) = checkpoints.load(newest) else {
        return Ok(HashMap::new());
    };
    let is_settled = |entry: &Entry| match entry.kind {
        Kind::File {
            ctime_s, ctime_ns, ..
        } => {
            let ctime_ms = u64::try_from(ctime_s).unwrap_or(0) * 1_000 + u64::from(ctime_ns / 1_000_000);
            ctime_ms + TICK_MS < manifest.taken_ms
        }
        _ => false,
    };
    let settled: Vec<Entry> = manifest
        .entries
        .iter()
        .filter(|entry| is_settled(entry))
        .cloned()
        .collect();
    Ok(settled
        .into_iter()
        .map(|entry| (entry.path.clone(), entry))
        .collect())
}

struct Taking<'a> {
    checkpoints: &'a Checkpoints,
    known: HashMap<String, Entry>,
    bounded: bool,
    entries: Vec<Entry>,
    bytes: u64,
    added_bytes: u64,
}

impl Taking<'_> {
    fn folder(&mut self, folder: &OwnedFd, path: &Path, depth: usize) -> Result<(), TakeError> {
        let at = |name: &OsStr, error: rustix::io::Errno| TakeError::Io {
            path: path.join(name),
            error: error.into(),
        };
        if depth > DEPTH_LIMIT {
            let error = io::Error::other("folders nest too deep");
            return Err(TakeError::Io {
                path: path.to_owned(),
                error,
            });
        }
        for name in names(folder).map_err(|error| at(OsStr::new(""), error))? {
            let stat = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // Somebody removed it meanwhile.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(error) => return Err(at(&name, error)),
            };
            let below = path.join(&name);
            let kind = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => Kind::Folder,
                FileType::Fifo => Kind::Fifo,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(folder, &name, Vec::new());
                    let target = target.map_err(|error| at(&name, error))?;
                    Kind::Link {
                        target: shown(OsStr::from_bytes(target.to_bytes())),
                    }
                }
                FileType::RegularFile => self.file(folder, &name, &below, &stat)?,
                // A socket or a device says nothing without whoever is behind it.
                _ => continue,
            };
            let is_folder = kind == Kind::Folder;
            self.entries.push(Entry {
                path: shown(below.as_os_str()),
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                mtime_s: stat.st_mtime,
                mtime_ns: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
                kind,
            });
            self.check_size()?;
            if is_folder {
                let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = rustix::fs::openat(folder, &name, open, Mode::empty());
                self.folder(&inner.map_err(|error| at(&name, error))?, &below, depth + 1)?;
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), TakeError> {
        let entries = self.entries.len() as u64;
        if self.bounded && (entries > ENTRIES_LIMIT || self.bytes > BYTES_LIMIT) {
            let why = format!(
                "the workspace has over {ENTRIES_LIMIT} entries or {} MiB; ask for a checkpoint to have one all the same",
                BYTES_LIMIT >> 20
            );
            return Err(TakeError::TooLarge(why));
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path, stat: &Stat) -> Result<Kind, TakeError> {
        let bytes = u64::try_from(stat.st_size).unwrap_or(0);
        self.bytes += bytes;
        self.check_size()?;
        let (inode, ctime_s) = (stat.st_ino, stat.st_ctime);
        let ctime_ns = u32::try_from(stat.st_ctime_nsec).unwrap_or(0);
        let of = |hash: String| Kind::File {
            hash,
            bytes,
            inode,
            ctime_s,
            ctime_ns,
        };
        if let Some(Entry {
            kind: Kind::File { hash, .. },
            ..
        }) = self.known.get(&shown(path.as_os_str()))
        {
            let before = of(hash.clone());
            if self
                .known
                .get(&shown(path.as_os_str()))
                .is_some_and(|entry| entry.kind == before)
            {
                return Ok(before);
            }
        }
        let kept = self.copy(folder, name, stat);
        let (hash, copied) = kept.map_err(|error| TakeError::Io {
            path: path.to_owned(),
            error,
        })?;
        Ok(match of(hash) {
            Kind::File {
                hash,
                inode,
                ctime_s,
                ctime_ns,
                ..
            } => Kind::File {
                hash,
                bytes: copied,
                inode,
                ctime_s,
                ctime_ns,
            },
            other => other,
        })
    }

    /// Copies contents that are not there yet; their hash and size.
    fn copy(&mut self, folder: &OwnedFd, name: &OsStr, stat: &Stat) -> io::Result<(String, u64)> {
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(folder, name, open, Mode::empty())?;
        let now = rustix::fs::fstat(&opened)?;
        if (now.st_ino, now.st_dev) != (stat.st_ino, stat.st_dev)
            || FileType::from_raw_mode(now.st_mode) != FileType::RegularFile
        {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        // Beside the objects, so that it can be renamed; shares blocks with the original where that is possible.
        let temporary = self.checkpoints.folder().join("objects").join("copying");
        let mut copy = File::create(&temporary)?;
        let copied = io::copy(&mut File::from(opened), &mut copy)?;
        drop(copy);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(&temporary)?)?;
        let hash = hasher.finalize().to_hex().to_string();
        let object = self.checkpoints.object(&hash);
        if object.exists() {
            fs::remove_file(&temporary)?;
        } else {
            if let Some(parent) = object.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(&temporary, &object)?;
            self.added_bytes += copied;
        }
        Ok((hash, copied))
    }
}

/// Names in a folder, in order.
fn names(folder: &OwnedFd) -> Result<Vec<OsString>, rustix::io::Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort_unstable();
    Ok(names)
}
