//! What a proxy let through and what it did not, in a file of the command directory: one JSON object per line, bounded.
//!
//! A line is written before the client hears the answer, so that a command that was refused has its evidence, however it
//! and its proxy end.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

/// The file in a command directory.
pub(crate) const FILE: &str = "egress.jsonl";
/// Most lines of it; the last one says that there were more.
const LINES_LIMIT: usize = 1_000;
/// Most bytes of it that are read, far above what is ever written.
const BYTES_LIMIT: u64 = 1 << 20;
/// Most different denials that are told; further ones are counted.
const DENIALS_TOLD: usize = 32;
/// Longest host that is written down, characters.
const HOST_LIMIT: usize = 255;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A connection was made.
    Allowed,
    /// The rules forbid it.
    Denied,
    /// It was allowed, and did not come about.
    Failed,
    /// There were more; nothing is written from here on.
    Cut,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    outcome: Outcome,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(default)]
    port: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The address that was connected to, or refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    address: String,
}

/// The file while it grows. Shared by the connections.
pub(crate) struct Evidence {
    file: File,
    lines: AtomicUsize,
}

impl Evidence {
    /// Makes the file in a command directory.
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create(true)
            .mode(0o600)
            .open(dir.join(FILE))?;
        Ok(Self {
            file,
            lines: AtomicUsize::new(0),
        })
    }

    /// Writes down what became of a request. A full disk does not stop the proxy: the line is missing then.
    pub(crate) fn note(&self, outcome: Outcome, host: &str, port: u16, reason: &str, address: &str) {
        let number = self.lines.fetch_add(1, Ordering::Relaxed);
        let (host, reason, address) = (shown(host), reason.to_owned(), address.to_owned());
        let line = match number + 1 {
            n if n < LINES_LIMIT => Line {
                outcome,
                host,
                port,
                reason,
                address,
            },
            LINES_LIMIT => Line {
                outcome: Outcome::Cut,
                host: String::new(),
                port: 0,
                reason: String::new(),
                address: String::new(),
            },
            _ => return,
        };
        if let Ok(mut text) = serde_json::to_vec(&line) {
            text.push(b'\n');
            // One write in append mode: lines of several threads do not mix.
            let _ = (&self.file).write_all(&text);
        }
    }
}

/// What a stranger sent, safe to show on a terminal.
fn shown(host: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    host.chars().take(HOST_LIMIT).map(safe).collect()
}

/// A place a command was not let to, and how often it tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The host as it was asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `not_allowed`, `ip_literal`, `bad_request`, `not_connect`, `address_refused`.
    pub reason: String,
    /// How often.
    pub times: u64,
}

/// What the proxy of a command wrote down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What was denied, in the order of the first try; the first 32 different ones.
    pub denied: Vec<Denied>,
    /// Denials that `denied` does not name, as far as they were written down.
    pub denied_more: u64,
    /// Connections that were made.
    pub allowed: u64,
    /// Requests beyond the bound of the file are not in these numbers.
    pub cut: bool,
}

/// Reads what the proxy of the command in `dir` wrote down; nothing when it had none. What is torn is left out.
///
/// # Errors
/// The file is there and cannot be read.
pub fn traffic(dir: &Path) -> io::Result<Traffic> {
    let mut traffic = Traffic::default();
    let file = match File::open(dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(traffic),
        opened => opened?,
    };
    for line in BufReader::new(file.take(BYTES_LIMIT)).split(b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(&line?) else {
            continue;
        };
        match line.outcome {
            Outcome::Allowed => traffic.allowed += 1,
            Outcome::Failed => {}
            Outcome::Cut => traffic.cut = true,
            Outcome::Denied => traffic.deny(line),
        }
    }
    Ok(traffic)
}

impl Traffic {
    fn deny(&mut self, line: Line) {
        let same = |known: &&mut Denied| {
            (&known.host, known.port, &known.reason) == (&line.host, line.port, &line.reason)
        };
        if let Some(known) = self.denied.iter_mut().find(same) {
            known.times += 1;
        } else if self.denied.len() < DENIALS_TOLD {
            let Line {
                host, port, reason, ..
            } = line;
            self.denied.push(Denied {
                host,
                port,
                reason,
                times: 1,
            });
        } else {
            self.denied_more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_told_once_with_their_number() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(traffic(dir.path()).unwrap(), Traffic::default());
        let evidence = Evidence::create(dir.path()).unwrap();
        for _ in 0..3 {
            evidence.note(Outcome::Denied, "evil.test", 443, "not_allowed", "");
        }
        evidence.note(Outcome::Allowed, "good.test", 443, "", "192.0.2.1");
        let found = traffic(dir.path()).unwrap();
        assert_eq!(found.allowed, 1);
        assert_eq!(found.denied.len(), 1);
        assert_eq!((found.denied[0].times, found.denied[0].port), (3, 443));
    }

    #[test]
    fn a_flood_of_requests_leaves_a_bounded_file() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Evidence::create(dir.path()).unwrap();
        for n in 0..5_000_u16 {
            evidence.note(
                Outcome::Denied,
                &format!("{}.test", "a".repeat(9_000)),
                n,
                "not_allowed",
                "",
            );
        }
        assert!(std::fs::metadata(dir.path().join(FILE)).unwrap().len() < BYTES_LIMIT);
        let found = traffic(dir.path()).unwrap();
        assert!(found.cut);
        assert_eq!(found.denied.len(), DENIALS_TOLD);
        assert_eq!(found.denied_more, (LINES_LIMIT - 1 - DENIALS_TOLD) as u64);
    }

    #[test]
    fn what_a_stranger_sent_cannot_command_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Evidence::create(dir.path()).unwrap();
        evidence.note(Outcome::Denied, "a\u{1b}]0;x\u{7}\n{}", 1, "bad_request", "");
        assert_eq!(traffic(dir.path()).unwrap().denied[0].host, "a?]0;x??{}");
    }
}
