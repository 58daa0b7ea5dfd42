//! Tools: what a brain may call, and what becomes of a call.

use std::sync::LazyLock;

use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::RecoveryClass;
use super::resources::Used;
use super::service::{DeniedEgress, ServiceCall, ServiceEnd};

/// A call as the brain made it; the arguments are checked only when it is about to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Name of the tool: `exec`, `read`, `write`, `edit`, `list`, `artifact`, `patch`, `service`.
    pub tool: String,
    /// Its arguments, a JSON object.
    #[serde(default)]
    pub args: Value,
}

/// A checked call.
#[derive(Clone, Debug, PartialEq)]
pub enum Tool {
    /// Runs a command in the workspace.
    Exec(Exec),
    /// Reads a file.
    Read(Read),
    /// Writes a whole file.
    Write(Write),
    /// Replaces one place in a file.
    Edit(Edit),
    /// Lists a folder.
    List(List),
    /// Keeps a file of the workspace as an artifact.
    Artifact(Artifact),
    /// Keeps the difference between the workspace and what it began as.
    Patch(Patch),
    /// Starts a program that goes on beside the steps, reads what it said, or ends it.
    Service(ServiceCall),
}

/// Runs a command in the workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exec {
    /// A line for `sh -c`, or the words of a program to start without a shell.
    pub command: CommandLine,
    /// Folder inside the workspace.
    #[serde(default)]
    pub cwd: String,
    /// Additions to the environment, which is otherwise built from nothing.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// What it reads on its standard input.
    #[serde(default)]
    pub stdin: String,
    /// Wall time it may take, milliseconds.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

/// A line for the shell, or the words of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// Run as `sh -c LINE`.
    Shell(String),
    /// Run as it stands.
    Argv(Vec<String>),
}

/// Reads a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Path inside the workspace.
    pub path: String,
}

/// Writes a whole file, making its folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Path inside the workspace.
    pub path: String,
    /// The new content.
    pub content: String,
}

/// Replaces the one place in a file where `old` stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Path inside the workspace.
    pub path: String,
    /// What stands there, exactly once.
    pub old: String,
    /// What is to stand there.
    pub new: String,
}

/// Lists a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Path inside the workspace; empty is the workspace itself.
    #[serde(default)]
    pub path: String,
}

/// Keeps a file of the workspace as an artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// `report`, `research_note`, `content_draft`, `patch`, `task_suggestion`.
    pub kind: String,
    /// Path inside the workspace.
    pub path: String,
}

/// Keeps the difference between the workspace and what it began as, as an artifact of kind `patch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {}

/// Kinds an artifact may have (B-ART-1).
pub const ARTIFACT_KINDS: [&str; 5] = ["report", "research_note", "content_draft", "patch", SUGGESTION];

/// The kind of artifact that becomes a task in the state `suggested` (B-ART-3).
pub const SUGGESTION: &str = "task_suggestion";

