//! The hands of sessions on this machine: commands under shims that outlive this process, and file tools that cannot
//! be led outside a workspace. Every act leaves evidence under its step, so that the same step is never done twice.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Act, Hands, Kept, Report, SetupError};
use longhaul_actors::session::{
    Artifact, CommandLine, Edit, Exec, Execution, FileRead, FileWrite, Isolation, List, Output, Read,
    Resources, Sandbox, ServiceEnd, Tool, ToolOutcome, Used, Verdict, WorkspaceSpec, Write,
};
use longhaul_hands as shim;
use longhaul_journal::{Blobs, Journal, Seq, StreamId};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::checkpoints::Bounds;
use super::files::Looks;
use super::gate::{Gates, Pass};
use super::output::{Captured, keep};
use super::services::ask_to_end;
use super::workspace::{Prepared, failed, prepare};
use super::{SessionFolder, durable};
use crate::limiting::Limiting;
use crate::sandbox::{Sandboxing, Walled};

/// Largest file that is read for a brain or edited, bytes.
const FILE_LIMIT: u64 = 8 << 20;
/// Largest file that is kept as an artifact, bytes.
const ARTIFACT_LIMIT: u64 = 256 << 20;
/// Most names a listing gives.
const LIST_LIMIT: usize = 1_000;
/// What git executes on the user's behalf when it works in that repository; a session in place cannot change it.
const GIT_OF_THE_USER: [&str; 2] = [".git/config", ".git/hooks"];
/// How long a shim is given to write its record down when everything is stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(6);
/// How long to wait before looking again at a shim that is about to claim its command.
pub(super) const STARTING_PAUSE: Duration = Duration::from_millis(5);

/// Hands that act on this machine.
#[derive(Clone)]
pub(crate) struct LocalHands {
    data: PathBuf,
    shims: Arc<shim::Pool>,
    journal: Arc<dyn Journal>,
    sandbox: Arc<Sandboxing>,
    limiting: Arc<Limiting>,
    gates: Gates,
    pub(crate) looks: Looks,
    /// Answers of a name server that is not there, in tests.
    pub(super) fixture: Option<shim::egress::Fixture>,
}

impl LocalHands {
    /// Hands whose evidence lies in this data directory and whose commands run under these shims.
    pub(crate) fn new(
        data: PathBuf,
        shims: Arc<shim::Pool>,
        journal: Arc<dyn Journal>,
        sandbox: Arc<Sandboxing>,
        limiting: Arc<Limiting>,
    ) -> Self {
        Self {
            data,
            shims,
            journal,
            sandbox,
            limiting,
            gates: Gates::default(),
            looks: Looks::default(),
            fixture: None,
        }
    }

    /// The same hands, for tests of the way out: these names have these addresses, and no others.
    pub(crate) fn with_fixture(mut self, fixture: Option<shim::egress::Fixture>) -> Self {
        self.fixture = fixture;
        self
    }

    pub(super) fn folder(&self, session: StreamId) -> SessionFolder {
        SessionFolder::new(&self.data, session)
    }
}

