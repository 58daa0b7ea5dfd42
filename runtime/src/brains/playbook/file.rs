//! A playbook as text, and as steps that were checked: acts that the hands know, targets that exist, numbers in bounds.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use longhaul_actors::session::{RecoveryClass, Tool, ToolCall};
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use super::error::{Fault, PlaybookError, line_of, nearest};
use super::outcome::Expect;

/// Steps that were checked. It cannot be changed, and holds nothing of any session.
#[derive(Clone, Debug, PartialEq)]
pub struct Playbook {
    /// The steps of the run.
    pub(super) main: Vec<Step>,
    /// What to do on a message, in the order of the file.
    pub(super) handlers: Vec<Handler>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Where it stands: `step 3 "test" (line 12)`.
    pub(super) label: String,
    pub(super) act: Act,
    pub(super) expect: Option<Expect>,
    pub(super) on_success: Target,
    pub(super) on_failure: Target,
    pub(super) on_unknown: Option<OnUnknown>,
    /// How often it is done again after a failure.
    pub(super) retry: u32,
    /// How often it may be come to in one run.
    pub(super) at_most: u32,
}

/// Steps that are put in when a message comes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handler {
    /// In lower case.
    pub(super) contains: String,
    pub(super) at_most: u32,
    pub(super) steps: Vec<Step>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    Say(String),
    Call {
        call: ToolCall,
        class: RecoveryClass,
        brief: String,
    },
    Ask(String),
    /// Judges the outcome before it.
    Judge,
    Finish(String),
    Fail(String),
    Yield,
}

/// Where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Next,
    Step(usize),
    /// The run fails.
    Fail,
}

/// What to do when nobody knows whether an act happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnUnknown {
    Ask,
    Repeat,
    Continue,
}

impl Playbook {
    /// Reads a playbook; `file` is only used to say where an error is.
    ///
    /// # Errors
    /// [`PlaybookError`] with the line and what to write instead.
    pub fn parse(file: &str, text: &str) -> Result<Self, PlaybookError> {
        read(text).map_err(|fault| fault.within(file, text))
    }
}

