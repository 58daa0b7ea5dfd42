//! Starts the command, behind walls ([`crate::isolate`]) or without. Mode `process` has none: own session and group,
//! built environment, three descriptors, default signals, no core dump, and death with the shim.

use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid, Resource, Rlimit, Signal};

use crate::dir::STDIN;
use crate::egress::Proxy;
use crate::files::{FileError, Workspace};
use crate::isolate::{self, Door, Doorkeeper, Fault, Frame, Job, Side, Step, Unborn};
use crate::limits::{Group, Rlimits};
use crate::patience::{Over, Patience, SET_UP, put_an_end_to};
use crate::sabotage;
use crate::spec::{CommandLine, STEP_VARIABLE, Spec, Verdict};
use crate::sys::{self, Fork};
use crate::walls::{INSIDE_HOME, INSIDE_TMP, Network, Walls};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The steps between fork and exec, as the child names them in its one message to the shim.
const STEPS: [&str; 8] = [
    "session",
    "death_signal",
    "cgroup",
    "stdio",
    "cwd",
    "descriptors",
    "rlimits",
    "exec",
];

/// A command that has begun to execute.
pub(crate) struct Started {
    /// Leader of its own session and process group, child of the shim: the command, or the init of its sandbox.
    pub(crate) pid: Pid,
    /// Of an isolated command: where init says how it ended.
    pub(crate) told: Option<OwnedFd>,
    /// Of an isolated command with a way out: who serves it.
    pub(crate) proxy: Option<Proxy>,
    /// Of an isolated service: who lets later commands in.
    pub(crate) doorkeeper: Option<Doorkeeper>,
    /// Read ends, non-blocking.
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Starts the command of `spec` in its control group, if it has one, with its standard input from the command directory
/// `dir`. It may take as long as the set-up of a sandbox may, or its wall time if that is less, and ends at a SIGTERM that
/// comes by `signals`. `ahead` is a sandbox behind walls that was prepared for it.
///
/// # Errors
/// The verdict: nothing of the command has executed.
pub(crate) fn start(
    spec: &Spec,
    dir: &Path,
    group: Option<&Group>,
    began: Instant,
    signals: &OwnedFd,
    ahead: Option<Sandbox>,
) -> Result<Started, Verdict> {
    let wall = spec.wall_ms.map_or(Duration::MAX, Duration::from_millis);
    let patience = Patience::until(began + SET_UP.min(wall), Some(signals));
    let started = match &spec.walls {
        None => start_bare(spec, dir, group, &patience),
        Some(walls) => start_isolated(spec, walls, dir, group, &patience, ahead),
    };
    started.map_err(|verdict| match patience.over() {
        Some(Over::Canceled) => Verdict::Canceled,
        // Its deadline is its deadline, whatever it was about.
        Some(Over::Late) if wall < SET_UP => Verdict::Timeout {
            limit_ms: spec.wall_ms.unwrap_or_default(),
            idle: false,
        },
        Some(Over::Late) | None => verdict,
    })
}

/// A sandbox that waits for its job, and the read ends of what will come out of it.
pub(crate) struct Sandbox {
    unborn: Unborn,
    outputs: [OwnedFd; 2],
    door: Door,
}

impl Sandbox {
    /// Makes one whose command is not known yet, in this control group, with all that its walls have in common with others.
    /// `channel` is kept out of it.
    pub(crate) fn prepare(
        frame: &Frame,
        group: Option<&Group>,
        channel: OwnedFd,
    ) -> io::Result<(Self, OwnedFd)> {
        no_core_dump()?;
        let [(stdout, stdout_end), (stderr, stderr_end)] = [output_pipe()?, output_pipe()?];
        let unborn = match isolate::fork(frame, None)? {
            Side::Init(inside) => {
                drop((channel, stdout, stderr));
                inside.run_what_comes(frame, [stdout_end, stderr_end], group.is_some())
            }
            Side::Shim(unborn) => unborn,
        };
        let door = unborn.raise(frame, &Patience::of_a_set_up(), &mut |init| adopt(group, init))?;
        let sandbox = Self {
            unborn,
            outputs: [stdout, stderr],
            door,
        };
        Ok((sandbox, channel))
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&self) -> bool {
        self.unborn.init().is_some()
    }

