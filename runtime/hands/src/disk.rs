//! Watches how much room a running command takes: its workspace against a cap, the file system against a reserve.
//!
//! A look at the file system's counters is cheap and done at each tick. The workspace itself is walked only when those
//! have moved far enough to matter, a slice at a time, so that output, deadlines and signals never wait for it.
//!
//! What a command may have hidden from a walk (a folder it locked, a chain of folders deeper than descriptors allow) is
//! counted by how much the file system lost meanwhile. Links are never followed, other file systems never entered.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, StatVfs, openat, statat, statvfs};

use crate::limits::{DiskLimit, Limits};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(250);
/// Time between two looks while a walk is under way.
const SLICE_PAUSE: Duration = Duration::from_millis(10);
/// How long one slice of a walk may take.
const SLICE: Duration = Duration::from_millis(4);
/// A walk is followed by a rest of so many times its own work.
const REST: u32 = 4;
/// A walk is repeated after this long if anything has changed on the file system.
const NOW_AND_THEN: Duration = Duration::from_secs(2);
/// Folders inside one another that are followed.
const DEEPEST: usize = 128;
/// Files with several names that are remembered, to count them once.
const LINKED: usize = 65_536;
/// A workspace that is over its cap at the start may still grow by this, so that it can be cleaned up with ordinary tools.
const SLACK_BYTES: u64 = 16 << 20;
const SLACK_FILES: u64 = 256;

/// Room taken or free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Room {
    bytes: u64,
    files: u64,
}

impl Room {
    fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            files: self.files.saturating_sub(other.files),
        }
    }
}

/// The last walk that came to its end.
#[derive(Debug)]
struct Last {
    /// Free room when it began.
    free: Room,
    found: Room,
    at: Instant,
}

/// The watch over one command.
pub(crate) struct DiskWatch {
    roots: Vec<PathBuf>,
    cap: Room,
    /// Free bytes that must stay.
    reserve: u64,
    /// Free room when the command began.
    at_first: Room,
    last: Option<Last>,
    walk: Option<Walk>,
    next: Instant,
}

impl DiskWatch {
    /// Watches the workspace and further folders of the command, which may lie inside it. None if nothing is bounded.
    ///
    /// # Errors
    /// The file system of the workspace cannot be asked.
    pub(crate) fn new(limits: &Limits, workspace: &Path, others: &[&Path]) -> io::Result<Option<Self>> {
        if limits.disk_bytes == 0 && limits.disk_files == 0 && limits.disk_reserve == 0 {
            return Ok(None);
        }
        let mut roots = vec![workspace.to_owned()];
        for other in others {
            if !roots.iter().any(|root| other.starts_with(root)) {
                roots.push((*other).to_owned());
            }
        }
        let at_first = free(workspace)?;
        let unbounded = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        Ok(Some(Self {
            roots,
            cap: Room {
                bytes: unbounded(limits.disk_bytes),
                files: unbounded(limits.disk_files),
            },
            reserve: limits.disk_reserve.min(at_first.bytes / 2),
            at_first,
            last: None,
            walk: None,
            next: Instant::now() + TICK / 5,
        }))
    }

    /// When [`check`](Self::check) wants to be called again.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Looks, if it is time to; the bound that is passed, if one is.
    pub(crate) fn check(&mut self, now: Instant) -> Option<DiskLimit> {
        if now < self.next {
            return None;
        }
        self.next = now + TICK;
        // A file system that cannot be asked right now is asked again.
        let free = free(&self.roots[0]).ok()?;
        if free.bytes < self.reserve {
            return Some(DiskLimit::Reserve);
        }
        if self.walk.is_none() && self.is_worth_a_walk(free, now) {
            self.walk = Some(Walk::new(&self.roots, free));
        }
        let mut walk = self.walk.take()?;
        let done = walk.go_on(now + SLICE);
        let found = self.counted(&walk, free);
        if self.last.is_none() {
            self.forgive(found, free, done);
        }
        let worked = walk.worked;
        if !done {
            self.walk = Some(walk);
            self.next = Instant::now() + SLICE_PAUSE;
            // The first walk is judged at its end, or once the command has clearly added much meanwhile.
            let judged = self.last.is_some() || self.has_grown(found, free);
            return judged.then(|| self.passed(found)).flatten();
        }
        self.last = Some(Last {
            free: walk.free_at_start,
            found,
            at: now,
        });
        self.next = Instant::now() + TICK.max(worked * REST);
        self.passed(found)
    }