/// How often a step may be come to, unless it says otherwise: enough for a loop with a purpose.
const AT_MOST: u32 = 20;
/// Words that name no step.
const RESERVED: [&str; 2] = ["next", "fail"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    step: Vec<Spanned<RawStep>>,
    #[serde(default)]
    on_message: Vec<Spanned<RawHandler>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHandler {
    contains: Spanned<String>,
    at_most: Option<Spanned<u32>>,
    #[serde(default)]
    step: Vec<Spanned<RawStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    name: Option<Spanned<String>>,
    // What it does: exactly one of these.
    say: Option<Spanned<String>>,
    run: Option<Spanned<CommandText>>,
    read: Option<Spanned<String>>,
    write: Option<Spanned<String>>,
    replace: Option<Spanned<String>>,
    list: Option<Spanned<String>>,
    artifact: Option<Spanned<String>>,
    patch: Option<Spanned<bool>>,
    ask: Option<Spanned<String>>,
    finish: Option<Spanned<String>>,
    fail: Option<Spanned<String>>,
    r#yield: Option<Spanned<bool>>,
    // More about that.
    timeout: Option<Spanned<String>>,
    cwd: Option<Spanned<String>>,
    env: Option<Spanned<BTreeMap<String, String>>>,
    stdin: Option<Spanned<String>>,
    content: Option<Spanned<String>>,
    old: Option<Spanned<String>>,
    new: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
    // How it is judged and what follows.
    expect: Option<Spanned<Expect>>,
    on_success: Option<Spanned<String>>,
    on_failure: Option<Spanned<String>>,
    on_unknown: Option<Spanned<OnUnknown>>,
    retry: Option<Spanned<u32>>,
    at_most: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CommandText {
    Line(String),
    Words(Vec<String>),
}

fn read(text: &str) -> Result<Playbook, Fault> {
    let raw: RawFile = toml::from_str(text).map_err(|error| misread(&error))?;
    if raw.step.is_empty() && raw.on_message.is_empty() {
        return Err(Fault::new(
            0,
            "there is no step here; write at least\n\n    [[step]]\n    run = \"make test\"",
        ));
    }
    let mut handlers = Vec::new();
    for handler in raw.on_message {
        let at = handler.span().start;
        let raw = handler.into_inner();
        let contains = raw.contains.get_ref().trim().to_lowercase();
        if contains.is_empty() {
            return Err(Fault::new(
                raw.contains.span().start,
                "`contains` is empty and would fit every message; write words that the message must hold",
            ));
        }
        if raw.step.is_empty() {
            return Err(Fault::new(
                at,
                "this [[on_message]] has no steps; write them below it as [[on_message.step]]",
            ));
        }
        handlers.push(Handler {
            contains,
            at_most: bounded(raw.at_most.as_ref(), "at_most", 1)?,
            steps: steps(text, raw.step)?,
        });
    }
    Ok(Playbook {
        main: steps(text, raw.step)?,
        handlers,
    })
}

/// Checks one list of steps. Names are known only within their list.
fn steps(text: &str, raw: Vec<Spanned<RawStep>>) -> Result<Vec<Step>, Fault> {
    let mut names = HashMap::new();
    for (index, step) in raw.iter().enumerate() {
        let Some(name) = &step.get_ref().name else {
            continue;
        };
        let at = name.span().start;
        if RESERVED.contains(&name.get_ref().as_str()) {
            let problem = format!(
                "`{}` cannot name a step, because it is a place to go to; choose another name",
                name.get_ref()
            );
            return Err(Fault::new(at, problem));
        }
        if names.insert(name.get_ref().clone(), index).is_some() {
            let problem = format!(
                "there is already a step named `{}`; choose another name",
                name.get_ref()
            );
            return Err(Fault::new(at, problem));
        }
    }
    let mut checked = Vec::new();
    for (index, step) in raw.into_iter().enumerate() {
        let at = step.span().start;
        checked.push(step_of(index, at, line_of(text, at), step.into_inner(), &names)?);
    }
    Ok(checked)
}

fn step_of(
    index: usize,
    at: usize,
    line: usize,
    mut raw: RawStep,
    names: &HashMap<String, usize>,
) -> Result<Step, Fault> {
    let label = match &raw.name {
        Some(name) => format!("step {} `{}` (line {line})", index + 1, name.get_ref()),
        None => format!("step {} (line {line})", index + 1),
    };
    let (key, act) = act(at, &mut raw)?;
    unused(key, &raw)?;
    let acts = !matches!(act, Act::Say(_) | Act::Finish(_) | Act::Fail(_) | Act::Yield);
    if !acts {
        let judged = [
            ("expect", raw.expect.as_ref().map(Spanned::span)),
            ("on_failure", raw.on_failure.as_ref().map(Spanned::span)),
            ("retry", raw.retry.as_ref().map(Spanned::span)),
        ];
        refuse(judged, |name| {
            format!("`{key}` cannot fail, so `{name}` has no meaning here; take it out")
        })?;
    }
    if matches!(act, Act::Finish(_) | Act::Fail(_)) {
        let after = [("on_success", raw.on_success.as_ref().map(Spanned::span))];
        refuse(after, |name| {
            format!("nothing follows `{key}`, so `{name}` has no meaning here; take it out")
        })?;
    }
    if !matches!(act, Act::Call { .. }) {
        let unknown = [
            ("on_unknown", raw.on_unknown.as_ref().map(Spanned::span)),
            ("retry", raw.retry.as_ref().map(Spanned::span)),
        ];
        refuse(unknown, |name| {
            format!("`{name}` is about acts of the hands, and `{key}` is none; take it out")
        })?;
    }
    Ok(Step {
        label,
        act,
        expect: raw.expect.map(Spanned::into_inner),
        on_success: target(raw.on_success.as_ref(), Target::Next, names)?,
        on_failure: target(raw.on_failure.as_ref(), Target::Fail, names)?,
        on_unknown: raw.on_unknown.map(Spanned::into_inner),
        retry: raw.retry.map_or(0, Spanned::into_inner),
        at_most: bounded(raw.at_most.as_ref(), "at_most", AT_MOST)?,
    })
}

/// The keys that say what a step does, and the further keys each of them takes.
const ACTS: [(&str, &[&str]); 13] = [
    ("run", &["timeout", "cwd", "env", "stdin"]),
    ("say", &[]),
    ("read", &[]),
    ("write", &["content"]),
    ("replace", &["old", "new"]),
    ("list", &[]),
    ("ask", &[]),
    ("expect", &[]),
    ("artifact", &["kind"]),
    ("patch", &[]),
    ("finish", &[]),
    ("fail", &[]),
    ("yield", &[]),
];

/// Takes the one act out of a step.
fn act(at: usize, raw: &mut RawStep) -> Result<(&'static str, Act), Fault> {
    let present: [(&'static str, Option<Range<usize>>); 12] = [
        ("run", raw.run.as_ref().map(Spanned::span)),
        ("say", raw.say.as_ref().map(Spanned::span)),
        ("read", raw.read.as_ref().map(Spanned::span)),
        ("write", raw.write.as_ref().map(Spanned::span)),
        ("replace", raw.replace.as_ref().map(Spanned::span)),
        ("list", raw.list.as_ref().map(Spanned::span)),
        ("ask", raw.ask.as_ref().map(Spanned::span)),
        ("artifact", raw.artifact.as_ref().map(Spanned::span)),
        ("patch", raw.patch.as_ref().map(Spanned::span)),
        ("finish", raw.finish.as_ref().map(Spanned::span)),
        ("fail", raw.fail.as_ref().map(Spanned::span)),
        ("yield", raw.r#yield.as_ref().map(Spanned::span)),
    ];
    let mut present = present
        .into_iter()
        .filter_map(|(key, span)| span.map(|span| (key, span.start)));
    let Some((key, key_at)) = present.next() else {
        if raw.expect.is_some() {
            return Ok(("expect", Act::Judge));
        }
        let keys: Vec<&str> = ACTS.iter().map(|(key, _)| *key).collect();
        let problem = format!("this step does nothing; give it one of {}", keys.join(", "));
        return Err(Fault::new(at, problem));
    };
    if let Some((other, other_at)) = present.next() {
        let problem =
            format!("a step does one thing, and this one has `{key}` and `{other}`; make two steps of it");
        return Err(Fault::new(key_at.max(other_at), problem));
    }
    let needed = |field: &Option<Spanned<String>>, name: &str| match field {
        Some(value) => Ok(value.get_ref().clone()),
        None => Err(Fault::new(key_at, format!("`{key}` needs `{name}` beside it"))),
    };
    let act = match key {
        "say" => Act::Say(words(&raw.say, key)?),
        "ask" => Act::Ask(words(&raw.ask, key)?),
        "finish" => Act::Finish(text(&raw.finish)),
        "fail" => Act::Fail(words(&raw.fail, key)?),
        "yield" => {
            affirmed(&raw.r#yield, key)?;
            Act::Yield
        }
        "run" => call(key_at, "exec", command(raw)?)?,
        "write" => {
            let args = json!({"path": text(&raw.write), "content": needed(&raw.content, "content")?});
            call(key_at, "write", args)?
        }
        "replace" => {
            let args = json!({
                "path": text(&raw.replace), "old": needed(&raw.old, "old")?, "new": needed(&raw.new, "new")?,
            });
            call(key_at, "edit", args)?
        }
        "artifact" => {
            let args = json!({"path": text(&raw.artifact), "kind": needed(&raw.kind, "kind")?});
            call(key_at, "artifact", args)?
        }
        "patch" => {
            affirmed(&raw.patch, key)?;
            call(key_at, "patch", json!({}))?
        }
        "read" => call(key_at, "read", json!({"path": text(&raw.read)}))?,
        _ => call(key_at, "list", json!({"path": text(&raw.list)}))?,
    };
    Ok((key, act))
}

/// A call that the hands will take, checked now so that no run stops on it later.
fn call(at: usize, tool: &str, args: serde_json::Value) -> Result<Act, Fault> {
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

fn command(raw: &RawStep) -> Result<serde_json::Value, Fault> {
    let mut args = serde_json::Map::new();
    if let Some(run) = &raw.run {
        let empty = match run.get_ref() {
            CommandText::Line(line) => line.trim().is_empty(),
            CommandText::Words(words) => words.is_empty(),
        };
        if empty {
            return Err(Fault::new(
                run.span().start,
                "`run` is empty; write a command line",
            ));
        }
        let command = match run.get_ref() {
            CommandText::Line(line) => json!(line),
            CommandText::Words(words) => json!(words),
        };
        args.insert("command".into(), command);
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

/// Refuses keys that belong to another act.
fn unused(key: &str, raw: &RawStep) -> Result<(), Fault> {
    let present = [
        ("timeout", raw.timeout.as_ref().map(Spanned::span)),
        ("cwd", raw.cwd.as_ref().map(Spanned::span)),
        ("env", raw.env.as_ref().map(Spanned::span)),
        ("stdin", raw.stdin.as_ref().map(Spanned::span)),
        ("content", raw.content.as_ref().map(Spanned::span)),
        ("old", raw.old.as_ref().map(Spanned::span)),
        ("new", raw.new.as_ref().map(Spanned::span)),
        ("kind", raw.kind.as_ref().map(Spanned::span)),
    ];
    let own = ACTS
        .iter()
        .find(|(name, _)| *name == key)
        .map_or(&[][..], |(_, own)| own);
    let foreign = present.into_iter().filter(|(name, _)| !own.contains(name));
    refuse(foreign, |name| {
        let owner = ACTS
            .iter()
            .find(|(_, keys)| keys.contains(&name))
            .map_or("run", |(owner, _)| owner);
        format!("`{name}` goes with `{owner}`, not with `{key}`; take it out")
    })
}

fn refuse<'a>(
    keys: impl IntoIterator<Item = (&'a str, Option<Range<usize>>)>,
    problem: impl Fn(&str) -> String,
) -> Result<(), Fault> {
    match keys.into_iter().find_map(|(name, span)| Some((name, span?))) {
        Some((name, span)) => Err(Fault::new(span.start, problem(name))),
        None => Ok(()),
    }
}

fn target(
    raw: Option<&Spanned<String>>,
    absent: Target,
    names: &HashMap<String, usize>,
) -> Result<Target, Fault> {
    let Some(raw) = raw else { return Ok(absent) };
    match raw.get_ref().as_str() {
        "next" => Ok(Target::Next),
        "fail" => Ok(Target::Fail),
        name => match names.get(name) {
            Some(index) => Ok(Target::Step(*index)),
            None => {
                let known = names.keys().map(String::as_str).chain(RESERVED);
                let advice = match nearest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "give a step that name, or write `next` or `fail`".into(),
                };
                Err(Fault::new(
                    raw.span().start,
                    format!("there is no step named `{name}` here; {advice}"),
                ))
            }
        },
    }
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

fn bounded(field: Option<&Spanned<u32>>, key: &str, absent: u32) -> Result<u32, Fault> {
    match field {
        Some(number) if *number.get_ref() == 0 => Err(Fault::new(
            number.span().start,
            format!("`{key} = 0` would never be done; write 1 or more"),
        )),
        Some(number) => Ok(*number.get_ref()),
        None => Ok(absent),
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

/// What the TOML reader complained about, with the nearest key when a key is not known.
fn misread(error: &toml::de::Error) -> Fault {
    let at = error.span().map_or(0, |span| span.start);
    let message = error.message().trim_end().to_owned();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let advice = match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown field") => {
            nearest(unknown, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"))
        }
        _ => None,
    };
    Fault::new(at, format!("{message}{}", advice.unwrap_or_default()))
}
