//! Trees that somebody hostile may have grown: walked and removed by descriptors.
//!
//! Nothing here recurses, and of the folders above one another only the innermost [`HELD`] are kept open, so that neither
//! the stack nor the descriptors of the caller limit how deep folders may nest. The way back up is `..`, which counts only
//! if it leads to the folder one came from. No link is followed, and no other file system is entered.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::files::resolve;

/// So many folders stay open, beside the outermost.
const HELD: usize = 64;
/// What reading a folder takes of its owner's rights, and what removing it takes.
const READING: u32 = 0o500;
const REMOVING: u32 = 0o700;
/// So many characters of a path are shown.
const SHOWN: usize = 200;

/// A walk through everything below a folder, parents before what is in them, each folder in the order of its names.
///
/// A folder is gone into only by [`enter`](Self::enter), right after it was met.
#[derive(Debug)]
pub struct Walk {
    /// The outermost and the innermost are open.
    levels: Vec<Level>,
    /// Of the innermost folder, below the outermost.
    path: Vec<u8>,
    /// Rights that are lent to the owner of a folder while the walk is in it; none: 0.
    lends: u32,
}

#[derive(Debug)]
struct Level {
    folder: Option<OwnedFd>,
    id: (u64, u64),
    name: CString,
    left: std::vec::IntoIter<CString>,
    /// Its permissions, if it got others for as long as the walk is in it.
    before: Option<Mode>,
    /// Length of the path of the folder above.
    above: usize,
}

/// A step of a walk.
#[derive(Debug)]
pub enum Step {
    /// A name in the folder where the walk is.
    Met(Met),
    /// The walk is through with the folder of this name, and in the one above it.
    Left(CString),
}

/// A name in a folder, and what it stands for; links are not followed.
#[derive(Debug)]
pub struct Met {
    /// The name.
    pub name: CString,
    /// What it stood for when it was met.
    pub stat: Stat,
}

impl Met {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it can be entered.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// Its name, of any bytes.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.to_bytes())
    }
}

impl Walk {
    /// Begins at the folder `root`, whose path is trusted but for its last part, which must be no link.
    ///
    /// # Errors
    /// It is missing, no folder, or may not be read.
    pub fn of(root: &Path) -> io::Result<Self> {
        Self::start(root, 0)
    }

