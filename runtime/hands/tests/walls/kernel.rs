//! The kernel's corners: system calls, socket families, foreign gates, terminals, the network (A4, A7 to A11).

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use longhaul_hands::Verdict;

use crate::common::{Rig, run, said};
use crate::inside::{answers_in, ask};

/// B-HANDS-3; A4, A7, A8
#[test]
fn system_calls_that_open_the_kernel_or_the_walls_are_not_permitted() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&ask(&rig, "calls"));
    let answers = answers_in(&told);
    assert!(answers.len() >= 18, "{told}");
    for (call, answer) in answers {
        // What a program can do without is told not to exist, so that it takes the other way.
        let expected = if ["clone3", "x32"].contains(&call) {
            "ENOSYS"
        } else {
            "EPERM"
        };
        assert_eq!(answer, expected, "{call}");
    }
}

/// A8
#[test]
fn only_local_and_ip_sockets_can_be_made() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&ask(&rig, "families"));
    let answers = answers_in(&told);
    assert!(answers.len() >= 12, "{told}");
    for (family, answer) in answers {
        let expected = if ["unix", "inet", "inet6"].contains(&family) {
            "done"
        } else {
            "EPERM"
        };
        assert_eq!(answer, expected, "{family}");
    }
}

/// A7
#[test]
fn no_namespace_can_be_made_or_entered() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell("unshare -Ur id; unshare -n id; nsenter -t 1 -a id; echo end"));
    assert!(!told.contains("uid="), "{told}");
    assert!(told.contains("end"), "{told}");
}

/// A7, A11: each kind of namespace is its own, also where that shows in nothing else.
#[test]
fn every_namespace_is_its_own() {
    let Some(rig) = Rig::isolated() else { return };
    let kinds = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let told = said(&rig.shell(&format!(
        "for kind in {}; do readlink /proc/self/ns/$kind; done",
        kinds.join(" ")
    )));
    let inside: Vec<&str> = told.lines().collect();
    assert_eq!(inside.len(), kinds.len(), "{told}");
    for (kind, inside) in kinds.iter().zip(inside) {
        let outside = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(inside.starts_with(kind), "{inside}");
        assert_ne!(inside, outside.to_string_lossy(), "shared with the machine");
    }
}

/// A9
#[test]
fn the_gate_of_another_architecture_ends_the_command_as_a_violation() {
    let Some(rig) = Rig::isolated() else { return };
    let (record, output) = run(&ask(&rig, "gate"));
    let told = String::from_utf8_lossy(&output.stdout.head).into_owned();
    assert_eq!(record.verdict, Verdict::SandboxViolation, "{told}");
}

/// A10
#[test]
fn nothing_can_be_typed_into_a_terminal() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&ask(&rig, "terminal"));
    assert_eq!(answers_in(&told), [("TIOCSTI", "EPERM")], "{told}");
    let told = said(&rig.shell("cat /dev/tty; ls /dev"));
    assert!(told.contains("/dev/tty: No such file"), "{told}");
}

/// B-HANDS-3; A11
#[test]
fn nothing_on_the_network_can_be_reached() {
    let Some(rig) = Rig::isolated() else { return };
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let name = format!("{}-abstract", rig.session);
    let _hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let own: Vec<String> = own_addresses();
    let told = said(&ask(&rig, &format!("network {port} {name} {}", own.join(" "))));
    let answers = answers_in(&told);
    assert!(answers.len() >= 4, "{told}");
    for (what, answer) in answers {
        assert_eq!(answer, "no", "{what} of {answer}");
    }
}

/// Addresses of this machine that are not loopback, if it has any.
fn own_addresses() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<&str> = table.lines().collect();
    let local = lines.windows(2).filter(|pair| pair[1].contains("/32 host LOCAL"));
    let mut found: Vec<String> = local
        .filter_map(|pair| pair[0].split_whitespace().last().map(str::to_owned))
        .filter(|address| !address.starts_with("127."))
        .collect();
    found.dedup();
    found
}

#[test]
fn a_server_on_the_loopback_device_inside_is_reached_from_inside() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell("cat /proc/net/dev | grep -c :; cat /sys/class/net/lo/operstate 2>&1; hostname; cat /proc/self/cgroup"));
    assert!(told.starts_with("1\n"), "one device, and it is lo: {told}");
    assert!(told.contains("sandbox\n"), "{told}");
    for line in told
        .lines()
        .filter(|line| line.contains("::/") || line.contains(":/"))
    {
        let path = line.rsplit(':').next().unwrap();
        assert!(
            ["/", "/.."].contains(&path) || !line.contains("longhaul"),
            "{line}"
        );
    }
}