impl Hands for LocalHands {
    fn prepare(
        &self,
        session: StreamId,
        spec: WorkspaceSpec,
    ) -> BoxFuture<'static, Result<Isolation, SetupError>> {
        let folder = self.folder(session);
        let (journal, sandbox) = (Arc::clone(&self.journal), Arc::clone(&self.sandbox));
        let limiting = Arc::clone(&self.limiting);
        async move {
            let prepared = blocking(move || {
                let prepared = make_ready(&folder, &spec, &sandbox, &limiting);
                Ok(prepared.map_err(|error| with_report(error, &spec, journal.blobs())))
            });
            prepared
                .await
                .map_err(|error| failed("workspace_unwritable", error))?
        }
        .boxed()
    }

    fn perform(&self, act: Act) -> BoxFuture<'static, ToolOutcome> {
        let hands = self.clone();
        // Before anything is awaited: whoever ends the step from now on finds that it may be on its way.
        let pass = self.gates.pass(act.session, act.step);
        async move {
            match hands.act(&act, &pass).await {
                Ok(outcome) => outcome,
                Err(Trouble::Refused(code, detail)) => ToolOutcome::Failed {
                    code,
                    detail,
                    active_ms: 0,
                },
                Err(Trouble::Unknown(why)) => ToolOutcome::Unknown { why },
                Err(Trouble::Ended) => ToolOutcome::Command(Execution {
                    verdict: Verdict::Canceled,
                    stdout: Output::default(),
                    stderr: Output::default(),
                    active_ms: 0,
                    isolation: hands.isolation_of(act.session),
                    used: None,
                }),
            }
        }
        .boxed()
    }

    fn checkpoint(
        &self,
        session: StreamId,
        at: Seq,
        requested: bool,
        resources: Resources,
    ) -> BoxFuture<'static, Result<Kept, SetupError>> {
        let bounds = Bounds {
            requested,
            bytes: resources.disk_bytes,
            entries: resources.disk_files,
            reserve: self.limiting.disk_reserve(),
        };
        self.keep_files(session, at, bounds)
    }

    fn cancel(&self, session: StreamId, step: u64) -> BoxFuture<'static, ()> {
        let directory = self.folder(session).step(step);
        let gate = self.gates.of(session);
        async move {
            let canceled = blocking(move || {
                gate.close().end(step);
                until_claimed(&directory)?;
                shim::cancel(&directory)
            });
            if let Err(error) = canceled.await {
                tracing::warn!(%session, step, %error, "a command could not be asked to stop");
            }
        }
        .boxed()
    }

    fn watch(&self, session: StreamId, step: u64) -> BoxFuture<'static, ServiceEnd> {
        let (hands, directory) = (self.clone(), self.folder(session).step(step));
        async move { hands.end_of_service(directory).await }.boxed()
    }

    fn end_service(&self, session: StreamId, step: u64) -> BoxFuture<'static, ()> {
        let directory = self.folder(session).step(step);
        async move {
            if let Err(error) = ask_to_end(directory).await {
                tracing::warn!(%session, step, %error, "a service could not be asked to stop");
            }
        }
        .boxed()
    }

    fn stop(&self, session: StreamId) -> BoxFuture<'static, Vec<u32>> {
        let steps = self.folder(session).steps();
        let gate = self.gates.of(session);
        async move {
            let stopped = blocking(move || {
                // A launch that is under way comes first and is found; one that comes later is refused.
                let mut passed = gate.close();
                passed.stop();
                let directories = step_directories(&steps)?;
                directories.iter().try_for_each(|directory| until_claimed(directory))?;
                shim::kill_all(&session.to_string(), &directories, STOP_PATIENCE)
            });
            match stopped.await {
                Ok(survivors) => survivors,
                Err(error) => {
                    tracing::error!(%session, %error, "cannot tell whether processes of the session are left");
                    // Nobody is confirmed gone: this process stands for those that cannot be seen.
                    vec![std::process::id()]
                }
            }
        }
        .boxed()
    }
}

/// The walls are agreed on first: without them nothing of the session is made.
fn make_ready(
    folder: &SessionFolder,
    spec: &WorkspaceSpec,
    sandbox: &Sandboxing,
    limiting: &Limiting,
) -> Result<Isolation, SetupError> {
    // What was made ready once stays as it is walled in.
    let before = Prepared::load(folder)?.map(|prepared| match prepared.sandbox {
        Walled::Process => Sandbox::Process,
        Walled::Isolated { .. } => Sandbox::Isolated,
    });
    let wish = before.or(spec.sandbox);
    let isolation = sandbox.ready(wish)?;
    let agreed = sandbox
        .agree(wish)
        .map_err(|problem| failed(problem.code.name(), problem.detail))?;
    let limits = limiting.ready(agreed)?;
    prepare(folder, spec, agreed)?;
    Ok(Isolation {
        limits: Some(limits),
        ..isolation
    })
}

