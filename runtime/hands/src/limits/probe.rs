//! Finds where this process may make control groups, by trying.
//!
//! In a delegated subtree of version 2 the processes that are there already must first step aside into a leaf of their own:
//! the kernel gives controllers to children only where no process stands between them. That is done only where the
//! subtree was given to us (by its owner, or by the mark that a service manager sets), never to a stranger's group.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::LimitsBy;
use super::group::can_hold;

/// The group into which the runtime's own processes step aside.
const ASIDE: &str = "longhaul-runtime";

/// Where the groups of commands are made: one folder of a control group file system per controller.
///
/// Found once by a runtime and passed on with each command, so that a shim need not look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    /// In the hierarchy of version 2: kills all at once and counts processor time.
    pub(super) unified: Option<PathBuf>,
    /// Bounds memory.
    pub(super) memory: PathBuf,
    /// Bounds processes.
    pub(super) pids: PathBuf,
    /// Bounds processor time, where anybody can.
    pub(super) cpu: Option<PathBuf>,
    /// Counts processor time where there is no version 2.
    pub(super) cpu_time: Option<PathBuf>,
    /// Holds processes still while they are killed, where there is no version 2.
    pub(super) freezer: Option<PathBuf>,
}

impl Groups {
    /// Which versions do what.
    #[must_use]
    pub fn by(&self) -> LimitsBy {
        match &self.unified {
            Some(unified) if *unified == self.memory => LimitsBy::V2,
            Some(_) => LimitsBy::Hybrid,
            None => LimitsBy::V1,
        }
    }

    /// Whether processor time can be bounded.
    #[must_use]
    pub fn bounds_cpu(&self) -> bool {
        self.cpu.is_some()
    }

    pub(super) fn is_unified(&self, base: &Path) -> bool {
        self.unified.as_deref() == Some(base)
    }

    pub(super) fn cpu_time(&self) -> Option<&PathBuf> {
        self.unified.as_ref().or(self.cpu_time.as_ref())
    }

    /// The folders of the group `name`, each once. The one that kills comes first.
    pub(crate) fn dirs(&self, name: &str) -> Vec<PathBuf> {
        let mut bases: Vec<&PathBuf> = Vec::new();
        let all = [
            self.unified.as_ref(),
            Some(&self.memory),
            Some(&self.pids),
            self.cpu.as_ref(),
            self.cpu_time.as_ref(),
            self.freezer.as_ref(),
        ];
        for base in all.into_iter().flatten() {
            if !bases.contains(&base) {
                bases.push(base);
            }
        }
        bases.into_iter().map(|base| base.join(name)).collect()
    }
}

/// Finds where control groups may be made.
///
/// # Errors
/// A sentence: what is missing, and what would give it.
pub fn probe() -> Result<Groups, String> {
    let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
    let layout = Layout::parse(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    let second = layout.unified.as_ref().map(second_version);
    if let Some(Ok(groups)) = second {
        return Ok(groups);
    }
    if layout.first.contains_key("memory") {
        return first_version(&layout);
    }
    Err(match second {
        Some(Err(reason)) => reason,
        _ => "no control group file system is mounted".to_owned(),
    })
}

/// Where this process stands in each hierarchy.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layout {
    unified: Option<Place>,
    first: HashMap<String, Place>,
}

/// A folder of a control group file system, and the mount it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    mount: PathBuf,
    own: PathBuf,
}

impl Layout {
    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    fn parse(mountinfo: &str, own: &str) -> Self {
        let mut paths: HashMap<&str, &str> = HashMap::new();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            if let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) {
                paths.extend(controllers.split(',').map(|controller| (controller, path)));
            }
        }
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let (left, right): (Vec<&str>, Vec<&str>) =
                (left.split(' ').collect(), right.split(' ').collect());
            let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first()) else {
                continue;
            };
            let (root, mount) = (unescaped(root), PathBuf::from(unescaped(mount)));
            let place = |path: &str| {
                // A mount may show a part of the hierarchy only; then the path is below its root, or unknown here.
                let below = Path::new(path).strip_prefix(&root).ok();
                let own = below.map_or_else(|| mount.clone(), |below| mount.join(below));
                Place {
                    mount: mount.clone(),
                    own,
                }
            };
            match *kind {
                "cgroup2" if layout.unified.is_none() => {
                    layout.unified = paths.get("").map(|path| place(path));
                }
                "cgroup" => {
                    for controller in right.last().unwrap_or(&"").split(',') {
                        if let Some(path) = paths.get(controller) {
                            let place = place(path);
                            layout.first.entry(controller.to_owned()).or_insert(place);
                        }
                    }
                }
                _ => {}
            }
        }
        layout
    }
}

