//! A command directory: where one command's wish, start and result lie, and what they add up to.
//!
//! ```text
//! spec.json -> stdin -> lock -> exit.reserve -> claim.json -> stdout stderr -> exit.json
//! ```
//!
//! [`state`] computes from these files, at any time and in any process, what became of the command. The order in
//! which it looks is the protocol; see there.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use serde::{Serialize, de::DeserializeOwned};

use crate::procs::{self, Process};
use crate::sabotage;
use crate::spec::{Claim, ExitRecord, Spec};

pub(crate) const SPEC: &str = "spec.json";
pub(crate) const STDIN: &str = "stdin";
pub(crate) const STDOUT: &str = "stdout";
pub(crate) const STDERR: &str = "stderr";
/// Why a shim gave up before its claim, in words; only for error messages.
pub(crate) const REFUSAL: &str = "refusal";
const LOCK: &str = "lock";
const CLAIM: &str = "claim.json";
const EXIT: &str = "exit.json";
const RESERVE: &str = "exit.reserve";
/// Room for any exit record: the largest has 64 survivors and a message cut to 512 characters.
const RESERVE_BYTES: usize = 8 << 10;

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing has executed. Safe to launch.
    NotStarted,
    /// A shim is about to claim. Look again soon.
    Starting,
    /// A shim watches over it. [`wait`](crate::wait) attaches.
    Running {
        /// The shim, not the command.
        shim_pid: u32,
    },
    /// It has ended, and this is how. Never changes again.
    Exited(Box<ExitRecord>),
    /// It may have run, wholly, partly or not at all. Never run it again by yourself.
    Unknown(UnknownCause),
}

/// Why the outcome of a command cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownCause {
    /// Its shim is gone and left no exit record.
    ShimDied,
    /// The machine was restarted under it.
    Reboot,
    /// The claim or the exit record cannot be read: the disk lost part of it.
    Torn,
}

impl UnknownCause {
    /// The word for records: `shim_died`, `reboot`, `torn`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ShimDied => "shim_died",
            Self::Reboot => "reboot",
            Self::Torn => "torn",
        }
    }
}

/// Computes what became of the command in `dir`. A missing directory is a command that was not started.
///
/// The order matters: an exit record outweighs all; without a claim nothing has executed; a claim of another boot
/// says nothing about today's pids; and a shim found dead may have finished since the first look, so the exit
/// record is read once more.
///
/// # Errors
/// Only when the directory or `/proc` cannot be read; what is torn is an answer, not an error.
pub fn state(dir: &Path) -> io::Result<State> {
    match look(dir)? {
        State::Unknown(_) if sabotage::is_on("run-an-unknown-again") => Ok(State::NotStarted),
        found => Ok(found),
    }
}

fn look(dir: &Path) -> io::Result<State> {
    if let Some(ended) = exit_state(dir)? {
        return Ok(ended);
    }
    let claim = match read_json::<Claim>(&dir.join(CLAIM))? {
        Found::Missing => {
            return Ok(if lock_holder(dir)? {
                State::Starting
            } else {
                State::NotStarted
            });
        }
        Found::Torn => return Ok(State::Unknown(UnknownCause::Torn)),
        Found::Read(claim) => claim,
    };
    if claim.boot_id != procs::boot_id()? {
        return Ok(State::Unknown(UnknownCause::Reboot));
    }
    if shim_of(dir, &claim)?.is_some() {
        return Ok(State::Running { shim_pid: claim.pid });
    }
    Ok(exit_state(dir)?.unwrap_or(State::Unknown(UnknownCause::ShimDied)))
}

/// The living shim of a command, identified by claim, lock, pid and start time.
pub(crate) fn shim(dir: &Path) -> io::Result<Option<Process>> {
    match claim(dir)? {
        Some(claim) if claim.boot_id == procs::boot_id()? => shim_of(dir, &claim),
        _ => Ok(None),
    }
}

/// The claim, if there is one that can be read.
pub(crate) fn claim(dir: &Path) -> io::Result<Option<Claim>> {
    Ok(read_json::<Claim>(&dir.join(CLAIM))?.into_option())
}

/// The spec, without standard input.
///
/// # Errors
/// It is missing, or not a spec.
pub fn read_spec(dir: &Path) -> io::Result<Spec> {
    open_spec(dir).map(|(_, spec)| spec)
}

/// The spec, and the very file that it was read from: another launcher may put a new one in its place at any time.
pub(crate) fn open_spec(dir: &Path) -> io::Result<(File, Spec)> {
    let mut file = File::open(dir.join(SPEC))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    file.rewind()?;
    let spec = serde_json::from_slice(&text)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("spec.json: {e}")))?;
    Ok((file, spec))
}

fn shim_of(dir: &Path, claim: &Claim) -> io::Result<Option<Process>> {
    if !lock_holder(dir)? {
        return Ok(None);
    }
    Ok(procs::find(claim.pid).filter(|p| p.start_time == claim.start_time && !p.is_dead()))
}

