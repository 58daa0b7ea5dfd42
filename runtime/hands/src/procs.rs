//! Other processes, as `/proc` shows them: who is whose child, who carries a mark, and signals that cannot hit a
//! stranger who inherited a pid.

use std::io;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::spec::STEP_VARIABLE;

/// A process at one moment. `pid` with `start_time` names it for all of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) start_time: u64,
    state: u8,
}

impl Process {
    /// Whether it is dead: a zombie only waits for its parent, which may never come.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Delivered,
    /// It was dead already, or its pid belongs to somebody else now.
    Gone,
    /// It lives and may not be signaled.
    Refused,
}

/// The process with this pid, or none.
pub(crate) fn find(pid: u32) -> Option<Process> {
    parse_stat(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The calling process.
pub(crate) fn myself() -> io::Result<Process> {
    find(std::process::id()).ok_or_else(|| io::Error::other("cannot read /proc/self/stat; is /proc mounted?"))
}

/// No other process may look into this one, nor does a crash of it leave an image of its memory; programs that it starts begin
/// anew. For a plain user the files of this process in `/proc` belong to root from then on: what only their owner may read,
/// such as its environment, it cannot read there itself.
///
/// # Errors
/// What the system says.
pub fn keep_to_oneself() -> io::Result<()> {
    let behavior = rustix::process::DumpableBehavior::NotDumpable;
    Ok(rustix::process::set_dumpable_behavior(behavior)?)
}

/// Names this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Every process that can be seen.
pub(crate) fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(pid.and_then(find));
    }
    Ok(found)
}

/// Those of `all` that descend from `ancestor`, itself not included.
pub(crate) fn descendants(ancestor: u32, all: &[Process]) -> Vec<Process> {
    let mut family = vec![ancestor];
    let mut found: Vec<Process> = Vec::new();
    while let Some(parent) = family.pop() {
        for child in all.iter().filter(|p| p.parent == parent && p.pid != ancestor) {
            // A pid reused between two reads of /proc could close a circle.
            if !found.iter().any(|known| known.pid == child.pid) {
                found.push(*child);
                family.push(child.pid);
            }
        }
    }
    found
}

/// Every living process whose [`STEP_VARIABLE`] satisfies `wanted`, except the caller.
///
/// A process that has wiped its own environment is not found: without walls that cannot be prevented.
pub(crate) fn marked(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Process>> {
    let prefix = format!("{STEP_VARIABLE}=");
    let carries = |process: &Process| {
        let Ok(environ) = std::fs::read(format!("/proc/{}/environ", process.pid)) else {
            return false;
        };
        environ.split(|b| *b == 0).any(|entry| {
            std::str::from_utf8(entry)
                .ok()
                .and_then(|e| e.strip_prefix(&prefix))
                .is_some_and(&wanted)
        })
    };
    let me = std::process::id();
    Ok(all()?
        .into_iter()
        .filter(|p| p.pid != me && !p.is_dead() && carries(p))
        .collect())
}

/// A descriptor of exactly this process, or none if it is dead or its pid was given to another.
pub(crate) fn hold(process: &Process) -> io::Result<Option<std::os::fd::OwnedFd>> {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(held) => held,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Only now is the pid pinned; what was read before may have been another process.
    let same = find(process.pid).is_some_and(|now| now.start_time == process.start_time && !now.is_dead());
    Ok(same.then_some(held))
}

/// Sends `signal` to exactly this process.
pub(crate) fn signal(process: &Process, signal: Signal) -> io::Result<Sent> {
    let Some(held) = hold(process)? else {
        return Ok(Sent::Gone);
    };
    match pidfd_send_signal(&held, signal) {
        Ok(()) => Ok(Sent::Delivered),
        Err(rustix::io::Errno::SRCH) => Ok(Sent::Gone),
        Err(rustix::io::Errno::PERM) => Ok(Sent::Refused),
        Err(error) => Err(error.into()),
    }
}

/// Reads a line of `/proc/PID/stat`. The name may hold spaces and brackets, so fields count from the last `)`.
fn parse_stat(line: &[u8]) -> Option<Process> {
    let after_name = line.iter().rposition(|b| *b == b')')? + 1;
    let rest = std::str::from_utf8(&line[after_name..]).ok()?;
    let pid = std::str::from_utf8(line.split(|b| *b == b' ').next()?)
        .ok()?
        .parse()
        .ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process {
            pid,
            parent,
            start_time: 1,
            state: b'S',
        }
    }

    #[test]
    fn a_process_named_like_the_end_of_its_name_is_read_right() {
        let line = b"42 (a) Z (b) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 1 1\n";
        let found = parse_stat(line).unwrap();
        assert_eq!(
            (found.pid, found.parent, found.start_time, found.state),
            (42, 7, 98765, b'S')
        );
        assert_eq!(parse_stat(b"torn"), None);
        assert_eq!(parse_stat(b"42 (x) S 7"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_strangers_are_not() {
        let all = [
            process(1, 0),
            process(10, 1),
            process(11, 10),
            process(12, 11),
            process(20, 1),
            process(21, 20),
        ];
        let mut found: Vec<u32> = descendants(10, &all).iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 12]);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        assert_eq!(
            descendants(10, &[process(11, 10), process(12, 11), process(11, 12)]).len(),
            2
        );
    }

    #[test]
    fn a_pid_with_another_start_time_is_not_signaled() {
        let mut other = myself().unwrap();
        other.start_time += 1;
        assert_eq!(signal(&other, Signal::TERM).unwrap(), Sent::Gone);
    }
}
