//! PID 1 of a sandbox, and what becomes of it and its one child on the way to the command.
//!
//! In this order, and for these reasons:
//!
//! 1. Ask to die with the shim. Then wait for the ids: the answer comes from the shim, so it lives; without an answer
//!    the socket ends, and so does this process.
//! 2. Take hold of what only the runtime's user can reach.
//! 3. Become the user. That takes back the wish to die with the shim: ask again.
//! 4. A keyring of its own, the cgroup namespace (only now is the process where it stays), the root, the network.
//! 5. Speak with the shim again: it may have died in between, and only it knows that the command may begin.
//! 6. Fork the command, and be nothing but its reaper: no rights, no descriptor but one, no memory that can be looked at.
//!
//! When init ends, for whatever reason, the kernel kills every process of the sandbox.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{self, DumpableBehavior, Pid, Signal, WaitOptions};

use super::fault::{Fault, Step};
use super::{drop, file_rules, namespaces, root, seccomp};
use crate::files::Workspace;
use crate::launcher::Program;
use crate::limits::Rlimits;
use crate::patience::Patience;
use crate::sys::{self, Fork};
use crate::walls::{INSIDE_WORKSPACE, Network, Walls};

/// Words on the socket between init and the shim.
pub(crate) const READY: u8 = b'r';
pub(crate) const MAPPED: u8 = b'm';
pub(crate) const GO: u8 = b'g';
const LISTENER: u8 = b'l';
const EXITED: u8 = b'e';
const SIGNALED: u8 = b's';

/// What the sandbox is for.
pub(crate) struct Job<'a> {
    /// The workspace and the home, as the machine knows them.
    pub(crate) workspace: &'a Path,
    pub(crate) home: &'a Path,
    /// Where to start, relative to the workspace.
    pub(crate) cwd: &'a Path,
    pub(crate) stdin: File,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// What each of its processes may use by itself.
    pub(crate) rlimits: Rlimits,
    /// None: build everything, and then end as if it had been executed.
    pub(crate) program: Option<Program>,
}

/// How the command ended, as far as init could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
    /// Init died before it could say: killed from outside, or for want of memory.
    Untold,
}

/// Reads how the command ended. To be called when init is dead.
pub(crate) fn ended(status: &OwnedFd) -> Ended {
    let mut message = [0; 5];
    match rustix::net::recv(status, &mut message[..], RecvFlags::DONTWAIT) {
        Ok((_, 5)) => {
            let value = i32::from_le_bytes([message[1], message[2], message[3], message[4]]);
            match message[0] {
                EXITED => Ended::Exited(value),
                SIGNALED => Ended::Signaled(value),
                _ => Ended::Untold,
            }
        }
        _ => Ended::Untold,
    }
}

/// Is PID 1. Tells its fault, or the command's, on `failure`; that ends without a word once the command executes.
pub(crate) fn run(walls: &Walls, job: Job<'_>, link: OwnedFd, failure: OwnedFd) -> ! {
    let command = match build(walls, &job, link.as_fd()) {
        Ok(()) => match sys::fork() {
            Ok(Fork::Child) => {
                let fault = become_the_command(walls, &job);
                tell_and_end(&failure, fault)
            }
            Ok(Fork::Parent(pid)) => pid,
            Err(error) => tell_and_end(&failure, Fault::of(Step::Fork)(error)),
        },
        Err(fault) => tell_and_end(&failure, fault),
    };
    if let Err(fault) = drop::all_rights() {
        tell_and_end(&failure, fault);
    }
    let Ok(link) = sys::close_all_but(link) else {
        sys::exit_now(127)
    };
    // Closed in fact by now; it must not be closed a second time.
    std::mem::forget((job, failure));
    reap_until_the_end(command, link)
}

pub(super) fn tell_and_end(failure: &OwnedFd, fault: Fault) -> ! {
    let _ = rustix::io::write(failure, &fault.encode());
    sys::exit_now(127)
}

fn build(walls: &Walls, job: &Job<'_>, link: BorrowedFd<'_>) -> Result<(), Fault> {
    die_with_the_shim()?;
    process::setsid().map_err(Fault::of(Step::Session))?;
    // The files by which the shim maps the ids belong to who may be looked at.
    dumpable(DumpableBehavior::Dumpable)?;
    talk(link, MAPPED)?;
    let sources = root::Sources::open(walls, job.workspace, job.home)?;
    namespaces::become_the_user(walls)?;
    dumpable(DumpableBehavior::NotDumpable)?;
    die_with_the_shim()?;
    // Whether or not it works: no command can speak to any keyring (see `seccomp`), and the kernel may have none.
    let _ = sys::new_keyring();
    process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::unshare_cgroup().map_err(Fault::of(Step::CgroupNamespace))?;
    root::build(walls, sources)?;
    namespaces::furnish()?;
    if walls.network == Network::Proxy {
        hand_out_listener(walls, link).map_err(Fault::of(Step::Listener))?;
    }
    // The command begins when the shim says so: when it has claimed the command, and somebody serves the listener.
    talk(link, GO)
}