    /// As [`Self::of`]; a folder or file that its owner may not read is made readable while it is looked at. A crash
    /// meanwhile leaves it so.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn lending(root: &Path) -> io::Result<Self> {
        Self::start(root, READING)
    }

    fn start(root: &Path, lends: u32) -> io::Result<Self> {
        let hold = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::openat(CWD, root, hold, Mode::empty()).map_err(|error| told(root, error))?;
        let mut walk = Self {
            levels: Vec::new(),
            path: Vec::new(),
            lends,
        };
        let level = walk
            .level(&held, CString::default())
            .map_err(|error| told(root, error))?;
        walk.levels.push(level);
        Ok(walk)
    }

    /// Goes on; none at the end. After an error it goes on behind what could not be looked at.
    ///
    /// # Errors
    /// What the system says, with the path.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.left.next() else {
                return Ok(self.leave()?.map(Step::Left));
            };
            match rustix::fs::statat(self.folder(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => return Ok(Some(Step::Met(Met { name, stat }))),
                // Somebody removed it meanwhile.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(told(&self.below(&name), error)),
            }
        }
        Ok(None)
    }

    /// Goes into the folder that was met.
    ///
    /// # Errors
    /// It may not be read, is on another file system, or is no folder any more. The walk is where it was.
    pub fn enter(&mut self, met: &Met) -> io::Result<()> {
        let hold = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let level = confined(self.folder(), &met.name, hold)
            .and_then(|held| self.level(&held, met.name.clone()))
            .map_err(|error| told(&self.below(&met.name), error))?;
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend(met.name.to_bytes());
        self.levels.push(level);
        let far = self.levels.len().saturating_sub(HELD + 1);
        if far > 0 {
            self.levels[far].folder = None;
        }
        Ok(())
    }

    /// Opens the regular file that was met, to read it; it blocks on nothing.
    ///
    /// # Errors
    /// It may not be read, or is not what was met any more.
    pub fn open(&self, met: &Met) -> io::Result<File> {
        let at = |error| told(&self.below(&met.name), error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match confined(self.folder(), &met.name, flags) {
            Err(Errno::ACCESS) if self.lends != 0 => {
                let held = confined(self.folder(), &met.name, OFlags::PATH | OFlags::NOFOLLOW);
                let held = held.map_err(at)?;
                must_be(&held, met).map_err(at)?;
                lent(&held, 0o400, |held| {
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                    rustix::fs::open(by_descriptor(held), flags, Mode::empty())
                })
                .map(|(file, before)| {
                    put_back(&file, before);
                    file
                })
            }
            opened => opened,
        };
        let opened = opened.map_err(at)?;
        must_be(&opened, met).map_err(at)?;
        Ok(File::from(opened))
    }

    /// The folder where the walk is.
    ///
    /// # Panics
    /// At the end of the walk.
    #[must_use]
    pub fn folder(&self) -> BorrowedFd<'_> {
        let innermost = self.levels.last().and_then(|level| level.folder.as_ref());
        innermost.expect("the innermost folder is open").as_fd()
    }

    /// Where that is, below the outermost folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// How long the path of what was met is.
    #[must_use]
    pub fn path_bytes(&self, met: &Met) -> usize {
        self.path.len() + 1 + met.name.to_bytes().len()
    }

    /// The path of what was met, for a human: of a long one the beginning.
    #[must_use]
    pub fn shown(&self, met: &Met) -> String {
        shown(&self.below(&met.name))
    }

    fn below(&self, name: &CString) -> PathBuf {
        self.path().join(OsStr::from_bytes(name.to_bytes()))
    }

    fn level(&self, held: &OwnedFd, name: CString) -> Result<Level, Errno> {
        let inside = |held: &OwnedFd| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(held, c".", flags, Mode::empty())
        };
        // Root needs no right of the owner's.
        let (folder, before) = match self.lends {
            lends if lends != 0 && !rustix::process::geteuid().is_root() => lent(held, lends, inside)?,
            _ => (inside(held)?, None),
        };
        let (stat, left) = match rustix::fs::fstat(&folder).and_then(|stat| Ok((stat, names(&folder)?))) {
            Ok(found) => found,
            Err(error) => {
                put_back(&folder, before);
                return Err(error);
            }
        };
        Ok(Level {
            folder: Some(folder),
            id: (stat.st_dev, stat.st_ino),
            name,
            left: left.into_iter(),
            before,
            above: self.path.len(),
        })
    }

    /// Goes up; none if that was the outermost folder.
    fn leave(&mut self) -> io::Result<Option<CString>> {
        let Some(gone) = self.levels.pop() else {
            return Ok(None);
        };
        let mut found = Ok(());
        if let (Some(above), Some(folder)) = (self.levels.last_mut(), &gone.folder)
            && above.folder.is_none()
        {
            match up(folder, above.id) {
                Ok(again) => above.folder = Some(again),
                Err(error) => found = Err(told(self.path(), error)),
            }
        }
        // Not before: a folder that may not be entered has no `..` either.
        if let Some(folder) = &gone.folder {
            put_back(folder, gone.before);
        }
        self.path.truncate(gone.above);
        // What was moved away meanwhile is not looked for. The outermost is always open.
        while self.levels.last().is_some_and(|level| level.folder.is_none()) {
            if let Some(lost) = self.levels.pop() {
                self.path.truncate(lost.above);
            }
        }
        found.map(|()| (!self.levels.is_empty()).then_some(gone.name))
    }
}

impl Drop for Walk {
    /// A walk that is given up gives back what it lent, where it still can.
    fn drop(&mut self) {
        while self.levels.last().is_some() {
            let _ = self.leave();
        }
    }
}

/// Removes a folder with everything in it, or whatever has that name. What is gone already is no trouble. Folders that their
/// owner may not enter or change go too.
///
/// # Errors
/// The first thing that could not be removed; the others are.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    let mut walk = match Walk::start(root, REMOVING) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return missing_is_fine(fs::remove_file(root));
        }
        walk => walk?,
    };
    let mut first = Ok(());
    loop {
        let removed = match walk.step() {
            Ok(None) => break,
            Ok(Some(Step::Left(name))) => unlink(&walk, &name, AtFlags::REMOVEDIR),
            Ok(Some(Step::Met(met))) if met.is_folder() => match walk.enter(&met) {
                Ok(()) => Ok(()),
                // An empty one can be removed all the same.
                Err(error) => unlink(&walk, &met.name, AtFlags::REMOVEDIR).map_err(|_| error),
            },
            Ok(Some(Step::Met(met))) => unlink(&walk, &met.name, AtFlags::empty()),
            Err(error) => Err(error),
        };
        first = first.and(removed);
    }
    first.and_then(|()| missing_is_fine(fs::remove_dir(root)))
}

