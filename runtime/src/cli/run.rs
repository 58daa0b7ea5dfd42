//! `longhaul run`: from a goal and a brain to a session, which is then watched.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use longhaul_actors::session::{Mode, Sandbox, WorkspaceKind};
use serde_json::json;

use super::Outcome;
use super::args::{OnLimitArg, Run};
use super::attend::Watch;
use super::joints;
use super::reach::{Place, Reach};
use super::serve::Stops;
use super::settings;
use super::ui::Ui;
use crate::api::{
    Code, OnLimit, Problem, RunDuration, Start, Started, TaskView, WorkspaceWish, no_task, stream_id,
};
use crate::brains::process::find_program;

pub(super) async fn run(mut args: Run, place: &Place, ui: &Ui) -> Outcome {
    let task = match args.task.take() {
        Some(id) => Some(task_of(&id, place).await?),
        None => None,
    };
    let level = args.shown.level();
    let here = std::env::current_dir().map_err(|error| {
        Problem::new(
            Code::InvalidRequest,
            format!("the current folder is not there: {error}"),
        )
    })?;
    // Everything that can be wrong with the wish is found before anything is made.
    let request = request(args, task, &here, std::env::var_os("PATH").as_deref())?;
    let mut stops = Stops::new()?;
    let (reach, started) = match begin(&request, place, ui).await? {
        // The server was lost on the way: whoever answers now knows the key if the session had begun.
        (reach, Err(problem)) if reach.may_repeat(&problem) => {
            reach.close().await;
            begin(&request, place, ui).await?
        }
        begun => begun,
    };
    let started = match started {
        Ok(started) => started,
        Err(problem) => {
            let problem = reach.explained(problem);
            reach.close().await;
            return Err(problem.into());
        }
    };
    let stream = stream_id(&started.id)?;
    let tells_one_object = request.duration.is_some() && ui.is_json();
    if tells_one_object {
        let url = settings::run_url(&started.id);
        let begun = ui.object(&json!({
            "ok": true, "runId": started.id, "status": started.state, "runUrl": url,
        }));
        // Whoever serves does the work.
        if begun.is_err() || !reach.is_here() {
            reach.close().await;
            return begun.map(|()| 0);
        }
    }
    let what = if started.repeated {
        "found again"
    } else {
        "started"
    };
    ui.note(&format!("{what} {}", started.id));
    let after = if started.repeated { started.head } else { 0 };
    let mut watch = Watch::new(place, ui, started.id, stream, after, level);
    if tells_one_object {
        watch = watch.without_records();
    }
    watch.until_it_rests(reach, &mut stops).await
}

/// The task that is to be worked on: it says what the goal is, and under which name its next run is found.
async fn task_of(id: &str, place: &Place) -> Result<TaskView, Problem> {
    let reach = place.to_wish_unless(|| no_task(id)).await?;
    let task = reach.control().task(id).await;
    reach.close().await;
    task
}

async fn begin(
    request: &Start,
    place: &Place,
    ui: &Ui,
) -> Result<(Reach, Result<Started, Problem>), Problem> {
    let reach = place.to_work(joints::address(request), ui).await?;
    let started = reach.control().start(request.clone()).await;
    Ok((reach, started))
}

/// The request that these words make.
fn request(args: Run, task: Option<TaskView>, here: &Path, path: Option<&OsStr>) -> Result<Start, Problem> {
    let said = args.goal.filter(|goal| !goal.trim().is_empty());
    let key = task.as_ref().map(TaskView::run_key).or(args.key);
    let (task, goal) = match task {
        Some(task) => (Some(task.id), said.or(Some(task.goal))),
        None => (None, said),
    };
    let goal = goal.ok_or_else(|| {
        Problem::new(Code::MissingGoal, "say what the session is for").next(
            "give a goal",
            "longhaul run --brain playbook:FILE \"make the failing test pass\"",
        )
    })?;
    // Checked where it is granted, too; here it comes before whatever else may be wrong.
    let duration = args.duration.map(|word| RunDuration::parse(&word).map(|_| word));
    let duration = duration.transpose()?;
    Ok(Start {
        goal,
        duration,
        brain: Some(brain(args.brain.as_deref(), here, path)?),
        mode: if args.interactive {
            Mode::Interactive
        } else {
            Mode::Bounded
        },
        // A start that is sent twice makes one session, and its address is known beforehand.
        idempotency_key: key.is_none().then(|| uuid::Uuid::now_v7().to_string()),
        key,
        task,
        workspace: workspace(args.in_place, args.walls.wish(), here),
        resources: args.resources.wish(),
        budget: args.budget,
        on_limit: match args.on_limit {
            OnLimitArg::Queue => OnLimit::Queue,
            OnLimitArg::Reject => OnLimit::Reject,
        },
        network: args.allow_net,
        ..Start::default()
    })
}

