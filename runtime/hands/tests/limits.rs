//! What a command may use, what becomes of one that wants more, and what is known of it afterwards. Real processes that
//! mean harm, POSIX sh and coreutils only.
//!
//! With control groups where they can be made: always for root on a usual machine. A plain user without a delegated group
//! has the limits of each process by itself, and the tests that need the sum say so and end.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Rig, ended, exited, groups, groups_left, groups_of, kill_9, run, shims_of, start, text, until};
use longhaul_hands::{
    DiskLimit, ExitRecord, Limits, LimitsBy, Spec, State, UnknownCause, Usage, Verdict, cancel, recover,
    state,
};

const MIB: u64 = 1 << 20;
const ROLE: &str = "LONGHAUL_LIMITS_TEST_ROLE";

/// Not a test by itself: a hostile program that no shell can play.
#[test]
fn the_hostile_program() {
    match std::env::var(ROLE).as_deref() {
        Ok("memfd") => {
            let file = rustix::fs::memfd_create("hog", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let mut file = std::fs::File::from(file);
            let piece = vec![1; 1 << 20];
            loop {
                std::io::Write::write_all(&mut file, &piece).unwrap();
            }
        }
        // A shell dies of a fork that is refused; this one does not even wait.
        Ok("bomb") => loop {
            let myself = std::env::current_exe().unwrap();
            let mut again = std::process::Command::new("setsid");
            let again = again.arg(myself).args(["--exact", "the_hostile_program"]);
            drop(
                again
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .spawn(),
            );
        },
        _ => {}
    }
}

/// The lines of two fork bombs that found a session at each step; the second ignores what can be ignored and has wiped
/// its mark.
fn bombs() -> [String; 2] {
    let bomb = format!("{ROLE}=bomb {HOSTILE} --exact the_hostile_program");
    [
        format!("env {bomb}"),
        format!("trap '' TERM INT HUP; exec env -i PATH=$PATH {bomb}"),
    ]
}

/// This program, as commands find it.
const HOSTILE: &str = "./hostile";

/// Puts this program where commands find it behind walls too, wherever it was built.
fn bring(rig: &Rig) {
    let place = rig.ws().join(HOSTILE);
    if !place.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), place).unwrap();
    }
}

/// A command with these limits and nothing else bounded.
fn bounded(rig: &Rig, line: &str, limits: Limits) -> (PathBuf, Spec) {
    let (dir, mut spec) = rig.shell(line);
    spec.limits = limits;
    (dir, spec)
}

/// Does a test without walls, and then behind them. Limits do not depend on walls, and their ways are different.
fn either_way(test: impl Fn(&Rig, &dyn Fn((PathBuf, Spec)) -> (PathBuf, Spec))) {
    let rig = Rig::new();
    test(&rig, &|command| command);
    let rig = Rig::new();
    test(&rig, &|command| rig.walled(command));
}

fn used(record: &ExitRecord) -> Usage {
    record.usage.expect("it has begun")
}

fn assert_nothing_left(rig: &Rig, dir: &Path, record: &ExitRecord) {
    assert_eq!(record.survivors, [] as [u32; 0]);
    assert_eq!(rig.marked(), [] as [u32; 0]);
    assert_eq!(groups_left(dir), [] as [PathBuf; 0]);
}

/// Whether control groups can be made. Where they cannot, says so, after it was made sure of what holds without them: the
/// command runs under the limits of its processes, its record says that it was those, and nothing claims a group.
fn has_groups() -> bool {
    if groups().is_some() {
        return true;
    }
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{test}: no control groups can be made here; only what holds without them is tested");
    either_way(|rig, walled| {
        let (dir, spec) = walled(bounded(rig, "ulimit -d", memory(48 * MIB)));
        let (record, output) = run(&(dir.clone(), spec));
        assert_eq!(record.verdict, exited(0));
        assert_eq!(text(&output.stdout.head), format!("{}\n", 48 * 1024));
        assert_eq!(used(&record).by, LimitsBy::Rlimit);
        assert_eq!(groups_of(&dir), [] as [PathBuf; 0]);
        assert_nothing_left(rig, &dir, &record);
    });
    false
}

