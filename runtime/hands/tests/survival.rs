//! Who may be killed, and what is still true afterwards: the runtime, the shim, the machine, the binary.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::leftovers::{self, Leftovers};
use common::watched;
use common::{
    Rig, come_up, ended, exited, groups, groups_left, kill_9, long, run, settled, shim_exe, shims_of,
    sleepers, start, text, until,
};
use longhaul_hands::{
    Claim, Launched, PROTOCOL, Spec, State, UnknownCause, Verdict, kill_all, launch, recover, state, wait,
};
use rustix::fs::{FlockOperation, fcntl_lock};

const ROLE: &str = "LONGHAUL_HANDS_TEST_ROLE";
const DIR: &str = "LONGHAUL_HANDS_TEST_DIR";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test by itself: the second process that some tests need, played by this very program.
#[test]
fn the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    match role.as_str() {
        "launch" => {
            let ws = dir.parent().unwrap().join("ws");
            let session = std::env::var("SESSION").unwrap();
            let line = "while [ ! -e go ]; do sleep 0.01; done; echo run >> effects; echo result; exit 5";
            start(&dir, &Spec::shell(&session, 1, line, &ws, dir.parent().unwrap()));
        }
        "launch among faults" => {
            let rig = dir.parent().unwrap();
            // Whatever is refused or lost on the way is what is looked for afterwards.
            drop(launch(
                shim_exe(),
                &dir,
                &faulty(&std::env::var("SESSION").unwrap(), rig),
            ));
            drop(wait(&dir, Some(Instant::now() + Duration::from_secs(10)), None));
            return;
        }
        "lock" => {
            let lock = File::create(dir.join("lock")).unwrap();
            fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            std::mem::forget(lock);
        }
        "full disk" => return full_disk(&dir),
        other => panic!("no role {other}"),
    }
    println!("\nready");
    loop {
        std::thread::park();
    }
}

fn play(role: &str, dir: &Path, session: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_other_process", "--nocapture"])
        .envs([(ROLE, role), ("SESSION", session)])
        .env(DIR, dir)
        .process_group(0);
    come_up(role, &mut command)
}

/// B-CRASH-2; hands test C1
#[test]
fn a_command_goes_on_when_the_runtime_is_killed_and_its_result_is_collected() {
    let rig = Rig::new();
    let dir = rig.shell("").0;
    let mut runtime = play("launch", &dir, &rig.session);
    // All of its group, as a terminal or a supervisor does it.
    let group = rustix::process::Pid::from_child(&runtime);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    runtime.wait().unwrap();
    assert!(matches!(state(&dir).unwrap(), State::Running { .. }));
    std::fs::write(rig.ws().join("go"), "").unwrap();
    let (record, output) = ended(&dir);
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (exited(5), "result\n")
    );
    assert_eq!(rig.file("effects"), "run\n");
}

/// B-CRASH-1; hands test C3
#[test]
fn twenty_starters_have_one_effect() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("echo run >> effects");
    let all: Vec<Launched> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..20).map(|_| scope.spawn(|| start(&dir, &spec))).collect();
        starters
            .into_iter()
            .map(|starter| starter.join().unwrap())
            .collect()
    });
    assert_eq!(
        all.iter()
            .filter(|launched| **launched == Launched::Started)
            .count(),
        1,
        "{all:?}"
    );
    assert_eq!(ended(&dir).0.verdict, exited(0));
    assert_eq!(rig.file("effects"), "run\n");
    assert_eq!(start(&dir, &spec), Launched::AlreadyTaken, "nor later");
    assert_eq!(rig.file("effects"), "run\n");
}

/// B-CRASH-1, B-CRASH-3; hands test C2: whatever the instant, a verdict once seen stays, and nothing runs twice.
#[test]
fn a_shim_killed_at_any_instant_loses_nothing_and_doubles_nothing() {
    kill_shims(false);
}

/// The same behind walls: where init dies with the shim, and everything with init.
#[test]
fn a_shim_killed_at_any_instant_takes_its_sandbox_with_it() {
    kill_shims(true);
}

