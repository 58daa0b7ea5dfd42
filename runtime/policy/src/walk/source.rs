//! Code in other languages: `python -c`, `node script.js`. It is not parsed; texts in it that would be commands, addresses
//! or files are judged.

use super::builtins::Found;
use super::command::shown;
use super::{Feed, Walk};
use crate::decision::Category;
use crate::shell::expand::Field;

/// Most texts of one source that are looked at.
const MOST_TEXTS: usize = 400;

/// Words of what starts a program.
const SPAWNS: [&str; 44] = [
    "system",
    "popen",
    "popen2",
    "popen3",
    "subprocess",
    "run",
    "call",
    "check_call",
    "check_output",
    "getoutput",
    "getstatusoutput",
    "exec",
    "execsync",
    "execfile",
    "execfilesync",
    "spawn",
    "spawnsync",
    "spawnl",
    "spawnlp",
    "spawnv",
    "spawnvp",
    "execv",
    "execvp",
    "execl",
    "execlp",
    "execve",
    "execvpe",
    "qx",
    "shell",
    "open3",
    "pty",
    "getline",
    "shell_exec",
    "passthru",
    "proc_open",
    "execa",
    "command",
    "backtick",
    "posix_spawn",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "child_process",
    "sh",
    "startprocess",
];

/// What speaks to another machine, as it is written.
const SENDS: [&str; 20] = [
    "requests.post",
    "requests.put",
    "requests.patch",
    "requests.delete",
    "httpx.post",
    "httpx.put",
    "httpx.patch",
    "httpx.delete",
    "axios.post",
    "axios.put",
    "axios.patch",
    "axios.delete",
    "smtplib",
    "sendmail(",
    "createTransport",
    "Net::SMTP",
    "Net::HTTP.post",
    "HTTP.post",
    "ftplib",
    "paramiko",
];

