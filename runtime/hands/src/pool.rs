//! A few shims that are kept ready, so that a command need not wait for its shim to be started, nor for its sandbox and its
//! control group to be begun.
//!
//! A ready shim is handed a command directory. From then on everything is as if it had been started for it: the claim says
//! who has the command, and whether a hand-over that was cut short has arrived is asked of the claim and of nobody else. So
//! whenever no answer comes, another shim is started in the usual way, and finds the command taken or takes it.
//!
//! Ready shims hold the runtime's end of a channel to be their life: they leave when it is closed, by [`Pool::close`], by
//! SIGKILL of the runtime, or because no command has come for a while. A pool that has launched nothing has none.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use crate::ahead::Shape;
use crate::limits;
use crate::ready;
use crate::sabotage;
use crate::shim;
use crate::spec::{PROTOCOL, Spec};
use crate::start::{self, LaunchError, Launched};

/// How long they wait for another command: a brain thinks for some seconds between two of them, and what thinks for longer
/// has time to wait for a start. An idle runtime holds none.
const IDLE: Duration = Duration::from_secs(10);
/// A short command is over by then, so that what is made ahead for the next one does not stand in its way.
const QUIET: Duration = Duration::from_millis(10);

/// How long a shim may take to say anything: longer than all that a usual one does, so that only one that hangs is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts commands under shims that are kept ready.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    exe: PathBuf,
    place: PathBuf,
    idle: Duration,
    kept: Mutex<Kept>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    ready: Vec<Ready>,
    /// That of the last command: the next one is likely to be of the same.
    shape: Shape,
    /// When that was.
    launched: Option<Instant>,
    /// Sees to it that there are enough, and that they go.
    keeper: Option<JoinHandle<()>>,
    is_closed: bool,
}

/// The runtime's end of the channel to a shim that waits.
#[derive(Debug)]
struct Ready {
    channel: OwnedFd,
    shape: Shape,
}

impl Pool {
    /// How many are kept ready. One for the next command and one for the next session's; more would only help where more
    /// commands begin at one time than there are processors to run them.
    pub const KEPT: usize = 2;

    /// A pool of shims of this program, as for [`launch`](crate::launch). `place` is a folder that says whose they are to
    /// who lists processes: the data directory.
    #[must_use]
    pub fn new(shim_exe: PathBuf, place: PathBuf) -> Self {
        Self::idle_after(shim_exe, place, IDLE)
    }

