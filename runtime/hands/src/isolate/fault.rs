//! Which step of the set-up failed, and with which errno: what a refusal is made of.

use std::io;

/// A step between the clone and the command's first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Pipe,
    Namespaces,
    Handshake,
    UidMap,
    GidMap,
    DeathSignal,
    User,
    CgroupNamespace,
    Cgroup,
    PrivateMounts,
    Workspace,
    Source,
    Root,
    Folders,
    Etc,
    Dev,
    Proc,
    Mask,
    Tmp,
    Mount,
    Protect,
    PivotRoot,
    ReadOnlyRoot,
    Loopback,
    Listener,
    Proxy,
    Hostname,
    Fork,
    Session,
    Stdio,
    Cwd,
    Rlimits,
    Capabilities,
    NoNewPrivileges,
    Landlock,
    Descriptors,
    Seccomp,
    Exec,
}

impl Step {
    const ALL: [(Self, &'static str); 38] = [
        (Self::Pipe, "pipe"),
        (Self::Namespaces, "namespaces"),
        (Self::Handshake, "handshake"),
        (Self::UidMap, "uid_map"),
        (Self::GidMap, "gid_map"),
        (Self::DeathSignal, "death_signal"),
        (Self::User, "user"),
        (Self::CgroupNamespace, "cgroup_namespace"),
        (Self::Cgroup, "cgroup"),
        (Self::PrivateMounts, "private_mounts"),
        (Self::Workspace, "workspace"),
        (Self::Source, "source"),
        (Self::Root, "root"),
        (Self::Folders, "folders"),
        (Self::Etc, "etc"),
        (Self::Dev, "dev"),
        (Self::Proc, "proc"),
        (Self::Mask, "mask"),
        (Self::Tmp, "tmp"),
        (Self::Mount, "mount"),
        (Self::Protect, "protect"),
        (Self::PivotRoot, "pivot_root"),
        (Self::ReadOnlyRoot, "read_only_root"),
        (Self::Loopback, "loopback"),
        (Self::Listener, "listener"),
        (Self::Proxy, "proxy"),
        (Self::Hostname, "hostname"),
        (Self::Fork, "fork"),
        (Self::Session, "session"),
        (Self::Stdio, "stdio"),
        (Self::Cwd, "cwd"),
        (Self::Rlimits, "rlimits"),
        (Self::Capabilities, "capabilities"),
        (Self::NoNewPrivileges, "no_new_privileges"),
        (Self::Landlock, "landlock"),
        (Self::Descriptors, "descriptors"),
        (Self::Seccomp, "seccomp"),
        (Self::Exec, "exec"),
    ];

    /// The word for records.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) step: Step,
    pub(crate) errno: i32,
}

impl Fault {
    /// Turns an error into a fault of `step`.
    pub(crate) fn of<E: Into<io::Error>>(step: Step) -> impl Fn(E) -> Self {
        move |error| Self {
            step,
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        }
    }

    /// Its five bytes on the pipe to the shim.
    pub(crate) fn encode(self) -> [u8; 5] {
        let [a, b, c, d] = self.errno.to_le_bytes();
        [self.step as u8, a, b, c, d]
    }

    /// The first fault of a message; none of an empty one.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let (&step, rest) = message.split_first()?;
        let errno = rest.get(..4)?.try_into().ok().map(i32::from_le_bytes)?;
        let (step, _) = *Step::ALL.get(usize::from(step))?;
        Some(Self { step, errno })
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::from_raw_os_error(fault.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_has_its_own_place_in_the_table() {
        for (place, (step, name)) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, place, "{name}");
            let fault = Fault { step, errno: -7 };
            assert_eq!(Fault::decode(&fault.encode()), Some(fault));
        }
    }

    #[test]
    fn silence_and_noise_are_no_fault() {
        assert_eq!(Fault::decode(b""), None);
        assert_eq!(Fault::decode(b"\x01\x02"), None);
        assert_eq!(Fault::decode(&[200, 1, 0, 0, 0]), None);
    }
}
