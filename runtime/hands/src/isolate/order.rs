//! An init that was made before its command was known, and what it is told then.
//!
//! It waits in its namespaces, closed to other processes as the shim is, and has built what is the same for all commands.
//! From the order on, what it does is the same, in the same order, as when it knew its job from the start.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::DumpableBehavior;

use super::fault::{Fault, Step};
use super::frame::Frame;
use super::init::{self, Inside};
use crate::launcher;
use crate::spec::Spec;

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
    let known = init::raise(frame, memory, link.as_fd()).and_then(|raised| {
        // Nobody looks at what waits.
        init::dumpable(DumpableBehavior::NotDumpable)?;
        init::say(link.as_fd(), init::READY)
            .map_err(io::Error::from)
            .and_then(|()| take(link.as_fd()))
            .map(|(spec, stdin)| (raised, spec, stdin))
            .map_err(Fault::of(Step::Handshake))
    });
    let (raised, spec, stdin) = match known {
        Ok(known) => known,
        Err(fault) => init::tell_and_end(&failure, fault),
    };
    let Some(walls) = &spec.walls else {
        init::tell_and_end(&failure, Fault::of(Step::Handshake)(rustix::io::Errno::INVAL))
    };
    let job = launcher::job(&spec, stdin, outputs, is_grouped);
    init::go_on(raised, frame, walls, job, link, failure)
}

fn take(link: BorrowedFd<'_>) -> io::Result<(Spec, File)> {
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
    let mut bytes = Vec::new();
    File::from(text).read_to_end(&mut bytes)?;
    Ok((
        serde_json::from_slice(&bytes).map_err(io::Error::other)?,
        File::from(stdin),
    ))
}