/// The brain as it is to be called from anywhere: with absolute paths, and known to be there.
fn brain(named: Option<&str>, here: &Path, path: Option<&OsStr>) -> Result<String, Problem> {
    let named = named.ok_or_else(joints::no_brain)?;
    match named.split_once(':') {
        Some(("playbook", file)) if !file.is_empty() => playbook(file, here),
        Some(("process", line)) if !line.trim().is_empty() => process(line, here, path),
        // Whoever pins it says which kinds there are.
        _ => Err(joints::no_brain_called(named)),
    }
}

fn playbook(file: &str, here: &Path) -> Result<String, Problem> {
    let path = here.join(file);
    let text = fs::read_to_string(&path).map_err(|error| {
        Problem::new(
            Code::InvalidRequest,
            format!("the playbook {file} cannot be read: {error}"),
        )
        .next(
            "name one that is there",
            "longhaul run --brain playbook:FILE \"GOAL\"",
        )
    })?;
    joints::check_playbook(file, &text).map_err(|wrong| {
        Problem::new(Code::InvalidRequest, wrong).next(
            "mend it, and again",
            format!("longhaul run --brain playbook:{file} \"GOAL\""),
        )
    })?;
    let path = path.canonicalize().unwrap_or(path);
    Ok(format!("playbook:{}", path.display()))
}

fn process(line: &str, here: &Path, path: Option<&OsStr>) -> Result<String, Problem> {
    let invalid = |detail: String| {
        Problem::new(Code::InvalidRequest, detail).next(
            "name a program that is there",
            "longhaul run --brain process:./PROGRAM \"GOAL\"",
        )
    };
    let mut words = shlex::split(line)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| {
            invalid(format!(
                "{line:?} has an open quote; write it as you would in a shell"
            ))
        })?;
    let program = find_program(&words[0], here, path).map_err(|error| invalid(error.to_string()))?;
    words[0] = program.display().to_string();
    let line =
        shlex::try_join(words.iter().map(String::as_str)).map_err(|error| invalid(error.to_string()))?;
    Ok(format!("process:{line}"))
}

/// Inside a git repository a clone of it, elsewhere an empty folder (B-START-4).
fn workspace(in_place: bool, sandbox: Option<Sandbox>, here: &Path) -> WorkspaceWish {
    let (kind, source) = if in_place {
        (WorkspaceKind::InPlace, here.to_owned())
    } else if let Some(root) = repository(here) {
        (WorkspaceKind::Clone, root)
    } else {
        (WorkspaceKind::Empty, PathBuf::new())
    };
    WorkspaceWish {
        kind,
        source: source.display().to_string(),
        sandbox,
    }
}