/// 500 kills with `LONGHAUL_TEST_DEEP`, else enough to notice when something is wrong.
fn kill_shims(walled: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let usual = if std::env::var_os("LONGHAUL_TEST_DEEP").is_some() {
        500
    } else {
        40
    };
    let rounds = number("LONGHAUL_SHIM_KILLS").unwrap_or(usual);
    let chosen = std::env::var("LONGHAUL_TEST_SEED").ok();
    let chosen = chosen.and_then(|text| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    });
    let seed = chosen.unwrap_or_else(|| u64::from(std::process::id()));
    println!("LONGHAUL_TEST_SEED={seed} LONGHAUL_SHIM_KILLS={rounds}");
    let mut random = seed | 1;
    let (mut not_started, mut finished, mut unknown) = (0, 0, 0);
    let rig = Rig::new();
    let sleep = long(if walled { 31_536_025 } else { 31_536_009 });
    let before = Leftovers::now();
    let command = |line: &str| {
        let command = rig.shell(line);
        if walled { rig.walled(command) } else { command }
    };
    // Kills are spread over the time that such a command takes here and now, however busy the machine is.
    let once = |_| {
        let begun = Instant::now();
        run(&command("sleep 0.005; echo done"));
        begun.elapsed()
    };
    let span = (0..3).map(once).min().unwrap();
    for round in 0..rounds {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let effects = format!("effects-{round}");
        // In a control group even what wipes its mark is found again; without one it would not be.
        let wiped = if walled || groups().is_some() {
            "env -i"
        } else {
            ""
        };
        let line = format!("echo run >> {effects}; {wiped} setsid sleep {sleep} & sleep 0.005; echo done");
        let (dir, spec) = command(&line);
        std::thread::scope(|scope| {
            // The answer is worth nothing here: its shim is being killed.
            scope.spawn(|| drop(launch(shim_exe(), &dir, &spec)));
            let part = u32::try_from(random % 1_000).unwrap();
            std::thread::sleep(span * part / 1_000);
            shims_of(&dir).into_iter().for_each(kill_9);
        });
        // A shim forked while we looked may have escaped. Then it simply finishes; but it may not have claimed yet.
        until("it has claimed, or is gone", || {
            state(&dir).unwrap() != State::NotStarted || shims_of(&dir).is_empty()
        });
        let seen = settled(&dir);
        let context = format!("seed {seed}, round {round}, {seen:?}");
        let recovery = recover(std::slice::from_ref(&dir)).unwrap();
        assert_eq!(recovery.states, [(dir.clone(), seen.clone())], "{context}");
        assert_eq!(recovery.survivors, [] as [u32; 0], "{context}");
        assert_eq!(rig.marked(), [] as [u32; 0], "{context}");
        assert_eq!(groups_left(&dir), [] as [PathBuf; 0], "{context}");
        match seen {
            State::NotStarted => {
                not_started += 1;
                assert_eq!(rig.file(&effects), "", "{context}");
                assert_eq!(start(&dir, &spec), Launched::Started, "{context}");
                let (record, output) = ended(&dir);
                assert_eq!(
                    (record.verdict, text(&output.stdout.head)),
                    (exited(0), "done\n"),
                    "{context}"
                );
                assert_eq!(rig.file(&effects), "run\n", "{context}");
            }
            State::Exited(ref record) => {
                finished += 1;
                assert_eq!(record.verdict, exited(0), "{context}");
                assert_eq!(
                    (text(&ended(&dir).1.stdout.head), rig.file(&effects).as_str()),
                    ("done\n", "run\n"),
                    "{context}"
                );
                assert_eq!(start(&dir, &spec), Launched::AlreadyTaken, "{context}");
                assert_eq!(state(&dir).unwrap(), seen, "{context}");
            }
            State::Unknown(UnknownCause::ShimDied) => {
                unknown += 1;
                let before = rig.file(&effects);
                assert!(before.is_empty() || before == "run\n", "{context}");
                assert_eq!(start(&dir, &spec), Launched::AlreadyTaken, "{context}");
                assert_eq!(
                    (rig.file(&effects), state(&dir).unwrap()),
                    (before, seen.clone()),
                    "{context}"
                );
            }
            other => panic!("{context}: {other:?}"),
        }
    }
    until("no process is left", || sleepers(&sleep).is_empty());
    assert_eq!(before.left_since(), BTreeSet::new(), "namespaces and mounts");
    assert_eq!(leftovers::groups(&rig.session), [] as [String; 0]);
    println!("not started {not_started}, finished {finished}, unknown {unknown}");
    assert!(
        unknown > 0,
        "no kill has hit a running shim, the test proved nothing"
    );
}

