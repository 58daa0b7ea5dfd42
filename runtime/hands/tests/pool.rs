//! Shims that are kept ready: a command that is handed to one is like any other, and where there is none, none is missed.
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

mod common;

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::leftovers;
use common::watched;
use common::{Rig, come_up, ended, exited, groups_left, groups_of, kill_9, processes, shim_exe, text, until};
use longhaul_hands::{Launched, Lineage, Pool, Spec, State, lineage, state};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "LONGHAUL_POOL_TEST_ROLE";
const PLACE: &str = "LONGHAUL_POOL_TEST_PLACE";
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test by itself: a runtime that can be killed, played by this very program.
#[test]
fn the_other_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let place = PathBuf::from(std::env::var_os(PLACE).unwrap());
    let Some(rig) = Rig::isolated() else { return };
    let pool = Pool::new(shim_exe().to_owned(), place.clone());
    match role.as_str() {
        "ready" => {
            warm(&pool, &rig.shell("true"));
            println!("\nready");
            std::thread::sleep(PATIENCE);
        }
        "hand over" => {
            warm(&pool, &rig.shell("true"));
            println!("\nready");
            // The word to go on: the shims hold still by then.
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            let (dir, spec) = of_the_runtime(&place);
            drop(pool.launch(&dir, &spec));
        }
        "mount" => mounted_over(&rig, &pool),
        "replace" => replaced(&rig, &pool, &place),
        other => panic!("no role {other}"),
    }
}

/// The command of a runtime that is killed, for whoever comes after it.
fn of_the_runtime(place: &Path) -> (PathBuf, Spec) {
    let line = "echo run >> effects; echo told";
    let spec = Spec::shell("killed", 1, line, &place.join("ws"), &place.join("private"));
    (place.join("step"), spec)
}

fn play(role: &str, place: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(ROLE, role)
        .env(PLACE, place)
        .stdin(Stdio::piped());
    come_up(role, &mut command)
}

fn pool_of(rig: &Rig) -> Pool {
    Pool::new(shim_exe().to_owned(), rig.path().to_owned())
}

/// Runs a command, after which there are shims that wait for more of its kind.
fn warm(pool: &Pool, (dir, spec): &(PathBuf, Spec)) {
    assert_eq!(pool.launch(dir, spec).unwrap(), Launched::Started);
    assert_eq!(ended(dir).0.verdict, exited(0));
    until("shims are ready", || pool.ready() == Pool::KEPT);
}

/// The shims that wait for this place, and what they have made ahead.
fn waiting(place: &Path) -> Vec<u32> {
    processes("cmdline", |word| word == place.as_os_str().as_bytes())
}

/// They leave at once, or as soon as their time is over.
fn assert_nobody_waits(place: &Path) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !waiting(place).is_empty() {
        assert!(Instant::now() < give_up, "{:?} still wait", waiting(place));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Control groups that were made ahead by one of these.
fn groups_ahead(shims: &[u32]) -> Vec<String> {
    shims
        .iter()
        .flat_map(|pid| leftovers::groups(&format!("ready-{pid}.")))
        .collect()
}

fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal);
}

