//! Clients of databases: where the data lies, and whether a statement changes it.

use super::command::shown;
use super::network::host_of;
use super::{Feed, Walk};
use crate::decision::Category;
use crate::shell::expand::{Field, HOLE};
use crate::words;

/// Words that begin a statement that changes data.
const WRITES: [&str; 28] = [
    "insert",
    "update",
    "delete",
    "drop",
    "truncate",
    "alter",
    "create",
    "grant",
    "revoke",
    "replace",
    "merge",
    "copy",
    "load",
    "reindex",
    "vacuum",
    "flushall",
    "flushdb",
    "set",
    "del",
    "unlink",
    "rename",
    "remove",
    "deleteone",
    "deletemany",
    "updateone",
    "updatemany",
    "insertone",
    "insertmany",
];

impl Walk<'_> {
    /// A client of a database. Changing local data is ordinary; changing data elsewhere, or data that is called
    /// production, asks; so does what cannot be told.
    pub(super) fn database(&mut self, program: &str, args: &[Field], fields: &[Field], feed: &Feed) {
        let asks = args
            .iter()
            .any(|arg| ["--version", "--help", "-V"].contains(&arg.text.as_str()));
        if asks {
            return self.ordinary_command("ordinary", fields);
        }
        let (mut elsewhere, mut unclear, mut code) = (false, false, Vec::<String>::new());
        // A file that is not there: nothing can be told about it, and nothing runs as things are.
        let mut absent = false;
        let code_options = [
            "-c",
            "-e",
            "--command",
            "--execute",
            "--eval",
            "-q",
            "--query",
            "-Q",
        ];
        let file_options = ["-f", "--file", "-i"];
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) if text.starts_with("--") => (name, Some(value.to_owned())),
                _ => (text, args.get(at + 1).map(|next| next.text.clone())),
            };
            let value = value.unwrap_or_default();
            at += 1;
            let next_used = !text.contains('=');
            if name == "-h" && program != "sqlite3" || name == "--host" || name == "-S" && program == "sqlcmd"
            {
                elsewhere |= self.is_remote(&value);
                at += usize::from(next_used);
            } else if code_options.contains(&name) {
                code.push(value);
                at += usize::from(next_used);
            } else if file_options.contains(&name) {
                match self.script_text(&value) {
                    super::builtins::Found::Text(text) => code.push(text),
                    super::builtins::Found::Absent => absent = true,
                    super::builtins::Found::Dynamic => unclear = true,
                }
                at += usize::from(next_used);
            } else if text.starts_with("-h") && text.len() > 2 && !text.starts_with("--") {
                elsewhere |= self.is_remote(&text[2..]);
            } else if text.contains("://") || text.contains("host=") {
                let host = match text.split_once("host=") {
                    Some((_, host)) => host.split([' ', '&']).next().unwrap_or_default(),
                    None => host_of(text),
                };
                elsewhere |= !host.is_empty() && self.is_remote(host);
            } else if text.starts_with(HOLE) {
                unclear = true;
            }
        }
        self.looked = true;
        for name in ["PGHOST", "MYSQL_HOST", "DATABASE_URL", "REDIS_URL"] {
            if let Some(value) = self.env.get(name).cloned().or_else(|| {
                self.vars
                    .get(name)
                    .and_then(|values| values.first()?.first().cloned())
            }) {
                elsewhere |= self.is_remote(&value);
            }
        }
        match feed {
            Feed::Text(text) => code.push(text.clone()),
            Feed::File(path) => match self.script_text(&path.clone()) {
                super::builtins::Found::Text(text) => code.push(text),
                super::builtins::Found::Absent => absent = true,
                super::builtins::Found::Dynamic => unclear = true,
            },
            Feed::Dynamic if code.is_empty() => unclear = true,
            _ => {}
        }
        let production = args.iter().any(|arg| self.policy.is_production(&arg.text));
        if matches!(
            program,
            "sqlite3" | "duckdb" | "redis-cli" | "mongosh" | "mongo" | "mysqladmin"
        ) {
            let words: Vec<&str> = args
                .iter()
                .map(|arg| arg.text.as_str())
                .filter(|text| !text.starts_with('-'))
                .collect();
            code.push(words.join(" ; "));
        }
        let whole = ["mysqlimport", "mongorestore", "pg_restore", "dropdb", "createdb"].contains(&program);
        let changes = whole || code.iter().any(|code| changes_data(code));
        let told = whole || !code.is_empty();
        let foreign = elsewhere || production || args.iter().any(|arg| arg.text.starts_with(HOLE));
        for code in &code {
            for line in code.lines() {
                // Commands of the shell inside a client: `\!` of psql, `.shell` of sqlite3, `COPY ... TO PROGRAM`.
                let line = line.trim_start();
                if let Some(inner) = line
                    .strip_prefix("\\!")
                    .or_else(|| line.strip_prefix(".shell"))
                    .or_else(|| line.strip_prefix(".system"))
                {
                    let inner = inner.to_owned();
                    self.code(&inner, &Feed::Dynamic);
                }
            }
        }
        match (foreign, changes, told && !unclear && !absent) {
            (true, true, _) | (true, _, false) => {
                self.risky(Category::ChangeProductionData, "database-write", shown(fields))
            }
            (true, false, true) => self.unknown("database-elsewhere", shown(fields)),
            (false, _, _) if unclear => self.unknown("dynamic-code", shown(fields)),
            (false, _, _) => self.ordinary_command("local-database", fields),
        }
    }
}

/// Whether a text holds a statement that changes data. Comments are left out, and names in quotes.
pub(super) fn changes_data(code: &str) -> bool {
    let mut statement_begins = true;
    let mut plain = String::new();
    let mut quote: Option<char> = None;
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            (_, Some(_)) => {}
            ('\'' | '"', None) => quote = Some(c),
            ('-', None) if chars.peek() == Some(&'-') => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        break;
                    }
                }
                plain.push('\n');
            }
            ('/', None) if chars.peek() == Some(&'*') => {
                chars.next();
                let mut before = ' ';
                for c in chars.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
            }
            (c, None) => plain.push(c),
        }
    }
    // In a `with` a change may stand anywhere; elsewhere it begins a statement, or is a method of a collection.
    let with = plain
        .trim_start()
        .get(..4)
        .is_some_and(|word| word.eq_ignore_ascii_case("with"));
    let mut word = String::new();
    for c in plain.chars().chain([' ']) {
        if c.is_alphanumeric() || c == '_' {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            let writes = WRITES.contains(&word.as_str());
            let plain_set = word == "set" && !statement_begins;
            if writes && !plain_set && (statement_begins || with) {
                return true;
            }
            statement_begins = false;
            word.clear();
        }
        if c == ';' || c == '.' || c == '(' {
            statement_begins = true;
        }
    }
    let first = words::of(&plain).into_iter().next().unwrap_or_default();
    WRITES.contains(&first.as_str())
}
