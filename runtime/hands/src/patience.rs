//! How long the making of a sandbox may take, and who may call it off meanwhile.
//!
//! Until the command executes, nobody watches over it yet. Whatever the shim waits for by then, it waits for here, so that
//! something that hangs (a file system that does not answer, a stopped process) holds no step for ever, and a cancel is heard.

use std::cell::Cell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// The longest it may take; it is some milliseconds.
pub(crate) const SET_UP: Duration = Duration::from_secs(30);
/// How long a process that was killed may take to be gone, and to have said its last word.
const GONE: Duration = Duration::from_secs(2);

/// A bound on waiting.
pub(crate) struct Patience<'a> {
    until: Instant,
    signals: Option<&'a OwnedFd>,
    over: Cell<Option<Over>>,
}

/// Why nothing is waited for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// Its time is over.
    Late,
    /// SIGTERM came.
    Canceled,
}

impl<'a> Patience<'a> {
    /// For so long, or until SIGTERM comes by these `signals` (of `signalfd`).
    pub(crate) fn until(until: Instant, signals: Option<&'a OwnedFd>) -> Self {
        Self {
            until,
            signals,
            over: Cell::new(None),
        }
    }

    /// For as long as a set-up may take.
    pub(crate) fn of_a_set_up() -> Self {
        Self::until(Instant::now() + SET_UP, None)
    }

    /// For the last words of what was killed.
    pub(crate) fn of_the_dead() -> Self {
        Self::until(Instant::now() + GONE, None)
    }

    /// Whether it has come to its end.
    pub(crate) fn over(&self) -> Option<Over> {
        self.over.get()
    }

    /// Returns when there is something to read, or nothing ever will be.
    ///
    /// # Errors
    /// `TIMEDOUT` or `CANCELED`, and the same whenever it is asked again.
    pub(crate) fn wait_for(&self, source: BorrowedFd<'_>) -> Result<(), Errno> {
        loop {
            match self.over.get() {
                Some(Over::Late) => return Err(Errno::TIMEDOUT),
                Some(Over::Canceled) => return Err(Errno::CANCELED),
                None => {}
            }
            let left = self.until.saturating_duration_since(Instant::now());
            let mut fds = vec![PollFd::from_borrowed_fd(source, PollFlags::IN)];
            fds.extend(self.signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) => self.over.set(Some(Over::Late)),
                // What has come is taken in first; a signal that came with it is still there later.
                Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
                Ok(_) if self.signals.is_some_and(says_term) => self.over.set(Some(Over::Canceled)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until all writers are gone.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub(crate) fn read_all(&self, pipe: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let (mut all, mut some) = (Vec::new(), [0; 64]);
        loop {
            self.wait_for(pipe.as_fd())?;
            match rustix::io::read(pipe, &mut some) {
                Ok(0) => return Ok(all),
                Ok(bytes) => all.extend(&some[..bytes]),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reads the signals that have come; whether one of them is SIGTERM.
pub(crate) fn says_term(signals: &OwnedFd) -> bool {
    let (mut term, mut info) = (false, [0_u8; 128]);
    while let Ok(128) = rustix::io::read(signals, &mut info) {
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        term |= number == Signal::TERM.as_raw().unsigned_abs();
    }
    term
}

/// Kills a child and reaps it, unless not even that ends it.
pub(crate) fn put_an_end_to(child: Pid) {
    let _ = process::kill_process(child, Signal::KILL);
    if let Ok(hold) = process::pidfd_open(child, PidfdFlags::empty()) {
        let _ = Patience::of_the_dead().wait_for(hold.as_fd());
    }
    let _ = process::waitid(WaitId::Pid(child), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}

pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_not_waited_for_for_ever_and_what_has_ended_not_at_all() {
        let (silent, end) = rustix::pipe::pipe().unwrap();
        let patience = Patience::until(Instant::now() + Duration::from_millis(20), None);
        assert_eq!(patience.wait_for(silent.as_fd()), Err(Errno::TIMEDOUT));
        drop(end);
        assert_eq!(
            patience.wait_for(silent.as_fd()),
            Err(Errno::TIMEDOUT),
            "once over, over"
        );
        assert_eq!(patience.over(), Some(Over::Late));
        let patience = Patience::of_a_set_up();
        assert_eq!(
            (patience.wait_for(silent.as_fd()), patience.over()),
            (Ok(()), None)
        );
    }

    #[test]
    #[expect(
        clippy::zombie_processes,
        reason = "that it is reaped by its id is what is tested"
    )]
    fn a_child_that_ignores_everything_is_ended_and_reaped() {
        let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        put_an_end_to(pid);
        assert_eq!(process::test_kill_process(pid), Err(Errno::SRCH));
    }
}
