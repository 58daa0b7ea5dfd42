//! What a command could do to the machine: write, mount, gain rights, leave things behind (A6, A13, B4, B5, B8, E3).

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longhaul_hands::{State, Verdict, Walls, cancel, state};

use crate::common::leftovers::{self, Leftovers};
use crate::common::{Rig, ended, exited, groups, long, run, said, sleepers, start, text, until, watched};

/// What must not be possible, as shell commands: each says `BREACH` if it was done.
const FORBIDDEN: &[&str] = &[
    "touch /x",
    "touch /usr/x",
    "touch /bin/x",
    "touch /etc/x",
    "touch /opt/x",
    "touch /dev/x",
    "touch /proc/x",
    "touch /home/x",
    "touch /var/x",
    "mkdir /workspace/../x",
    "echo x > /etc/passwd",
    "echo 1 > /proc/sys/kernel/core_pattern",
    "echo b > /proc/sysrq-trigger",
    "chmod 777 /usr /etc /home",
    "rm -f /usr/bin/env",
    "mv /usr/bin/env /workspace/env",
    "ln /bin/sh /workspace/sh",
    "mount -t tmpfs x /tmp",
    "mount -o remount,rw /usr",
    "mount --bind /workspace /usr",
    "umount /proc/sys",
    "umount -l /usr",
    "chroot /workspace /bin/true",
    "mknod device b 7 0",
    "mknod whiteout c 0 0",
    "mknod /tmp/device c 1 1",
    "chown 0 own",
    "chown 65534 own",
    // A program of root's that gives root's rights to who calls it; without them it is none.
    "su -c true",
    "su -s /bin/sh -c true nobody",
    "cp -p /bin/su /tmp/su && chmod u+s /tmp/su && /tmp/su -c true",
    "setpriv --reuid 0 true",
    "hostname other",
    "date -s 2001-01-01",
];

/// B-HANDS-2; A6
#[test]
fn nothing_outside_its_own_folders_can_be_written() {
    let Some(rig) = Rig::isolated() else { return };
    let tries = FORBIDDEN
        .iter()
        .map(|forbidden| format!("( {forbidden} ) </dev/null && echo 'BREACH: {forbidden}'\n"));
    let line = format!(
        "touch own\n{}rm -f own env\ntouch /workspace/a /home/agent/b /tmp/c /dev/shm/d && echo all of its own",
        tries.collect::<String>()
    );
    let told = said(&rig.shell(&line));
    assert!(!told.contains("BREACH"), "{told}");
    assert!(told.contains("all of its own\n"), "{told}");
    let left: Vec<String> = std::fs::read_dir(rig.ws())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left, ["a"], "{told}");
}

/// A6: a copy of a program with the set-user-id bit makes nobody root, and no other can.
#[test]
fn a_set_user_id_program_gives_nothing() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell(
        "cp /usr/bin/id who && chmod 6755 who && ./who -u && ./who -ru; grep NoNewPrivs /proc/self/status",
    ));
    assert_eq!(told, "1000\n1000\nNoNewPrivs:\t1\n");
}

/// A6: the device number that anybody may make, and that hides files from an overlay; only Landlock denies it.
#[test]
fn no_device_of_any_kind_can_be_made() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(&rig.shell("mknod whiteout c 0 0; mkfifo pipe && echo a pipe can"));
    assert!(told.contains("a pipe can"), "{told}");
    assert!(!rig.ws().join("whiteout").exists(), "{told}");
}

/// A6
#[test]
fn it_has_no_rights_and_no_way_to_any() {
    let Some(rig) = Rig::isolated() else { return };
    let told = said(
        &rig.shell("grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '"),
    );
    let nothing = "0000000000000000";
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(told.contains(&format!("{name}: {nothing}\n")), "{name}: {told}");
    }
    assert!(
        told.contains("NoNewPrivs: 1\n") && told.contains("Seccomp: 2\n"),
        "{told}"
    );
    assert!(
        told.contains("Uid: 1000 1000 1000 1000\n") && told.contains("Gid: 1000"),
        "{told}"
    );
}

/// Nobody behind the walls has rights, and the first process of the sandbox is no exception: it was made with all of them.
#[test]
fn the_first_process_of_the_sandbox_has_no_rights_either() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, spec) = rig.shell("echo up > up; exec sleep 31536019");
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    let field = |pid: u32, name: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let command = rig.marked()[0];
    let first = field(command, "PPid:").parse().unwrap();
    assert_eq!(field(first, "NSpid:"), "1");
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        until("it has given up what it had", || {
            field(first, name) == "0000000000000000"
        });
    }
    assert_eq!(field(first, "NoNewPrivs:"), "1");
    assert!(cancel(&dir).unwrap());
    ended(&dir);
}

