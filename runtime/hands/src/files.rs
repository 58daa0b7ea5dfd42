//! File tools for a workspace in which somebody else plants symlinks, pipes and races.
//!
//! Every path is resolved by the kernel in one call, `openat2` with `BENEATH | NO_MAGICLINKS | NO_XDEV`, so there is no
//! moment between check and use. Links that stay inside are followed on the way; the last part of a path that is
//! *written* must not be a link. A kernel without `openat2` is refused: there is no second, weaker way.
//!
//! Writes are whole: a new file beside the old one, synced, renamed over it, folder synced. After a crash the file has
//! its old bytes or its new ones, and [`Workspace::compare`] says which.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

/// Why a file operation was refused or failed. Except for `Io` while writing, the file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path itself is impossible.
    #[error("path {path:?} {why}; give a path relative to the workspace, like src/main.rs")]
    PathRefused {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It leads out of the workspace, by a link or onto another file system.
    #[error("{path} leads outside the workspace; only files inside can be used")]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// A link stands where none is followed.
    #[error(
        "{path} is a symbolic link (or passes through one that is not followed); name the file it points to"
    )]
    SymlinkRefused {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing.
    #[error("{path} does not exist; list its folder to see what does")]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A part of the path that should be a folder is none.
    #[error("a part of {path} is not a folder; list the folders above it")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// It is a folder, a pipe, a device or a socket.
    #[error("{path} is a {found}, not a regular file; name a file")]
    NotRegular {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// It has more bytes than asked for.
    #[error("{path} has {bytes} bytes, the limit is {max}; read a part with a command such as head or sed")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Text was asked for and it is none.
    #[error("{path} is not UTF-8 text (first bad byte at {offset}); change it with a command instead")]
    NotUtf8 {
        /// The path.
        path: PathBuf,
        /// Where it stops being text.
        offset: usize,
    },
    /// The text to be replaced is empty.
    #[error("the old text of an edit of {path} is empty; give the text to replace, or write the whole file")]
    OldTextEmpty {
        /// The path.
        path: PathBuf,
    },
    /// The text to be replaced is not there.
    #[error("the old text is not in {path}; read the file and copy the text exactly")]
    OldTextNotFound {
        /// The path.
        path: PathBuf,
    },
    /// The text to be replaced is there more than once.
    #[error("the old text is {times} times in {path}; add lines around it until it is unique")]
    OldTextNotUnique {
        /// The path.
        path: PathBuf,
        /// How often.
        times: usize,
    },
    /// Somebody changed the file since it was read.
    #[error("{path} has changed (sha256 {found}, expected {expected}); read it again")]
    Changed {
        /// The path.
        path: PathBuf,
        /// The hash that was expected.
        expected: String,
        /// The hash that was found.
        found: String,
    },
    /// The kernel is too old.
    #[error(
        "this kernel has no openat2 (Linux 5.6), without which paths cannot be confined; use a newer kernel"
    )]
    NoOpenat2,
    /// The system failed. While writing, the new bytes may or may not be in place: compare hashes.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
}

impl FileError {
    /// The word for records and for brains, stable over versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::PathRefused { .. } => "path_refused",
            Self::Outside { .. } => "outside_workspace",
            Self::SymlinkRefused { .. } => "symlink_refused",
            Self::NotFound { .. } => "file_not_found",
            Self::NotAFolder { .. } => "not_a_folder",
            Self::NotRegular { .. } => "not_a_regular_file",
            Self::TooLarge { .. } => "file_too_large",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::OldTextEmpty { .. } => "old_text_empty",
            Self::OldTextNotFound { .. } => "old_text_not_found",
            Self::OldTextNotUnique { .. } => "old_text_not_unique",
            Self::Changed { .. } => "file_changed",
            Self::NoOpenat2 => "openat2_unavailable",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => "disk_full",
            Self::Io { .. } => "file_io",
        }
    }

    /// The system's error number that comes nearest, for records that hold numbers.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::PathRefused { .. } => libc::EINVAL,
            Self::Outside { .. } => libc::EXDEV,
            Self::SymlinkRefused { .. } => libc::ELOOP,
            Self::NotFound { .. } => libc::ENOENT,
            Self::NotAFolder { .. } => libc::ENOTDIR,
            Self::NoOpenat2 => libc::ENOSYS,
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
            _ => libc::EINVAL,
        }
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// All bytes of the file.
    pub bytes: Vec<u8>,
    /// Their SHA-256 in hex.
    pub sha256: String,
}