    /// Names the command to it, with the text of its spec, and has the rest of its walls built. Nothing of it executes before
    /// [`start`] goes on with it, so that this may come before the claim.
    pub(crate) fn order(&mut self, dir: &Path, spec: &Spec, text: &File) -> io::Result<()> {
        let walls = spec.walls.as_ref().ok_or(io::ErrorKind::InvalidInput)?;
        private_folder(&spec.home, walls)?;
        Ok(self.unborn.order(walls, text, &copy_of_stdin(dir)?)?)
    }
}

fn adopt(group: Option<&Group>, init: Pid) -> Result<(), Fault> {
    group
        .map_or(Ok(()), |group| group.take(init))
        .map_err(Fault::of(Step::Cgroup))
}

/// What init needs to know of a command.
pub(crate) fn job(spec: &Spec, stdin: File, [stdout, stderr]: [OwnedFd; 2], is_grouped: bool) -> Job<'_> {
    Job {
        workspace: &spec.workspace,
        home: &spec.home,
        cwd: &spec.cwd,
        stdin,
        stdout,
        stderr,
        rlimits: Rlimits::of(&spec.limits, is_grouped, true),
        program: Some(Program::of(spec)),
    }
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// `ahead` is a sandbox that waits for this very command, in its control group.
fn start_isolated(
    spec: &Spec,
    walls: &Walls,
    dir: &Path,
    group: Option<&Group>,
    patience: &Patience<'_>,
    ahead: Option<Sandbox>,
) -> Result<Started, Verdict> {
    let mut proxy = None;
    let mut serve = |listener| {
        proxy = Some(Proxy::start(listener, dir, patience).map_err(Fault::of(Step::Proxy))?);
        Ok(())
    };
    let (started, [stdout, stderr]) = match ahead {
        Some(Sandbox {
            unborn,
            outputs,
            door,
        }) => (
            unborn.lead(walls, Some(door), patience, &mut |_| Ok(()), &mut serve),
            outputs,
        ),
        None => {
            let stdin = copy_of_stdin(dir).map_err(|error| sandbox_error("stdin", &error))?;
            private_folder(&spec.home, walls).map_err(|error| sandbox_error("private_folders", &error))?;
            no_core_dump().map_err(|error| sandbox_error("core_limit", &error))?;
            let pipe = || output_pipe().map_err(|error| sandbox_error("pipe", &error));
            let [(stdout, stdout_end), (stderr, stderr_end)] = [pipe()?, pipe()?];
            let job = job(spec, stdin, [stdout_end, stderr_end], group.is_some());
            let mut adopt = |init| adopt(group, init);
            let started = isolate::start(walls, job, patience, &mut adopt, &mut serve);
            (started, [stdout, stderr])
        }
    };
    let started = match started {
        Ok(started) => started,
        Err(fault) => {
            if let Some(proxy) = proxy {
                proxy.end();
            }
            return Err(match fault.step {
                Step::Exec => {
                    let error = io::Error::from_raw_os_error(fault.errno);
                    exec_failed(&Program::of(spec).name(), &error)
                }
                step => setup_failed(step.name(), fault.errno),
            });
        }
    };
    // Only a service is there for as long as later commands may come. Without a doorkeeper they are refused by name.
    let is_service = spec.wall_ms.is_none();
    let doorkeeper = is_service
        .then(|| Doorkeeper::open(dir, started.door).ok())
        .flatten();
    never_block(&[&stdout, &stderr])?;
    Ok(Started {
        pid: started.init,
        told: Some(started.status),
        proxy,
        doorkeeper,
        stdout,
        stderr,
    })
}

/// Makes a folder that the command may write to, and gives it to who the command is.
fn private_folder(folder: &Path, walls: &Walls) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.and_then(|()| match walls.host_uid {
        Some(uid) => std::os::unix::fs::lchown(folder, Some(uid), Some(uid)),
        None => Ok(()),
    })
}

fn no_core_dump() -> io::Result<()> {
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(process::setrlimit(Resource::Core, no_core)?)
}

fn never_block(ends: &[&OwnedFd]) -> Result<(), Verdict> {
    ends.iter().try_for_each(|end| {
        rustix::io::ioctl_fionbio(end, true).map_err(|error| sandbox_error("pipe", &error.into()))
    })
}

