//! PID 1 of a sandbox, and what becomes of it and its one child on the way to the command.
//!
//! In this order, and for these reasons:
//!
//! 1. Ask to die with the shim. Then wait for its word: the answer comes from the shim, so it lives; without an answer
//!    the socket ends, and so does this process.
//! 2. Take hold of what the machine shows; become the user, if that is known; the cgroup namespace (only now is the process
//!    where it stays), the root as far as it is the same for all commands, the network.
//! 3. Learn the job. An init that was made ahead waits here, and all before is waited for by nobody.
//! 4. Take hold of what only the runtime's user can reach. Become the user, if it was not known before. That takes back the
//!    wish to die with the shim: ask again.
//! 5. A keyring of its own, the session's folders; what was the root before is let go of.
//! 6. Fork the command, unless it was forked ahead, and be nothing but its reaper: no rights, no descriptor but one, no memory
//!    that can be looked at.
//! 7. The command puts itself behind the filters of system calls, which are in nobody's way from here on: where it was forked
//!    ahead it has done so before it waited. It takes the last rights from itself, and speaks with the shim again: it may have
//!    died in between, and only it knows that the command may begin.
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
use super::frame::Frame;
use super::root::{self, Memory, Own, Shell, Sources};
use super::{drop, file_rules, namespaces, seccomp};
use crate::files::Workspace;
use crate::launcher::Program;
use crate::limits::Rlimits;
use crate::patience::Patience;
use crate::sys::{self, Fork};
use crate::walls::{INSIDE_WORKSPACE, Network, Walls};

/// Words on the socket between the shim, and init or the command.
pub(crate) const READY: u8 = b'r';
/// To an init that is where it stays, and whose ids are mapped as far as they are known.
pub(crate) const RAISE: u8 = b'm';
/// To an init whose ids are mapped.
pub(crate) const MOVE_IN: u8 = b'i';
/// To the command: its shim has claimed it, and somebody serves its listener.
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

/// What init holds when it begins.
pub(crate) struct Inside {
    pub(super) link: OwnedFd,
    /// Where it tells its fault, or the command's; this ends without a word once the command executes.
    pub(super) failure: OwnedFd,
    /// The file systems for its root, where it may not make them itself in time.
    pub(super) memory: Option<Memory>,
}

/// Is PID 1 of a sandbox whose job is known. The `frame` is that of the walls, from outside: who the runtime is cannot be told
/// in here.
pub(crate) fn run(inside: Inside, frame: &Frame, walls: &Walls, job: Job<'_>) -> ! {
    let Inside {
        link,
        failure,
        memory,
    } = inside;
    let raised = raise(frame, memory, link.as_fd()).and_then(|raised| {
        if frame.ids.is_none() {
            talk(link.as_fd(), MOVE_IN)?;
        }
        Ok(raised)
    });
    match raised {
        Ok(raised) => go_on(raised, frame, walls, job, link, failure),
        Err(fault) => tell_and_end(&failure, fault),
    }
}

/// What stands before the job is known.
pub(super) enum Raised {
    Shell(Shell),
    /// Nobody could make files so far.
    Nothing(Sources),
}

/// Builds what is the same for all commands, as far as that can be done before the user is known.
pub(super) fn raise(frame: &Frame, memory: Option<Memory>, link: BorrowedFd<'_>) -> Result<Raised, Fault> {
    die_with_the_shim()?;
    process::setsid().map_err(Fault::of(Step::Session))?;
    // The files by which the shim maps the ids belong to who may be looked at.
    dumpable(DumpableBehavior::Dumpable)?;
    talk(link, RAISE)?;
    let sources = Sources::open(frame)?;
    if frame.ids.is_some() {
        become_the_user(false)?;
    }
    process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::unshare_cgroup().map_err(Fault::of(Step::CgroupNamespace))?;
    namespaces::furnish()?;
    match memory {
        Some(memory) => root::build(frame, memory, sources).map(Raised::Shell),
        None if frame.ids.is_some() => root::build(frame, Memory::make(frame)?, sources).map(Raised::Shell),
        None => Ok(Raised::Nothing(sources)),
    }
}