/// What a write or an edit did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the file before; none if there was no file.
    pub before: Option<String>,
    /// SHA-256 of the file after.
    pub after: String,
    /// Its size after.
    pub bytes: u64,
}

/// Whether a write whose outcome was lost has taken place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The file has the bytes it was to get.
    Applied,
    /// The file has the bytes it had. Writing again is safe.
    NotApplied,
    /// The file is neither: somebody else wrote. Tell, do not write.
    Other {
        /// Its hash now; none if it is gone.
        found: Option<String>,
    },
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name; bytes that are not UTF-8 are shown as `U+FFFD`.
    pub name: String,
    /// What it is; links are not followed.
    pub kind: EntryKind,
    /// Size of a file.
    pub bytes: u64,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A pipe, socket or device.
    Other,
}

/// The names in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<Entry>,
    /// There are more than were asked for.
    pub more: bool,
}

/// A workspace folder, held open: its files stay reachable should the folder be renamed.
#[derive(Debug)]
pub struct Workspace {
    root: OwnedFd,
    /// Who gets what is made here, if that is not who makes it.
    heir: Option<Owner>,
}

type Owner = (rustix::fs::Uid, rustix::fs::Gid);

/// The most that is hashed of a file about to be replaced: a sparse file of a terabyte costs nothing to plant.
const MAX_REPLACED_BYTES: u64 = 256 << 20;
/// The most a file may have to be edited.
const MAX_EDITED_BYTES: u64 = 16 << 20;