/// A field of mountinfo has blanks and backslashes as three octal digits.
fn unescaped(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Limits by version 1, in the own group of each hierarchy or, where that cannot be seen, at its mount.
fn first_version(layout: &Layout) -> Result<Groups, String> {
    let base = |controller: &str, files: &[&str]| {
        let place = layout
            .first
            .get(controller)
            .ok_or_else(|| format!("the controller {controller} is not mounted"))?;
        let dir = if place.own.is_dir() {
            &place.own
        } else {
            &place.mount
        };
        match can_hold(dir, files) {
            Ok(true) => Ok(dir.clone()),
            Ok(false) => Err(format!("{} lacks {}", dir.display(), files.join(", "))),
            Err(error) => Err(format!("no group can be made in {}: {error}", dir.display())),
        }
    };
    // The hierarchy of version 2 may be there without controllers: it kills and counts all the same.
    let unified = layout.unified.as_ref().map(|place| &place.own).filter(|own| {
        writable(&own.join("cgroup.procs")) && can_hold(own, &["cgroup.kill"]).unwrap_or(false)
    });
    Ok(Groups {
        memory: base("memory", &["memory.limit_in_bytes", "memory.oom_control"])?,
        pids: base("pids", &["pids.max"])?,
        cpu: base("cpu", &["cpu.cfs_quota_us"]).ok(),
        cpu_time: match unified {
            Some(_) => None,
            None => base("cpuacct", &["cpuacct.usage"]).ok(),
        },
        freezer: match unified {
            Some(_) => None,
            None => base("freezer", &["freezer.state"]).ok(),
        },
        unified: unified.cloned(),
    })
}

const NEEDED: [&str; 2] = ["memory.max", "pids.max"];

fn second_version(place: &Place) -> Result<Groups, String> {
    let own = &place.own;
    let shown = own.display();
    let delegate = "give the service its own subtree (Delegate=yes in its unit)";
    if !own.is_dir() {
        return Err(format!("the own control group {shown} cannot be seen from here"));
    }
    let offered = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let offered: Vec<&str> = offered.split_whitespace().collect();
    if !(offered.contains(&"memory") && offered.contains(&"pids")) {
        return Err(format!("{shown} has no memory and pids controllers; {delegate}"));
    }
    // Where children have the controllers already, nothing needs to be changed.
    if let Some(groups) = usable(own) {
        return Ok(groups);
    }
    if is_delegated(own) || !own.join("cgroup.type").exists() {
        hand_down(own, &offered).map_err(|error| format!("{shown}: {error}; {delegate}"))?;
        if let Some(groups) = usable(own) {
            return Ok(groups);
        }
    }
    // A neighbour of the own group: allowed where the parent is ours to write, as it is for root and inside a delegation.
    let parent = own
        .parent()
        .filter(|parent| *own != place.mount && parent.starts_with(&place.mount));
    parent.and_then(usable).ok_or_else(|| {
        format!("no group with memory and pids can be made in {shown} or beside it; {delegate}")
    })
}

/// `dir` as a base, if a group in it has what is needed and this process may move its children there.
fn usable(dir: &Path) -> Option<Groups> {
    let writable = writable(&dir.join("cgroup.procs"));
    if !writable || !can_hold(dir, &NEEDED).unwrap_or(false) {
        return None;
    }
    let cpu = can_hold(dir, &["cpu.max"]).unwrap_or(false);
    Some(Groups {
        unified: Some(dir.to_owned()),
        memory: dir.to_owned(),
        pids: dir.to_owned(),
        cpu: cpu.then(|| dir.to_owned()),
        cpu_time: None,
        freezer: None,
    })
}

fn writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Whether the group was given to us: by a service manager's mark, or by making us its owner.
fn is_delegated(dir: &Path) -> bool {
    let marked = |name: &str| {
        let mut value = [0_u8; 8];
        matches!(rustix::fs::getxattr(dir, name, &mut value[..]), Ok(1)) && value[0] == b'1'
    };
    let euid = rustix::process::geteuid().as_raw();
    let owned =
        euid != 0 && fs::metadata(dir).is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == euid);
    owned || marked("user.delegate") || marked("trusted.delegate")
}

/// Lets children of `dir` have the controllers. Processes in `dir` step aside if they are in the way.
fn hand_down(dir: &Path, offered: &[&str]) -> std::io::Result<()> {
    let control = dir.join("cgroup.subtree_control");
    let enable = |words: &str| fs::write(&control, words);
    match enable("+memory +pids") {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) && is_delegated(dir) => {
            let aside = dir.join(ASIDE);
            match fs::create_dir(&aside) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            for pid in fs::read_to_string(dir.join("cgroup.procs"))?.lines() {
                // One that has ended meanwhile is not in the way any more.
                let _ = fs::write(aside.join("cgroup.procs"), pid);
            }
            enable("+memory +pids")?;
        }
        done => done?,
    }
    if offered.contains(&"cpu") {
        // Nice to have: without it the processor is shared, not bounded.
        let _ = enable("+cpu");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn each_hierarchy_has_its_own_place() {
        let own = "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/u\n";
        let layout = Layout::parse(HYBRID, own);
        let own_of = |controller: &str| layout.first[controller].own.to_str().unwrap();
        assert_eq!(own_of("memory"), "/sys/fs/cgroup/memory/a/b");
        assert_eq!(own_of("cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/");
        let unified = layout.unified.unwrap();
        assert_eq!(unified.own, Path::new("/sys/fs/cgroup/unified/u"));
        assert_eq!(unified.mount, Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_mount_of_a_part_shows_the_own_group_at_its_root() {
        let mounts = "40 31 0:37 /docker/abc /mnt/with\\040blank rw - cgroup2 cgroup2 rw\n";
        let own = |path: &str| {
            Layout::parse(mounts, &format!("0::{path}\n"))
                .unified
                .unwrap()
                .own
        };
        assert_eq!(own("/docker/abc"), Path::new("/mnt/with blank/"));
        assert_eq!(own("/docker/abc/x"), Path::new("/mnt/with blank/x"));
        assert_eq!(
            own("/elsewhere"),
            Path::new("/mnt/with blank"),
            "unknown here: the mount itself"
        );
    }

    #[test]
    fn nothing_mounted_is_nothing_found() {
        assert_eq!(Layout::parse("torn\n", "also torn"), Layout::default());
    }
}