impl Walk<'_> {
    /// An interpreter of another language. Tells whether this was one.
    pub(super) fn interpreter(
        &mut self,
        program: &str,
        args: &[Field],
        fields: &[Field],
        feed: &Feed,
    ) -> bool {
        let base = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let inline: &[&str] = match base {
            "python" | "pypy" | "ipython" => &["-c"],
            "node" | "nodejs" | "tsx" | "ts-node" => &["-e", "-p", "--eval", "--print", "-pe", "-ep"],
            "ruby" | "jruby" => &["-e"],
            "perl" => &["-e", "-E", "-ne", "-pe", "-le", "-lne", "-i.bak", "-pie"],
            "php" => &["-r"],
            "lua" | "luajit" | "Rscript" | "osascript" | "elixir" | "julia" | "groovy" | "scala" => {
                &["-e", "--eval", "-E"]
            }
            "deno" => &["eval"],
            "pwsh" | "powershell" => &["-c", "-Command", "-command", "-EncodedCommand", "-e", "-enc"],
            "R" => &["-e"],
            _ => return false,
        };
        let with_value: &[&str] = match base {
            "python" | "pypy" | "ipython" => &["-W", "-X", "--check-hash-based-pycs"],
            "node" | "nodejs" | "tsx" | "ts-node" => &[
                "-r",
                "--require",
                "--import",
                "--loader",
                "--env-file",
                "-P",
                "--project",
            ],
            "ruby" | "jruby" | "perl" => &["-I", "-r"],
            _ => &[],
        };
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            at += 1;
            let clustered = text.starts_with('-')
                && !text.starts_with("--")
                && text.len() > 2
                && base == "perl"
                && text.ends_with(['e', 'E']);
            if inline.contains(&text) || clustered {
                let code = args.get(at).map(|next| next.text.clone()).unwrap_or_default();
                match base {
                    "pwsh" | "powershell" => self.code(&code, &Feed::Dynamic),
                    _ => self.source_code(&code, &shown(fields), true),
                }
                return true;
            }
            if let Some(code) = ["-c", "-e", "-r"]
                .iter()
                .find_map(|flag| text.strip_prefix(flag))
                .filter(|code| code.contains(['(', ' ']) && inline.contains(&&text[..2]))
            {
                let code = code.to_owned();
                self.source_code(&code, &shown(fields), true);
                return true;
            }
            if text == "-m" && inline == ["-c"] {
                let inner = args.get(at..).unwrap_or_default();
                match inner.is_empty() {
                    true => self.unknown("unknown", shown(fields)),
                    false => self.invoke(inner, feed),
                }
                return true;
            }
            if base == "deno"
                && [
                    "run", "test", "fmt", "lint", "check", "cache", "task", "bench", "compile", "info",
                    "doc", "install", "add",
                ]
                .contains(&text)
            {
                if text != "run" {
                    self.ordinary_command("ordinary", fields);
                    return true;
                }
                continue;
            }
            if ["--version", "-V", "-v", "--help", "-h"].contains(&text) && args.len() == 1 {
                self.ordinary_command("ordinary", fields);
                return true;
            }
            if text == "-" {
                break;
            }
            if text.starts_with('-') && text.len() > 1 {
                at += usize::from(with_value.contains(&text));
                continue;
            }
            let file = text.to_owned();
            let name = file.rsplit('/').next().unwrap_or(&file);
            let policy = self.policy;
            let (_, rule) = policy.rules_for(name, args.get(at..).unwrap_or_default());
            if let Some(rule) = rule.filter(|rule| rule.verdict != crate::decision::Verdict::Allow) {
                self.by_rule(rule, &shown(fields));
            }
            return self.script_of(&file, fields);
        }
        // `--test`, `--watch` and their like run what the project has.
        if args.iter().any(|arg| arg.text == "--test") {
            self.ordinary_command("ordinary", fields);
            return true;
        }
        match feed {
            Feed::Text(code) => self.source_code(&code.clone(), &shown(fields), true),
            Feed::File(path) => return self.script_of(&path.clone(), fields),
            Feed::Inherited if self.stdin.is_empty() => self.ordinary_command("nothing-to-run", fields),
            Feed::Inherited => {
                let code = String::from_utf8_lossy(self.stdin).into_owned();
                self.source_code(&code, &shown(fields), true);
            }
            Feed::Names(_) | Feed::Dynamic => self.unknown(
                "dynamic-code",
                format!("{} runs what another command prints", shown(fields)),
            ),
        }
        true
    }

    /// A script in another language, by its path.
    pub(super) fn script_of(&mut self, path: &str, fields: &[Field]) -> bool {
        if path.contains("://") {
            self.unknown("dynamic-code", format!("code from elsewhere: {path}"));
            return true;
        }
        match self.script_text(path) {
            Found::Text(text) => self.source(path, &text),
            Found::Dynamic => self.unknown(
                "dynamic-code",
                format!("what this script holds is known only when it runs: {path}"),
            ),
            Found::Absent => {
                let inside = self.place(path) == super::places::Place::Inside;
                match self.by_words_of_name(path, &shown(fields)) {
                    true => {}
                    // There is nothing to run; what is written there later is another act with another digest.
                    false if inside => self.ordinary_command("absent-script", fields),
                    false => self.unknown("unread-script", shown(fields)),
                }
            }
        }
        true
    }

    /// The text of a script in another language.
    pub(super) fn source(&mut self, path: &str, text: &str) {
        self.source_code(text, path, false);
        self.ordinary("script", path);
    }

    /// Code in another language. `inline` code stands in the act itself and is held to more.
    pub(super) fn source_code(&mut self, code: &str, shown: &str, inline: bool) {
        if code.contains('\0') && inline {
            self.unknown(
                "dynamic-code",
                format!("part of this is known only when it runs: {shown}"),
            );
        }
        let plain = without_comments(code);
        let texts = texts(&plain);
        let names: Vec<&str> = plain
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|name| !name.is_empty())
            .collect();
        let spawns = plain.contains('`')
            || names.iter().any(|name| {
                SPAWNS.contains(&name.to_ascii_lowercase().as_str())
                    || name.starts_with("spawn")
                    || name.starts_with("exec")
            });
        let only_risky = std::mem::replace(&mut self.only_risky, true);
        for group in &texts {
            for text in group {
                self.source_text(text, inline);
                if spawns && text.contains([' ', '\n']) {
                    self.code(text, &Feed::Dynamic);
                }
            }
            if spawns && !group.is_empty() {
                // A list of words, and words that are joined.
                for from in 0..group.len().min(3) {
                    let fields: Vec<Field> = group[from..].iter().take(24).map(Field::new).collect();
                    self.invoke(&fields, &Feed::Dynamic);
                }
                if group.len() > 1 {
                    self.code(&group.concat(), &Feed::Dynamic);
                }
            }
        }
        self.only_risky = only_risky;
        let sends = SENDS.iter().find(|sends| plain.contains(**sends));
        let posts = plain.contains("fetch(")
            && ["POST", "PUT", "PATCH", "DELETE"]
                .iter()
                .any(|method| plain.contains(method))
            || plain.contains("urlopen(") && plain.contains("data=");
        let addresses: Vec<&String> = texts
            .iter()
            .flatten()
            .filter(|text| text.contains("://"))
            .collect();
        let all_local = !addresses.is_empty() && addresses.iter().all(|address| !self.is_remote(address));
        let elsewhere = if inline {
            !all_local
        } else {
            addresses.iter().any(|address| self.is_remote(address))
        };
        if (sends.is_some() || posts) && elsewhere {
            self.risky(Category::MessageOutside, "code-sends", shown);
        }
        if inline {
            let environment = [
                "os.environ)",
                "environ.items",
                "environ.copy",
                "process.env)",
                "process.env,",
                "ENV.to_h",
                "ENV.each",
                "%ENV",
                "getenv())",
                "environ}",
            ];
            if environment.iter().any(|form| plain.contains(form)) {
                self.risky(Category::ReadSecrets, "environment-shown", shown);
            }
            if ["environ", "getenv", "process.env", "ENV["]
                .iter()
                .any(|form| plain.contains(form))
            {
                let named: Vec<&str> = texts
                    .iter()
                    .flatten()
                    .map(String::as_str)
                    .chain(names.iter().copied())
                    .collect();
                if named.iter().any(|name| {
                    self.policy.secrets.is_variable(name) && name.len() < 64 && !name.contains(' ')
                }) {
                    self.risky(Category::ReadSecrets, "secret-variable", shown);
                }
            }
            let removes = ["rmtree", "unlink", "rmSync", "rm_rf", "remove("]
                .iter()
                .any(|form| plain.contains(form));
            if removes {
                for text in texts
                    .iter()
                    .flatten()
                    .filter(|text| text.starts_with(['/', '~', '.']))
                {
                    self.removes_file(&Field::new(text), "code removes");
                }
            }
        }
        let decodes = [
            "b64decode",
            "fromhex",
            "atob(",
            "Buffer.from(",
            "unhexlify",
            "decode64",
            "base64_decode",
            "fromCharCode",
            "chr(",
            "codecs.decode",
            "zlib.decompress",
            "pack(",
        ]
        .iter()
        .any(|form| plain.contains(form));
        let runs_code = names.iter().any(|name| {
            [
                "eval",
                "exec",
                "Function",
                "compile",
                "__import__",
                "instance_eval",
            ]
            .contains(name)
        });
        let hidden = decodes && (runs_code || spawns)
            || inline && runs_code && texts.is_empty()
            || inline && plain.contains("__import__");
        let indirect = inline && spawns && plain.contains("getattr(")
            || inline && spawns && texts.is_empty() && !plain.trim().is_empty() && calls(&plain);
        if hidden || indirect {
            self.unknown(
                "dynamic-code",
                format!("which code this runs is known only when it runs: {shown}"),
            );
        }
        self.ordinary("ordinary", shown);
    }

    /// One text of a source: a file that holds secrets?
    fn source_text(&mut self, text: &str, inline: bool) {
        if text.len() > 256 || text.contains(['\n', ' ']) {
            return;
        }
        // A program names its own settings; what lies elsewhere is another matter.
        if inline || text.contains('/') && !text.starts_with("./") {
            self.reads_file(text, false, "code reads");
        }
    }
}

