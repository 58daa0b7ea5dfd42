//! Whether a process acts for an agent: it, or one it descends from, is a shim, carries the mark of an agent, or is branded.
//!
//! Orphans of a command are adopted by its shim, so the way up from anything that a command started leads through it. Who
//! killed its shim, or never had one, and wiped its environment, still has the *brand*: a low hard limit on POSIX message
//! queues, which everything inherits that a branded process starts. Only root can raise a hard limit again: one that runs as
//! root and knows of the brand is not found.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, setrlimit};

use crate::procs::{Process, find};
use crate::spec::STEP_VARIABLE;
use crate::sys;

/// Deepest family that is followed.
const DEPTH: usize = 4_096;
/// Bytes in message queues, at most, of a branded process: half of what everybody has, which nobody will miss, and a number
/// that nobody hits upon.
const BRAND: u64 = 409_613;
/// Process 1, which nobody brands.
const INIT: u32 = 1;

/// What is known of where a process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// Nothing on the way up acts for an agent.
    Free,
    /// This process, itself or an ancestor, acts for an agent.
    Agent {
        /// Its pid.
        pid: u32,
    },
    /// It cannot be told: the process is gone, or `/proc` does not show it.
    Unknown,
}

/// A process that is held on to: should it end, its pid is not mistaken for that of another.
#[derive(Debug)]
pub struct Held {
    process: Process,
    handle: OwnedFd,
}

impl Held {
    /// Holds on to the process that has this pid now; none when there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Read while it is held, so that both are the same process.
        let process = find(pid).filter(|process| !process.is_dead())?;
        Some(Self { process, handle })
    }

    /// Where it comes from. `marks` are names of environment variables that only processes of agents carry, besides
    /// [`STEP_VARIABLE`]. Blocks on `/proc`.
    pub fn lineage(&self, marks: &[&str]) -> Lineage {
        let found = climb(self.process.pid, marks);
        // What was read on the way is true of it only if it lived all the while.
        if found == Lineage::Free && !self.lives() {
            return Lineage::Unknown;
        }
        found
    }

    fn lives(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // The handle is readable once the process has ended.
        let ended = poll(&mut polled, Some(&now)).map_or(true, |ready| ready > 0);
        !ended && find(self.process.pid).is_some_and(|process| !process.is_dead())
    }
}

/// Brands what this command starts: it and whatever descends from it acts for an agent, without a mark and without a parent,
/// too.
pub fn brand(command: &mut Command) {
    sys::before_exec(command, brand_me);
}

/// Brands the calling process. A single system call each way, as between fork and exec.
pub(crate) fn brand_me() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Msgqueue);
    let lowered = |limit: Option<u64>| Some(limit.map_or(BRAND, |limit| limit.min(BRAND)));
    let branded = Rlimit {
        current: lowered(current),
        maximum: lowered(maximum),
    };
    Ok(setrlimit(Resource::Msgqueue, branded)?)
}

/// Where the process with this pid comes from, the caller's own for one.
pub fn lineage(pid: u32, marks: &[&str]) -> Lineage {
    Held::of(pid).map_or(Lineage::Unknown, |held| held.lineage(marks))
}

fn climb(asked: u32, marks: &[&str]) -> Lineage {
    let mut pid = asked;
    for _ in 0..DEPTH {
        let Some(process) = find(pid) else {
            return Lineage::Unknown;
        };
        if is_shim(pid) || is_marked(pid, marks) {
            return Lineage::Agent { pid };
        }
        let Some(parent) = parent_of(&process) else {
            return Lineage::Unknown;
        };
        if parent <= 1 {
            // Nobody above it is one; what it has inherited tells of those who are gone.
            return match is_branded(asked) {
                true => Lineage::Agent { pid: asked },
                false => Lineage::Free,
            };
        }
        pid = parent;
    }
    Lineage::Unknown
}

/// The parent, which may change while we look: a parent is older than its child.
fn parent_of(child: &Process) -> Option<u32> {
    for _ in 0..64 {
        let now = find(child.pid).filter(|now| now.start_time == child.start_time)?;
        if now.parent <= 1 {
            return Some(now.parent);
        }
        let parent = find(now.parent);
        let still = find(child.pid).is_some_and(|again| again.parent == now.parent);
        if still && parent.is_some_and(|parent| parent.start_time <= child.start_time) {
            return Some(now.parent);
        }
    }
    None
}

