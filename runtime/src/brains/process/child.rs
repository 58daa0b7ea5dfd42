//! One child process of a session: its start, its pipes, and its certain end.
//!
//! A child leads a process group of its own. Its end is: stdin closed, SIGTERM to the group, a grace time, SIGKILL to
//! the group, then to whatever left the group but still carries the mark; and only then is it called gone. Dropping
//! a child does the same behind the caller's back; dropping it outside a runtime, or stopping the runtime meanwhile,
//! kills the group at once.

use std::os::fd::{AsFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_journal::Seq;
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::alive::Alive;
use super::leftovers;
use super::lines::{Line, Lines};

/// How a child is started.
pub(super) struct Launch<'a> {
    pub(super) program: &'a str,
    pub(super) args: &'a [String],
    pub(super) env: &'a [(String, String)],
    /// Value of [`leftovers::MARK`] in its environment, its own alone.
    pub(super) mark: String,
    pub(super) max_line: usize,
    pub(super) grace: Duration,
    pub(super) alive: Alive,
}

/// A child at work. Dropping it ends it in the background.
pub(super) struct Child {
    body: Option<Body>,
    /// The last seq it was told.
    pub(super) told: Seq,
}

/// How a child ended.
pub(super) struct Ended {
    pub(super) status: Option<ExitStatus>,
    pub(super) stderr: String,
}

impl Child {
    /// Starts a child.
    ///
    /// # Errors
    /// What the system said; nothing was started.
    pub(super) fn start(launch: Launch<'_>) -> std::io::Result<Self> {
        let mut program = std::process::Command::new(launch.program);
        longhaul_hands::brand(&mut program);
        let mut command = Command::from(program);
        command
            .args(launch.args)
            .env_clear()
            .envs(
                ["PATH", "HOME", "LANG"]
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(launch.env.iter().map(|(name, value)| (name, value)))
            .env(leftovers::MARK, &launch.mark)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let id = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let stdout = process.stdout.take().expect("it was asked for above");
        let stderr = process.stderr.take().expect("it was asked for above");
        let tail = Tail::default();
        let body = Body {
            stdin: process.stdin.take(),
            lines: Lines::new(stdout, launch.max_line),
            drain: tokio::spawn(drain(stderr, tail.clone(), launch.mark.clone())),
            tail,
            group: id.expect("a process that was not yet awaited has an id above 0"),
            process,
            mark: launch.mark,
            grace: launch.grace,
            gone: false,
            _alive: launch.alive,
        };
        Ok(Self {
            body: Some(body),
            told: Seq::ZERO,
        })
    }

    /// Its two ends: where it is written to, if that is still open, and where it is heard.
    pub(super) fn ends(&mut self) -> (Option<&mut ChildStdin>, Ear<'_>) {
        let body = self
            .body
            .as_mut()
            .expect("only `end` and `drop` take it, and they take the child");
        let ear = Ear {
            lines: &mut body.lines,
            process: &mut body.process,
            grace: body.grace,
        };
        (body.stdin.as_mut(), ear)
    }

    /// Gives a child that closed its output the grace time to exit by itself.
    pub(super) async fn settle(&mut self) {
        if let Some(body) = &mut self.body {
            let _ = timeout(body.grace, body.process.wait()).await;
        }
    }

    /// Ends it; resolves when no process of it is left.
    ///
    /// # Cancel safety
    /// Dropping the future ends it all the same, at once.
    pub(super) async fn end(mut self) -> Ended {
        let body = self
            .body
            .take()
            .expect("only `end` and `drop` take it, and they take the child");
        body.end().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        // Without a runtime there is nobody to wait for a grace time: dropping the body kills.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(body.end());
        }
    }
}

/// What [`Child`] holds; dropping it before it is gone kills its group at once.
struct Body {
    process: tokio::process::Child,
    group: Pid,
    mark: String,
    grace: Duration,
    stdin: Option<ChildStdin>,
    lines: Lines<ChildStdout>,
    drain: JoinHandle<()>,
    tail: Tail,
    gone: bool,
    _alive: Alive,
}

