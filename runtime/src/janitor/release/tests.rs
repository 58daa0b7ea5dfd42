//! Releases of real folders of real sessions, under a clock that is moved.

use std::path::Path;
use std::time::Duration;

use longhaul_actors::ManualClock;
use longhaul_actors::session::Mode;

use super::*;
use crate::api::{EventsQuery, Remove, SessionView, Start};
use crate::sandbox::SandboxOptions;
use crate::{Options, Runtime};

const DAY_MS: u64 = 24 * 3_600_000;

struct Bench {
    folder: tempfile::TempDir,
    runtime: Runtime,
    id: String,
    session: StreamId,
    clock: ManualClock,
    releases: Releases,
}

impl Bench {
    /// A session that ended; its folders stay for a week from now on.
    async fn ended(playbook: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("playbook.toml");
        fs::write(&file, playbook).expect("written");
        let options = Options {
            // Nothing is run here, so that nothing is needed that could run it.
            shim: Some("/bin/sh".into()),
            keep_workspaces: Some(Duration::MAX),
            sandbox: SandboxOptions::process(),
            ..Options::default()
        };
        let runtime = Runtime::open(folder.path().join("data"), options)
            .await
            .expect("it opens");
        let start = Start {
            goal: "end".into(),
            brain: Some(format!("playbook:{}", file.display())),
            mode: Mode::Bounded,
            ..Start::default()
        };
        let id = runtime.control().start(start).await.expect("it starts").id;
        let session = crate::api::stream_id(&id).expect("an id");
        let mut releases = runtime.releases();
        let clock = ManualClock::at(releases.clock.now_ms());
        (releases.clock, releases.keep_ms) = (Arc::new(clock.clone()), Some(7 * DAY_MS));
        let bench = Self {
            folder,
            runtime,
            id,
            session,
            clock,
            releases,
        };
        while bench.shown().await.state != "completed" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench
    }

    async fn shown(&self) -> SessionView {
        self.runtime.control().show(&self.id).await.expect("it is there")
    }

    fn root(&self) -> std::path::PathBuf {
        self.releases.folder(self.session).root().to_owned()
    }

    /// What was written of the release: freed bytes, and why the workspace stays.
    async fn released(&self) -> Vec<(u64, String)> {
        let page = self
            .runtime
            .control()
            .events(&self.id, EventsQuery::default())
            .await
            .expect("readable");
        let found = page
            .events
            .into_iter()
            .filter(|record| record.type_name == "sandbox.released");
        found
            .map(|record| {
                let data = record.stored.data;
                let why = data["workspaceKept"].as_str().unwrap_or_default().to_owned();
                (data["freedBytes"].as_u64().expect("a number"), why)
            })
            .collect()
    }
}

const AN_ARTIFACT: &str = "[[step]]\nwrite = \"report.md\"\ncontent = \"all is well\"\n\n\
                           [[step]]\nartifact = \"report.md\"\nkind = \"report\"\n\n[[step]]\nfinish = \"done\"\n";
const A_FILE: &str =
    "[[step]]\nwrite = \"notes.md\"\ncontent = \"nowhere else\"\n\n[[step]]\nfinish = \"done\"\n";

/// B-START-4, B-LOG-11: nothing goes before its time; then all of it goes, once, and the record says so.
#[tokio::test]
async fn the_folders_of_a_session_go_a_week_after_its_end() {
    let bench = Bench::ended(AN_ARTIFACT).await;
    assert_eq!(bench.releases.round().await, 0);
    bench.clock.advance(7 * DAY_MS - 60_000);
    assert_eq!(bench.releases.round().await, 0);
    assert!(bench.shown().await.workspace.is_some());
    bench.clock.advance(120_000);
    assert_eq!(bench.releases.round().await, 1);
    assert!(
        !bench.root().exists(),
        "{:?}",
        fs::read_dir(bench.root()).map(|all| all.count())
    );
    let released = bench.released().await;
    assert_eq!(released.len(), 1);
    assert!(released[0].0 > 0 && released[0].1.is_empty(), "{released:?}");
    assert_eq!(bench.shown().await.workspace, None);
    bench.clock.advance(30 * DAY_MS);
    assert_eq!(bench.releases.round().await, 0, "once");
    bench.runtime.close().await;
}

/// B-START-4: what no artifact holds stays; only the evidence and the scratch go.
#[tokio::test]
async fn a_file_that_is_kept_nowhere_else_makes_the_workspace_stay() {
    let bench = Bench::ended(A_FILE).await;
    bench.clock.advance(8 * DAY_MS);
    assert_eq!(bench.releases.round().await, 1);
    let workspace = bench.shown().await.workspace.expect("it stays");
    assert_eq!(
        fs::read_to_string(Path::new(&workspace).join("notes.md")).expect("it is there"),
        "nowhere else"
    );
    assert!(!bench.releases.folder(bench.session).steps().exists());
    let released = bench.released().await;
    assert!(released[0].1.contains("notes.md"), "{released:?}");
    assert_eq!(bench.releases.round().await, 0, "it was decided once");
    bench.runtime.close().await;
}

