//! An init that was made before its command was known, and what it is told then.
//!
//! It waits in its namespaces, closed to other processes as the shim is, and has built what is the same for all commands. With it
//! waits the process that will be the command, behind the filters of system calls. From the order on, what they do is the same,
//! in the same order, as when init knew its job from the start.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{self, DumpableBehavior};

use super::fault::{Fault, Step};
use super::frame::Frame;
use super::init::{self, Inside, Raised};
use super::root::Memory;
use crate::launcher;
use crate::spec::Spec;
use crate::sys::{self, Fork};
use crate::walls::Walls;

const ORDER: u8 = b'o';

/// Tells init its command: the text of the spec, read from its beginning, and the standard input.
pub(super) fn give(link: BorrowedFd<'_>, spec: &File, stdin: &File) -> io::Result<()> {
    let descriptors = [spec.as_fd(), stdin.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(link, &[IoSlice::new(&[ORDER])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Builds what is the same for all, waits for the order, and is the init of that command. Ends when there is nobody any more
/// who could give one.
pub(super) fn obey(inside: Inside, frame: &Frame, outputs: [OwnedFd; 2], is_grouped: bool) -> ! {
    let Inside {
        link,
        failure,
        memory,
    } = inside;
    let raised = match raise(frame, memory, link.as_fd()) {
        Ok(raised) => raised,
        Err(fault) => init::tell_and_end(&failure, fault),
    };
    let (command, orders) = match fork() {
        Ok((Fork::Child, orders)) => {
            drop(raised);
            let fault = stand_by(frame, orders, &link, outputs, is_grouped);
            init::tell_and_end(&failure, fault)
        }
        Ok((Fork::Parent(pid), orders)) => (pid, orders),
        Err(fault) => init::tell_and_end(&failure, fault),
    };
    drop(outputs);
    match pass_on(raised, frame, link.as_fd(), orders.as_fd()) {
        Ok(()) => init::watch_over(command, link, failure, orders),
        Err(fault) => init::tell_and_end(&failure, fault),
    }
}

fn raise(frame: &Frame, memory: Option<Memory>, link: BorrowedFd<'_>) -> Result<Raised, Fault> {
    let raised = init::raise(frame, memory, link)?;
    // Nobody looks at what waits. And whoever is in the root when it is left, leaves with it.
    init::dumpable(DumpableBehavior::NotDumpable)?;
    process::chdir("/").map_err(Fault::of(Step::PivotRoot))?;
    Ok(raised)
}

/// Forks the process that will be the command; each side has its end of the way by which init passes the order on.
fn fork() -> Result<(Fork, OwnedFd), Fault> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).map_err(Fault::of(Step::Pipe))?;
    let forked = sys::fork().map_err(Fault::of(Step::Fork))?;
    let end = match forked {
        Fork::Child => theirs,
        Fork::Parent(_) => ours,
    };
    Ok((forked, end))
}

/// Init's part: waits for the order, moves in, and passes it on to the command.
fn pass_on(raised: Raised, frame: &Frame, link: BorrowedFd<'_>, orders: BorrowedFd<'_>) -> Result<(), Fault> {
    let lost = Fault::of::<io::Error>(Step::Handshake);
    init::await_word(orders, init::READY, None).map_err(Fault::of(Step::Handshake))?;
    init::say(link, init::READY).map_err(Fault::of(Step::Handshake))?;
    wait_for_either(link, orders).map_err(Fault::of(Step::Handshake))?;
    let (mut text, stdin) = take(link).map_err(&lost)?;
    let spec = read(&mut text).map_err(&lost)?;
    let walls = walls_of(&spec)?;
    init::move_in(raised, frame, walls, [&spec.workspace, &spec.home], link)?;
    give(orders, &text, &stdin).map_err(&lost)
}

/// The command's part: waits behind the filters, and is the command that it is told. Returns only if that failed.
fn stand_by(
    frame: &Frame,
    orders: OwnedFd,
    link: &OwnedFd,
    outputs: [OwnedFd; 2],
    is_grouped: bool,
) -> Fault {
    let known = init::shut_itself_off().and_then(|()| {
        init::say(orders.as_fd(), init::READY).map_err(Fault::of(Step::Handshake))?;
        let (mut text, stdin) = take(orders.as_fd()).map_err(Fault::of(Step::Handshake))?;
        let spec = read(&mut text).map_err(Fault::of(Step::Handshake))?;
        if frame.ids.is_none() {
            init::become_the_user(true)?;
        }
        Ok((spec, stdin))
    });
    let (spec, stdin) = match known {
        Ok(known) => known,
        Err(fault) => return fault,
    };
    match walls_of(&spec) {
        Ok(walls) => {
            let job = launcher::job(&spec, stdin, outputs, is_grouped);
            init::become_the_command(walls, &job, link.as_fd())
        }
        Err(fault) => fault,
    }
}

fn walls_of(spec: &Spec) -> Result<&Walls, Fault> {
    spec.walls
        .as_ref()
        .ok_or_else(|| Fault::of(Step::Handshake)(Errno::INVAL))
}

/// Returns once there is something to read on `link`. A word or the end on `other` comes at no good time.
fn wait_for_either(link: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        let mut polled = [link, other].map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN));
        match poll(&mut polled, None) {
            Ok(_) if !polled[1].revents().is_empty() => return Err(Errno::CONNRESET),
            Ok(_) if !polled[0].revents().is_empty() => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn read(text: &mut File) -> io::Result<Spec> {
    let mut bytes = Vec::new();
    text.read_to_end(&mut bytes)?;
    text.rewind()?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// The text of a spec and a standard input, as they were [given](give).
fn take(link: BorrowedFd<'_>) -> io::Result<(File, File)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let mut parts = [IoSliceMut::new(&mut word)];
    rustix::io::retry_on_intr(|| recvmsg(link, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut given = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut given = given.next().ok_or(io::ErrorKind::ConnectionReset)?;
    let (Some(text), Some(stdin), [ORDER]) = (given.next(), given.next(), word) else {
        return Err(io::ErrorKind::ConnectionReset.into());
    };
    Ok((File::from(text), File::from(stdin)))
}
