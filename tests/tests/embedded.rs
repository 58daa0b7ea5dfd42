//! A runtime inside a program of one's own.

use longhaul::api::Code;
use longhaul::{Control, Runtime};
use longhaul_tests::{lines, log_until, of_type, open, options, playbook, start, types};

const SHIM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const README: &str = env!("CARGO_BIN_EXE_embedded-under-test");

/// B-EMBED-1, B-HANDS-1, B-ART-1: the thinnest real path, in a plain tokio program.
#[tokio::test]
async fn a_playbook_runs_from_start_to_finish() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), SHIM).await;
    let control = runtime.control();
    let brain = playbook(
        folder.path(),
        "[[step]]\nsay = \"hi\"\n\n[[step]]\nrun = \"echo out; echo err >&2; exit 3\"\non_failure = \"next\"\n\n\
         [[step]]\nwrite = \"a.txt\"\ncontent = \"one\\n\"\n\n[[step]]\nreplace = \"a.txt\"\nold = \"one\"\nnew = \"two\"\n\n\
         [[step]]\nrun = \"cat a.txt\"\nexpect = { stdout_contains = \"two\" }\n\n\
         [[step]]\nartifact = \"a.txt\"\nkind = \"report\"\n",
    );
    let started = start(&control, brain, "say hi and edit a file").await;
    let log = log_until(
        &control,
        &started.id,
        &["completed", "failed", "paused", "awaiting_input"],
    )
    .await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    let run = of_type(&log, "command.run")[0];
    assert_eq!(run.stored.data["code"], 3);
    assert_eq!(run.stored.data["stdout"]["head"], "out\n");
    assert_eq!(run.stored.data["stderr"]["head"], "err\n");
    assert_eq!(
        run.stored.data["isolation"], "process",
        "every command says how it was walled in"
    );
    let kept = of_type(&log, "artifact.created")[0];
    let made = of_type(&log, "tool.started")
        .into_iter()
        .find(|made| made.stored.data["tool"] == "artifact")
        .expect("a step made it");
    assert_eq!(kept.stored.data["step"], made.stored.data["step"]);
    assert_eq!(kept.stored.data["kind"], "report");
    let content = kept.content.as_ref().expect("it says where its bytes are");
    assert_eq!(blob(&*control, &content.sha256).await, b"two\n");
    // Of "two\n", by another program.
    assert_eq!(
        content.sha256,
        "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a"
    );
    runtime.close().await;
}

/// B-EMBED-1: the program of the README does what it says, in an empty folder and once more in the same one.
#[test]
fn the_example_of_the_readme_waits_until_its_session_has_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("steps.toml"),
        "[[step]]\nrun = \"echo hi\"\n\n[[step]]\nfinish = \"greeted\"\n",
    )
    .expect("written");
    for _ in 0..2 {
        let run = std::process::Command::new(README)
            .current_dir(folder.path())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&run.stdout);
        let complaint = String::from_utf8_lossy(&run.stderr);
        if complaint.contains("SandboxUnavailable") {
            // It asks for walls, as everybody does who says nothing else; this machine cannot build them, and that is told.
            return;
        }
        assert!(run.status.success(), "{said}{complaint}");
        assert_eq!(said.matches("command.run").count(), 1, "{said}");
        assert!(said.contains("session.completed"), "{said}");
        assert!(said.trim_end().ends_with(" is completed"), "{said}");
    }
}

/// B-EMBED-1: two runtimes in one process, and the same directory again after `close`, in a plain tokio program.
#[test]
fn two_runtimes_live_in_one_process_and_a_directory_opens_again_after_close() {
    fn may_cross_threads<T: Send + Sync + Clone + 'static>(_: &T) {}
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    threads.expect("threads").block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let brain = playbook(folder.path(), "[[step]]\nrun = \"echo hi\"\n");
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        for round in 0..2 {
            let (first, second) = (open(&one, SHIM).await, open(&other, SHIM).await);
            may_cross_threads(&first);
            may_cross_threads(&first.control());
            let held = Runtime::open(&one, options(SHIM)).await;
            assert_eq!(
                held.expect_err("it is in use").code,
                Code::DataDirInUse,
                "round {round}"
            );
            for runtime in [&first, &second] {
                let control = runtime.control();
                let id = start(&control, brain.clone(), "say hi").await.id;
                let log = tokio::spawn(async move { log_until(&control, &id, &["completed"]).await });
                let log = log.await.expect("a handle works on any thread");
                assert_eq!(of_type(&log, "command.run").len(), 1, "{}", lines(&log));
            }
            first.close().await;
            second.close().await;
        }
        let runtime = open(&one, SHIM).await;
        let page = runtime.control().list(Default::default()).await.expect("listed");
        assert_eq!(page.sessions.len(), 2, "one of each round");
        runtime.close().await;
    });
}

