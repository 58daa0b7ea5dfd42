//! Where paths lie: in the workspace, in a folder for passing things, or somewhere else.

use super::Walk;
use crate::decision::Category;
use crate::shell::expand::{Field, HOLE};

/// Stands before the number of a file that a `<(...)` makes.
pub(super) const MADE: &str = "/dev/fd/made-";

/// The folder a command runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Folder {
    /// In the workspace, by the parts of its path from there.
    Inside(Vec<String>),
    /// Somewhere else, by its absolute path.
    Outside(String),
    /// Known only when it runs.
    #[default]
    Unknown,
}

/// Where a path lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the workspace.
    Inside,
    /// Where things are passed or thrown away: `/tmp`, `/dev/null`.
    Passing,
    /// Anywhere else.
    Outside,
    /// Known only when it runs.
    Unknown,
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(super) fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Folder {
    pub(super) fn of_act(cwd: &str, root: Option<&str>) -> Self {
        Self::Inside(Vec::new()).to(cwd, root)
    }

    /// The folder that `path` names from here.
    pub(super) fn to(&self, path: &str, root: Option<&str>) -> Self {
        if path.contains(HOLE) {
            // Below a folder that is known, it is there.
            let known = path.split(HOLE).next().unwrap_or_default();
            return match (known.rfind('/'), path.contains("..")) {
                (Some(at), false) => self.to(&path[..=at], root),
                _ => Self::Unknown,
            };
        }
        if path.starts_with('~') {
            return Self::Outside(path.to_owned());
        }
        if path.starts_with('/') {
            let path = plain(path);
            let below = root.and_then(|root| path.strip_prefix(root));
            return match below {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Self::Inside(
                    rest.split('/')
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => Self::Outside(path),
            };
        }
        match self {
            Self::Unknown => Self::Unknown,
            Self::Outside(folder) if folder.starts_with('~') => Self::Outside(format!("{folder}/{path}")),
            Self::Outside(folder) => Self::Unknown.to(&format!("{folder}/{path}"), root),
            Self::Inside(parts) => {
                let mut parts = parts.clone();
                for part in path.split('/') {
                    match part {
                        "" | "." => {}
                        ".." if parts.is_empty() => {
                            return match root {
                                Some(root) => Self::Outside(plain(&format!("{root}/{path}"))),
                                None => Self::Outside(path.to_owned()),
                            };
                        }
                        ".." => {
                            parts.pop();
                        }
                        part => parts.push(part.to_owned()),
                    }
                }
                Self::Inside(parts)
            }
        }
    }
}

impl Walk<'_> {
    /// Where a path lies.
    pub(super) fn place(&self, path: &str) -> Place {
        if ["/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "-"].contains(&path)
            || path.starts_with("/dev/fd/")
        {
            return Place::Passing;
        }
        match self.cwd.to(path, self.root.as_deref()) {
            Folder::Inside(_) => Place::Inside,
            Folder::Outside(path) => {
                let passing = ["/tmp/", "/var/tmp/", "/private/tmp/", "/dev/shm/"];
                match passing.iter().any(|folder| path.starts_with(folder)) {
                    true => Place::Passing,
                    false if path == "/tmp" => Place::Passing,
                    false => Place::Outside,
                }
            }
            Folder::Unknown => Place::Unknown,
        }
    }

    /// The name of a file from the act's own folder, whatever `cd` came before, for what reads scripts.
    pub(super) fn named(&self, path: &str) -> String {
        if path.starts_with(['/', '~']) {
            return path.to_owned();
        }
        match (&self.cwd, &self.began) {
            (here, own) if here == own => path.trim_start_matches("./").to_owned(),
            (Folder::Outside(folder), _) => format!("{folder}/{path}"),
            (Folder::Inside(parts), Folder::Inside(own)) => {
                let common = parts.iter().zip(own).take_while(|(a, b)| a == b).count();
                let up = std::iter::repeat_n("..", own.len() - common);
                let down = parts[common..].iter().map(String::as_str);
                let all: Vec<&str> = up.chain(down).chain([path.trim_start_matches("./")]).collect();
                all.join("/")
            }
            _ => path.to_owned(),
        }
    }

    /// Something reads this file.
    pub(super) fn reads_file(&mut self, path: &str, globbed: bool, by: &str) {
        if self.policy.secrets.holds(path, globbed) {
            self.risky(Category::ReadSecrets, "secret-file", format!("{by} {path}"));
        }
    }

    /// Something writes this file.
    pub(super) fn writes_file(&mut self, path: &str, by: &str) {
        if path.starts_with("/dev/tcp/") || path.starts_with("/dev/udp/") {
            return self.risky(
                Category::MessageOutside,
                "opens-connection",
                format!("{by} {path}"),
            );
        }
        if self.place(path) == Place::Outside {
            self.unknown("outside-workspace", format!("{by} {path}"));
        }
    }

    /// Something takes this file away.
    pub(super) fn removes_file(&mut self, field: &Field, by: &str) {
        match self.place(&field.text) {
            Place::Inside | Place::Passing => {}
            Place::Outside => self.unknown("outside-workspace", format!("{by} {}", field.text)),
            Place::Unknown => self.unknown(
                "outside-workspace",
                format!("where this lies is known only when it runs: {by} {}", field.text),
            ),
        }
    }
}
