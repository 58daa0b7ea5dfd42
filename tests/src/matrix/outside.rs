//! The world outside the runtime: files, commands and their evidence. It survives every crash, and counts.
//!
//! It behaves as the real hands promise to: a command executes at most once, whoever asks how often, and its end is
//! evidence; an edit writes down its intent first, and recovery compares; a whole-file write, a read and an artifact leave
//! no evidence and are done again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Act, Hands, SetupError};
use longhaul_actors::session::{
    Artifact, CommandLine, Edit, Exec, Execution, FileRead, FileWrite, Isolation, Output, Read, Tool,
    ToolOutcome, Verdict, WorkspaceSpec, Write,
};
use longhaul_journal::{Journal, StreamId};
use tokio::sync::watch;

use super::human::Log;

/// A command that nobody ends for this long is told as unknown, so that no session waits for it for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// A handle on the outside world.
#[derive(Clone, Debug)]
pub struct Outside {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
}

/// Everything outside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// Files of the workspace.
    pub files: BTreeMap<String, String>,
    /// Evidence by step.
    pub steps: BTreeMap<u64, Evidence>,
    /// How often the brain was called, by step.
    pub thoughts: BTreeMap<u64, u32>,
}

/// What one act left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The act in a line.
    pub brief: String,
    /// How often it took effect.
    pub times: u32,
    /// What an edit was about to do: hash before and after.
    pub intent: Option<(String, String)>,
    /// How it ended.
    pub end: Option<ToolOutcome>,
    /// Its evidence was lost: nobody can know.
    pub lost: bool,
}

impl Evidence {
    fn of(brief: &str) -> Self {
        Self {
            brief: brief.to_owned(),
            times: 0,
            intent: None,
            end: None,
            lost: false,
        }
    }
}

impl World {
    fn evidence(&mut self, step: u64, brief: &str) -> &mut Evidence {
        self.steps.entry(step).or_insert_with(|| Evidence::of(brief))
    }

    /// A command begins to execute: this is its effect on the world, and it is counted.
    pub fn begin_command(&mut self, step: u64, line: &str) {
        self.evidence(step, line).times += 1;
        if let Some(word) = line.strip_prefix("append ") {
            let ledger = self.files.entry("ledger".into()).or_default();
            ledger.push_str(word);
            ledger.push('\n');
        }
    }

    /// A command ends by itself.
    pub fn end_command(&mut self, step: u64, line: &str, verdict: Verdict) {
        let evidence = self.evidence(step, line);
        let said = Output {
            head: format!("{line}\n"),
            bytes: line.len() as u64 + 1,
            ..Output::default()
        };
        evidence.end.get_or_insert_with(|| {
            ToolOutcome::Command(Execution {
                verdict,
                stdout: said,
                stderr: Output::default(),
                active_ms: 1,
                isolation: "virtual".into(),
                used: None,
            })
        });
    }

    /// Does everything but a command, from what the evidence says is left to do.
    pub fn file_tool(&mut self, step: u64, tool: &Tool, journal: Option<&dyn Journal>) -> ToolOutcome {
        let brief = tool.brief();
        match tool {
            Tool::Write(Write { path, content }) => {
                let before = self.files.insert(path.clone(), content.clone());
                self.evidence(step, &brief).times += 1;
                wrote(path, before.as_deref().map(hash), content)
            }
            Tool::Edit(Edit { path, old, new }) => self.edit(step, &brief, path, old, new),
            Tool::Read(Read { path }) => {
                self.evidence(step, &brief).times += 1;
                match self.files.get(path) {
                    Some(text) => ToolOutcome::Read(FileRead {
                        path: path.clone(),
                        file_sha256: hash(text),
                        content: Output {
                            head: text.clone(),
                            bytes: text.len() as u64,
                            ..Output::default()
                        },
                        active_ms: 1,
                    }),
                    None => missing(path),
                }
            }
            Tool::Artifact(Artifact { kind, path }) => {
                self.evidence(step, &brief).times += 1;
                let Some(text) = self.files.get(path) else {
                    return missing(path);
                };
                let journal = journal.expect("an artifact is kept in a journal");
                let blob = journal.blobs().put(&mut text.as_bytes()).expect("blobs take it");
                ToolOutcome::Artifact {
                    kind: kind.clone(),
                    name: path.clone(),
                    sha256: blob.id.to_string(),
                    bytes: blob.bytes,
                    active_ms: 1,
                    task: None,
                }
            }
            other => panic!("the script has no {other:?}"),
        }
    }