/// Keeps what is known of a failed set-up where it outlives the session. Without it the error stands for itself.
fn with_report(mut error: SetupError, spec: &WorkspaceSpec, blobs: &dyn Blobs) -> SetupError {
    let text = format!(
        "{}\n\n{}\n\nworkspace: {:?} of {:?}\n",
        error.code, error.detail, spec.kind, spec.source
    );
    match blobs.put(&mut text.as_bytes()) {
        Ok(blob) => {
            let (sha256, bytes) = (blob.id.to_string(), blob.bytes);
            error.report = Some(Report { sha256, bytes });
        }
        Err(trouble) => tracing::warn!(%trouble, "the report of a failed set-up could not be kept"),
    }
    error
}

/// Why an act has no ordinary outcome.
pub(super) enum Trouble {
    /// It did not happen, or failed without doing anything: a stable code, and what to do next.
    Refused(String, String),
    /// Nobody can know whether it happened.
    Unknown(String),
    /// It was ended before it was started.
    Ended,
}

impl From<shim::FileError> for Trouble {
    fn from(error: shim::FileError) -> Self {
        Self::Refused(error.code().to_owned(), error.to_string())
    }
}

pub(super) fn refused(code: &str, detail: impl ToString) -> Trouble {
    Trouble::Refused(code.to_owned(), detail.to_string())
}

pub(super) fn evidence_unreadable(error: &io::Error) -> Trouble {
    // Without the evidence nothing is begun: it may have been begun before.
    Trouble::Unknown(format!("the evidence of the step cannot be read: {error}"))
}

/// What an edit is about to do, on disk before it is done, so that a crash in the middle can be told from either side.
#[derive(Serialize, Deserialize)]
struct EditIntent {
    before: Option<String>,
    after: String,
    bytes: u64,
}

impl LocalHands {
    /// How a session is walled in, for the record of a command that never was.
    fn isolation_of(&self, session: StreamId) -> String {
        let prepared = Prepared::load(&self.folder(session)).ok().flatten();
        prepared
            .map_or(Walled::Process, |prepared| prepared.sandbox)
            .name()
            .to_owned()
    }

    async fn act(&self, act: &Act, pass: &Arc<Pass>) -> Result<ToolOutcome, Trouble> {
        let tool = Tool::parse(&act.call).map_err(|error| refused(error.code, error))?;
        let folder = self.folder(act.session);
        let prepared = Prepared::load(&folder).map_err(|error| refused(&error.code, &error.detail))?;
        let prepared =
            prepared.ok_or_else(|| refused("workspace_missing", "the workspace was never made ready"))?;
        match tool {
            Tool::Exec(exec) => {
                let mut spec = spec_of(&exec, act, &folder, &prepared);
                spec.walls = self.walls(&prepared)?;
                let mut spec = self.bounded(spec, act, &folder).await?;
                self.surround(&mut spec, act, &folder).await;
                let ended = self.run(act, pass, &folder, spec).await?;
                let outcome = ToolOutcome::Command(self.execution(ended).await?);
                Ok(self.with_denials(outcome, act, &folder).await)
            }
            Tool::Patch(_) => self.patch(act, pass, &folder, &prepared).await,
            Tool::Service(call) => self.service(&call, act, pass, &folder, &prepared).await,
            file_tool => {
                let (hands, step) = (self.clone(), folder.step(act.step));
                let done = tokio::task::spawn_blocking(move || {
                    hands.file_tool(&prepared.workspace, &step, file_tool)
                });
                done.await
                    .map_err(|error| Trouble::Unknown(format!("the file tool panicked: {error}")))?
            }
        }
    }

    /// The walls of a session's commands. Consent is asked for each time: it is the runtime's, and may have changed.
    pub(super) fn walls(&self, prepared: &Prepared) -> Result<Option<shim::Walls>, Trouble> {
        let walls = self
            .sandbox
            .walls(prepared.sandbox)
            .map_err(|detail| refused("sandbox_refused", detail))?;
        Ok(walls.map(|mut walls| {
            if prepared.in_place {
                // The user's own git reads these, outside the walls.
                walls.protected = GIT_OF_THE_USER.iter().map(PathBuf::from).collect();
            }
            walls
        }))
    }