/// What it makes in its workspace belongs, outside, to the user that the session is, and to no other.
#[test]
fn what_it_makes_belongs_outside_to_the_user_that_it_is() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, spec) = rig.shell("touch made && stat -c %u:%g made");
    let me = rustix::process::geteuid().as_raw();
    let own = spec.walls.as_ref().and_then(|walls| walls.host_uid);
    assert_eq!(own.is_some(), me == 0, "root has a user for each session");
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (exited(0), "1000:1000\n")
    );
    let made = std::fs::metadata(rig.ws().join("made")).unwrap();
    assert_eq!(made.uid(), own.unwrap_or(me));
    if let Some(own) = own {
        assert_eq!(made.gid(), own);
        let other = Rig::new();
        assert_ne!(other.walls().host_uid, Some(own), "each session is another");
    }
}

/// As root each session is a user of its own outside, and no file of the machine belongs to it.
#[test]
fn seen_from_outside_it_is_never_root() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, spec) = rig.shell("echo up > up; sleep 31536021");
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    let uid = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:").map(str::to_owned));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok())
    };
    let seen: Vec<Option<u32>> = rig.marked().iter().map(uid).collect();
    let me = rustix::process::geteuid();
    let expected = spec
        .walls
        .as_ref()
        .and_then(|walls| walls.host_uid)
        .unwrap_or(me.as_raw());
    assert!(
        !seen.is_empty() && seen.iter().all(|uid| *uid == Some(expected)),
        "{seen:?}"
    );
    assert_ne!(expected, 0);
    assert!(cancel(&dir).unwrap());
    assert_eq!(ended(&dir).0.verdict, Verdict::Canceled);
}

/// B-HANDS-2; A13: planted from inside, by who is root of nothing.
#[test]
fn what_a_command_plants_leads_no_file_tool_astray() {
    let Some(rig) = Rig::isolated() else { return };
    let secret = rig.path().join("secret");
    std::fs::write(&secret, "untouched").unwrap();
    let outside = secret.display();
    let line = format!(
        "ln -s {outside} a; ln -s / b; ln -s /proc/self/root c; mkfifo d; ln -s ../secret e; mkdir f; ln -s .. f/g"
    );
    assert_eq!(run(&rig.shell(&line)).0.verdict, exited(0));
    let files = longhaul_hands::Workspace::open(&rig.ws()).unwrap();
    let inside = format!("b{outside}");
    for path in ["a", "d", "e", "c/etc/passwd", "f/g/../secret", &inside] {
        let path = std::path::Path::new(path);
        assert!(files.read(path, 1 << 20).is_err(), "{}", path.display());
        assert!(files.write(path, b"changed").is_err(), "{}", path.display());
        assert!(files.edit(path, "un", "", None).is_err(), "{}", path.display());
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "untouched");
}

/// What a file tool makes, a command can change, and the other way round: both are the session.
#[test]
fn files_made_by_tools_and_by_commands_belong_to_the_same() {
    let Some(rig) = Rig::isolated() else { return };
    rig.walls();
    let files = longhaul_hands::Workspace::open(&rig.ws()).unwrap();
    files
        .write(std::path::Path::new("deep/er/made"), b"by a tool\n")
        .unwrap();
    let told = said(&rig.shell(
        "echo and a command >> deep/er/made && touch deep/er/beside && cat deep/er/made && echo x > theirs",
    ));
    assert_eq!(told, "by a tool\nand a command\n");
    files
        .edit(std::path::Path::new("theirs"), "x", "y", None)
        .unwrap();
    assert_eq!(said(&rig.shell("echo z >> theirs && cat theirs")), "y\nz\n");
}

/// B-HANDS-1, B-STUCK-1; B4
#[test]
fn what_ignores_every_signal_ends_at_its_deadline() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) =
        rig.shell("trap '' TERM INT HUP; (setsid sleep 31536022 &) ; echo up; sleep 31536023");
    (spec.wall_ms, spec.grace_ms) = (Some(2_000), 100);
    let (record, output) = run(&(dir, spec));
    assert!(
        matches!(record.verdict, Verdict::Timeout { limit_ms: 2_000, .. }),
        "{record:?}"
    );
    assert_eq!(text(&output.stdout.head), "up\n");
    assert_eq!((record.survivors, rig.marked()), (vec![], vec![]));
}

#[test]
fn a_polite_command_uses_its_grace_behind_walls_too() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) = rig.shell("trap 'echo bye; exit 3' TERM; while :; do sleep 0.01; done");
    (spec.wall_ms, spec.grace_ms) = (Some(2_000), 600_000);
    let (record, output) = run(&(dir, spec));
    assert!(matches!(record.verdict, Verdict::Timeout { .. }), "{record:?}");
    assert_eq!(text(&output.stdout.head), "bye\n");
}

