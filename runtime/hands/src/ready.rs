//! A shim that waits for its command: it has left the runtime's family, holds nothing of it but one end of a channel, and has
//! made ahead what can be. The other end is in a [`Pool`](crate::Pool).
//!
//! What is said on the channel, one message each: the shape of commands that will come, from the runtime; the version of
//! the protocol, from a shim that is ready; the command directory; and how the claim went. When the runtime ends, in
//! whatever way, the channel does, and a shim without a command leaves, and takes with it what it has made.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags};

use crate::ahead::Ahead;
use crate::patience::says_term;
use crate::sabotage;
use crate::shim::{self, Report, STARTED};
use crate::spec::PROTOCOL;
use crate::sys::{self, Fork};

/// The last word of its command line.
pub(crate) const WORD: &str = "ready";
/// Longest message: more than any path, and than a shape of a few.
const LONGEST: usize = 64 << 10;

/// Is a shim that waits on standard input. The calling process ends at once.
pub(crate) fn run() -> ! {
    let code = attend().unwrap_or(shim::REFUSED);
    sys::exit_now(code)
}

fn attend() -> io::Result<i32> {
    sys::close_all_from_3()?;
    sys::must_be_single_threaded()?;
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    shim::found_a_session()?;
    if let Fork::Parent(_) = sys::fork()? {
        return Ok(STARTED);
    }
    let signals = shim::settle()?;
    let Some(shape) = hear(&channel)? else {
        return Ok(STARTED);
    };
    let shape = serde_json::from_slice(&shape).map_err(io::Error::other)?;
    let (ahead, channel) = Ahead::make(shape, channel)?;
    rustix::net::send(&channel, &PROTOCOL.to_le_bytes(), SendFlags::NOSIGNAL)?;
    if !wait(&channel, &signals, ahead.as_ref())? {
        return Ok(STARTED);
    }
    let Some(dir) = hear(&channel)? else {
        if sabotage::is_on("outlive-the-runtime-unused") {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        return Ok(STARTED);
    };
    let dir = PathBuf::from(OsString::from_vec(dir));
    shim::claim_and_run(&dir, Report(channel), signals, ahead)
}

/// Waits until something is said, or the other side is gone. False when somebody asked it to go before, or what it had made
/// has ended.
fn wait(channel: &OwnedFd, signals: &OwnedFd, ahead: Option<&Ahead>) -> io::Result<bool> {
    loop {
        let mut polled = [
            PollFd::new(channel, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) if !polled[0].revents().is_empty() => return Ok(true),
            Ok(_) if says_term(signals) || ahead.is_some_and(|ahead| !ahead.is_alive()) => return Ok(false),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The next message; none when the other side is gone.
fn hear(channel: &OwnedFd) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; LONGEST];
    let (_, length) =
        rustix::io::retry_on_intr(|| rustix::net::recv(channel.as_fd(), &mut message[..], RecvFlags::TRUNC))?;
    if length > message.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    message.truncate(length);
    Ok((length > 0).then_some(message))
}