    fn file_tool(&self, workspace: &Path, step: &Path, tool: Tool) -> Result<ToolOutcome, Trouble> {
        let begun = Instant::now();
        let active_ms = || elapsed_ms(begun);
        let files = shim::Workspace::open(workspace)?;
        match tool {
            Tool::Read(Read { path }) => {
                let contents = files.read(Path::new(&path), FILE_LIMIT)?;
                let total = contents.bytes.len() as u64;
                let captured = Captured {
                    head: &contents.bytes,
                    tail: b"",
                    total,
                };
                let content =
                    keep(&captured, self.journal.blobs()).map_err(|e| refused("storage_unavailable", e))?;
                let file_sha256 = contents.sha256;
                Ok(ToolOutcome::Read(FileRead {
                    path,
                    file_sha256,
                    content,
                    active_ms: active_ms(),
                }))
            }
            Tool::Write(Write { path, content }) => {
                let written = files.write(Path::new(&path), content.as_bytes())?;
                Ok(wrote(path, written, active_ms()))
            }
            Tool::Edit(edit) => apply_edit(&files, step, edit, active_ms),
            Tool::List(List { path }) => {
                let listing = files.list(Path::new(&path), LIST_LIMIT)?;
                let mut output: String = listing.entries.iter().map(list_line).collect();
                if listing.more {
                    output.push_str("... and more\n");
                }
                Ok(ToolOutcome::Done {
                    output,
                    active_ms: active_ms(),
                })
            }
            Tool::Artifact(Artifact { kind, path }) => {
                let contents = files.read_at_rest(Path::new(&path), ARTIFACT_LIMIT)?;
                self.artifact(kind, path, &contents.bytes, active_ms())
            }
            Tool::Exec(_) | Tool::Patch(_) | Tool::Service(_) => {
                Err(refused("internal", "a command is no file tool"))
            }
        }
    }

    fn artifact(
        &self,
        kind: String,
        name: String,
        bytes: &[u8],
        active_ms: u64,
    ) -> Result<ToolOutcome, Trouble> {
        let blob = self
            .journal
            .blobs()
            .put(&mut &*bytes)
            .map_err(|e| refused("storage_unavailable", e))?;
        Ok(ToolOutcome::Artifact {
            kind,
            name,
            sha256: blob.id.to_string(),
            bytes: blob.bytes,
            active_ms,
            task: None,
        })
    }

    /// The difference between the workspace and what it began as. git runs under a shim like any command: the
    /// configuration it reads lies in the workspace and is not to be trusted outside it.
    async fn patch(
        &self,
        act: &Act,
        pass: &Arc<Pass>,
        folder: &SessionFolder,
        prepared: &Prepared,
    ) -> Result<ToolOutcome, Trouble> {
        let Some(base) = &prepared.base_tree else {
            return Err(refused(
                "no_patch",
                "only a workspace that is a clone can be compared with what it began as",
            ));
        };
        let line = format!(
            "GIT_INDEX_FILE=\"$TMPDIR/longhaul-patch-index\" && export GIT_INDEX_FILE && rm -f \"$GIT_INDEX_FILE\" \
             && git add --all && git diff --cached --binary --no-color --no-ext-diff --no-textconv {base}"
        );
        let mut spec = shim::Spec::shell(
            &act.session.to_string(),
            act.step,
            &line,
            &prepared.workspace,
            &folder.private(),
        );
        spec.walls = self.walls(prepared)?;
        spec.wall_ms = Some(act.limit_ms);
        let mut spec = self.bounded(spec, act, folder).await?;
        spec.head_bytes = ARTIFACT_LIMIT;
        spec.kill_bytes = ARTIFACT_LIMIT;
        let Ended { record, output } = self.run(act, pass, folder, spec).await?;
        let active_ms = record.wall_ms;
        if record.verdict != (shim::Verdict::Exited { code: 0 }) {
            let complaint = String::from_utf8_lossy(&output.stderr.head).trim().to_owned();
            let code = match &record.verdict {
                shim::Verdict::OomKilled { .. } => "oom_killed",
                shim::Verdict::DiskFull { .. } => "disk_full",
                shim::Verdict::OutputLimit { .. } => "output_limit",
                _ => "patch_failed",
            };
            return Err(refused(
                code,
                format!("git ended with {:?}: {complaint}", record.verdict),
            ));
        }
        if output.stdout.head.is_empty() {
            return Ok(ToolOutcome::Done {
                output: "nothing changed".into(),
                active_ms,
            });
        }
        let hands = self.clone();
        let kept = tokio::task::spawn_blocking(move || {
            hands.artifact(
                "patch".into(),
                "changes.patch".into(),
                &output.stdout.head,
                active_ms,
            )
        });
        kept.await
            .map_err(|error| refused("storage_unavailable", error))?
    }

