//! The second wall around files, checked by the kernel on every access whatever the mounts say.
//!
//! Everything that is seen may be read and executed; only the workspace, the home, the temporary folders and the usual
//! devices may be written. No device file can be made anywhere. No signal and no abstract socket reaches beyond the
//! command's own processes, should it ever share a namespace with others.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::fault::{Fault, Step};
use crate::{sabotage, sys};

/// The newest rules that are asked for; a kernel that knows fewer applies those it knows.
const ABI_WANTED: ABI = ABI::V6;
const WRITABLE: [&str; 4] = ["/workspace", "/home/agent", "/tmp", "/dev/shm"];
const DEVICES: [&str; 8] = ["null", "zero", "full", "random", "urandom", "pts", "ptmx", "tty"];

/// Puts the calling process and its children behind the wall; does nothing where the kernel has none, unless that is
/// `required`.
pub(crate) fn restrict(required: bool) -> Result<(), Fault> {
    if sabotage::is_on("leave-landlock-out") {
        return Ok(());
    }
    if sys::landlock_abi() == 0 {
        let fault = Fault {
            step: Step::Landlock,
            errno: libc::EOPNOTSUPP,
        };
        return if required { Err(fault) } else { Ok(()) };
    }
    apply().map_err(|_: RulesetError| Fault {
        step: Step::Landlock,
        errno: libc::EINVAL,
    })
}

fn apply() -> Result<(), RulesetError> {
    let all = AccessFs::from_all(ABI_WANTED);
    let read = AccessFs::from_read(ABI_WANTED);
    let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let device: BitFlags<AccessFs> = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::IoctlDev
        | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?;
    let mut allow = |path: &Path, access: BitFlags<AccessFs>| -> Result<(), RulesetError> {
        // What this root does not have needs no rule.
        let Ok(parent) = PathFd::new(path) else {
            return Ok(());
        };
        (&mut rules).add_rule(PathBeneath::new(parent, access))?;
        Ok(())
    };
    allow(Path::new("/"), read)?;
    for path in WRITABLE {
        allow(Path::new(path), write)?;
    }
    for name in DEVICES {
        allow(&Path::new("/dev").join(name), device)?;
    }
    rules.restrict_self()?;
    Ok(())
}