impl Workspace {
    /// Opens the workspace at `path`, which is the runtime's own and trusted.
    ///
    /// # Errors
    /// It is missing or not a folder.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| refusal(path, "opening", e))?;
        let stat = rustix::fs::fstat(&root).map_err(|e| refusal(path, "looking at", e))?;
        let me = rustix::process::geteuid();
        // What root makes for a session belongs to the user that the session is, as its workspace does.
        let heir = (me.is_root() && stat.st_uid != me.as_raw()).then(|| owner((stat.st_uid, stat.st_gid)));
        Ok(Self { root, heir })
    }

    /// Reads a file of at most `max` bytes.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read(&self, path: &Path, max: u64) -> Result<Contents, FileError> {
        let path = confined_file(path)?;
        let bytes = read_all(self.regular(path)?, path, max)?;
        Ok(Contents {
            sha256: sha256(&bytes),
            bytes,
        })
    }

    /// Reads a file of at most `max` bytes that is to be kept: not through a link, and only if nobody writes to it meanwhile.
    ///
    /// # Errors
    /// See [`FileError`]; [`FileError::Changed`] when it was written to while it was read.
    pub fn read_at_rest(&self, path: &Path, max: u64) -> Result<Contents, FileError> {
        let path = confined_file(path)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let file = File::from(self.resolve(path, flags)?);
        must_be_regular(&file, path)?;
        let changed_at = |file: &File| {
            let stat = rustix::fs::fstat(file).map_err(|e| refusal(path, "looking at", e))?;
            Ok((stat.st_size, stat.st_ctime, stat.st_ctime_nsec))
        };
        let before = changed_at(&file)?;
        let bytes = read_all(&file, path, max)?;
        // The clock of a file system may stand still for milliseconds, so what was read is compared with what is there now.
        (&file).seek(SeekFrom::Start(0)).map_err(|source| FileError::Io {
            doing: "reading",
            path: path.to_owned(),
            source,
        })?;
        let again = read_all(&file, path, max)?;
        if bytes != again || before != changed_at(&file)? {
            return Err(FileError::Changed {
                path: path.to_owned(),
                expected: sha256(&bytes),
                found: sha256(&again),
            });
        }
        Ok(Contents {
            sha256: sha256(&bytes),
            bytes,
        })
    }

    /// Reads a file of at most `max` bytes that must be text.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn read_text(&self, path: &Path, max: u64) -> Result<String, FileError> {
        text(self.read(path, max)?.bytes, path)
    }

    /// Replaces or makes a file, whole, and the folders above it. A replaced file keeps its permissions and owner.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<Written, FileError> {
        let path = confined_file(path)?;
        let folder = self.folder_for(path)?;
        let old = existing(&folder, path)?;
        let before = old.as_ref().map(|old| old.sha256(path)).transpose()?;
        let owner = old.as_ref().map(|old| owner(old.owner)).or(self.heir);
        replace(&folder, path, bytes, old.as_ref(), owner)?;
        Ok(Written {
            before,
            after: sha256(bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// Says what [`write`](Self::write) would do, and does nothing. Recorded beforehand, it lets [`compare`](Self::compare)
    /// settle a crash.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn preview_write(&self, path: &Path, bytes: &[u8]) -> Result<Written, FileError> {
        Ok(Written {
            before: self.hash(path)?,
            after: sha256(bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// Replaces the one place where `old` stands by `new`.
    ///
    /// With `expected_before` the file must still have that SHA-256.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn edit(
        &self,
        path: &Path,
        old: &str,
        new: &str,
        expected_before: Option<&str>,
    ) -> Result<Written, FileError> {
        let path = confined_file(path)?;
        let folder = self.directory(parent(path))?;
        let file = existing(&folder, path)?.ok_or_else(|| FileError::NotFound {
            path: path.to_owned(),
        })?;
        let (edited, written) = edited(&file, path, old, new, expected_before)?;
        replace(
            &folder,
            path,
            edited.as_bytes(),
            Some(&file),
            Some(owner(file.owner)),
        )?;
        Ok(written)
    }

    /// Says what [`edit`](Self::edit) would do, and does nothing.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn preview_edit(&self, path: &Path, old: &str, new: &str) -> Result<Written, FileError> {
        let path = confined_file(path)?;
        let folder = self.directory(parent(path))?;
        let file = existing(&folder, path)?.ok_or_else(|| FileError::NotFound {
            path: path.to_owned(),
        })?;
        Ok(edited(&file, path, old, new, None)?.1)
    }

    /// Says whether a write that went from `before` to `after` has taken place; `before` is none for a new file.
    ///
    /// # Errors
    /// See [`FileError`]; a missing file is an answer.
    pub fn compare(&self, path: &Path, before: Option<&str>, after: &str) -> Result<Standing, FileError> {
        let found = self.hash(path)?;
        Ok(if found.as_deref() == Some(after) {
            Standing::Applied
        } else if found.as_deref() == before {
            Standing::NotApplied
        } else {
            Standing::Other { found }
        })
    }

    /// Lists up to `max` names of a folder; an empty path is the workspace itself.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn list(&self, path: &Path, max: usize) -> Result<Listing, FileError> {
        let path = confined(path)?;
        let folder = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let io = |source: Errno| refusal(path, "listing", source);
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort_unstable();
        let more = names.len() > max;
        names.truncate(max);
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            // What vanished since is not there.
            let Ok(stat) = rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let kind = kind_of(stat.st_mode);
            let bytes = if kind == EntryKind::File {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                0
            };
            entries.push(Entry {
                name: name.to_string_lossy().into_owned(),
                kind,
                bytes,
            });
        }
        Ok(Listing { entries, more })
    }

    /// What a path stands for, the last part not followed if it is a link; none if there is nothing.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn kind(&self, path: &Path) -> Result<Option<EntryKind>, FileError> {
        let path = confined_file(path)?;
        let held = match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(FileError::NotFound { .. }) => return Ok(None),
            held => held?,
        };
        let stat = rustix::fs::fstat(&held).map_err(|e| refusal(path, "looking at", e))?;
        Ok(Some(kind_of(stat.st_mode)))
    }

    /// A folder inside, to start a command in or to write to.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, FileError> {
        self.resolve(confined(path)?, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// The hash of a file as [`Self::write`] would find it, or none if there is none.
    fn hash(&self, path: &Path) -> Result<Option<String>, FileError> {
        let path = confined_file(path)?;
        let folder = match self.directory(parent(path)) {
            Err(FileError::NotFound { .. }) => return Ok(None),
            folder => folder?,
        };
        existing(&folder, path)?.map(|old| old.sha256(path)).transpose()
    }

    fn regular(&self, path: &Path) -> Result<File, FileError> {
        // NONBLOCK: opening a pipe that nobody writes to would block for ever.
        let file = File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        must_be_regular(&file, path)?;
        Ok(file)
    }

    /// The folder of a file about to be written, made if missing, one level at a time and each level confined.
    fn folder_for(&self, path: &Path) -> Result<OwnedFd, FileError> {
        match self.directory(parent(path)) {
            Err(FileError::NotFound { .. }) => {}
            folder => return folder,
        }
        let mut so_far = PathBuf::new();
        let mut folder = self.directory(&so_far)?;
        for part in parent(path).components() {
            so_far.push(part);
            let made = match rustix::fs::mkdirat(&folder, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    rustix::fs::fsync(&folder).map_err(|e| refusal(&so_far, "syncing the folder of", e))?;
                    true
                }
                Err(Errno::EXIST) => false,
                Err(error) => return Err(refusal(&so_far, "making", error)),
            };
            folder = self.directory(&so_far)?;
            if let (Some((user, group)), true) = (self.heir, made) {
                // Whatever stands there by now lies inside, where everything is the heir's.
                let _ = rustix::fs::fchown(&folder, Some(user), Some(group));
            }
        }
        Ok(folder)
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, FileError> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        resolve(&self.root, path, flags, ResolveFlags::empty()).map_err(|e| refusal(path, "opening", e))
    }
}

