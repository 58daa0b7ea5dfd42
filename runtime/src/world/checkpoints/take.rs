//! Making a checkpoint.
//!
//! The tree is walked by descriptors that follow no link ([`Walk`]), since a service of the session may still be moving things
//! about in it, and whatever it puts in the way must not lead outside.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::SystemTime;

use longhaul_hands::{Met, Step, Walk};
use rustix::fs::FileType;

use super::manifest::{Entry, FORM, Kind, Manifest, shown};
use super::{BYTES_LIMIT, Checkpoints, ENTRIES_LIMIT, PATH_LIMIT, prune};
use crate::world::durable;

/// What changed so shortly before the last checkpoint was begun may have changed again in the same tick of the clock.
const TICK_MS: u64 = 100;

/// What one checkpoint may take. Zero is no bound.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    /// Whether somebody asked for it.
    pub(crate) requested: bool,
    /// Bytes of all files; a hole in a file counts as what it reads as, since that is what a copy of it takes.
    pub(crate) bytes: u64,
    /// Files, folders and links.
    pub(crate) entries: u64,
    /// Bytes that stay free on the disk; at most half of what is free when it begins.
    pub(crate) reserve: u64,
}

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// It is too much to keep.
    #[error("{0}")]
    TooLarge(String),
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Keeps what is in `workspace`, unless there is a checkpoint of that seq already. On disk when it returns.
///
/// # Errors
/// [`TakeError`]; what was copied by then is used by the next one, or pruned.
pub(crate) fn take(
    checkpoints: &Checkpoints,
    workspace: &Path,
    at: u64,
    bounds: Bounds,
) -> Result<Manifest, TakeError> {
    let here = |error| within(checkpoints.folder(), error);
    if let Ok(taken) = checkpoints.load(at) {
        return Ok(taken);
    }
    let taken_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let known = last_known(checkpoints).map_err(here)?;
    fs::create_dir_all(checkpoints.folder().join("objects")).map_err(here)?;
    let free = free(checkpoints.folder()).map_err(here)?;
    let mut taking = Taking {
        checkpoints,
        known,
        bounds: Bounds {
            reserve: bounds.reserve.min(free / 2),
            ..bounds
        },
        entries: Vec::new(),
        bytes: 0,
        added_bytes: 0,
    };
    taking.walk(workspace)?;
    let manifest = Manifest {
        form: FORM,
        at,
        requested: bounds.requested,
        taken_ms,
        added_bytes: taking.added_bytes,
        entries: taking.entries,
    };
    // The contents first: a list that is there has all of them.
    if manifest.added_bytes > 0 {
        let folder = File::open(checkpoints.folder()).map_err(here)?;
        rustix::fs::syncfs(folder).map_err(|error| here(error.into()))?;
    }
    let text = serde_json::to_vec(&manifest).map_err(|error| here(error.into()))?;
    durable::write(&checkpoints.manifest(at), &text).map_err(here)?;
    if let Err(error) = prune::prune(checkpoints) {
        tracing::warn!(%error, "old checkpoints could not be removed");
    }
    Ok(manifest)
}

fn within(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Bytes that are free for us on the disk of this folder.
fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
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
    bounds: Bounds,
    entries: Vec<Entry>,
    bytes: u64,
    added_bytes: u64,
}