/// Goes on with a job that is known by now, as PID 1 of its sandbox.
fn go_on(raised: Raised, frame: &Frame, walls: &Walls, job: Job<'_>, link: OwnedFd, failure: OwnedFd) -> ! {
    let command = match move_in(raised, frame, walls, [job.workspace, job.home], link.as_fd()) {
        Ok(()) => match sys::fork() {
            Ok(Fork::Child) => {
                let shut = shut_itself_off().err();
                let fault = shut.unwrap_or_else(|| become_the_command(walls, &job, link.as_fd()));
                tell_and_end(&failure, fault)
            }
            Ok(Fork::Parent(pid)) => pid,
            Err(error) => tell_and_end(&failure, Fault::of(Step::Fork)(error)),
        },
        Err(fault) => tell_and_end(&failure, fault),
    };
    watch_over(command, link, failure, job)
}

/// Is nothing but the reaper of its one child. Of what was `held`, nothing is kept.
pub(super) fn watch_over<T>(command: u32, link: OwnedFd, failure: OwnedFd, held: T) -> ! {
    if let Err(fault) = drop::all_rights() {
        tell_and_end(&failure, fault);
    }
    let Ok(link) = sys::close_all_but(link) else {
        sys::exit_now(127)
    };
    // Closed in fact by now; it must not be closed a second time.
    std::mem::forget((held, failure));
    reap_until_the_end(command, link)
}

pub(super) fn tell_and_end(failure: &OwnedFd, fault: Fault) -> ! {
    let _ = rustix::io::write(failure, &fault.encode());
    sys::exit_now(127)
}

/// Adds to the root what is the session's, and makes it the root.
pub(super) fn move_in(
    raised: Raised,
    frame: &Frame,
    walls: &Walls,
    [workspace, home]: [&Path; 2],
    link: BorrowedFd<'_>,
) -> Result<(), Fault> {
    let own = Own::open(workspace, home)?;
    if frame.ids.is_none() {
        become_the_user(true)?;
    }
    // Whether or not it works: no command can speak to any keyring (see `seccomp`), and the kernel may have none.
    let _ = sys::new_keyring();
    let shell = match raised {
        Raised::Shell(shell) => shell,
        Raised::Nothing(sources) => root::build(frame, Memory::make(frame)?, sources)?,
    };
    shell.move_in(&own, &walls.protected)?;
    if walls.network == Network::Proxy {
        hand_out_listener(walls, link).map_err(Fault::of(Step::Listener))?;
    }
    Ok(())
}

pub(super) fn become_the_user(another: bool) -> Result<(), Fault> {
    namespaces::become_the_user(another)?;
    dumpable(DumpableBehavior::NotDumpable)?;
    die_with_the_shim()
}

pub(super) fn die_with_the_shim() -> Result<(), Fault> {
    process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(Fault::of(Step::DeathSignal))
}

pub(super) fn dumpable(behavior: DumpableBehavior) -> Result<(), Fault> {
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

/// The command's first steps, for which nothing of it must be known. They take longer than all the others.
pub(super) fn shut_itself_off() -> Result<(), Fault> {
    process::setsid().map_err(Fault::of(Step::Session))?;
    sys::reset_signals();
    seccomp::restrict()
}

/// Takes the last rights from itself, and executes at the word of the shim. Returns only if that failed.
pub(super) fn become_the_command(walls: &Walls, job: &Job<'_>, link: BorrowedFd<'_>) -> Fault {
    let step = || -> Result<(), Fault> {
        three_descriptors(job).map_err(Fault::of(Step::Stdio))?;
        go_to_the_folder(job.cwd)?;
        job.rlimits.apply().map_err(Fault::of(Step::Rlimits))?;
        drop::all_rights()?;
        file_rules::restrict(walls.require_landlock)?;
        // When it executes, and not before: one of them tells the shim what fails until then.
        sys::close_all_from_3_on_exec().map_err(Fault::of(Step::Descriptors))?;
        process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        // All but its program is there.
        talk(link, GO)
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
