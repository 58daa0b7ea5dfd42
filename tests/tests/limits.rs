//! Sessions whose commands want more than they may have, and workspaces full of traps: each leaves a record that says
//! what happened, and the session takes the next message.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul::api::{RecordView, Send as Message, Start, WorkspaceWish};
use longhaul::sandbox::SandboxOptions;
use longhaul::{Control, LimitsMode, Runtime};
use longhaul_actors::session::{Mode, ResourcesWish, SendMode, WorkspaceKind};
use longhaul_tests::{close, lines, log_until, of_type, open, options, playbook, watched};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const ROLE: &str = "LONGHAUL_FULL_DISK_TEST";

async fn started(control: &Arc<dyn Control>, request: Start) -> String {
    let request = Start {
        goal: "want too much".into(),
        mode: Mode::Interactive,
        ..request
    };
    control.start(request).await.expect("it starts").id
}

/// The log up to the end of a turn, with what a person would need to see why it is not as expected.
async fn rested(control: &Arc<dyn Control>, id: &str) -> Vec<RecordView> {
    log_until(
        control,
        id,
        &["idle", "paused", "failed", "awaiting_input", "completed"],
    )
    .await
}

async fn takes_the_next_message(control: &Arc<dyn Control>, id: &str) {
    let turns = control.show(id).await.expect("it is there").turns;
    let message = Message {
        text: "go on".into(),
        mode: SendMode::Steer,
        idempotency_key: None,
        by: None,
    };
    control.send(id, message).await.expect("it takes messages");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = rested(control, id).await;
        let next = of_type(&log, "turn.completed")
            .into_iter()
            .find(|turn| turn.stored.turn == Some(turns + 1));
        if let Some(turn) = next {
            assert_eq!(turn.stored.data["reason"], "yielded", "{}", lines(&log));
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the next turn has not ended within a minute:\n{}",
            lines(&log)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A step of a playbook that goes on whatever comes of it.
fn step(words: &str) -> String {
    format!("[[step]]\n{words}\non_failure = \"next\"\n\n")
}

const YIELD: &str = "[[step]]\nyield = true\n\n";

/// B-HANDS-1: verdicts from evidence, in the session's own records, under limits that were pinned at its start.
#[tokio::test]
async fn commands_that_want_too_much_are_stopped_by_name_and_the_session_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let steps = [
        "run = [\"tail\", \"/dev/zero\"]",
        "run = \"yes\"",
        "run = \"i=0; while :; do head -c 3000000 /dev/zero > f$i; i=$((i+1)); done\"",
        "run = \"rm -rf f*\"",
        "run = \"exec truncate -s 1T sparse\"",
        "run = \"echo once; exec sleep 1000\"",
        "run = \"echo still here\"",
    ];
    let steps: String = steps.iter().map(|words| step(words)).collect();
    let brain = playbook(folder.path(), &format!("{steps}{YIELD}{YIELD}"));
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let request = Start {
        brain: Some(brain),
        resources: ResourcesWish {
            memory_bytes: Some(64 << 20),
            pids: Some(500),
            disk_bytes: Some(24 << 20),
            output_bytes: Some(1 << 20),
            silent_ms: Some(5_000),
            ..ResourcesWish::default()
        },
        ..Start::default()
    };
    let id = started(&control, request).await;
    let log = rested(&control, &id).await;
    let pinned = &log[0].stored.data["limits"]["resources"];
    assert_eq!(
        (&pinned["memoryBytes"], &pinned["pids"]),
        (&(64 << 20).into(), &500.into())
    );
    assert_eq!(
        pinned["diskFiles"], 1_000_000,
        "what was not asked for is pinned too"
    );
    let by = &of_type(&log, "sandbox.ready")[0].stored.data["isolation"]["limits"]["by"];
    let verdicts: Vec<_> = of_type(&log, "command.run")
        .iter()
        .map(|run| run.stored.data["verdict"].as_str().unwrap_or_default().to_owned())
        .collect();
    // Without a control group nobody counts kills: the allocation of the one process fails.
    let hog = if by == "rlimit" { "exited" } else { "oom_killed" };
    let expected = [
        hog,
        "output_limit",
        "disk_full",
        "exited",
        "disk_full",
        "timeout",
        "exited",
    ];
    assert_eq!(verdicts, expected, "{}", lines(&log));
    let data = |index: usize| &of_type(&log, "command.run")[index].stored.data;
    assert_eq!(data(0)["used"]["by"], *by);
    assert_eq!(
        (&data(2)["limit"], &data(4)["limit"]),
        (&"bytes".into(), &"file_size".into())
    );
    assert_eq!((&data(5)["idle"], &data(6)["code"]), (&true.into(), &0.into()));
    takes_the_next_message(&control, &id).await;
    close(runtime).await;
}

/// B-HANDS-1: what lies in a workspace is never waited for, never followed, and never a reason to stop.
#[tokio::test]
async fn a_workspace_full_of_traps_gives_answers_and_the_session_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let plant = "mkfifo pipe; ln -s /etc/passwd link; ln -s / root; ln -s loop loop; mknod device c 1 3 2>/dev/null || mkfifo device; \
                 : > \"$(printf 'not utf-8 \\\\377')\"; mkdir many && cd many && seq 20000 | xargs touch; echo $?";
    let steps = [
        format!("run = \"\"\"{plant}\"\"\""),
        "read = \"pipe\"".into(),
        "read = \"device\"".into(),
        "read = \"link\"".into(),
        "read = \"root/etc/passwd\"".into(),
        "read = \"loop\"".into(),
        "write = \"pipe\"\ncontent = \"x\"".into(),
        "artifact = \"pipe\"\nkind = \"report\"".into(),
        "list = \"\"".into(),
        "list = \"many\"".into(),
        "run = \"ls | wc -l; ls many | wc -l\"".into(),
    ];
    let steps: String = steps.iter().map(|words| step(words)).collect();
    let brain = playbook(folder.path(), &format!("{steps}{YIELD}{YIELD}"));
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let request = Start {
        brain: Some(brain),
        ..Start::default()
    };
    let id = started(&control, request).await;
    let log = rested(&control, &id).await;
    let shown = lines(&log);
    let runs = of_type(&log, "command.run");
    assert_eq!(runs[0].stored.data["code"], 0, "{shown}");
    assert_eq!(runs[1].stored.data["stdout"]["head"], "7\n20000\n", "{shown}");
    let codes: Vec<_> = of_type(&log, "tool.failed")
        .iter()
        .map(|failed| failed.stored.data["code"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(codes.len(), 7 - of_type(&log, "file.write").len(), "{shown}");
    assert!(
        codes.iter().all(
            |code| ["not_a_regular_file", "symlink_refused", "outside_workspace"].contains(&code.as_str())
        ),
        "{shown}"
    );
    let listings = of_type(&log, "tool.completed");
    let output = |index: usize| {
        listings[index].stored.data["output"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        output(0).contains("not utf-8") && output(0).contains("many/"),
        "{}",
        output(0)
    );
    assert!(output(1).contains("and more"), "a thousand names are enough");
    takes_the_next_message(&control, &id).await;
    close(runtime).await;
}

/// B-HANDS-4: who asks for control groups gets them or a refusal by name, and nothing is executed.
#[tokio::test]
async fn limits_that_cannot_be_had_are_refused_by_name() {
    if longhaul_hands::probe_groups().is_ok() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), "[[step]]\nrun = \"echo ran > effect\"\n");
    let mut options = options(PROGRAM);
    options.limiting.mode = LimitsMode::Cgroup;
    let runtime = Runtime::open(folder.path().join("data"), options)
        .await
        .expect("it opens");
    let control = runtime.control();
    let request = Start {
        brain: Some(brain),
        ..Start::default()
    };
    let request = Start {
        goal: "run".into(),
        ..request
    };
    let refused = control.start(request).await.expect_err("no group can be made");
    assert_eq!(refused.code.name(), "sandbox_unavailable");
    assert!(refused.detail.contains("limits.cgroup_unavailable"), "{refused}");
    close(runtime).await;
}

/// B-HANDS-1: a disk that is full for real: commands and file tools fail with a clear word, and go on once there is room.
#[test]
#[ignore = "needs user namespaces, unshare and mount (util-linux)"]
fn a_full_disk_is_said_to_be_full_and_the_session_goes_on() {
    if let Some(folder) = std::env::var_os(ROLE) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        return runtime.block_on(on_a_small_disk(Path::new(&folder)));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut unshare = std::process::Command::new("unshare");
    unshare
        .args(["-rm", "--"])
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "a_full_disk_is_said_to_be_full_and_the_session_goes_on",
            "--ignored",
            "--nocapture",
        ])
        .env(ROLE, folder.path())
        .stdin(std::process::Stdio::null());
    let output = watched::output(&mut unshare);
    assert!(output.status.success(), "{output:?}");
}