/// Whether something is called, with an argument.
fn calls(code: &str) -> bool {
    [
        "system(",
        "popen(",
        "run(",
        "exec(",
        "spawn(",
        "call(",
        "execSync(",
        "check_output(",
    ]
    .iter()
    .any(|form| code.contains(form))
}

/// Lines without what follows `#` or `//` at their beginning.
fn without_comments(code: &str) -> String {
    let kept = code.lines().filter(|line| {
        let line = line.trim_start();
        !(line.starts_with('#') || line.starts_with("//") || line.starts_with("* "))
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The texts of a source, in groups: those with nothing but signs of lists between them belong together.
fn texts(code: &str) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut together = false;
    let mut count = 0;
    let mut chars = code.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !['"', '\'', '`'].contains(&c) {
            together &= c.is_whitespace() || ",[]()+{}.".contains(c);
            continue;
        }
        let long = [c; 3].iter().collect::<String>();
        let triple = c != '`' && code[at..].starts_with(&long);
        if triple {
            chars.next();
            chars.next();
        }
        let mut text = String::new();
        let mut ended = false;
        while let Some((at, inner)) = chars.next() {
            if inner == '\\' && !triple {
                match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, escaped)) => text.push(escaped),
                    None => {}
                }
            } else if inner == c && (!triple || code[at..].starts_with(&long)) {
                if triple {
                    chars.next();
                    chars.next();
                }
                ended = true;
                break;
            } else if inner == '\n' && c == '\'' && !triple {
                // An apostrophe in a comment.
                break;
            } else {
                text.push(inner);
            }
        }
        if !ended && text.len() > 200 {
            continue;
        }
        count += 1;
        if count > MOST_TEXTS {
            break;
        }
        match groups.last_mut().filter(|_| together) {
            Some(group) => group.push(text),
            None => groups.push(vec![text]),
        }
        together = true;
    }
    groups
}
