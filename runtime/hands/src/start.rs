//! The runtime's side of one command: launch it, wait for it, cancel it, collect what it wrote.
//!
//! Nothing here is lost with the runtime: each function works from the command directory alone, in any process, as
//! often as one likes. All calls block; an asynchronous caller gives them a thread, or polls [`watch`].

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;

use crate::capture;
use crate::dir::{self, STDERR, STDOUT, State};
use crate::procs::{self, Sent};
use crate::sabotage;
use crate::shim;
use crate::spec::Spec;

/// What [`launch`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launched {
    /// A new shim has taken the command on. [`wait`] for it.
    Started,
    /// Nothing new was started: a shim has it already, or it has ended. [`wait`] says which.
    AlreadyTaken,
}

/// Why a command was not launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// Nothing has executed, and nothing will: correct the spec.
    #[error("the command cannot be run: {0}")]
    BadSpec(String),
    /// Nothing has executed. Launching again is safe, and useful once the cause is gone.
    #[error("the command was not started: {doing}: {source}")]
    NotStarted {
        /// What failed.
        doing: &'static str,
        /// How.
        source: io::Error,
    },
    /// A shim came up and found that it could not claim. Nothing has executed; launching again is safe.
    #[error("the shim refused the command: {reason}; nothing has run, launching again is safe")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The shim program ended in a way no shim ends: is it the right program? Ask [`state`](crate::state).
    #[error(
        "{exe} did not behave as a shim ({status}); it must call longhaul_hands::main_if_shim first in main"
    )]
    NotAShim {
        /// The program.
        exe: PathBuf,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
}

/// The running program, whatever lies at its path by now.
///
/// A runtime whose binary was replaced on disk goes on with the shim it was built with.
#[must_use]
pub fn own_exe() -> PathBuf {
    // Resolved in the child just before exec, where it still means the parent's program.
    PathBuf::from("/proc/self/exe")
}

/// Starts the command of `spec` in `dir` under a shim, and returns once it is claimed or somebody else's.
///
/// `shim_exe` is a program whose `main` begins with [`main_if_shim`](crate::main_if_shim). It inherits nothing:
/// no environment, no descriptor, no process group. Calling this again for the same `dir`, at the same time or
/// after a crash, never executes the command twice.
///
/// # Errors
/// See [`LaunchError`]; in each case but `NotAShim` it is certain that nothing has executed.
pub fn launch(shim_exe: &Path, dir: &Path, spec: &Spec) -> Result<Launched, LaunchError> {
    match wish(dir, spec)? {
        Some(dir) => start(shim_exe, &dir),
        None => Ok(Launched::AlreadyTaken),
    }
}

fn not_started(doing: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |source| LaunchError::NotStarted { doing, source }
}

/// Writes the wish down, on disk; returns the directory from the root on, or none if the command was taken before.
pub(crate) fn wish(dir: &Path, spec: &Spec) -> Result<Option<PathBuf>, LaunchError> {
    spec.check().map_err(LaunchError::BadSpec)?;
    let dir = std::path::absolute(dir).map_err(not_started("resolving its directory"))?;
    if dir::is_taken(&dir).map_err(not_started("looking at its directory"))? {
        return Ok(None);
    }
    dir::write_wish(&dir, spec).map_err(not_started("writing its spec"))?;
    Ok(Some(dir))
}

/// Starts a shim for the wish in `dir`.
pub(crate) fn start(shim_exe: &Path, dir: &Path) -> Result<Launched, LaunchError> {
    // No pre_exec: with it std could not use vfork, and a fork costs page tables of a large runtime.
    let mut shim = Command::new(shim_exe);
    if !sabotage::is_on("inherit-the-environment") {
        shim.env_clear();
    }
    let status = shim
        .arg("shim")
        .arg(dir)
        .envs(sabotage::passed_on())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(not_started("executing the shim"))?;
    match status.code() {
        // Killed from outside while it waited for the claim: the directory knows.
        None => Ok(Launched::Started),
        Some(code) => launched(code, dir).unwrap_or(Err(LaunchError::NotAShim {
            exe: shim_exe.to_owned(),
            status,
        })),
    }
}

/// What the word of a shim about its claim means; none if it is none of a shim.
pub(crate) fn launched(code: i32, dir: &Path) -> Option<Result<Launched, LaunchError>> {
    match code {
        shim::STARTED => Some(Ok(Launched::Started)),
        shim::TAKEN => Some(Ok(Launched::AlreadyTaken)),
        shim::REFUSED => Some(Err(LaunchError::Refused {
            reason: dir::refusal(dir),
        })),
        _ => None,
    }
}

