//! What a process does to files, as the kernel sees it, and what a power loss at any moment leaves of that.
//!
//! A worker runs under `strace`; its calls, and those of its children, become a list of acts. For every prefix of that list,
//! any part of what was not synced by then may be missing on the disk: entries of folders one by one, bytes of files page
//! by page. (`docs/decisions/0005` does the same for the journal's own files, in process; this needs no seam in the code.)

#![allow(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::dice::Dice;
use crate::watched;

/// What a worker is to do.
pub const ROLE: &str = "LONGHAUL_TEST_ROLE";
/// The folder of a worker.
pub const DIR: &str = "LONGHAUL_TEST_DIR";
/// What a worker writes to its output when something was promised.
const PROMISED: &str = "promised:";
/// What a disk loses or keeps at once.
const PAGE: usize = 4096;

/// Tells that something holds from here on; in one write, so that a trace has it in one piece.
pub fn promise(what: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{PROMISED}{what}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What happened to files, in order. Files are numbered, whatever their names.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "they are named like the calls")]
pub enum Act {
    /// A new file under a name.
    Create(PathBuf, usize),
    Mkdir(PathBuf),
    /// At most a page of one.
    Write {
        file: usize,
        at: usize,
        bytes: Vec<u8>,
    },
    Cut {
        file: usize,
        len: usize,
    },
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncFile(usize),
    SyncFolder(PathBuf),
    SyncAll,
    /// A program was executed that is not the worker's own.
    Executed(String),
    Promised(String),
}

/// The calls of a worker and its children, as far as they concern `root`. The worker is the test `name` of the running test
/// program, which finds its role and `root` in its environment.
///
/// # Panics
/// When it fails, or `strace` is not there.
#[allow(clippy::unwrap_used, reason = "for tests")]
pub fn record(name: &str, role: &str, root: &Path) -> Vec<Act> {
    let trace = root.join("trace");
    let calls = "trace=openat,open,creat,write,pwrite64,writev,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,\
                 link,linkat,unlink,unlinkat,mkdir,mkdirat,ftruncate,fallocate,copy_file_range,sendfile,execve,close,dup2,\
                 dup3,fcntl,lseek";
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-xx", "-s", "20000000", "-e", calls, "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, role)
        .env(DIR, root)
        .stdin(Stdio::null());
    let output = watched::output(&mut strace);
    assert!(output.status.success(), "the worker failed: {output:?}");
    let text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    Reader::default().read(&text, root)
}

/// Turns lines of a trace into acts.
#[derive(Default)]
struct Reader {
    acts: Vec<Act>,
    names: BTreeMap<PathBuf, usize>,
    lens: Vec<usize>,
    /// Where the next write goes, by process group of descriptors; a file that two processes share is appended to.
    offsets: BTreeMap<(String, String), usize>,
    appending: BTreeSet<(String, String)>,
}

impl Reader {
    fn read(mut self, text: &str, root: &Path) -> Vec<Act> {
        // A call that another one interrupted is put together again, at the place where it ended.
        let mut begun: BTreeMap<&str, String> = BTreeMap::new();
        for line in text.lines() {
            let Some((pid, rest)) = line.trim_start().split_once(' ') else {
                continue;
            };
            let rest = rest.trim_start();
            if let Some(head) = rest.strip_suffix("<unfinished ...>") {
                begun.insert(pid, head.trim_end().to_owned());
                continue;
            }
            let whole = match rest
                .strip_prefix("<... ")
                .and_then(|rest| rest.split_once(" resumed>"))
            {
                Some((_, tail)) => begun.remove(pid).unwrap_or_default() + tail,
                None => rest.to_owned(),
            };
            self.call(pid, &whole, root);
        }
        self.acts
    }

