//! The network of a service, shared by commands that begin later.
//!
//! Nobody may look at the init of a sandbox once it stands, not even its own user. So the shim of a service keeps hold
//! of the sandbox's user and network namespaces from when it was built, and its [`Doorkeeper`] gives them to the shims
//! of later commands, over a socket in the command directory. What joins shares the network and the ids of the
//! service; files, processes and everything else it has of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid, WaitId, WaitIdOptions};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys::{self, Fork, SIBLING, namespaces};

/// The socket in the command directory of a service.
const SOCKET: &str = "beside";
/// How long a doorkeeper may take: its shim does little else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hold of the namespaces that a later command may join.
pub(crate) struct Door {
    user: OwnedFd,
    network: OwnedFd,
}

impl Door {
    /// Those of `init`, which must not have hidden itself yet.
    pub(super) fn of(init: Pid) -> io::Result<Self> {
        let open = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", init.as_raw_nonzero());
            File::open(path).map(OwnedFd::from)
        };
        Ok(Self {
            user: open("user")?,
            network: open("net")?,
        })
    }

    /// Asks the shim of the service in `dir`.
    pub(super) fn ask(dir: &Path) -> io::Result<Self> {
        let folder = hold(dir)?;
        let stream = UnixStream::connect(short_path(&folder))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let mut parts = [IoSliceMut::new(&mut word)];
        recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut given = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let mut given = given.next().ok_or(io::ErrorKind::ConnectionReset)?;
        match (given.next(), given.next()) {
            (Some(user), Some(network)) => Ok(Self { user, network }),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Forks into the namespaces behind the door, and into new ones for the rest. The child is a child of this process.
    ///
    /// A process in between goes through the door, since there is no way back.
    pub(super) fn fork_inside(&self) -> io::Result<Fork> {
        let (mut told, tell) =
            pipe_with(PipeFlags::CLOEXEC).map(|(told, tell)| (File::from(told), File::from(tell)))?;
        let between = match sys::fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child => match self.go_through() {
                Ok(Fork::Child) => return Ok(Fork::Child),
                Ok(Fork::Parent(pid)) => tell_and_end(&tell, i64::from(pid)),
                Err(error) => tell_and_end(&tell, -i64::from(error.raw_os_error().unwrap_or(libc::EIO))),
            },
        };
        drop(tell);
        let mut word = [0; 8];
        let read = told.read_exact(&mut word);
        if let Some(between) = i32::try_from(between).ok().and_then(Pid::from_raw) {
            let _ = process::waitid(WaitId::Pid(between), WaitIdOptions::EXITED);
        }
        read?;
        match i64::from_le_bytes(word) {
            pid @ 1.. => u32::try_from(pid).map(Fork::Parent).map_err(io::Error::other),
            errno => Err(io::Error::from_raw_os_error(
                i32::try_from(-errno).unwrap_or(libc::EIO),
            )),
        }
    }

    fn go_through(&self) -> io::Result<Fork> {
        // The user namespace first: it brings the right to join the network that belongs to it.
        move_into_link_name_space(self.user.as_fd(), Some(LinkNameSpaceType::User))?;
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?;
        sys::fork_into(SIBLING | namespaces::MOUNT | namespaces::PID | namespaces::IPC | namespaces::UTS)
    }
}

fn tell_and_end(mut tell: &File, word: i64) -> ! {
    let _ = tell.write_all(&word.to_le_bytes());
    sys::exit_now(0)
}

/// Lets later commands in, for as long as the shim of the service lives.
pub(crate) struct Doorkeeper {
    listener: UnixListener,
    door: Door,
}

impl Doorkeeper {
    /// Opens the socket in the command directory of the service.
    pub(crate) fn open(dir: &Path, door: Door) -> io::Result<Self> {
        let folder = hold(dir)?;
        let listener = UnixListener::bind(short_path(&folder))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, door })
    }

    /// Readable when somebody wants in.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Lets in who waits. Never blocks: what does not fit in a fresh socket's buffer is not sent.
    pub(crate) fn answer(&self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // The folder keeps others out; this holds even where its mode was changed.
            let of_us = rustix::net::sockopt::socket_peercred(&stream)
                .is_ok_and(|peer| peer.uid == process::geteuid() || peer.uid.is_root());
            if of_us {
                let descriptors = [self.door.user.as_fd(), self.door.network.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                let _ = sendmsg(&stream, &[IoSlice::new(b"+")], &mut control, flags);
            }
        }
    }
}

/// The path of a socket is bounded to about 100 bytes, that of a data directory is not.
fn short_path(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

fn hold(dir: &Path) -> io::Result<File> {
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}
