//! New namespaces, and who the sandbox is in them.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use rustix::process::{self, Gid, Pid, Uid};
use rustix::thread;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Step};
use crate::sabotage;
use crate::sys::{self, Fork, namespaces};
use crate::walls::Walls;

/// Uid and gid of the command as it sees itself.
pub(crate) const INSIDE_ID: u32 = 1000;

/// Forks into a user, mount, pid, ipc, host name and network namespace of the child's own. That of control groups comes
/// later, when the child is where it is to stay.
pub(crate) fn fork() -> io::Result<Fork> {
    let all = [
        ("share-the-network", namespaces::NET),
        ("", namespaces::PID),
        ("", namespaces::USER),
        ("", namespaces::MOUNT),
        ("share-the-ipc", namespaces::IPC),
        ("", namespaces::UTS),
    ];
    let wanted = all.into_iter().filter(|(breach, _)| !sabotage::is_on(breach));
    sys::fork_into(wanted.fold(0, |flags, (_, flag)| flags | flag))
}

/// The user and the group of this machine that a command is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    uid: u32,
    gid: u32,
}

impl Ids {
    /// Those of a command behind these walls.
    pub(crate) fn of(walls: &Walls) -> Self {
        match walls.host_uid {
            Some(_) if sabotage::is_on("share-one-user") => Self {
                uid: 65_534,
                gid: 65_534,
            },
            Some(uid) => Self { uid, gid: uid },
            None => Self {
                uid: process::geteuid().as_raw(),
                gid: process::getegid().as_raw(),
            },
        }
    }

    /// Whether that is another user of this machine than the runtime.
    pub(crate) fn changes_user(self) -> bool {
        self.uid != process::geteuid().as_raw()
    }

    /// Gives `init` this one user and this one group. Only from outside can that be done once and for all.
    pub(crate) fn map(self, init: Pid) -> Result<(), Fault> {
        let write = |file: &str, text: String| -> io::Result<()> {
            let path = format!("/proc/{}/{file}", init.as_raw_nonzero());
            // One write: the kernel takes a map whole, and once.
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(text.as_bytes())
        };
        let Self { uid, gid } = self;
        if uid == 0 && is_real_root() {
            return Err(Fault {
                step: Step::User,
                errno: libc::EPERM,
            });
        }
        if !self.changes_user() {
            // Who is no root may map a group only after giving up on changing groups.
            write("setgroups", "deny".to_owned()).map_err(Fault::of(Step::GidMap))?;
        }
        write("gid_map", format!("{INSIDE_ID} {gid} 1\n")).map_err(Fault::of(Step::GidMap))?;
        write("uid_map", format!("{INSIDE_ID} {uid} 1\n")).map_err(Fault::of(Step::UidMap))
    }
}

/// Whether uid 0 is the machine's own, and not that of a namespace which somebody unprivileged made.
fn is_real_root() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_ascii_whitespace();
    !matches!((fields.next(), fields.next()), (Some("0"), Some(outer)) if outer != "0")
}

/// Becomes the user that was mapped, which is `another` than the runtime or not. Keeps its rights over the new namespaces,
/// and those only.
pub(crate) fn become_the_user(another: bool) -> Result<(), Fault> {
    let user = Fault::of::<rustix::io::Errno>(Step::User);
    let (uid, gid) = (Uid::from_raw(INSIDE_ID), Gid::from_raw(INSIDE_ID));
    if another {
        thread::set_thread_groups(&[]).map_err(&user)?;
    }
    thread::set_thread_res_gid(gid, gid, gid).map_err(&user)?;
    thread::set_thread_res_uid(uid, uid, uid).map_err(&user)
}

/// What is left once the root stands: the loopback device and the host name.
pub(crate) fn furnish() -> Result<(), Fault> {
    if !sabotage::is_on("share-the-network") {
        sys::loopback_up().map_err(Fault::of(Step::Loopback))?;
    }
    rustix::system::sethostname(b"sandbox").map_err(Fault::of(Step::Hostname))
}