/// Hands test C5. The lock is held by a living process in each case, so that only identity can tell.
#[test]
fn a_claim_whose_shim_is_another_process_or_a_zombie_never_reads_running() {
    let rig = Rig::new();
    let dir = rig.shell("").0;
    std::fs::create_dir(&dir).unwrap();
    let mut locker = play("lock", &dir, "");
    assert_eq!(state(&dir).unwrap(), State::Starting, "locked and not claimed");

    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap()
        .trim()
        .to_owned();
    let claim = |pid: u32, start_time: u64, boot_id: &str| {
        let claim = Claim {
            protocol: PROTOCOL,
            boot_id: boot_id.to_owned(),
            pid,
            start_time,
            tag: "none/0".into(),
            groups: vec![],
        };
        std::fs::write(dir.join("claim.json"), serde_json::to_vec(&claim).unwrap()).unwrap();
    };
    let mine = std::process::id();
    claim(mine, start_time(mine), &boot_id);
    assert_eq!(
        state(&dir).unwrap(),
        State::Running { shim_pid: mine },
        "the forgery is good enough to bite"
    );
    claim(mine, start_time(mine) + 1, &boot_id);
    assert_eq!(
        state(&dir).unwrap(),
        State::Unknown(UnknownCause::ShimDied),
        "a reused pid"
    );
    claim(mine, start_time(mine), "another-boot");
    assert_eq!(state(&dir).unwrap(), State::Unknown(UnknownCause::Reboot));
    let mut zombie = Command::new("true").spawn().unwrap();
    let born = start_time(zombie.id());
    until("it is a zombie", || stat(zombie.id()).contains(") Z "));
    claim(zombie.id(), born, &boot_id);
    assert_eq!(
        state(&dir).unwrap(),
        State::Unknown(UnknownCause::ShimDied),
        "a zombie"
    );
    std::fs::write(dir.join("claim.json"), "{\"protocol\":1,\"boot").unwrap();
    assert_eq!(state(&dir).unwrap(), State::Unknown(UnknownCause::Torn));

    claim(mine, start_time(mine), &boot_id);
    locker.kill().unwrap();
    locker.wait().unwrap();
    assert_eq!(
        state(&dir).unwrap(),
        State::Unknown(UnknownCause::ShimDied),
        "nobody holds the lock"
    );
    zombie.wait().unwrap();
}

fn stat(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap()
}

fn start_time(pid: u32) -> u64 {
    stat(pid)
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(19)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_torn_exit_record_is_unknown_and_not_run_again() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("echo run >> effects");
    run(&(dir.clone(), spec.clone()));
    std::fs::write(dir.join("exit.json"), "{\"protocol\":1,").unwrap();
    assert_eq!(state(&dir).unwrap(), State::Unknown(UnknownCause::Torn));
    assert_eq!(start(&dir, &spec), Launched::AlreadyTaken);
    assert_eq!(rig.file("effects"), "run\n");
}

/// Hands test C6
#[test]
fn a_binary_replaced_while_its_shim_runs_does_not_matter() {
    let rig = Rig::new();
    let exe = rig.path().join("program");
    std::fs::copy(shim_exe(), &exe).unwrap();
    let (dir, spec) = rig.shell("while [ ! -e go ]; do sleep 0.01; done; echo old");
    assert_eq!(launch_busy(&exe, &dir, &spec), Launched::Started);
    std::fs::write(rig.path().join("new"), "not a program").unwrap();
    std::fs::rename(rig.path().join("new"), &exe).unwrap();
    std::fs::write(rig.ws().join("go"), "").unwrap();
    assert_eq!(text(&ended(&dir).1.stdout.head), "old\n");
}