/// B-EMBED-1: the process belongs to whoever embeds us. It runs in one of its own, which no other test has touched.
#[test]
fn no_signal_handler_subscriber_or_panic_hook_is_installed() {
    const NAME: &str = "no_signal_handler_subscriber_or_panic_hook_is_installed";
    const ALONE: &str = "LONGHAUL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().expect("it runs");
        let alone = std::process::Command::new(this)
            .args(["--exact", NAME, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(alone.status.success() && said.contains("1 passed"), "{alone:?}");
        return;
    }
    // A box that holds something has an address, by which it is known again.
    let kept = NAME.to_owned();
    let hook: Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync> =
        Box::new(move |info| println!("{kept}: {info}"));
    let address = std::ptr::from_ref(&*hook).cast::<()>();
    std::panic::set_hook(hook);
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let threads = threads.expect("threads");
    let before = caught_signals();
    threads.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let brain = playbook(folder.path(), "[[step]]\nrun = \"echo hi\"\n");
        let runtime = open(&folder.path().join("data"), SHIM).await;
        let control = runtime.control();
        let id = start(&control, brain, "say hi").await.id;
        let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
        assert_eq!(of_type(&log, "command.run").len(), 1, "{}", lines(&log));
        assert_eq!(caught_signals(), before, "while it works");
        runtime.close().await;
    });
    assert_eq!(caught_signals(), before, "after it was closed");
    assert!(!tracing::dispatcher::has_been_set());
    let after = std::panic::take_hook();
    assert_eq!(std::ptr::from_ref(&*after).cast::<()>(), address);
}

/// Signals that this process has handlers for, one bit each.
fn caught_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is there");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    u64::from_str_radix(caught.expect("the kernel tells").trim(), 16).expect("it is hexadecimal")
}

/// B-EMBED-2: without a program to run commands, nothing is opened.
#[tokio::test]
async fn a_shim_that_is_not_there_is_said_at_open() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let opened = Runtime::open(&data, options("/nowhere/longhaul")).await;
    let problem = opened.expect_err("there is no such program");
    assert_eq!(problem.code, Code::ShimNotFound);
    assert!(problem.detail.contains("longhaul::intercept()"), "{problem}");
    assert!(!data.exists(), "nothing was made");
}

/// B-LOG-4, B-LOG-2: five megabytes of output: a small record that names a blob, which has every byte.
#[tokio::test]
async fn a_long_output_is_kept_whole_beside_a_small_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"echo first; head -c 5000000 /dev/zero | tr '\\\\0' x; echo last\"\n",
    );
    let runtime = open(&folder.path().join("data"), SHIM).await;
    let control = runtime.control();
    let id = start(&control, brain, "say much").await.id;
    let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
    let run = of_type(&log, "command.run")[0];
    let stored = serde_json::to_vec(&run.stored).expect("it serializes");
    assert!(stored.len() < 64 << 10, "the record has {} bytes", stored.len());
    let stdout = &run.stored.data["stdout"];
    assert!(
        stdout["head"]
            .as_str()
            .is_some_and(|head| head.starts_with("first\nxxx"))
    );
    assert!(
        stdout["tail"]
            .as_str()
            .is_some_and(|tail| tail.ends_with("xxxlast\n"))
    );
    let bytes = blob(
        &*control,
        stdout["sha256"].as_str().expect("it is named by its hash"),
    )
    .await;
    assert_eq!(bytes.len(), 6 + 5_000_000 + 5);
    assert_eq!(stdout["bytes"], bytes.len());
    let content = run.content.as_ref().expect("it is said where the bytes are");
    assert_eq!(
        (content.sha256.as_str(), content.bytes),
        (stdout["sha256"].as_str().expect("seen above"), bytes.len() as u64)
    );
    assert_eq!(content.href, format!("/v1/blobs/{}", content.sha256));
    assert!(bytes[6..5_000_006].iter().all(|byte| *byte == b'x'));
    let file = folder.path().join("content");
    std::fs::write(&file, &bytes).expect("written");
    let sum = std::process::Command::new("sha256sum").arg(&file).output();
    if let Ok(sum) = sum {
        let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
        assert!(
            sum.starts_with(stdout["sha256"].as_str().expect("seen above")),
            "{sum}"
        );
    }
    runtime.close().await;
}

async fn blob(control: &dyn Control, sha256: &str) -> Vec<u8> {
    control.blob(sha256).await.expect("it is kept")
}
