//! `longhaul demo`: the whole story with real processes.
//!
//! Nothing here is staged: the runtimes are processes of this very program, the kill is SIGKILL, the log is read over the
//! control socket, and what is claimed at the end is counted in files that the command itself wrote.

mod project;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use longhaul_actors::session::Sandbox;
use tokio::process::{Child, Command};

use self::project::Project;
use super::Outcome;
use super::joints;
use super::reach::Place;
use super::render::{self, Look};
use super::ui::{Failure, Ui};
use crate::Control;
use crate::api::{Code, EventsQuery, ListQuery, Problem, RecordView};
use crate::sandbox::{self, SandboxOptions};

/// How long each part of the story may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(45);

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Make the demo's files in this folder, which must not exist yet, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub(super) async fn demo(args: Demo, _place: &Place, ui: &Ui) -> Outcome {
    let began = Instant::now();
    let root = make_root(args.folder)?;
    let project = Project::make(&root)?;
    let mut story = Story {
        ui,
        look: ui.look(),
        data: root.join("data"),
        root,
        log: Vec::new(),
        id: String::new(),
        sandbox: Sandbox::Isolated,
    };
    let told = story.tell(&project).await;
    if told.is_err() {
        ui.note(&format!("the demo left its files in {}", story.root.display()));
    }
    told?;
    story.say(&format!(
        "that took {:.1} seconds; everything is still there:",
        began.elapsed().as_secs_f32()
    ))?;
    story.what_next()?;
    Ok(0)
}

fn make_root(named: Option<PathBuf>) -> Result<PathBuf, Problem> {
    let folder =
        named.unwrap_or_else(|| std::env::temp_dir().join(format!("longhaul-demo-{}", std::process::id())));
    let made = std::path::absolute(&folder).and_then(|folder| fs::create_dir(&folder).map(|()| folder));
    made.map_err(|error| {
        Problem::new(
            Code::StorageUnavailable,
            format!("cannot make {}: {error}", folder.display()),
        )
        .next("choose another folder", "longhaul demo --folder DIR")
    })
}

struct Story<'a> {
    ui: &'a Ui,
    look: Look,
    root: PathBuf,
    data: PathBuf,
    log: Vec<RecordView>,
    id: String,
    sandbox: Sandbox,
}

