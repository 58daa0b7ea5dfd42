//! Sessions behind walls, from the start request to the patch: what they get, what is refused, and what a hostile
//! repository in the workspace can do to the machine.

use std::path::Path;
use std::process::Command;

use longhaul::api::{Decide, Start, WorkspaceWish};
use longhaul::sandbox::SandboxOptions;
use longhaul::{Options, Runtime};
use longhaul_actors::session::{ApprovalDecision, Mode, Sandbox, WorkspaceKind};
use longhaul_tests::child::Child;
use longhaul_tests::{close, lines, log_until, of_type, playbook, types, until_record};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

fn options(sandbox: SandboxOptions) -> Options {
    let mut options = longhaul_tests::options(PROGRAM);
    options.sandbox = sandbox;
    options
}

/// A runtime whose commands run behind walls; none, with a line that says why, on a machine that cannot build them.
async fn isolated(data: &Path) -> Option<Runtime> {
    let runtime = Runtime::open(data, options(SandboxOptions::default()))
        .await
        .expect("it opens");
    let probe = Start {
        goal: "find out".into(),
        brain: Some(playbook(
            data.parent().expect("it has one"),
            "[[step]]\nsay = \"hi\"\n",
        )),
        ..Start::default()
    };
    match runtime.control().start(probe).await {
        Ok(_) => Some(runtime),
        Err(problem) if std::env::var_os("SANDBOX_REQUIRE").is_some() => panic!("{problem:?}"),
        Err(problem) => {
            eprintln!("skipped: this machine cannot build the walls: {problem}");
            None
        }
    }
}

fn git(folder: &Path, words: &[&str]) {
    let name = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(name)
        .args(words)
        .output();
    let output = output.expect("git is there");
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn repository(folder: &Path) -> String {
    let repository = folder.join("repository");
    std::fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "--quiet"]);
    std::fs::write(repository.join("code"), "one\n").expect("written");
    git(&repository, &["add", "--all"]);
    git(&repository, &["commit", "--quiet", "-m", "first"]);
    repository.display().to_string()
}

fn request(folder: &Path, kind: WorkspaceKind, source: String, steps: &str) -> Start {
    Start {
        goal: "do it".into(),
        brain: Some(playbook(folder, steps)),
        mode: Mode::Bounded,
        workspace: WorkspaceWish {
            kind,
            source,
            ..WorkspaceWish::default()
        },
        ..Start::default()
    }
}

const RESTS: [&str; 4] = ["completed", "failed", "paused", "awaiting_input"];

/// B-HANDS-4: the log says what the session got; its own git configuration, prepared to execute a program wherever git is
/// run on it, executes nothing outside.
#[tokio::test]
async fn a_workspace_prepared_against_the_runtime_executes_nothing_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(runtime) = isolated(&folder.path().join("data")).await else {
        return;
    };
    let canary = folder.path().join("canary");
    let evil = format!("touch {}", canary.display());
    let lines_of = |words: &str| format!("[[step]]\nrun = '''{words}'''\n\n");
    let steps = lines_of(&format!(
        "printf '#!/bin/sh\\n{evil}; touch /workspace/ran; cat\\n' > evil && chmod +x evil && \
         git config core.fsmonitor /workspace/evil && git config core.hooksPath /workspace && cp evil post-index-change && \
         git config filter.x.clean /workspace/evil && git config diff.external /workspace/evil && \
         echo '* filter=x' > .gitattributes && echo two > code && ls / && ls /home"
    ));
    let start = request(
        folder.path(),
        WorkspaceKind::Clone,
        repository(folder.path()),
        &steps,
    );
    let control = runtime.control();
    let id = control.start(start).await.expect("it starts").id;
    let log = log_until(&control, &id, &RESTS).await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    assert_eq!(
        of_type(&log, "artifact.created").len(),
        1,
        "its patch was made: {}",
        lines(&log)
    );
    assert!(!canary.exists(), "{}", lines(&log));

    let ready = &of_type(&log, "sandbox.ready")[0].stored.data["isolation"];
    assert_eq!(ready["mode"], "isolated");
    assert_eq!(ready["network"], "none");
    let layers = ready["layers"].to_string();
    for layer in ["namespaces", "root", "capabilities", "seccomp", "proc"] {
        assert!(layers.contains(layer), "{ready}");
    }
    for command in of_type(&log, "command.run") {
        assert_eq!(command.stored.data["isolation"], "isolated");
    }
    close(runtime).await;
}

