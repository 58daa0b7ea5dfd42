//! System calls that no command needs and that would open the kernel's seldom walked corners, or the walls.
//!
//! Three filters, one upon the other, since a filter compiled by the crate answers in one way only: calls of another
//! architecture or of the x32 kind do not exist (the former end the process); `clone3` does not exist, since its flags
//! cannot be looked at, and every program then uses `clone`; the rest is not permitted.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, sock_filter,
};

use super::fault::{Fault, Step};
use crate::sabotage;

/// Never permitted, whatever the arguments.
const DENIED: &[libc::c_long] = &[
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // A second door to everything else, and large young parts of the kernel.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Keys are not part of any namespace.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Walls within the walls.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[];

/// Flags of `clone` that make a namespace.
const NAMESPACE_FLAGS: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Requests to a terminal that put words into its mouth.
const TERMINAL_INJECTIONS: [u64; 2] = [0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */];

/// Socket families that a command may use: between processes, and IP.
const FAMILIES: [i32; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Applies the filters to the calling process. The last thing before the program is executed.
pub(crate) fn restrict() -> Result<(), Fault> {
    if sabotage::is_on("allow-every-system-call") {
        return Ok(());
    }
    for filter in filters().map_err(|_| fault(libc::EINVAL))? {
        apply_filter(&filter).map_err(|error| fault(errno(&error)))?;
    }
    Ok(())
}

fn fault(errno: i32) -> Fault {
    Fault {
        step: Step::Seccomp,
        errno,
    }
}

fn errno(error: &seccompiler::Error) -> i32 {
    match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => {
            error.raw_os_error().unwrap_or(libc::EINVAL)
        }
        _ => libc::EINVAL,
    }
}

fn filters() -> Result<[BpfProgram; 3], seccompiler::BackendError> {
    let not_there = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let not_permitted = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok([
        no_other_calling_convention(),
        compile(clone3, not_there)?,
        compile(denied()?, not_permitted)?,
    ])
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    answer: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let here: TargetArch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::Allow, answer, here)?.try_into()
}

fn denied() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED
        .iter()
        .chain(DENIED_HERE)
        .map(|call| (*call, vec![]))
        .collect();
    let clone = NAMESPACE_FLAGS.iter().map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        SeccompRule::new(vec![Condition::new(0, Len::Qword, Op::MaskedEq(flag), flag)?])
    });
    rules.insert(libc::SYS_clone, clone.collect::<Result<_, _>>()?);
    let ioctl = TERMINAL_INJECTIONS
        .iter()
        .map(|request| SeccompRule::new(vec![Condition::new(1, Len::Dword, Op::Eq, *request)?]));
    rules.insert(libc::SYS_ioctl, ioctl.collect::<Result<_, _>>()?);
    // All of the conditions: a family that is none of those permitted.
    let strange = FAMILIES
        .iter()
        .map(|family| Condition::new(0, Len::Dword, Op::Ne, u64::from(family.unsigned_abs())));
    let strange = SeccompRule::new(strange.collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_socket, vec![strange.clone()]);
    rules.insert(libc::SYS_socketpair, vec![strange]);
    Ok(rules)
}

/// On x86-64 a second set of system calls (x32) has the same architecture and numbers with one bit set. Written by
/// hand, since the compiler of filters compares numbers for equality only. Empty of meaning elsewhere.
fn no_other_calling_convention() -> BpfProgram {
    const LOAD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const X32: u32 = 0x4000_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD, 0, 0, 0), // the number of the call
        step(JUMP_IF_AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
        step(RETURN, 0, 0, ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_fit_into_the_kernel() {
        for filter in filters().unwrap() {
            assert!(!filter.is_empty() && filter.len() < 4096, "{}", filter.len());
        }
    }
}
