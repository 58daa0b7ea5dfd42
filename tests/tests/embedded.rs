//! A runtime inside a program of one's own.

use longhaul_tests::{lines, log_until, open, playbook, start, types};

const SHIM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// B-EMBED-1, B-START-1, B-HANDS-1: the thinnest real path, in a plain tokio program.
#[tokio::test]
async fn a_playbook_runs_from_start_to_finish() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = open(&folder.path().join("data"), SHIM).await;
    let control = runtime.control();
    let brain = playbook(
        folder.path(),
        "[[step]]\nsay = \"hi\"\n\n[[step]]\nrun = \"echo out; echo err >&2; exit 3\"\non_failure = \"next\"\n\n\
         [[step]]\nwrite = \"a.txt\"\ncontent = \"one\\n\"\n\n[[step]]\nreplace = \"a.txt\"\nold = \"one\"\nnew = \"two\"\n\n\
         [[step]]\nrun = \"cat a.txt\"\nexpect = { stdout_contains = \"two\" }\n",
    );
    let started = start(&control, brain, "say hi and edit a file").await;
    let log = log_until(
        &control,
        &started.id,
        &["completed", "failed", "paused", "awaiting_input"],
    )
    .await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    println!("{}", lines(&log));
    runtime.close().await;
}
