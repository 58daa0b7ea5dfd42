//! What a command gets, what is kept of it, and how it ends. Real processes, POSIX sh and coreutils only.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Rig, ended, exited, run, shims_of, start, text, until};
use longhaul_hands::{
    Isolation, LaunchError, Launched, State, Stop, Stream, Verdict, cancel, follow, launch, state, wait,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn wall_timeout(limit_ms: u64) -> Verdict {
    Verdict::Timeout {
        limit_ms,
        idle: false,
    }
}

/// B-HANDS-1
#[test]
fn a_command_gives_its_exit_code_and_its_two_outputs_apart() {
    let rig = Rig::new();
    let (record, output) = run(&rig.shell("echo out; echo err >&2; exit 7"));
    assert_eq!(record.verdict, exited(7));
    let expected = if rig.is_walled() {
        Isolation::Isolated
    } else {
        Isolation::Process
    };
    assert_eq!(record.isolation, expected);
    assert!(record.workspace_synced && record.survivors.is_empty());
    assert_eq!(
        (text(&output.stdout.head), text(&output.stderr.head)),
        ("out\n", "err\n")
    );
    assert_eq!((record.stdout.total, record.stderr.total), (4, 4));
    assert!(!record.stdout.truncated && !record.stderr.truncated);
}

/// B-HANDS-1
#[test]
fn a_program_is_found_along_its_own_path_and_gets_its_words_unchanged() {
    let rig = Rig::new();
    let (record, output) = run(&rig.argv(&["printf", "%s|", "a b", "$HOME", "*", ""]));
    assert_eq!(record.verdict, exited(0));
    assert_eq!(text(&output.stdout.head), "a b|$HOME|*||");
}

#[test]
fn a_signal_from_elsewhere_is_told_from_an_exit() {
    let rig = Rig::new();
    assert_eq!(
        run(&rig.shell("kill -SEGV $$")).0.verdict,
        Verdict::Signaled {
            signal: libc::SIGSEGV
        }
    );
    assert_eq!(run(&rig.shell("exit 139")).0.verdict, exited(139));
}

#[test]
fn a_program_that_cannot_be_executed_is_no_exit_code() {
    let rig = Rig::new();
    std::fs::write(rig.ws().join("plain"), "#!/bin/sh\n").unwrap();
    for (program, errno) in [
        ("no-such-program", libc::ENOENT),
        ("./none", libc::ENOENT),
        ("./plain", libc::EACCES),
    ] {
        match run(&rig.argv(&[program])).0.verdict {
            Verdict::ExecFailed {
                errno: found,
                message,
            } => {
                assert_eq!(found, errno, "{program}");
                assert!(message.contains(program), "{message}");
            }
            other => panic!("{program}: {other:?}"),
        }
    }
}

/// B-HANDS-1
#[test]
fn standard_input_arrives_byte_for_byte_and_is_empty_by_default() {
    let rig = Rig::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let (dir, mut spec) = rig.argv(&["cat"]);
    spec.stdin = bytes.clone();
    assert!(run(&(dir, spec)).1.stdout.head == bytes);
    assert_eq!(run(&rig.argv(&["wc", "-c"])).1.stdout.head.trim_ascii(), b"0");
}

/// B-HANDS-1; hands test B8
#[test]
fn output_is_kept_as_bytes() {
    let rig = Rig::new();
    let (_, output) = run(&rig.shell(r"printf '\033]0;x\a\000\377'"));
    assert_eq!(output.stdout.head, b"\x1b]0;x\x07\x00\xff");
}

/// Hands test A1: whatever the runtime has in its environment stays there.
#[test]
fn the_environment_is_built_from_nothing() {
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
        "run by cargo, this test has a canary"
    );
    let rig = Rig::new();
    let (dir, mut spec) = rig.argv(&["env"]);
    spec.env = vec![
        ("GIVEN".into(), "yes".into()),
        ("LONGHAUL_STEP".into(), "forged".into()),
    ];
    let (_, output) = run(&(dir, spec));
    let mut found: Vec<&str> = text(&output.stdout.head).lines().collect();
    found.sort_unstable();
    let private = rig.path().join("private").display().to_string();
    let (home, tmp) = if rig.is_walled() {
        ("/home/agent".to_owned(), "/tmp".to_owned())
    } else {
        (format!("{private}/home"), format!("{private}/tmp"))
    };
    let expected = [
        "GIVEN=yes".to_owned(),
        format!("HOME={home}"),
        "LANG=C.UTF-8".to_owned(),
        format!("LONGHAUL_STEP={}/1", rig.session),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("TMPDIR={tmp}"),
    ];
    assert_eq!(found, expected);
}

