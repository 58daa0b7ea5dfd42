//! What became of an act, as a playbook judges it.

use longhaul_actors::session::{Body, Output, Verdict};
use serde::Deserialize;

/// What became of an act or a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// A command ended by itself.
    Exited {
        code: i32,
        stdout: String,
        stderr: String,
    },
    /// A file, a listing or an answer: text, and nothing that could have failed.
    Text(String),
    /// It failed.
    Failed(String),
    /// It was cut short from outside, or nobody knows whether it happened.
    Doubtful(String),
}

/// What a step's outcome must be like for the step to have succeeded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Expect {
    exit: Option<Exit>,
    contains: Option<String>,
    lacks: Option<String>,
    stdout_contains: Option<String>,
    stderr_contains: Option<String>,
}

/// An exit code, or a word for many.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawExit")]
enum Exit {
    Code(i32),
    Any,
    Nonzero,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawExit {
    Code(i32),
    Word(String),
}

impl TryFrom<RawExit> for Exit {
    type Error = String;

    fn try_from(raw: RawExit) -> Result<Self, String> {
        match raw {
            RawExit::Code(code) => Ok(Self::Code(code)),
            RawExit::Word(word) => match word.as_str() {
                "any" => Ok(Self::Any),
                "nonzero" => Ok(Self::Nonzero),
                _ => Err(format!(
                    "`{word}` is no exit code; write a number, \"any\" or \"nonzero\""
                )),
            },
        }
    }
}

impl Outcome {
    /// The outcome that a record tells of, if it tells of one.
    pub(super) fn of(body: &Body) -> Option<Self> {
        let outcome = match body {
            Body::CommandRun(run) => {
                let (stdout, stderr) = (shown(&run.execution.stdout), shown(&run.execution.stderr));
                match &run.execution.verdict {
                    Verdict::Exited { code } => Self::Exited {
                        code: *code,
                        stdout,
                        stderr,
                    },
                    Verdict::Canceled => Self::Doubtful("it was ended from outside while it ran".into()),
                    Verdict::Signaled { signal } => Self::Failed(format!("it was killed by signal {signal}")),
                    Verdict::Timeout { idle: false } => {
                        Self::Failed("it ran over its time and was killed".into())
                    }
                    Verdict::Timeout { idle: true } => {
                        Self::Failed("it said nothing for too long and was killed".into())
                    }
                    Verdict::OomKilled => {
                        Self::Failed("it wanted more memory than it may have and was killed".into())
                    }
                    Verdict::OutputLimit => Self::Failed("it said more than it may and was killed".into()),
                    Verdict::ExecFailed { detail } => {
                        Self::Failed(format!("it could not be started: {detail}"))
                    }
                    Verdict::DiskFull { .. } => {
                        Self::Failed("it wanted more of the disk than it may have and was killed".into())
                    }
                    Verdict::SandboxViolation => {
                        Self::Failed("it was killed for a forbidden system call".into())
                    }
                    Verdict::SandboxError { detail } => Self::Failed(format!("the sandbox failed: {detail}")),
                }
            }
            Body::FileWasRead(read) => Self::Text(shown(&read.file.content)),
            Body::FileWritten(_) => Self::Text(String::new()),
            Body::ToolCompleted(done) => Self::Text(done.output.clone()),
            Body::ArtifactCreated(artifact) => Self::Text(artifact.name.clone()),
            Body::ToolFailed(failed) => match &failed.settled_by {
                Some(by) => Self::Doubtful(format!("it was ended from outside ({by}): {}", failed.detail)),
                None => Self::Failed(format!("{}: {}", failed.code, failed.detail)),
            },
            Body::ToolOutcomeUnknown(unknown) => Self::Doubtful(unknown.why.clone()),
            _ => return None,
        };
        Some(outcome)
    }