/// B-HANDS-1; B5
#[test]
fn a_daemon_left_behind_is_gone_with_its_sandbox() {
    let Some(rig) = Rig::isolated() else { return };
    let time = long(31_536_024);
    let daemon = format!(
        "env -i setsid sh -c 'echo > up; exec sleep {time}' & while [ ! -e up ]; do :; done; echo ok"
    );
    let (record, output) = run(&rig.shell(&daemon));
    assert_eq!((record.verdict, text(&output.stdout.head)), (exited(0), "ok\n"));
    // It holds the output, and nobody waits for it. A second at most on a machine with nothing else to do.
    assert!(record.wall_ms < 15_000, "it took {} ms", record.wall_ms);
    assert_eq!(record.survivors, [] as [u32; 0]);
    assert_eq!(
        sleepers(&time),
        [] as [u32; 0],
        "it had no mark and another session, and is gone all the same"
    );
}

/// B-HANDS-1; B8
#[test]
fn output_is_kept_as_bytes_behind_walls_too() {
    let Some(rig) = Rig::isolated() else { return };
    let (_, output) = run(&rig.shell(r"printf '\033]0;x\a\000\377'"));
    assert_eq!(output.stdout.head, b"\x1b]0;x\x07\x00\xff");
}

/// How it ends is told through two processes, and must arrive unchanged.
#[test]
fn exits_signals_and_failures_are_told_from_each_other() {
    let Some(rig) = Rig::isolated() else { return };
    assert_eq!(run(&rig.shell("exit 7")).0.verdict, exited(7));
    let died = Verdict::Signaled {
        signal: libc::SIGSEGV,
    };
    assert_eq!(run(&rig.shell("kill -SEGV $$")).0.verdict, died);
    std::fs::write(rig.ws().join("plain"), "#!/bin/sh\n").unwrap();
    for (program, errno) in [
        ("no-such-program", libc::ENOENT),
        ("./none", libc::ENOENT),
        ("./plain", libc::EACCES),
    ] {
        let verdict = run(&rig.argv(&[program])).0.verdict;
        assert!(
            matches!(&verdict, Verdict::ExecFailed { errno: found, .. } if *found == errno),
            "{program}: {verdict:?}"
        );
    }
    std::os::unix::fs::symlink("/", rig.ws().join("out")).unwrap();
    for (cwd, errno) in [("out", libc::EXDEV), ("missing", libc::ENOENT)] {
        let (dir, mut spec) = rig.shell("pwd");
        spec.cwd = cwd.into();
        let refused = Verdict::SandboxError {
            step: "cwd".to_owned(),
            errno,
        };
        assert_eq!(run(&(dir, spec)).0.verdict, refused, "{cwd}");
    }
}

#[test]
fn its_home_is_kept_and_its_tmp_is_not() {
    let Some(rig) = Rig::isolated() else { return };
    assert_eq!(
        said(&rig.shell("echo $HOME $TMPDIR $PWD; echo 1 > ~/kept; echo 2 > $TMPDIR/gone")),
        "/home/agent /tmp /workspace\n"
    );
    assert_eq!(said(&rig.shell("cat ~/kept; ls /tmp")), "1\n");
}

#[test]
fn scratch_room_is_bounded() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) = rig.shell(
        "head -c 8000000 /dev/zero > /tmp/x; echo $?; head -c 8000000 /dev/zero > /dev/shm/x; echo $?",
    );
    spec.walls = Some(Walls {
        tmp_bytes: 4 << 20,
        ..rig.walls()
    });
    let told = said(&(dir, spec));
    assert_eq!(told.matches("No space left").count(), 2, "{told}");
}

/// A toolchain in somebody's home can be shown, and cannot be changed.
#[test]
fn a_folder_that_is_shown_can_be_read_and_not_written() {
    let Some(rig) = Rig::isolated() else { return };
    // The system is shown in the same way. It is the mount that forbids, before any right is looked at.
    let told = said(&rig.shell("touch /usr/x"));
    assert!(told.contains("Read-only"), "{told}");
    let here = std::env::current_exe().unwrap();
    let folder = here.parent().unwrap();
    if folder.starts_with("/tmp") || folder.starts_with("/home/agent") {
        return; // A command has these of its own.
    }
    let (dir, mut spec) = rig.shell(&format!("ls {0} | wc -l; touch {0}/x", folder.display()));
    spec.walls = Some(Walls {
        read_only: vec![folder.to_owned()],
        ..rig.walls()
    });
    let told = said(&(dir, spec));
    assert!(!told.starts_with("0\n") && told.contains("Read-only"), "{told}");
}