fn start_bare(
    spec: &Spec,
    dir: &Path,
    group: Option<&Group>,
    patience: &Patience<'_>,
) -> Result<Started, Verdict> {
    let refused = |step: &'static str| move |error: FileError| setup_failed(step, error.errno());
    let workspace = Workspace::open(&spec.workspace).map_err(refused("workspace"))?;
    let cwd = workspace.directory(&spec.cwd).map_err(refused("cwd"))?;
    let stdin = open_stdin(dir).map_err(|error| sandbox_error("stdin", &error))?;
    for private in [&spec.home, &spec.tmp] {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(private);
        made.map_err(|error| sandbox_error("private_folders", &error))?;
    }
    no_core_dump().map_err(|error| sandbox_error("core_limit", &error))?;

    let pipe = || output_pipe().map_err(|error| sandbox_error("pipe", &error));
    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let (failure, failure_end) = pipe()?;
    let child = Child {
        cwd,
        stdin,
        stdout: stdout_end,
        stderr: stderr_end,
        failure: failure_end,
        group,
        rlimits: Rlimits::of(&spec.limits, group.is_some(), false),
        program: Program::of(spec),
    };

    let shim = std::process::id();
    let pid = match sys::fork().map_err(|error| sandbox_error("fork", &error))? {
        Fork::Child => child.become_the_command(shim),
        Fork::Parent(pid) => pid,
    };
    let program = child.program.name();
    // All write ends of the shim go with it, or the pipes would never end.
    drop(child);
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("fork returns a positive pid");
    if let Some((step, errno)) = read_failure(&failure, patience) {
        // It is dead or about to be; there is nothing in its status that the message does not say better.
        put_an_end_to(pid);
        let error = io::Error::from_raw_os_error(errno);
        return Err(match step {
            "exec" => exec_failed(&program, &error),
            step => sandbox_error(step, &error),
        });
    }
    never_block(&[&stdout, &stderr])?;
    Ok(Started {
        pid,
        told: None,
        proxy: None,
        doorkeeper: None,
        stdout,
        stderr,
    })
}

fn exec_failed(program: &str, error: &io::Error) -> Verdict {
    Verdict::ExecFailed {
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        message: format!("cannot execute {program}: {error}"),
    }
}

fn sandbox_error(step: &str, error: &io::Error) -> Verdict {
    setup_failed(step, error.raw_os_error().unwrap_or(libc::EIO))
}

fn setup_failed(step: &str, errno: i32) -> Verdict {
    Verdict::SandboxError {
        step: step.to_owned(),
        errno,
    }
}

fn open_stdin(dir: &Path) -> io::Result<File> {
    match File::open(dir.join(STDIN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
        opened => opened,
    }
}

/// Standard input in memory: the file lies in the command directory, of which nothing is ever reachable inside.
fn copy_of_stdin(dir: &Path) -> io::Result<File> {
    match std::fs::read(dir.join(STDIN)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/dev/null"),
        Err(error) => Err(error),
        Ok(bytes) => {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let mut copy = File::from(rustix::fs::memfd_create("stdin", flags)?);
            copy.write_all(&bytes)?;
            copy.rewind()?;
            let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
            rustix::fs::fcntl_add_seals(&copy, seals)?;
            Ok(copy)
        }
    }
}

/// The child's one message: which step failed with which errno. Nothing at all means that exec happened.
fn read_failure(pipe: &OwnedFd, patience: &Patience<'_>) -> Option<(&'static str, i32)> {
    let message = match patience.read_all(pipe) {
        Ok(message) => message,
        Err(error) => return Some((Step::Handshake.name(), error.raw_os_error())),
    };
    let (&step, errno) = message.split_first()?;
    let errno = i32::from_le_bytes(errno.try_into().ok()?);
    STEPS.get(usize::from(step)).map(|step| (*step, errno))
}

/// What execve needs, made before the fork.
pub(crate) struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Program {
    fn of(spec: &Spec) -> Self {
        let environment = environment(spec);
        let argv = match &spec.command {
            CommandLine::Shell { line } => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
            CommandLine::Argv { argv } => argv.clone(),
        };
        let program = argv.first().map_or("", String::as_str);
        let candidates = match &spec.command {
            CommandLine::Shell { .. } => vec![c_string(b"/bin/sh")],
            CommandLine::Argv { .. } if program.contains('/') => vec![c_string(program.as_bytes())],
            CommandLine::Argv { .. } => {
                let path = environment
                    .iter()
                    .find(|(name, _)| name == b"PATH")
                    .map(|(_, value)| value.as_slice());
                let folders = path
                    .unwrap_or_default()
                    .split(|b| *b == b':')
                    .filter(|folder| !folder.is_empty());
                folders
                    .map(|folder| c_string(&[folder, b"/", program.as_bytes()].concat()))
                    .collect()
            }
        };
        Self {
            candidates,
            argv: argv.iter().map(|word| c_string(word.as_bytes())).collect(),
            envp: environment
                .iter()
                .map(|(name, value)| c_string(&[name, &b"="[..], value].concat()))
                .collect(),
        }
    }

    /// Replaces the calling process; returns only if that failed.
    pub(crate) fn execute(&self) -> io::Error {
        sys::exec(&self.candidates, &self.argv, &self.envp)
    }

    fn name(&self) -> String {
        // `sh` and what is found along PATH are known by the word that was asked for.
        self.argv
            .first()
            .map(|word| word.to_string_lossy().chars().take(256).collect())
            .unwrap_or_default()
    }
}

/// The whole environment of the command, from nothing.
fn environment(spec: &Spec) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut set = |name: &[u8], value: &[u8]| {
        all.retain(|(known, _)| known != name);
        all.push((name.to_vec(), value.to_vec()));
    };
    if sabotage::is_on("inherit-the-environment") {
        std::env::vars_os().for_each(|(name, value)| set(name.as_bytes(), value.as_bytes()));
    }
    set(b"PATH", DEFAULT_PATH.as_bytes());
    let (home, tmp) = match spec.walls {
        None => (spec.home.as_path(), spec.tmp.as_path()),
        Some(_) => (Path::new(INSIDE_HOME), Path::new(INSIDE_TMP)),
    };
    set(b"HOME", home.as_os_str().as_bytes());
    set(b"TMPDIR", tmp.as_os_str().as_bytes());
    set(b"LANG", b"C.UTF-8");
    if let Some(walls) = spec
        .walls
        .as_ref()
        .filter(|walls| walls.network == Network::Proxy)
    {
        let proxy = format!("http://{}", walls.proxy);
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
            set(name.as_bytes(), proxy.as_bytes());
        }
        // Services are reached directly.
        for name in ["no_proxy", "NO_PROXY"] {
            set(name.as_bytes(), b"localhost,127.0.0.1,::1");
        }
    }
    for (name, value) in &spec.env {
        set(name.as_bytes(), value.as_bytes());
    }
    // Last, so that nothing given can take the mark off.
    set(STEP_VARIABLE.as_bytes(), spec.tag().as_bytes());
    all
}