/// B-HANDS-1; hands test B1
#[test]
fn a_fork_bomb_is_held_counted_and_gone_at_its_deadline() {
    if !has_groups() {
        return;
    }
    for bomb in bombs() {
        either_way(|rig, walled| {
            bring(rig);
            let limits = Limits {
                pids: 100,
                ..Limits::NONE
            };
            // A busy machine may take its time until the bound is met.
            for wall_ms in [1_500, 10_000, 60_000] {
                let (dir, mut spec) = walled(bounded(rig, &bomb, limits));
                (spec.wall_ms, spec.grace_ms) = (Some(wall_ms), 0);
                let (record, _) = run(&(dir.clone(), spec));
                assert!(
                    matches!(record.verdict, Verdict::Timeout { idle: false, .. }),
                    "{bomb}: {record:?}"
                );
                // A deadline that a bomb could put off were none; how late it may be on a busy machine is said loosely.
                assert!(record.wall_ms < wall_ms + 15_000, "{record:?}");
                assert_ne!(groups_of(&dir), [] as [PathBuf; 0]);
                assert_nothing_left(rig, &dir, &record);
                if used(&record).pids_limit_hits > 0 {
                    return;
                }
            }
            panic!("{bomb}: it was never refused a process");
        });
    }
}

/// B-HANDS-1; hands test B1: behind walls, also who may make no control group has a bound that holds.
#[test]
fn without_a_group_the_walls_bound_processes_by_their_own_user_namespace() {
    let rig = Rig::new();
    let limits = Limits {
        pids: 60,
        ..Limits::NONE
    };
    bring(&rig);
    let (dir, mut spec) = rig.walled(bounded(&rig, &bombs()[0], limits));
    (spec.groups, spec.grace_ms) = (None, 0);
    start(&dir, &spec);
    until("the bomb has gone off", || rig.marked().len() > 30);
    for _ in 0..50 {
        let now = rig.marked().len();
        assert!(now <= 60, "{now} processes");
        std::thread::yield_now();
    }
    assert!(cancel(&dir).unwrap());
    let (record, _) = ended(&dir);
    assert_eq!(
        (&record.verdict, used(&record).by),
        (&Verdict::Canceled, LimitsBy::Rlimit)
    );
    assert_nothing_left(&rig, &dir, &record);
}

/// B-HANDS-1; hands test B1: the neighbours.
#[test]
fn beside_a_fork_bomb_another_session_gets_its_answer() {
    if !has_groups() {
        return;
    }
    let (rig, other) = (Rig::new(), Rig::new());
    let limits = Limits {
        pids: 100,
        cpu_milli: 500,
        ..Limits::NONE
    };
    bring(&rig);
    let (dir, mut spec) = bounded(&rig, &bombs()[0], limits);
    spec.grace_ms = 0;
    start(&dir, &spec);
    until("the bomb has gone off", || rig.marked().len() > 50);
    let begun = Instant::now();
    let (record, output) = run(&other.shell("echo still here"));
    // A tenth of a second where nothing else is going on; what is too much on any machine is this.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (exited(0), "still here\n")
    );
    assert!(matches!(state(&dir).unwrap(), State::Running { .. }));
    assert!(cancel(&dir).unwrap());
    let (record, _) = ended(&dir);
    assert_eq!(record.verdict, Verdict::Canceled);
    assert_nothing_left(&rig, &dir, &record);
}

/// B-HANDS-1: without a control group, processes are bounded per user. Root is above that.
#[test]
fn a_plain_user_without_a_group_has_a_bound_on_processes_all_the_same() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::new();
    let limits = Limits {
        pids: 50,
        ..Limits::NONE
    };
    let (dir, mut spec) = bounded(
        &rig,
        "while read a b c d; do [ \"$a\" != Max ] || [ $b != processes ] || echo $c; done < /proc/self/limits; i=0; while [ $i -lt 3 ]; do sleep 0 & i=$((i+1)); done; wait",
        limits,
    );
    spec.groups = None;
    let (record, output) = run(&(dir, spec));
    assert_eq!(record.verdict, exited(0));
    assert_eq!(used(&record).by, LimitsBy::Rlimit);
    let bound: u64 = text(&output.stdout.head)
        .trim()
        .parse()
        .expect("a number, not `unlimited`");
    assert!(bound > 50 && bound < 100_000, "{bound}");
}

fn memory(limit: u64) -> Limits {
    Limits {
        memory_bytes: limit,
        ..Limits::NONE
    }
}