    /// The command, held to what commands of its session may use.
    pub(super) async fn bounded(
        &self,
        mut spec: shim::Spec,
        act: &Act,
        folder: &SessionFolder,
    ) -> Result<shim::Spec, Trouble> {
        let in_place = spec.workspace != folder.workspace();
        let (limiting, resources) = (Arc::clone(&self.limiting), act.resources);
        let bounded = blocking(move || {
            limiting.bound(&mut spec, &resources, in_place);
            Ok(spec)
        });
        bounded.await.map_err(|error| refused("internal", error))
    }

    /// Sees a command through: starts it unless it was started before, waits for it, and collects what it left.
    async fn run(
        &self,
        act: &Act,
        pass: &Arc<Pass>,
        folder: &SessionFolder,
        spec: shim::Spec,
    ) -> Result<Ended, Trouble> {
        let directory = folder.step(act.step);
        loop {
            let looked = directory.clone();
            match blocking(move || shim::state(&looked))
                .await
                .map_err(|error| evidence_unreadable(&error))?
            {
                shim::State::Exited(record) => {
                    let output = blocking(move || shim::collect(&directory)).await;
                    let output =
                        output.map_err(|error| Trouble::Unknown(format!("its output is lost: {error}")))?;
                    return Ok(Ended {
                        record: *record,
                        output,
                    });
                }
                shim::State::NotStarted => self.launch(&directory, pass, &spec).await?,
                shim::State::Starting => tokio::time::sleep(STARTING_PAUSE).await,
                shim::State::Running { .. } => {
                    let watched = directory.clone();
                    let gone = blocking(move || shim::watch(&watched))
                        .await
                        .map_err(|e| evidence_unreadable(&e))?;
                    if let Some(gone) = gone {
                        readable(gone)
                            .await
                            .map_err(|error| evidence_unreadable(&error))?;
                    }
                }
                shim::State::Unknown(cause) => return Err(self.left_behind(act, folder, cause).await),
            }
        }
    }