    /// Free room lost since the command began. Others may have a part in it.
    fn lost(&self, free: Room) -> Room {
        self.at_first.less(free)
    }

    /// Whether it is the command that brought the workspace over a cap, and not only a little.
    fn has_grown(&self, found: Room, free: Room) -> bool {
        let (lost, before) = (self.lost(free), found.less(self.lost(free)));
        (lost.bytes > SLACK_BYTES && before.bytes <= self.cap.bytes)
            || (lost.files > SLACK_FILES && before.files <= self.cap.files)
    }

    /// At the end of the first walk: a workspace that was over its cap already may grow a little, so that it can be
    /// cleaned up.
    fn forgive(&mut self, found: Room, free: Room, done: bool) {
        let before = found.less(self.lost(free));
        if done && before.bytes > self.cap.bytes {
            self.cap.bytes = before.bytes.saturating_add(SLACK_BYTES);
        }
        if done && before.files > self.cap.files {
            self.cap.files = before.files.saturating_add(SLACK_FILES);
        }
    }

    fn passed(&self, found: Room) -> Option<DiskLimit> {
        if found.bytes > self.cap.bytes {
            return Some(DiskLimit::Bytes);
        }
        (found.files > self.cap.files).then_some(DiskLimit::Files)
    }

    /// Whether the file system has lost enough since the last walk that the cap could be near.
    fn is_worth_a_walk(&self, free: Room, now: Instant) -> bool {
        if self.cap.bytes == u64::MAX && self.cap.files == u64::MAX {
            return false;
        }
        let Some(last) = &self.last else {
            return true;
        };
        let lost = last.free.less(free);
        let near = |cap: u64, found: u64, lost: u64| lost > cap.saturating_sub(found) / 4;
        near(self.cap.bytes, last.found.bytes, lost.bytes)
            || near(self.cap.files, last.found.files, lost.files)
            // What others freed may hide what this one took, and some file systems do not count files.
            || (free != last.free && now.saturating_duration_since(last.at) > NOW_AND_THEN)
    }

    /// What a walk found so far, or how much was lost since the start where it could not look everywhere.
    fn counted(&self, walk: &Walk, free: Room) -> Room {
        let Room { bytes, files } = walk.found;
        if !walk.blind {
            return Room { bytes, files };
        }
        let lost = self.lost(free);
        Room {
            bytes: bytes.max(lost.bytes),
            files: files.max(lost.files),
        }
    }
}

fn free(path: &Path) -> io::Result<Room> {
    let StatVfs {
        f_frsize,
        f_bavail,
        f_ffree,
        ..
    } = statvfs(path)?;
    Ok(Room {
        bytes: f_bavail.saturating_mul(f_frsize),
        files: f_ffree,
    })
}

/// A walk through the folders of a command, in slices.
struct Walk {
    free_at_start: Room,
    roots: Vec<PathBuf>,
    open: Vec<Folder>,
    found: Room,
    linked: HashSet<(u64, u64)>,
    /// Something could not be looked at.
    blind: bool,
    worked: Duration,
}

/// A folder that is being read.
struct Folder {
    entries: Dir,
    device: u64,
}

impl Walk {
    fn new(roots: &[PathBuf], free_at_start: Room) -> Self {
        Self {
            free_at_start,
            roots: roots.to_vec(),
            open: Vec::new(),
            found: Room::default(),
            linked: HashSet::new(),
            blind: false,
            worked: Duration::ZERO,
        }
    }

    /// Goes on until `deadline` or the end; whether that was the end.
    fn go_on(&mut self, deadline: Instant) -> bool {
        let begun = Instant::now();
        let mut steps = 0_u32;
        loop {
            steps += 1;
            // The clock is asked now and then only; an entry takes some microseconds.
            if steps.is_multiple_of(64) && Instant::now() >= deadline {
                self.worked += begun.elapsed();
                return false;
            }
            let Some(folder) = self.open.last_mut() else {
                let Some(root) = self.roots.pop() else {
                    self.worked += begun.elapsed();
                    return true;
                };
                match open_folder(CWD, &root, None) {
                    Ok(Some(folder)) => self.open.push(folder),
                    Ok(None) => {}
                    // Not made yet, or removed by the command.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(_) => self.blind = true,
                }
                continue;
            };
            match folder.entries.read() {
                None => {
                    self.open.pop();
                }
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    if name != c"." && name != c".." {
                        let name = name.to_owned();
                        self.count(&name);
                    }
                }
                Some(Err(_)) => {
                    self.blind = true;
                    self.open.pop();
                }
            }
        }
    }

    /// Counts one entry of the innermost folder, and goes into it if it is one.
    fn count(&mut self, name: &CString) {
        let Some(folder) = self.open.last() else { return };
        let Ok(parent) = folder.entries.fd() else {
            self.blind = true;
            return;
        };
        // One that is gone meanwhile takes no room.
        let Ok(stat) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let several = stat.st_nlink > 1 && kind != FileType::Directory;
        if several && self.linked.len() < LINKED && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.found.files += 1;
        self.found.bytes += u64::try_from(stat.st_blocks).unwrap_or_default() * 512;
        if kind != FileType::Directory || stat.st_dev != folder.device {
            return;
        }
        if self.open.len() >= DEEPEST {
            self.blind = true;
            return;
        }
        match open_folder(parent, name, Some(folder.device)) {
            Ok(Some(folder)) => self.open.push(folder),
            Ok(None) | Err(rustix::io::Errno::NOENT) => {}
            Err(_) => self.blind = true,
        }
    }
}