    /// Counts an act that leaves nothing else behind.
    pub fn note(&mut self, step: u64, brief: &str) {
        self.evidence(step, brief).times += 1;
    }

    /// Writes down what an edit is about to do.
    pub fn intend_edit(&mut self, step: u64, brief: &str, path: &str, old: &str, new: &str) {
        let Some(text) = self.files.get(path) else { return };
        let intent = (hash(text), hash(&text.replacen(old, new, 1)));
        self.evidence(step, brief).intent.get_or_insert(intent);
    }

    fn edit(&mut self, step: u64, brief: &str, path: &str, old: &str, new: &str) -> ToolOutcome {
        self.intend_edit(step, brief, path, old, new);
        let evidence = self.evidence(step, brief);
        let Some((before, after)) = evidence.intent.clone() else {
            return missing(path);
        };
        let found = self.files.get(path).cloned().unwrap_or_default();
        if hash(&found) == before {
            self.files.insert(path.to_owned(), found.replacen(old, new, 1));
            self.evidence(step, brief).times += 1;
        } else if hash(&found) != after {
            let why = format!("{path} was changed by somebody else");
            return ToolOutcome::Unknown { why };
        }
        wrote(path, Some(before), &self.files[path])
    }
}

fn wrote(path: &str, before: Option<String>, content: &str) -> ToolOutcome {
    ToolOutcome::Wrote(FileWrite {
        path: path.to_owned(),
        bytes: content.len() as u64,
        before,
        after: hash(content),
        active_ms: 1,
    })
}

fn missing(path: &str) -> ToolOutcome {
    ToolOutcome::Failed {
        code: "not_found".into(),
        detail: format!("there is no {path}"),
        active_ms: 1,
    }
}

fn hash(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

impl Outside {
    /// A handle on a world.
    pub fn new(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
            changed: watch::Sender::new(0),
        }
    }

    /// The world as it is now.
    pub fn world(&self) -> World {
        self.lock().clone()
    }

    /// Counts a call of the brain.
    pub fn thought(&self, step: u64) {
        *self.lock().thoughts.entry(step).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("nobody panics while holding the world")
    }

    /// Ends commands that have begun and not ended, as a signal does.
    fn kill(&self, is_meant: impl Fn(u64) -> bool) {
        let mut world = self.lock();
        let running: Vec<(u64, String)> = world
            .steps
            .iter()
            .filter(|(step, evidence)| is_meant(**step) && evidence.end.is_none() && evidence.times > 0)
            .map(|(step, evidence)| (*step, evidence.brief.clone()))
            .filter(|(_, brief)| waits_for(brief) != Wait::Nothing)
            .collect();
        for (step, brief) in running {
            world.end_command(step, &brief, Verdict::Canceled);
        }
        drop(world);
        self.changed.send_modify(|count| *count += 1);
    }
}

/// What a command waits for before it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait<'a> {
    /// It ends at once.
    Nothing,
    /// Until the log holds a message with this text.
    Message(&'a str),
    /// Until so many pauses were asked for.
    Pause(usize),
    /// Until it is killed.
    Death,
}