/// B-START-4: a hand that changed something after the end knows why.
#[tokio::test]
async fn what_was_changed_after_the_end_makes_the_workspace_stay() {
    let bench = Bench::ended(AN_ARTIFACT).await;
    let workspace = bench.shown().await.workspace.expect("it is there");
    std::thread::sleep(Duration::from_millis(20));
    fs::write(Path::new(&workspace).join("report.md"), "all is well").expect("written");
    bench.clock.advance(8 * DAY_MS);
    assert_eq!(bench.releases.round().await, 1);
    let released = bench.released().await;
    assert!(
        released[0].1.contains("report.md was changed after the end"),
        "{released:?}"
    );
    bench.runtime.close().await;
}

/// B-LOG-11: a crash after each step of a release is found by its note, and the rest is done, once.
#[tokio::test]
async fn a_crash_in_the_middle_of_a_release_is_finished_the_next_time() {
    for crashed_after in 0..5 {
        let bench = Bench::ended(AN_ARTIFACT).await;
        bench.clock.advance(8 * DAY_MS);
        let releases = bench.releases.clone();
        let state = releases
            .folds
            .at_head(&*releases.journal, bench.session)
            .expect("it folds");
        let folder = releases.folder(bench.session);
        let note = releases.weigh(bench.session, &state).await.expect("it is noted");
        match crashed_after {
            0 => {}
            1 => fs::remove_dir_all(folder.workspace()).expect("removed"),
            2 => fs::remove_dir_all(folder.steps()).expect("removed"),
            3 => remove(&folder, true).expect("removed"),
            _ => {
                remove(&folder, true).expect("removed");
                let command = Command::Released {
                    freed_bytes: note.freed_bytes,
                    workspace_kept: String::new(),
                    patch: None,
                };
                releases
                    .sessions
                    .send(bench.session, command)
                    .await
                    .expect("it is written");
            }
        }
        assert_eq!(releases.round().await, 1, "crashed after {crashed_after}");
        assert!(!bench.root().exists(), "crashed after {crashed_after}");
        assert_eq!(
            bench.released().await,
            [(note.freed_bytes, String::new())],
            "crashed after {crashed_after}"
        );
        assert_eq!(releases.round().await, 0);
        bench.runtime.close().await;
    }
}

/// So deep that no path leads there, with a file of four bytes at the end.
fn deep(root: &Path) {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = std::os::fd::OwnedFd::from(fs::File::open(root).expect("there"));
    for _ in 0..5_000 {
        mkdirat(&folder, "d", Mode::RWXU).expect("made");
        folder = openat(&folder, "d", flags, Mode::empty()).expect("there");
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(&folder, "file", flags, Mode::RWXU).expect("made");
    rustix::io::write(&file, b"deep").expect("written");
}

/// B-LOG-11: 2,500 folders inside one another once ended the server in `rm`, in `du` and here, by the stack each of them took.
#[tokio::test]
async fn folders_nested_without_end_are_counted_looked_through_and_removed() {
    let bench = Bench::ended(AN_ARTIFACT).await;
    let folder = bench.releases.folder(bench.session);
    let before = crate::service::bytes_below(folder.root()).expect("counted");
    deep(&folder.private());
    deep(&folder.workspace());
    assert_eq!(
        crate::service::bytes_below(folder.root()).expect("counted"),
        before + 8
    );
    let state = bench
        .releases
        .folds
        .at_head(&*bench.releases.journal, bench.session);
    let mut state = state.expect("it folds");
    state.phase_since_ms = u64::MAX;
    let why = why_it_stays(&folder, &*bench.releases.journal, bench.session, &state).expect("looked through");
    let why = why.expect("the file at the end is kept nowhere else");
    assert!(why.ends_with("... is in no artifact") && why.len() < 300, "{why}");
    bench.clock.advance(8 * DAY_MS);
    assert_eq!(bench.releases.round().await, 1);
    assert!(!folder.private().exists() && folder.workspace().exists());
    let removed = bench
        .runtime
        .control()
        .remove(&bench.id, Remove { log: false })
        .await;
    assert!(removed.expect("removed").freed >= 4);
    assert!(!folder.root().exists());
    bench.runtime.close().await;
}

#[tokio::test]
async fn for_ever_is_for_ever() {
    let bench = Bench::ended(AN_ARTIFACT).await;
    let mut releases = bench.releases.clone();
    releases.keep_ms = None;
    bench.clock.advance(10_000 * DAY_MS);
    assert_eq!(releases.round().await, 0);
    assert!(bench.root().exists());
    drop(bench.folder);
}