/// The user's own git executes what these say; a session that works in place can neither change nor move them.
#[test]
fn what_is_protected_in_the_workspace_stays_as_it_is() {
    let Some(rig) = Rig::isolated() else { return };
    std::fs::create_dir_all(rig.ws().join(".git/hooks")).unwrap();
    std::fs::write(rig.ws().join(".git/config"), "[core]\n").unwrap();
    let (dir, mut spec) = rig.shell(
        "echo evil >> .git/config; echo evil > .git/hooks/pre-commit; mv .git git2; rm -r .git; mv .git/hooks x; \
         rm .git/config; ln -sf /tmp/x .git/config; echo fine > .git/HEAD; ls -A",
    );
    spec.walls = Some(Walls {
        protected: vec![".git/config".into(), ".git/hooks".into()],
        ..rig.walls()
    });
    let told = said(&(dir, spec));
    assert_eq!(rig.file(".git/config"), "[core]\n", "{told}");
    assert!(
        !rig.ws().join(".git/hooks/pre-commit").exists() && !rig.ws().join("git2").exists(),
        "{told}"
    );
    assert_eq!(rig.file(".git/HEAD"), "fine\n", "{told}");
}

/// E3. Counted in a process that does nothing else: descriptors and children that have ended are its own then.
#[test]
fn many_commands_leave_nothing_behind() {
    let Some(rig) = Rig::isolated() else { return };
    if std::env::var_os("ALONE").is_none() {
        let this = "machine::many_commands_leave_nothing_behind";
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", this]).env("ALONE", "1");
        let mut child = again.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut told = watched::Heard::of(child.stdout.take().unwrap());
        let give_up = Instant::now() + Duration::from_secs(if is_deep() { 1_200 } else { 300 });
        let status = watched::ends(&mut child, give_up);
        let _ = child.kill();
        told.hear_to_the_end(Instant::now() + Duration::from_secs(5));
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}: {}",
            told.text()
        );
        return;
    }
    let time = long(31_536_025);
    let line = format!("echo x > /tmp/x; (sleep {time} &); true");
    run(&rig.shell(&line));
    let before = Leftovers::now();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let open = descriptors();
    let mut of_a_command = 0;
    for _ in 0..if is_deep() { 500 } else { 100 } {
        let (dir, spec) = rig.shell(&line);
        start(&dir, &spec);
        of_a_command = of_a_command.max(leftovers::groups(&rig.session).len());
        let (record, _) = ended(&dir);
        assert_eq!((record.verdict, record.survivors), (exited(0), vec![]));
    }
    assert_eq!(descriptors(), open, "descriptors of who launches them");
    assert_eq!(
        dead_children(),
        [] as [String; 0],
        "children that nobody has waited for"
    );
    assert_eq!(rig.marked(), [] as [u32; 0]);
    assert_eq!(sleepers(&time), [] as [u32; 0]);
    assert!(
        groups().is_none() || of_a_command > 0,
        "the search would find a group"
    );
    assert_eq!(leftovers::groups(&rig.session), [] as [String; 0]);
    assert_eq!(before.left_since(), BTreeSet::new(), "namespaces and mounts");
}

fn is_deep() -> bool {
    std::env::var_os("LONGHAUL_TEST_DEEP").is_some()
}

/// The zombies of this process.
fn dead_children() -> Vec<String> {
    let mine = format!(") Z {} ", std::process::id());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.contains(&mine))
        .collect()
}

/// What the test above looks for is found when it is there.
#[test]
fn a_namespace_that_somebody_still_holds_would_be_seen() {
    let Some(rig) = Rig::isolated() else { return };
    let before = Leftovers::now();
    let (dir, spec) = rig.shell("echo up > up; exec env -i sleep 31536018");
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    until("what has wiped its mark is seen by its namespaces", || {
        let seen = before.since();
        let kinds = ["net:[", "mnt:[", "pid:[", "ipc:["];
        kinds
            .iter()
            .all(|kind| seen.iter().any(|name| name.starts_with(kind)))
    });
    assert!(cancel(&dir).unwrap());
    ended(&dir);
}

#[test]
fn a_running_command_is_found_and_canceled_behind_walls() {
    let Some(rig) = Rig::isolated() else { return };
    let (dir, mut spec) = rig.shell("echo up > up; setsid sleep 31536026 & sleep 31536027");
    spec.wall_ms = None;
    start(&dir, &spec);
    until("it is up", || rig.ws().join("up").exists());
    assert!(matches!(state(&dir).unwrap(), State::Running { .. }));
    assert!(cancel(&dir).unwrap());
    assert_eq!(ended(&dir).0.verdict, Verdict::Canceled);
    assert_eq!(rig.marked(), [] as [u32; 0]);
}