fn unlink(walk: &Walk, name: &CString, flags: AtFlags) -> io::Result<()> {
    let removed = rustix::fs::unlinkat(walk.folder(), name, flags);
    missing_is_fine(removed.map_err(|error| told(&walk.below(name), error)))
}

fn missing_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Opens a name in a folder and nothing else.
fn confined(folder: BorrowedFd<'_>, name: &CString, flags: OFlags) -> Result<OwnedFd, Errno> {
    let name = Path::new(OsStr::from_bytes(name.to_bytes()));
    resolve(folder, name, flags, ResolveFlags::empty())
}

/// The folder above, if it is this one.
fn up(folder: &OwnedFd, id: (u64, u64)) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(folder, c"..", flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&above)?;
    if (stat.st_dev, stat.st_ino) == id {
        Ok(above)
    } else {
        Err(Errno::STALE)
    }
}

/// Opens what is held although its owner lacks these rights; with the permissions to put back, if it had others.
fn lent(
    held: &OwnedFd,
    rights: u32,
    open: impl FnOnce(&OwnedFd) -> Result<OwnedFd, Errno>,
) -> Result<(OwnedFd, Option<Mode>), Errno> {
    let mode = rustix::fs::fstat(held)?.st_mode & 0o7777;
    let before = Mode::from_raw_mode(mode);
    if mode & rights == rights || rustix::fs::chmod(by_descriptor(held), before | Mode::RWXU).is_err() {
        // Somebody else's: it can be opened or it cannot.
        return Ok((open(held)?, None));
    }
    match open(held) {
        Ok(opened) => Ok((opened, Some(before))),
        Err(error) => {
            put_back(held, Some(before));
            Err(error)
        }
    }
}

fn put_back(held: &OwnedFd, before: Option<Mode>) {
    if let Some(before) = before {
        // Gone meanwhile, at worst.
        let _ = rustix::fs::chmod(by_descriptor(held), before);
    }
}

