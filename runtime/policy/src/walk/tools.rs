//! Tools, by the words of their names and by what their arguments hold.

use serde_json::Value;

use super::places::Place;
use super::{Feed, Walk, brief};
use crate::decision::{Category, Verdict};
use crate::shell::expand::Field;
use crate::words;

/// Tools that give text to a shell, whatever agent they come from.
const SHELLS: [&str; 12] = [
    "exec",
    "bash",
    "shell",
    "sh",
    "terminal",
    "run command",
    "execute command",
    "run shell command",
    "run terminal cmd",
    "run in terminal",
    "execute bash",
    "local shell",
];

impl Walk<'_> {
    /// Judges a call of a tool.
    pub(super) fn tool(&mut self, name: &str, arguments: &Value) {
        let words = words::of(name);
        let plain = words.join(" ");
        let text = |key: &str| {
            arguments
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        // What a server of tools puts before the name: `mcp__files__read_file`.
        match name {
            "read" | "list" => {
                let path = text("path");
                self.reads_file(&path, false, name);
                self.stays(&path, name);
                return self.ordinary("own-tool", format!("{name} {path}"));
            }
            "write" | "edit" => {
                let path = text("path");
                self.writes_file(&path, name);
                return self.ordinary("own-tool", format!("{name} {path}"));
            }
            "artifact" => {
                let path = text("path");
                self.reads_file(&path, false, name);
                return self.ordinary("own-tool", format!("{name} {path}"));
            }
            // Logs and end of a service; its start is a command, and judged as one.
            "patch" | "service" => return self.ordinary("own-tool", name),
            _ => {}
        }
        if SHELLS.contains(&plain.as_str()) || plain.ends_with(" bash") || plain.ends_with(" shell") {
            let code = ["command", "cmd", "script", "code"]
                .iter()
                .find_map(|key| arguments.get(key));
            return match code {
                Some(Value::String(code)) => self.line(code),
                Some(Value::Array(words)) if words.iter().all(Value::is_string) => {
                    let fields: Vec<Field> = words.iter().filter_map(Value::as_str).map(Field::new).collect();
                    self.invoke(&fields, &Feed::Inherited);
                }
                _ => self.unknown("unknown", format!("{name} without a command that can be read")),
            };
        }
        let policy = self.policy;
        let (users, own) = policy.rules_for_tool(&words);
        if let Some(rule) = users {
            self.by_rule(rule, name);
            if let Some(category) = own.and_then(|rule| rule.category)
                && self.around.forbidden.contains(&category)
            {
                self.risky(category, "goal", name);
            }
            return;
        }
        let paths = self.arguments(arguments, 0);
        let files = words.iter().any(|word| {
            [
                "file",
                "files",
                "directory",
                "folder",
                "dir",
                "path",
                "edit",
                "write",
                "read",
                "glob",
                "grep",
                "multiedit",
            ]
            .contains(&word.as_str())
        });
        let leaves = words.iter().any(|word| {
            [
                "upload", "share", "send", "publish", "push", "email", "post", "drive", "s3", "bucket",
            ]
            .contains(&word.as_str())
        });
        if files && !leaves && !paths.is_empty() {
            match paths.iter().all(|path| self.place(path) == Place::Inside) {
                true => return self.ordinary("own-tool", format!("{name} {}", paths.join(" "))),
                false => self.unknown("outside-workspace", format!("{name} {}", paths.join(" "))),
            }
        }
        match own {
            Some(rule) if rule.verdict != Verdict::Allow => self.by_rule(rule, name),
            Some(rule) => self.ordinary(&rule.name, name),
            None => self.unknown("unknown", format!("no rule knows this tool: {}", brief(name))),
        }
    }

    /// A file that is read must lie in the workspace to be ordinary.
    fn stays(&mut self, path: &str, by: &str) {
        if self.place(path) == Place::Outside {
            self.unknown("outside-workspace", format!("{by} {path}"));
        }
    }

    /// What the arguments of a foreign tool hold: files, commands, requests. Gives the paths.
    fn arguments(&mut self, value: &Value, depth: u32) -> Vec<String> {
        let mut paths = Vec::new();
        let Value::Object(members) = value else {
            return paths;
        };
        if depth > 4 {
            return paths;
        }
        let method = members
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("method"))
            .and_then(|(_, value)| value.as_str());
        for (key, value) in members.iter().take(64) {
            let words = words::of(key);
            let last = words.last().map(String::as_str).unwrap_or_default();
            match value {
                Value::String(text)
                    if [
                        "path",
                        "file",
                        "filename",
                        "filepath",
                        "paths",
                        "directory",
                        "folder",
                        "source",
                        "destination",
                    ]
                    .contains(&last) =>
                {
                    let text = text.strip_prefix("file://").unwrap_or(text);
                    self.reads_file(text, false, key);
                    paths.push(text.to_owned());
                }
                Value::String(text) if ["command", "cmd"].contains(&last) => {
                    let only_risky = std::mem::replace(&mut self.only_risky, true);
                    self.code(text, &Feed::Inherited);
                    self.only_risky = only_risky;
                }
                Value::String(text) if ["url", "uri", "endpoint", "href"].contains(&last) => {
                    let text = text.as_str();
                    if let Some(path) = text.strip_prefix("file://") {
                        self.reads_file(path, false, key);
                        paths.push(path.to_owned());
                    } else if method.is_some_and(|method| {
                        !["GET", "HEAD", "OPTIONS"].contains(&method.to_ascii_uppercase().as_str())
                    }) && self.is_remote(text)
                    {
                        self.risky(
                            Category::MessageOutside,
                            "http-write",
                            format!("{} {text}", method.unwrap_or_default()),
                        );
                    }
                }
                Value::String(text)
                    if ["sql", "query", "statement"].contains(&last)
                        && super::database::changes_data(text) =>
                {
                    self.risky(Category::ChangeProductionData, "database-write", text.clone());
                }
                Value::Object(_) => paths.extend(self.arguments(value, depth + 1)),
                Value::Array(items) => {
                    for item in items.iter().take(64) {
                        match item {
                            Value::String(text) if ["paths", "files"].contains(&last) => {
                                self.reads_file(text, false, key);
                                paths.push(text.clone());
                            }
                            item => paths.extend(self.arguments(item, depth + 1)),
                        }
                    }
                }
                _ => {}
            }
        }
        paths
    }
}
