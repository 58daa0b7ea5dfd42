//! The control group of one command: made before it starts, killed as a whole, read, removed.
//!
//! Plain files of the kernel, nothing else. A group that a killed shim has left behind is found through its claim, and
//! [`reclaim`]ed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Groups, Limits, LimitsBy, Usage};
use crate::procs::{self, Process};
use crate::sabotage;

/// Length of a period of the processor quota, microseconds.
const CPU_PERIOD_US: u64 = 100_000;
/// How long a group may take to become empty once everything in it was killed.
const EMPTY_PATIENCE: Duration = Duration::from_secs(5);
/// How deep groups are followed that a command made inside its own.
const DEEPEST: usize = 32;

/// A control group in each hierarchy that is needed, for one command.
#[derive(Debug)]
pub(crate) struct Group {
    by: LimitsBy,
    memory: PathBuf,
    pids: PathBuf,
    /// Where the processor time is counted, if anywhere.
    cpu_time: Option<PathBuf>,
    dirs: Vec<PathBuf>,
    /// Open `cgroup.procs` of each; the writer's rights are those of this moment.
    procs: Vec<OwnedFd>,
}

impl Group {
    /// Makes the group, without a limit. What was made is removed again if a step fails.
    pub(crate) fn make(groups: &Groups, name: &str) -> io::Result<Self> {
        let mut group = Self {
            by: groups.by(),
            memory: groups.memory.join(name),
            pids: groups.pids.join(name),
            cpu_time: groups.cpu_time().map(|base| base.join(name)),
            dirs: Vec::new(),
            procs: Vec::new(),
        };
        let made = group.fill(groups, name);
        if made.is_err() {
            group.remove();
        }
        made.map(|()| group)
    }

    fn fill(&mut self, groups: &Groups, name: &str) -> io::Result<()> {
        for dir in groups.dirs(name) {
            fs::create_dir(&dir)?;
            self.dirs.push(dir);
        }
        for dir in &self.dirs {
            let file = OpenOptions::new().write(true).open(dir.join("cgroup.procs"))?;
            self.procs.push(file.into());
        }
        Ok(())
    }

    /// Sets its limits. Best before anything of the command is in it.
    pub(crate) fn limit(&self, groups: &Groups, name: &str, limits: &Limits) -> io::Result<()> {
        if limits.memory_bytes > 0 {
            let bytes = limits.memory_bytes.to_string();
            if groups.is_unified(&groups.memory) {
                set(&self.memory, "memory.max", &bytes)?;
                // Without it a limit is only the beginning of swapping. Absent where there is no swap accounting.
                set_if_there(&self.memory, "memory.swap.max", "0")?;
                // The command is one thing: half of it would answer nonsense.
                set_if_there(&self.memory, "memory.oom.group", "1")?;
            } else {
                set(&self.memory, "memory.limit_in_bytes", &bytes)?;
                set_if_there(&self.memory, "memory.memsw.limit_in_bytes", &bytes)?;
            }
        }
        if limits.pids > 0 {
            set(&self.pids, "pids.max", &limits.pids.to_string())?;
        }
        let bounds_cpu = limits.cpu_milli > 0 && !sabotage::is_on("bound-no-processor");
        if let Some(base) = groups.cpu.as_ref().filter(|_| bounds_cpu) {
            let dir = base.join(name);
            let quota = u64::from(limits.cpu_milli) * CPU_PERIOD_US / 1_000;
            // The kernel refuses less than a millisecond in a period.
            let quota = quota.max(1_000);
            if groups.is_unified(base) {
                set(&dir, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
            } else {
                set(&dir, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                set(&dir, "cpu.cfs_quota_us", &quota.to_string())?;
            }
        }
        Ok(())
    }

    /// Moves the calling process into the group. For the child, before it gives up any right, and before a namespace of
    /// control groups is made around it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for procs in &self.procs {
            rustix::io::write(procs, b"0")?;
        }
        Ok(())
    }

    /// Moves another process into the group, from outside. What it has forked already stays behind.
    pub(crate) fn take(&self, process: Pid) -> io::Result<()> {
        let pid = process.as_raw_nonzero().to_string();
        for procs in &self.procs {
            rustix::io::write(procs, pid.as_bytes())?;
        }
        Ok(())
    }