/// B-CRASH-1: once without walls and once behind them.
#[test]
fn a_command_that_is_handed_over_runs_once_and_its_record_is_that_of_any_other() {
    let Some(isolated) = Rig::isolated() else { return };
    for rig in [Rig::new(), isolated] {
        let pool = pool_of(&rig);
        let line = "read word; echo run >> effects; echo \"$word $PWD\"; echo wrong >&2; exit 5";
        let command = || {
            let (dir, mut spec) = rig.shell(line);
            spec.stdin = b"told\n".to_vec();
            (dir, spec)
        };
        warm(&pool, &rig.shell("true"));
        let before = waiting(rig.path());
        let (handed, spec) = command();
        assert_eq!(pool.launch(&handed, &spec).unwrap(), Launched::Started);
        let (record, output) = ended(&handed);
        let claim = std::fs::read_to_string(handed.join("claim.json")).unwrap();
        assert!(
            before
                .iter()
                .any(|pid| claim.contains(&format!("\"pid\":{pid},"))),
            "it was a ready one that claimed: {claim}, {before:?}"
        );
        let (cold, spec) = command();
        common::start(&cold, &spec);
        let (mut other, others) = ended(&cold);
        assert_eq!(output, others);
        // What differs from run to run.
        other.wall_ms = record.wall_ms;
        if let (Some(mine), Some(usage)) = (record.usage, &mut other.usage) {
            (usage.cpu_ms, usage.mem_peak) = (mine.cpu_ms, mine.mem_peak);
        }
        assert_eq!(record, other);
        assert_eq!(groups_of(&handed).len(), groups_of(&cold).len());
        assert_eq!((groups_left(&handed), groups_left(&cold)), (vec![], vec![]));
        assert_eq!(rig.file("effects"), "run\nrun\n");
        assert_eq!(pool.launch(&handed, &spec).unwrap(), Launched::AlreadyTaken);
        pool.close();
    }
}

#[test]
fn the_runtime_killed_while_shims_are_ready_leaves_no_process_and_no_group() {
    let Some(rig) = Rig::isolated() else { return };
    let mut runtime = play("ready", rig.path());
    let shims = waiting(rig.path());
    assert!(shims.len() >= Pool::KEPT, "{shims:?}");
    assert_eq!(groups_ahead(&shims).is_empty(), common::groups().is_none());
    runtime.kill().unwrap();
    runtime.wait().unwrap();
    assert_nobody_waits(rig.path());
    assert_eq!(groups_ahead(&shims), [] as [String; 0]);
}

/// B-CRASH-1: the hand-over has arrived and nothing is claimed when the runtime dies. Whoever is first afterwards, the
/// next runtime or the shim, there is one effect.
#[test]
fn a_command_handed_over_by_a_runtime_that_is_killed_before_the_claim_runs_once() {
    if Rig::isolated().is_none() {
        return;
    }
    for shim_is_first in [true, false] {
        let rig = Rig::new();
        let mut runtime = play("hand over", rig.path());
        let shims = waiting(rig.path());
        shims.iter().for_each(|shim| signal(*shim, Signal::STOP));
        drop(runtime.stdin.take());
        let (dir, spec) = of_the_runtime(rig.path());
        until("the wish is written", || dir.join("spec.json").exists());
        // It hands over in the next instant, which nobody can see from outside.
        std::thread::sleep(Duration::from_secs(1));
        runtime.kill().unwrap();
        runtime.wait().unwrap();
        assert_eq!(state(&dir).unwrap(), State::NotStarted);
        if shim_is_first {
            shims.iter().for_each(|shim| signal(*shim, Signal::CONT));
            until("it runs without a runtime", || {
                matches!(state(&dir).unwrap(), State::Exited(_))
            });
            assert_eq!(common::start(&dir, &spec), Launched::AlreadyTaken);
        } else {
            assert_eq!(common::start(&dir, &spec), Launched::Started);
            shims.iter().for_each(|shim| signal(*shim, Signal::CONT));
        }
        assert_eq!(ended(&dir).0.verdict, exited(0));
        assert_nobody_waits(rig.path());
        assert_eq!(rig.file("effects"), "run\n");
    }
}

#[test]
fn when_the_ready_shims_were_killed_the_next_command_is_started_like_the_first() {
    let Some(rig) = Rig::isolated() else { return };
    let pool = pool_of(&rig);
    warm(&pool, &rig.shell("true"));
    let shims = waiting(rig.path());
    shims.iter().for_each(|shim| kill_9(*shim));
    until("they are dead", || waiting(rig.path()).is_empty());
    let (dir, spec) = rig.shell("echo run >> effects");
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    assert_eq!(ended(&dir).0.verdict, exited(0));
    assert_eq!(rig.file("effects"), "run\n");
    // What those had made ahead nobody claims; it goes with the pool.
    pool.close();
    assert_eq!(groups_ahead(&shims), [] as [String; 0]);
}