/// B-HANDS-1; hands test B2
#[test]
fn a_command_that_eats_its_memory_is_killed_for_it_and_says_so() {
    if !has_groups() {
        return;
    }
    either_way(|rig, walled| {
        let (dir, mut spec) = walled(rig.argv(&["tail", "/dev/zero"]));
        spec.limits = memory(48 * MIB);
        let (record, _) = run(&(dir.clone(), spec));
        assert_eq!(
            record.verdict,
            Verdict::OomKilled {
                limit_bytes: 48 * MIB
            }
        );
        let used = used(&record);
        assert!(used.oom_kills > 0 && used.by != LimitsBy::Rlimit, "{used:?}");
        assert!(
            used.mem_peak == 0 || (24 * MIB..=48 * MIB).contains(&used.mem_peak),
            "{used:?}"
        );
        assert_nothing_left(rig, &dir, &record);
    });
}

/// B-HANDS-1; hands test B2: version 1 kills one process and not the group, and a shell may go on as if nothing had been.
#[test]
fn a_hog_whose_shell_says_that_all_is_well_is_told_all_the_same() {
    if !has_groups() {
        return;
    }
    either_way(|rig, walled| {
        let hog = bounded(rig, "tail /dev/zero 2>/dev/null; exit 0", memory(48 * MIB));
        let (record, _) = run(&walled(hog));
        let used = used(&record);
        assert!(used.oom_kills > 0, "{record:?}");
        if used.by == LimitsBy::V2 {
            assert!(matches!(record.verdict, Verdict::OomKilled { .. }), "{record:?}");
        } else {
            assert_eq!(record.verdict, exited(0));
        }
    });
}

/// B-HANDS-1; hands test B2: files in memory are memory.
#[test]
fn files_in_memory_are_charged_to_whoever_writes_them() {
    if !has_groups() {
        return;
    }
    either_way(|rig, walled| {
        let shared = format!("/dev/shm/longhaul-{}", rig.session);
        let line = format!("exec dd if=/dev/zero of={shared} bs=64k");
        let (record, _) = run(&walled(bounded(rig, &line, memory(48 * MIB))));
        let _ = std::fs::remove_file(&shared);
        assert!(matches!(record.verdict, Verdict::OomKilled { .. }), "{record:?}");

        bring(rig);
        let (dir, mut spec) = walled(rig.argv(&[HOSTILE, "--exact", "the_hostile_program"]));
        spec.env = vec![(ROLE.into(), "memfd".into())];
        spec.limits = memory(64 * MIB);
        let (record, _) = run(&(dir, spec));
        assert!(matches!(record.verdict, Verdict::OomKilled { .. }), "{record:?}");
    });
}

/// Without a control group the private data of each process is bounded: the allocation fails, nobody is killed.
#[test]
fn without_a_group_a_process_is_refused_more_data_than_its_own_limit() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("ulimit -d; tail /dev/zero");
    spec.groups = None;
    spec.limits = memory(48 * MIB);
    let (record, output) = run(&(dir, spec));
    assert_eq!(text(&output.stdout.head), format!("{}\n", 48 * 1024));
    assert!(
        matches!(record.verdict, Verdict::Exited { code } if code != 0),
        "{record:?}"
    );
    assert_eq!(used(&record).by, LimitsBy::Rlimit);
}

/// B-HANDS-1; hands test B6
#[test]
fn a_command_that_fills_the_disk_is_stopped_at_its_cap() {
    let fill = "dd if=/dev/zero of=big bs=64k 2>/dev/null";
    let cases = [
        // Several files, so that the size of one does not matter.
        (
            "i=0; while :; do head -c 4000000 /dev/zero > f$i; i=$((i+1)); done",
            DiskLimit::Bytes,
        ),
        ("i=0; while :; do : > f$i; i=$((i+1)); done", DiskLimit::Files),
        (
            "trap '' XFSZ TERM; while :; do head -c 900000 /dev/zero > \"$HOME/$(date +%N)\"; done",
            DiskLimit::Bytes,
        ),
        (&format!("exec {fill}"), DiskLimit::FileSize),
        ("exec truncate -s 1T sparse", DiskLimit::FileSize),
    ];
    for (line, limit) in cases {
        either_way(|rig, walled| {
            let limits = Limits {
                disk_bytes: 24 * MIB,
                disk_files: 500,
                ..Limits::NONE
            };
            let (dir, mut spec) = walled(bounded(rig, line, limits));
            spec.wall_ms = Some(60_000);
            let (record, _) = run(&(dir.clone(), spec));
            assert_eq!(record.verdict, Verdict::DiskFull { limit }, "{line}");
            assert_nothing_left(rig, &dir, &record);
            let big = rig.ws().join("big");
            assert!(!big.exists() || big.metadata().unwrap().len() <= 24 * MIB);
            // The session is not stuck with it.
            let (record, _) = run(&walled(rig.shell("rm -rf ./*")));
            assert_eq!(record.verdict, exited(0), "after {line}");
        });
    }
}

