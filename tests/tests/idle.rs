//! What sessions hold while they do nothing: files, and nothing else. Counted with real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use longhaul::Control;
use longhaul_actors::session::Limits;
use longhaul_tests::child::Child;
use longhaul_tests::{
    YIELDS, close, limited, log_until, of_type, open, playbook, say, shell_brain, types, until_record,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// Starts a session that hibernates as soon as its turn is over.
async fn sleepy(control: &Arc<dyn Control>, brain: String) -> String {
    let limits = Limits {
        idle_ms: 1,
        ..Limits::default()
    };
    limited(control, brain, limits).await
}

/// Waits until this holds; gives up after two minutes, which is a failure.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not within two minutes: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Open descriptors of a process, but for the segments of its journal: the next one is made ready whenever it is time for it.
fn descriptors(of: u32) -> usize {
    let open = fs::read_dir(format!("/proc/{of}/fd")).into_iter().flatten();
    let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| !target.to_string_lossy().contains("/data/journal/"))
        .count()
}

/// Processes below this one, those of its brains and commands among them. A zombie is dead.
fn children(of: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = after_name.split(' ');
        fields.next() != Some("Z") && fields.next() == Some(&of.to_string())
    };
    pids.filter(is_child).collect()
}

fn mounts(of: u32) -> usize {
    fs::read_to_string(format!("/proc/{of}/mountinfo")).map_or(0, |text| text.lines().count())
}

/// Resident memory, KiB.
fn resident(of: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{of}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or(0)
}

/// B-IDLE-1: a thousand sessions, each with a brain process of its own, have worked and hibernate: no process is left of
/// them, no thread, no descriptor and no mount more than before.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_sessions_hold_no_process_no_thread_no_descriptor_and_no_mount() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = shell_brain(folder.path(), "brief", "", YIELDS);
    let mut child = Child::start(&[], PROGRAM, &folder.path().join("data"));
    let control = child.control().await.expect("it serves");
    let pid = child.pid().expect("it runs");
    let tasks = format!("/proc/{pid}/task");
    // One goes first, so that what is made once for all of them is there.
    let first = sleepy(&control, brain.clone()).await;
    log_until(&control, &first, &["hibernated"]).await;
    until("the first brain is gone", || children(pid).is_empty()).await;
    let (fds_before, mounts_before, resident_before) = (descriptors(pid), mounts(pid), resident(pid));

    let work = |_| {
        let (control, brain) = (Arc::clone(&control), brain.clone());
        async move {
            let id = sleepy(&control, brain).await;
            log_until(&control, &id, &["hibernated"]).await;
        }
    };
    futures_util::stream::iter(0..1_000)
        .map(work)
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;

    until("no brain is left", || children(pid).is_empty()).await;
    until("no descriptor is left", || descriptors(pid) <= fds_before).await;
    // The pool of threads that wait for the disk shrinks by itself, and does not grow with the sessions.
    until("no thread is left", || count(&tasks) < 64).await;
    assert_eq!(mounts(pid), mounts_before);
    println!(
        "resident: {resident_before} KiB with 1 idle session, {} KiB with 1,001",
        resident(pid)
    );
    child.stop().await;
}

/// B-IDLE-1: no actor is held for a session that hibernates, and the next message finds its brain again.
#[tokio::test]
async fn a_session_that_hibernates_holds_no_actor_and_the_next_message_wakes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = shell_brain(folder.path(), "brief", "", YIELDS);
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = sleepy(&control, brain).await;
    log_until(&control, &id, &["hibernated"]).await;
    until("the actor is gone", || runtime.awake() == 0).await;
    say(&control, &id, "once more").await;
    until_record(&control, &id, "session.woken", "").await;
    let log = log_until(&control, &id, &["hibernated"]).await;
    let ends = of_type(&log, "turn.completed");
    assert!(ends.iter().all(|end| end.stored.data["reason"] == "yielded"));
    assert_eq!(
        of_type(&log, "session.hibernated").len(),
        ends.len(),
        "{:?}",
        types(&log)
    );
    until("the actor is gone again", || runtime.awake() == 0).await;
    close(runtime).await;
}

/// B-IDLE-1: a session that asks may wait for days; its brain does not wait with it.
#[tokio::test]
async fn a_session_that_awaits_an_answer_holds_no_brain() {
    let folder = tempfile::tempdir().expect("a folder");
    let asks =
        r#"echo "{\"type\":\"answer\",\"step\":$step,\"end\":{\"kind\":\"ask\",\"text\":\"which?\"}}""#;
    let pid = folder.path().join("pid");
    let brain = shell_brain(
        folder.path(),
        "curious",
        &format!("echo $$ > {}", pid.display()),
        asks,
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = sleepy(&control, brain).await;
    log_until(&control, &id, &["awaiting_input"]).await;
    let pid = fs::read_to_string(&pid).expect("it was there");
    until("the brain is gone", || {
        !Path::new(&format!("/proc/{}", pid.trim())).exists()
    })
    .await;
    close(runtime).await;
}

/// Everything that can be seen of a tree from outside.
fn seen(root: &Path) -> BTreeMap<PathBuf, String> {
    longhaul_tests::tree(root, |meta| {
        let (owner, mtime) = ((meta.uid(), meta.gid()), (meta.mtime(), meta.mtime_nsec()));
        format!("{:o} {owner:?} {mtime:?} {}", meta.mode(), meta.nlink())
    })
}

const PECULIAR: &str = r##"
[[step]]
run = """
set -e
umask 022
printf 'a\\000b\\377' > bytes; chmod 640 bytes; touch -d 2001-02-03T04:05:06.789 bytes
printf '#!/bin/sh\n' > tool; chmod 4755 tool
mkdir -m 1777 empty; mkdir -p deep/er; echo x > deep/er/file; chmod 700 deep
ln -s tool link; ln -s /nowhere/at/all dangling; ln -s .. deep/up
ln tool hard; mkfifo pipe
name=$(printf 'not \\377 text'); echo y > "$name"
touch -d 1999-12-31 deep empty
"""

[[step]]
yield = true

[[step]]
run = "true"

[[step]]
yield = true
"##;

/// B-IDLE-1: files, modes, links and times are the same after the wake, also when the server was another one meanwhile.
#[tokio::test]
async fn files_are_the_same_after_the_wake() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let brain = playbook(folder.path(), PECULIAR);
    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    let id = sleepy(&control, brain).await;
    let log = log_until(&control, &id, &["hibernated"]).await;
    assert_eq!(of_type(&log, "command.run")[0].stored.data["code"], 0, "{log:?}");
    let workspace = PathBuf::from(
        control
            .show(&id)
            .await
            .expect("it is there")
            .workspace
            .expect("it has one"),
    );
    let before = seen(&workspace);
    assert_eq!(before.len(), 12, "{before:#?}");
    close(runtime).await;

    let runtime = open(&data, PROGRAM).await;
    let control = runtime.control();
    say(&control, &id, "go on").await;
    until_record(&control, &id, "session.woken", "").await;
    log_until(&control, &id, &["hibernated"]).await;
    assert_eq!(seen(&workspace), before);
    close(runtime).await;
}
