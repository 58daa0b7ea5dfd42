//! One workspace, one folder of command directories, and the few verbs the tests speak.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of tests has no crate to be reached from")]
#![allow(clippy::unwrap_used, reason = "a helper fails its test by panicking")]

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longhaul_hands::{
    Claim, Collected, CommandLine, ExitRecord, Groups, Launched, Spec, State, Verdict, Walls, collect,
    kill_all, launch, probe, probe_groups, session_uid, wait,
};

#[path = "../../../../tests/src/leftovers.rs"]
pub mod leftovers;
#[path = "../../../../tests/src/watched.rs"]
pub mod watched;

/// Starts the other process of a test, which plays this role, and waits until it says `ready`.
pub fn come_up(role: &str, command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = watched::Heard::of(child.stdout.take().unwrap());
    let give_up = Instant::now() + Duration::from_secs(60);
    while let Some(line) = told.line(give_up) {
        if line == "ready\n" {
            return child;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("{role} did not come up: {}", told.text());
}

/// A session with a name that no other test has, so that killing by mark cannot reach across.
pub struct Rig {
    folder: tempfile::TempDir,
    pub session: String,
    steps: AtomicU64,
    is_walled: bool,
}

impl Rig {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("ws")).unwrap();
        let session = format!(
            "t-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self {
            folder,
            session,
            steps: AtomicU64::new(1),
            // The same tests once more, behind walls.
            is_walled: std::env::var("LONGHAUL_SANDBOX").as_deref() == Ok("isolated"),
        }
    }

    /// A rig whose commands run behind walls; none, with a line that says why, on a machine that cannot build them. With
    /// `SANDBOX_REQUIRE=all` such a machine fails the test instead.
    pub fn isolated() -> Option<Self> {
        let mut rig = Self::new();
        rig.is_walled = true;
        match probe(shim_exe(), &rig.walls()) {
            Ok(report) => {
                let all = report.landlock_abi > 0;
                assert!(all || std::env::var_os("SANDBOX_REQUIRE").is_none(), "{report:?}");
                Some(rig)
            }
            Err(refusal) if std::env::var_os("SANDBOX_REQUIRE").is_some() => panic!("{refusal:?}"),
            Err(refusal) => {
                let test = std::thread::current().name().unwrap_or_default().to_owned();
                eprintln!("skipped {test}: this machine cannot build the walls: {refusal}");
                None
            }
        }
    }

    /// Whether commands run behind walls unless a test says otherwise.
    pub fn is_walled(&self) -> bool {
        self.is_walled
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn ws(&self) -> PathBuf {
        self.path().join("ws")
    }

    /// A fresh command directory and a spec for it.
    pub fn shell(&self, line: &str) -> (PathBuf, Spec) {
        self.command(CommandLine::Shell {
            line: line.to_owned(),
        })
    }

    pub fn argv(&self, argv: &[&str]) -> (PathBuf, Spec) {
        self.command(CommandLine::Argv {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
        })
    }

    fn command(&self, command: CommandLine) -> (PathBuf, Spec) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let mut spec = Spec::new(
            &self.session,
            step,
            command,
            &self.ws(),
            &self.path().join("private"),
        );
        spec.groups = groups();
        spec.walls = self.is_walled.then(|| self.walls());
        (self.path().join(format!("step-{step}")), spec)
    }

    /// The same command behind walls. As root the session is another user of the machine, to whom the workspace belongs.
    pub fn walled(&self, (dir, mut spec): (PathBuf, Spec)) -> (PathBuf, Spec) {
        spec.walls = Some(self.walls());
        (dir, spec)
    }

    pub fn walls(&self) -> Walls {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
        let host_uid = rustix::process::geteuid()
            .is_root()
            // In a user namespace with one user, root is that user and there is no other.
            .then(|| session_uid(&self.session, &map))
            .flatten();
        if let Some(uid) = host_uid {
            give(&self.ws(), uid);
        }
        Walls {
            host_uid,
            ..Walls::default()
        }
    }

    pub fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.ws().join(name)).unwrap_or_default()
    }

    /// The living processes that carry this session's mark, found by the test's own eyes.
    pub fn marked(&self) -> Vec<u32> {
        let mark = format!("LONGHAUL_STEP={}/", self.session);
        processes("environ", |entry| entry.starts_with(mark.as_bytes()))
    }
}

