//! What a command sees as `/`: built from nothing on a small file system in memory, and then closed.
//!
//! Most of it is the same for all commands of a runtime (the [`Frame`]) and can stand before one is known; then only the
//! [`Own`] folders of the session are missing. What comes from the machine is taken hold of before the sandbox becomes its
//! user, who may not be able to walk to it (a data directory that only root may enter). Each mount is a private copy, so that
//! nothing which is mounted outside later appears inside.
//!
//! Only a user who is known where a file system was made can make files on it. So where the sandbox becomes another user,
//! and which one is told late, the file systems in memory are made outside ([`Memory::made_outside`]); otherwise inside.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree,
};

use super::etc;
use super::fault::{Fault, Step};
use super::frame::Frame;
use crate::sys::{self, MOUNT_NODEV, MOUNT_NOEXEC, MOUNT_NOSUID, MOUNT_RDONLY};
use crate::walls::ProcMount;
use crate::{sabotage, walls};

/// Where the programs of the machine are. What is a link on the machine is the same link inside.
pub(super) const SYSTEM: [&str; 9] = [
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "opt",
    "nix/store",
];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Files of `/proc` that tell about the whole machine, or act on it. Shown empty.
const MASKED: [&str; 9] = [
    "kcore",
    "keys",
    "key-users",
    "kallsyms",
    "cmdline",
    "sysrq-trigger",
    "timer_list",
    "kmsg",
    "sched_debug",
];
/// Folders of `/proc` that could act on the machine.
const CLOSED: [&str; 5] = ["sys", "irq", "bus", "fs", "acpi"];
/// What holds for every mount that is shown.
const OWN: u64 = MOUNT_NOSUID | MOUNT_NODEV;
/// Where the new root lies until it is `/`. Every machine has this folder, and anybody may walk to it.
const STAGE: &str = "/proc";

/// The files of the root that are made, on file systems in memory, not yet mounted anywhere.
#[derive(Debug)]
pub(crate) struct Memory {
    root: OwnedFd,
    tmp: OwnedFd,
    shm: OwnedFd,
}

impl Memory {
    /// Empty ones that belong to the caller.
    pub(crate) fn make(frame: &Frame) -> Result<Self, Fault> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let limits = [("mode", "0755"), ("size", "4m"), ("nr_inodes", "4096")];
        let root = memory(&limits, attributes).map_err(Fault::of(Step::Root))?;
        let size = frame.tmp_bytes.to_string();
        // A file of a byte takes a page; twice as many names as pages, for folders and links.
        let inodes = (frame.tmp_bytes / 2048).clamp(1024, 1 << 20).to_string();
        let limits = [
            ("mode", "1777"),
            ("size", size.as_str()),
            ("nr_inodes", inodes.as_str()),
        ];
        let scratch = || memory(&limits, attributes).map_err(Fault::of(Step::Tmp));
        Ok(Self {
            root,
            tmp: scratch()?,
            shm: scratch()?,
        })
    }

    /// Those that must be made outside of the sandbox, before it is begun; none if it can make them itself, or has to after all,
    /// late, because the caller may not.
    pub(crate) fn made_outside(frame: &Frame) -> Option<Self> {
        match frame.ids {
            Some(_) => None,
            None => Self::make(frame).ok(),
        }
    }
}

/// What the root shows of the machine, held open.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Name in `/dev`, and the device.
    devices: Vec<(&'static str, OwnedFd)>,
    /// Path inside, without the leading slash, and the tree.
    trees: Vec<(PathBuf, OwnedFd)>,
    links: Vec<(PathBuf, PathBuf)>,
}

impl Sources {
    /// Takes hold of everything that comes from the machine and is of no session.
    pub(crate) fn open(frame: &Frame) -> Result<Self, Fault> {
        rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(Fault::of(Step::PrivateMounts))?;
        let shown = if sabotage::is_on("let-the-system-be-written") {
            OWN
        } else {
            OWN | MOUNT_RDONLY
        };
        let mut sources = Self {
            devices: Vec::new(),
            trees: Vec::new(),
            links: Vec::new(),
        };
        for name in DEVICES {
            let device = tree(&Path::new("/dev").join(name), MOUNT_NOSUID | MOUNT_NOEXEC);
            sources
                .devices
                .push((name, device.map_err(Fault::of(Step::Dev))?));
        }
        for name in SYSTEM {
            sources.add(Path::new("/"), Path::new(name), shown, Step::Source)?;
        }
        for name in etc::SHOWN {
            sources.add(Path::new("/"), &Path::new("etc").join(name), shown, Step::Source)?;
        }
        if sabotage::is_on("show-the-whole-etc") {
            sources.trees.retain(|(path, _)| !path.starts_with("etc"));
            sources.add(Path::new("/"), Path::new("etc"), shown, Step::Source)?;
        }
        for path in &frame.read_only {
            let inside = path.strip_prefix("/").unwrap_or(path);
            let open = tree(path, shown).map_err(Fault::of(Step::Source))?;
            sources.trees.push((inside.to_owned(), open));
        }
        Ok(sources)
    }

