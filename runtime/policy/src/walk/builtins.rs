//! Commands of the shell itself, and what a command leaves behind for those after it.

use super::command::{is_assignment, program_of, shown};
use super::{Feed, LONGEST_SCRIPT, Walk, places};
use crate::decision::Category;
use crate::shell::ast::{How, Node, Part, Redirect, Simple};
use crate::shell::escapes::numbered;
use crate::shell::expand::{self, Field, HOLE};
use crate::words;

impl Walk<'_> {
    /// Commands of the shell. Tells whether this was one.
    pub(super) fn builtin(&mut self, program: &str, args: &[Field], feed: &Feed) -> bool {
        match program {
            "eval" => {
                let code: Vec<&str> = args.iter().map(|arg| arg.text.as_str()).collect();
                self.code(&code.join(" "), feed);
            }
            "." | "source" => match args.first() {
                Some(file) => {
                    let rest: Vec<String> = args.iter().skip(1).map(|arg| arg.text.clone()).collect();
                    self.run_script(&file.text.clone(), &rest, true);
                }
                None => self.ordinary("ordinary", program),
            },
            "command" | "builtin" | "exec" | "time" | "coproc" | "noglob" | "nocorrect" | "then" | "do"
            | "else" | "!" | "{" => {
                let mut at = 0;
                while args
                    .get(at)
                    .is_some_and(|arg| arg.text.starts_with('-') && arg.text.len() > 1)
                {
                    if program == "command" && args[at].text.contains(['v', 'V']) {
                        self.ordinary("ordinary", program);
                        return true;
                    }
                    at += if program == "exec" && args[at].text == "-a" {
                        2
                    } else {
                        1
                    };
                }
                match args.get(at..) {
                    Some(inner) if !inner.is_empty() => self.invoke(inner, feed),
                    _ => self.ordinary("ordinary", program),
                }
            }
            "trap" => {
                if let Some(code) = args.iter().find(|arg| !arg.text.starts_with('-')) {
                    let code = code.text.clone();
                    if args.len() > 1 && !code.is_empty() {
                        self.code(&code, &Feed::Dynamic);
                    }
                }
                self.ordinary("ordinary", program);
            }
            "alias" => {
                let lists = args.is_empty();
                self.ordinary("ordinary", if lists { "alias" } else { "an alias of this line" });
            }
            "cd" | "pushd" => {
                let to = args
                    .iter()
                    .find(|arg| !arg.text.starts_with('-') || arg.text == "-");
                self.cwd = match to {
                    Some(to) if to.text == "-" => places::Folder::Unknown,
                    Some(to) => self.cwd.to(&to.text, self.root.as_deref()),
                    None => places::Folder::Outside("~".into()),
                };
                self.ordinary("ordinary", program);
            }
            "popd" => {
                self.cwd = places::Folder::Unknown;
                self.ordinary("ordinary", program);
            }
            "export" | "declare" | "typeset" | "local" | "readonly" | "set" => {
                let shows = args.is_empty() || args.iter().all(|arg| arg.text == "-p" || arg.text == "-x");
                if shows && program != "local" {
                    self.risky(
                        Category::ReadSecrets,
                        "environment-shown",
                        format!("{program} prints the environment"),
                    );
                }
                for arg in args {
                    if let Some((name, value)) = arg.text.split_once('=').filter(|_| is_assignment(&arg.text))
                    {
                        self.variable_runs(name, value);
                    }
                }
                self.ordinary("ordinary", program);
            }
            _ => return false,
        }
        true
    }

    /// What a simple command defines, as [`Walk::collect`] needs it.
    pub(super) fn collect_command(&mut self, simple: &Simple, feed: &Feed) {
        self.collect_written(simple, feed);
        let Some(first) = simple.words.first() else { return };
        let [Part::Text { text: name, .. }] = &first.parts[..] else {
            return;
        };
        let defines = [
            "alias",
            "set",
            "read",
            "mapfile",
            "readarray",
            "printf",
            "export",
            "declare",
            "typeset",
            "local",
            "readonly",
            "getopts",
            "cp",
            "mv",
            "ln",
            "install",
            "curl",
            "wget",
            "tee",
            "gcc",
            "g++",
            "cc",
            "c++",
            "clang",
            "clang++",
            "rustc",
            "go",
            "tcc",
            "gfortran",
            "ghc",
            "zig",
            "nasm",
            "ld",
        ];
        if !defines.contains(&name.as_str()) {
            return;
        }
        self.changes += 1;
        let name = name.clone();
        // Looked at only: what is met here is met again when it runs.
        let readings = expand::fields(&simple.words, self);
        let Some(fields) = readings.first() else { return };
        let args = &fields[1..];
        match name.as_str() {
            "alias" => {
                for arg in args {
                    if let Some((name, value)) = arg.text.split_once('=') {
                        self.aliases.insert(name.to_owned(), value.to_owned());
                    }
                }
            }
            "set" => {
                if let Some(at) = args.iter().position(|arg| arg.text == "--") {
                    let words: Vec<String> = args[at + 1..].iter().map(|arg| arg.text.clone()).collect();
                    match self.positional.last_mut() {
                        Some(last) => *last = words,
                        None => self.positional.push(words),
                    }
                }
            }
            "read" | "mapfile" | "readarray" | "getopts" => {
                for arg in args.iter().filter(|arg| !arg.text.starts_with('-')) {
                    self.vars
                        .entry(arg.text.clone())
                        .or_default()
                        .push(vec![HOLE.to_string()]);
                }
            }
            "printf" => {
                if let Some(at) = args.iter().position(|arg| arg.text == "-v")
                    && let Some(name) = args.get(at + 1)
                {
                    let value = printed(&args[at + 2..]);
                    self.vars.entry(name.text.clone()).or_default().push(vec![value]);
                }
            }
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                for arg in args {
                    if let Some((name, value)) = arg.text.split_once('=').filter(|_| is_assignment(&arg.text))
                    {
                        self.vars
                            .entry(name.to_owned())
                            .or_default()
                            .push(vec![value.to_owned()]);
                    }
                }
            }
            "cp" | "mv" | "ln" | "install" => {
                let files: Vec<&str> = args
                    .iter()
                    .map(|arg| arg.text.as_str())
                    .filter(|text| !text.starts_with('-'))
                    .collect();
                if let [from, to] = files[..] {
                    let content = self.text_of_file(from);
                    let (to, from) = (self.named(to), from.rsplit('/').next().unwrap_or_default());
                    self.replace_written(format!("{}/{from}", to.trim_end_matches('/')), content.clone());
                    self.replace_written(to, content);
                }
            }
            "gcc" | "g++" | "cc" | "c++" | "clang" | "clang++" | "rustc" | "go" | "tcc" | "gfortran"
            | "ghc" | "zig" | "nasm" | "ld" => {
                if let Some(at) = args.iter().position(|arg| arg.text == "-o")
                    && let Some(target) = args.get(at + 1)
                {
                    let target = self.named(&target.text);
                    self.built.push(target);
                }
            }
            "curl" | "wget" => {
                for (at, arg) in args.iter().enumerate() {
                    let target = match arg.text.as_str() {
                        "-o" | "--output" | "-O" | "--output-document" => {
                            args.get(at + 1).map(|next| next.text.clone())
                        }
                        text if text.contains("://") => text.rsplit('/').next().map(str::to_owned),
                        text => text
                            .strip_prefix("-o")
                            .or_else(|| text.strip_prefix("--output="))
                            .map(str::to_owned),
                    };
                    if let Some(target) = target {
                        let target = self.named(&target);
                        self.replace_written(target, None);
                    }
                }
            }
            _ => {}
        }
    }

    /// Files that a command writes through its redirections, or through `tee`.
    pub(super) fn collect_written(&mut self, simple: &Simple, feed: &Feed) {
        let writes = simple.redirects.iter().any(|redirect| redirect.how == How::Write);
        if writes {
            let content = match self.output(&Node::Simple(simple.clone()), feed) {
                Feed::Text(text) => Some(text),
                _ => None,
            };
            for redirect in simple
                .redirects
                .iter()
                .filter(|redirect| redirect.how == How::Write)
            {
                self.wrote(redirect, content.clone());
            }
        }
        let tees = simple
            .words
            .first()
            .is_some_and(|word| matches!(&word.parts[..], [Part::Text { text, .. }] if text == "tee"));
        if tees {
            let content = match self.fed_by(simple, feed) {
                Feed::Text(text) => Some(text),
                _ => None,
            };
            for fields in expand::fields(&simple.words, self) {
                for field in fields.iter().skip(1).filter(|field| !field.text.starts_with('-')) {
                    let path = self.named(&field.text);
                    self.add_written(path, content.clone());
                }
            }
        }
    }

    /// What a command reads, its redirections considered.
    fn fed_by(&mut self, simple: &Simple, feed: &Feed) -> Feed {
        let mut feed = feed.clone();
        for redirect in &simple.redirects {
            match redirect.how {
                How::Text => {
                    feed = expand::texts(&redirect.to, self)
                        .into_iter()
                        .next()
                        .map_or(Feed::Dynamic, Feed::Text);
                }
                How::Read => {
                    feed = expand::texts(&redirect.to, self)
                        .into_iter()
                        .next()
                        .map_or(Feed::Dynamic, Feed::File);
                }
                How::Write | How::Same => {}
            }
        }
        feed
    }

    pub(super) fn wrote(&mut self, redirect: &Redirect, content: Option<String>) {
        for path in expand::texts(&redirect.to, self) {
            let path = self.named(&path);
            self.add_written(path, content.clone());
        }
    }

    /// A file written twice holds both: `>` and `>>` are not told apart, and either may come last.
    fn add_written(&mut self, path: String, content: Option<String>) {
        let joined = match (self.written.get(&path), content) {
            (Some(None), _) => return,
            (_, None) => None,
            (before, Some(content)) => {
                let piece = (path.clone(), content);
                if self.pieces.contains(&piece) {
                    return;
                }
                let joined = match before {
                    Some(Some(before)) => format!("{before}\n{}", piece.1),
                    _ => piece.1.clone(),
                };
                self.pieces.insert(piece);
                Some(joined)
            }
        };
        self.changes += 1;
        self.written.insert(path, joined);
    }

    /// A file that holds this and nothing else now.
    fn replace_written(&mut self, path: String, content: Option<String>) {
        self.pieces.retain(|(written, _)| *written != path);
        self.written.insert(path, content);
    }

    /// The text of a file, as far as it can be told, for what is copied or printed.
    fn text_of_file(&mut self, path: &str) -> Option<String> {
        let name = self.named(path);
        if let Some(written) = self.written.get(&name) {
            let text = written.clone()?;
            return self.affords(text.len()).then_some(text);
        }
        let bytes = (self.around.read_file)(&name)?;
        (bytes.len() <= LONGEST_SCRIPT).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// What a command prints, as far as that can be told without running it.
    pub(super) fn output(&mut self, node: &Node, feed: &Feed) -> Feed {
        match node {
            Node::Simple(simple) => {
                if self.budget == 0 {
                    return Feed::Dynamic;
                }
                self.budget -= 1;
                if prints_untold(simple) {
                    return Feed::Dynamic;
                }
                let feed = self.fed_by(simple, feed);
                let unset = self.met_unset;
                let mut readings = expand::fields(&simple.words, self);
                self.met_unset = unset;
                match readings.len() {
                    1 => self.prints_by(&readings.swap_remove(0), &feed),
                    _ => Feed::Dynamic,
                }
            }
            Node::Pipe(stages) => {
                let mut feed = feed.clone();
                for stage in stages {
                    feed = self.output(stage, &feed);
                }
                feed
            }
            Node::Block { nodes, .. } => {
                let mut all = String::new();
                for node in nodes {
                    match self.output(node, feed) {
                        Feed::Text(text) => all.push_str(&text),
                        other if nodes.len() == 1 => return other,
                        _ => return Feed::Dynamic,
                    }
                }
                Feed::Text(all)
            }
            Node::Redirected { body, .. } => self.output(body, feed),
            Node::For { .. } | Node::Function { .. } => Feed::Dynamic,
        }
    }

    fn prints_by(&mut self, fields: &[Field], feed: &Feed) -> Feed {
        let Some((name, args)) = fields.split_first() else {
            return Feed::Text(String::new());
        };
        let operands: Vec<&Field> = args.iter().filter(|arg| !arg.text.starts_with('-')).collect();
        let dashed = |letter: char| {
            args.iter()
                .any(|arg| arg.text.starts_with('-') && arg.text.contains(letter))
        };
        match program_of(&name.text).as_str() {
            "echo" => {
                let words: Vec<&str> = args
                    .iter()
                    .map(|arg| arg.text.as_str())
                    .skip_while(|text| ["-n", "-e", "-E", "-ne", "-en"].contains(text))
                    .collect();
                let text = words.join(" ");
                // Some shells read `\n` without being asked to.
                Feed::Text(match text.contains('\\') {
                    true => format!("{}\n", escapes(&text)),
                    false => format!("{text}\n"),
                })
            }
            "printf" => Feed::Text(printed(args)),
            "true" | ":" | "cd" | "export" | "set" | "mkdir" | "rm" | "chmod" | "touch" => {
                Feed::Text(String::new())
            }
            "cat" | "tee" | "head" | "tail" | "sort" | "uniq" | "tac"
                if name.text != "tee" && !operands.is_empty() =>
            {
                let mut all = String::new();
                for operand in operands {
                    match self.text_of_file(&operand.text) {
                        Some(text) if operand.known() => all.push_str(&text),
                        _ => return Feed::Dynamic,
                    }
                }
                // The bytes of a script that is fed to a shell are the script.
                for operand in args.iter().filter(|arg| !arg.text.starts_with('-')) {
                    let path = self.named(&operand.text);
                    if !self.written.contains_key(&path) {
                        self.read_script(&path);
                    }
                }
                Feed::Text(all)
            }
            "cat" | "tee" | "sort" | "uniq" | "tac" | "head" | "tail" => match feed {
                Feed::File(path) => {
                    let path = path.clone();
                    self.text_of_file(&path).map_or(Feed::Dynamic, Feed::Text)
                }
                Feed::Inherited if !self.stdin.is_empty() => {
                    Feed::Text(String::from_utf8_lossy(self.stdin).into_owned())
                }
                other => other.clone(),
            },
            "find" | "fd" => {
                let root = operands.first().map_or(".", |root| root.text.as_str());
                let root = match args.first() {
                    Some(first) if !first.text.starts_with('-') => root,
                    _ => ".",
                };
                Feed::Names(format!("{}/", root.trim_end_matches('/')))
            }
            "mktemp" => Feed::Names("/tmp/".into()),
            "pwd" => Feed::Text(".".into()),
            "basename" => Feed::Names(String::new()),
            "dirname" => match operands.first() {
                Some(path) if path.known() => Feed::Text(
                    path.text
                        .rsplit_once('/')
                        .map_or(".".to_owned(), |(folder, _)| folder.to_owned()),
                ),
                _ => Feed::Names("./".into()),
            },
            "ls" | "grep" | "rg" | "git" => {
                let lists = match name.text.as_str() {
                    "git" => {
                        if args
                            .iter()
                            .any(|arg| arg.text == "--show-toplevel" || arg.text == "--show-prefix")
                        {
                            return Feed::Text(".".into());
                        }
                        args.iter()
                            .any(|arg| ["ls-files", "--name-only"].contains(&arg.text.as_str()))
                    }
                    "ls" => true,
                    _ => dashed('l'),
                };
                let inside = operands
                    .iter()
                    .all(|operand| self.place(&operand.text) == places::Place::Inside);
                match lists && inside {
                    true => Feed::Names("./".into()),
                    false => Feed::Dynamic,
                }
            }
            "which" => operands
                .first()
                .map_or(Feed::Dynamic, |program| Feed::Text(program.text.clone())),
            "command" if dashed('v') => operands
                .first()
                .map_or(Feed::Dynamic, |program| Feed::Text(program.text.clone())),
            _ => Feed::Dynamic,
        }
    }

    /// A shell script by its path.
    pub(super) fn shell_script(&mut self, path: &str, args: &[String]) {
        self.run_script(path, args, false);
    }

    /// What `sourced` code sets stays set.
    fn run_script(&mut self, path: &str, args: &[String], sourced: bool) {
        match self.script_text(path) {
            Found::Text(text) => self.follow(path, &text, args, sourced),
            Found::Dynamic => self.unknown(
                "dynamic-code",
                format!("what this script holds is known only when it runs: {path}"),
            ),
            Found::Absent => self.absent(path),
        }
    }

    /// A program that is named by its path: what we built, or a script.
    pub(super) fn program_file(&mut self, path: &str, args: &[Field], fields: &[Field]) {
        let words: Vec<String> = args.iter().map(|arg| arg.text.clone()).collect();
        match self.script_text(path) {
            Found::Text(text) => match interpreter(&text, path) {
                Some(Language::Shell) => self.follow(path, &text, &words, false),
                Some(Language::Other) => self.source(path, &text),
                None => match self.place(path) {
                    places::Place::Inside => self.ordinary_command("own-program", fields),
                    _ => self.unknown("unknown", format!("no rule knows this: {}", shown(fields))),
                },
            },
            Found::Dynamic => self.unknown(
                "dynamic-code",
                format!("what this program is, is known only when it runs: {path}"),
            ),
            Found::Absent => self.absent(path),
        }
    }

    fn follow(&mut self, path: &str, text: &str, args: &[String], sourced: bool) {
        let name = self.named(path);
        if self.open_scripts.contains(&name) {
            return;
        }
        self.open_scripts.push(name);
        self.positional.push(args.to_vec());
        let cwd = self.cwd.clone();
        // A script has variables of its own, and may read those around it: what it sets must not reach back.
        let (vars, functions, aliases) = (self.vars.clone(), self.functions.clone(), self.aliases.clone());
        self.code(text, &Feed::Dynamic);
        if !sourced {
            (self.vars, self.functions, self.aliases) = (vars, functions, aliases);
            self.cwd = cwd;
        }
        self.positional.pop();
        self.open_scripts.pop();
        self.ordinary("script", path);
    }

    /// A script that is not there: it cannot run as things are. What its name says still counts.
    fn absent(&mut self, path: &str) {
        let name = path.trim_start_matches("./");
        if self.by_words_of_name(name, path) {
            return;
        }
        let file = name.rsplit('/').next().unwrap_or(name);
        let built = [
            "gradlew",
            "mvnw",
            "configure",
            "a.out",
            "manage.py",
            "setup.py",
            "activate",
            "bootstrap",
            "autogen.sh",
            "x.py",
        ];
        let folders = [
            "node_modules/.bin/",
            "target/",
            "build/",
            "bin/",
            "dist/",
            ".venv/",
            "venv/",
            "out/",
            "vendor/bin/",
            "_build/",
            "cmake-build",
        ];
        let work = [
            "build",
            "test",
            "tests",
            "lint",
            "check",
            "format",
            "fmt",
            "run",
            "dev",
            "start",
            "setup",
            "ci",
            "clean",
            "generate",
            "gen",
            "bench",
            "compile",
            "install",
            "coverage",
            "doc",
            "docs",
            "verify",
            "configure",
            "bootstrap",
            "watch",
            "typecheck",
            "e2e",
            "unit",
        ];
        let inside = self.place(path) == places::Place::Inside;
        let ordinary = built.contains(&file)
            || self.built.contains(&self.named(path))
            || folders.iter().any(|folder| name.starts_with(folder))
            || words::of(file).iter().any(|word| work.contains(&word.as_str()));
        match inside && ordinary {
            true => self.ordinary("own-program", path),
            false => self.unknown("unread-script", format!("this script could not be read: {path}")),
        }
    }

    /// Names that say what they do: `deploy.sh`, `release`, `publish`.
    pub(super) fn by_words_of_name(&mut self, name: &str, shown: &str) -> bool {
        let words = words::of(name.rsplit('/').next().unwrap_or(name));
        let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
        if has(&[
            "dry",
            "plan",
            "check",
            "test",
            "tests",
            "lint",
            "docs",
            "preview",
            "notes",
            "note",
            "changelog",
            "candidate",
        ]) {
            return false;
        }
        if has(&["deploy", "redeploy", "rollout", "rollback"]) {
            self.risky(Category::Deploy, "name-says-deploy", shown);
        } else if has(&["publish", "release", "push", "ship", "upload"]) {
            self.risky(Category::Publish, "name-says-publish", shown);
        } else {
            return false;
        }
        true
    }

    pub(super) fn script_text(&mut self, path: &str) -> Found {
        if path.contains(HOLE) {
            return Found::Dynamic;
        }
        if let Some(number) = path.strip_prefix(places::MADE) {
            let made = number
                .parse()
                .ok()
                .and_then(|number: usize| self.made.get(number).cloned());
            return made.flatten().map_or(Found::Dynamic, Found::Text);
        }
        let name = self.named(path);
        if let Some(written) = self.written.get(&name) {
            return written.clone().map_or(Found::Dynamic, Found::Text);
        }
        match self.read_script(&name) {
            Some(bytes) if bytes.len() > LONGEST_SCRIPT && bytes.starts_with(b"#!") => Found::Dynamic,
            Some(bytes) => {
                Found::Text(String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_SCRIPT)]).into_owned())
            }
            None => Found::Absent,
        }
    }
}