    /// Kills everything in the group. A process that is being forked at this moment dies too.
    pub(crate) fn kill(&self) {
        kill(&self.dirs);
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> Usage {
        let number = |dir: &Path, file: &str| {
            fs::read_to_string(dir.join(file))
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok())
        };
        let keyed = |dir: &Path, file: &str, key: &str| {
            fs::read_to_string(dir.join(file))
                .ok()
                .and_then(|text| value_of(&text, key))
        };
        let cpu_us = self.cpu_time.as_ref().and_then(|dir| {
            keyed(dir, "cpu.stat", "usage_usec").or_else(|| number(dir, "cpuacct.usage").map(|ns| ns / 1_000))
        });
        let (memory, pids) = (self.memory.as_path(), self.pids.as_path());
        Usage {
            by: self.by,
            cpu_ms: cpu_us.unwrap_or_default() / 1_000,
            mem_peak: number(memory, "memory.peak")
                .or_else(|| number(memory, "memory.max_usage_in_bytes"))
                .unwrap_or_default(),
            oom_kills: keyed(memory, "memory.events", "oom_kill")
                .or_else(|| keyed(memory, "memory.oom_control", "oom_kill"))
                .unwrap_or_default(),
            pids_limit_hits: keyed(pids, "pids.events", "max").unwrap_or_default(),
        }
    }

    /// Removes the group once it is empty; returns the processes that would not die.
    pub(crate) fn remove(&mut self) -> Vec<u32> {
        self.procs.clear();
        reclaim(&self.dirs)
    }
}

fn set(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(dir.join(file), value)
}

fn set_if_there(dir: &Path, file: &str, value: &str) -> io::Result<()> {
    match set(dir, file, value) {
        // Version 1 has the file but not the feature when swap is not accounted for.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::EOPNOTSUPP) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// The number behind `key` in lines of `KEY NUMBER`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// Kills what is in any of `dirs`: in one stroke where the kernel can, else frozen, so that nobody forks meanwhile.
fn kill(dirs: &[PathBuf]) {
    let mut at_once = false;
    for dir in dirs {
        at_once |= fs::write(dir.join("cgroup.kill"), "1").is_ok();
    }
    if at_once {
        return;
    }
    let freeze = |frozen: bool| {
        for dir in dirs {
            // Whichever of the two is there; a missing file is not made in this file system.
            let _ = open_and_write(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" });
            let _ = open_and_write(
                &dir.join("freezer.state"),
                if frozen { "FROZEN" } else { "THAWED" },
            );
        }
    };
    freeze(true);
    for pid in members(dirs) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    freeze(false);
}

fn open_and_write(path: &Path, value: &str) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// The living processes in `dirs` and in groups below them.
fn members(dirs: &[PathBuf]) -> Vec<u32> {
    let mut found: Vec<u32> = dirs
        .iter()
        .flat_map(|dir| tree(dir, DEEPEST))
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<u32>>()
        })
        .filter(|pid| crate::procs::find(*pid).is_some_and(|process| !process.is_dead()))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// `dir` and the groups below it, the deepest first.
fn tree(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if depth > 0 {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(tree(&entry.path(), depth - 1));
            }
        }
    }
    all.push(dir.to_owned());
    all
}