    /// A path of the machine, if it is there: as a link where it is one, as a tree otherwise.
    fn add(&mut self, base: &Path, name: &Path, attributes: u64, step: Step) -> Result<(), Fault> {
        let path = base.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() && name.components().count() == 1 => {
                let target = std::fs::read_link(&path).map_err(Fault::of(step))?;
                self.links.push((name.to_owned(), target));
            }
            Ok(_) => match tree(&path, attributes) {
                Ok(open) => self.trees.push((name.to_owned(), open)),
                // A link that leads nowhere, or what this user may not see: it is not there.
                Err(Errno::NOENT | Errno::ACCESS) => {}
                Err(error) => return Err(Fault::of(step)(error)),
            },
            Err(_) => {}
        }
        Ok(())
    }
}

/// The folders of the session, held open.
pub(crate) struct Own {
    workspace: OwnedFd,
    home: OwnedFd,
}

impl Own {
    /// Takes hold of them. Their mounts are private already; see [`Sources::open`].
    pub(crate) fn open(workspace: &Path, home: &Path) -> Result<Self, Fault> {
        Ok(Self {
            workspace: tree(workspace, OWN).map_err(Fault::of(Step::Workspace))?,
            home: tree(home, OWN).map_err(Fault::of(Step::Workspace))?,
        })
    }
}

/// A root that lacks the session's folders, and is not the root of any process yet.
pub(crate) struct Shell(OwnedFd);