/// Another test may fork while the copy is open for writing, and hold it busy for an instant.
fn launch_busy(exe: &Path, dir: &Path, spec: &Spec) -> Launched {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match launch(exe, dir, spec) {
            Err(longhaul_hands::LaunchError::NotStarted { source, .. })
                if source.kind() == std::io::ErrorKind::ExecutableFileBusy && Instant::now() < give_up => {}
            launched => return launched.unwrap(),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// B-STOP-1
#[test]
fn killing_a_session_ends_every_command_and_every_left_over_and_no_other_session() {
    let (rig, other) = (Rig::new(), Rig::new());
    let (bystander, spec) = other.shell("sleep 31536010");
    start(&bystander, &spec);
    let mut dirs = Vec::new();
    for line in [
        "sleep 31536011",
        "trap '' TERM; while :; do sleep 31536012; done",
        "setsid sleep 31536013 & echo > up; sleep 31536014",
    ] {
        let (dir, mut spec) = rig.shell(line);
        (spec.wall_ms, spec.grace_ms) = (None, 100);
        start(&dir, &spec);
        dirs.push(dir);
    }
    until("the daemon is up", || rig.ws().join("up").exists());
    // The third loses its shim, and with it whoever knew of the daemon.
    shims_of(&dirs[2]).into_iter().for_each(kill_9);
    until("the shim is gone", || {
        state(&dirs[2]).unwrap() == State::Unknown(UnknownCause::ShimDied)
    });
    assert_eq!(
        kill_all(&rig.session, &dirs, Duration::from_secs(60)).unwrap(),
        [] as [u32; 0]
    );
    assert_eq!(rig.marked(), [] as [u32; 0]);
    for dir in &dirs[..2] {
        assert_eq!(ended(dir).0.verdict, Verdict::Canceled);
    }
    assert!(matches!(state(&bystander).unwrap(), State::Running { .. }));
}

#[test]
fn killing_without_patience_kills_the_shims_too_and_tells_the_truth_about_it() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("trap '' TERM; env -i sh -c 'echo $$ > pid; exec sleep 31536015'");
    spec.grace_ms = 600_000;
    start(&dir, &spec);
    until("it has started", || rig.file("pid").ends_with('\n'));
    let unmarked = rig.file("pid").trim().to_owned();
    assert_eq!(
        kill_all(&rig.session, std::slice::from_ref(&dir), Duration::ZERO).unwrap(),
        [] as [u32; 0]
    );
    // Its command may have died first, and the shim may have been quick to write that down: then it is so.
    match state(&dir).unwrap() {
        State::Unknown(UnknownCause::ShimDied) => {}
        State::Exited(record) => assert_eq!(record.verdict, Verdict::Canceled),
        other => panic!("{other:?}"),
    }
    let command = std::fs::read(format!("/proc/{unmarked}/cmdline")).unwrap_or_default();
    assert!(
        !text(&command).contains("31536015"),
        "an unmarked child of the shim is gone with it"
    );
}

#[test]
fn recovery_classifies_and_touches_nothing_that_runs() {
    let rig = Rig::new();
    let (running, spec) = rig.shell("sleep 31536016");
    start(&running, &spec);
    let done = rig.shell("true");
    run(&done);
    let absent = rig.path().join("never");
    let recovery = recover(&[running.clone(), done.0.clone(), absent.clone()]).unwrap();
    assert!(matches!(recovery.states[0].1, State::Running { .. }));
    assert!(matches!(recovery.states[1].1, State::Exited(_)));
    assert_eq!(recovery.states[2], (absent, State::NotStarted));
    assert!(matches!(state(&running).unwrap(), State::Running { .. }));
}

/// The command that is launched among faults; its mark is one line, so that it is there or not.
fn faulty(session: &str, rig: &Path) -> Spec {
    Spec::shell(
        session,
        1,
        "echo run >> effects; echo told",
        &rig.join("ws"),
        &rig.join("private"),
    )
}

/// What the launcher, the shim and the command ask of the disk. Those with a question mark are not on every machine.
const FAULTS: [&str; 8] = [
    "fsync",
    "fdatasync",
    "syncfs",
    "write",
    "?rename",
    "?renameat",
    "?renameat2",
    "?linkat",
];

/// B-CRASH-1, B-CRASH-3: the nth call of each kind fails, in whoever makes it: the launcher, the shim, the command. The command
/// leaves one mark at most, whoever launches it again included, and what has left its mark is never called not started.
#[test]
#[ignore = "needs strace"]
fn whatever_call_fails_a_command_runs_once_at_most_and_what_ran_is_never_not_started() {
    let (mut struck, mut seen) = (BTreeMap::<&str, u32>::new(), BTreeMap::<String, u32>::new());
    for call in FAULTS {
        for nth in 1.. {
            let rig = Rig::new();
            let dir = rig.shell("").0;
            let trace = rig.path().join("trace");
            let mut strace = Command::new("strace")
                .args([
                    "-f",
                    "-qq",
                    "-e",
                    &format!("inject={call}:error=EIO:when={nth}"),
                    "-o",
                ])
                .arg(&trace)
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "the_other_process", "--nocapture"])
                .envs([(ROLE, "launch among faults"), ("SESSION", &rig.session)])
                .env(DIR, &dir)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("strace is there");
            // It waits for all that it traces, so that nothing is under way afterwards.
            let begun = Instant::now();
            while strace.try_wait().unwrap().is_none() {
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{call} {nth} never ends"
                );
                std::thread::sleep(Duration::from_millis(2));
            }
            if !std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
                break;
            }
            *struck.entry(call).or_default() += 1;
            assert!(nth < 100, "{call} {nth} in one command");
            let story = format!("{call} {nth}: {}", std::fs::read_to_string(&trace).unwrap());
            let found = state(&dir).unwrap();
            let marks = rig.file("effects");
            assert!(marks.is_empty() || marks == "run\n", "{story}");
            let may_begin = match &found {
                State::NotStarted => true,
                State::Exited(_) | State::Unknown(_) => false,
                other => panic!("nobody is at it any more, and it is {other:?}: {story}"),
            };
            assert!(!may_begin || marks.is_empty(), "it ran: {story}");
            let launched = launch(shim_exe(), &dir, &faulty(&rig.session, rig.path()));
            match launched {
                Ok(Launched::Started) => {
                    assert!(may_begin, "{found:?}: {story}");
                    assert_eq!(ended(&dir).0.verdict, exited(0), "{story}");
                    assert_eq!(rig.file("effects"), "run\n", "{story}");
                }
                Ok(Launched::AlreadyTaken) => {
                    assert!(!may_begin, "{story}");
                    assert_eq!(rig.file("effects"), marks, "{story}");
                }
                other => panic!("{other:?}: {story}"),
            }
            let name = format!("{found:?}");
            let name = name
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default();
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    println!("{struck:?}: {seen:?}");
    let all: u32 = struck.values().sum();
    assert!(
        all > 12 && seen.len() == 3,
        "so few faults prove little: {struck:?}, {seen:?}"
    );
}