    fn call(&mut self, pid: &str, line: &str, root: &Path) {
        let Some((name, rest)) = line.split_once('(') else {
            return;
        };
        let Some((arguments, result)) = rest.rsplit_once(") ") else {
            return;
        };
        let result = result.trim_start_matches(['=', ' ']);
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let args = split(arguments);
        // Whoever names a file without a folder is the command, in its workspace.
        let mine = |path: &Path| {
            let path = &root.join("ws").join(path);
            path.starts_with(root)
                .then(|| path.strip_prefix(root).unwrap().to_owned())
        };
        match name {
            "execve" => {
                let all: Vec<String> = args.iter().map(|arg| shown(arg)).collect();
                self.acts.push(Act::Executed(all.join(" ")));
            }
            "open" | "openat" | "creat" => {
                let Some(path) = fd_path(result).and_then(|path| mine(&path)) else {
                    return;
                };
                let fd = (pid.to_owned(), number(result));
                let file = match self.names.get(&path) {
                    Some(file) => *file,
                    None if arguments.contains("O_CREAT") => {
                        let file = self.lens.len();
                        self.lens.push(0);
                        self.names.insert(path.clone(), file);
                        self.acts.push(Act::Create(path, file));
                        file
                    }
                    // A folder, or what was there before.
                    None => return,
                };
                if arguments.contains("O_TRUNC") && self.lens[file] > 0 {
                    self.lens[file] = 0;
                    self.acts.push(Act::Cut { file, len: 0 });
                }
                self.offsets.insert(fd.clone(), 0);
                if arguments.contains("O_APPEND") {
                    self.appending.insert(fd);
                } else {
                    self.appending.remove(&fd);
                }
            }
            "write" | "pwrite64" => {
                let bytes = unhex(args.get(1).map_or("", String::as_str));
                if let Some(promised) = String::from_utf8_lossy(&bytes).trim().strip_prefix(PROMISED) {
                    self.acts.push(Act::Promised(promised.to_owned()));
                    return;
                }
                let Some(file) = fd_path(&args[0])
                    .and_then(|path| mine(&path))
                    .and_then(|path| self.names.get(&path))
                else {
                    return;
                };
                let (file, fd) = (*file, (pid.to_owned(), number(&args[0])));
                let known = self.offsets.get(&fd).copied();
                let at = match name {
                    "pwrite64" => args[3].parse().unwrap(),
                    _ if self.appending.contains(&fd) => self.lens[file],
                    // Inherited or duplicated: nobody here seeks in such a file.
                    _ => known.unwrap_or(self.lens[file]),
                };
                if name == "write" {
                    self.offsets.insert(fd, at + bytes.len());
                }
                self.lens[file] = self.lens[file].max(at + bytes.len());
                let (mut at, mut rest) = (at, &bytes[..]);
                while !rest.is_empty() {
                    let (page, behind) = rest.split_at((PAGE - at % PAGE).min(rest.len()));
                    self.acts.push(Act::Write {
                        file,
                        at,
                        bytes: page.to_vec(),
                    });
                    (at, rest) = (at + page.len(), behind);
                }
            }
            "close" => {
                self.offsets.remove(&(pid.to_owned(), number(&args[0])));
            }
            "dup2" | "dup3" => {
                // The shell's `> file`: the copy stands where the original stood.
                let from = (pid.to_owned(), number(&args[0]));
                if let Some(at) = self.offsets.get(&from).copied() {
                    let to = (pid.to_owned(), number(&args[1]));
                    if self.appending.contains(&from) {
                        self.appending.insert(to.clone());
                    }
                    self.offsets.insert(to, at);
                }
            }
            "ftruncate" => {
                if let Some(file) = fd_path(&args[0])
                    .and_then(|path| mine(&path))
                    .and_then(|path| self.names.get(&path))
                {
                    let len = args[1].parse().unwrap();
                    self.lens[*file] = len;
                    self.acts.push(Act::Cut { file: *file, len });
                }
            }
            "lseek" => {
                let fd = (pid.to_owned(), number(&args[0]));
                if let (true, Ok(at)) = (self.offsets.contains_key(&fd), result.parse()) {
                    self.offsets.insert(fd, at);
                }
            }
            "mkdir" | "mkdirat" => {
                let path = if name == "mkdir" {
                    at_path("", &args[0])
                } else {
                    at_path(&args[0], &args[1])
                };
                if let Some(path) = mine(&path) {
                    self.acts.push(Act::Mkdir(path));
                }
            }
            "unlink" | "unlinkat" => {
                let path = if name == "unlink" {
                    at_path("", &args[0])
                } else {
                    at_path(&args[0], &args[1])
                };
                if let Some(path) = mine(&path) {
                    self.names.remove(&path);
                    self.acts.push(Act::Unlink(path));
                }
            }
            "link" | "linkat" | "rename" | "renameat" | "renameat2" => {
                let (from, to) = if name.ends_with("at") || name.ends_with("at2") {
                    (at_path(&args[0], &args[1]), at_path(&args[2], &args[3]))
                } else {
                    (at_path("", &args[0]), at_path("", &args[1]))
                };
                // A file without a name yet is known by its descriptor.
                let source = mine(&from).or_else(|| fd_path(&args[0]).and_then(|path| mine(&path)));
                let (Some(from), Some(to)) = (source, mine(&to)) else {
                    return;
                };
                let Some(file) = self.names.get(&from).copied() else {
                    return;
                };
                self.names.insert(to.clone(), file);
                if name.starts_with("link") {
                    self.acts.push(Act::Link(to, file));
                } else {
                    self.names.remove(&from);
                    self.acts.push(Act::Rename(from, to));
                }
            }
            "fsync" | "fdatasync" => {
                let Some(path) = fd_path(&args[0]).and_then(|path| mine(&path)) else {
                    return;
                };
                self.acts.push(match self.names.get(&path) {
                    Some(file) => Act::SyncFile(*file),
                    None => Act::SyncFolder(path),
                });
            }
            "syncfs" | "sync" => self.acts.push(Act::SyncAll),
            _ => {}
        }
    }
}