/// Hands test A3
#[test]
fn no_descriptor_of_the_runtime_is_inherited_by_command_or_shim() {
    let rig = Rig::new();
    // Without CLOEXEC: every child that does not look after itself has it.
    let (read, write) = rustix::pipe::pipe().unwrap();
    let (_, numbers) = run(&rig.argv(&["ls", "/proc/self/fd"]));
    assert_eq!(
        text(&numbers.stdout.head),
        "0\n1\n2\n3\n",
        "3 is what ls itself has open"
    );
    let (dir, spec) = rig.shell("sleep 31536017");
    start(&dir, &spec);
    drop(write);
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    until("nobody holds the other end of the pipe", || {
        rustix::io::read(&read, &mut [0; 1]) == Ok(0)
    });
    assert!(matches!(state(&dir).unwrap(), State::Running { .. }));
}

#[test]
fn a_command_finds_default_signals_and_a_usual_umask() {
    let rig = Rig::new();
    let (_, output) = run(&rig.shell("grep -E '^Sig(Blk|Ign)' /proc/self/status; umask"));
    let masks: Vec<&str> = text(&output.stdout.head).split_whitespace().collect();
    assert_eq!(
        masks,
        [
            "SigBlk:",
            "0000000000000000",
            "SigIgn:",
            "0000000000000000",
            "0022"
        ]
    );
}

/// B-HANDS-2
#[test]
fn a_command_starts_in_its_folder_and_never_outside_the_workspace() {
    let rig = Rig::new();
    std::fs::create_dir_all(rig.ws().join("a/b")).unwrap();
    std::os::unix::fs::symlink("/", rig.ws().join("out")).unwrap();
    let at = |cwd: &str| {
        let (dir, mut spec) = rig.argv(&["pwd"]);
        spec.cwd = cwd.into();
        run(&(dir, spec))
    };
    let ws = if rig.is_walled() {
        "/workspace".into()
    } else {
        rig.ws()
    };
    assert_eq!(
        text(&at("a/b").1.stdout.head).trim_end(),
        ws.join("a/b").to_str().unwrap()
    );
    let refused = |errno| Verdict::SandboxError {
        step: "cwd".to_owned(),
        errno,
    };
    assert_eq!(at("out").0.verdict, refused(libc::EXDEV));
    assert_eq!(at("../step-1").0.verdict, refused(libc::EINVAL));
    assert_eq!(at("missing").0.verdict, refused(libc::ENOENT));
}

/// B-HANDS-1, B-STUCK-1; hands tests B1 (bounded) and B4
#[test]
fn a_timeout_kills_the_whole_tree_whatever_it_ignores() {
    let rig = Rig::new();
    let tree = "trap '' TERM INT HUP
        grow() { if [ $1 -gt 0 ]; then setsid sh -c 'trap \"\" TERM; sleep 31536001' & grow $(($1-1)) & fi; sleep 31536002; }
        grow 8 & grow 8 & echo planted; while :; do sleep 31536003; done";
    let (dir, mut spec) = rig.shell(tree);
    (spec.wall_ms, spec.grace_ms) = (Some(2_000), 100);
    let (record, output) = run(&(dir, spec));
    assert_eq!(record.verdict, wall_timeout(2_000));
    assert_eq!(
        text(&output.stdout.head),
        "planted\n",
        "what it wrote before is kept"
    );
    assert_eq!((record.survivors, rig.marked()), (vec![], vec![]));
}