impl Body {
    async fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let _ = kill_process_group(self.group, Signal::TERM);
        let _ = timeout(self.grace, self.all_exited()).await;
        let _ = kill_process_group(self.group, Signal::KILL);
        self.all_exited().await;
        while !leftovers_killed(&self.mark).await {
            sleep(POLL).await;
        }
        self.gone = true;
        // Ends by itself: no process is left that holds the other end. The bound is for one that hid from the mark.
        let _ = timeout(self.grace, &mut self.drain).await;
        Ended {
            status: self.process.try_wait().ok().flatten(),
            stderr: self.tail.text(),
        }
    }

    /// Resolves when the leader was awaited and its group is empty.
    async fn all_exited(&mut self) {
        let _ = self.process.wait().await;
        while group_alive(self.group).await {
            sleep(POLL).await;
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.drain.abort();
        if !self.gone {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

/// How often a process that must end is looked at. Members of a group that are not our children cannot be awaited.
const POLL: Duration = Duration::from_millis(5);

/// Whether a group has a member that is not a zombie.
///
/// The number of a group is not given away while the group has members, so this asks about no stranger. Zombies do
/// not count: orphans are reaped by process 1, and in a container that may be a program which never does.
async fn group_alive(group: Pid) -> bool {
    test_kill_process_group(group).is_ok()
        && tokio::task::spawn_blocking(move || leftovers::group_has_living(group))
            .await
            .unwrap_or(true)
}

/// Kills what left the group but carries the mark; says whether nothing was found.
async fn leftovers_killed(mark: &str) -> bool {
    let mark = mark.to_owned();
    let killed = tokio::task::spawn_blocking(move || leftovers::kill_exactly(&mark)).await;
    killed.is_ok_and(|killed| killed.is_empty())
}

/// The end of what a child complained about.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    const KEPT: usize = 2048;

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        let excess = kept.len().saturating_sub(Self::KEPT);
        kept.drain(..excess);
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

/// Reads stderr to its end, so that the child never blocks on it; the first 64 KiB go to the log of the program.
async fn drain(mut stderr: ChildStderr, tail: Tail, mark: String) {
    const LOGGED: usize = 64 << 10;
    let (mut chunk, mut seen) = (vec![0; 4096], 0_usize);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        let bytes = &chunk[..read];
        tail.push(bytes);
        if seen < LOGGED {
            tracing::debug!(brain = %mark, text = %String::from_utf8_lossy(bytes).trim_end(), "stderr of a brain");
            if seen + read >= LOGGED {
                tracing::warn!(brain = %mark, "a brain said over 64 KiB on stderr; the rest is not logged");
            }
        }
        seen = seen.saturating_add(read);
    }
}

/// Writes lines to a child. A child that no longer reads is no error here: its output tells what became of it.
pub(super) async fn write(stdin: Option<&mut ChildStdin>, text: &str, written: &AtomicU64) {
    let Some(stdin) = stdin else { return };
    let mut left = text.as_bytes();
    while !left.is_empty() {
        match stdin.write(left).await {
            Ok(0) | Err(_) => return,
            Ok(taken) => {
                written.fetch_add(taken as u64, Ordering::Relaxed);
                left = &left[taken..];
            }
        }
    }
    let _ = stdin.flush().await;
}

/// The way into a child's stdin, to see whether it reads.
///
/// It is a second descriptor of the pipe, so that it can be looked at while somebody writes; it is dropped before the
/// child is ended, which is told so by the end of its input.
pub(super) struct Inlet(OwnedFd);

impl Inlet {
    /// That of this stdin; none where the system gives no second descriptor.
    pub(super) fn of(stdin: &ChildStdin) -> Option<Self> {
        stdin.as_fd().try_clone_to_owned().ok().map(Self)
    }

    /// Whether something was written, and all of it still lies in the pipe.
    pub(super) fn is_untouched(&self, written: u64) -> bool {
        written > 0 && ioctl_fionread(&self.0).is_ok_and(|unread| unread >= written)
    }
}

/// Where a child is heard.
pub(super) struct Ear<'a> {
    lines: &'a mut Lines<ChildStdout>,
    process: &'a mut tokio::process::Child,
    grace: Duration,
}

impl Ear<'_> {
    /// Reads one line; a pipe that cannot be read has ended.
    ///
    /// The end of the child counts as the end of its output even if something it left behind holds the pipe open:
    /// what it said last is then awaited for the grace time only.
    pub(super) async fn line(&mut self) -> Line {
        let line = tokio::select! {
            biased;
            line = self.lines.next() => line,
            _ = self.process.wait() => match timeout(self.grace, self.lines.next()).await {
                Ok(line) => line,
                Err(_) => return Line::End,
            },
        };
        line.unwrap_or(Line::End)
    }
}