/// Arguments at the top level, between commas.
fn split(text: &str) -> Vec<String> {
    let (mut all, mut one, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' | '<' if !quoted => depth += 1,
            ']' | '}' | '>' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                all.push(std::mem::take(&mut one).trim().to_owned());
                continue;
            }
            _ => {}
        }
        one.push(c);
    }
    all.push(one.trim().to_owned());
    all
}

fn unhex(text: &str) -> Vec<u8> {
    let inner = text.trim_matches('"');
    inner
        .split("\\x")
        .skip(1)
        .map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap())
        .collect()
}

fn shown(text: &str) -> String {
    let words: Vec<String> = text
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|word| String::from_utf8_lossy(&unhex(word)).into_owned())
        .collect();
    words.join(" ")
}

/// `3</path>` names a path, in hexadecimal like any text.
fn fd_path(text: &str) -> Option<PathBuf> {
    let inner = text.split_once('<')?.1.rsplit_once('>')?.0;
    let path = if inner.contains("\\x") {
        String::from_utf8(unhex(inner)).ok()?
    } else {
        inner.to_owned()
    };
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn number(text: &str) -> String {
    text.chars().take_while(char::is_ascii_digit).collect()
}

fn at_path(folder: &str, name: &str) -> PathBuf {
    let name = PathBuf::from(String::from_utf8_lossy(&unhex(name)).into_owned());
    fd_path(folder).unwrap_or_default().join(name)
}

// ---- what a disk may hold afterwards ----

/// Everything that happened up to some moment, and which of it is not on disk for certain.
#[derive(Debug)]
pub struct Disk<'a> {
    acts: &'a [Act],
    /// Indices of acts that may be missing.
    pub pending: Vec<usize>,
}

impl<'a> Disk<'a> {
    /// What happened up to a moment.
    pub fn at(acts: &'a [Act], moment: usize) -> Self {
        let mut pending: Vec<usize> = Vec::new();
        for (index, act) in acts[..moment].iter().enumerate() {
            match act {
                Act::SyncAll => pending.clear(),
                Act::SyncFile(file) => pending.retain(|index| match &acts[*index] {
                    Act::Write { file: other, .. } | Act::Cut { file: other, .. } => other != file,
                    _ => true,
                }),
                // Only the entries of this one folder: the name of the folder itself is its parent's affair.
                Act::SyncFolder(folder) => pending.retain(|index| match &acts[*index] {
                    Act::Create(path, _) | Act::Mkdir(path) | Act::Link(path, _) | Act::Unlink(path) => {
                        path.parent() != Some(folder)
                    }
                    Act::Rename(from, to) => from.parent() != Some(folder) && to.parent() != Some(folder),
                    _ => true,
                }),
                Act::Executed(_) | Act::Promised(_) => {}
                _ => pending.push(index),
            }
        }
        Self {
            acts: &acts[..moment],
            pending,
        }
    }