fn kind_of(mode: u32) -> EntryKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}

/// The file that is about to be replaced.
struct Existing {
    file: File,
    mode: Mode,
    owner: (u32, u32),
}

impl Existing {
    fn sha256(&self, path: &Path) -> Result<String, FileError> {
        let io = |source| FileError::Io {
            doing: "reading",
            path: path.to_owned(),
            source,
        };
        let bytes = self.file.metadata().map_err(io)?.len();
        if bytes > MAX_REPLACED_BYTES {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
                bytes,
                max: MAX_REPLACED_BYTES,
            });
        }
        let mut hash = Sha256::new();
        io::copy(&mut (&self.file).take(MAX_REPLACED_BYTES), &mut hash).map_err(io)?;
        Ok(hex::encode(hash.finalize()))
    }
}

/// Opens what has the last name of `path` in `folder`: a regular file or nothing.
fn existing(folder: &OwnedFd, path: &Path) -> Result<Option<Existing>, FileError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match resolve(folder, Path::new(name(path)), flags, ResolveFlags::NO_SYMLINKS) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(refusal(path, "opening", error)),
    };
    must_be_regular(&file, path)?;
    let stat = rustix::fs::fstat(&file).map_err(|e| refusal(path, "looking at", e))?;
    // Set-user-id bits are not kept: new bytes were not trusted with them.
    let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
    Ok(Some(Existing {
        file,
        mode,
        owner: (stat.st_uid, stat.st_gid),
    }))
}

/// The text after the edit, and what that means for the file.
fn edited(
    file: &Existing,
    path: &Path,
    old: &str,
    new: &str,
    expected_before: Option<&str>,
) -> Result<(String, Written), FileError> {
    let bytes = read_all(&file.file, path, MAX_EDITED_BYTES)?;
    let before = sha256(&bytes);
    if let Some(expected) = expected_before.filter(|expected| *expected != before) {
        return Err(FileError::Changed {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found: before,
        });
    }
    let edited = replace_once(&text(bytes, path)?, old, new, path)?;
    let written = Written {
        before: Some(before),
        after: sha256(edited.as_bytes()),
        bytes: edited.len() as u64,
    };
    Ok((edited, written))
}

fn replace_once(text: &str, old: &str, new: &str, path: &Path) -> Result<String, FileError> {
    let path = || path.to_owned();
    if old.is_empty() {
        return Err(FileError::OldTextEmpty { path: path() });
    }
    // Overlapping places count as well: `aa` stands twice in `aaa`, and which one was meant is not clear.
    let places: Vec<usize> = text
        .char_indices()
        .map(|(i, _)| i)
        .filter(|i| text[*i..].starts_with(old))
        .collect();
    match places[..] {
        [] => Err(FileError::OldTextNotFound { path: path() }),
        [at] => Ok([&text[..at], new, &text[at + old.len()..]].concat()),
        _ => Err(FileError::OldTextNotUnique {
            path: path(),
            times: places.len(),
        }),
    }
}