/// B-HANDS-1, B-STUCK-1: the limit is what ends it, and not its patience with itself.
#[test]
fn a_command_that_would_end_by_itself_is_ended_at_its_limit() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("sleep 10; echo by itself");
    spec.wall_ms = Some(2_000);
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (wall_timeout(2_000), "")
    );
}

#[test]
fn a_polite_command_uses_its_grace() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("trap 'echo bye; exit 3' TERM; while :; do sleep 0.01; done");
    (spec.wall_ms, spec.grace_ms) = (Some(2_000), 600_000);
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (wall_timeout(2_000), "bye\n")
    );
}

/// B-HANDS-1; hands test B5
#[test]
fn a_daemon_left_behind_holding_the_output_neither_hangs_nor_lives() {
    let rig = Rig::new();
    let daemon = "env -i setsid sh -c 'echo $$ > pid; exec sleep 31536004' &
        while [ ! -s pid ]; do :; done; echo ok";
    let (record, output) = run(&rig.shell(daemon));
    assert_eq!((record.verdict, text(&output.stdout.head)), (exited(0), "ok\n"));
    let command = std::fs::read(format!("/proc/{}/cmdline", rig.file("pid").trim())).unwrap_or_default();
    assert!(
        !text(&command).contains("31536004"),
        "it had no mark and another session, and is gone all the same"
    );
}

/// B-HANDS-1; hands test B3
#[test]
fn endless_output_is_killed_and_both_ends_are_kept() {
    let rig = Rig::new();
    for line in ["yes", "yes >&2", "yes | tr -d '\\n'"] {
        let (dir, mut spec) = rig.shell(line);
        (spec.head_bytes, spec.tail_bytes, spec.kill_bytes) = (1000, 500, 3 << 20);
        spec.wall_ms = Some(10_000);
        let (record, output) = run(&(dir.clone(), spec));
        assert_eq!(
            record.verdict,
            Verdict::OutputLimit { limit_bytes: 3 << 20 },
            "{line}"
        );
        let (stream, kept, name) = if line.contains(">&2") {
            (record.stderr, output.stderr, "stderr")
        } else {
            (record.stdout, output.stdout, "stdout")
        };
        assert!(stream.truncated && stream.total > 3 << 20, "{line}: {stream:?}");
        assert_eq!((kept.head.len(), kept.tail.len()), (1000, 500), "{line}");
        assert!(
            kept.head.iter().chain(&kept.tail).all(|b| b"y\n".contains(b)),
            "{line}"
        );
        assert_eq!(std::fs::metadata(dir.join(name)).unwrap().len(), 1500, "{line}");
    }
}

/// B-HANDS-1, B-LOG-4
#[test]
fn long_output_keeps_head_and_tail_and_counts_the_rest() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("i=1; while [ $i -le 2000 ]; do echo $i; i=$((i+1)); done");
    (spec.head_bytes, spec.tail_bytes) = (6, 10);
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        (text(&output.stdout.head), text(&output.stdout.tail)),
        ("1\n2\n3\n", "1999\n2000\n")
    );
    assert_eq!(record.stdout.total, 9 * 2 + 90 * 3 + 900 * 4 + 1001 * 5);
    assert!(record.stdout.truncated);
    let (dir, mut spec) = rig.shell("printf 0123456789");
    (spec.head_bytes, spec.tail_bytes) = (6, 10);
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        (text(&output.stdout.head), text(&output.stdout.tail)),
        ("012345", "6789")
    );
    assert!(!record.stdout.truncated, "nothing is missing in between");
}

/// Hands test B3: the bound on the shim's memory.
#[test]
fn a_shim_stays_small_under_much_output() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("head -c 60000000 /dev/zero; echo x > done; sleep 31536005");
    (spec.head_bytes, spec.tail_bytes) = (4096, longhaul_hands::MAX_TAIL_BYTES);
    start(&dir, &spec);
    until("all is written", || rig.ws().join("done").exists());
    let State::Running { shim_pid } = state(&dir).unwrap() else {
        panic!("it sleeps")
    };
    let status = std::fs::read_to_string(format!("/proc/{shim_pid}/status")).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 8 << 10, "{kib} KiB");
    assert!(cancel(&dir).unwrap());
    assert_eq!(ended(&dir).0.stdout.total, 60_000_000);
}