/// What has lost the process that was to be its command is good for nothing, and goes by itself.
#[test]
fn when_what_waits_to_be_the_command_was_killed_its_shim_leaves_and_the_next_command_runs_once() {
    let Some(rig) = Rig::isolated() else { return };
    // They do not leave because nothing comes.
    let pool = Pool::idle_after(shim_exe().to_owned(), rig.path().to_owned(), 10 * PATIENCE);
    warm(&pool, &rig.shell("true"));
    let all = waiting(rig.path());
    let below = |above: &[u32]| -> Vec<u32> {
        let is_below = |pid: &&u32| above.iter().any(|above| is_child(**pid, *above));
        all.iter().filter(is_below).copied().collect()
    };
    // A shim, its init, and the command to be.
    let commands = below(&below(&all));
    assert_eq!(commands.len(), Pool::KEPT, "{all:?}");
    commands.iter().for_each(|command| kill_9(*command));
    until("all of them are gone", || waiting(rig.path()).is_empty());
    assert_eq!(groups_ahead(&all), [] as [String; 0]);
    let (dir, spec) = rig.shell("echo run >> effects");
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    assert_eq!(ended(&dir).0.verdict, exited(0));
    assert_eq!(rig.file("effects"), "run\n");
}

/// B-IDLE-1
#[test]
fn ready_shims_leave_when_no_command_comes_and_are_there_again_after_the_next() {
    let Some(rig) = Rig::isolated() else { return };
    let idle = Duration::from_secs(1);
    let pool = Pool::idle_after(shim_exe().to_owned(), rig.path().to_owned(), idle);
    assert_eq!(pool.ready(), 0, "none before the first command");
    for _ in 0..2 {
        warm(&pool, &rig.shell("true"));
        let shims = waiting(rig.path());
        assert_nobody_waits(rig.path());
        assert_eq!((pool.ready(), groups_ahead(&shims)), (0, vec![]));
    }
}

#[test]
fn a_pool_that_is_closed_leaves_no_shim_that_waits_and_lets_commands_go_on() {
    let Some(rig) = Rig::isolated() else { return };
    let pool = pool_of(&rig);
    warm(&pool, &rig.shell("true"));
    let (dir, spec) = rig.shell("while [ ! -e go ]; do sleep 0.01; done; echo told");
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    pool.close();
    let shim = |state: State| match state {
        State::Running { shim_pid } => shim_pid,
        other => panic!("{other:?}"),
    };
    let running = shim(state(&dir).unwrap());
    until("only who has a command is left", || {
        let left = waiting(rig.path());
        left.contains(&running) && left.iter().all(|pid| *pid == running || is_child(*pid, running))
    });
    std::fs::write(rig.ws().join("go"), "").unwrap();
    assert_eq!(text(&ended(&dir).1.stdout.head), "told\n");
    let (dir, spec) = rig.shell("echo told");
    assert_eq!(
        pool.launch(&dir, &spec).unwrap(),
        Launched::Started,
        "the usual way"
    );
    assert_eq!(text(&ended(&dir).1.stdout.head), "told\n");
    assert_eq!(pool.ready(), 0);
}

fn is_child(pid: u32, of: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.split(' ').nth(1) == Some(&of.to_string())
}

/// B-CRASH-1; hands test C3, with ready shims
#[test]
fn twenty_starters_with_ready_shims_have_one_effect() {
    let Some(rig) = Rig::isolated() else { return };
    let pools: Vec<Pool> = (0..4).map(|_| pool_of(&rig)).collect();
    pools.iter().for_each(|pool| warm(pool, &rig.shell("true")));
    let (dir, spec) = rig.shell("echo run >> effects");
    let all: Vec<Launched> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..20)
            .map(|number| {
                let (pool, dir, spec) = (&pools[number % pools.len()], &dir, &spec);
                scope.spawn(move || pool.launch(dir, spec).unwrap())
            })
            .collect();
        starters
            .into_iter()
            .map(|starter| starter.join().unwrap())
            .collect()
    });
    let started = all.iter().filter(|launched| **launched == Launched::Started);
    assert_eq!(started.count(), 1, "{all:?}");
    assert_eq!(ended(&dir).0.verdict, exited(0));
    assert_eq!(rig.file("effects"), "run\n");
    assert_eq!(groups_left(&dir), [] as [PathBuf; 0]);
}

