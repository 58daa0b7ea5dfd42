//! One command: what its name means here, what it starts, and what the rules say.

use std::rc::Rc;

use super::{DEEPEST, Feed, Walk, brief};
use crate::decision::{Category, Verdict};
use crate::shell::expand::{Field, HOLE};

/// Programs that read shell code.
const SHELLS: [&str; 11] = [
    "sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "fish", "rbash", "yash", "posh",
];

/// Programs that fetch a package and start it.
const FETCHES: [&str; 7] = ["npx", "bunx", "pnpx", "npm", "pnpm", "yarn", "bun"];

/// Folders in which programs lie that a name alone would find.
const PROGRAM_FOLDERS: [&str; 12] = [
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/opt/homebrew/bin/",
    "/opt/local/bin/",
    "/snap/bin/",
    "/usr/local/go/bin/",
    "~/.cargo/bin/",
    "~/.local/bin/",
];

impl Walk<'_> {
    /// Judges a command and everything it starts.
    pub(super) fn invoke(&mut self, fields: &[Field], feed: &Feed) {
        let Some((name, args)) = fields.split_first() else {
            return;
        };
        if self.depth >= DEEPEST {
            return self.unknown(
                "too-deep",
                "commands that start commands, too deep to be followed",
            );
        }
        if self.budget == 0 {
            return self.unknown("too-long", "more commands than are followed in one act");
        }
        self.budget -= 1;
        self.depth += 1;
        self.named_command(&name.text, name.glob, args, fields, feed);
        self.depth -= 1;
    }

    fn named_command(&mut self, name: &str, globbed: bool, args: &[Field], fields: &[Field], feed: &Feed) {
        if name.is_empty() {
            return;
        }
        if let Some(body) = self.functions.get(name).cloned() {
            return self.function(&body, args, feed);
        }
        if let Some(alias) = self.aliases.get(name).cloned()
            && !self.open_scripts.contains(&format!("alias {name}"))
        {
            self.open_scripts.push(format!("alias {name}"));
            let line = std::iter::once(alias).chain(args.iter().map(|arg| quoted(&arg.text)));
            let line: Vec<String> = line.collect();
            self.code(&line.join(" "), feed);
            self.open_scripts.pop();
            return;
        }
        let program = program_of(name);
        if program.contains(HOLE) || program.is_empty() || (globbed && program.contains(['*', '?', '['])) {
            self.operands_read(&program, args);
            return self.unknown(
                "dynamic-program",
                format!(
                    "which program this is, is known only when it runs: {}",
                    shown(fields)
                ),
            );
        }
        let path = name.contains('/')
            && !PROGRAM_FOLDERS
                .iter()
                .any(|folder| name.strip_prefix(folder).is_some_and(|rest| !rest.contains('/')));
        let judged = self.judge(&program, args, fields, feed, path);
        if path && !judged {
            self.program_file(name, args, fields);
        }
    }

    /// Looks at a program by its name: what it starts, what it reads and writes, and the rules about it. Tells whether the
    /// name settled it; the file of a program that is named by its path is looked at otherwise.
    fn judge(&mut self, program: &str, args: &[Field], fields: &[Field], feed: &Feed, path: bool) -> bool {
        let policy = self.policy;
        let (users, own) = policy.rules_for(program, args);
        if let Some(rule) = users {
            self.by_rule(rule, &shown(fields));
            // What a goal forbids, it forbids all the same.
            if let Some(category) = own.and_then(|rule| rule.category)
                && self.around.forbidden.contains(&category)
            {
                self.risky(category, "goal", shown(fields));
            }
            return true;
        }
        if !quiet_git(program, args) {
            self.operands_read(program, args);
        }
        self.operands_written(program, args, fields);
        if self.migrates_production(program, args) {
            self.risky(
                Category::ChangeProductionData,
                "production-migration",
                shown(fields),
            );
            return true;
        }
        if let Some(rule) = own
            && rule.verdict != Verdict::Allow
            && !downloads(program, args)
        {
            self.by_rule(rule, &shown(fields));
            // What it wraps counts as well.
            self.starts(program, args, feed);
            return true;
        }
        if self.starts(program, args, feed) || self.special(program, args, fields, feed) {
            return true;
        }
        match own {
            // A file of this name in some folder need not be the program that the rule means.
            Some(_) if path => false,
            Some(rule) => {
                self.ordinary_command(&rule.name, fields);
                true
            }
            None if path => false,
            None => {
                self.unknown("unknown", format!("no rule knows this: {}", shown(fields)));
                true
            }
        }
    }

    fn function(&mut self, body: &Rc<Vec<crate::shell::ast::Node>>, args: &[Field], feed: &Feed) {
        self.positional
            .push(args.iter().map(|arg| arg.text.clone()).collect());
        self.nodes(body, feed);
        self.positional.pop();
    }

    /// Programs whose arguments or input are commands. Tells whether this was one.
    fn starts(&mut self, program: &str, args: &[Field], feed: &Feed) -> bool {
        if SHELLS.contains(&program) {
            self.shell(args, feed);
            return true;
        }
        if self.builtin(program, args, feed) {
            return true;
        }
        if program == "env" || program == "npx" || program == "npm" || program == "bunx" {
            // An argument that is a whole line.
            let options: &[&str] = match program {
                "env" => &["-S", "--split-string"],
                _ => &["-c", "--call"],
            };
            for (at, arg) in args.iter().enumerate() {
                let line = options
                    .iter()
                    .find_map(|option| match arg.text.strip_prefix(option) {
                        Some("") => args.get(at + 1).map(|next| next.text.clone()),
                        Some(rest) => Some(rest.trim_start_matches('=').to_owned()),
                        None => None,
                    });
                if let Some(line) = line {
                    let rest = args
                        .get(at + 2..)
                        .unwrap_or_default()
                        .iter()
                        .map(|arg| quoted(&arg.text));
                    let words: Vec<String> = std::iter::once(line).chain(rest).collect();
                    self.code(&words.join(" "), feed);
                    return true;
                }
                if !arg.text.starts_with('-') && !is_assignment(&arg.text) && arg.text != "exec" {
                    break;
                }
            }
        }
        let Some(wrapper) = self.policy.wrappers.get(program) else {
            return false;
        };
        let (mut at, mut operands, mut begun) = (0, 0, wrapper.words.is_empty());
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            if text == "--" && begun {
                at += 1;
                break;
            }
            if !begun {
                // `uv run`, `npm exec`: the word that makes it one.
                begun = wrapper.words.iter().any(|word| word == text);
                if !begun && !text.starts_with('-') {
                    return false;
                }
                at += match self.policy.takes_value(program, text) && !begun {
                    true => 2,
                    false => 1,
                };
            } else if text.starts_with('-') && text.len() > 1 {
                let (bare, valued) = match text.split_once('=') {
                    Some((bare, _)) if text.starts_with("--") => (bare, true),
                    _ => (text, false),
                };
                at += if wrapper.with_value.contains(bare) && !valued {
                    2
                } else {
                    1
                };
            } else if wrapper.assignments && is_assignment(text) {
                let (name, value) = text.split_once('=').unwrap_or_default();
                self.variable_runs(name, value);
                self.vars
                    .entry(name.to_owned())
                    .or_default()
                    .push(vec![value.to_owned()]);
                self.sets += 1;
                at += 1;
            } else if operands < wrapper.operands {
                operands += 1;
                at += 1;
            } else {
                break;
            }
        }
        if !begun {
            return false;
        }
        match args.get(at..) {
            Some([package, rest @ ..]) if FETCHES.contains(&program) => {
                let inner: Vec<Field> = [without_version(package)]
                    .into_iter()
                    .chain(rest.iter().cloned())
                    .collect();
                self.invoke(&inner, feed);
            }
            Some(inner) if !inner.is_empty() => self.invoke(inner, feed),
            // `env`, `sudo -v`: the rules about the program itself speak.
            _ => return false,
        }
        if program == "sudo" || program == "doas" || program == "pkexec" {
            self.unknown("privilege", format!("{program} {}", shown(args)));
        }
        true
    }

    /// `sh -c CODE`, `sh SCRIPT`, or `sh` with code on its standard input.
    fn shell(&mut self, args: &[Field], feed: &Feed) {
        let (mut code, mut input, mut at) = (false, false, 0);
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            if text == "--" || text == "-" {
                at += 1;
                break;
            }
            let option = text.starts_with(['-', '+']) && text.len() > 1;
            if !option {
                break;
            }
            if text == "--rcfile" || text == "--init-file" {
                if let Some(file) = args.get(at + 1) {
                    self.shell_script(&file.text.clone(), &[]);
                }
                at += 2;
                continue;
            }
            if text == "--command" {
                code = true;
            } else if !text.starts_with("--") {
                code |= text.contains('c') && text.starts_with('-');
                input |= text.contains('s') && text.starts_with('-');
                if text.ends_with(['o', 'O']) {
                    at += 1;
                }
            }
            at += 1;
        }
        let rest = args.get(at..).unwrap_or_default();
        let words =
            |from: usize| -> Vec<String> { rest.iter().skip(from).map(|arg| arg.text.clone()).collect() };
        match (code, rest.first()) {
            (true, Some(text)) => {
                // `$0` is the word behind the code, and `$@` begins after it. Both ways, since code may use `$0`.
                self.positional.push(words(2));
                if let Some(zero) = rest.get(1) {
                    self.vars
                        .entry("0".into())
                        .or_default()
                        .push(vec![zero.text.clone()]);
                }
                let text = text.text.clone();
                self.code(&text, feed);
                self.positional.pop();
            }
            (false, _) if input => {
                self.positional.push(words(0));
                self.fed_code(feed);
                self.positional.pop();
            }
            (true, None) => self.unknown("dynamic-code", "a shell that is to run code, without any"),
            (false, Some(file)) if file.text == "/dev/stdin" => self.fed_code(feed),
            (false, Some(file)) => self.shell_script(&file.text.clone(), &words(1)),
            (false, None) => {
                let asks = args
                    .iter()
                    .any(|arg| ["--version", "--help"].contains(&arg.text.as_str()));
                match asks {
                    true => self.ordinary("ordinary", "a shell tells about itself"),
                    false => self.fed_code(feed),
                }
            }
        }
    }

    /// Code on standard input.
    pub(super) fn fed_code(&mut self, feed: &Feed) {
        match feed {
            Feed::Text(text) => self.code(&text.clone(), &Feed::Dynamic),
            Feed::File(path) => self.shell_script(&path.clone(), &[]),
            Feed::Inherited if self.stdin.is_empty() => {
                self.ordinary("nothing-to-run", "a shell with nothing to read")
            }
            Feed::Inherited => {
                let text = String::from_utf8_lossy(self.stdin).into_owned();
                self.code(&text, &Feed::Dynamic);
            }
            Feed::Names(_) | Feed::Dynamic => {
                self.unknown("dynamic-code", "a shell runs what another command prints")
            }
        }
    }
}