/// What a command behind walls said, standard output before standard error, however it ended.
pub fn said(command: &(PathBuf, Spec)) -> String {
    let (_, output) = run(command);
    let both = [output.stdout.head, output.stderr.head].concat();
    String::from_utf8_lossy(&both).into_owned()
}

impl Drop for Rig {
    fn drop(&mut self) {
        // A test that fails must not leave its commands to the machine.
        let dirs: Vec<PathBuf> = (1..self.steps.load(Ordering::Relaxed))
            .map(|step| self.path().join(format!("step-{step}")))
            .collect();
        let _ = kill_all(&self.session, &dirs, Duration::ZERO);
    }
}

/// Where control groups can be made, if anywhere. Where all layers are required, root must have them.
pub fn groups() -> Option<Groups> {
    static FOUND: std::sync::LazyLock<Result<Groups, String>> = std::sync::LazyLock::new(probe_groups);
    let required = std::env::var_os("SANDBOX_REQUIRE").is_some_and(|word| word == "all");
    match &*FOUND {
        Ok(groups) => Some(groups.clone()),
        Err(missing) if required && rustix::process::geteuid().is_root() => {
            panic!("control groups are required: {missing}")
        }
        Err(_) => None,
    }
}

/// The folders of a command's control group, as its claim names them.
pub fn groups_of(dir: &Path) -> Vec<PathBuf> {
    let claim = std::fs::read(dir.join("claim.json")).unwrap_or_default();
    serde_json::from_slice::<Claim>(&claim).map_or_else(|_| Vec::new(), |claim| claim.groups)
}

/// Those of them that are still there.
pub fn groups_left(dir: &Path) -> Vec<PathBuf> {
    let mut left = groups_of(dir);
    left.retain(|group| group.exists());
    left
}

/// Makes a folder and all that is in it somebody's.
fn give(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid);
        }
    }
}

pub fn shim_exe() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_longhaul-shim"))
}

pub fn start(dir: &Path, spec: &Spec) -> Launched {
    launch(shim_exe(), dir, spec).unwrap()
}

/// Runs a command to its end.
pub fn run((dir, spec): &(PathBuf, Spec)) -> (ExitRecord, Collected) {
    assert_eq!(start(dir, spec), Launched::Started);
    ended(dir)
}

/// Waits for the end of a command that is running, and reads what it wrote.
pub fn ended(dir: &Path) -> (ExitRecord, Collected) {
    match settled(dir) {
        State::Exited(record) => (*record, collect(dir).unwrap()),
        other => panic!("expected an end, found {other:?}"),
    }
}

/// Waits until nothing more will become of a command. One that goes on for three minutes fails the test instead.
pub fn settled(dir: &Path) -> State {
    let give_up = Instant::now() + Duration::from_secs(180);
    let state = wait(dir, Some(give_up), None).unwrap();
    let goes_on = matches!(state, State::Starting | State::Running { .. });
    assert!(!goes_on, "after three minutes {} is {state:?}", dir.display());
    state
}

pub fn exited(code: i32) -> Verdict {
    Verdict::Exited { code }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Waits until `met`; a test that would wait for ever fails instead.
pub fn until(what: &str, met: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if met() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("waited in vain until {what}");
}

/// The shims of a command directory, before and after their claim.
pub fn shims_of(dir: &Path) -> Vec<u32> {
    processes("cmdline", |word| word == dir.as_os_str().as_bytes())
}

/// A time to sleep that no other process of the machine sleeps for, so that it can be told by it.
pub fn long(seconds: u32) -> String {
    format!("{seconds}.{}s", std::process::id())
}

/// Living processes that sleep for that long, or are about to.
pub fn sleepers(time: &str) -> Vec<u32> {
    let time = time.as_bytes();
    processes("cmdline", |entry| {
        entry.windows(time.len()).any(|part| part == time)
    })
}

/// Living processes with an entry in a NUL-separated file of `/proc` that satisfies `wanted`.
pub fn processes(file: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(bytes) = std::fs::read(entry.path().join(file)) else {
            continue;
        };
        if pid != std::process::id() && bytes.split(|b| *b == 0).any(&wanted) {
            found.push(pid);
        }
    }
    found
}

pub fn kill_9(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}