/// B-GATE-3: its shim was started for no command, and before there was one.
#[test]
fn what_a_ready_shim_has_started_acts_for_an_agent_even_with_a_clean_environment() {
    let rig = Rig::new();
    if rig.is_walled() {
        // Inside, a pid is another one.
        return;
    }
    let pool = pool_of(&rig);
    warm(&pool, &rig.shell("true"));
    let shims = waiting(rig.path());
    for shim in &shims {
        assert_eq!(lineage(*shim, &[]), Lineage::Agent { pid: *shim });
    }
    // An orphan: on its way up there is the shim, and nobody who is marked.
    let line = "(env -i sh -c 'echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done' &); while [ ! -e go ]; do sleep 0.01; done";
    let (dir, spec) = rig.shell(line);
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    until("it has begun", || rig.file("pid").ends_with('\n'));
    let below = rig.file("pid").trim().parse().unwrap();
    let State::Running { shim_pid } = state(&dir).unwrap() else {
        panic!("it runs")
    };
    assert!(shims.contains(&shim_pid), "it was handed over");
    assert_eq!(lineage(below, &[]), Lineage::Agent { pid: shim_pid });
    std::fs::write(rig.ws().join("go"), "").unwrap();
    assert_eq!(ended(&dir).0.verdict, exited(0));
}

/// What was made ahead for another kind of command is undone, and the command has what is its own.
#[test]
fn a_shim_that_has_prepared_for_another_kind_of_command_does_this_one_all_the_same() {
    let Some(walled) = Rig::isolated() else { return };
    let bare = Rig::new();
    // The last is walled like the first, and has no group.
    for (first, second, is_grouped) in [
        (&walled, &bare, true),
        (&bare, &walled, true),
        (&walled, &walled, false),
    ] {
        let pool = pool_of(first);
        warm(&pool, &first.shell("true"));
        let shims = waiting(first.path());
        let (dir, mut spec) = second.shell("echo told");
        spec.groups = spec.groups.filter(|_| is_grouped);
        assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
        let (record, output) = ended(&dir);
        assert_eq!(groups_of(&dir).is_empty(), spec.groups.is_none());
        assert_eq!((record.verdict, text(&output.stdout.head)), (exited(0), "told\n"));
        assert_eq!(record.isolation, spec.isolation());
        let claim = std::fs::read_to_string(dir.join("claim.json")).unwrap();
        assert!(
            shims.iter().any(|pid| claim.contains(&format!("\"pid\":{pid},"))),
            "{claim}"
        );
        pool.close();
        assert_nobody_waits(first.path());
        assert_eq!(groups_ahead(&shims), [] as [String; 0]);
    }
}

/// What a command can tell of its surroundings, without what differs from mount to mount.
const SURROUNDINGS: &str = r#"
    while read -r id parent device rest; do echo "$rest"; done < /proc/self/mountinfo
    find / /etc /dev /dev/pts /tmp /home /var /workspace /home/agent -maxdepth 1 -printf '%M %U %G %p %l\n'
    grep -E '^(Uid|Gid|Groups|NStgid|NSsid|Cap|NoNewPrivs|Seccomp|Sig|Shd)' /proc/self/status
    grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/1/status
    cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/cgroup /etc/passwd /proc/net/dev
    ulimit -a; umask; hostname; env | sort; ls -l /proc/self/fd | wc -l
    df -B1 --output=size /tmp /dev/shm
    for place in / /usr /etc /dev /proc /proc/sys /home; do touch "$place/x" && echo "$place can be written"; done
    for place in /tmp /dev/shm /workspace /home/agent; do touch "$place/x" && rm "$place/x" || echo "$place cannot be written"; done
    # Only Landlock has something against this one.
    mknod /workspace/device c 0 0 && rm /workspace/device && echo "a device can be written"
    for place in /proc/kcore /proc/keys /proc/sysrq-trigger; do echo "$place"; wc -c < "$place"; done