/// A call that cannot be made. The brain is told; nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct CallError {
    /// Stable code: `unknown_tool`, `invalid_arguments`.
    pub code: &'static str,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Tool {
    /// Names of all tools.
    pub const NAMES: [&'static str; 8] = [
        "exec", "read", "write", "edit", "list", "artifact", "patch", "service",
    ];

    /// Checks a call.
    ///
    /// # Errors
    /// [`CallError`] when there is no such tool or its arguments do not fit.
    pub fn parse(call: &ToolCall) -> Result<Self, CallError> {
        let tool = match call.tool.as_str() {
            "exec" => Self::Exec(arguments(call)?),
            "read" => Self::Read(arguments(call)?),
            "write" => Self::Write(arguments(call)?),
            "edit" => Self::Edit(arguments(call)?),
            "list" => Self::List(arguments(call)?),
            "artifact" => Self::Artifact(arguments(call)?),
            "patch" => Self::Patch(arguments(call)?),
            "service" => Self::Service(arguments(call)?),
            unknown => {
                let detail = format!(
                    "there is no tool {unknown:?}; there are {}",
                    Self::NAMES.join(", ")
                );
                return Err(CallError {
                    code: "unknown_tool",
                    detail,
                });
            }
        };
        match &tool {
            Self::Artifact(Artifact { kind, .. }) if !ARTIFACT_KINDS.contains(&kind.as_str()) => {
                let detail = format!(
                    "an artifact is one of {}, not {kind:?}",
                    ARTIFACT_KINDS.join(", ")
                );
                Err(CallError {
                    code: "invalid_arguments",
                    detail,
                })
            }
            Self::Exec(Exec {
                command: CommandLine::Argv(words),
                ..
            }) if words.is_empty() => {
                let detail = "a command needs at least the name of a program".into();
                Err(CallError {
                    code: "invalid_arguments",
                    detail,
                })
            }
            Self::Service(service) => {
                service.check()?;
                Ok(tool)
            }
            _ => Ok(tool),
        }
    }

    /// What recovery may do with it when it may have begun.
    pub const fn class(&self) -> RecoveryClass {
        match self {
            Self::Exec(_) | Self::Service(ServiceCall::Start { .. }) => RecoveryClass::Reattach,
            Self::Edit(_) => RecoveryClass::Compare,
            Self::Read(_)
            | Self::Write(_)
            | Self::List(_)
            | Self::Artifact(_)
            | Self::Patch(_)
            | Self::Service(_) => RecoveryClass::Idempotent,
        }
    }

    /// The act in a line of at most about 120 characters, for a person.
    pub fn brief(&self) -> String {
        self.line(120)
    }

    /// The act in a line of at most about so many characters, for a person.
    pub fn line(&self, limit: usize) -> String {
        let text = match self {
            Self::Exec(exec) => brief_of(&exec.command),
            Self::Read(Read { path }) => format!("read {path}"),
            Self::Write(Write { path, .. }) => format!("write {path}"),
            Self::Edit(Edit { path, .. }) => format!("edit {path}"),
            Self::List(List { path }) if path.is_empty() => "list .".into(),
            Self::List(List { path }) => format!("list {path}"),
            Self::Artifact(Artifact { kind, path }) => format!("keep {path} as {kind}"),
            Self::Patch(_) => "keep the changes as a patch".into(),
            Self::Service(service) => service.brief(),
        };
        let line: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        match line.char_indices().nth(limit) {
            Some((cut, _)) => format!("{}...", &line[..cut]),
            None => line,
        }
    }
}

/// Reads the arguments of a call; none at all are as good as an empty object.
fn arguments<'call, T: Deserialize<'call>>(call: &'call ToolCall) -> Result<T, CallError> {
    static NONE: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));
    let args: &Value = if call.args.is_null() { &NONE } else { &call.args };
    T::deserialize(args).map_err(|error| CallError {
        code: "invalid_arguments",
        detail: format!("the arguments of {} do not fit: {error}", call.tool),
    })
}

/// A command in words.
pub(super) fn brief_of(command: &CommandLine) -> String {
    match command {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Argv(words) => words.join(" "),
    }
}

/// Text that may have been too long: its beginning, its end, and where the whole of it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Output {
    /// All of it, or its beginning. Bytes that are not UTF-8 are shown as U+FFFD; the blob has them exactly.
    pub head: String,
    /// Its end, when `head` is not all of it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// How many bytes came out in all.
    pub bytes: u64,
    /// sha256 (hex) of the blob that holds what was captured, when it does not all stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Whether even the blob lacks a middle part, because the output went past its cap.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// How a command ended, from evidence and never from its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// It ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// The signal.
        signal: i32,
    },
    /// It ran over its time and was killed.
    Timeout {
        /// Whether it was the time without any output that ran out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        idle: bool,
    },
    /// The kernel killed it because its memory was used up.
    OomKilled,
    /// It said more than it may and was killed.
    OutputLimit,
    /// It was ended on demand.
    Canceled,
    /// It could not be started.
    ExecFailed {
        /// What the system said.
        detail: String,
    },
    /// It took more of the disk than it may, and was killed.
    DiskFull {
        /// Which bound it passed: `bytes` or `files` of the workspace, `file_size`, `reserve` of the disk.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        limit: String,
    },
    /// It made a system call that ends the process behind walls.
    SandboxViolation,
    /// The sandbox itself failed.
    SandboxError {
        /// Which step of it, and what the system said.
        detail: String,
    },
}