/// B-HANDS-1; hands test B7
#[test]
fn four_spinners_share_what_the_command_may_use() {
    if !has_groups() || !groups().unwrap().bounds_cpu() {
        return;
    }
    let rig = Rig::new();
    let limits = Limits {
        cpu_milli: 100,
        ..Limits::NONE
    };
    let spin = "(while :; do :; done) & (while :; do :; done) & (while :; do :; done) & while :; do :; done";
    let (dir, mut spec) = bounded(&rig, spin, limits);
    (spec.wall_ms, spec.grace_ms) = (Some(2_000), 0);
    let (record, _) = run(&(dir, spec));
    assert!(matches!(record.verdict, Verdict::Timeout { .. }));
    let cpu_ms = used(&record).cpu_ms;
    // A busy machine gives less, never more: the first period, and what is counted late, are the slack.
    assert!(
        cpu_ms > 0 && cpu_ms <= record.wall_ms * 100 / 1_000 * 11 / 10 + 150,
        "{record:?}"
    );
}

/// B-STUCK-1
#[test]
fn a_command_that_falls_silent_is_stopped_and_a_talkative_one_is_not() {
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("echo once; exec sleep 31536022");
    (spec.idle_ms, spec.wall_ms) = (Some(2_000), None);
    let (record, output) = run(&(dir, spec));
    assert_eq!(
        record.verdict,
        Verdict::Timeout {
            limit_ms: 2_000,
            idle: true
        }
    );
    assert_eq!(text(&output.stdout.head), "once\n");
    let (dir, mut spec) = rig.shell("i=0; while [ $i -lt 50 ]; do echo; sleep 0.01; i=$((i+1)); done");
    spec.idle_ms = Some(60_000);
    assert_eq!(run(&(dir, spec)).0.verdict, exited(0));
}

/// Hands test C2: a shim that was killed leaves a group behind, and recovery removes it with all that is in it.
#[test]
fn the_group_of_a_lost_shim_is_emptied_and_removed() {
    if !has_groups() {
        return;
    }
    let rig = Rig::new();
    let (dir, spec) = rig.shell("env -i setsid sh -c 'echo $$ > pid; exec sleep 31536023' & sleep 31536024");
    start(&dir, &spec);
    until("the daemon is up", || rig.file("pid").ends_with('\n'));
    assert_ne!(groups_left(&dir), [] as [PathBuf; 0]);
    shims_of(&dir).into_iter().for_each(kill_9);
    until("the shim is gone", || {
        state(&dir).unwrap() == State::Unknown(UnknownCause::ShimDied)
    });
    let recovery = recover(std::slice::from_ref(&dir)).unwrap();
    assert_eq!(recovery.survivors, [] as [u32; 0]);
    assert_eq!(groups_left(&dir), [] as [PathBuf; 0]);
    let daemon = std::fs::read(format!("/proc/{}/cmdline", rig.file("pid").trim())).unwrap_or_default();
    assert!(!text(&daemon).contains("31536023"), "it had wiped its mark");
}

/// A group that cannot be made is an error of the sandbox, never a command without limits.
#[test]
fn a_group_that_cannot_be_made_runs_nothing() {
    if !has_groups() {
        return;
    }
    let groups = groups().unwrap();
    let rig = Rig::new();
    let (dir, mut spec) = rig.shell("echo run > effect");
    let mut text = serde_json::to_value(&groups).unwrap();
    text["memory"] = serde_json::json!(rig.path().join("no such hierarchy"));
    spec.groups = Some(serde_json::from_value(text).unwrap());
    let (record, _) = run(&(dir.clone(), spec));
    assert_eq!(
        record.verdict,
        Verdict::SandboxError {
            step: "cgroup".into(),
            errno: libc::ENOENT
        }
    );
    assert_eq!(rig.file("effect"), "");
    assert_nothing_left(&rig, &dir, &record);
}