"#;

/// Makes sure that a ready shim took the command on.
fn assert_handed_over(shims: &[u32], dir: &Path) {
    let claim = std::fs::read_to_string(dir.join("claim.json")).unwrap();
    let is_of = |pid: &u32| claim.contains(&format!("\"pid\":{pid},"));
    assert!(shims.iter().any(is_of), "{shims:?}, {claim}");
}

/// One that begins with a shim that has built most of its walls before, and one whose walls are built at once.
#[test]
fn walls_that_stood_before_the_command_are_those_that_are_built_for_it() {
    let Some(rig) = Rig::isolated() else { return };
    let pool = pool_of(&rig);
    warm(&pool, &rig.shell("true"));
    let shims = waiting(rig.path());
    let protected = rig.ws().join("kept");
    std::fs::create_dir(&protected).unwrap();
    let command = || {
        let (dir, mut spec) = rig.shell(SURROUNDINGS);
        // The same name for both.
        spec.step = 7;
        let walls = spec.walls.as_mut().unwrap();
        walls.protected = vec!["kept".into()];
        (dir, spec)
    };
    let (ready, spec) = command();
    assert_eq!(pool.launch(&ready, &spec).unwrap(), Launched::Started);
    let (_, of_the_ready) = ended(&ready);
    assert_handed_over(&shims, &ready);
    let (cold, spec) = command();
    common::start(&cold, &spec);
    let (_, of_the_cold) = ended(&cold);
    for (ready, cold) in [
        (&of_the_ready.stdout, &of_the_cold.stdout),
        (&of_the_ready.stderr, &of_the_cold.stderr),
    ] {
        let (ready, cold) = (text(&ready.head), text(&cold.head));
        let both = ready.lines().zip(cold.lines());
        both.for_each(|(ready, cold)| assert_eq!(ready, cold));
        assert_eq!(ready.lines().count(), cold.lines().count());
    }
    let told = text(&of_the_ready.stdout.head);
    for word in [
        " /workspace/kept ro,",
        " /home/agent rw,nosuid,nodev",
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
        "agent:x:1000",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(!told.contains("be written"), "{told}");
    assert!(
        told.contains(" /etc/passwd "),
        "what is in a folder is listed: {told}"
    );
}

/// What waits is of no session, whoever had the last command.
#[test]
fn what_waits_behind_walls_has_nothing_of_the_session_before_nor_has_the_next_command() {
    let (Some(before), Some(next)) = (Rig::isolated(), Rig::isolated()) else {
        return;
    };
    let pool = pool_of(&before);
    let line = "echo canary > /tmp/canary; echo canary > canary; echo canary > ~/canary";
    warm(&pool, &before.shell(line));
    let shims = waiting(before.path());
    let is_root = rustix::process::geteuid().is_root();
    for pid in &shims {
        // Of what is closed only root reads this; the shims themselves have no root of their own.
        let Ok(mounts) = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")) else {
            assert!(!is_root, "root may look");
            continue;
        };
        let ends_in = |end: &str| mounts.lines().any(|line| line.split(' ').nth(4) == Some(end));
        assert!(
            !ends_in("/proc/workspace") && !ends_in("/proc/home/agent"),
            "{mounts}"
        );
        let is_init = shims.iter().any(|shim| is_child(*pid, *shim));
        assert_eq!(ends_in("/proc/dev/shm"), is_init, "its walls stand: {mounts}");
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        let other = before.walls().host_uid.map(|uid| uid.to_string());
        assert!(!other.is_some_and(|uid| map.contains(&uid)), "{map}");
    }
    let look = "find / -name canary 2>/dev/null; cat /proc/self/mountinfo; cat ~/canary canary /tmp/canary; echo next > mine";
    let (dir, mut spec) = next.shell(look);
    spec.groups = common::groups();
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    let output = ended(&dir).1;
    assert_handed_over(&shims, &dir);
    let told = text(&output.stdout.head);
    let of_before = before.path().to_str().unwrap();
    assert!(!told.contains("canary") && !told.contains(of_before), "{told}");
    assert_eq!(next.file("mine"), "next\n");
    if let Some(uid) = next.walls().host_uid {
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(next.ws().join("mine")).unwrap());
        assert_eq!(owner, uid);
    }
}

