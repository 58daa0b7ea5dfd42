//! Starting: what the answer promises, get or create, and the workspace that a session begins with.

use std::path::Path;
use std::process::Command;

use longhaul::Runtime;
use longhaul::api::{Code, LimitsWish, Start, WorkspaceWish};
use longhaul_actors::session::{Mode, WorkspaceKind};
use longhaul_tests::child::Child;
use longhaul_tests::{close, lines, log_until, of_type, open, options, playbook, start, types};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// B-START-1: the server is killed right after it answered; the session exists, and runs after the restart.
#[tokio::test]
async fn a_session_whose_start_was_answered_survives_the_kill_that_follows() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let brain = playbook(folder.path(), "[[step]]\nrun = \"echo hi\"\n");
    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let started = start(&control, brain, "survive").await;
    child.kill().await;
    assert!(started.head >= 2, "its first record and its goal are on disk");

    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let log = log_until(&control, &started.id, &["completed", "failed", "paused"]).await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    assert_eq!(of_type(&log, "command.run").len(), 1);
    assert!(child.stop().await.success());
}

/// B-START-2: twenty identical creates at once make one session; the same key with another body is a conflict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_identical_creates_make_one_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), "[[step]]\nsay = \"hi\"\n");
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    for by_name in [true, false] {
        let request = Start {
            goal: "be one".into(),
            brain: Some(brain.clone()),
            mode: Mode::Bounded,
            key: by_name.then(|| "nightly".into()),
            idempotency_key: (!by_name).then(|| "request 1".into()),
            metadata: Some("{ \"a\" :1}".into()),
            ..Start::default()
        };
        let creates: Vec<_> = (0..20)
            .map(|_| {
                let (control, request) = (runtime.control(), request.clone());
                tokio::spawn(async move { control.start(request).await.expect("it starts") })
            })
            .collect();
        let mut ids = Vec::new();
        let mut fresh = 0;
        for create in creates {
            let started = create.await.expect("it answers");
            fresh += usize::from(!started.repeated);
            ids.push(started.id);
        }
        ids.dedup();
        assert_eq!((ids.len(), fresh), (1, 1));
        let shown = runtime.control().show(&ids[0]).await.expect("it is there");
        assert_eq!(shown.metadata, request.metadata, "returned byte-equal");

        let other = Start {
            goal: "be another".into(),
            ..request
        };
        let problem = runtime.control().start(other).await.expect_err("another body");
        assert_eq!(problem.code, Code::IdempotencyConflict);
    }
    let page = runtime.control().list(Default::default()).await.expect("listed");
    assert_eq!(page.sessions.len(), 2);
    close(runtime).await;
}

/// B-START-2: a start that named one bound once lost every other bound that the operator had configured.
#[tokio::test]
async fn a_bound_of_a_request_leaves_the_configured_ones_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = options(PROGRAM);
    (options.limits.approval_ms, options.limits.turn_steps) = (7_000, 9);
    options.limits.resources.memory_bytes = 1 << 30;
    let runtime = Runtime::open(folder.path().join("data"), options)
        .await
        .expect("it opens");
    let control = runtime.control();
    let request = |turn_steps| Start {
        goal: "be held to bounds".into(),
        brain: Some(playbook(folder.path(), "[[step]]\nsay = \"hi\"\n")),
        key: Some("nightly".into()),
        limits: Some(LimitsWish {
            turn_steps: Some(turn_steps),
            ..LimitsWish::default()
        }),
        ..Start::default()
    };
    let started = control.start(request(3)).await.expect("it starts");
    let log = log_until(&control, &started.id, &["completed", "failed", "paused"]).await;
    let limits = &of_type(&log, "session.started")[0].stored.data["limits"];
    let found = ["turnSteps", "approvalMs", "turnMs"].map(|bound| limits[bound].as_u64());
    assert_eq!(found, [Some(3), Some(7_000), Some(1_800_000)]);
    assert_eq!(limits["resources"]["memoryBytes"], 1 << 30);

    let again = control.start(request(3)).await.expect("it is the same request");
    assert_eq!((again.id, again.repeated), (started.id, true));
    let problem = control.start(request(4)).await.expect_err("another bound");
    assert_eq!(problem.code, Code::IdempotencyConflict);
    close(runtime).await;
}

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args([
            "-c",
            "user.name=A",
            "-c",
            "user.email=a@example.invalid",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(words)
        .output()
        .expect("git is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {words:?}: {complaint}");
    said
}

/// B-START-4: a clone of HEAD with the uncommitted and untracked changes on top; the user's own tree is not touched, and
/// the patch applies to it.
#[tokio::test]
async fn a_clone_takes_the_uncommitted_work_along_and_gives_a_patch_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "--quiet"]);
    let write = |name: &str, text: &str| std::fs::write(repository.join(name), text).expect("written");
    write("code.sh", "echo one\n");
    write("kept.txt", "kept\n");
    write(".gitignore", "ignored.txt\n");
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    let upstream = "https://ann:hunter2@git.example/a.git";
    git(&repository, &["remote", "add", "origin", upstream]);
    write("code.sh", "echo two\n");
    write("untracked.txt", "mine\n");
    write("ignored.txt", "secret\n");
    let before = git(&repository, &["status", "--porcelain=v2", "--branch"]);

    let brain = playbook(
        folder.path(),
        "[[step]]\nrun = \"cat code.sh untracked.txt; test ! -e ignored.txt\"\nexpect = { stdout_contains = \"echo two\" }\n\n\
         [[step]]\nreplace = \"code.sh\"\nold = \"two\"\nnew = \"three\"\n\n\
         [[step]]\nwrite = \"new.txt\"\ncontent = \"new\\n\"\n\n\
         [[step]]\nrun = \"git log -1 --format=%s\"\nexpect = { stdout_contains = \"first\" }\n\n\
         [[step]]\nrun = \"git remote get-url origin; ! grep -r hunter2 .git\"\nexpect = { stdout_contains = \"https://git.example/a.git\" }\n",
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let request = Start {
        goal: "count on".into(),
        brain: Some(brain),
        mode: Mode::Bounded,
        workspace: WorkspaceWish {
            kind: WorkspaceKind::Clone,
            source: repository.display().to_string(),
            ..WorkspaceWish::default()
        },
        ..Start::default()
    };
    let id = control.start(request).await.expect("it starts").id;
    let log = log_until(
        &control,
        &id,
        &["completed", "failed", "paused", "awaiting_input"],
    )
    .await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));

    let after = git(&repository, &["status", "--porcelain=v2", "--branch"]);
    assert_eq!(after, before, "the user's own tree is untouched");
    let read = |name: &str| std::fs::read_to_string(repository.join(name)).expect("readable");
    assert_eq!(
        (read("code.sh").as_str(), read("untracked.txt").as_str()),
        ("echo two\n", "mine\n")
    );

    let artifacts = of_type(&log, "artifact.created");
    let [patch] = artifacts[..] else {
        panic!("one patch:\n{}", lines(&log))
    };
    assert_eq!(patch.stored.data["kind"], "patch");
    let sha256 = patch.stored.data["sha256"]
        .as_str()
        .expect("it is named by its hash");
    let file = folder.path().join("changes.patch");
    std::fs::write(&file, control.blob(sha256).await.expect("it is kept")).expect("written");
    git(&repository, &["apply", &file.display().to_string()]);
    assert_eq!(
        (read("code.sh").as_str(), read("new.txt").as_str()),
        ("echo three\n", "new\n")
    );
    close(runtime).await;
}
