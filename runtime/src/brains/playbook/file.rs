//! A playbook as text, and as steps that were checked: acts that the hands know, targets that exist, numbers in bounds.

use std::collections::HashMap;

use longhaul_actors::session::{RecoveryClass, ToolCall};
use serde::Deserialize;
use toml::Spanned;

use super::acts;
use super::error::{Fault, PlaybookError, line_of, nearest};
use super::outcome::Expect;
use super::raw::{self, RawStep};

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
        check(text).map_err(|fault| fault.within(file, text))
    }
}

/// How often a step may be come to, unless it says otherwise: enough for a loop with a purpose.
const AT_MOST: u32 = 20;
/// Words that name no step.
const RESERVED: [&str; 2] = ["next", "fail"];

fn check(text: &str) -> Result<Playbook, Fault> {
    let raw = raw::read(text)?;
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
    if raw.step.is_empty() {
        let problem = "there is no [[step]] here, so a run would end at once; write at least\n\n    [[step]]\n    run = \"make test\"";
        return Err(Fault::new(0, problem));
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
    raw: RawStep,
    names: &HashMap<String, usize>,
) -> Result<Step, Fault> {
    let label = match &raw.name {
        Some(name) => format!("step {} `{}` (line {line})", index + 1, name.get_ref()),
        None => format!("step {} (line {line})", index + 1),
    };
    Ok(Step {
        label,
        act: acts::act(at, &raw)?,
        expect: raw.expect.map(Spanned::into_inner),
        on_success: target(raw.on_success.as_ref(), Target::Next, names)?,
        on_failure: target(raw.on_failure.as_ref(), Target::Fail, names)?,
        on_unknown: raw.on_unknown.map(Spanned::into_inner),
        retry: raw.retry.map_or(0, Spanned::into_inner),
        at_most: bounded(raw.at_most.as_ref(), "at_most", AT_MOST)?,
    })
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