/// Whether it was called as a shim is: `PROGRAM shim DIR`.
fn is_shim(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.nth(1) == Some(b"shim") && words.next().is_some_and(|directory| directory.starts_with(b"/"))
}

fn is_marked(pid: u32, marks: &[&str]) -> bool {
    let is_mark =
        |name: &[u8]| name == STEP_VARIABLE.as_bytes() || marks.iter().any(|mark| name == mark.as_bytes());
    // A process that keeps to itself cannot read its own there either.
    if pid == std::process::id() {
        return std::env::vars_os().any(|(name, _)| is_mark(name.as_encoded_bytes()));
    }
    // That of a shim, and of another user, cannot be read.
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|entry| is_mark(entry.split(|byte| *byte == b'=').next().unwrap_or_default()))
}

/// Whether it is branded. Where process 1 has as little, everybody has, and nothing follows from that.
fn is_branded(pid: u32) -> bool {
    let has_little = |pid| queue_limit(pid).is_some_and(|limit| limit <= BRAND);
    has_little(pid) && !has_little(INIT)
}

/// The hard limit of a process on message queues; none where there is none, or it cannot be seen.
fn queue_limit(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max msgqueue size"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// The owner of a process that keeps to itself is root, to whom its environment in `/proc` belongs.
    #[test]
    fn who_keeps_to_itself_still_knows_its_own_marks() {
        use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
        crate::procs::keep_to_oneself().unwrap();
        let mark = std::env::vars()
            .find(|(name, _)| name == "PATH" || name == "HOME")
            .unwrap()
            .0;
        let pid = std::process::id();
        let marked = lineage(pid, &[&mark]);
        let behavior = dumpable_behavior().unwrap();
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
        assert_eq!(marked, Lineage::Agent { pid });
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
    }

    /// A child that lives until its standard input ends.
    fn child(command: &mut Command) -> std::process::Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts")
    }

    /// Waits until the child's child has said its pid.
    fn said_pid(child: &mut std::process::Child) -> u32 {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        line.trim().parse().expect("a pid")
    }

    /// B-GATE-3
    #[test]
    fn a_process_below_a_marked_one_acts_for_an_agent_even_with_a_clean_environment() {
        let mut marked = child(
            Command::new("/bin/sh")
                .args(["-c", "env -i /bin/sh -c 'echo $$; read line'; true"])
                .env(STEP_VARIABLE, "s1/7"),
        );
        let below = said_pid(&mut marked);
        assert_eq!(lineage(below, &[]), Lineage::Agent { pid: marked.id() });
        drop(marked.stdin.take());
        marked.wait().expect("it ends");
    }

    #[test]
    fn a_mark_of_the_callers_own_counts_too() {
        let mut marked = child(
            Command::new("/bin/sh")
                .args(["-c", "echo $$; read line"])
                .env("MARK_OF_A_BRAIN", "1"),
        );
        let pid = said_pid(&mut marked);
        assert_eq!(lineage(pid, &["MARK_OF_A_BRAIN"]), Lineage::Agent { pid });
        drop(marked.stdin.take());
        marked.wait().expect("it ends");
    }

    /// B-GATE-3: it left its family, its session and its environment behind.
    #[test]
    fn an_orphan_with_a_clean_environment_is_known_by_its_brand() {
        let away = "(setsid env -i /bin/sh -c 'echo $$; read line' <&3 &) 3<&0; read line <&3 3<&0";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", away]);
        brand(&mut shell);
        let mut family = child(&mut shell);
        let orphan = said_pid(&mut family);
        let parent = find(orphan).expect("it lives").parent;
        assert_ne!(parent, family.id(), "it has left");
        assert_eq!(lineage(orphan, &[]), Lineage::Agent { pid: orphan });
        drop(family.stdin.take());
        family.wait().expect("it ends");
        assert_eq!(
            queue_limit(std::process::id()),
            queue_limit(INIT),
            "nobody else is branded"
        );
    }

    #[test]
    fn what_is_gone_is_unknown() {
        let mut gone = child(Command::new("/bin/sh").args(["-c", "echo $$; read line"]));
        let pid = said_pid(&mut gone);
        let held = Held::of(pid).expect("it lives");
        drop(gone.stdin.take());
        gone.wait().expect("it ends");
        assert_eq!(held.lineage(&[]), Lineage::Unknown);
        assert!(Held::of(pid).is_none());
    }
}
