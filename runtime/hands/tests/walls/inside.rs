//! The questions that only system calls can ask, asked from inside the walls by a copy of this binary.
#![allow(
    unsafe_code,
    reason = "raw system calls with plain arguments are what is tested"
)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use longhaul_hands::Spec;

use crate::common::Rig;

/// The variable that names the question.
pub(crate) const ASKED: &str = "INSIDE";

/// A command that asks `question` from behind the rig's walls.
pub(crate) fn ask(rig: &Rig, question: &str) -> (PathBuf, Spec) {
    let copy = rig.ws().join("inside");
    if !copy.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    }
    let words = ["./inside", "--exact", "inside::answers", "--nocapture"];
    let (dir, mut spec) = rig.argv(&words);
    spec.env.push((ASKED.to_owned(), question.to_owned()));
    // Where nothing stands in their way, some of the calls stop who makes them.
    spec.wall_ms = Some(12_000);
    (dir, spec)
}

/// The lines of the form `name answer` that it gave.
pub(crate) fn answers_in(text: &str) -> Vec<(&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("answer ")?.split_once(' '))
        .collect()
}

/// No test by itself: the part of the others that runs inside.
#[test]
fn answers() {
    let Ok(question) = std::env::var(ASKED) else {
        return;
    };
    let (question, about) = question.split_once(' ').unwrap_or((&question, ""));
    match question {
        "families" => families(),
        "calls" => calls(),
        "gate" => gate(),
        "terminal" => tell("TIOCSTI", ioctl_tiocsti()),
        "network" => network(about),
        "shim-without-landlock" => shim_without_landlock(about),
        other => panic!("{other}?"),
    }
    std::io::stdout().flush().unwrap();
}

/// Becomes the shim that is to be probed, on a kernel that seems to have no Landlock; what it says goes to descriptor 3.
fn shim_without_landlock(shim: &str) {
    let call = u32::try_from(libc::SYS_landlock_create_ruleset).unwrap();
    let code = |code: u32| u16::try_from(code).unwrap();
    let line = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = [
        // The number of the call stands first in what a filter sees.
        line(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0),
        line(code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), call, 1),
        line(
            code(libc::BPF_RET),
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
            0,
        ),
        line(code(libc::BPF_RET), libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true).unwrap();
    // SAFETY: the program and its lines live until the call returns; the kernel copies them.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the script that begins this process has put the answer's place at 3.
    let answer = unsafe { std::os::fd::BorrowedFd::borrow_raw(3) };
    rustix::stdio::dup2_stdout(answer).unwrap();
    let error = std::process::Command::new(shim).arg("shim-probe").exec();
    panic!("{error}");
}

fn tell(name: &str, answer: i64) {
    let word = if answer >= 0 {
        "done".to_owned()
    } else {
        errno_name()
    };
    println!("\nanswer {name} {word}");
}

fn errno_name() -> String {
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EPERM) => "EPERM".to_owned(),
        Some(libc::ENOSYS) => "ENOSYS".to_owned(),
        other => format!("errno{}", other.unwrap_or(0)),
    }
}

fn families() {
    for (name, family) in [
        ("unix", libc::AF_UNIX),
        ("inet", libc::AF_INET),
        ("inet6", libc::AF_INET6),
        ("netlink", libc::AF_NETLINK),
        ("packet", libc::AF_PACKET),
        ("vsock", libc::AF_VSOCK),
        ("alg", libc::AF_ALG),
        ("bluetooth", libc::AF_BLUETOOTH),
        ("can", libc::AF_CAN),
        ("tipc", libc::AF_TIPC),
        ("xdp", libc::AF_XDP),
        ("key", libc::AF_KEY),
    ] {
        // SAFETY: takes integers only.
        tell(
            name,
            i64::from(unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) }),
        );
    }
}

fn calls() {
    let zero = [0_u64; 32];
    let at = zero.as_ptr() as libc::c_long;
    let user = libc::c_long::from(libc::CLONE_NEWUSER);
    for (name, number, args) in [
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, at, 0, 0]),
        ("bpf", libc::SYS_bpf, [0, at, 120, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, [at, 0, -1, -1]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [at, at, at, 1]),
        ("keyctl", libc::SYS_keyctl, [0, -3, 0, 0]),
        ("request_key", libc::SYS_request_key, [at, at, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, at, 1, at]),
        ("unshare", libc::SYS_unshare, [user, 0, 0, 0]),
        ("setns", libc::SYS_setns, [0, 0, 0, 0]),
        (
            "clone",
            libc::SYS_clone,
            [user | libc::c_long::from(libc::SIGCHLD), 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, [at, 64, 0, 0]),
        ("mount", libc::SYS_mount, [at, at, at, 0]),
        ("pivot_root", libc::SYS_pivot_root, [at, at, 0, 0]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, [0, at, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 0, at, 0]),
        ("x32", 0x4000_0000 + libc::SYS_getpid, [0, 0, 0, 0]),
        // Last: who is traced stands still at the next signal.
        ("ptrace", libc::SYS_ptrace, [0, 0, 0, 0]),
    ] {
        let [a, b, c, d] = args;
        // SAFETY: every pointer is to the zeroes above, which outlive the call; a call that is not denied reads them.
        let answer = unsafe { libc::syscall(number, a, b, c, d) };
        if answer == 0 && name == "clone" {
            // A child that should not be.
            std::process::exit(0);
        }
        tell(name, answer);
    }
}

/// The way into the kernel that 32-bit programs take.
#[cfg(target_arch = "x86_64")]
fn gate() {
    let mut number = 20_u64; // getpid there
    // SAFETY: asks for the process id; changes the one register only.
    unsafe { std::arch::asm!("int 0x80", inout("rax") number) };
    println!("\nanswer gate {number}");
}

#[cfg(not(target_arch = "x86_64"))]
fn gate() {
    // SAFETY: ends the process as the gate would, where there is no such gate.
    unsafe { libc::raise(libc::SIGSYS) };
}

fn ioctl_tiocsti() -> i64 {
    let letter = b'x';
    // SAFETY: the kernel reads one byte.
    i64::from(unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const letter) })
}

/// `about` is the port of a listener on the machine, the name of an abstract socket there, and an address of its own.
fn network(about: &str) {
    let mut words = about.split(' ');
    let port = words.next().and_then(|word| word.parse().ok()).unwrap();
    let name = words.next().unwrap();
    let reach = |what: &str, to: SocketAddr| {
        let connected = TcpStream::connect_timeout(&to, Duration::from_secs(3));
        println!(
            "\nanswer {what} {}",
            if connected.is_ok() { "reached" } else { "no" }
        );
    };
    reach("loopback", (Ipv4Addr::LOCALHOST, port).into());
    reach("metadata", (Ipv4Addr::new(169, 254, 169, 254), 80).into());
    for own in words {
        reach("own", format!("{own}:{port}").parse().unwrap());
    }
    let udp = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"?", "192.0.2.1:53"));
    println!("\nanswer dns {}", if udp.is_ok() { "reached" } else { "no" });
    let hidden = UnixAddr::from_abstract_name(name).and_then(|to| UnixStream::connect_addr(&to));
    println!(
        "\nanswer abstract {}",
        if hidden.is_ok() { "reached" } else { "no" }
    );
}