/// Programs whose output may be told.
const TOLD: [&str; 30] = [
    "echo", "printf", "true", ":", "cd", "export", "set", "mkdir", "rm", "chmod", "touch", "cat", "tee",
    "head", "tail", "sort", "uniq", "tac", "find", "fd", "mktemp", "pwd", "basename", "dirname", "ls",
    "grep", "rg", "git", "which", "command",
];

/// Whether the name of a command alone says that its output is known only when it runs. Nothing in it runs while its words are
/// worked out.
fn prints_untold(simple: &Simple) -> bool {
    let is_text = |part: &Part| matches!(part, Part::Text { .. });
    let text_alone = simple.words.iter().all(|word| word.parts.iter().all(is_text));
    match simple.words.first().map(|word| &word.parts[..]) {
        Some([Part::Text { text, .. }]) if !text.is_empty() && !text.contains('{') => {
            text_alone && simple.redirects.is_empty() && !TOLD.contains(&program_of(text).as_str())
        }
        _ => false,
    }
}

/// What is known of a script.
pub(super) enum Found {
    Text(String),
    /// The act itself writes it, and with what is known only when it runs.
    Dynamic,
    Absent,
}

enum Language {
    Shell,
    Other,
}

/// What reads a file that is started by its path; none for a program in machine code.
fn interpreter(text: &str, path: &str) -> Option<Language> {
    if let Some(line) = text.strip_prefix("#!") {
        let line = line.lines().next().unwrap_or_default();
        let shell = words::of(line)
            .iter()
            .any(|word| ["sh", "bash", "dash", "zsh", "ksh", "ash"].contains(&word.as_str()));
        return Some(if shell { Language::Shell } else { Language::Other });
    }
    if text.contains('\0') || text.starts_with('\u{7f}') {
        return None;
    }
    // Without a first line that says otherwise, the shell that starts it reads it.
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("py" | "js" | "mjs" | "cjs" | "ts" | "rb" | "pl" | "php" | "lua") => Some(Language::Other),
        _ => Some(Language::Shell),
    }
}

/// What `printf` prints: `%s` and its sisters replaced in turn.
fn printed(args: &[Field]) -> String {
    let mut args = args
        .iter()
        .map(|arg| arg.text.as_str())
        .skip_while(|text| *text == "--");
    let Some(format) = args.next() else {
        return String::new();
    };
    let rest: Vec<&str> = args.collect();
    let mut out = String::new();
    let mut values = rest.iter();
    for _ in 0..64 {
        let before = values.len();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            match chars.find(|c| !(c.is_ascii_digit() || ".-+# ".contains(*c))) {
                Some('%') => out.push('%'),
                Some(_) => out.push_str(values.next().unwrap_or(&"")),
                None => {}
            }
        }
        if values.len() == 0 || values.len() == before {
            break;
        }
    }
    escapes(&out)
}

/// `\n`, `\t`, `\x41`, `\101` as `echo -e` and `printf` read them.
fn escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (radix, longest) = match chars.peek() {
            Some('x') => (16, 2),
            Some('0'..='7') => (8, 3),
            _ => (0, 0),
        };
        if radix > 0 {
            out.push(numbered(&mut chars, radix, longest).unwrap_or(HOLE));
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('c') => break,
            Some('\\') => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}