/// Ends the [`wait`] of another thread. Clones share one flag.
#[derive(Debug, Clone)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// A flag that is down.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)))
    }

    /// Raises the flag, for good: every wait with it returns at once.
    pub fn raise(&self) {
        // Fails only if the counter would overflow, and then the flag is up.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// Waits until the command has ended, until `deadline`, or until `stop` is raised; returns the state at that moment.
///
/// Sleeps in the kernel until the shim exits. Returns [`State::NotStarted`] at once: nobody will start it but you.
///
/// # Errors
/// As [`state`](crate::state).
pub fn wait(dir: &Path, deadline: Option<Instant>, stop: Option<&Stop>) -> io::Result<State> {
    let mut pause = Duration::from_millis(5);
    loop {
        let now = dir::state(dir)?;
        if !matches!(now, State::Starting | State::Running { .. }) {
            return Ok(now);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(now);
        }
        let held = watch(dir)?;
        // Nothing to hold on to while it is starting: it will claim within a few writes.
        let patience = if held.is_some() {
            left
        } else {
            Some(left.map_or(pause, |left| left.min(pause)))
        };
        pause = (pause * 2).min(Duration::from_millis(50));
        let mut fds: Vec<PollFd<'_>> = held.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        fds.extend(stop.map(|stop| PollFd::new(&*stop.0, PollFlags::IN)));
        match poll(&mut fds, patience.map(timespec).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if stop.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty()) {
            return dir::state(dir);
        }
    }
}

/// A descriptor that becomes readable when the command has ended; none if no shim has it right now.
///
/// For event loops: a thousand running commands need no thousand threads. Readable means: ask [`state`](crate::state).
///
/// # Errors
/// As [`state`](crate::state).
pub fn watch(dir: &Path) -> io::Result<Option<OwnedFd>> {
    dir::shim(dir)?.map_or(Ok(None), |shim| procs::hold(&shim))
}

/// Asks the shim to stop the command: SIGTERM to all of its processes, SIGKILL after the grace, record `canceled`.
///
/// Returns whether a shim was there to ask. It has not stopped yet: [`wait`] for that.
///
/// # Errors
/// As [`state`](crate::state).
pub fn cancel(dir: &Path) -> io::Result<bool> {
    let Some(shim) = dir::shim(dir)? else {
        return Ok(false);
    };
    match procs::signal(&shim, Signal::TERM)? {
        Sent::Delivered => Ok(true),
        Sent::Gone => Ok(false),
        Sent::Refused => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "shim {} belongs to another user; cancel as the user who started it",
                shim.pid
            ),
        )),
    }
}

/// What is kept of one output stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its last bytes, where `head` is not all.
    pub tail: Vec<u8>,
    /// Bytes that were written; unknown while it runs and after a lost shim.
    pub total: Option<u64>,
    /// Bytes between head and tail are missing.
    pub truncated: bool,
}

/// What is kept of both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

/// Which output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn file(self) -> &'static str {
        match self {
            Self::Stdout => STDOUT,
            Self::Stderr => STDERR,
        }
    }
}

/// Reads what the command wrote. Before its end, and after a lost shim, that is the head as far as it got.
///
/// # Errors
/// The files cannot be read.
pub fn collect(dir: &Path) -> io::Result<Collected> {
    let record = match dir::state(dir)? {
        State::Exited(record) => Some(record),
        _ => None,
    };
    let output = |stream: Stream, kept: Option<crate::StreamRecord>| {
        let mut head = match std::fs::read(dir.join(stream.file())) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let Some(kept) = kept else {
            return Ok(Output {
                head,
                ..Output::default()
            });
        };
        let split = usize::try_from(kept.head).unwrap_or(usize::MAX).min(head.len());
        let tail = head.split_off(split);
        Ok(Output {
            head,
            tail,
            total: Some(kept.total),
            truncated: kept.truncated,
        })
    };
    Ok(Collected {
        stdout: output(Stream::Stdout, record.as_ref().map(|r| r.stdout))?,
        stderr: output(Stream::Stderr, record.as_ref().map(|r| r.stderr))?,
    })
}

/// Reads up to `max` bytes of a stream from `offset` on, to follow it while it grows.
///
/// Past the head nothing more comes until the command ends; then the tail stands right behind it.
///
/// # Errors
/// The file cannot be read.
pub fn follow(dir: &Path, stream: Stream, offset: u64, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(dir.join(stream.file())) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(offset))?;
            file.take(max).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

/// The last `max` bytes of a service that runs, as far as they were kept.
///
/// # Errors
/// A file cannot be read.
pub fn last_words(dir: &Path, stream: Stream, max: u64) -> io::Result<Vec<u8>> {
    let output = dir.join(stream.file());
    let recent = capture::recent(&output);
    let mut last = Vec::new();
    for path in [recent.clone(), capture::older(&recent), output] {
        let left = max.saturating_sub(last.len() as u64);
        let before = match File::open(path) {
            Ok(file) => end_of(file, left)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        last.splice(..0, before);
    }
    Ok(last)
}

fn end_of(mut file: File, max: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
