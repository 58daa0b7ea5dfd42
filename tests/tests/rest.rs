//! What is left of sessions that wait: files, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use longhaul::Control;
use longhaul::api::Start;
use longhaul_actors::session::Mode;
use longhaul_tests::leftovers::{self, Leftovers};
use longhaul_tests::{close, log_until, open, playbook, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// Sessions that are begun at one time.
const AT_ONCE: usize = 16;

/// B-IDLE-1; hands test E2
#[tokio::test]
async fn sessions_that_ran_something_and_wait_hold_no_process_no_mount_and_no_control_group() {
    let deep = std::env::var_os("LONGHAUL_TEST_DEEP").is_some();
    let sessions = if deep { 1_000 } else { 24 };
    let folder = tempfile::tempdir().expect("a folder");
    let steps = "[[step]]\nrun = \"setsid sleep 1000 & echo done\"\n\n[[step]]\nyield = true\n";
    let brain = playbook(folder.path(), steps);
    let data = folder.path().join("data");
    let runtime = open(&data, PROGRAM).await;
    let before = Leftovers::now();
    let control = runtime.control();
    let ids: Vec<String> = stream::iter(0..sessions)
        .map(|_| rested(Arc::clone(&control), brain.clone()))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    assert_eq!(ids.len(), sessions);
    let mark = data.to_str().expect("plain text").as_bytes().to_vec();
    // A shim tells the end of its command before its own.
    until("shims, or what they left, are gone", || {
        processes_about(&mark).is_empty()
    })
    .await;
    for id in &ids {
        let name = id.trim_start_matches("s_");
        let mark = format!("LONGHAUL_STEP={name}/");
        assert_eq!(longhaul_tests::processes_with(&mark), [] as [u32; 0], "{id}");
    }
    assert_eq!(before.left_since(), BTreeSet::new(), "namespaces and mounts");
    for id in &ids {
        let held = leftovers::groups(id.trim_start_matches("s_"));
        assert_eq!(held, [] as [String; 0], "{id}");
    }
    close(runtime).await;
}

/// Starts a session and waits until it has nothing to do.
async fn rested(control: Arc<dyn Control>, brain: String) -> String {
    let request = Start {
        goal: "run one command and wait".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        ..Start::default()
    };
    let id = control.start(request).await.expect("it starts").id;
    let log = log_until(&control, &id, &["idle", "paused", "failed", "awaiting_input"]).await;
    let ran = longhaul_tests::of_type(&log, "command.run");
    assert_eq!(ran[0].stored.data["code"], 0, "{}", longhaul_tests::lines(&log));
    id
}

/// Other processes in whose command line this text stands.
fn processes_about(text: &[u8]) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && line.windows(text.len()).any(|window| window == text)
    })
    .collect()
}
