//! What belongs to the runtime and to the machine: keys, descriptors, other processes, files, evidence (A1 to A3, A5, A14).

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use longhaul_hands::cancel;

use crate::common::{Rig, ended, run, said, shims_of, start, text, until, watched};

const CANARY: &str = "a-key-that-nobody-may-see-0d15ea5e";

/// B-SECRET-1; A1
#[test]
fn a_key_in_the_environment_of_the_runtime_is_nowhere_inside() {
    let Some(rig) = Rig::isolated() else { return };
    if std::env::var("CANARY").is_err() {
        // Once more, as a runtime with a key.
        let this = "secrets::a_key_in_the_environment_of_the_runtime_is_nowhere_inside";
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", this]).env("CANARY", CANARY);
        let output = watched::output(again.stdin(Stdio::null()));
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let command = rig.shell("env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'; cat /proc/1/environ");
    let told = said(&command);
    assert!(told.contains("LONGHAUL_STEP"), "it saw its own: {told}");
    assert!(!told.contains(CANARY), "{told}");
    for file in std::fs::read_dir(&command.0).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!holds_the_canary(&bytes));
    }

    // Its shim, which stands outside, has never had it.
    let (dir, spec) = rig.shell("echo up > up; exec sleep 31536020");
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    for shim in shims_of(&dir) {
        match memory_of(shim) {
            Ok(pieces) => {
                let of_its_own = dir.as_os_str().as_bytes();
                let seen = |what: &[u8]| pieces.iter().any(|piece| holds(piece, what));
                assert!(seen(of_its_own), "it knows its own folder");
                assert!(!pieces.iter().any(|piece| holds_the_canary(piece)));
            }
            // Nor can anybody but root look.
            Err(error) => assert!(
                error.kind() == ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root(),
                "{error}"
            ),
        }
    }
    assert!(cancel(&dir).unwrap());
    ended(&dir);
}

fn holds_the_canary(bytes: &[u8]) -> bool {
    holds(bytes, CANARY.as_bytes())
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// All that a process can write to in its memory.
fn memory_of(pid: u32) -> std::io::Result<Vec<Vec<u8>>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut pieces = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut piece = vec![0; usize::try_from(to - from).unwrap()];
        // What cannot be read is no memory, but a door to a device.
        if memory.read_exact_at(&mut piece, from).is_ok() {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

/// A2
#[test]
fn the_first_process_of_the_sandbox_cannot_be_seen_or_touched() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell(
        "ls -d /proc/1; cat /proc/1/environ /proc/1/maps /proc/1/mem; ls -l /proc/1/fd /proc/1/exe; kill -9 1; echo $?; \
         ls -d /proc/[0-9]* | wc -l",
    ));
    assert_eq!(told.matches("No such file or directory").count(), 6, "{told}");
    let numbers: Vec<u32> = told.lines().filter_map(|line| line.trim().parse().ok()).collect();
    // A kill of init is not even an error to its own children; it does nothing.
    assert!(
        numbers.last().is_some_and(|processes| *processes <= 4),
        "only its own processes: {told}"
    );
}

/// A3
#[test]
fn no_descriptor_of_the_runtime_is_inherited() {
    let Some(rig) = Rig::isolated() else { return };
    let secret = rig.path().join("secret");
    std::fs::write(&secret, CANARY).unwrap();
    let file = File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let number = file.as_raw_fd();
    let told = said(&rig.shell(&format!(
        "cat <&{number}; ls /proc/self/fd; ls -l /proc/self/fd >&2"
    )));
    assert!(!told.contains(CANARY), "{told}");
    // The fourth is the folder that `ls` reads.
    let seen: Vec<&str> = told.lines().take_while(|line| line.len() < 3).collect();
    assert_eq!(seen, ["0", "1", "2", "3"], "{told}");
}

/// A5
#[test]
fn files_of_the_machine_are_not_there() {
    let Some(rig) = Rig::isolated() else { return };
    std::fs::write(rig.path().join("secret"), CANARY).unwrap();
    let outside = rig.path().display().to_string();
    let told = said(&rig.shell(&format!(
        "cat /etc/shadow /etc/gshadow /etc/sudoers {outside}/secret; ls /root /run /sys /boot /mnt /srv /media; \
         cat /proc/self/root{outside}/secret /workspace/../..{outside}/secret; ls /home /; cat /etc/passwd /proc/cmdline"
    )));
    assert!(!told.contains(CANARY), "{told}");
    for line in told
        .lines()
        .filter(|line| line.starts_with("cat: ") || line.starts_with("ls: "))
    {
        assert!(line.contains("No such file"), "{line}");
    }
    assert_eq!(told.matches("No such file").count(), 13, "{told}");
    let users: Vec<&str> = told
        .lines()
        .filter(|line| line.matches(':').count() == 6)
        .collect();
    assert_eq!(users.len(), 3, "root, agent and nobody: {told}");
}

/// A14
#[test]
fn the_evidence_of_a_command_is_not_reachable_from_it() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) = rig.shell(
        "cat >/dev/null; for name in spec claim exit; do find / -name $name.json 2>/dev/null; done; \
         ls -l /proc/self/fd; echo forged > /proc/self/fd/0; cat < /dev/stdin",
    );
    spec.stdin = b"words".to_vec();
    let (_, output) = run(&(dir.clone(), spec));
    let told = text(&output.stdout.head);
    assert!(!told.contains(".json"), "{told}");
    assert!(!told.contains(&dir.display().to_string()), "{told}");
    assert_eq!(std::fs::read(dir.join("stdin")).unwrap(), b"words");
}
