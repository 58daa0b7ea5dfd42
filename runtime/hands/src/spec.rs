//! What is written in a command directory: the wish ([`Spec`]), the proof of a start ([`Claim`]) and the result
//! ([`ExitRecord`]). Plain data, no I/O.
//!
//! These are files that one build writes and another may read (the runtime can be replaced while a command runs),
//! hence the protocol number in each.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::egress::Egress;
use crate::limits::{DiskLimit, Groups, Limits, Usage};
use crate::walls::Walls;

/// The version of the files in a command directory.
pub const PROTOCOL: u32 = 1;

/// The variable that marks every process of a command, as `SESSION/STEP`.
pub const STEP_VARIABLE: &str = "LONGHAUL_STEP";

/// The most bytes of a stream's end that are kept: the shim holds them in memory until the command ends.
pub const MAX_TAIL_BYTES: u64 = 1 << 20;

/// The walls around a command.
///
/// Written in the spec and repeated in the exit record, so that no record leaves open how it was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Isolation {
    /// No wall: own session, built environment, no inherited descriptors, whole-tree kill.
    Process,
    /// Namespaces, a root of its own, no rights, filtered system calls; see [`Walls`].
    Isolated,
}

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandLine {
    /// A line for `sh -c`.
    Shell {
        /// The line.
        line: String,
    },
    /// A program and its arguments; the program is looked up along the command's own `PATH`.
    Argv {
        /// The program first.
        argv: Vec<String>,
    },
}

/// One command as it was wished for. Holds no secret: it lies on disk in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Version of the protocol, [`PROTOCOL`].
    pub protocol: u32,
    /// The session, as text; letters, digits, `-`, `_`, `.` and `:` only, since it becomes part of [`STEP_VARIABLE`].
    pub session: String,
    /// The step of that session.
    pub step: u64,
    /// What to execute.
    pub command: CommandLine,
    /// The workspace, absolute. Synced before the exit record is written.
    pub workspace: PathBuf,
    /// Where to start, relative to the workspace; must not lead outside it. Empty: the workspace itself.
    pub cwd: PathBuf,
    /// `HOME` of the command, absolute; made if missing.
    pub home: PathBuf,
    /// `TMPDIR` of the command, absolute; made if missing.
    pub tmp: PathBuf,
    /// Added to (or replacing) `PATH, HOME, TMPDIR, LANG`. Nothing else of the runtime's environment is passed on.
    pub env: Vec<(String, String)>,
    /// Bytes for standard input, kept in the file `stdin` and not in the spec. Empty: `/dev/null`.
    #[serde(skip)]
    pub stdin: Vec<u8>,
    /// How long the command may run; none for a service.
    pub wall_ms: Option<u64>,
    /// How long it may take to die of SIGTERM before SIGKILL.
    pub grace_ms: u64,
    /// How many bytes from the start of each stream are kept.
    pub head_bytes: u64,
    /// How many bytes from the end of each stream are kept beyond those, at most [`MAX_TAIL_BYTES`].
    pub tail_bytes: u64,
    /// The command is killed once both streams together have sent more than this.
    pub kill_bytes: u64,
    /// The command is stopped when it has said nothing on either stream for this long; none to let it be silent.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// What it may use, with all that it starts.
    #[serde(default = "Limits::none")]
    pub limits: Limits,
    /// Where its control group is made. None: each process is limited by itself.
    #[serde(default)]
    pub groups: Option<Groups>,
    /// The one way out of a sandbox without network; none without it. Without walls nothing can hold a command to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// The walls of an isolated command; without any it runs as the runtime's own user does.
    #[serde(default)]
    pub walls: Option<Walls>,
}

impl Spec {
    /// A command with the usual bounds; `private` holds its home and temporary folders, outside the workspace.
    #[must_use]
    pub fn new(session: &str, step: u64, command: CommandLine, workspace: &Path, private: &Path) -> Self {
        Self {
            protocol: PROTOCOL,
            session: session.to_owned(),
            step,
            command,
            workspace: workspace.to_owned(),
            cwd: PathBuf::new(),
            home: private.join("home"),
            tmp: private.join("tmp"),
            env: Vec::new(),
            stdin: Vec::new(),
            wall_ms: Some(120_000),
            grace_ms: 5_000,
            head_bytes: 8 << 20,
            tail_bytes: 256 << 10,
            kill_bytes: 256 << 20,
            idle_ms: None,
            limits: Limits::default(),
            groups: None,
            egress: None,
            walls: None,
        }
    }

