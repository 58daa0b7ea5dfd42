//! Where the control socket of a data directory lies, and how it comes to lie there.
//!
//! In the directory itself, as `control.sock`. The address of a unix socket holds 107 bytes, though; when the path is
//! longer, the socket lies in `$XDG_RUNTIME_DIR`, or in a private folder below `/tmp`, and the file `control.path` in
//! the data directory names it. The name there is made of the device and inode of the data directory, so that a
//! directory that was copied together with its `control.path` is never mistaken for the one it was copied from.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// What an address holds: 108 bytes, the last of them a zero.
const LONGEST: usize = 107;
/// The socket, in the data directory.
const SOCKET: &str = "control.sock";
/// The file that names it where it lies elsewhere.
const POINTER: &str = "control.path";
/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Folders for sockets whose own path would be too long.
#[derive(Clone, Debug)]
pub(super) struct Shelter {
    /// `$XDG_RUNTIME_DIR`, if it is set. Used only when it is private to this user.
    pub(super) runtime: Option<PathBuf>,
    /// A folder that is made when there is no such directory.
    pub(super) made: PathBuf,
}

impl Shelter {
    /// As the environment says.
    pub(super) fn of_this_user() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self {
            runtime: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            made: PathBuf::from(format!("/tmp/longhaul-{user}")),
        }
    }
}

/// A socket that listens, and knows how to take its file away again.
#[derive(Debug)]
pub(super) struct Bound {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// The file that names it, when it lies elsewhere.
    pointer: Option<PathBuf>,
    /// Device and inode of its file, by which it is known again.
    file: (u64, u64),
}

impl Bound {
    /// Removes the socket file, unless somebody has put another in its place.
    pub(super) fn remove(&self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if !ours {
            return;
        }
        for path in self.pointer.iter().chain([&self.path]) {
            if let Err(error) = remove_if_there(path) {
                // A stale socket does no harm: clients find nobody behind it, and the next owner replaces it.
                tracing::warn!(path = %path.display(), %error, "the control socket could not be removed");
            }
        }
    }
}

/// Listens for the data directory `directory`. What an earlier process left there is replaced: the caller holds the lock of
/// the directory, so nobody can be behind it.
///
/// # Errors
/// When no place was found where a socket can be made.
pub(super) fn listen(directory: &Path, shelter: &Shelter) -> io::Result<(UnixListener, Bound)> {
    let directory = directory.canonicalize()?;
    let inside = directory.join(SOCKET);
    let pointer = directory.join(POINTER);
    if fits(&inside) {
        let (listener, file) = listen_at(&inside)?;
        remove_if_there(&pointer)?;
        let bound = Bound {
            path: inside,
            pointer: None,
            file,
        };
        return Ok((listener, bound));
    }
    let path = sheltered(&directory, shelter)?;
    let (listener, file) = listen_at(&path)?;
    write_whole(&pointer, path.as_os_str().as_bytes())?;
    let bound = Bound {
        path,
        pointer: Some(pointer),
        file,
    };
    Ok((listener, bound))
}

/// Where a client finds the socket of `directory`; whether anybody listens there is another question.
///
/// # Errors
/// When the directory cannot be read. A directory that does not exist has no socket.
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "only clients look for a socket")
)]
pub(crate) fn locate(directory: &Path) -> io::Result<Option<PathBuf>> {
    let directory = match directory.canonicalize() {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match fs::read(directory.join(POINTER)) {
        Ok(named) => {
            let path = PathBuf::from(OsString::from_vec(named));
            let ours = path.file_name() == Some(sheltered_name(&directory)?.as_ref());
            Ok(ours.then_some(path))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(Some(directory.join(SOCKET)).filter(|path| fits(path)))
        }
        Err(error) => Err(error),
    }
}

/// Where the socket of a directory lies if its path there is short enough; to be told before anybody listens.
#[cfg(feature = "cli")]
pub(crate) fn inside(directory: &Path) -> Option<PathBuf> {
    Some(directory.join(SOCKET)).filter(|path| fits(path))
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST
}

/// A path in one of the shelters that fits.
fn sheltered(directory: &Path, shelter: &Shelter) -> io::Result<PathBuf> {
    let name = sheltered_name(directory)?;
    if let Some(runtime) = &shelter.runtime {
        let path = runtime.join(&name);
        // A runtime directory that others can look into is no place for a socket that may do everything.
        if runtime.is_absolute() && fits(&path) && is_private(runtime).unwrap_or(false) {
            return Ok(path);
        }
    }
    let path = shelter.made.join(&name);
    match DirBuilder::new().mode(0o700).create(&shelter.made) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if !is_private(&shelter.made)? {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("{} is not a folder of this user alone", shelter.made.display()),
        ));
    }
    if fits(&path) {
        Ok(path)
    } else {
        Err(io::Error::new(
            ErrorKind::InvalidFilename,
            "every place for it has too long a path",
        ))
    }
}

fn sheltered_name(directory: &Path) -> io::Result<String> {
    let found = fs::metadata(directory)?;
    Ok(format!("longhaul-{:x}-{:x}.sock", found.dev(), found.ino()))
}

/// Whether this is a folder, not a link to one, that only this user can enter.
fn is_private(folder: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(folder)?;
    Ok(found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0)
}

/// Makes the socket under another name, takes the rights of others away, begins to listen, and only then gives it its
/// name. So the name never stands for a file that others may open, and never for one behind which nobody is; whatever
/// had the name before is replaced in the same instant. The process's umask, which is everybody's, is left alone.
fn listen_at(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    // Shorter than the ending it replaces, so that it fits where the other fits.
    let draft = path.with_extension("new");
    remove_if_there(&draft)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&draft)?)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    let file = fs::symlink_metadata(&draft)?;
    fs::rename(&draft, path)?;
    Ok((UnixListener::from(socket), (file.dev(), file.ino())))
}

/// Writes a small file so that a reader sees all of it or the one before.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("path.new");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
