//! `longhaul doctor`: whether everything is there that longhaul needs, found without changing anything.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use longhaul_actors::session::{Isolation, Sandbox};
use longhaul_hands::Refusal;
use longhaul_journal::{Holder, OfflineError, VerifyReport, directory_format, verify};
use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags, access, openat2, statvfs};
use rustix::process::{Flock, FlockType, PidfdFlags, fcntl_getlk, getpid, pidfd_open};
use serde::Serialize;

use super::args::Doctor;
use super::reach::Place;
use super::render::{count, escaped, size};
use super::ui::Ui;
use super::{Outcome, joints};
use crate::api::Code;
use crate::sandbox::{self, SandboxOptions};
use crate::service::shown_name;

/// Less room than this is worth a warning: a few segments and the output of some commands.
const LITTLE_ROOM: u64 = 512 << 20;

/// What a look at one thing brought to light.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    status: Status,
    detail: String,
    /// What isolated commands get, or what is missing for them.
    #[serde(flatten)]
    isolation: Option<Walls>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Walls {
    Isolation(Isolation),
    Refusal(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Something to know.
    Note,
    /// Something will not work.
    Bad,
    /// The journal lost something.
    Damaged,
}

impl Finding {
    fn new(check: &'static str, status: Status, detail: impl Into<String>) -> Self {
        Self {
            check,
            status,
            detail: detail.into(),
            isolation: None,
        }
    }
}

pub(super) async fn doctor(args: Doctor, place: &Place, ui: &Ui) -> Outcome {
    let data = place.data();
    let mut findings = vec![directory(data), format_of(data), holder(data)];
    findings.push(match joints::connect(data, None).await {
        Ok(Some(_)) => Finding::new("socket", Status::Ok, "somebody serves this directory"),
        Ok(None) => Finding::new(
            "socket",
            Status::Note,
            "nobody serves this directory: longhaul serve",
        ),
        Err(problem) => Finding::new("socket", Status::Bad, problem.detail),
    });
    findings.extend([
        journal(data),
        room(data),
        shim(),
        git(),
        openat2_works(),
        pidfd_works(),
    ]);
    findings.push(isolation(&args.walls.options()));
    findings.push(limits());
    for finding in &findings {
        if ui.is_json() {
            ui.object(finding)?;
        } else {
            let status = match finding.status {
                Status::Ok => "ok",
                Status::Note => "note",
                Status::Bad | Status::Damaged => "BAD",
            };
            ui.line(&escaped(&format!(
                "{status:<4}  {:<10}  {}",
                finding.check, finding.detail
            )))?;
        }
    }
    Ok(exit_code(&findings))
}

/// Who holds commands to what they may use.
fn limits() -> Finding {
    match longhaul_hands::probe_groups() {
        Ok(groups) => {
            let cpu = if groups.bounds_cpu() {
                ", processor time"
            } else {
                ""
            };
            let by = groups.by().as_str();
            let detail = format!("{by}: a control group bounds memory, processes{cpu} of each command");
            Finding::new("limits", Status::Ok, detail)
        }
        Err(lacks) => {
            let detail =
                format!("rlimit: each process is bounded by itself, and nobody bounds the sum; {lacks}");
            Finding::new("limits", Status::Note, detail)
        }
    }
}

fn exit_code(findings: &[Finding]) -> u8 {
    let has = |status| findings.iter().any(|finding| finding.status == status);
    if has(Status::Damaged) {
        Code::JournalDamaged.exit_code()
    } else {
        u8::from(has(Status::Bad))
    }
}

fn directory(data: &Path) -> Finding {
    let check = "directory";
    let shown = data.display();
    if !data.exists() {
        return Finding::new(
            check,
            Status::Note,
            format!("{shown} is not there yet; the first run makes it"),
        );
    }
    match access(data, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => Finding::new(check, Status::Ok, shown.to_string()),
        Err(error) => Finding::new(check, Status::Bad, format!("{shown} cannot be written: {error}")),
    }
}

/// Whether this version may read the directory; a newer one's, or another program's, is not guessed at.
fn format_of(data: &Path) -> Finding {
    let check = "format";
    match directory_format(data) {
        Ok(Some(format)) => Finding::new(check, Status::Ok, format!("longhaul {format}")),
        Ok(None) => Finding::new(check, Status::Note, "there is none yet"),
        Err(error) => Finding::new(check, Status::Bad, error.to_string()),
    }
}

/// Who has the directory, asked of the lock itself: the name written in it may be that of a process long gone.
fn holder(data: &Path) -> Finding {
    let check = "owner";
    let path = data.join("lock");
    let Ok(file) = File::open(&path) else {
        return Finding::new(check, Status::Ok, "nobody has the directory");
    };
    match fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)) {
        Ok(None) => Finding::new(check, Status::Ok, "nobody has the directory"),
        Ok(Some(lock)) => {
            let named: Option<Holder> = fs::read(&path)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            let pid = lock.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
            let holder = named.map_or_else(|| format!("process {pid}"), |holder| holder.to_string());
            Finding::new(check, Status::Ok, format!("{holder} has the directory"))
        }
        Err(error) => Finding::new(check, Status::Bad, format!("the lock cannot be asked: {error}")),
    }
}