    /// A shell line with the usual bounds; see [`Spec::new`].
    #[must_use]
    pub fn shell(session: &str, step: u64, line: &str, workspace: &Path, private: &Path) -> Self {
        Self::new(
            session,
            step,
            CommandLine::Shell {
                line: line.to_owned(),
            },
            workspace,
            private,
        )
    }

    /// How it is to run.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        match self.walls {
            None => Isolation::Process,
            Some(_) => Isolation::Isolated,
        }
    }

    /// The value of [`STEP_VARIABLE`] in every process of this command.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{}/{}", self.session, self.step)
    }

    /// Checks what can be checked without touching the machine.
    ///
    /// # Errors
    /// A sentence naming the field and what it must look like.
    pub fn check(&self) -> Result<(), String> {
        if self.protocol != PROTOCOL {
            return Err(format!(
                "protocol is {}, this program speaks {PROTOCOL}",
                self.protocol
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if self.session.is_empty() || !self.session.chars().all(plain) {
            return Err(format!(
                "session {:?} must be letters, digits, '-', '_', '.' or ':'",
                self.session
            ));
        }
        for (name, path) in [
            ("workspace", &self.workspace),
            ("home", &self.home),
            ("tmp", &self.tmp),
        ] {
            if !path.is_absolute() {
                return Err(format!("{name} {} must be an absolute path", path.display()));
            }
        }
        if let Some(walls) = &self.walls {
            walls.check()?;
        }
        if self.tail_bytes > MAX_TAIL_BYTES {
            return Err(format!(
                "tail_bytes is {}, at most {MAX_TAIL_BYTES}",
                self.tail_bytes
            ));
        }
        let words: Vec<&str> = match &self.command {
            CommandLine::Shell { line } => vec![line],
            CommandLine::Argv { argv } => argv.iter().map(String::as_str).collect(),
        };
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err("the command is empty".to_owned());
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err("the command contains a NUL byte; no program can be given one".to_owned());
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(format!(
                    "environment variable {name:?} has an impossible name or a NUL in its value"
                ));
            }
        }
        Ok(())
    }
}