/// The root of the git repository that a folder lies in.
fn repository(here: &Path) -> Option<PathBuf> {
    // In a linked worktree or a submodule `.git` is a file.
    here.ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::args::{Cli, Verb};
    use super::*;
    use clap::Parser;

    fn asked(words: &[&str], here: &Path) -> Result<Start, Problem> {
        let cli = Cli::try_parse_from([&["longhaul", "run"], words].concat()).expect("the words are right");
        let Verb::Run(run) = cli.verb else {
            panic!("{:?}", cli.verb)
        };
        request(*run, None, here, Some(here.join("bin").as_os_str()))
    }

    /// A folder with a playbook `fix.toml` and a program `bin/agent`.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("fix.toml"), "[[step]]\nsay = \"hi\"\n").expect("a playbook");
        fs::create_dir(folder.path().join("bin")).expect("a folder");
        let agent = folder.path().join("bin/agent");
        fs::write(&agent, "#!/bin/sh\n").expect("a program");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("it may be run");
        folder
    }

    #[test]
    fn without_a_goal_nothing_begins() {
        let folder = folder();
        for words in [
            &["--brain", "playbook:fix.toml"][..],
            &["--brain", "playbook:fix.toml", " \n"],
        ] {
            assert_eq!(
                asked(words, folder.path()).expect_err("no goal").code,
                Code::MissingGoal
            );
        }
    }

    /// B-RUN-1
    #[test]
    fn a_duration_that_is_none_is_found_before_anything_else_but_the_missing_goal() {
        let folder = folder();
        for word in ["2h", "30M", ""] {
            let wrong = asked(&["goal", "--duration", word], folder.path()).expect_err(word);
            assert_eq!(wrong.code, Code::InvalidDuration, "{word:?}");
        }
        let aimless = asked(&["--duration", "30m"], folder.path()).expect_err("no goal");
        assert_eq!(aimless.code, Code::MissingGoal);
        for word in RunDuration::WORDS {
            let words = ["--brain", "process:agent", "--duration", word, "goal"];
            let start = asked(&words, folder.path()).expect("it is right");
            assert_eq!(
                (start.mode, start.duration.as_deref()),
                (Mode::Bounded, Some(word))
            );
        }
    }

    #[test]
    fn without_a_brain_three_ways_on_are_named() {
        let problem = asked(&["goal"], folder().path()).expect_err("no brain");
        assert_eq!((problem.code, problem.next_actions.len()), (Code::NoBrain, 3));
        let problem =
            asked(&["--brain", "oracle:delphi", "goal"], folder().path()).expect_err("no such brain");
        assert_eq!((problem.code, problem.next_actions.len()), (Code::NoBrain, 3));
        assert!(problem.detail.contains("oracle:delphi"), "{problem}");
    }

    #[test]
    fn a_brain_is_called_by_its_whole_path() {
        let folder = folder();
        let root = folder.path().canonicalize().expect("it is there");
        let root = root.display();
        let rows = [
            ("playbook:fix.toml", format!("playbook:{root}/fix.toml")),
            (
                "process:bin/agent --fast",
                format!("process:{root}/bin/agent --fast"),
            ),
            ("process:agent", format!("process:{root}/bin/agent")),
        ];
        for (named, called) in rows {
            let start = asked(&["--brain", named, "goal"], folder.path()).expect("it is there");
            assert_eq!(start.brain, Some(called));
        }
    }

    #[test]
    fn a_brain_that_is_not_there_is_said_to_be_missing() {
        let folder = folder();
        for named in [
            "playbook:none.toml",
            "process:./none",
            "process:none",
            "process:fix.toml",
        ] {
            let problem = asked(&["--brain", named, "goal"], folder.path()).expect_err(named);
            assert_eq!(problem.code, Code::InvalidRequest, "{named}");
        }
    }

    /// B-START-4
    #[test]
    fn inside_a_repository_a_clone_of_its_root_is_worked_on() {
        let folder = folder();
        let bin = folder.path().join("bin");
        let spec = |words: &[&str], here: &Path| {
            asked(&[words, &["--brain", "process:/bin/sh", "goal"]].concat(), here)
                .expect("it is right")
                .workspace
        };
        assert_eq!(spec(&[], &bin).kind, WorkspaceKind::Empty);
        fs::create_dir(folder.path().join(".git")).expect("a repository");
        let clone = spec(&[], &bin);
        assert_eq!(
            (clone.kind, Path::new(&clone.source)),
            (WorkspaceKind::Clone, folder.path())
        );
        let own = spec(&["--in-place"], &bin);
        assert_eq!(
            (own.kind, Path::new(&own.source)),
            (WorkspaceKind::InPlace, &*bin)
        );
    }

    #[test]
    fn a_run_goes_on_until_its_goal_unless_it_is_interactive() {
        let folder = folder();
        let bounded = asked(&["--brain", "process:agent", "goal"], folder.path()).expect("it is right");
        assert_eq!(
            (bounded.mode, bounded.idempotency_key.is_some()),
            (Mode::Bounded, true)
        );
        let named = asked(
            &[
                "--brain",
                "process:agent",
                "--interactive",
                "--key",
                "nightly",
                "goal",
            ],
            folder.path(),
        )
        .expect("it is right");
        assert_eq!(
            (named.mode, named.key.as_deref(), named.idempotency_key),
            (Mode::Interactive, Some("nightly"), None)
        );
    }
}