fn exit_state(dir: &Path) -> io::Result<Option<State>> {
    Ok(match read_json::<ExitRecord>(&dir.join(EXIT))? {
        Found::Missing => None,
        Found::Torn => Some(State::Unknown(UnknownCause::Torn)),
        Found::Read(record) => Some(State::Exited(Box::new(record))),
    })
}

/// Whether some process holds the lock.
///
/// A POSIX lock belongs to a process and is not inherited: the locks of `flock(2)` and of open file descriptions
/// pass to a forked child, which would keep a dead shim looking alive.
fn lock_holder(dir: &Path) -> io::Result<bool> {
    match File::open(dir.join(LOCK)) {
        Ok(file) => Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// What reading a file of the protocol gave.
enum Found<T> {
    Missing,
    Torn,
    Read(T),
}

impl<T> Found<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Missing | Self::Torn => None,
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Found<T>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_or(Found::Torn, Found::Read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(error),
    }
}

// ---- writing: the runtime's part ----

/// Writes the wish: standard input first, then the spec, so that a spec never stands without its input.
///
/// The directory's own entries are made durable by the claim, before which nothing executes; only the directory's
/// name in its parent must be synced here, or a power loss could take a claimed command with it.
pub(crate) fn write_wish(dir: &Path, spec: &Spec) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_dir(dir.parent().unwrap_or(Path::new("/")))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    if !spec.stdin.is_empty() {
        replace(dir, STDIN, &spec.stdin)?;
    }
    replace(dir, SPEC, &to_json(spec)?)
}

/// What the last shim that gave up before its claim said about it.
pub(crate) fn refusal(dir: &Path) -> String {
    std::fs::read_to_string(dir.join(REFUSAL)).unwrap_or_else(|_| "it left no reason".to_owned())
}

// ---- writing: the shim's part ----

/// The lock of a command directory, held for as long as the process lives.
///
/// The shim must never open the lock file a second time: closing any descriptor of it would release the lock.
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock; none if another shim has it.
pub(crate) fn lock(dir: &Path) -> io::Result<Option<Lock>> {
    let file = private_file().create(true).truncate(false).open(dir.join(LOCK))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the command was already claimed or has ended.
pub(crate) fn is_taken(dir: &Path) -> io::Result<bool> {
    if sabotage::is_on("launch-what-is-claimed") {
        drop(std::fs::remove_file(dir.join(CLAIM)));
        drop(std::fs::remove_file(dir.join(EXIT)));
        return Ok(false);
    }
    Ok(dir.join(EXIT).try_exists()? || dir.join(CLAIM).try_exists()?)
}

/// Sets aside the disk space of the exit record, so that a disk filled by the command cannot suppress its result.
pub(crate) fn reserve_exit(dir: &Path, _held: &Lock) -> io::Result<()> {
    let mut file = private_file()
        .create(true)
        .truncate(true)
        .open(dir.join(RESERVE))?;
    file.write_all(&[b' '; RESERVE_BYTES])
}

/// Claims the command for this process; false if somebody was faster.
///
/// The claim is complete and on disk under another name before `link(2)` gives it its own, which is atomic and
/// fails if the name exists: it is never torn, never replaced, never shared.
pub(crate) fn place_claim(dir: &Path, claim: &Claim, _held: &Lock) -> io::Result<bool> {
    let draft = write_draft(dir, CLAIM, &to_json(claim)?)?;
    let linked = std::fs::hard_link(&draft, dir.join(CLAIM));
    std::fs::remove_file(&draft)?;
    match linked {
        Ok(()) => sync_dir(dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the exit record into its reserved space. Not yet visible: [`publish_exit`] does that.
///
/// `sync` may be left out by who syncs the whole file system next.
pub(crate) fn write_exit(dir: &Path, record: &ExitRecord, sync: bool) -> io::Result<()> {
    let mut text = to_json(record)?;
    if text.len() > RESERVE_BYTES {
        return Err(io::Error::other(format!("exit record of {} bytes", text.len())));
    }
    // Overwritten to the last byte and not truncated: the blocks stay ours, and JSON allows trailing spaces.
    text.resize(RESERVE_BYTES, b' ');
    let mut file = private_file().open(dir.join(RESERVE))?;
    file.write_all(&text)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// Gives the written exit record its name, durably. From here on the command has ended.
pub(crate) fn publish_exit(dir: &Path) -> io::Result<()> {
    std::fs::rename(dir.join(RESERVE), dir.join(EXIT))?;
    sync_dir(dir)
}

/// Makes an empty file of the command directory, for the shim to write an output stream to.
pub(crate) fn create_output(dir: &Path, name: &str) -> io::Result<File> {
    private_file().create(true).truncate(true).open(dir.join(name))
}

// ---- the ways bytes reach the disk ----

fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let draft = write_draft(dir, name, bytes)?;
    std::fs::rename(draft, dir.join(name))
}

/// Writes and syncs `bytes` under a name that no other writer uses.
fn write_draft(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!(".{name}.{}.{number}", std::process::id()));
    // A draft of this name can only be left over from an earlier owner of the pid.
    let mut file = private_file().create(true).truncate(true).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(path)
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn to_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}