impl Taking<'_> {
    /// What its owner closed is opened for the moment of the look, since only root could read it otherwise.
    fn walk(&mut self, workspace: &Path) -> Result<(), TakeError> {
        let mut walk = Walk::lending(workspace)?;
        while let Some(step) = walk.step()? {
            let Step::Met(met) = step else { continue };
            if walk.path_bytes(&met) > PATH_LIMIT {
                return Err(TakeError::TooLarge(format!(
                    "a path in the workspace has over {PATH_LIMIT} bytes, and what lies so deep cannot be made again: {}; remove \
                     it or move it up to have checkpoints",
                    walk.shown(&met)
                )));
            }
            let path = shown(walk.path().join(met.name()).as_os_str());
            let kind = match met.kind() {
                FileType::Directory => Kind::Folder,
                FileType::Fifo => Kind::Fifo,
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(walk.folder(), &met.name, Vec::new());
                    let target =
                        target.map_err(|error| within(Path::new(&walk.shown(&met)), error.into()))?;
                    Kind::Link {
                        target: shown(OsStr::from_bytes(target.to_bytes())),
                    }
                }
                FileType::RegularFile => self.file(&walk, &met, &path)?,
                // A socket or a device says nothing without whoever is behind it.
                _ => continue,
            };
            self.entries.push(Entry {
                path,
                mode: met.stat.st_mode & 0o7777,
                uid: met.stat.st_uid,
                gid: met.stat.st_gid,
                mtime_s: met.stat.st_mtime,
                mtime_ns: u32::try_from(met.stat.st_mtime_nsec).unwrap_or(0),
                kind,
            });
            self.check_size()?;
            if met.is_folder() {
                walk.enter(&met)?;
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<(), TakeError> {
        let (entries, bounds) = (self.entries.len() as u64, self.bounds);
        if !bounds.requested && (entries > ENTRIES_LIMIT || self.bytes > BYTES_LIMIT) {
            let why = format!(
                "the workspace has over {ENTRIES_LIMIT} entries or {} MiB; ask for a checkpoint to have one all the same",
                BYTES_LIMIT >> 20
            );
            return Err(TakeError::TooLarge(why));
        }
        let passed = |limit: u64, found: u64| limit > 0 && found > limit;
        if passed(bounds.entries, entries) || passed(bounds.bytes, self.bytes) {
            let why = format!(
                "the workspace has more than the session may have on disk ({} entries, {} MiB, holes in files counted as if they \
                 were written), so it is not kept; remove what is not needed",
                bounds.entries,
                bounds.bytes >> 20
            );
            return Err(TakeError::TooLarge(why));
        }
        Ok(())
    }

    fn file(&mut self, walk: &Walk, met: &Met, path: &str) -> Result<Kind, TakeError> {
        self.bytes = self.bytes.saturating_add(met.bytes());
        self.check_size()?;
        let of = |hash: String, bytes: u64| Kind::File {
            hash,
            bytes,
            inode: met.stat.st_ino,
            ctime_s: met.stat.st_ctime,
            ctime_ns: u32::try_from(met.stat.st_ctime_nsec).unwrap_or(0),
        };
        if let Some(Entry { kind, .. }) = self.known.get(path)
            && let Kind::File { hash, .. } = kind
            && *kind == of(hash.clone(), met.bytes())
        {
            return Ok(kind.clone());
        }
        let (hash, copied) = self.copy(walk, met)?;
        Ok(of(hash, copied))
    }

    /// Copies contents that are not there yet; their hash and size.
    fn copy(&mut self, walk: &Walk, met: &Met) -> Result<(String, u64), TakeError> {
        let folder = self.checkpoints.folder();
        let free = free(folder).map_err(|error| within(folder, error))?;
        if free < self.bounds.reserve.saturating_add(met.bytes()) {
            return Err(TakeError::TooLarge(format!(
                "keeping {} would leave less than {} MiB free on the disk; free some room, or remove it",
                walk.shown(met),
                self.bounds.reserve >> 20
            )));
        }
        let from = walk.open(met)?;
        // Beside the objects, so that it can be renamed; shares blocks with the original where that is possible.
        let temporary = folder.join("objects").join("copying");
        let kept = self.keep(from, met.bytes(), &temporary);
        if kept.is_err() {
            // The next one would write over it, but the room may be needed until then.
            let _ = fs::remove_file(&temporary);
        }
        kept.map_err(|error| within(Path::new(&walk.shown(met)), error).into())
    }

    /// No more than was counted, however the file grows meanwhile.
    fn keep(&mut self, from: File, bytes: u64, temporary: &Path) -> io::Result<(String, u64)> {
        let mut copy = File::create(temporary)?;
        let copied = io::copy(&mut from.take(bytes), &mut copy)?;
        drop(copy);
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(temporary)?)?;
        let hash = hasher.finalize().to_hex().to_string();
        let object = self.checkpoints.object(&hash);
        if object.exists() {
            fs::remove_file(temporary)?;
        } else {
            if let Some(parent) = object.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(temporary, &object)?;
            self.added_bytes += copied;
        }
        Ok((hash, copied))
    }
}