    /// Puts what is left into `into` when these of the pending acts never got there.
    ///
    /// # Panics
    /// When it cannot be written.
    #[allow(clippy::unwrap_used, reason = "for tests")]
    pub fn materialise(&self, lost: &BTreeSet<usize>, into: &Path) {
        let mut names: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
        let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (index, act) in self.acts.iter().enumerate() {
            if lost.contains(&index) {
                continue;
            }
            match act {
                Act::Create(path, file) | Act::Link(path, file) => {
                    names.insert(path.clone(), Some(*file));
                }
                Act::Mkdir(path) => {
                    names.insert(path.clone(), None);
                }
                Act::Unlink(path) => {
                    names.remove(path);
                }
                Act::Rename(from, to) => {
                    // The file goes by whatever name it had: an entry that was never made durable is made by this one.
                    let file = self.file_at(from, index);
                    names.remove(from);
                    names.insert(to.clone(), file);
                }
                Act::Write { file, at, bytes } => {
                    let content = files.entry(*file).or_default();
                    content.resize(content.len().max(at + bytes.len()), 0);
                    content[*at..at + bytes.len()].copy_from_slice(bytes);
                }
                Act::Cut { file, len } => files.entry(*file).or_default().resize(*len, 0),
                _ => {}
            }
        }
        std::fs::create_dir_all(into.join("ws")).unwrap();
        for (path, file) in &names {
            // What lies in a folder without a name cannot be found.
            let above = path.parent().unwrap();
            if above != Path::new("") && above != Path::new("ws") && !names.contains_key(above) {
                continue;
            }
            match file {
                None => std::fs::create_dir_all(into.join(path)).unwrap(),
                Some(file) if into.join(above).is_dir() => {
                    std::fs::write(into.join(path), files.get(file).map_or(&[][..], Vec::as_slice)).unwrap();
                }
                Some(_) => {}
            }
        }
    }

    fn file_at(&self, path: &Path, before: usize) -> Option<usize> {
        let mut names: BTreeMap<&Path, usize> = BTreeMap::new();
        for act in &self.acts[..before] {
            match act {
                Act::Create(path, file) | Act::Link(path, file) => {
                    names.insert(path, *file);
                }
                Act::Unlink(path) => {
                    names.remove(path.as_path());
                }
                Act::Rename(from, to) => {
                    if let Some(file) = names.remove(from.as_path()) {
                        names.insert(to, file);
                    }
                }
                _ => {}
            }
        }
        names.get(path).copied()
    }

    /// Some of the pending acts: none, all, or each by chance.
    pub fn some(&self, dice: &mut Dice) -> BTreeSet<usize> {
        let mood = dice.below(6);
        let pending = self.pending.iter().copied();
        pending
            .filter(|_| mood == 1 || mood > 1 && dice.below(2) == 0)
            .collect()
    }

    /// Which of the pending acts are lost: all choices where there are few, else each alone, all but each, and a hundred.
    pub fn losses(&self, dice: &mut Dice) -> Vec<BTreeSet<usize>> {
        let count = self.pending.len();
        let chosen = |bits: u64| {
            let pending = self.pending.iter().enumerate();
            pending
                .filter(|(bit, _)| bits >> bit & 1 == 1)
                .map(|(_, index)| *index)
                .collect()
        };
        if count <= 7 {
            return (0..1_u64 << count).map(chosen).collect();
        }
        let mut all: Vec<BTreeSet<usize>> = vec![BTreeSet::new(), self.pending.iter().copied().collect()];
        for index in &self.pending {
            all.push(BTreeSet::from([*index]));
            all.push(
                self.pending
                    .iter()
                    .copied()
                    .filter(|other| other != index)
                    .collect(),
            );
        }
        all.extend((0..100).map(|_| self.some(dice)));
        all
    }
}

/// The acts as lines, for whoever has to understand a failure.
pub fn listed(acts: &[Act]) -> String {
    let line = |(number, act): (usize, &Act)| match act {
        Act::Write { file, at, bytes } => {
            let text = String::from_utf8_lossy(bytes);
            format!(
                "{number:>4} Write {{ file: {file}, at: {at} }} {:?}\n",
                text.trim_end()
            )
        }
        act => format!("{number:>4} {act:?}\n"),
    };
    acts.iter().enumerate().map(line).collect()
}