/// What a command line of the script waits for.
pub fn waits_for(line: &str) -> Wait<'_> {
    if let Some(text) = line.strip_prefix("await message:") {
        Wait::Message(text)
    } else if let Some(count) = line.strip_prefix("await pause:") {
        Wait::Pause(count.parse().expect("the script counts pauses"))
    } else if line.starts_with("hang ") {
        Wait::Death
    } else {
        Wait::Nothing
    }
}

impl Wait<'_> {
    /// Whether it is over, as far as the log tells.
    pub fn is_over(&self, log: &Log) -> bool {
        match self {
            Wait::Nothing => true,
            Wait::Message(text) => log.has_message(text),
            Wait::Pause(count) => log.count("session.pause_requested") >= *count,
            Wait::Death => false,
        }
    }
}

/// The hands of one life: the outside world, seen through the port, and the journal that commands wait for.
#[derive(Clone, Debug)]
pub struct VirtualHands {
    outside: Outside,
    journal: Arc<dyn Journal>,
}

impl VirtualHands {
    /// Hands that act on `outside`.
    pub fn new(outside: Outside, journal: Arc<dyn Journal>) -> Self {
        Self { outside, journal }
    }

    async fn command(&self, session: StreamId, step: u64, line: &str) -> ToolOutcome {
        {
            let mut world = self.outside.lock();
            let evidence = world.evidence(step, line);
            if evidence.lost {
                let why = "the machine was restarted".into();
                return ToolOutcome::Unknown { why };
            }
            if evidence.times == 0 && evidence.end.is_none() {
                world.begin_command(step, line);
            }
        }
        let mut changed = self.outside.changed.subscribe();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut moved = self.journal.watch(session);
        loop {
            changed.mark_unchanged();
            moved.mark_unchanged();
            let is_over = waits_for(line).is_over(&Log::read(&*self.journal, session));
            let ended = {
                let mut world = self.outside.lock();
                if is_over {
                    world.end_command(step, line, Verdict::Exited { code: 0 });
                }
                world.evidence(step, line).end.clone()
            };
            if let Some(outcome) = ended {
                return outcome;
            }
            tokio::select! {
                _ = changed.changed() => {}
                _ = moved.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    let why = format!("nobody ended `{line}` within {PATIENCE:?}");
                    return ToolOutcome::Unknown { why };
                }
            }
        }
    }
}

impl Hands for VirtualHands {
    fn prepare(
        &self,
        _session: StreamId,
        _spec: WorkspaceSpec,
    ) -> BoxFuture<'static, Result<Isolation, SetupError>> {
        let mode = "virtual".into();
        futures_util::future::ready(Ok(Isolation {
            mode,
            ..Isolation::default()
        }))
        .boxed()
    }

    fn perform(&self, act: Act) -> BoxFuture<'static, ToolOutcome> {
        let hands = self.clone();
        async move {
            match Tool::parse(&act.call).expect("the script makes calls that fit") {
                Tool::Exec(Exec {
                    command: CommandLine::Shell(line),
                    ..
                }) => hands.command(act.session, act.step, &line).await,
                tool => hands
                    .outside
                    .lock()
                    .file_tool(act.step, &tool, Some(&*hands.journal)),
            }
        }
        .boxed()
    }

    fn cancel(&self, _session: StreamId, step: u64) -> BoxFuture<'static, ()> {
        let outside = self.outside.clone();
        async move {
            // One that was not begun yet never begins.
            let begun = outside
                .lock()
                .steps
                .get(&step)
                .is_some_and(|evidence| evidence.times > 0);
            if begun {
                outside.kill(|other| other == step);
            } else {
                outside
                    .lock()
                    .end_command(step, "hang pause-now", Verdict::Canceled);
                outside.changed.send_modify(|count| *count += 1);
            }
        }
        .boxed()
    }

    fn stop(&self, _session: StreamId) -> BoxFuture<'static, Vec<u32>> {
        let outside = self.outside.clone();
        async move {
            outside.kill(|_| true);
            Vec::new()
        }
        .boxed()
    }
}
