//! What somebody wants to do, and around it what a decision may depend on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Category;

/// One act, as it would be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// Name of the tool: `exec`, `read`, `write`, `edit`, `list`, or one that we know only by name.
    pub tool: String,
    /// What is done.
    pub what: What,
    /// The folder it is done in, as the one who acts writes it: relative to the workspace, or absolute. Empty is the
    /// workspace itself.
    pub cwd: String,
    /// The environment that the act brings along.
    pub env: BTreeMap<String, String>,
    /// What it reads on its standard input.
    pub stdin: Vec<u8>,
}

/// What an act does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Starts a program with these words, no shell between.
    Argv(Vec<String>),
    /// Gives this line to a shell.
    Line(String),
    /// Calls the tool with these arguments.
    Call(Value),
}

impl Act {
    /// A command line for a shell, in the workspace, with nothing else around it.
    pub fn line(line: impl Into<String>) -> Self {
        Self::of("exec", What::Line(line.into()))
    }

    /// A program and its arguments.
    pub fn argv<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self::of("exec", What::Argv(words.into_iter().map(Into::into).collect()))
    }

    /// A call of a tool. `exec` is taken apart: its `command` (a line, or words), `cwd`, `env` and `stdin`.
    pub fn call(tool: impl Into<String>, mut arguments: Value) -> Self {
        let tool = tool.into();
        if tool != "exec" {
            return Self::of(tool, What::Call(arguments));
        }
        let what = match arguments.get_mut("command").map(Value::take) {
            Some(Value::String(line)) => What::Line(line),
            Some(Value::Array(words)) if words.iter().all(Value::is_string) => {
                let words = words.into_iter().filter_map(|word| match word {
                    Value::String(word) => Some(word),
                    _ => None,
                });
                What::Argv(words.collect())
            }
            Some(other) => {
                arguments["command"] = other;
                return Self::of(tool, What::Call(arguments));
            }
            None => return Self::of(tool, What::Call(arguments)),
        };
        let text = |key: &str| {
            arguments
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let env = arguments.get("env").and_then(Value::as_object);
        Self {
            tool,
            what,
            cwd: text("cwd"),
            env: env
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            stdin: text("stdin").into_bytes(),
        }
    }

    fn of(tool: impl Into<String>, what: What) -> Self {
        Self {
            tool: tool.into(),
            what,
            cwd: String::new(),
            env: BTreeMap::new(),
            stdin: Vec::new(),
        }
    }
}

/// Who wrote what is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// A brain thought of it. Acts that no rule knows ask, unless they are contained.
    #[default]
    Agent,
    /// The human at this machine wrote it into a playbook and started that. Acts that no rule knows are allowed, risky
    /// ones are not.
    LocalHuman,
}

/// Reads a file that an act would run, by its path as seen from the act's `cwd`, or tells that there is none. The
/// decision asks for what it needs; the crate itself opens nothing.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<Vec<u8>>;

/// What a decision depends on beside the act.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Whether the act runs in isolated hands, with no way out beyond the allow-list and no credential in reach.
    pub contained: bool,
    /// Who wrote the act.
    pub author: Author,
    /// What the goal forbids ([`crate::goal::read`]).
    pub forbidden: &'a [Category],
    /// Absolute path of the workspace, when it is known; what lies in it may be changed.
    pub workspace: Option<&'a str>,
    /// Reads a script that the act names.
    pub read_file: ReadFile<'a>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around")
            .field("contained", &self.contained)
            .field("author", &self.author)
            .field("forbidden", &self.forbidden)
            .field("workspace", &self.workspace)
            .finish_non_exhaustive()
    }
}

impl Around<'_> {
    /// An agent's act that is not contained, with nothing forbidden and no file to be read.
    pub const fn bare() -> Self {
        Self {
            contained: false,
            author: Author::Agent,
            forbidden: &[],
            workspace: None,
            read_file: &|_| None,
        }
    }
}