/// Kills what is left in the groups `dirs` and removes them; returns the processes that would not die.
///
/// To be called again and again without harm; groups that are not there are fine.
pub(crate) fn reclaim(dirs: &[PathBuf]) -> Vec<u32> {
    if sabotage::is_on("leave-the-group-behind") {
        return Vec::new();
    }
    let give_up = Instant::now() + EMPTY_PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        let left: Vec<PathBuf> = dirs.iter().filter(|dir| !removed(dir)).cloned().collect();
        if left.is_empty() {
            return Vec::new();
        }
        kill(&left);
        if Instant::now() >= give_up {
            return members(&left);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Removes one group with what is below it; whether it is gone.
fn removed(dir: &Path) -> bool {
    let gone = |result: io::Result<()>| match result {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if gone(fs::remove_dir(dir)) {
        return true;
    }
    let mut all = tree(dir, DEEPEST);
    all.retain(|dir| !gone(fs::remove_dir(dir)));
    all.is_empty()
}

/// How the groups begin that a shim makes before it knows its command.
const AHEAD: &str = "longhaul-ready-";

/// The name of the group that a shim makes before it knows its command: it says whose it is, since no claim does yet.
pub(crate) fn name_ahead(shim: &Process) -> String {
    format!("{AHEAD}{}.{}", shim.pid, shim.start_time)
}

/// How the groups begin that are made to find out whether any can be made.
const PROBE: &str = "longhaul-probe-";

/// Removes the groups that shims have made ahead, and runtimes to find out whether they can, and that they did not live to
/// remove. They are empty: what waits in one dies with its shim, and nothing is ever in the others. Only empty ones go, so
/// that nobody is hurt whose processes cannot be seen from here.
pub(crate) fn sweep_ahead(groups: &Groups) {
    for base in groups.dirs("") {
        for entry in fs::read_dir(base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let owner = name.to_str().and_then(owner_of);
            let lives = |(pid, start_time): (u32, Option<u64>)| {
                procs::find(pid).is_some_and(|found| {
                    start_time.is_none_or(|time| found.start_time == time) && !found.is_dead()
                })
            };
            if owner.is_some_and(|owner| !lives(owner)) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// The process that made a group of this name, and when that was started, as far as the name tells; none for the groups of
/// commands, whose claims say whose they are.
fn owner_of(name: &str) -> Option<(u32, Option<u64>)> {
    if let Some(owner) = name.strip_prefix(AHEAD) {
        let (pid, start_time) = owner.split_once('.')?;
        return Some((pid.parse().ok()?, Some(start_time.parse().ok()?)));
    }
    let (pid, _) = name.strip_prefix(PROBE)?.split_once('-')?;
    Some((pid.parse().ok()?, None))
}

/// Whether `dir` can hold groups: one is made there, `files` are looked for in it, and it is removed.
pub(super) fn can_hold(dir: &Path, files: &[&str]) -> io::Result<bool> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let probe = dir.join(format!("{PROBE}{}-{number}", std::process::id()));
    fs::create_dir(&probe)?;
    let found = files.iter().all(|file| File::open(probe.join(file)).is_ok());
    fs::remove_dir(&probe)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let events = "low 0\nhigh 1\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(events, "oom_kill"), Some(2));
        assert_eq!(value_of(events, "oom"), Some(3));
        assert_eq!(value_of(events, "none"), None);
        assert_eq!(
            value_of("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", "oom_kill"),
            Some(5)
        );
    }

    /// A runtime that was killed while it looked for control groups left the one that it tried with, for ever.
    #[test]
    fn what_was_tried_with_goes_once_who_tried_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_owned();
        let groups = Groups {
            unified: None,
            memory: base.clone(),
            pids: base.clone(),
            cpu: None,
            cpu_time: None,
            freezer: None,
        };
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let (gone, here) = (gone.id(), std::process::id());
        let of_the_gone = [format!("{PROBE}{gone}-0"), format!("{AHEAD}{gone}.1")];
        let others = [
            format!("{PROBE}{here}-7"),
            name_ahead(&procs::myself().unwrap()),
            format!("longhaul-session-1-{gone}.1"),
            "somebody-else".to_owned(),
        ];
        for name in of_the_gone.iter().chain(&others) {
            fs::create_dir(base.join(name)).unwrap();
        }
        sweep_ahead(&groups);
        for name in &of_the_gone {
            assert!(!base.join(name).exists(), "{name}");
        }
        for name in &others {
            assert!(base.join(name).exists(), "{name}");
        }
    }

    /// The files of version 2, in a plain folder: what is written where is all that can be seen here.
    #[test]
    fn limits_of_version_2_are_written_as_it_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_owned();
        let groups = Groups {
            unified: Some(base.clone()),
            memory: base.clone(),
            pids: base.clone(),
            cpu: Some(base.clone()),
            cpu_time: None,
            freezer: None,
        };
        assert_eq!(
            (groups.by(), groups.dirs("g")),
            (LimitsBy::V2, vec![base.join("g")])
        );
        let limits = Limits {
            memory_bytes: 1 << 20,
            pids: 9,
            cpu_milli: 1_500,
            ..Limits::NONE
        };
        let dir = base.join("g");
        let group = Group {
            by: LimitsBy::V2,
            memory: dir.clone(),
            pids: dir.clone(),
            cpu_time: Some(dir.clone()),
            dirs: vec![dir.clone()],
            procs: Vec::new(),
        };
        fs::create_dir(&dir).unwrap();
        group.limit(&groups, "g", &limits).unwrap();
        let file = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(
            ["memory.max", "memory.oom.group", "pids.max", "cpu.max"].map(file),
            ["1048576", "1", "9", "150000 100000"]
        );
        for (name, text) in [
            ("memory.peak", "4096\n"),
            ("memory.events", "oom_kill 2\n"),
            ("pids.events", "max 3\n"),
            ("cpu.stat", "usage_usec 5000\n"),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        let used = Usage {
            by: LimitsBy::V2,
            cpu_ms: 5,
            mem_peak: 4096,
            oom_kills: 2,
            pids_limit_hits: 3,
        };
        assert_eq!(group.usage(), used);
    }
}