/// Subcommands of git that take the name of a file and do not show what is in it.
fn quiet_git(program: &str, args: &[Field]) -> bool {
    const QUIET: [&str; 14] = [
        "check-ignore",
        "ls-files",
        "status",
        "rm",
        "checkout",
        "restore",
        "stash",
        "clean",
        "branch",
        "commit",
        "config",
        "clone",
        "fetch",
        "remote",
    ];
    let first = args.iter().find(|arg| !arg.text.starts_with('-'));
    program == "git" && first.is_some_and(|first| QUIET.contains(&first.text.as_str()))
}

/// A copy from a cloud to a file here: it changes nothing there.
fn downloads(program: &str, args: &[Field]) -> bool {
    let operands: Vec<&str> = args
        .iter()
        .map(|arg| arg.text.as_str())
        .filter(|text| !text.starts_with('-'))
        .collect();
    let copies = operands.iter().any(|word| ["cp", "sync", "rsync"].contains(word));
    let remote = operands.iter().filter(|word| word.contains("://")).count();
    let here = operands
        .last()
        .is_some_and(|last| !last.contains("://") && !last.contains(HOLE));
    ["aws", "gsutil", "gcloud"].contains(&program)
        && copies
        && remote > 0
        && here
        && !args.iter().any(|arg| arg.text == "--delete")
}