/// A spec was checked for NUL bytes before it was claimed; should one slip through, the word ends there.
fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).expect("cut before the first NUL")
}

/// What the child holds between fork and exec.
struct Child<'a> {
    cwd: OwnedFd,
    stdin: File,
    stdout: OwnedFd,
    stderr: OwnedFd,
    failure: OwnedFd,
    group: Option<&'a Group>,
    rlimits: Rlimits,
    program: Program,
}

impl Child<'_> {
    fn become_the_command(&self, shim: u32) -> ! {
        let (step, error) = self.steps(shim);
        let index = STEPS.iter().position(|name| *name == step).unwrap_or(0);
        let mut message = vec![u8::try_from(index).unwrap_or(0)];
        message.extend(error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes());
        let _ = rustix::io::write(&self.failure, &message);
        sys::exit_now(127)
    }

    /// Returns only if a step failed: its name and why.
    fn steps(&self, shim: u32) -> (&'static str, io::Error) {
        let steps = [
            ("session", Self::own_session as fn(&Self, u32) -> io::Result<()>),
            ("death_signal", Self::die_with_the_shim),
            // As the shim's own user still, and before anything of the command can be charged to somebody else.
            ("cgroup", |child, _| child.group.map_or(Ok(()), Group::enter)),
            ("stdio", Self::three_descriptors),
            ("cwd", |child, _| Ok(process::fchdir(&child.cwd)?)),
            ("descriptors", |_, _| sys::close_all_from_3_on_exec()),
            ("rlimits", |child, _| child.rlimits.apply()),
        ];
        for (name, step) in steps {
            if let Err(error) = step(self, shim) {
                return (name, error);
            }
        }
        process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        sys::reset_signals();
        ("exec", self.program.execute())
    }

    fn own_session(&self, _: u32) -> io::Result<()> {
        process::setsid()?;
        Ok(())
    }

    /// Asks the kernel for SIGKILL when the shim dies, then makes sure that it had not died before.
    fn die_with_the_shim(&self, shim: u32) -> io::Result<()> {
        process::set_parent_process_death_signal(Some(Signal::KILL))?;
        let parent = process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(shim) {
            sys::exit_now(127);
        }
        Ok(())
    }

    fn three_descriptors(&self, _: u32) -> io::Result<()> {
        rustix::stdio::dup2_stdin(&self.stdin)?;
        rustix::stdio::dup2_stdout(&self.stdout)?;
        rustix::stdio::dup2_stderr(&self.stderr)?;
        Ok(())
    }
}