fn journal(data: &Path) -> Finding {
    let check = "journal";
    match verify(data, None) {
        Ok(report) if report.is_sound() => {
            let whole = [count(report.streams, "stream"), count(report.records, "record")].join(", ");
            Finding::new(check, Status::Ok, format!("sound: {whole}"))
        }
        Ok(report) => Finding::new(check, Status::Damaged, damage(&report)),
        Err(OfflineError::NoJournal { .. }) => Finding::new(check, Status::Note, "there is none yet"),
        Err(OfflineError::NewerFormat { .. } | OfflineError::Unrecognised { .. }) => {
            Finding::new(check, Status::Note, "not looked at, because of its format")
        }
        Err(error) => Finding::new(check, Status::Bad, format!("it cannot be read: {error}")),
    }
}

fn damage(report: &VerifyReport) -> String {
    let ids: Vec<String> = report
        .damaged
        .iter()
        .map(|damage| shown_name(damage.stream, &damage.kind))
        .collect();
    let whose = if ids.is_empty() {
        "no stream can be blamed".into()
    } else {
        ids.join(" ")
    };
    format!("damaged, see `longhaul journal verify`: {whose}")
}

fn room(data: &Path) -> Finding {
    let check = "room";
    let there = data.ancestors().find(|folder| folder.exists()).unwrap_or(data);
    match statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let status = if free < LITTLE_ROOM {
                Status::Bad
            } else {
                Status::Ok
            };
            Finding::new(check, status, format!("{} free", size(free)))
        }
        Err(error) => Finding::new(check, Status::Bad, format!("free space is not known: {error}")),
    }
}

fn shim() -> Finding {
    match joints::shim() {
        Ok(path) => Finding::new("shim", Status::Ok, path.display().to_string()),
        Err(problem) => Finding::new("shim", Status::Bad, problem.detail),
    }
}

/// What isolated commands get here, found by building their walls once.
fn isolation(options: &SandboxOptions) -> Finding {
    let check = "isolation";
    let shim = match joints::shim_as_run() {
        Ok(shim) => shim,
        Err(problem) => return Finding::new(check, Status::Bad, problem.detail),
    };
    if options.default == Sandbox::Process {
        return Finding::new(
            check,
            Status::Note,
            "process, as asked for: commands run as you, without a wall around them",
        );
    }
    match sandbox::look(options, &shim) {
        Ok(report) => {
            let shown = sandbox::shown(&report);
            let has_landlock = report.landlock_abi > 0;
            let without = if has_landlock {
                ""
            } else {
                "; this kernel has no Landlock"
            };
            let detail = format!("{}: {}{without}", shown.mode, shown.layers.join(", "));
            let status = if has_landlock { Status::Ok } else { Status::Note };
            Finding {
                isolation: Some(Walls::Isolation(shown)),
                ..Finding::new(check, status, detail)
            }
        }
        Err(refusal) => {
            let ways: String = refusal.ways_on.iter().map(|way| format!("; {way}")).collect();
            let detail = format!("{}: {}{ways}", refusal.code, refusal.detail);
            Finding {
                isolation: Some(Walls::Refusal(refusal)),
                ..Finding::new(check, Status::Bad, detail)
            }
        }
    }
}

fn git() -> Finding {
    let asked = Command::new("git")
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match asked {
        Ok(output) if output.status.success() => Finding::new(
            "git",
            Status::Ok,
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        ),
        _ => Finding::new(
            "git",
            Status::Bad,
            "not found; sessions inside a repository need it",
        ),
    }
}

fn openat2_works() -> Finding {
    let opened = openat2(
        CWD,
        ".",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH,
    );
    kernel(
        "openat2",
        "paths of file tools cannot be held inside the workspace",
        opened.err(),
    )
}

fn pidfd_works() -> Finding {
    kernel(
        "pidfd",
        "processes cannot be told apart for certain",
        pidfd_open(getpid(), PidfdFlags::empty()).err(),
    )
}

fn kernel(check: &'static str, without: &str, error: Option<rustix::io::Errno>) -> Finding {
    match error {
        None => Finding::new(check, Status::Ok, "the kernel has it"),
        Some(error) => Finding::new(
            check,
            Status::Bad,
            format!("{error}: {without}; Linux 5.6 or later is needed"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_not_work_shows_in_the_exit_code() {
        let of = |status| exit_code(&[Finding::new("a", Status::Ok, ""), Finding::new("b", status, "")]);
        assert_eq!(
            [
                of(Status::Ok),
                of(Status::Note),
                of(Status::Bad),
                of(Status::Damaged)
            ],
            [0, 0, 1, 8]
        );
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_fine() {
        let nowhere = Path::new("/nonexistent/longhaul");
        let findings = [
            directory(nowhere),
            format_of(nowhere),
            holder(nowhere),
            journal(nowhere),
        ];
        for finding in findings {
            assert!(matches!(finding.status, Status::Ok | Status::Note), "{finding:?}");
        }
    }

    #[test]
    fn a_lock_file_that_nobody_holds_means_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(
            folder.path().join("lock"),
            r#"{"pid":1,"since_ms":0,"socket":null}"#,
        )
        .expect("a stale lock");
        assert_eq!(holder(folder.path()).detail, "nobody has the directory");
    }
}