/// Runs in a mount namespace of its own.
async fn on_a_small_disk(folder: &Path) {
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).expect("made");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m", "none"])
        .arg(&disk)
        .status();
    assert!(mounted.expect("mount is there").success());
    let big = "x".repeat(40_000);
    let steps = [
        "run = \"dd if=/dev/zero of=fill bs=64k\"".to_owned(),
        format!("write = \"notes\"\ncontent = \"{big}\""),
        "run = \"rm fill\"".into(),
        format!("write = \"notes\"\ncontent = \"{big}\""),
        "run = \"wc -c < notes\"".into(),
    ];
    let steps: String = steps.iter().map(|words| step(words)).collect();
    let brain = playbook(folder, &format!("{steps}{YIELD}{YIELD}"));
    for reserve in [0, 1 << 20] {
        let mut options = options(PROGRAM);
        options.limiting.disk_reserve = reserve;
        // Root of a user namespace of one user has nobody else that commands could be.
        options.sandbox = SandboxOptions::process();
        let runtime = Runtime::open(folder.join(format!("data-{reserve}")), options)
            .await
            .expect("it opens");
        let control = runtime.control();
        let request = Start {
            brain: Some(brain.clone()),
            workspace: WorkspaceWish {
                kind: WorkspaceKind::InPlace,
                source: disk.display().to_string(),
                ..WorkspaceWish::default()
            },
            ..Start::default()
        };
        let id = started(&control, request).await;
        let log = rested(&control, &id).await;
        let shown = lines(&log);
        let runs = of_type(&log, "command.run");
        if reserve == 0 {
            assert_eq!(runs[0].stored.data["code"], 1, "{shown}");
            let failed = of_type(&log, "tool.failed");
            assert_eq!(failed[0].stored.data["code"], "disk_full", "{shown}");
        } else {
            let end = &runs[0].stored.data;
            // Who fills it faster than anybody looks meets the end of the disk itself.
            assert!(end["limit"] == "reserve" || end["code"] == 1, "{shown}");
        }
        assert_eq!(runs[2].stored.data["stdout"]["head"], "40000\n", "{shown}");
        takes_the_next_message(&control, &id).await;
        close(runtime).await;
    }
}