/// `name@1.2`, as programs that fetch what they start are told it, is the program `name`.
fn without_version(package: &Field) -> Field {
    let begins = package.text.rfind('/').map_or(0, |at| at + 1);
    match package.text[begins..].split_once('@') {
        Some((name, _)) if !name.is_empty() => Field::new(format!("{}{name}", &package.text[..begins])),
        _ => package.clone(),
    }
}

/// The name of a program: without folders, and without what other systems put behind.
pub(super) fn program_of(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name
        .strip_suffix(".exe")
        .or_else(|| name.strip_suffix(".cmd"))
        .unwrap_or(name);
    name.to_owned()
}

/// `NAME=VALUE`
pub(super) fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// A word as the shell would read it back.
pub(super) fn quoted(text: &str) -> String {
    // A hole is left open: it is replaced by an expansion.
    match text.contains(HOLE) {
        true => format!("\"{}\"", text.replace('"', "\\\"")),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A command for a person.
pub(super) fn shown(fields: &[Field]) -> String {
    let mut line = String::new();
    for field in fields {
        if line.len() > 200 {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&field.text);
    }
    brief(&line)
}

impl Walk<'_> {
    /// A migration or another change of a database, in an environment that is called production.
    fn migrates_production(&mut self, program: &str, args: &[Field]) -> bool {
        const ENVIRONMENTS: [&str; 11] = [
            "RAILS_ENV",
            "RACK_ENV",
            "NODE_ENV",
            "APP_ENV",
            "MIX_ENV",
            "ENV",
            "ENVIRONMENT",
            "DJANGO_SETTINGS_MODULE",
            "FLASK_ENV",
            "DATABASE_URL",
            "STAGE",
        ];
        const CHANGES: [&str; 18] = [
            "migrate",
            "migration",
            "migrations",
            "db",
            "rollback",
            "seed",
            "upgrade",
            "downgrade",
            "loaddata",
            "flush",
            "sqlflush",
            "dbshell",
            "reset",
            "drop",
            "truncate",
            "refresh",
            "fresh",
            "ecto",
        ];
        let tools = [
            "rails",
            "rake",
            "python",
            "python3",
            "manage.py",
            "django-admin",
            "flask",
            "alembic",
            "knex",
            "sequelize",
            "sequelize-cli",
            "typeorm",
            "prisma",
            "drizzle-kit",
            "php",
            "artisan",
            "mix",
            "diesel",
            "sqlx",
            "sea-orm-cli",
            "dotnet",
            "node",
            "npm",
            "yarn",
            "pnpm",
            "make",
            "bundle",
            "npx",
            "aerich",
            "dbmate",
            "goose",
            "hanami",
            "phinx",
            "doctrine",
            "mikro-orm",
        ];
        let changes = |arg: &Field| {
            !arg.text.starts_with('-')
                && crate::words::of(&arg.text)
                    .iter()
                    .any(|word| CHANGES.contains(&word.as_str()))
        };
        if !tools.contains(&program) || !args.iter().take(4).any(changes) {
            return false;
        }
        self.looked = true;
        let named = |value: &str| self.policy.is_production(value);
        args.iter().any(|arg| named(&arg.text))
            || ENVIRONMENTS.iter().any(|name| {
                let own = self.vars.get(*name).into_iter().flatten().flatten();
                own.chain(self.env.get(*name)).any(|value| named(value))
            })
    }

    /// Secrets among the arguments.
    fn operands_read(&mut self, program: &str, args: &[Field]) {
        if self.policy.secrets.not_reading.contains(program) {
            return;
        }
        // The first operand of these is a pattern, not a file.
        let searches = [
            "grep", "egrep", "fgrep", "rg", "ag", "ack", "sed", "awk", "gawk", "jq", "yq", "perl",
        ]
        .contains(&program);
        let patterned = args
            .iter()
            .any(|arg| ["-e", "-f", "--regexp", "--file"].contains(&arg.text.as_str()));
        let mut pattern_ahead = searches && !patterned;
        let into = ["cp", "install", "ln", "mv"].contains(&program);
        let last = args.len().saturating_sub(1);
        let mut skip = false;
        for (at, arg) in args.iter().enumerate() {
            let text = arg.text.as_str();
            if std::mem::take(&mut skip) {
                continue;
            }
            if text.starts_with('-') {
                if text.starts_with("--exclude") || text.starts_with("--ignore") || text.starts_with("--glob")
                {
                    skip = !text.contains('=');
                } else if ["-m", "--message", "-am", "--title", "--body", "-e", "--regexp"].contains(&text) {
                    skip = true;
                } else if let Some((_, value)) = text.split_once('=') {
                    self.reads_file(value, arg.glob, program);
                } else if text.len() > 2 && !text.starts_with("--") {
                    // `-i~/.ssh/key`, `-d@file`
                    self.reads_file(
                        &text[text.char_indices().nth(2).map_or(text.len(), |(at, _)| at)..],
                        arg.glob,
                        program,
                    );
                }
                continue;
            }
            if std::mem::take(&mut pattern_ahead) || (into && at == last) {
                continue;
            }
            for piece in pieces(text) {
                self.reads_file(piece, arg.glob, program);
            }
        }
    }

    /// Programs that change the files they are given.
    fn operands_written(&mut self, program: &str, args: &[Field], fields: &[Field]) {
        let plain = || args.iter().filter(|arg| !arg.text.starts_with('-'));
        match program {
            "rm" | "rmdir" | "unlink" | "shred" => {
                for arg in plain() {
                    self.removes_file(arg, program);
                }
            }
            "tee" | "touch" | "mkdir" | "truncate" | "mkfifo" => {
                for arg in plain() {
                    self.writes_file(&arg.text, program);
                }
            }
            "chmod" | "chown" | "chgrp" => {
                for arg in plain().skip(1) {
                    self.writes_file(&arg.text, program);
                }
            }
            "cp" | "ln" | "install" => {
                if let Some(arg) = plain().next_back() {
                    self.writes_file(&arg.text, program);
                }
            }
            "mv" => {
                for arg in plain() {
                    self.writes_file(&arg.text, program);
                }
            }
            "dd" => {
                for arg in args {
                    if let Some(path) = arg.text.strip_prefix("of=") {
                        self.writes_file(path, program);
                    }
                    if let Some(path) = arg.text.strip_prefix("if=") {
                        self.reads_file(path, false, program);
                    }
                }
            }
            "sed"
                if args
                    .iter()
                    .any(|arg| arg.text.starts_with("-i") || arg.text.starts_with("--in-place")) =>
            {
                for arg in plain().skip(1) {
                    self.writes_file(&arg.text, &shown(&fields[..1]));
                }
            }
            _ => {}
        }
    }
}

/// The paths that an operand may hold: itself, and what stands behind `@`, `=` and `:`.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let url = text.contains("://");
    let behind = move |sign: char| text.split_once(sign).map(|(_, rest)| rest).filter(|_| !url);
    let before = text.split_once(':').map(|(before, _)| before).filter(|_| !url);
    std::iter::once(text)
        .chain(behind('@'))
        .chain(behind('='))
        .chain(behind(':'))
        .chain(before)
}