    /// Launches a command unless its step was ended before.
    pub(super) async fn launch(
        &self,
        directory: &Path,
        pass: &Arc<Pass>,
        spec: &shim::Spec,
    ) -> Result<(), Trouble> {
        let (shims, place, wish) = (Arc::clone(&self.shims), directory.to_owned(), spec.clone());
        let pass = Arc::clone(pass);
        let launched = tokio::task::spawn_blocking(move || {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent).map_err(|error| refused("storage_unavailable", error))?;
            }
            match pass.launch(|| shims.launch(&place, &wish)) {
                Some(launched) => launched.map(|_| ()).map_err(launch_trouble),
                None => Err(Trouble::Ended),
            }
        });
        launched
            .await
            .map_err(|error| Trouble::Unknown(format!("the launcher panicked: {error}")))?
    }

    /// Ends what a lost shim left running, so that an unknown outcome is at least a finished one.
    pub(super) async fn left_behind(
        &self,
        act: &Act,
        folder: &SessionFolder,
        cause: shim::UnknownCause,
    ) -> Trouble {
        let directory = folder.step(act.step);
        let swept = blocking(move || shim::recover(&[directory])).await;
        match swept {
            Ok(recovery) if recovery.survivors.is_empty() => Trouble::Unknown(cause.as_str().to_owned()),
            Ok(recovery) => Trouble::Unknown(format!(
                "{}; processes {:?} are still there",
                cause.as_str(),
                recovery.survivors
            )),
            Err(error) => Trouble::Unknown(format!(
                "{}; what it left cannot be told: {error}",
                cause.as_str()
            )),
        }
    }

    pub(super) async fn execution(&self, ended: Ended) -> Result<Execution, Trouble> {
        let journal = Arc::clone(&self.journal);
        blocking(move || {
            let Ended { record, output } = ended;
            let kept = |stream: &shim::Output, stored: &shim::StreamRecord| {
                let captured = Captured {
                    head: &stream.head,
                    tail: &stream.tail,
                    total: stored.total,
                };
                keep(&captured, journal.blobs()).map_err(io::Error::other)
            };
            Ok(Execution {
                verdict: verdict(&record),
                stdout: kept(&output.stdout, &record.stdout)?,
                stderr: kept(&output.stderr, &record.stderr)?,
                active_ms: record.wall_ms,
                isolation: match record.isolation {
                    shim::Isolation::Process => Sandbox::Process,
                    _ => Sandbox::Isolated,
                }
                .name()
                .into(),
                used: record.usage.map(used),
            })
        })
        .await
        .map_err(|error| Trouble::Unknown(format!("it ended, but its output could not be kept: {error}")))
    }
}

/// A command that ended, and what is left of it.
pub(super) struct Ended {
    pub(super) record: shim::ExitRecord,
    pub(super) output: shim::Collected,
}

pub(super) fn command_line(command: &CommandLine) -> shim::CommandLine {
    match command {
        CommandLine::Shell(line) => shim::CommandLine::Shell { line: line.clone() },
        CommandLine::Argv(argv) => shim::CommandLine::Argv { argv: argv.clone() },
    }
}

/// A command of this step in the session's own folders.
pub(super) fn spec_in(
    act: &Act,
    folder: &SessionFolder,
    prepared: &Prepared,
    command: shim::CommandLine,
) -> shim::Spec {
    let session = act.session.to_string();
    shim::Spec::new(
        &session,
        act.step,
        command,
        &prepared.workspace,
        &folder.private(),
    )
}

fn spec_of(exec: &Exec, act: &Act, folder: &SessionFolder, prepared: &Prepared) -> shim::Spec {
    let mut spec = spec_in(act, folder, prepared, command_line(&exec.command));
    spec.cwd = PathBuf::from(&exec.cwd);
    spec.env = exec.env.clone().into_iter().collect();
    spec.stdin = exec.stdin.clone().into_bytes();
    spec.wall_ms = Some(act.limit_ms);
    spec
}

fn verdict(record: &shim::ExitRecord) -> Verdict {
    match &record.verdict {
        shim::Verdict::Exited { code } => Verdict::Exited { code: *code },
        shim::Verdict::Signaled { signal } => Verdict::Signaled { signal: *signal },
        shim::Verdict::Timeout { idle, .. } => Verdict::Timeout { idle: *idle },
        shim::Verdict::OomKilled { .. } => Verdict::OomKilled,
        shim::Verdict::DiskFull { limit } => Verdict::DiskFull {
            limit: limit.as_str().to_owned(),
        },
        shim::Verdict::OutputLimit { .. } => Verdict::OutputLimit,
        shim::Verdict::Canceled => Verdict::Canceled,
        shim::Verdict::ExecFailed { message, .. } => Verdict::ExecFailed {
            detail: message.clone(),
        },
        shim::Verdict::SandboxViolation => Verdict::SandboxViolation,
        shim::Verdict::SandboxError { step, errno } => {
            let detail = format!("{step}: {}", io::Error::from_raw_os_error(*errno));
            Verdict::SandboxError { detail }
        }
        other => Verdict::SandboxError {
            detail: format!("this version does not know the verdict {other:?}"),
        },
    }
}

