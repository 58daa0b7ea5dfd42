//! The only unsafe code of the project: the few system calls that no safe wrapper covers.
//!
//! Everything here but [`before_exec`] assumes the shim's world: **one thread**. [`must_be_single_threaded`] is called before
//! the first fork, since after a fork of a threaded process only async-signal-safe code may run.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr;

mod walls;

pub(crate) use walls::*;

/// Which side of a fork one is on.
pub(crate) enum Fork {
    Parent(u32),
    Child,
}

/// Refuses to go on in a process that already has a second thread.
pub(crate) fn must_be_single_threaded() -> io::Result<()> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads == 1 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the shim needs a process with one thread, this one has {threads}; call main_if_shim first in main"
    )))
}

/// Splits the process in two. The caller has checked [`must_be_single_threaded`].
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread, so the child owns consistent copies of every lock and of the heap.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid.unsigned_abs())),
    }
}

/// Has what this command starts do this before it becomes the program. The act makes system calls and nothing else: it runs
/// between fork and exec, in the copy of a process that may have many threads.
pub(crate) fn before_exec(command: &mut std::process::Command, act: fn() -> io::Result<()>) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the act neither allocates nor takes a lock, which some other thread may have held at the fork.
    unsafe { command.pre_exec(act) };
}

/// Ends the process at once: no destructors, no flushing of what a fork copied.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Replaces the program by the first of `candidates` that can be executed; returns only on failure.
///
/// A candidate that is missing or not executable is skipped, as a shell does along `PATH`; `EACCES` is
/// remembered, because "found but not allowed" says more than "not found".
pub(crate) fn exec(candidates: &[CString], argv: &[CString], envp: &[CString]) -> io::Error {
    let argv = pointers(argv);
    let envp = pointers(envp);
    let mut seen = libc::ENOENT;
    for path in candidates {
        // SAFETY: `path` is NUL-terminated, both arrays end in a null pointer, and the strings they point to are
        // borrowed by this function's arguments, hence alive during the call.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => seen = libc::EACCES,
            other => return io::Error::from_raw_os_error(other.unwrap_or(libc::EINVAL)),
        }
    }
    io::Error::from_raw_os_error(seen)
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|s| CStr::as_ptr(s))
        .chain([ptr::null()])
        .collect()
}

/// Closes every descriptor from 3 on.
pub(crate) fn close_all_from_3() -> io::Result<()> {
    close_range_from_3(0)
}

/// Marks every descriptor from 3 on to be closed by the next exec, so that an error pipe lives until then.
pub(crate) fn close_all_from_3_on_exec() -> io::Result<()> {
    close_range_from_3(libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range_from_3(flags: libc::c_uint) -> io::Result<()> {
    if crate::sabotage::is_on("pass-descriptors-on") {
        return Ok(());
    }
    // SAFETY: closing is only unsound for descriptors that some Rust value owns. The shim calls this as its very
    // first act, when it has opened nothing; the child calls it with the flag that defers it to exec.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ignores each of `signals` from now on.
pub(crate) fn ignore(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: SIG_IGN installs no handler code; an invalid number is refused by the kernel and harmless.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Blocks `signals` and returns a non-blocking descriptor from which they can be read instead.
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; a null old set is allowed; -1 asks for a new descriptor, which nobody else
    // owns when it is wrapped.
    unsafe {
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Size of the kernel's signal set: 64 signals.
const KERNEL_SIGSET_BYTES: usize = 8;

/// Gives every signal its default action and unblocks all: what a program expects to find after exec.
///
/// Ignored signals and the mask would otherwise pass through exec; a command that cannot be interrupted, or that
/// does not die of a closed pipe, would be the shim's fault.
pub(crate) fn reset_signals() {
    // Larger than the kernel's sigaction on any machine; all zero means SIG_DFL, no flags, empty mask.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // SAFETY: the kernel reads at most the array and installs no handler; KILL and STOP are refused harmlessly.
        // Not through libc, which keeps its own two signals from us: one of them ignored would be passed on.
        unsafe {
            let old = ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                old,
                KERNEL_SIGSET_BYTES,
            )
        };
    }
    let none = signal_set(&[]);
    // SAFETY: `none` is initialised and a null old set is allowed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Processor time in milliseconds, and the most memory of any one in bytes, of all that was reaped by this process or by
/// those it reaped.
pub(crate) fn usage_of_the_reaped() -> (u64, u64) {
    // SAFETY: rusage is plain integers, for which all-zero bytes are a value; getrusage writes only into it.
    let used = unsafe {
        let mut used = std::mem::zeroed::<libc::rusage>();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut used);
        used
    };
    let ms = |time: libc::timeval| time.tv_sec.unsigned_abs() * 1_000 + time.tv_usec.unsigned_abs() / 1_000;
    (
        ms(used.ru_utime) + ms(used.ru_stime),
        used.ru_maxrss.unsigned_abs() * 1_024,
    )
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: sigset_t is plain integers, for which all-zero bytes are a value; sigemptyset then fills it properly.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// What [`peek_dead_child`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Children {
    /// The process has no child at all, alive or dead.
    None,
    /// Children live, none of them is dead.
    Alive,
    /// This one is dead and waits to be reaped.
    Dead(u32),
}

/// Looks for a dead child without reaping it, so that its pid stays reserved.
pub(crate) fn peek_dead_child() -> io::Result<Children> {
    // SAFETY: siginfo_t is plain data, for which all-zero bytes are a value; waitid writes only into it. With
    // WNOHANG and no dead child it stays zeroed, hence pid 0. `si_pid` is valid for what waitid fills in.
    unsafe {
        let mut info = std::mem::zeroed::<libc::siginfo_t>();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) != 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ECHILD) {
                Ok(Children::None)
            } else {
                Err(error)
            };
        }
        Ok(match info.si_pid() {
            0 => Children::Alive,
            pid => Children::Dead(pid.unsigned_abs()),
        })
    }
}