/// B-HANDS-4; hands test D1: root on a machine whose control groups cannot be written is refused by name and told the way
/// on, which works.
#[test]
#[ignore = "needs root, unshare and mount (util-linux)"]
fn read_only_control_groups_are_refused_by_name_and_rlimits_are_the_way_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let read_only = "grep ' - cgroup' /proc/self/mountinfo | cut -d' ' -f5 | while read -r place; do mount -o remount,bind,ro \"$place\"; done";
    let doctor = |flags: &str| {
        let line = format!(
            "{read_only}; exec {PROGRAM} --json --data {} {flags}",
            data.display()
        );
        let mut unshare = std::process::Command::new("unshare");
        unshare
            .args(["-m", "--propagation", "private", "--", "sh", "-c", &line])
            .stdin(std::process::Stdio::null())
            // No repository, of which a clone would be made.
            .current_dir(folder.path());
        let output = watched::output(&mut unshare);
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.code(), String::from_utf8(said).expect("plain text"))
    };
    let (code, said) = doctor("serve --sandbox isolated");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("limits.cgroup_unavailable") && said.contains("--limits=rlimit"),
        "{said}"
    );
    let (code, said) = doctor("serve --sandbox process --require cgroup");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("limits.cgroup_unavailable"), "{said}");
    let step = step("run = \"echo ran\"");
    let brain = playbook(folder.path(), &step);
    let (code, said) = doctor(&format!(
        "run --sandbox isolated --limits rlimit --brain {brain} goal"
    ));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"by\":\"rlimit\""), "{said}");
}