fn used(usage: shim::Usage) -> Used {
    Used {
        by: usage.by.as_str().to_owned(),
        cpu_ms: usage.cpu_ms,
        mem_peak: usage.mem_peak,
        oom_kills: usage.oom_kills,
        pids_limit_hits: usage.pids_limit_hits,
    }
}

fn launch_trouble(error: shim::LaunchError) -> Trouble {
    match error {
        shim::LaunchError::NotAShim { .. } => Trouble::Unknown(error.to_string()),
        other => refused("not_started", other),
    }
}

fn wrote(path: String, written: shim::Written, active_ms: u64) -> ToolOutcome {
    let shim::Written { before, after, bytes } = written;
    ToolOutcome::Wrote(FileWrite {
        path,
        bytes,
        before,
        after,
        active_ms,
    })
}

fn list_line(entry: &shim::Entry) -> String {
    match entry.kind {
        shim::EntryKind::Folder => format!("{}/\n", entry.name),
        shim::EntryKind::Symlink => format!("{}@\n", entry.name),
        _ => format!("{}\t{}\n", entry.name, entry.bytes),
    }
}

/// Does an edit, or finds it done: what it is about to do is on disk first, and recovery compares hashes (B-CRASH-3).
fn apply_edit(
    files: &shim::Workspace,
    step: &Path,
    edit: Edit,
    active_ms: impl Fn() -> u64,
) -> Result<ToolOutcome, Trouble> {
    let Edit { path, old, new } = edit;
    let file = Path::new(&path);
    let note = step.join("edit.json");
    let intent = match std::fs::read(&note) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| Trouble::Unknown(format!("its intent is torn: {e}")))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let shim::Written { before, after, bytes } = files.preview_edit(file, &old, &new)?;
            let intent = EditIntent { before, after, bytes };
            let text = serde_json::to_vec(&intent).map_err(|e| refused("internal", e))?;
            std::fs::create_dir_all(step)
                .and_then(|()| durable::write(&note, &text))
                .map_err(|error| {
                    refused(
                        "storage_unavailable",
                        format!("the intent of the edit could not be kept: {error}"),
                    )
                })?;
            intent
        }
        Err(error) => return Err(evidence_unreadable(&error)),
    };
    match files.compare(file, intent.before.as_deref(), &intent.after)? {
        shim::Standing::Applied => {
            let EditIntent { before, after, bytes } = intent;
            Ok(wrote(path, shim::Written { before, after, bytes }, active_ms()))
        }
        shim::Standing::NotApplied => {
            let written = files.edit(file, &old, &new, intent.before.as_deref())?;
            Ok(wrote(path, written, active_ms()))
        }
        shim::Standing::Other { .. } => Err(Trouble::Unknown(format!(
            "{path} was changed by somebody else meanwhile"
        ))),
    }
}

/// Waits for a shim that is about to claim its command: until then there is nobody who could be asked to end it.
fn until_claimed(directory: &Path) -> io::Result<()> {
    let give_up = Instant::now() + STOP_PATIENCE;
    while matches!(shim::state(directory)?, shim::State::Starting) && Instant::now() < give_up {
        std::thread::sleep(STARTING_PAUSE);
    }
    Ok(())
}

fn step_directories(steps: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(steps) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Resolves once the descriptor is readable; a shim's is when it has exited.
pub(super) async fn readable(descriptor: OwnedFd) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against types that close their descriptor early; an OwnedFd does not"
    )]
    let watched = AsyncFd::with_interest(descriptor, Interest::READABLE)?;
    watched.readable().await.map(|_| ())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

pub(super) fn elapsed_ms(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}
