//! Processes of brains that nobody owns any more: they carry a mark in their environment, and are found by it.
//!
//! A child that is orphaned reads end-of-file on its stdin and should exit. One that does not is found here, at the
//! next start of the runtime or when its session lets go of it. A process that replaced its whole environment is
//! not found: it has to be looked for in the sandbox of a later version.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use longhaul_journal::StreamId;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Name of the mark.
pub(crate) const MARK: &str = "LONGHAUL_BRAIN";

/// A new mark for one child of a session, never given before.
pub(super) fn mark(instance: &str, session: StreamId) -> String {
    static CHILDREN: AtomicU64 = AtomicU64::new(0);
    let number = CHILDREN.fetch_add(1, Ordering::Relaxed);
    format!("{instance}/{session}/{}.{number}", std::process::id())
}

/// Kills every brain process that an earlier run of the same instance left behind; returns their ids.
///
/// To be called once, before the first brain is started. Blocks on `/proc`.
pub fn kill_leftovers(instance: &str) -> Vec<u32> {
    let prefix = format!("{MARK}={instance}/");
    kill_marked(|entry| entry.starts_with(prefix.as_bytes()))
}

/// Kills every process of a session's brain; returns their ids.
#[cfg(test)]
pub(super) fn kill_of_session(instance: &str, session: StreamId) -> Vec<u32> {
    kill_leftovers(&format!("{instance}/{session}"))
}

/// Kills the processes that carry exactly this mark; returns their ids.
pub(super) fn kill_exactly(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    kill_marked(|entry| entry == wanted.as_bytes())
}

/// Whether a process group has a member that is not a zombie. Blocks on `/proc`.
pub(super) fn group_has_living(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    ids().any(|id| {
        let stat = fs::read(format!("/proc/{id}/stat")).unwrap_or_default();
        let stat = String::from_utf8_lossy(&stat);
        // The name of the program stands in parentheses and may hold anything; state, parent and group follow it.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let state = fields.next().unwrap_or("X");
        state != "Z" && state != "X" && fields.nth(1) == Some(&group)
    })
}

fn ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn kill_marked(fits: impl Fn(&[u8]) -> bool) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| kill_if(*id, &fits)).collect()
}

/// Kills one process if its environment has a fitting entry; says whether it did.
fn kill_if(id: u32, fits: impl Fn(&[u8]) -> bool) -> bool {
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // Held before the environment is read, so that the signal cannot reach a later process of the same number.
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let Ok(environment) = fs::read(format!("/proc/{id}/environ")) else {
        return false;
    };
    environment.split(|byte| *byte == 0).any(fits) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}