#[test]
fn output_can_be_followed_while_it_grows() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two");
    start(&dir, &spec);
    until("the first line is there", || {
        follow(&dir, Stream::Stdout, 0, 100).unwrap() == b"one\n"
    });
    assert!(matches!(state(&dir).unwrap(), State::Running { .. }));
    std::fs::write(rig.ws().join("go"), "").unwrap();
    ended(&dir);
    assert_eq!(follow(&dir, Stream::Stdout, 4, 100).unwrap(), b"two\n");
}

/// B-STOP-1
#[test]
fn cancel_stops_the_tree_and_says_so() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("setsid sleep 31536006 & sleep 31536007");
    spec.wall_ms = None;
    start(&dir, &spec);
    assert!(cancel(&dir).unwrap());
    assert_eq!(ended(&dir).0.verdict, Verdict::Canceled);
    assert_eq!(rig.marked(), [] as [u32; 0]);
    assert!(!cancel(&dir).unwrap(), "there is nobody left to ask");
    assert_eq!(ended(&dir).0.verdict, Verdict::Canceled, "and the record stays");
}

#[test]
fn a_wait_ends_at_its_deadline_or_when_told_and_the_command_goes_on() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("sleep 31536008");
    start(&dir, &spec);
    let running = |state: State| assert!(matches!(state, State::Running { .. }), "{state:?}");
    running(wait(&dir, Some(Instant::now()), None).unwrap());
    let stop = Stop::new().unwrap();
    let raiser = stop.clone();
    std::thread::scope(|scope| {
        let give_up = Instant::now() + PATIENCE;
        let (dir, stop) = (&dir, &stop);
        let waiting = scope.spawn(move || wait(dir, Some(give_up), Some(stop)).unwrap());
        raiser.raise();
        running(waiting.join().unwrap());
        assert!(Instant::now() < give_up, "it was the flag that ended the wait");
    });
    running(state(&dir).unwrap());
}

#[test]
fn a_spec_that_cannot_be_run_leaves_no_trace() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("echo hi > effect");
    spec.session = "not/plain".to_owned();
    assert!(matches!(
        launch(common::shim_exe(), &dir, &spec),
        Err(LaunchError::BadSpec(_))
    ));
    assert!(!dir.exists());
    assert_eq!(state(&dir).unwrap(), State::NotStarted);
}

#[test]
fn a_program_that_is_no_shim_is_found_out() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("echo hi > effect");
    let error = launch(std::path::Path::new("/bin/false"), &dir, &spec).unwrap_err();
    assert!(error.to_string().contains("main_if_shim"), "{error}");
    assert_eq!(
        (state(&dir).unwrap(), start(&dir, &spec)),
        (State::NotStarted, Launched::Started)
    );
    assert_eq!(ended(&dir).0.verdict, exited(0));
}

/// An orphan that dies while the command runs is reaped by the shim; the command's own end is not mistaken.
#[test]
fn orphans_that_come_and_go_change_nothing() {
    let rig = Rig::new();
    let (dir, spec) = rig.shell("i=0; while [ $i -lt 50 ]; do (exit 9 &) ; i=$((i+1)); done; echo > ready; while [ ! -e go ]; do sleep 0.01; done; exit 4");
    start(&dir, &spec);
    until("the orphans are born", || rig.ws().join("ready").exists());
    let shim = shims_of(&dir);
    let zombies = || {
        let children =
            std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", shim[0])).unwrap_or_default();
        children.split_whitespace().count()
    };
    until("only the command is left", || zombies() <= 1);
    std::fs::write(rig.ws().join("go"), "").unwrap();
    assert_eq!(ended(&dir).0.verdict, exited(4));
}
