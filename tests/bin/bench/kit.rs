//! Processes to kill, and what they use of memory and disk.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Map, Value};

use crate::plan::Failure;

/// A part of a bench that runs in a process of its own, in this folder, with this many of whatever it makes.
type Role = fn(&Path, u64) -> Result<(), Failure>;

const ROLES: &[(&str, Role)] = &[
    ("write-on", crate::open::write_on),
    ("open", crate::open::open_and_look),
    ("work", crate::sleepers::work),
    ("work-again", crate::sleepers::work_again),
    ("sleep", crate::sleepers::sleep),
    ("steer", crate::sleepers::steer),
    ("wake-all", crate::sleepers::wake_all),
];

/// Plays one role; the other end of [`play`] and [`killed_when_ready`].
pub(crate) fn child(words: &[String]) -> Result<(), Failure> {
    let [role, folder, count] = words else {
        return Err("a child is told its role, its folder and a number".into());
    };
    let (_, play) = ROLES
        .iter()
        .find(|(name, _)| name == role)
        .ok_or("there is no such role")?;
    play(&PathBuf::from(folder), count.parse()?)
}

/// Runs a role to its end and returns the line of JSON that it wrote.
pub(crate) fn play(role: &str, folder: &Path, count: u64) -> Result<Map<String, Value>, Failure> {
    let output = command(role, folder, count)?.output()?;
    if !output.status.success() {
        return Err(format!("{role} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs a role until it says that it is ready, and kills it in the middle of whatever it does then.
pub(crate) fn killed_when_ready(
    role: &str,
    folder: &Path,
    count: u64,
) -> Result<Map<String, Value>, Failure> {
    let mut child: Child = command(role, folder, count)?.spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("it is piped")?;
    let read = BufReader::new(stdout).read_line(&mut line);
    child.kill()?;
    child.wait()?;
    read?;
    Ok(serde_json::from_str(&line)?)
}

/// Tells the parent what was found, or that it may kill us.
pub(crate) fn tell(found: Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{found}")?;
    Ok(out.flush()?)
}

fn command(role: &str, folder: &Path, count: u64) -> Result<Command, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("child")
        .arg(role)
        .arg(folder)
        .arg(count.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    Ok(command)
}

/// Resident memory of this process; 0 where the system does not tell.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Bytes that a folder takes on disk, holes not counted.
pub(crate) fn disk_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}