/// A descriptor that only holds its place cannot be changed or read directly.
fn by_descriptor(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

fn must_be(opened: &OwnedFd, met: &Met) -> Result<(), Errno> {
    let now = rustix::fs::fstat(opened)?;
    let is_it = (now.st_dev, now.st_ino) == (met.stat.st_dev, met.stat.st_ino);
    if is_it && FileType::from_raw_mode(now.st_mode) == FileType::RegularFile {
        Ok(())
    } else {
        Err(Errno::STALE)
    }
}

/// Names in a folder, in order.
fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// What the system says, and where.
fn told(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", shown(path)))
}

fn shown(path: &Path) -> String {
    let whole = path.to_string_lossy();
    let shown: String = whole.chars().take(SHOWN).collect();
    let more = if shown.len() < whole.len() { "..." } else { "" };
    shown + more
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// So deep that no path leads there.
    fn deep(root: &Path, levels: usize) {
        let open = |folder: &OwnedFd| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(folder, c"d", flags, Mode::empty()).unwrap()
        };
        let mut folder = OwnedFd::from(File::open(root).unwrap());
        for _ in 0..levels {
            rustix::fs::mkdirat(&folder, c"d", Mode::RWXU).unwrap();
            folder = open(&folder);
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, c"file", flags, Mode::RUSR).unwrap();
        rustix::io::write(&file, b"deep").unwrap();
    }

    /// Folders entered, bytes of files, and what went wrong.
    fn walked(mut walk: Walk) -> (usize, u64, Vec<String>) {
        let (mut folders, mut bytes, mut wrong) = (0, 0, Vec::new());
        loop {
            match walk.step() {
                Ok(None) => return (folders, bytes, wrong),
                Ok(Some(Step::Met(met))) if met.is_folder() => match walk.enter(&met) {
                    Ok(()) => folders += 1,
                    Err(error) => wrong.push(error.to_string()),
                },
                Ok(Some(Step::Met(met))) => bytes += met.bytes(),
                Ok(Some(Step::Left(_))) => {}
                Err(error) => wrong.push(error.to_string()),
            }
        }
    }

    /// About 2,500 folders inside one another once ended the server: each took a frame of its stack.
    #[test]
    fn folders_nested_however_deep_are_counted_and_removed_with_few_descriptors() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("tree");
        fs::create_dir(&root).unwrap();
        deep(&root, 5_000);
        let beside = root.join("d/e");
        fs::create_dir(&beside).unwrap();
        deep(&beside, 200);
        let walk = Walk::of(&root).unwrap();
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let found = small.spawn(move || walked(walk)).unwrap().join().unwrap();
        assert_eq!(found, (5_201, 8, Vec::new()));
        let small = std::thread::Builder::new().stack_size(128 << 10);
        let gone = root.clone();
        small
            .spawn(move || remove_tree(&gone))
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        assert!(!root.exists());
        remove_tree(&root).unwrap();
    }

    /// A plain user cannot enter what it has closed; root can, and so this says most where it is not root.
    #[test]
    fn closed_folders_are_read_as_they_were_left_and_removed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("tree");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "closed").unwrap();
        let modes = [("a/b/file", 0o000), ("a/b", 0o400), ("a", 0o000), ("", 0o500)];
        for (path, mode) in modes {
            fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut walk = Walk::lending(&root).unwrap();
        let mut read = Vec::new();
        while let Some(step) = walk.step().unwrap() {
            match step {
                Step::Met(met) if met.is_folder() => walk.enter(&met).unwrap(),
                Step::Met(met) => {
                    io::Read::read_to_end(&mut walk.open(&met).unwrap(), &mut read).unwrap();
                    assert_eq!(walk.path_bytes(&met), "a/b/file".len());
                    let now =
                        rustix::fs::statat(walk.folder(), &met.name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
                    assert_eq!(now.st_mode & 0o7777, 0, "it has its permissions again");
                }
                Step::Left(_) => {}
            }
        }
        assert_eq!(read, b"closed");
        drop(walk);
        let seen = |path: &str| {
            fs::symlink_metadata(root.join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!((seen(""), seen("a")), (0o500, 0o000));
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }

    /// What is walked through is written by programs nobody trusts.
    #[test]
    fn links_and_pipes_in_a_tree_lead_nowhere_and_block_nothing() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("tree");
        let outside = place.path().join("outside");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "outside").unwrap();
        symlink(&outside, root.join("a/folder")).unwrap();
        symlink(outside.join("kept"), root.join("a/file")).unwrap();
        rustix::fs::mknodat(CWD, root.join("a/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let mut walk = Walk::of(&root).unwrap();
        let mut met = Vec::new();
        while let Some(step) = walk.step().unwrap() {
            match step {
                Step::Met(folder) if folder.is_folder() => walk.enter(&folder).unwrap(),
                Step::Met(other) => {
                    met.push(other.name().to_owned());
                    assert!(
                        walk.open(&other).is_err() && walk.enter(&other).is_err(),
                        "{other:?}"
                    );
                }
                Step::Left(_) => {}
            }
        }
        assert_eq!(met, ["file", "folder", "pipe"]);
        assert!(Walk::of(&root.join("a/folder")).is_err());
        remove_tree(&root.join("a/folder")).unwrap();
        remove_tree(&root).unwrap();
        assert_eq!(fs::read(outside.join("kept")).unwrap(), b"outside");
    }

    /// The way back is lost: the rest is walked through, and nothing outside is.
    #[test]
    fn a_folder_that_is_moved_away_during_a_walk_does_not_lead_the_walk_away() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("tree");
        fs::create_dir_all(root.join("z")).unwrap();
        deep(&root, 2 * HELD);
        fs::create_dir(place.path().join("other")).unwrap();
        let mut walk = Walk::of(&root).unwrap();
        let (mut wrong, mut last) = (0, CString::default());
        loop {
            match walk.step() {
                Ok(None) => break,
                Ok(Some(Step::Met(met))) if met.is_folder() => walk.enter(&met).unwrap(),
                Ok(Some(Step::Met(_))) => {
                    // Level 9 is closed by now, and its successor gets another parent.
                    let path: PathBuf = ["d"; 10].iter().collect();
                    fs::rename(root.join(path), place.path().join("other/d")).unwrap();
                }
                Ok(Some(Step::Left(name))) => last = name,
                Err(_) => wrong += 1,
            }
        }
        assert_eq!((wrong, last.as_c_str()), (1, c"z"));
    }
}
