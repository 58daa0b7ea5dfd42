//! A folder to work in, and the program run there.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::watched::{self, Heard, PATIENCE};

/// A folder of its own, with a data directory in it that does not exist yet.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            variables: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Puts a file there.
    pub(crate) fn with(self, name: &str, text: &str) -> Self {
        fs::write(self.path().join(name), text).expect("written");
        self
    }

    /// Sets a variable of the environment for every program that is run here.
    pub(crate) fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// The program with these words, not yet started.
    pub(crate) fn command<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul"));
        command
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .stdin(Stdio::null());
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.path())
            .env("LONGHAUL_DATA", self.data())
            // What is told here must be told the same on a machine that cannot wall anything in.
            .env("LONGHAUL_SANDBOX", "process")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end; the words are split at spaces.
    pub(crate) fn says(&self, words: &str) -> Said {
        self.says_words(&words.split(' ').collect::<Vec<_>>())
    }

    /// Runs it to its end.
    pub(crate) fn says_words(&self, words: &[&str]) -> Said {
        let Output {
            status,
            stdout,
            stderr,
        } = watched::output(&mut self.command(words));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
        Said {
            words: words.join(" "),
            code: status.code(),
            stdout: self.blanked(&text(stdout)),
            stderr: self.blanked(&text(stderr)),
        }
    }

    /// Starts it, to be watched line by line.
    pub(crate) fn starts(&self, words: &[&str]) -> Started {
        let mut command = self.command(words);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = Heard::of(child.stdout.take().expect("piped"));
        let stderr = Heard::of(child.stderr.take().expect("piped"));
        Started {
            child,
            stdout,
            stderr,
        }
    }

    /// The text without what differs from run to run: the folder, ids, times.
    fn blanked(&self, text: &str) -> String {
        let text = text.replace(&self.path().display().to_string(), "HERE");
        let ids = blank(&text, "s_", &"#".repeat(32), |c| c.is_ascii_hexdigit(), "s_ID");
        let date = blank(
            &ids,
            "20",
            "##-##-##?##:##:##",
            |c| c.is_ascii_digit(),
            "DATE AND TIME",
        );
        without_spans(&blank(
            &date,
            "",
            "##:##:##.###",
            |c| c.is_ascii_digit(),
            "TIME        ",
        ))
    }
}

/// Replaces each place that begins with `head` and goes on as `shape` says: `#` is what `fits`, `?` is anything.
fn blank(text: &str, head: &str, shape: &str, fits: fn(char) -> bool, with: &str) -> String {
    let (mut blanked, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix(head).and_then(|rest| beyond(rest, shape, fits)) {
            blanked.push_str(with);
            rest = after;
        } else {
            blanked.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    blanked
}

/// What follows the shape, if the text begins with it.
fn beyond<'a>(text: &'a str, shape: &str, fits: fn(char) -> bool) -> Option<&'a str> {
    let mut chars = text.chars();
    for wanted in shape.chars() {
        let c = chars.next()?;
        let matches = match wanted {
            '#' => fits(c),
            '?' => true,
            wanted => c == wanted,
        };
        if !matches {
            return None;
        }
    }
    Some(chars.as_str())
}

/// Blanks out spans of time, `12ms` or `1.2s`.
fn without_spans(text: &str) -> String {
    let is_span = |word: &str| {
        let digits = word
            .strip_suffix("ms")
            .or_else(|| word.strip_suffix('s'))
            .unwrap_or_default();
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let line = |line: &str| {
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| if is_span(word) { "SPAN" } else { word })
            .collect();
        words.join(" ")
    };
    let lines: Vec<String> = text.split('\n').map(line).collect();
    lines.join("\n")
}

/// What the program said, and how it ended.
#[derive(PartialEq)]
pub(crate) struct Said {
    words: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Stdout, stderr (its lines marked with `!`) and the exit code as lines, to be compared as a whole.
    pub(crate) fn lines(&self) -> Vec<String> {
        let stderr = self
            .stderr
            .lines()
            .map(|line| format!("! {line}").trim_end().to_owned());
        let code = self
            .code
            .map_or_else(|| "by a signal".to_owned(), |code| code.to_string());
        let stdout = self.stdout.lines().map(str::to_owned);
        stdout.chain(stderr).chain([format!("exit {code}")]).collect()
    }

    /// Checks the exit code, and returns what came on stdout.
    #[track_caller]
    pub(crate) fn ok(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stdout
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n$ longhaul {}\n{}\n", self.words, self.lines().join("\n"))
    }
}

/// A program that still runs. Dropping it ends it.
pub(crate) struct Started {
    child: Child,
    stdout: Heard,
    stderr: Heard,
}

impl Started {
    /// Reads stdout until a line holds this text, and returns the line.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        read_until(&mut self.stdout, text)
    }

    /// Reads stderr until a line holds this text.
    #[track_caller]
    pub(crate) fn notes(&mut self, text: &str) {
        read_until(&mut self.stderr, text);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end: the exit code, all of stdout and stderr.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (Option<i32>, String, String) {
        let status = watched::hear_out(&mut self.child, "it", &mut self.stdout, &mut self.stderr);
        (status.code(), self.stdout.text(), self.stderr.text())
    }
}

#[track_caller]
fn read_until(stream: &mut Heard, text: &str) -> String {
    let give_up = Instant::now() + PATIENCE;
    while let Some(line) = stream.line(give_up) {
        if line.contains(text) {
            return line.trim_end().to_owned();
        }
    }
    let silent = Instant::now() >= give_up;
    let how = if silent {
        "has not said"
    } else {
        "ended before it said"
    };
    panic!("it {how} {text:?}:\n{}", stream.text())
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A playbook that says one thing and is done.
pub(crate) const GREETING: &str = "[[step]]\nsay = \"hello\"\n\n[[step]]\nfinish = \"greeted\"\n";

/// A playbook that asks one thing.
pub(crate) const QUESTION: &str = "[[step]]\nask = \"which colour?\"\n\n[[step]]\nfinish = \"painted\"\n";