    /// Says whether the act succeeded, or what was wrong.
    ///
    /// A command that is judged as its own step must end with exit code 0 unless `expect` says otherwise; a step that
    /// judges the outcome before it (`exit_matters` is false) checks only what it names.
    pub(super) fn judge(&self, expect: Option<&Expect>, exit_matters: bool) -> Result<(), String> {
        let none = Expect::default();
        let expect = expect.unwrap_or(&none);
        let (code, stdout, stderr) = match self {
            Self::Failed(why) | Self::Doubtful(why) => return Err(why.clone()),
            Self::Text(text) => (None, text.as_str(), ""),
            Self::Exited { code, stdout, stderr } => (Some(*code), stdout.as_str(), stderr.as_str()),
        };
        let wrong_exit = match (&expect.exit, code) {
            (None, Some(code)) if exit_matters && code != 0 => {
                Some(format!("it ended with exit code {code}"))
            }
            (Some(Exit::Code(wanted)), Some(code)) if code != *wanted => {
                Some(format!("it ended with exit code {code}, expected {wanted}"))
            }
            (Some(Exit::Nonzero), Some(0)) => Some("it ended with exit code 0, expected any other".into()),
            (Some(_), None) => Some("it has no exit code, because it was no command".into()),
            _ => None,
        };
        let wrong_text = [
            (
                "its output",
                &expect.contains,
                true,
                stdout.contains_or(stderr, &expect.contains),
            ),
            (
                "its output",
                &expect.lacks,
                false,
                stdout.contains_or(stderr, &expect.lacks),
            ),
            (
                "its stdout",
                &expect.stdout_contains,
                true,
                stdout.contains_or("", &expect.stdout_contains),
            ),
            (
                "its stderr",
                &expect.stderr_contains,
                true,
                stderr.contains_or("", &expect.stderr_contains),
            ),
        ]
        .into_iter()
        .find_map(|(what, wanted, must, does)| match wanted {
            Some(wanted) if must && !does => Some(format!("{what} does not contain {wanted:?}")),
            Some(wanted) if !must && does => Some(format!("{what} contains {wanted:?}")),
            _ => None,
        });
        match wrong_exit.or(wrong_text) {
            None => Ok(()),
            Some(wrong) => Err(format!("{wrong}{}", last_words(stdout, stderr))),
        }
    }
}

trait ContainsOr {
    fn contains_or(&self, other: &str, wanted: &Option<String>) -> bool;
}

impl ContainsOr for str {
    fn contains_or(&self, other: &str, wanted: &Option<String>) -> bool {
        wanted
            .as_ref()
            .is_some_and(|wanted| self.contains(wanted) || other.contains(wanted))
    }
}

/// What of an output stands in the record: all of it, or its beginning and its end.
fn shown(output: &Output) -> String {
    match output.tail.is_empty() {
        true => output.head.clone(),
        false => format!("{}\n{}", output.head, output.tail),
    }
}

/// The end of what was said, for an error that a person reads.
fn last_words(stdout: &str, stderr: &str) -> String {
    const KEPT: usize = 400;
    let said = if stderr.trim().is_empty() {
        stdout.trim()
    } else {
        stderr.trim()
    };
    if said.is_empty() {
        return String::new();
    }
    let skip = said.chars().count().saturating_sub(KEPT);
    let tail: String = said.chars().skip(skip).collect();
    format!("; the end of what it said:\n{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Outcome {
        Outcome::Exited {
            code,
            stdout: "2 tests FAILED".into(),
            stderr: "make: error".into(),
        }
    }

    fn expect(text: &str) -> Expect {
        toml::from_str(text).expect("fits")
    }

    #[test]
    fn a_command_must_end_with_zero_unless_the_step_says_otherwise() {
        assert_eq!(exited(0).judge(None, true), Ok(()));
        let wrong = exited(2).judge(None, true).expect_err("2 is not 0");
        assert!(
            wrong.contains("exit code 2") && wrong.contains("make: error"),
            "{wrong}"
        );
        assert_eq!(exited(2).judge(Some(&expect("exit = 2")), true), Ok(()));
        assert_eq!(exited(2).judge(Some(&expect("exit = \"nonzero\"")), true), Ok(()));
        assert!(
            exited(0)
                .judge(Some(&expect("exit = \"nonzero\"")), true)
                .is_err()
        );
        assert!(
            exited(1)
                .judge(Some(&expect("contains = \"FAILED\"")), true)
                .is_err()
        );
        assert_eq!(
            exited(1).judge(Some(&expect("contains = \"FAILED\"")), false),
            Ok(())
        );
    }

    #[test]
    fn each_check_looks_where_it_says() {
        for (checks, holds) in [
            ("contains = \"FAILED\"", true),
            ("contains = \"make\"", true),
            ("lacks = \"panic\"", true),
            ("lacks = \"FAILED\"", false),
            ("stdout_contains = \"FAILED\"", true),
            ("stdout_contains = \"make\"", false),
            ("stderr_contains = \"make\"", true),
            ("stderr_contains = \"FAILED\"", false),
        ] {
            assert_eq!(
                exited(0).judge(Some(&expect(checks)), true).is_ok(),
                holds,
                "{checks}"
            );
        }
    }
}