pub(super) fn die_with_the_shim() -> Result<(), Fault> {
    process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Fault::of(Step::DeathSignal))
}

fn dumpable(behavior: DumpableBehavior) -> Result<(), Fault> {
    process::set_dumpable_behavior(behavior).map_err(Fault::of(Step::User))
}

/// Says that it is ready, and waits for the answer; ends when there is nobody to answer.
fn talk(link: BorrowedFd<'_>, answer: u8) -> Result<(), Fault> {
    say(link, READY)
        .and_then(|()| await_word(link, answer, None))
        .map_err(Fault::of(Step::Handshake))
}

pub(crate) fn say(link: BorrowedFd<'_>, word: u8) -> Result<(), rustix::io::Errno> {
    rustix::net::send(link, &[word], SendFlags::NOSIGNAL).map(|_| ())
}

/// Init waits for as long as the shim lives, and so with no patience of its own.
pub(crate) fn await_word(
    link: BorrowedFd<'_>,
    expected: u8,
    patience: Option<&Patience<'_>>,
) -> Result<(), rustix::io::Errno> {
    let mut word = [0];
    loop {
        patience.map_or(Ok(()), |patience| patience.wait_for(link))?;
        match rustix::net::recv(link, &mut word[..], RecvFlags::empty()) {
            Ok((_, 1)) if word[0] == expected => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Err(rustix::io::Errno::CONNRESET),
            Err(error) => return Err(error),
        }
    }
}

/// Listens inside, and gives the listener to the shim, outside.
fn hand_out_listener(walls: &Walls, link: BorrowedFd<'_>) -> io::Result<()> {
    let listener = std::net::TcpListener::bind(walls.proxy)?;
    let descriptors = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(
        link,
        &[IoSlice::new(&[LISTENER])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Takes the listener that [`hand_out_listener`] sent.
pub(crate) fn take_listener(link: BorrowedFd<'_>, patience: &Patience<'_>) -> io::Result<OwnedFd> {
    patience.wait_for(link)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(link, &mut [IoSliceMut::new(&mut word)], &mut control, flags)?;
    let whole = got.bytes == 1 && word[0] == LISTENER && !got.flags.contains(ReturnFlags::CTRUNC);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor
        .filter(|_| whole)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ECONNRESET))
}

/// Takes the last rights from itself and executes. Returns only if that failed.
fn become_the_command(walls: &Walls, job: &Job<'_>) -> Fault {
    let step = || -> Result<(), Fault> {
        process::setsid().map_err(Fault::of(Step::Session))?;
        three_descriptors(job).map_err(Fault::of(Step::Stdio))?;
        go_to_the_folder(job.cwd)?;
        job.rlimits.apply().map_err(Fault::of(Step::Rlimits))?;
        drop::all_rights()?;
        file_rules::restrict(walls.require_landlock)?;
        // When it executes, and not before: one of them tells the shim what fails until then.
        sys::close_all_from_3_on_exec().map_err(Fault::of(Step::Descriptors))?;
        process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        sys::reset_signals();
        seccomp::restrict()
    };
    if let Err(fault) = step() {
        return fault;
    }
    match &job.program {
        Some(program) => Fault::of(Step::Exec)(program.execute()),
        None => sys::exit_now(0),
    }
}

fn three_descriptors(job: &Job<'_>) -> Result<(), rustix::io::Errno> {
    rustix::stdio::dup2_stdin(&job.stdin)?;
    rustix::stdio::dup2_stdout(&job.stdout)?;
    rustix::stdio::dup2_stderr(&job.stderr)
}

fn go_to_the_folder(cwd: &Path) -> Result<(), Fault> {
    let at = |step| {
        move |error: crate::FileError| Fault {
            step,
            errno: error.errno(),
        }
    };
    let workspace = Workspace::open(Path::new(INSIDE_WORKSPACE)).map_err(at(Step::Workspace))?;
    let folder = workspace.directory(cwd).map_err(at(Step::Cwd))?;
    process::fchdir(&folder).map_err(Fault::of(Step::Cwd))
}

/// Reaps whoever falls to it until the command ends; says how that was, and ends the sandbox by ending itself.
fn reap_until_the_end(command: u32, link: BorrowedFd<'_>) -> ! {
    let command = i32::try_from(command).ok().and_then(Pid::from_raw);
    loop {
        match process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if Some(pid) == command => {
                let (word, value) = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => (EXITED, code),
                    (None, Some(signal)) => (SIGNALED, signal),
                    (None, None) => continue,
                };
                let [a, b, c, d] = value.to_le_bytes();
                let _ = rustix::net::send(link, &[word, a, b, c, d], SendFlags::NOSIGNAL);
                sys::exit_now(0)
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => sys::exit_now(127),
        }
    }
}