/// Says that a shim has started this command, and which one. Exists before anything of the command executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version of the protocol, [`PROTOCOL`].
    pub protocol: u32,
    /// The boot in which `pid` and `start_time` mean something.
    pub boot_id: String,
    /// The shim.
    pub pid: u32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/PID/stat`): tells it from a later owner of the pid.
    pub start_time: u64,
    /// `SESSION/STEP`, by which left-over processes are found when the shim is gone.
    pub tag: String,
    /// The folders of its control group, made after the claim and gone before the exit record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<PathBuf>,
}

/// How a command ended, from evidence only: wait status, the shim's own acts, errno. Never from output text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// It exited by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that the shim had not sent ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran longer than it may and was stopped.
    Timeout {
        /// The limit it ran into.
        limit_ms: u64,
        /// Whether it was the time without any output that ran out, and not the time in all.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        idle: bool,
    },
    /// The kernel killed it because its memory was used up: it died of SIGKILL, not by the shim, and the kernel counted
    /// a kill for want of memory.
    OomKilled {
        /// The limit of its memory.
        limit_bytes: u64,
    },
    /// It took more of the disk than it may, and was killed.
    DiskFull {
        /// The bound that it passed.
        limit: DiskLimit,
    },
    /// It wrote more than it may and was killed.
    OutputLimit {
        /// The limit for both streams together.
        limit_bytes: u64,
    },
    /// It was stopped because somebody asked for that.
    Canceled,
    /// It made a system call of another architecture, which the walls answer with the end of the process.
    SandboxViolation,
    /// Nothing ran: the program could not be executed.
    ExecFailed {
        /// The system's error number.
        errno: i32,
        /// What was tried, and what the system said.
        message: String,
    },
    /// Nothing ran: its surroundings could not be set up.
    SandboxError {
        /// The step of the set-up that failed.
        step: String,
        /// The system's error number.
        errno: i32,
    },
}

/// What became of one output stream.
///
/// The file holds the first `head` bytes and right after them the last `tail` bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Bytes the command wrote.
    pub total: u64,
    /// Bytes kept from the start.
    pub head: u64,
    /// Bytes kept from the end.
    pub tail: u64,
    /// Whether bytes in between are missing.
    pub truncated: bool,
    /// Set when the file could not be written (28 is a full disk); what is missing then is missing for that reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_errno: Option<i32>,
}

/// The result of a command. Once it is on disk it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Version of the protocol, [`PROTOCOL`].
    pub protocol: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// The walls it ran behind.
    pub isolation: Isolation,
    /// Standard output.
    pub stdout: StreamRecord,
    /// Standard error.
    pub stderr: StreamRecord,
    /// How long it ran, on a monotonic clock.
    pub wall_ms: u64,
    /// What it used; none of a command that never began, or of an older shim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether what it wrote in the workspace was on disk before this record was.
    pub workspace_synced: bool,
    /// Processes of the command that were still there after SIGKILL (the first 64).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LimitsBy;

    #[test]
    fn an_exit_record_has_these_bytes_for_ever() {
        let record = ExitRecord {
            protocol: PROTOCOL,
            verdict: Verdict::Timeout {
                limit_ms: 1500,
                idle: false,
            },
            isolation: Isolation::Process,
            stdout: StreamRecord {
                total: 9,
                head: 4,
                tail: 2,
                truncated: true,
                write_errno: None,
            },
            stderr: StreamRecord::default(),
            wall_ms: 1501,
            usage: None,
            workspace_synced: true,
            survivors: vec![],
        };
        let golden = r#"{"protocol":1,"verdict":{"kind":"timeout","limit_ms":1500},"isolation":"process","stdout":{"total":9,"head":4,"tail":2,"truncated":true},"stderr":{"total":0,"head":0,"tail":0,"truncated":false},"wall_ms":1501,"workspace_synced":true}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), golden);
        assert_eq!(serde_json::from_str::<ExitRecord>(golden).unwrap(), record);
        let bounded = ExitRecord {
            verdict: Verdict::DiskFull {
                limit: DiskLimit::Files,
            },
            usage: Some(Usage {
                by: LimitsBy::Hybrid,
                cpu_ms: 12,
                mem_peak: 4096,
                oom_kills: 1,
                pids_limit_hits: 0,
            }),
            ..record
        };
        let golden = r#"{"protocol":1,"verdict":{"kind":"disk_full","limit":"files"},"isolation":"process","stdout":{"total":9,"head":4,"tail":2,"truncated":true},"stderr":{"total":0,"head":0,"tail":0,"truncated":false},"wall_ms":1501,"usage":{"by":"hybrid","cpu_ms":12,"mem_peak":4096,"oom_kills":1},"workspace_synced":true}"#;
        assert_eq!(serde_json::to_string(&bounded).unwrap(), golden);
        assert_eq!(serde_json::from_str::<ExitRecord>(golden).unwrap(), bounded);
    }

    #[test]
    fn a_spec_that_cannot_be_run_is_refused_with_its_field() {
        let good = Spec::shell("s1", 1, "true", Path::new("/w"), Path::new("/p"));
        assert_eq!(good.check(), Ok(()));
        let refused = |change: fn(&mut Spec), word: &str| {
            let mut spec = good.clone();
            change(&mut spec);
            let message = spec.check().expect_err(word);
            assert!(message.contains(word), "{message:?} should name {word:?}");
        };
        refused(|s| s.protocol = 2, "protocol");
        refused(|s| s.session = "a/b".into(), "session");
        refused(|s| s.workspace = "w".into(), "workspace");
        refused(
            |s| {
                s.walls = Some(Walls {
                    host_uid: Some(0),
                    ..Walls::default()
                });
            },
            "host_uid",
        );
        refused(|s| s.tail_bytes = MAX_TAIL_BYTES + 1, "tail_bytes");
        refused(|s| s.command = CommandLine::Argv { argv: vec![] }, "empty");
        refused(|s| s.command = CommandLine::Shell { line: "a\0b".into() }, "NUL");
        refused(|s| s.env = vec![("A=B".into(), "c".into())], "environment");
    }

    #[test]
    fn standard_input_stays_out_of_the_spec() {
        let mut spec = Spec::shell("s1", 1, "cat", Path::new("/w"), Path::new("/p"));
        spec.stdin = b"a-long-and-private-text".to_vec();
        assert!(!serde_json::to_string(&spec).unwrap().contains("private-text"));
    }
}