/// B-SECRET-1; hands test A1: a key in the environment of the server is in nothing that is written down, however a command
/// looks for it and whatever it says.
#[tokio::test]
async fn a_key_in_the_environment_of_the_server_is_in_no_file_of_a_session() {
    const KEY: &str = "a-key-that-nobody-may-see-5ca1ab1e";
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    // Asked of this process, since the server is to have another environment.
    let Some(runtime) = isolated(&data).await else {
        return;
    };
    close(runtime).await;
    let variable = format!("MODEL_KEY={KEY}");
    let mut child = Child::start(&["env", &variable], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let steps = "[[step]]\nrun = '''env; cat /proc/*/environ /proc/*/cmdline; cat /proc/$PPID/environ; \
                 grep -rs MODEL_KEY /etc /workspace /home /tmp; true'''\n";
    let mut start = request(folder.path(), WorkspaceKind::Empty, String::new(), steps);
    start.workspace.sandbox = Some(Sandbox::Isolated);
    let id = control.start(start).await.expect("it starts").id;
    // Policy has its own thoughts on such a command. Whether it finds anything is asked here.
    let asked = until_record(&control, &id, "approval.requested", "environment").await;
    let request = asked.stored.data["id"].as_str().expect("an id");
    let decide = Decide {
        decision: ApprovalDecision::Approve,
        evidence: "to see what it finds".into(),
        by: None,
    };
    control.decide(request, decide).await.expect("it waits for this");
    let log = log_until(&control, &id, &RESTS).await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    let said = of_type(&log, "command.run")[0].stored.data["stdout"]["head"].to_string();
    assert!(said.contains("LONGHAUL_STEP"), "it saw its own: {said}");
    assert!(!lines(&log).contains(KEY), "{}", lines(&log));
    assert!(child.stop().await.success());
    let mut folders = vec![data];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("readable");
                let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
                assert!(!found, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 3, "only {files} files were searched");
}

/// B-START-4: in place, the files are the user's own; what the user's git executes stays as it was.
#[tokio::test]
async fn a_session_in_place_changes_files_and_not_what_git_executes() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(runtime) = isolated(&folder.path().join("data")).await else {
        return;
    };
    let source = repository(folder.path());
    let root = Path::new(&source);
    if rustix::process::geteuid().is_root() {
        // A session is never root, so the folder must be somebody's.
        let status = Command::new("chown")
            .args(["-R", "65534:65534", &source])
            .status();
        assert!(status.expect("chown is there").success());
    }
    let before = std::fs::read(root.join(".git/config")).expect("it is there");
    let steps = "[[step]]\nrun = '''echo two > code; git config core.fsmonitor /workspace/x; \
                 echo x > .git/hooks/pre-commit; mv .git moved; true'''\n";
    let start = request(folder.path(), WorkspaceKind::InPlace, source.clone(), steps);
    let control = runtime.control();
    let id = control.start(start).await.expect("it starts").id;
    let log = log_until(&control, &id, &RESTS).await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    assert_eq!(
        std::fs::read_to_string(root.join("code")).expect("it is there"),
        "two\n",
        "{}",
        lines(&log)
    );
    assert_eq!(
        std::fs::read(root.join(".git/config")).expect("it is there"),
        before
    );
    assert!(!root.join(".git/hooks/pre-commit").exists() && !root.join("moved").exists());
    close(runtime).await;
}

/// B-HANDS-4: hands test D2.
#[tokio::test]
async fn without_consent_no_session_runs_without_walls() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let steps = "[[step]]\nrun = \"true\"\n";
    let mut start = request(folder.path(), WorkspaceKind::Empty, String::new(), steps);
    start.workspace.sandbox = Some(Sandbox::Process);
    let runtime = Runtime::open(&data, options(SandboxOptions::default()))
        .await
        .expect("it opens");
    let problem = runtime
        .control()
        .start(start.clone())
        .await
        .expect_err("nobody consented");
    assert_eq!((problem.code.name(), problem.status), ("sandbox_refused", 403));
    close(runtime).await;

    let mut consenting = SandboxOptions::default();
    consenting.allow_process = true;
    let runtime = Runtime::open(&data, options(consenting)).await.expect("it opens");
    let control = runtime.control();
    let id = control.start(start).await.expect("it starts").id;
    let log = log_until(&control, &id, &RESTS).await;
    assert_eq!(types(&log).last(), Some(&"session.completed"), "{}", lines(&log));
    assert_eq!(
        of_type(&log, "sandbox.ready")[0].stored.data["isolation"]["mode"],
        "process"
    );
    close(runtime).await;
}