    /// The same, whose shims leave after this time without a command.
    #[must_use]
    pub fn idle_after(shim_exe: PathBuf, place: PathBuf, idle: Duration) -> Self {
        let place = std::path::absolute(&place).unwrap_or(place);
        Self {
            shared: Arc::new(Shared {
                exe: shim_exe,
                place,
                idle,
                kept: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Does what [`launch`](crate::launch) does, with a ready shim if there is one.
    ///
    /// # Errors
    /// As [`launch`](crate::launch).
    pub fn launch(&self, dir: &Path, spec: &Spec) -> Result<Launched, LaunchError> {
        let Some(dir) = start::wish(dir, spec)? else {
            return Ok(Launched::AlreadyTaken);
        };
        let shape = Shape::of(spec);
        let ready = self.shared.take(&shape);
        let launched = match ready.and_then(|ready| ready.hand_over(&dir)) {
            Some(launched) => launched,
            None => start::start(&self.shared.exe, &dir),
        };
        Shared::was_launched(&self.shared, shape);
        launched
    }

    /// How many are ready at this moment.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.shared.kept().ready.len()
    }

    /// Lets them all go, for good. What is launched later is started in the usual way.
    pub fn close(&self) {
        if let Some(keeper) = self.shared.close() {
            // It does not panic; and if it did, there is nothing that it still holds.
            let _ = keeper.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.shared.close());
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is kept are whole values, sound whoever panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that has prepared what is needed, or else any. The oldest first, so that none grows old.
    fn take(&self, shape: &Shape) -> Option<Ready> {
        let mut kept = self.kept();
        let fitting = kept.ready.iter().position(|ready| ready.shape == *shape);
        (!kept.ready.is_empty()).then(|| kept.ready.remove(fitting.unwrap_or(0)))
    }

    fn was_launched(shared: &Arc<Self>, shape: Shape) {
        let mut kept = shared.kept();
        (kept.shape, kept.launched) = (shape, Some(Instant::now()));
        if kept.keeper.is_none() && !kept.is_closed {
            let keeper = std::thread::Builder::new().name("longhaul-ready".into());
            let shared = Arc::clone(shared);
            // Without a thread there are no ready shims, and everything else is as it was.
            kept.keeper = keeper.spawn(move || shared.keep()).ok();
        }
        drop(kept);
        shared.changed.notify_one();
    }

    fn close(&self) -> Option<JoinHandle<()>> {
        let mut kept = self.kept();
        kept.is_closed = true;
        kept.ready.clear();
        self.changed.notify_one();
        kept.keeper.take()
    }

    /// Keeps some ready for as long as commands come.
    fn keep(&self) {
        self.sweep();
        // A program that cannot be one, or a machine that is full: not tried again before things have been quiet once.
        let mut has_failed = false;
        let mut kept = self.kept();
        while !kept.is_closed {
            let since = kept.launched.map_or(self.idle, |launched| launched.elapsed());
            if since >= self.idle {
                break;
            }
            let shape = kept.shape.clone();
            let is_full =
                kept.ready.len() >= Pool::KEPT && kept.ready.iter().all(|ready| ready.shape == shape);
            if is_full || has_failed {
                kept = self.wait(kept, self.idle - since);
            } else if since < QUIET && !kept.ready.is_empty() {
                kept = self.wait(kept, QUIET - since);
            } else {
                if kept.ready.len() >= Pool::KEPT {
                    let outdated = kept.ready.iter().position(|ready| ready.shape != shape);
                    drop(outdated.map(|outdated| kept.ready.remove(outdated)));
                }
                drop(kept);
                let ready = Ready::start(&self.exe, &self.place, shape);
                has_failed = ready.is_none();
                kept = self.kept();
                if !kept.is_closed {
                    kept.ready.extend(ready);
                }
            }
        }
        kept.ready.clear();
        kept.keeper = None;
        drop(kept);
        self.sweep();
    }

    fn wait<'a>(&self, kept: MutexGuard<'a, Kept>, patience: Duration) -> MutexGuard<'a, Kept> {
        let waited = self.changed.wait_timeout(kept, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Removes what ready shims have left that were killed: no claim names it.
    fn sweep(&self) {
        let groups = self.kept().shape.groups().cloned();
        if let Some(groups) = groups {
            limits::sweep_ahead(&groups);
        }
    }
}

impl Ready {
    /// Starts one and waits until it is ready; none if it does not become that, whatever it is.
    fn start(exe: &Path, place: &Path, shape: Shape) -> Option<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (channel, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
        set_socket_timeout(&channel, Timeout::Recv, Some(PATIENCE)).ok()?;
        let mut shim = Command::new(exe);
        if !sabotage::is_on("inherit-the-environment") {
            shim.env_clear();
        }
        shim.arg("shim")
            .arg(place)
            .arg(ready::WORD)
            .envs(sabotage::passed_on())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let left = shim.status();
        // With the end that it was given: from here on the channel lives as long as the shim.
        drop(shim);
        if left.ok()?.code() != Some(shim::STARTED) {
            return None;
        }
        let told = serde_json::to_vec(&shape).ok()?;
        rustix::net::send(&channel, &told, SendFlags::NOSIGNAL).ok()?;
        let mut protocol = [0; 4];
        let heard = hear(&channel, &mut protocol)?;
        // A program that was replaced on disk is as good as ours as long as it speaks as ours does.
        (heard == 4 && u32::from_le_bytes(protocol) == PROTOCOL).then_some(Self { channel, shape })
    }

    /// Hands it a command directory; none if it has not said what became of that: then nobody but the claim can tell.
    fn hand_over(self, dir: &Path) -> Option<Result<Launched, LaunchError>> {
        let path = dir.as_os_str().as_bytes();
        rustix::net::send(&self.channel, path, SendFlags::NOSIGNAL).ok()?;
        let mut code = [0];
        let heard = hear(&self.channel, &mut code)?;
        (heard == 1)
            .then(|| start::launched(i32::from(code[0]), dir))
            .flatten()
    }
}

/// Waits for a message; none when the other side is gone.
fn hear(channel: &OwnedFd, message: &mut [u8]) -> Option<usize> {
    let heard = rustix::io::retry_on_intr(|| rustix::net::recv(channel, &mut *message, RecvFlags::empty()));
    heard.ok().map(|(_, length)| length).filter(|length| *length > 0)
}