impl Story<'_> {
    async fn tell(&mut self, project: &Project) -> Result<(), Failure> {
        self.say("a small git repository with a real bug and a real failing test:")?;
        self.ui.line(&format!("  {}", project.repository.display()))?;
        self.say("an agent (the playbook brain, no key needed) is to mend it, in a clone of its own")?;
        self.choose_the_walls()?;
        self.ui.line(&render::heading())?;

        let mut first = self.runtime(
            &["run", "--brain", &project.brain(), project::GOAL],
            &project.repository,
        )?;
        self.id = self.find_session(&mut first).await?;
        self.follow(&mut first, |record| is_start_of(record, project::SLOW_COMMAND))
            .await?;
        let marker = self.workspace().join(project::RUNS_FILE);
        wait_for("the slow command to run", || marker.exists()).await?;
        let killed = first.id().unwrap_or_default();
        first
            .kill()
            .await
            .map_err(|error| trouble("kill the runtime", &error))?;
        self.say(&format!(
            "kill -9 {killed}: the runtime is gone, in the middle of a command. A new one starts:"
        ))?;

        let mut second = self.runtime(&["serve"], &self.root)?;
        self.follow(&mut second, |record| record.type_name == "runtime.restarted")
            .await?;
        self.say(&format!(
            "a second client: longhaul send {} \"{}\"",
            short(&self.id),
            project::MESSAGE
        ))?;
        self.send(project::MESSAGE).await?;
        self.follow(&mut second, ends).await?;
        self.check(project).await?;
        Ok(end_in_order(second).await?)
    }

    /// The demo alone goes on without walls where there are none to be had, and says so.
    fn choose_the_walls(&mut self) -> Result<(), Failure> {
        match sandbox::look(&SandboxOptions::default(), &joints::shim_as_run()?) {
            Ok(report) => {
                let layers = sandbox::shown(&report).layers.join(", ");
                self.say(&format!("its commands run isolated: {layers}"))
            }
            Err(refusal) => {
                self.sandbox = Sandbox::Process;
                self.say(&format!(
                    "its commands run WITHOUT walls, since this machine has none to offer: {refusal}"
                ))
            }
        }
    }

    /// A process of this program, on the demo's own data directory.
    fn runtime(&self, verb: &[&str], folder: &Path) -> Result<Child, Problem> {
        let errors = fs::File::create(self.root.join(format!("{}.stderr", verb[0])));
        let errors = errors.map_err(|error| trouble("write the demo's files", &error))?;
        let program = std::env::current_exe().map_err(|error| trouble("find this program", &error))?;
        Command::new(program)
            .arg("--data")
            .arg(&self.data)
            .args(verb)
            .args(["--sandbox", self.sandbox.name()])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| trouble("start a runtime", &error))
    }

    async fn control(&self, runtime: &mut Child) -> Result<Arc<dyn Control>, Problem> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(control)) = joints::connect(&self.data, None).await {
                return Ok(control);
            }
            if let Ok(Some(status)) = runtime.try_wait() {
                let detail = format!(
                    "a runtime ended too early ({status}); see {}",
                    self.root.display()
                );
                return Err(Problem::new(Code::Internal, detail));
            }
            if Instant::now() > deadline {
                return Err(Problem::new(
                    Code::NotServing,
                    "the runtime of the demo does not answer",
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn find_session(&self, runtime: &mut Child) -> Result<String, Problem> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let control = self.control(runtime).await?;
            if let Some(session) = control.list(ListQuery::default()).await?.sessions.first() {
                return Ok(session.id.clone());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(Problem::new(
            Code::Internal,
            "the session of the demo did not start",
        ))
    }

    /// Prints the log as it grows, up to the first record that is waited for.
    async fn follow(
        &mut self,
        runtime: &mut Child,
        until: impl Fn(&RecordView) -> bool,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let mut control = self.control(runtime).await?;
        while Instant::now() < deadline {
            let after = self.log.last().map_or(0, |record| record.seq);
            // One at a time, so that nothing is printed beyond what is waited for.
            let query = EventsQuery {
                after,
                limit: 1,
                wait_ms: 1_000,
                ..EventsQuery::default()
            };
            let Ok(page) = control.events(&self.id, query).await else {
                control = self.control(runtime).await?;
                continue;
            };
            for record in page.events {
                self.ui.line(&render::line(&record, self.look))?;
                let reached = until(&record);
                let ended = ends(&record);
                self.log.push(record);
                if reached {
                    return Ok(());
                }
                if ended {
                    return Err(
                        Problem::new(Code::Internal, "the run of the demo ended before its time").into(),
                    );
                }
            }
        }
        Err(Problem::new(
            Code::Internal,
            "the run of the demo takes too long; is the machine very busy?",
        )
        .into())
    }

    async fn send(&self, text: &str) -> Result<(), Problem> {
        let program = std::env::current_exe().map_err(|error| trouble("find this program", &error))?;
        let sent = Command::new(program)
            .arg("--data")
            .arg(&self.data)
            .args(["send", &self.id, text])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| trouble("start a client", &error))?;
        if sent.status.success() {
            return Ok(());
        }
        Err(Problem::new(
            Code::Internal,
            format!(
                "the message was not taken: {}",
                String::from_utf8_lossy(&sent.stderr)
            ),
        ))
    }

    /// Counts what happened outside the log, and applies the patch.
    async fn check(&self, project: &Project) -> Result<(), Failure> {
        let runs = fs::read_to_string(self.workspace().join(project::RUNS_FILE)).unwrap_or_default();
        let starts = self
            .log
            .iter()
            .filter(|record| is_start_of(record, project::SLOW_COMMAND))
            .count();
        let last = self
            .log
            .last()
            .map(|record| record.type_name.clone())
            .unwrap_or_default();
        if runs.lines().count() != 1 || starts != 1 || last != "session.completed" {
            let detail = format!(
                "the command ran {} times, was started {starts} times, and the run ended with {last}",
                runs.lines().count()
            );
            return Err(Problem::new(Code::Internal, detail).into());
        }
        self.say("the command that ran through the kill: started once, ran once, its result collected")?;
        let artifact = self
            .log
            .iter()
            .rev()
            .find(|record| record.type_name == "artifact.created");
        let sha256 = artifact.and_then(|record| record.stored.data["sha256"].as_str());
        let sha256 = sha256.ok_or_else(|| Problem::new(Code::Internal, "the run left no patch"))?;
        let control = joints::connect(&self.data, None).await?;
        let control =
            control.ok_or_else(|| Problem::new(Code::NotServing, "the runtime of the demo went away"))?;
        let patch = self.root.join("changes.patch");
        fs::write(&patch, control.blob(sha256).await?).map_err(|error| trouble("write the patch", &error))?;
        project.apply(&patch)?;
        self.say(&format!(
            "the patch applies to your repository with git apply, and the test passes: {}",
            patch.display()
        ))
    }

    fn workspace(&self) -> PathBuf {
        let digits = self.id.trim_start_matches("s_");
        self.data.join("sessions").join(digits).join("workspace")
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.ui.line(&format!("\n# {text}"))
    }

    fn what_next(&self) -> Result<(), Failure> {
        let id = short(&self.id);
        let lines = [
            format!("export LONGHAUL_DATA={}", self.data.display()),
            "longhaul ls".to_owned(),
            format!("longhaul tail {id}"),
            format!("longhaul replay {id} --to 20"),
            "longhaul journal verify".to_owned(),
        ];
        self.ui.line("")?;
        for line in lines {
            self.ui.line(&format!("  {line}"))?;
        }
        Ok(())
    }
}

fn is_start_of(record: &RecordView, command: &str) -> bool {
    record.type_name == "tool.started" && record.stored.data["brief"] == command
}

fn ends(record: &RecordView) -> bool {
    matches!(
        record.type_name.as_str(),
        "session.completed" | "session.failed" | "session.canceled" | "session.paused"
    )
}

fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

async fn wait_for(what: &str, done: impl Fn() -> bool) -> Result<(), Problem> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            return Err(Problem::new(
                Code::Internal,
                format!("waited too long for {what}"),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn end_in_order(mut runtime: Child) -> Result<(), Problem> {
    let pid = runtime
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| trouble("end the runtime", &error.into()))?;
    }
    runtime
        .wait()
        .await
        .map(|_| ())
        .map_err(|error| trouble("end the runtime", &error))
}

fn trouble(what: &str, error: &std::io::Error) -> Problem {
    Problem::new(Code::Internal, format!("the demo cannot {what}: {error}"))
}