/// A program that knows nothing of ready shims, as one of an earlier version, is started for each command as ever.
#[test]
fn a_program_that_cannot_wait_is_started_for_each_command() {
    let rig = Rig::new();
    let old = rig.path().join("old");
    let script = format!(
        "#!/bin/sh\n[ $# = 2 ] || exit 2\nexec {} \"$@\"\n",
        shim_exe().display()
    );
    std::fs::write(&old, script).unwrap();
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let pool = Pool::new(old, rig.path().to_owned());
    for _ in 0..3 {
        let (dir, spec) = rig.shell("echo told");
        assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
        assert_eq!(text(&ended(&dir).1.stdout.head), "told\n");
        assert_eq!(pool.ready(), 0);
    }
}

/// What is mounted after a sandbox was begun is not seen from inside it, and the workspace could be there.
#[test]
#[ignore = "needs unshare and mount (util-linux)"]
fn a_workspace_that_was_mounted_over_meanwhile_is_the_one_that_is_worked_in() {
    play_with_mounts_of_its_own("mount");
}

/// A shim holds the files of the machine that it shows; one that was replaced by another since is not the one to show.
#[test]
#[ignore = "needs unshare and mount (util-linux)"]
fn a_file_of_the_machine_that_was_replaced_meanwhile_is_shown_as_it_is_now() {
    play_with_mounts_of_its_own("replace");
}

fn play_with_mounts_of_its_own(role: &str) {
    let Some(rig) = Rig::isolated() else { return };
    let root = rustix::process::geteuid().is_root();
    let mut unshare = Command::new("unshare");
    unshare
        .args([if root { "-m" } else { "-rm" }, "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--nocapture"])
        .env(ROLE, role)
        .env(PLACE, rig.path())
        .stdin(Stdio::null());
    if !root {
        // Who is root in there only can make no control group.
        unshare.env_remove("SANDBOX_REQUIRE");
    }
    let output = watched::output(&mut unshare);
    assert!(output.status.success(), "{output:?}");
}

fn mount_in_memory(place: &Path) {
    let mut mount = Command::new("mount");
    let mounted = mount.args(["-t", "tmpfs", "none"]).arg(place).status();
    assert!(mounted.unwrap().success());
}

/// Runs in a mount namespace of its own.
fn mounted_over(rig: &Rig, pool: &Pool) {
    warm(pool, &rig.shell("true"));
    mount_in_memory(&rig.ws());
    // The workspace is the session's own, and so is what was mounted on it.
    let (dir, spec) = rig.shell("echo run >> effects");
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    assert_eq!(ended(&dir).0.verdict, exited(0));
    assert_eq!(rig.file("effects"), "run\n", "where everybody else sees it");
}

/// Runs in a mount namespace of its own.
fn replaced(rig: &Rig, pool: &Pool, place: &Path) {
    // A place of the machine where this may make files, and that no command has of its own.
    let shown = Path::new("/mnt");
    mount_in_memory(shown);
    let tool = shown.join("tool");
    std::fs::write(&tool, "old\n").unwrap();
    let command = || {
        let (dir, mut spec) = rig.shell("cat /mnt/tool");
        spec.walls.as_mut().unwrap().read_only = vec![tool.clone()];
        (dir, spec)
    };
    warm(pool, &command());
    let shims = waiting(place);
    let draft = shown.join("draft");
    std::fs::write(&draft, "new\n").unwrap();
    std::fs::rename(&draft, &tool).unwrap();
    let (dir, spec) = command();
    assert_eq!(pool.launch(&dir, &spec).unwrap(), Launched::Started);
    assert_eq!(text(&ended(&dir).1.stdout.head), "new\n");
    assert_handed_over(&shims, &dir);
}
