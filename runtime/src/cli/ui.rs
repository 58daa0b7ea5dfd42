//! The four ways out: data on stdout, notes and problems on stderr, and an exit code.

use std::io::{self, IsTerminal, Write};

use rustix::termios::tcgetwinsize;
use serde::Serialize;

use super::render::{Look, escaped, escaped_json};
use crate::api::{Code, Problem};

/// Where a verb's words go, and how they are to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ui {
    json: bool,
    look: Look,
    stderr_colour: bool,
}

/// Why a verb did not come to an exit code of its own.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is told to the user and decides the exit code.
    Problem(Problem),
    /// Nobody reads stdout any more: stop quietly.
    PipeClosed,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Ui {
    /// What fits the terminal or pipe that this process writes to.
    pub(super) fn of_process(json: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = !set("NO_COLOR") && !dumb;
        let terminal = io::stdout().is_terminal();
        let size = terminal.then(|| tcgetwinsize(io::stdout()).ok()).flatten();
        let width = size
            .map(|size| usize::from(size.ws_col))
            .filter(|&columns| columns > 0);
        Self {
            json,
            look: Look {
                colour: terminal && colour,
                width,
            },
            stderr_colour: colour && io::stderr().is_terminal(),
        }
    }

    /// Whether objects are wanted instead of lines for people.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// How lines on stdout are to look.
    pub(super) const fn look(&self) -> Look {
        self.look
    }

    /// Whether stderr takes colour.
    pub(super) const fn colours_stderr(&self) -> bool {
        self.stderr_colour
    }

    /// One line of data, already free of what a terminal would act on.
    pub(super) fn line(&self, line: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        sent(writeln!(stdout, "{line}").and_then(|()| stdout.flush()))
    }

    /// One object of data, as one line.
    pub(super) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        self.line(&escaped_json(&to_json(value)))
    }

    /// Data as it is, byte for byte.
    pub(super) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        sent(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// A remark for the person, on stderr. That nobody reads it is no reason to stop.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", escaped(text));
    }

    /// Tells a problem, and returns the exit code that goes with it.
    pub(super) fn problem(&self, problem: &Problem) -> u8 {
        if self.json {
            // The exit code still tells when nobody reads the object.
            let _ = self.object(problem);
        } else {
            let _ = io::stderr()
                .lock()
                .write_all(told(problem, self.stderr_colour).as_bytes());
        }
        problem.code.exit_code()
    }
}

/// A problem in words: what is wrong, then each way on.
fn told(problem: &Problem, colour: bool) -> String {
    let (red, cyan, off) = if colour {
        ("\x1b[31m", "\x1b[36m", "\x1b[0m")
    } else {
        ("", "", "")
    };
    let detail: Vec<_> = problem.detail.lines().map(escaped).collect();
    let mut text = format!("{red}error:{off} {}\n", detail.join("\n       "));
    for action in &problem.next_actions {
        text += &format!(
            "{cyan}hint:{off} {}: {}\n",
            escaped(&action.label),
            escaped(&action.command)
        );
    }
    if let Some(url) = problem.fields.top_up_url.as_ref().filter(|url| !url.is_empty()) {
        text += &format!("{cyan}hint:{off} or top it up at {}\n", escaped(url));
    }
    text
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("what the command line shows has text keys, so it is JSON")
}

fn sent(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::PipeClosed,
        _ => Problem::new(Code::Internal, format!("cannot write to stdout: {error}")).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_every_way_on() {
        let problem = Problem::new(Code::NoBrain, "no brain was named")
            .next("follow a playbook", "longhaul run --brain playbook:FILE \"GOAL\"")
            .next("ask a program", "longhaul run --brain process:PROGRAM \"GOAL\"");
        assert_eq!(
            told(&problem, false),
            "error: no brain was named\n\
             hint: follow a playbook: longhaul run --brain playbook:FILE \"GOAL\"\n\
             hint: ask a program: longhaul run --brain process:PROGRAM \"GOAL\"\n"
        );
    }

    #[test]
    fn a_problem_that_quotes_something_hostile_is_harmless() {
        let problem = Problem::new(Code::InvalidRequest, "\u{1b}[2J is no id\nand more");
        assert_eq!(
            told(&problem, false),
            "error: \\x1b[2J is no id\n       and more\n"
        );
    }
}