/// Hands test C7: a command fills the disk that its own result must go to.
#[test]
#[ignore = "needs user namespaces, unshare and mount (util-linux)"]
fn a_full_disk_does_not_suppress_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-rm", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(ROLE, "full disk")
        .env(DIR, folder.path())
        .stdin(Stdio::null());
    let output = watched::output(&mut unshare);
    assert!(output.status.success(), "{output:?}");
}

/// Runs in a mount namespace of its own.
fn full_disk(folder: &Path) {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=512k", "none"])
        .arg(folder)
        .status();
    assert!(mounted.unwrap().success());
    let ws = folder.join("ws");
    std::fs::create_dir(&ws).unwrap();
    let line = "dd if=/dev/zero of=fill bs=4k 2>/dev/null; echo $?; exit 9";
    let dir = folder.join("step");
    let (record, output) = run(&(dir, Spec::shell("full-disk", 1, line, &ws, folder)));
    assert_eq!(record.verdict, exited(9));
    assert_eq!(
        (record.stdout.total, record.stdout.write_errno),
        (2, Some(libc::ENOSPC)),
        "dd failed, and so did we"
    );
    assert!(record.stdout.truncated && output.stdout.head.is_empty());

    // Where even the room set aside for the record was taken away, the outcome is unknown: never a guess.
    std::fs::remove_file(ws.join("fill")).unwrap();
    let dir = folder.join("robbed");
    let line = format!(
        "rm {}; exec dd if=/dev/zero of=fill bs=4k",
        dir.join("exit.reserve").display()
    );
    let spec = Spec::shell("full-disk", 2, &line, &ws, folder);
    start(&dir, &spec);
    assert_eq!(settled(&dir), State::Unknown(UnknownCause::ShimDied));
    assert_eq!(start(&dir, &spec), Launched::AlreadyTaken, "nor is it run again");
}
