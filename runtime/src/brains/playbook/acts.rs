//! What a step does: the one act among its keys, and which further keys go with it.

use longhaul_actors::session::{Tool, ToolCall};
use serde_json::{Value, json};
use toml::Spanned;

use super::error::Fault;
use super::file::Act;
use super::raw::{CommandText, RawStep};

/// The keys that are acts, each with the further keys it takes. `expect` is an act only where no other is.
const ACTS: [(&str, &[&str]); 14] = [
    (
        "run",
        &[
            "timeout",
            "cwd",
            "env",
            "stdin",
            "expect",
            "on_success",
            "on_failure",
            "retry",
            "on_unknown",
        ],
    ),
    ("say", &["on_success"]),
    (
        "read",
        &["expect", "on_success", "on_failure", "retry", "on_unknown"],
    ),
    (
        "write",
        &["content", "on_success", "on_failure", "retry", "on_unknown"],
    ),
    (
        "replace",
        &["old", "new", "on_success", "on_failure", "retry", "on_unknown"],
    ),
    (
        "list",
        &["expect", "on_success", "on_failure", "retry", "on_unknown"],
    ),
    (
        "artifact",
        &["kind", "on_success", "on_failure", "retry", "on_unknown"],
    ),
    ("patch", &["on_success", "on_failure", "retry", "on_unknown"]),
    (
        "service",
        &[
            "start",
            "logs",
            "stop",
            "cwd",
            "env",
            "expect",
            "on_success",
            "on_failure",
            "retry",
            "on_unknown",
        ],
    ),
    ("ask", &["expect", "on_success", "on_failure"]),
    ("finish", &[]),
    ("fail", &[]),
    ("yield", &["on_success"]),
    ("expect", &["on_success", "on_failure"]),
];

/// Keys that go with every act.
const ALWAYS: [&str; 2] = ["name", "at_most"];

/// Finds the act of the step that begins at byte `at`, and refuses keys that do not go with it.
pub(super) fn act(at: usize, raw: &RawStep) -> Result<Act, Fault> {
    let mut found = raw
        .keys()
        .filter(|(key, _)| *key != "expect" && takes(key).is_some());
    let judge = raw.keys().find(|(key, _)| *key == "expect");
    let Some((key, key_at)) = found.next().or(judge) else {
        let keys: Vec<&str> = ACTS.iter().map(|(key, _)| *key).collect();
        let problem = format!("this step does nothing; give it one of {}", keys.join(", "));
        return Err(Fault::new(at, problem));
    };
    if let Some((other, other_at)) = found.next() {
        let problem =
            format!("a step does one thing, and this one has `{key}` and `{other}`; make two steps of it");
        return Err(Fault::new(key_at.max(other_at), problem));
    }
    let own = takes(key).unwrap_or_default();
    let goes = |other: &str| other == key || ALWAYS.contains(&other) || own.contains(&other);
    if let Some((stray, stray_at)) = raw.keys().find(|(other, _)| !goes(other)) {
        let owners: Vec<String> = ACTS
            .iter()
            .filter(|(_, own)| own.contains(&stray))
            .map(|(owner, _)| format!("`{owner}`"))
            .collect();
        let problem = format!(
            "`{stray}` goes with {}, not with `{key}`; take it out",
            owners.join(", ")
        );
        return Err(Fault::new(stray_at, problem));
    }
    build(key, key_at, raw)
}

fn takes(key: &str) -> Option<&'static [&'static str]> {
    ACTS.iter().find(|(act, _)| *act == key).map(|(_, own)| *own)
}