/// Builds what is the same for all. The caller can make files on the `memory`.
pub(crate) fn build(frame: &Frame, memory: Memory, sources: Sources) -> Result<Shell, Fault> {
    move_mount(
        memory.root.as_fd(),
        "",
        CWD,
        STAGE,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(Fault::of(Step::Root))?;
    let root = memory.root.as_fd();
    let Sources {
        devices,
        trees,
        links,
    } = sources;
    for folder in ["workspace", "home/agent", "tmp", "proc", "dev", "etc", "var"] {
        folders(root, Path::new(folder)).map_err(Fault::of(Step::Folders))?;
    }
    for (link, target) in links
        .iter()
        .map(|(link, target)| (link.as_path(), target.as_path()))
        .chain([
            (Path::new("etc/mtab"), Path::new("/proc/self/mounts")),
            (Path::new("var/tmp"), Path::new("/tmp")),
        ])
    {
        rustix::fs::symlinkat(target, root, link).map_err(Fault::of(Step::Folders))?;
    }
    for (path, open) in &trees {
        attach(open, root, path).map_err(Fault::of(Step::Mount))?;
    }
    make_etc(root)?;
    make_dev(root, &devices)?;
    for (path, open) in [(walls::INSIDE_TMP, &memory.tmp), ("/dev/shm", &memory.shm)] {
        let path = Path::new(path).strip_prefix("/").unwrap_or(Path::new("tmp"));
        attach(open, root, path).map_err(Fault::of(Step::Tmp))?;
    }
    if frame.proc == ProcMount::Private {
        let null = devices
            .iter()
            .find(|(name, _)| *name == "null")
            .map(|(_, open)| open.as_fd());
        make_proc(root, null)?;
    }
    Ok(Shell(memory.root))
}

impl Shell {
    /// Adds the session's folders and makes it the only root there is. The caller is the user that was mapped.
    pub(crate) fn move_in(self, own: &Own, protected: &[PathBuf]) -> Result<(), Fault> {
        let root = self.0.as_fd();
        mount_at(own.workspace.as_fd(), root, Path::new("workspace")).map_err(Fault::of(Step::Workspace))?;
        mount_at(own.home.as_fd(), root, Path::new("home/agent")).map_err(Fault::of(Step::Workspace))?;
        for path in protected {
            protect(root, &Path::new("workspace").join(path)).map_err(Fault::of(Step::Protect))?;
        }
        enter(root).map_err(Fault::of(Step::PivotRoot))?;
        sys::set_mount_attributes(root, MOUNT_RDONLY, false).map_err(Fault::of(Step::ReadOnlyRoot))
    }
}

/// Makes `root` the root, and lets go of the one before with all that was mounted there.
fn enter(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The old root now lies on top of the new one.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// A private copy of the mounts at `path` and below, with these attributes.
fn tree(path: &Path, attributes: u64) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let open = open_tree(CWD, path, flags)?;
    sys::set_mount_attributes(open.as_fd(), attributes, true).map_err(errno)?;
    Ok(open)
}

/// A file system in memory, not yet mounted anywhere.
fn memory(options: &[(&str, &str)], attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts at a path below `root`, making what is mounted on.
fn attach(open: &OwnedFd, root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let is_folder = FileType::from_raw_mode(rustix::fs::fstat(open)?.st_mode) == FileType::Directory;
    if is_folder {
        folders(root, path)?;
    } else {
        folders(root, path.parent().unwrap_or(Path::new("")))?;
        make_file(root, path, b"")?;
    }
    mount_at(open.as_fd(), root, path)
}

fn mount_at(open: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    move_mount(open, "", root, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn folders(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let mut made = PathBuf::new();
    for part in path.components() {
        if let Component::Normal(part) = part {
            made.push(part);
            match rustix::fs::mkdirat(root, &made, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                // Below something of the machine's own: it is there, or mounting will say that it is not.
                Err(Errno::ROFS | Errno::ACCESS) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn make_file(root: BorrowedFd<'_>, path: &Path, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(root, path, flags, Mode::from_raw_mode(0o644)) {
        Ok(file) => file,
        Err(Errno::ROFS | Errno::ACCESS) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

fn make_etc(root: BorrowedFd<'_>) -> Result<(), Fault> {
    for (name, text) in etc::made() {
        make_file(root, &Path::new("etc").join(name), text.as_bytes()).map_err(Fault::of(Step::Etc))?;
    }
    Ok(())
}

fn make_dev(root: BorrowedFd<'_>, devices: &[(&'static str, OwnedFd)]) -> Result<(), Fault> {
    let dev = Path::new("dev");
    for (name, open) in devices {
        make_file(root, &dev.join(name), b"")
            .and_then(|()| mount_copy(open.as_fd(), root, &dev.join(name)))
            .map_err(Fault::of(Step::Dev))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, root, dev.join(name)).map_err(Fault::of(Step::Dev))?;
    }
    terminals(root).map_err(Fault::of(Step::Dev))
}

/// Terminals of the sandbox's own; none of them is anybody's controlling terminal.
fn terminals(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let context = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [("mode", "0620"), ("ptmxmode", "0666")] {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    // Without meaning since Linux 4.7, when each mount became an instance of its own, and required before.
    let _ = fsconfig_set_flag(context.as_fd(), "newinstance");
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    attach(&pts, root, Path::new("dev/pts"))
}

fn make_proc(root: BorrowedFd<'_>, null: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    let mount = || -> Result<(), Errno> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        if !sabotage::is_on("show-every-process") {
            fsconfig_set_string(context.as_fd(), "hidepid", "2")?;
        }
        fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let proc = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        attach(&proc, root, Path::new("proc"))
    };
    mount().map_err(Fault::of(Step::Proc))?;
    let mask = || -> Result<(), Errno> {
        for name in MASKED {
            let path = Path::new("proc").join(name);
            if let (Some(null), true) = (null, exists(root, &path)) {
                mount_copy(null, root, &path)?;
            }
        }
        for name in CLOSED {
            let path = Path::new("proc").join(name);
            if exists(root, &path) {
                close_to_writing(root, &path)?;
            }
        }
        Ok(())
    };
    mask().map_err(Fault::of(Step::Mask))
}

fn exists(root: BorrowedFd<'_>, path: &Path) -> bool {
    rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Mounts one more copy of what `open` is.
fn mount_copy(open: BorrowedFd<'_>, root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    mount_at(open_tree(open, "", flags)?.as_fd(), root, path)
}

/// Mounts a path of the new root upon itself, so that it can no longer be written.
fn close_to_writing(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let open = copy_of(root, path)?;
    sys::set_mount_attributes(open.as_fd(), MOUNT_RDONLY, true).map_err(errno)?;
    mount_at(open.as_fd(), root, path)
}

/// Makes a path in the workspace, and the folders on the way to it, places that cannot be renamed or written.
fn protect(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    let kind = match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => FileType::from_raw_mode(found.st_mode),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Ok(());
    }
    // A folder that something is mounted on cannot be renamed; one that only holds such a folder can be.
    let above = path.parent().unwrap_or(Path::new(""));
    if above.file_name() != Some(OsStr::new("workspace")) {
        let open = copy_of(root, above)?;
        mount_at(open.as_fd(), root, above)?;
    }
    close_to_writing(root, path)
}

fn copy_of(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    open_tree(root, path, flags)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO))
}