/// Writes beside the file and renames over it. Neither step follows a link.
fn replace(
    folder: &OwnedFd,
    path: &Path,
    bytes: &[u8],
    old: Option<&Existing>,
    owner: Option<Owner>,
) -> Result<(), FileError> {
    // One name per target: what a crash leaves behind is cleared by the next write, which recovery asks for.
    let draft = format!(".longhaul-write-{}", &sha256(name(path).as_encoded_bytes())[..16]);
    let result = write_draft(folder, &draft, bytes, old, owner)
        .and_then(|()| Ok(rustix::fs::renameat(folder, &draft, folder, name(path))?))
        .and_then(|()| Ok(rustix::fs::fsync(folder)?));
    result.map_err(|source| {
        // Fails if the rename has happened, which is fine.
        let _ = rustix::fs::unlinkat(folder, &draft, AtFlags::empty());
        FileError::Io {
            doing: "writing",
            path: path.to_owned(),
            source,
        }
    })
}

fn write_draft(
    folder: &OwnedFd,
    draft: &str,
    bytes: &[u8],
    old: Option<&Existing>,
    owner: Option<Owner>,
) -> io::Result<()> {
    let create = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(folder, draft, flags, Mode::from_raw_mode(0o600))
    };
    let mut file = match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(folder, draft, AtFlags::empty())?;
            File::from(create()?)
        }
        created => File::from(created?),
    };
    file.write_all(bytes)?;
    if let Some((user, group)) = owner {
        // Only root may give files away; for others it is their own file already, or becomes it.
        let _ = rustix::fs::fchown(&file, Some(user), Some(group));
    }
    rustix::fs::fchmod(&file, old.map_or(Mode::from_raw_mode(0o644), |old| old.mode))?;
    file.sync_all()
}

fn owner((user, group): (u32, u32)) -> Owner {
    (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group))
}

pub(crate) fn resolve(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    more: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV | more;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(&folder, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            // The kernel could not rule out a race with a rename. It can be had again, but not for ever.
            Err(Errno::AGAIN | Errno::INTR) if tries < 64 => tries += 1,
            done => return done,
        }
    }
}

/// Turns what the system says about a path into what a caller can do about it.
fn refusal(path: &Path, doing: &'static str, error: Errno) -> FileError {
    let path = path.to_owned();
    match error {
        Errno::XDEV => FileError::Outside { path },
        Errno::LOOP => FileError::SymlinkRefused { path },
        Errno::NOENT => FileError::NotFound { path },
        Errno::NOTDIR => FileError::NotAFolder { path },
        Errno::NXIO => FileError::NotRegular {
            path,
            found: "socket or device without a driver",
        },
        Errno::NOSYS => FileError::NoOpenat2,
        error => FileError::Io {
            doing,
            path,
            source: error.into(),
        },
    }
}

fn must_be_regular(file: &File, path: &Path) -> Result<(), FileError> {
    let stat = rustix::fs::fstat(file).map_err(|e| refusal(path, "looking at", e))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Directory => "folder",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        _ => "device",
    };
    Err(FileError::NotRegular {
        path: path.to_owned(),
        found,
    })
}

fn read_all(file: impl std::borrow::Borrow<File>, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let file = file.borrow();
    let io = |source| FileError::Io {
        doing: "reading",
        path: path.to_owned(),
        source,
    };
    let size = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    if size <= max {
        // It may grow while it is read; one byte more than allowed is enough to know.
        file.take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(io)?;
    }
    if size > max || bytes.len() as u64 > max {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes: size.max(bytes.len() as u64),
            max,
        });
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>, path: &Path) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|e| FileError::NotUtf8 {
        path: path.to_owned(),
        offset: e.utf8_error().valid_up_to(),
    })
}

/// A path that could lie inside. The kernel decides whether it does; this gives the plain mistakes plain words.
fn confined(path: &Path) -> Result<&Path, FileError> {
    let refused = |why| {
        Err(FileError::PathRefused {
            path: path.to_owned(),
            why,
        })
    };
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refused("contains a NUL byte");
    }
    if path.is_absolute() {
        return refused("is absolute");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return refused("contains '..'");
    }
    Ok(path)
}

/// As [`confined`], and it names something.
fn confined_file(path: &Path) -> Result<&Path, FileError> {
    let path = confined(path)?;
    match path.file_name() {
        Some(_) => Ok(path),
        None => Err(FileError::PathRefused {
            path: path.to_owned(),
            why: "names no file",
        }),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
