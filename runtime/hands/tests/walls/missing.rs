//! A machine that lacks something: refused by name, nothing executed (D1).

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use longhaul_hands::{Layer, ProcMount, Refusal, Walls, probe};

use crate::common::{Rig, said, shim_exe};
use crate::inside::ASKED;

/// A shim that finds itself on a machine prepared by these lines, inside a user namespace of its own; there it is root
/// and is nobody in particular outside.
fn shim_after(rig: &Rig, lines: &str) -> PathBuf {
    let path = rig.path().join("shim.sh");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(rig.path(), everybody.clone()).unwrap();
    let shim = rig.path().join("shim");
    std::fs::copy(shim_exe(), &shim).unwrap();
    let shim = shim.display();
    let is_root = rustix::process::geteuid().is_root();
    let nobody = if is_root {
        "setpriv --reuid 65534 --regid 65534 --clear-groups"
    } else {
        ""
    };
    let text = format!(
        "#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\nexport PATH\nexec {nobody} unshare {lines} {shim} \"$@\"\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, everybody).unwrap();
    path
}

fn refused(shim: &Path, walls: &Walls) -> Refusal {
    probe(shim, walls).expect_err("it cannot be had")
}

/// B-HANDS-4; D1
#[test]
fn without_user_namespaces_the_sysctl_is_named() {
    let Some(rig) = Rig::isolated() else { return };
    let shim = shim_after(
        &rig,
        "-Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"'",
    );
    let refusal = refused(&shim, &Walls::default());
    assert_eq!(refusal.code, "sandbox.userns_unavailable", "{refusal:?}");
    assert!(
        refusal.ways_on[0].contains("user.max_user_namespaces"),
        "{refusal:?}"
    );
    assert!(
        refusal
            .ways_on
            .iter()
            .any(|way| way.contains("--sandbox=process")),
        "{refusal:?}"
    );
}

/// B-HANDS-4; D1: our own walls are a place where a filter denies clone and unshare.
#[test]
fn under_a_filter_that_denies_namespaces_the_filter_is_named() {
    let Some(rig) = Rig::isolated() else { return };
    std::fs::copy(shim_exe(), rig.ws().join("shim")).unwrap();
    let told = said(&rig.shell("echo '{}' | ./shim shim-probe"));
    assert!(
        told.contains("sandbox.userns_unavailable") && told.contains("seccomp profile"),
        "{told}"
    );
}

/// B-HANDS-4; D1
#[test]
fn under_a_masked_proc_the_flag_that_does_without_is_named() {
    let Some(rig) = Rig::isolated() else { return };
    let shim = shim_after(
        &rig,
        "-Urmpf --mount-proc sh -c 'mount -t tmpfs -o ro x /proc/acpi && exec \"$0\" \"$@\"'",
    );
    let refusal = refused(&shim, &Walls::default());
    assert_eq!(refusal.code, "sandbox.proc_masked", "{refusal:?}");
    assert!(refusal.ways_on[0].contains("--sandbox-proc=none"), "{refusal:?}");
    let without = Walls {
        proc: ProcMount::None,
        ..Walls::default()
    };
    let report = probe(&shim, &without).expect("the way on is one");
    assert!(!report.layers.contains(&Layer::Proc), "{report:?}");
}

/// B-HANDS-4; D1: a kernel without Landlock, imitated by a filter that knows no such call.
#[test]
fn without_landlock_the_record_says_so_and_who_requires_it_is_refused() {
    let Some(rig) = Rig::isolated() else { return };
    let shim = rig.path().join("shim.sh");
    let this = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nexport {ASKED}='shim-without-landlock {}'\nexec '{}' --exact inside::answers --nocapture 3>&1 >/dev/null\n",
        shim_exe().display(),
        this.display()
    );
    std::fs::write(&shim, text).unwrap();
    std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();

    let report = probe(&shim, &rig.walls()).expect("the other walls stand without it");
    assert_eq!(report.landlock_abi, 0, "{report:?}");
    assert!(!report.layers.contains(&Layer::Landlock), "{report:?}");
    assert!(report.layers.contains(&Layer::Seccomp), "{report:?}");

    let required = Walls {
        require_landlock: true,
        ..rig.walls()
    };
    let refusal = refused(&shim, &required);
    assert_eq!(refusal.code, "sandbox.landlock_unavailable", "{refusal:?}");
    assert!(refusal.ways_on[0].contains("--require=landlock"), "{refusal:?}");
    assert!(
        !refusal
            .ways_on
            .iter()
            .any(|way| way.contains("--sandbox=process")),
        "less is no way on for who asks for more: {refusal:?}"
    );
}

#[test]
fn walls_that_are_badly_wished_for_are_refused_before_anything_is_built() {
    let Some(rig) = Rig::isolated() else { return };
    let refused = |walls: Walls| probe(shim_exe(), &walls).expect_err("impossible").detail;
    let root = Walls {
        host_uid: Some(0),
        ..rig.walls()
    };
    assert!(refused(root).contains("never root"));
    let etc = Walls {
        read_only: vec!["/etc/ssl".into()],
        ..rig.walls()
    };
    assert!(refused(etc).contains("/etc"));
    let missing = Walls {
        read_only: vec!["/nonexistent-folder".into()],
        ..rig.walls()
    };
    assert!(refused(missing).contains("source"));
}