/// Opens a folder to read it, never through a link; none if it is on another file system than `device`.
fn open_folder(
    parent: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
    device: Option<u64>,
) -> rustix::io::Result<Option<Folder>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened: OwnedFd = openat(parent, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&opened)?.st_dev;
    if device.is_some_and(|device| device != found) {
        return Ok(None);
    }
    Ok(Some(Folder {
        entries: Dir::new(opened)?,
        device: found,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn walked(roots: &[PathBuf]) -> (Room, bool) {
        let mut walk = Walk::new(roots, Room::default());
        while !walk.go_on(Instant::now()) {}
        (walk.found, walk.blind)
    }

    #[test]
    fn links_are_counted_and_not_followed_and_two_names_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ws");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), vec![7; 100_000]).unwrap();
        fs::hard_link(root.join("a/b/file"), root.join("again")).unwrap();
        symlink("/", root.join("out")).unwrap();
        symlink("a", root.join("in")).unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff")), "").unwrap();
        let (found, blind) = walked(std::slice::from_ref(&root));
        assert_eq!((found.files, blind), (6, false));
        assert!(found.bytes >= 100_000 && found.bytes < 1 << 20, "{found:?}");
        assert_eq!(
            walked(&[folder.path().join("none")]),
            (Room::default(), false),
            "not there yet"
        );
    }

    #[test]
    fn folders_deeper_than_is_followed_make_the_walk_blind() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_owned();
        for _ in 0..DEEPEST {
            deep.push("d");
            fs::create_dir(&deep).unwrap();
        }
        assert_eq!(
            walked(&[folder.path().to_owned()]),
            (
                Room {
                    files: DEEPEST as u64,
                    bytes: walked(&[folder.path().to_owned()]).0.bytes
                },
                true
            )
        );
    }

    fn watch(folder: &Path, limits: Limits) -> DiskWatch {
        DiskWatch::new(&limits, folder, &[]).unwrap().unwrap()
    }

    /// Looks until a walk has come to its end.
    fn look(watch: &mut DiskWatch) -> Option<DiskLimit> {
        loop {
            let passed = watch.check(watch.due());
            if passed.is_some() || watch.walk.is_none() {
                return passed;
            }
        }
    }

    #[test]
    fn a_workspace_that_was_over_its_cap_before_may_be_cleaned_up() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            fs::write(folder.path().join(number.to_string()), "x").unwrap();
        }
        let limits = Limits {
            disk_files: 10,
            ..Limits::NONE
        };
        let mut watch = watch(folder.path(), limits);
        assert_eq!(look(&mut watch), None, "it was so before");
        for number in 50..100 + SLACK_FILES {
            fs::write(folder.path().join(number.to_string()), "x").unwrap();
        }
        watch.last.as_mut().unwrap().at -= NOW_AND_THEN * 2;
        assert_eq!(
            look(&mut watch),
            Some(DiskLimit::Files),
            "but it may not go on like that"
        );
    }

    #[test]
    fn a_reserve_is_never_more_than_half_of_what_was_free() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            disk_reserve: u64::MAX,
            ..Limits::NONE
        };
        let mut watch = watch(folder.path(), limits);
        assert_eq!(watch.check(watch.due()), None);
        watch.reserve = u64::MAX;
        assert_eq!(watch.check(watch.due()), Some(DiskLimit::Reserve));
        assert!(
            DiskWatch::new(&Limits::NONE, folder.path(), &[])
                .unwrap()
                .is_none()
        );
    }
}
