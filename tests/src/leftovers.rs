//! What commands could leave behind on a machine, seen from outside: namespaces that a process or a descriptor holds, and
//! mounts.
//!
//! Tests of other packages bring this file in by its path; it knows nothing but the standard library.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// How the variable begins that every command has.
const MARK: &[u8] = b"LONGHAUL_STEP=";

/// What is there at one moment.
#[derive(Clone, Debug)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Looks at every process of the machine that may be looked at, but for the namespaces of commands that run now: those of
    /// other tests come and go, and whether one of ours is left is for its mark to say.
    ///
    /// What a command has in its own mount namespace is in no table of ours. But the namespace itself is there for as long
    /// as anybody lives in it or holds it, and a name like `net:[4026532008]` tells it from all others.
    pub fn now() -> Self {
        let (mut found, mut of_commands) = (BTreeSet::new(), BTreeSet::new());
        for pid in pids() {
            let process = Path::new("/proc").join(pid.to_string());
            for folder in ["ns", "fd"] {
                links(&process.join(folder), &mut found);
            }
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            if environment
                .split(|byte| *byte == 0)
                .any(|variable| variable.starts_with(MARK))
            {
                links(&process.join("ns"), &mut of_commands);
            }
        }
        found.retain(|name| !of_commands.contains(name));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        // The first number is given anew; what follows says what is mounted where.
        let place = |line: &str| line.split_once(' ').map(|(_, what)| format!("mount {what}"));
        found.extend(mounts.lines().filter_map(place));
        Self(found)
    }

    /// What has come since, and is there now.
    pub fn since(&self) -> BTreeSet<String> {
        let Self(now) = Self::now();
        now.difference(&self.0).cloned().collect()
    }

    /// What has come since and stays: none of this is what others on the machine hold for a while, which goes away again.
    pub fn left_since(&self) -> BTreeSet<String> {
        let patience = Instant::now() + Duration::from_secs(60);
        let mut left = self.since();
        while !left.is_empty() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
            let Self(now) = Self::now();
            left.retain(|name| now.contains(name));
        }
        left
    }
}

fn links(folder: &Path, found: &mut BTreeSet<String>) {
    for link in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(aim) = std::fs::read_link(link.path()) else {
            continue;
        };
        let name = aim.to_string_lossy();
        if ["net:[", "mnt:[", "pid:[", "ipc:[", "user:[", "uts:[", "cgroup:["]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            found.insert(name.into_owned());
        }
    }
}

/// Every process that is there.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Processes that were started with words that name this folder: runtimes that have it, and the shims of their commands.
pub fn named(folder: &Path) -> Vec<u32> {
    let folder = folder.as_os_str().as_encoded_bytes();
    pids()
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = words.split(|byte| *byte == 0);
            // Not one whose name begins like this one's.
            words.any(|word| {
                word.strip_prefix(folder)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            })
        })
        .collect()
}

/// Folders of control groups of commands whose name holds this text, wherever control groups are mounted.
pub fn groups(text: &str) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found = Vec::new();
    for mount in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let place = mount.split(' ').nth(4).unwrap_or_default();
        descend(Path::new(place), text, &mut found);
    }
    found
}

fn descend(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("longhaul-") && name.contains(text) {
            found.push(entry.path().display().to_string());
        }
        descend(&entry.path(), text, found);
    }
}
