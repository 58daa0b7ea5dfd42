//! An init that was made before its command was known, and what it is told then.
//!
//! It waits in its namespaces, closed to other processes as the shim is, and has done nothing yet: from the order on, what it
//! does is the same, in the same order, as when it knew its job from the start.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::fault::{Fault, Step};
use super::init;
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

/// Waits for the order, and is the init of that command. Ends when there is nobody any more who could give one.
pub(super) fn obey(link: OwnedFd, failure: OwnedFd, outputs: [OwnedFd; 2], is_grouped: bool) -> ! {
    let known =
        init::die_with_the_shim().and_then(|()| take(link.as_fd()).map_err(Fault::of(Step::Handshake)));
    let (spec, stdin) = match known {
        Ok(known) => known,
        Err(fault) => init::tell_and_end(&failure, fault),
    };
    let Some(walls) = &spec.walls else {
        init::tell_and_end(&failure, Fault::of(Step::Handshake)(rustix::io::Errno::INVAL))
    };
    let job = launcher::job(&spec, stdin, outputs, is_grouped);
    init::run(walls, job, link, failure)
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
