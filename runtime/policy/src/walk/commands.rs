//! Programs that need more than a pattern: `find`, `xargs`, `git`, interpreters, clients of the network and of databases.

use super::command::{quoted, shown};
use super::{Feed, Walk, places};
use crate::decision::Category;
use crate::shell::expand::{Field, HOLE};

/// Settings of git that scripts make for the whole account, and that run nothing.
const PERSONAL: [&str; 5] = [
    "user.name",
    "user.email",
    "safe.directory",
    "init.defaultbranch",
    "core.autocrlf",
];

/// Most words of a pipe that are given to `xargs`.
const MOST_ARGUMENTS: usize = 200;

impl Walk<'_> {
    /// Looks at a program that is known by more than patterns. Tells whether that settled it.
    pub(super) fn special(&mut self, program: &str, args: &[Field], fields: &[Field], feed: &Feed) -> bool {
        match program {
            "find" | "fd" | "fdfind" => self.find(program, args),
            "xargs" => self.xargs(args, feed),
            "parallel" => self.parallel(args, feed),
            "git" => return self.git(args),
            "env" | "printenv" => self.environment_shown(program, args),
            "echo" | "printf" | "test" | "[" | "true" | "false" | ":" => {
                self.ordinary_command("ordinary", fields)
            }
            "curl" => self.curl(args, fields),
            "wget" => self.wget(args, fields),
            "http" | "https" | "xh" | "httpie" => self.httpie(args, fields),
            "nc" | "ncat" | "netcat" | "socat" | "telnet" => self.raw_connection(program, args, fields),
            "ssh" | "mosh" | "autossh" | "sshpass" => self.ssh(program, args, fields),
            "scp" | "rsync" | "sftp" | "rclone" => return self.remote_copy(program, args, fields),
            "psql" | "pgcli" | "mysql" | "mariadb" | "mycli" | "sqlite3" | "duckdb" | "mongosh" | "mongo"
            | "redis-cli" | "clickhouse-client" | "cqlsh" | "sqlcmd" | "mysqladmin" | "mysqlimport"
            | "mongorestore" | "pg_restore" | "dropdb" | "createdb" => {
                self.database(program, args, fields, feed);
            }
            "make" | "gmake" | "just" | "task" | "rake" | "invoke" | "mage" | "ninja" => {
                return self.runner(program, args, fields);
            }
            "npm" | "pnpm" | "yarn" | "bun" => return self.package_script(program, args, fields),
            "at" | "batch" => self.fed_code(feed),
            "crontab" if args.len() == 1 && args[0].text == "-l" => self.ordinary_command("ordinary", fields),
            "crontab" => self.unknown("runs-later", shown(fields)),
            "tmux" | "screen" => self.terminal(args),
            "su" | "runuser" | "script" | "watch" | "concurrently" | "npm-run-all" | "nix-shell"
            | "flock" | "entr" | "hyperfine" | "nix" => {
                return self.takes_line(program, args);
            }
            "docker" | "podman" | "nerdctl" | "kubectl" => return self.container(args),
            "kill" => self.kill(args, fields),
            "busybox" | "toybox" => match args.is_empty() {
                true => self.ordinary("ordinary", program),
                false => self.invoke(args, feed),
            },
            "sed" => return self.sed(args),
            "awk" | "gawk" | "mawk" | "nawk" => return self.awk(args, fields),
            "vim" | "vi" | "nvim" | "ex" | "ed" | "emacs" => return self.editor(args, feed),
            "tar" => return self.tar(args),
            _ => return self.interpreter(program, args, fields, feed),
        }
        true
    }

    fn find(&mut self, program: &str, args: &[Field]) {
        let roots: Vec<&Field> = args
            .iter()
            .take_while(|arg| !arg.text.starts_with(['-', '(', '!']))
            .collect();
        let root = roots.first().map_or("./", |root| root.text.as_str());
        // What is found has the name that is looked for, as far as that is given.
        let named = args
            .iter()
            .position(|arg| arg.text == "-name" || arg.text == "-iname");
        let named = named
            .and_then(|at| args.get(at + 1))
            .map(|named| named.text.replace(['*', '?'], "\0"));
        let name = match named {
            Some(named) => format!("{}/{HOLE}/{named}", root.trim_end_matches('/')),
            None => format!("{}/{HOLE}", root.trim_end_matches('/')),
        };
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            match arg.text.as_str() {
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec" | "--exec-batch" => {
                    let inner = args[at + 1..]
                        .iter()
                        .take_while(|arg| arg.text != ";" && arg.text != "+");
                    let inner: Vec<Field> = inner
                        .map(|arg| match arg.text.contains("{}") {
                            true => Field::new(arg.text.replace("{}", &name)),
                            false => arg.clone(),
                        })
                        .collect();
                    at += inner.len();
                    self.invoke(&inner, &Feed::Inherited);
                }
                "-delete" => {
                    for root in &roots {
                        self.removes_file(root, "find -delete");
                    }
                }
                "-fprint" | "-fprintf" | "-fls" => {
                    if let Some(file) = args.get(at + 1) {
                        self.writes_file(&file.text.clone(), program);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        self.ordinary("ordinary", program);
    }

    fn xargs(&mut self, args: &[Field], feed: &Feed) {
        let with_value = [
            "-n",
            "-P",
            "-L",
            "-s",
            "-d",
            "-a",
            "-E",
            "-I",
            "-J",
            "-R",
            "--max-args",
            "--max-procs",
            "--delimiter",
            "--arg-file",
            "--max-lines",
        ];
        let (mut at, mut replaced) = (0, None);
        while let Some(arg) = args
            .get(at)
            .filter(|arg| arg.text.starts_with('-') && arg.text.len() > 1)
        {
            let text = arg.text.as_str();
            if text == "--" {
                at += 1;
                break;
            }
            if text == "-I" || text == "-J" {
                replaced = args.get(at + 1).map(|next| next.text.clone());
            } else if let Some(sign) = text
                .strip_prefix("-I")
                .or_else(|| text.strip_prefix("--replace="))
            {
                replaced = Some(sign.to_owned());
            } else if text == "-i" || text == "--replace" {
                replaced = Some("{}".into());
            }
            at += if with_value.contains(&text) { 2 } else { 1 };
        }
        let inner = args.get(at..).unwrap_or_default();
        if inner.is_empty() {
            return self.ordinary("ordinary", "xargs");
        }
        let words: Vec<Field> = match feed {
            Feed::Text(text) => text
                .split_whitespace()
                .take(MOST_ARGUMENTS)
                .map(|word| Field::new(word.trim_matches(['"', '\''])))
                .collect(),
            Feed::Names(place) => vec![Field::new(format!("{place}{HOLE}"))],
            _ => vec![Field::new(HOLE.to_string())],
        };
        match replaced.filter(|sign| !sign.is_empty()) {
            Some(sign) => {
                // A line at a time then.
                let lines: Vec<Field> = match feed {
                    Feed::Text(text) => text.lines().map(Field::new).collect(),
                    _ => words,
                };
                for word in lines.iter().take(20) {
                    let inner: Vec<Field> = inner
                        .iter()
                        .map(|arg| match arg.text.contains(&sign) {
                            true => Field::new(arg.text.replace(&sign, &word.text)),
                            false => arg.clone(),
                        })
                        .collect();
                    self.invoke(&inner, &Feed::Dynamic);
                }
            }
            None => {
                let all: Vec<Field> = inner.iter().chain(&words).cloned().collect();
                self.invoke(&all, &Feed::Dynamic);
            }
        }
    }

    fn parallel(&mut self, args: &[Field], feed: &Feed) {
        let cut = args
            .iter()
            .position(|arg| arg.text.starts_with(":::"))
            .unwrap_or(args.len());
        let (before, after) = args.split_at(cut);
        let with_value = [
            "-j",
            "--jobs",
            "-N",
            "-n",
            "--results",
            "--joblog",
            "--colsep",
            "-S",
            "--timeout",
            "-a",
        ];
        let mut at = 0;
        while before.get(at).is_some_and(|arg| arg.text.starts_with('-')) {
            at += if with_value.contains(&before[at].text.as_str()) {
                2
            } else {
                1
            };
        }
        let command: Vec<&str> = before
            .get(at..)
            .unwrap_or_default()
            .iter()
            .map(|arg| arg.text.as_str())
            .collect();
        let command = command.join(" ");
        let mut given: Vec<String> = after.iter().skip(1).map(|arg| arg.text.clone()).collect();
        match feed {
            Feed::Text(text) if given.is_empty() => given.extend(text.lines().map(str::to_owned)),
            _ if given.is_empty() => given.push(HOLE.to_string()),
            _ => {}
        }
        for word in given.iter().take(20) {
            let line = match command.contains("{}") {
                true => command.replace("{}", word),
                false if command.is_empty() => word.clone(),
                false => format!("{command} {word}"),
            };
            self.code(&line, &Feed::Dynamic);
        }
    }

    fn environment_shown(&mut self, program: &str, args: &[Field]) {
        let names: Vec<&str> = args
            .iter()
            .map(|arg| arg.text.as_str())
            .filter(|text| !text.starts_with('-') && !text.contains('='))
            .collect();
        if names.is_empty() {
            return self.risky(
                Category::ReadSecrets,
                "environment-shown",
                format!("{program} prints the environment"),
            );
        }
        for name in names {
            self.secret_variable(name);
        }
        self.ordinary("ordinary", program);
    }

    /// `git`, as far as its own arguments and configuration name programs. What a subcommand does is for the rules.
    fn git(&mut self, args: &[Field]) -> bool {
        let mut at = 0;
        let mut aliases: Vec<(String, String)> = Vec::new();
        while let Some(arg) = args.get(at).filter(|arg| arg.text.starts_with('-')) {
            let text = arg.text.clone();
            if text == "-c" || text == "--config-env" {
                if let Some((key, value)) = args.get(at + 1).and_then(|next| next.text.split_once('=')) {
                    aliases.extend(self.git_setting(key, value));
                }
                at += 2;
            } else {
                at += if self.policy.takes_value("git", &text) && !text.contains('=') {
                    2
                } else {
                    1
                };
            }
        }
        let Some((sub, rest)) = args.get(at..).and_then(<[Field]>::split_first) else {
            return false;
        };
        if let Some((_, value)) = aliases.into_iter().find(|(name, _)| *name == sub.text) {
            match value.strip_prefix('!') {
                Some(code) => {
                    let words: Vec<String> = rest.iter().map(|arg| quoted(&arg.text)).collect();
                    self.code(&format!("{code} {}", words.join(" ")), &Feed::Dynamic);
                }
                None => {
                    let words: Vec<String> = rest.iter().map(|arg| quoted(&arg.text)).collect();
                    self.code(&format!("git {value} {}", words.join(" ")), &Feed::Dynamic);
                }
            }
            return true;
        }
        let value_of = |names: &[&str]| -> Vec<String> {
            let mut values = Vec::new();
            for (at, arg) in rest.iter().enumerate() {
                for name in names {
                    match arg.text.strip_prefix(name) {
                        Some("") => values.extend(rest.get(at + 1).map(|next| next.text.clone())),
                        Some(value) if name.starts_with("--") => {
                            values.extend(value.strip_prefix('=').map(str::to_owned))
                        }
                        _ => {}
                    }
                }
            }
            values
        };
        let codes = match sub.text.as_str() {
            "rebase" => value_of(&["-x", "--exec"]),
            "filter-branch" => value_of(&[
                "--tree-filter",
                "--index-filter",
                "--msg-filter",
                "--env-filter",
                "--commit-filter",
                "--parent-filter",
            ]),
            "difftool" | "mergetool" => value_of(&["-x", "--extcmd"]),
            "clone" | "fetch" | "pull" | "ls-remote" => {
                for arg in rest.iter().filter(|arg| arg.text.starts_with("ext::")) {
                    self.code(arg.text.trim_start_matches("ext::"), &Feed::Dynamic);
                }
                for setting in value_of(&["-c", "--config"]) {
                    if let Some((key, value)) = setting.split_once('=') {
                        self.git_setting(key, value);
                    }
                }
                value_of(&["--upload-pack", "-u"])
                    .into_iter()
                    .filter(|code| sub.text != "fetch" || !code.is_empty())
                    .collect()
            }
            "bisect" if rest.first().is_some_and(|arg| arg.text == "run") => {
                self.invoke(&rest[1..], &Feed::Dynamic);
                Vec::new()
            }
            "submodule" if rest.iter().any(|arg| arg.text == "foreach") => {
                let inner = rest
                    .iter()
                    .skip_while(|arg| arg.text != "foreach")
                    .skip(1)
                    .filter(|arg| !arg.text.starts_with("--"));
                let inner: Vec<&str> = inner.map(|arg| arg.text.as_str()).collect();
                vec![inner.join(" ")]
            }
            "config" => {
                let words: Vec<&str> = rest
                    .iter()
                    .map(|arg| arg.text.as_str())
                    .filter(|text| !text.starts_with('-') && *text != "set")
                    .collect();
                if let [key, value, ..] = words[..] {
                    let has = |option| rest.iter().any(|arg| arg.text == option);
                    let own = PERSONAL.contains(&key.to_ascii_lowercase().as_str());
                    if has("--system") || has("--global") && !own {
                        self.unknown(
                            "outside-workspace",
                            format!("git config --global {key} changes every repository"),
                        );
                    }
                    self.git_setting(key, value);
                }
                Vec::new()
            }
            "grep" => value_of(&["-O", "--open-files-in-pager"]),
            _ => Vec::new(),
        };
        for code in codes {
            self.code(&code, &Feed::Dynamic);
        }
        false
    }

    /// A setting of git that names a program. Gives back an alias.
    fn git_setting(&mut self, key: &str, value: &str) -> Option<(String, String)> {
        let key = key.to_ascii_lowercase();
        if let Some(name) = key.strip_prefix("alias.") {
            if let Some(code) = value.strip_prefix('!') {
                self.code(code, &Feed::Dynamic);
            } else {
                self.code(&format!("git {value}"), &Feed::Dynamic);
            }
            return Some((name.to_owned(), value.to_owned()));
        }
        let runs = [
            "core.sshcommand",
            "core.pager",
            "core.editor",
            "core.fsmonitor",
            "core.gitproxy",
            "core.askpass",
            "sequence.editor",
            "diff.external",
            "credential.helper",
        ];
        let ends = [
            ".helper",
            ".textconv",
            ".cmd",
            ".command",
            ".clean",
            ".smudge",
            ".process",
            ".driver",
            ".uploadpack",
            ".receivepack",
            ".editor",
        ];
        if runs.contains(&key.as_str())
            || ends.iter().any(|end| key.ends_with(end))
            || key.starts_with("pager.")
        {
            let value = value.trim_start_matches('!');
            if !value.is_empty() && !["true", "false", "cat", "less"].contains(&value) {
                self.code(value, &Feed::Dynamic);
            }
        } else if key == "core.hookspath" && value != "/dev/null" {
            self.unknown("git-hooks", format!("git would run the hooks in {value}"));
        }
        None
    }

    fn terminal(&mut self, args: &[Field]) {
        for arg in args.iter().filter(|arg| arg.text.contains(' ')) {
            self.code(&arg.text.clone(), &Feed::Dynamic);
        }
        // Where the command begins depends on options that we do not know.
        let only_risky = std::mem::replace(&mut self.only_risky, true);
        for from in 0..args.len().min(6) {
            if !args[from].text.starts_with('-') {
                self.invoke(&args[from..], &Feed::Dynamic);
            }
        }
        self.only_risky = only_risky;
        self.unknown("unknown", format!("no rule knows this: {}", shown(args)));
    }

    /// Programs that give an argument to a shell.
    fn takes_line(&mut self, program: &str, args: &[Field]) -> bool {
        let flagged = |names: &[&str]| {
            args.iter()
                .enumerate()
                .find_map(|(at, arg)| match arg.text.split_once('=') {
                    Some((name, value)) if names.contains(&name) => Some(value.to_owned()),
                    _ if names.contains(&arg.text.as_str()) => args.get(at + 1).map(|next| next.text.clone()),
                    _ => None,
                })
        };
        let code = match program {
            "su" | "runuser" | "script" | "flock" => flagged(&["-c", "--command"]),
            "nix-shell" => flagged(&["--run", "--command"]),
            "nix" => {
                let inner = args
                    .iter()
                    .skip_while(|arg| !["-c", "--command", "--"].contains(&arg.text.as_str()))
                    .skip(1);
                let inner: Vec<Field> = inner.cloned().collect();
                self.invoke(&inner, &Feed::Dynamic);
                return false;
            }
            "concurrently" | "npm-run-all" | "hyperfine" => {
                for arg in args.iter().filter(|arg| !arg.text.starts_with('-')) {
                    match program {
                        "concurrently" | "hyperfine" => self.code(&recipe_line(&arg.text), &Feed::Dynamic),
                        _ => {
                            self.by_words_of_name(&arg.text.clone(), &arg.text);
                        }
                    }
                }
                self.ordinary("ordinary", program);
                return true;
            }
            "watch" => {
                let mut at = 0;
                while args.get(at).is_some_and(|arg| arg.text.starts_with('-')) {
                    at += if ["-n", "--interval"].contains(&args[at].text.as_str()) {
                        2
                    } else {
                        1
                    };
                }
                let words: Vec<&str> = args
                    .get(at..)
                    .unwrap_or_default()
                    .iter()
                    .map(|arg| arg.text.as_str())
                    .collect();
                Some(words.join(" "))
            }
            "entr" => {
                let inner: Vec<Field> = args
                    .iter()
                    .skip_while(|arg| arg.text.starts_with('-'))
                    .cloned()
                    .collect();
                self.invoke(&inner, &Feed::Dynamic);
                return true;
            }
            _ => None,
        };
        match code {
            Some(code) => {
                self.code(&code, &Feed::Dynamic);
                if program == "su" || program == "runuser" {
                    self.unknown("privilege", shown(args));
                }
                true
            }
            None if program == "flock" => {
                let inner: Vec<Field> = args
                    .iter()
                    .skip_while(|arg| arg.text.starts_with('-'))
                    .skip(1)
                    .cloned()
                    .collect();
                self.invoke(&inner, &Feed::Dynamic);
                true
            }
            None => false,
        }
    }

    /// `docker run IMAGE COMMAND`, `docker exec BOX COMMAND`, `kubectl exec POD -- COMMAND`: the command is judged as well.
    fn container(&mut self, args: &[Field]) -> bool {
        let words: Vec<&str> = args.iter().map(|arg| arg.text.as_str()).collect();
        let Some(verb) = words
            .iter()
            .position(|word| ["run", "exec", "create"].contains(word))
        else {
            return false;
        };
        self.reaches_out(args);
        let with_value = [
            "-e",
            "--env",
            "-v",
            "--volume",
            "-w",
            "--workdir",
            "-u",
            "--user",
            "--name",
            "-p",
            "--publish",
            "--network",
            "--mount",
            "--env-file",
            "--entrypoint",
            "-n",
            "--namespace",
            "-c",
            "--container",
            "--platform",
            "--memory",
            "-m",
            "--cpus",
            "--gpus",
            "-l",
            "--label",
        ];
        let mut at = verb + 1;
        while words
            .get(at)
            .is_some_and(|word| word.starts_with('-') && *word != "--")
        {
            at += if with_value.contains(&words[at]) { 2 } else { 1 };
        }
        // The image, or the box.
        at += 1;
        if words.get(at) == Some(&"--") {
            at += 1;
        }
        let inner = args.get(at..).unwrap_or_default().to_vec();
        if !inner.is_empty() {
            let before = self.worst.clone();
            self.only_risky = true;
            self.invoke(&inner, &Feed::Dynamic);
            self.only_risky = false;
            if before.is_none() && self.worst.as_ref().is_some_and(|worst| worst.category.is_none()) {
                self.worst = None;
            }
        }
        false
    }

    /// A folder of this machine that a box may write, and a box that may do all that this machine may.
    fn reaches_out(&mut self, args: &[Field]) {
        for (at, arg) in args.iter().enumerate() {
            let (option, value) = match arg.text.split_once('=') {
                Some((option, value)) => (option, value),
                None => (arg.text.as_str(), args.get(at + 1).map_or("", |next| &next.text)),
            };
            let from = value.split(':').next().unwrap_or_default();
            let outside = from.starts_with(['/', '~', '.']) && self.place(from) == places::Place::Outside;
            if ["-v", "--volume"].contains(&option) && outside || option == "--privileged" {
                self.unknown("outside-workspace", shown(args));
            }
        }
    }

    /// `sed -f`, and the `e` command of GNU sed.
    fn sed(&mut self, args: &[Field]) -> bool {
        for arg in args.iter().filter(|arg| !arg.text.starts_with('-')) {
            let code = arg.text.as_str();
            if code.starts_with("1e ") || code.starts_with("e ") {
                self.code(
                    code.trim_start_matches('1').trim_start_matches("e "),
                    &Feed::Dynamic,
                );
            } else if code.starts_with("s") && code.ends_with("/e") {
                self.unknown("dynamic-code", format!("sed runs what it makes: {code}"));
            }
        }
        false
    }

    fn awk(&mut self, args: &[Field], fields: &[Field]) -> bool {
        let program = args.iter().find(|arg| !arg.text.starts_with('-'));
        if let Some(program) = program
            && (program.text.contains("system")
                || program.text.contains("| getline")
                || program.text.contains("|"))
        {
            self.source_code(&program.text.clone(), &shown(fields), true);
        }
        false
    }

    fn editor(&mut self, args: &[Field], feed: &Feed) -> bool {
        for arg in args {
            if let Some((_, code)) = arg.text.split_once('!') {
                self.code(code, &Feed::Dynamic);
            }
        }
        if let Feed::Text(text) = feed {
            for (_, code) in text.lines().filter_map(|line| line.split_once('!')) {
                self.code(code, &Feed::Dynamic);
            }
        }
        false
    }

    fn tar(&mut self, args: &[Field]) -> bool {
        for (at, arg) in args.iter().enumerate() {
            let text = arg.text.as_str();
            if let Some(code) = text
                .strip_prefix("--checkpoint-action=exec=")
                .or_else(|| text.strip_prefix("--to-command="))
            {
                self.code(code, &Feed::Dynamic);
            }
            if let Some(code) = text
                .strip_prefix("--use-compress-program=")
                .or_else(|| text.strip_prefix("--rsh-command="))
            {
                self.code(code, &Feed::Dynamic);
            }
            if text == "-I"
                && let Some(next) = args.get(at + 1)
            {
                self.code(&next.text.clone(), &Feed::Dynamic);
            }
            if text == "-C"
                && let Some(next) = args.get(at + 1)
                && self.place(&next.text) == places::Place::Outside
                && args.iter().any(|arg| arg.text.contains('x'))
            {
                self.unknown("outside-workspace", format!("tar -C {}", next.text));
            }
        }
        false
    }
}

/// The line that `concurrently` runs for a word: `npm:watch` is `npm run watch`.
fn recipe_line(text: &str) -> String {
    match text.split_once(':') {
        Some((runner @ ("npm" | "pnpm" | "yarn" | "bun"), name)) => format!("{runner} run {name}"),
        _ => text.to_owned(),
    }
}
