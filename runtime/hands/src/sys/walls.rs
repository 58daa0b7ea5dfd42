//! System calls of the isolation. Same world as the rest of `sys`: one thread.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use super::Fork;

/// What a new process gets of its own.
pub(crate) mod namespaces {
    pub(crate) const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub(crate) const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub(crate) const PID: u64 = libc::CLONE_NEWPID as u64;
    pub(crate) const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub(crate) const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub(crate) const NET: u64 = libc::CLONE_NEWNET as u64;
}

/// The child becomes a child of the caller's own parent.
pub(crate) const SIBLING: u64 = libc::CLONE_PARENT as u64;

/// Flag of `mount_setattr`: nothing below can be written through this mount.
pub(crate) const MOUNT_RDONLY: u64 = 0x1;
pub(crate) const MOUNT_NOSUID: u64 = 0x2;
pub(crate) const MOUNT_NODEV: u64 = 0x4;
pub(crate) const MOUNT_NOEXEC: u64 = 0x8;

/// Splits the process in two as [`super::fork`] does; the child begins in new namespaces.
pub(crate) fn fork_into(namespaces: u64) -> io::Result<Fork> {
    #[repr(C, align(8))]
    #[derive(Default)]
    struct Args {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
    }
    let args = Args {
        flags: namespaces,
        exit_signal: if namespaces & SIBLING == 0 {
            u64::from(libc::SIGCHLD.unsigned_abs())
        } else {
            0 // A sibling signals as the caller itself does.
        },
        ..Args::default()
    };
    // SAFETY: without CLONE_VM this is a fork: the child goes on with a copy of everything, on a copy of this stack.
    // The process has one thread, so no lock is held by another; the kernel only reads `args`.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<Args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(
            u32::try_from(pid).expect("a pid is positive and small"),
        )),
    }
}

/// Leaves the control group namespace for one that begins where the process is.
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: takes flags only; a namespace of control groups concerns no memory and no descriptor.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })
}

/// Sets attributes of the mount `fd` and of all below it; they can be added, never taken off, by who is inside.
pub(crate) fn set_mount_attributes(fd: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = Attr {
        set: attributes,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant, the kernel reads at most the size given of `attr`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<Attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Switches the loopback device of the process's network on.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all-zero bytes are a value of this plain struct; the name is short and NUL-terminated by the zeroes; the
    // kernel reads and writes only the struct.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
            *to = libc::c_char::try_from(from).expect("ASCII");
        }
        request.ifr_ifru.ifru_flags =
            libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("small");
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        ))
    }
}

/// Begins a session keyring of its own, with nothing in it.
pub(crate) fn new_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: a null name asks for an anonymous keyring; nothing else is read.
    match unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, anonymous) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes every capability out of the bounding set, also those that this program does not know by name.
pub(crate) fn empty_the_bounding_set() -> io::Result<()> {
    for capability in 0..64 as libc::c_ulong {
        // SAFETY: takes integers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return match io::Error::last_os_error() {
                // The kernel knows no more of them.
                error if error.raw_os_error() == Some(libc::EINVAL) && capability > 30 => Ok(()),
                error => Err(error),
            };
        }
    }
    Ok(())
}

/// Closes every descriptor but `kept`, which is given up to the process until its end.
pub(crate) fn close_all_but(kept: OwnedFd) -> io::Result<BorrowedFd<'static>> {
    use std::os::fd::IntoRawFd as _;
    let kept = kept.into_raw_fd();
    let number = libc::c_uint::try_from(kept).expect("a descriptor is not negative");
    let close = |first: libc::c_uint, last: libc::c_uint| {
        // SAFETY: closes what other values of this process may own. The caller is the first process of a sandbox,
        // which from here on uses no descriptor but the one kept and ends with `exit_now`, which runs no destructor.
        match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    if number > 0 {
        close(0, number - 1)?;
    }
    close(number + 1, libc::c_uint::MAX)?;
    // SAFETY: it was owned and is not closed from here on.
    Ok(unsafe { BorrowedFd::borrow_raw(kept) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The version of Landlock that this kernel has; 0 for none.
pub(crate) fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    let none: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel reads nothing and answers with a number.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    u32::try_from(abi).unwrap_or(0)
}