/// A command that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What it said.
    pub stdout: Output,
    /// What it complained about.
    pub stderr: Output,
    /// How long it ran, monotonic milliseconds.
    pub active_ms: u64,
    /// How far it was walled in: `process`.
    pub isolation: String,
    /// What it used, and what it was refused; none of one that never began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

/// A file that was written or edited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileWrite {
    /// Path inside the workspace.
    pub path: String,
    /// Its size afterwards.
    pub bytes: u64,
    /// sha256 (hex) before; absent when there was no such file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// sha256 (hex) afterwards.
    pub after: String,
    /// Active milliseconds.
    #[serde(default)]
    pub active_ms: u64,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRead {
    /// Path inside the workspace.
    pub path: String,
    /// sha256 (hex) of what was read.
    pub file_sha256: String,
    /// What stood in it.
    pub content: Output,
    /// Active milliseconds.
    #[serde(default)]
    pub active_ms: u64,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolOutcome {
    /// A command ended.
    Command(Execution),
    /// A file was written or edited.
    Wrote(FileWrite),
    /// A file was read.
    Read(FileRead),
    /// Another tool ended well, with this text.
    Done {
        /// What it returned.
        output: String,
        /// Active milliseconds.
        active_ms: u64,
    },
    /// An artifact was kept.
    Artifact {
        /// Its kind.
        kind: String,
        /// What to call it.
        name: String,
        /// sha256 (hex) of its bytes.
        sha256: String,
        /// Its size.
        bytes: u64,
        /// Active milliseconds.
        active_ms: u64,
        /// The task that it is, if it is a suggestion that was filed.
        task: Option<StreamId>,
    },
    /// A service was started and goes on.
    ServiceStarted {
        /// Its name.
        name: String,
        /// Active milliseconds.
        active_ms: u64,
    },
    /// A service was ended on demand.
    ServiceStopped {
        /// The step that had started it.
        service: u64,
        /// How it ended.
        end: ServiceEnd,
        /// Active milliseconds.
        active_ms: u64,
    },
    /// What came of the act, after it was not let to some places on the network.
    Denied {
        /// Where, and how often.
        denied: Vec<DeniedEgress>,
        /// What came of it.
        then: Box<ToolOutcome>,
    },
    /// It failed; the brain is told.
    Failed {
        /// Stable code.
        code: String,
        /// What went wrong and what to do next.
        detail: String,
        /// Active milliseconds.
        active_ms: u64,
    },
    /// Nobody can know whether it happened.
    Unknown {
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(tool: &str, args: Value) -> ToolCall {
        ToolCall {
            tool: tool.into(),
            args,
        }
    }

    #[test]
    fn a_command_is_a_line_or_words() {
        let line = Tool::parse(&call("exec", json!({"command": "make test"}))).expect("fits");
        assert_eq!(line.brief(), "make test");
        let words = Tool::parse(&call("exec", json!({"command": ["make", "test"]}))).expect("fits");
        assert_eq!(words.class(), RecoveryClass::Reattach);
    }

    /// B-ART-1
    #[test]
    fn an_artifact_has_one_of_five_kinds() {
        let of_kind = |kind: &str| Tool::parse(&call("artifact", json!({"kind": kind, "path": "x"})));
        for kind in [
            "report",
            "research_note",
            "content_draft",
            "patch",
            "task_suggestion",
        ] {
            assert!(of_kind(kind).is_ok(), "{kind}");
        }
        for kind in ["", "Report", "poem"] {
            let refused = of_kind(kind).expect_err("wrong kind");
            assert_eq!(refused.code, "invalid_arguments", "{kind}");
        }
    }

    #[test]
    fn a_call_that_does_not_fit_says_what_would() {
        let error = Tool::parse(&call("fly", json!({}))).expect_err("no such tool");
        assert!(error.detail.contains("exec, read, write"), "{error}");
        let error = Tool::parse(&call("read", json!({"file": "x"}))).expect_err("wrong field");
        assert_eq!(error.code, "invalid_arguments");
        let error =
            Tool::parse(&call("artifact", json!({"kind": "poem", "path": "x"}))).expect_err("wrong kind");
        assert!(error.detail.contains("research_note"), "{error}");
    }
}