fn build(key: &'static str, at: usize, raw: &RawStep) -> Result<Act, Fault> {
    let needed = |field: &Option<Spanned<String>>, name: &str| match field {
        Some(value) => Ok(value.get_ref().clone()),
        None => Err(Fault::new(at, format!("`{key}` needs `{name}` beside it"))),
    };
    match key {
        "run" => call(at, "exec", command(raw)?),
        "say" => Ok(Act::Say(words(&raw.say, key)?)),
        "read" => call(at, "read", json!({"path": text(&raw.read)})),
        "write" => {
            let content = needed(&raw.content, "content")?;
            call(at, "write", json!({"path": text(&raw.write), "content": content}))
        }
        "replace" => {
            let (old, new) = (needed(&raw.old, "old")?, needed(&raw.new, "new")?);
            call(
                at,
                "edit",
                json!({"path": text(&raw.replace), "old": old, "new": new}),
            )
        }
        "list" => call(at, "list", json!({"path": text(&raw.list)})),
        "artifact" => {
            let kind = needed(&raw.kind, "kind")?;
            call(at, "artifact", json!({"path": text(&raw.artifact), "kind": kind}))
        }
        "patch" => {
            affirmed(&raw.patch, key)?;
            call(at, "patch", json!({}))
        }
        "service" => call(at, "service", service(at, raw)?),
        "ask" => Ok(Act::Ask(words(&raw.ask, key)?)),
        "finish" => Ok(Act::Finish(text(&raw.finish))),
        "fail" => Ok(Act::Fail(words(&raw.fail, key)?)),
        "yield" => {
            affirmed(&raw.r#yield, key)?;
            Ok(Act::Yield)
        }
        _ => Ok(Act::Judge),
    }
}

/// A call that the hands will take, checked now so that no run stops on it later.
fn call(at: usize, tool: &str, args: Value) -> Result<Act, Fault> {
    let call = ToolCall {
        tool: tool.into(),
        args,
    };
    let tool = Tool::parse(&call).map_err(|error| Fault::new(at, error.detail))?;
    Ok(Act::Call {
        class: tool.class(),
        brief: tool.brief(),
        call,
    })
}

fn command(raw: &RawStep) -> Result<Value, Fault> {
    let mut args = serde_json::Map::new();
    if let Some(run) = &raw.run {
        args.insert("command".into(), command_text(run, "run")?);
    }
    if let Some(timeout) = &raw.timeout {
        args.insert("timeoutMs".into(), json!(milliseconds(timeout)?));
    }
    if let Some(cwd) = &raw.cwd {
        args.insert("cwd".into(), json!(cwd.get_ref()));
    }
    if let Some(env) = &raw.env {
        args.insert("env".into(), json!(env.get_ref()));
    }
    if let Some(stdin) = &raw.stdin {
        args.insert("stdin".into(), json!(stdin.get_ref()));
    }
    Ok(args.into())
}

fn command_text(field: &Spanned<CommandText>, key: &str) -> Result<Value, Fault> {
    let empty = match field.get_ref() {
        CommandText::Line(line) => line.trim().is_empty(),
        CommandText::Words(words) => words.is_empty(),
    };
    if empty {
        let problem = format!("`{key}` is empty; write a command line");
        return Err(Fault::new(field.span().start, problem));
    }
    Ok(match field.get_ref() {
        CommandText::Line(line) => json!(line),
        CommandText::Words(words) => json!(words),
    })
}

/// What is wanted of a service: exactly one of start, logs and stop.
fn service(at: usize, raw: &RawStep) -> Result<Value, Fault> {
    let mut args = serde_json::Map::new();
    args.insert("name".into(), json!(text(&raw.service)));
    let action = match (&raw.start, &raw.logs, &raw.stop) {
        (Some(start), None, None) => {
            args.insert("command".into(), command_text(start, "start")?);
            if let Some(cwd) = &raw.cwd {
                args.insert("cwd".into(), json!(cwd.get_ref()));
            }
            if let Some(env) = &raw.env {
                args.insert("env".into(), json!(env.get_ref()));
            }
            "start"
        }
        (None, Some(_), None) => {
            affirmed(&raw.logs, "logs")?;
            "logs"
        }
        (None, None, Some(_)) => {
            affirmed(&raw.stop, "stop")?;
            "stop"
        }
        _ => {
            let problem =
                "`service` needs one of `start = \"COMMAND\"`, `logs = true`, `stop = true` beside it";
            return Err(Fault::new(at, problem));
        }
    };
    let stray = [
        &raw.cwd.as_ref().map(|it| it.span().start),
        &raw.env.as_ref().map(|it| it.span().start),
    ];
    if let Some(at) = stray.into_iter().flatten().next().filter(|_| action != "start") {
        return Err(Fault::new(
            *at,
            format!("this goes with `start`, not with `{action}`; take it out"),
        ));
    }
    args.insert("action".into(), json!(action));
    Ok(args.into())
}

fn text(field: &Option<Spanned<String>>) -> String {
    field
        .as_ref()
        .map(|text| text.get_ref().clone())
        .unwrap_or_default()
}

fn words(field: &Option<Spanned<String>>, key: &str) -> Result<String, Fault> {
    match field {
        Some(text) if text.get_ref().trim().is_empty() => Err(Fault::new(
            text.span().start,
            format!("`{key}` is empty; write what is to be said"),
        )),
        _ => Ok(text(field)),
    }
}

fn affirmed(field: &Option<Spanned<bool>>, key: &str) -> Result<(), Fault> {
    match field {
        Some(flag) if !*flag.get_ref() => {
            let problem = format!("write `{key} = true`, or take the step out");
            Err(Fault::new(flag.span().start, problem))
        }
        _ => Ok(()),
    }
}

fn milliseconds(field: &Spanned<String>) -> Result<u64, Fault> {
    let text = field.get_ref().trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match text[digits..].trim() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = text[..digits].parse::<u64>().ok().filter(|number| *number > 0);
    match (number, unit) {
        (Some(number), Some(unit)) if number < 1_000_000_000 => Ok(number * unit),
        _ => Err(Fault::new(
            field.span().start,
            format!("`{text}` is not a length of time; write it like \"90s\", \"5m\" or \"1h\""),
        )),
    }
}
