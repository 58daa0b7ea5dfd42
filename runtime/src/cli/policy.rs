//! `longhaul policy`: what the gate says about an act, and what it reads in a goal. Nothing is run and nothing changed.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use longhaul_policy::{Act, Around, Author, Decision, Policy, STANDARD, Script, digest, goal};
use serde::Serialize;

use super::Outcome;
use super::args::{self, PolicyCheck, PolicyVerb};
use super::reach::Place;
use super::render::escaped;
use super::ui::Ui;
use crate::api::{Code, Problem};

/// Largest script that is read, bytes.
const SCRIPT_LIMIT: u64 = 1 << 20;

/// What `check` answers.
#[derive(Serialize)]
struct Checked<'a> {
    verdict: &'a str,
    category: Option<&'a str>,
    rule: &'a str,
    detail: &'a str,
    scripts: &'a [Script],
    digest: String,
}

/// What `goal` answers.
#[derive(Serialize)]
struct GoalRead {
    forbidden: Vec<&'static str>,
    requested: Vec<&'static str>,
}

pub(super) fn policy(args: args::Policy, place: &Place, ui: &Ui) -> Outcome {
    match args.verb {
        PolicyVerb::Check(args) => check(args, place, ui),
        PolicyVerb::Goal { text } => read_goal(&text, ui),
        PolicyVerb::Show => {
            ui.bytes(STANDARD.as_bytes())?;
            Ok(0)
        }
        PolicyVerb::Test { file } => test(&file, ui),
    }
}

fn check(args: PolicyCheck, place: &Place, ui: &Ui) -> Outcome {
    let own = place.data().join("policy.toml");
    let policy = match place.policy() {
        Some(file) => read(file, false)?,
        None => read(&own, true)?,
    };
    let act = match (args.command, args.tool) {
        (Some(line), _) => Act::line(line),
        (None, Some(tool)) => {
            let given = args.args.as_deref().unwrap_or("{}");
            let arguments: serde_json::Value = serde_json::from_str(given).map_err(|error| {
                Problem::new(
                    Code::InvalidRequest,
                    format!("the arguments of a tool are a JSON object: {error}"),
                )
                .next(
                    "give an object",
                    "longhaul policy check --tool NAME --args '{\"path\": \"notes.md\"}'",
                )
            })?;
            if !arguments.is_object() {
                let problem = Problem::new(Code::InvalidRequest, "the arguments of a tool are a JSON object");
                return Err(problem
                    .next("give an object", "longhaul policy check --tool NAME --args '{}'")
                    .into());
            }
            Act::call(tool, arguments)
        }
        (None, None) => Act::argv(args.argv),
    };
    let forbidden = goal::read(args.goal.as_deref().unwrap_or_default()).forbidden;
    let here = std::env::current_dir().ok();
    let decision = decide(
        &policy,
        &act,
        args.contained,
        args.mine,
        &forbidden,
        here.as_deref(),
    );
    show(&act, &decision, ui)?;
    Ok(0)
}

fn decide(
    policy: &Policy,
    act: &Act,
    contained: bool,
    mine: bool,
    forbidden: &[longhaul_policy::Category],
    here: Option<&Path>,
) -> Decision {
    let read_file = |path: &str| {
        let file = File::open(here?.join(path)).ok()?;
        let plain = file
            .metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() <= SCRIPT_LIMIT);
        let mut content = Vec::new();
        plain.then(|| file.take(SCRIPT_LIMIT).read_to_end(&mut content).ok())??;
        Some(content)
    };
    let workspace = here.and_then(Path::to_str);
    policy.decide(
        act,
        &Around {
            contained,
            author: if mine { Author::LocalHuman } else { Author::Agent },
            forbidden,
            workspace,
            read_file: &read_file,
        },
    )
}

fn show(act: &Act, decision: &Decision, ui: &Ui) -> Result<(), super::ui::Failure> {
    let category = decision.category.map(longhaul_policy::Category::name);
    if ui.is_json() {
        return ui.object(&Checked {
            verdict: decision.verdict.name(),
            category,
            rule: &decision.rule,
            detail: &decision.detail,
            scripts: &decision.scripts,
            digest: digest(act, &decision.scripts),
        });
    }
    let category = category
        .map(|category| format!(" ({category})"))
        .unwrap_or_default();
    ui.line(&escaped(&format!(
        "{}{category}, rule {}",
        decision.verdict, decision.rule
    )))?;
    ui.line(&escaped(&format!("  {}", decision.detail)))?;
    for script in &decision.scripts {
        let hash = script.sha256.as_deref().unwrap_or("not there");
        ui.line(&escaped(&format!("  script {}: {hash}", script.path)))?;
    }
    Ok(())
}

fn read_goal(text: &str, ui: &Ui) -> Outcome {
    let reading = goal::read(text);
    let names =
        |all: &[longhaul_policy::Category]| all.iter().map(|category| category.name()).collect::<Vec<_>>();
    let (forbidden, requested) = (names(&reading.forbidden), names(&reading.requested));
    if ui.is_json() {
        ui.object(&GoalRead { forbidden, requested })?;
        return Ok(0);
    }
    let listed = |names: &[&str]| match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    };
    ui.line(&format!("forbidden: {}", listed(&forbidden)))?;
    ui.line(&format!("requested: {}", listed(&requested)))?;
    Ok(0)
}

fn test(file: &Path, ui: &Ui) -> Outcome {
    let policy = read(file, false)?;
    let mut wrong = 0;
    for case in policy.cases() {
        let (act, shown) = match (&case.command, &case.tool) {
            (Some(line), _) => (Act::line(line.as_str()), line.as_str()),
            (None, Some(tool)) => (Act::call(tool.as_str(), serde_json::json!({})), tool.as_str()),
            (None, None) => {
                let problem = Problem::new(Code::InvalidRequest, "a [[test]] needs `command` or `tool`");
                return Err(problem.next("name an act", "longhaul policy show").into());
            }
        };
        let decision = decide(
            &policy,
            &act,
            case.contained,
            false,
            &[],
            std::env::current_dir().ok().as_deref(),
        );
        let right = decision.verdict == case.expect
            && case
                .category
                .is_none_or(|category| decision.category == Some(category));
        wrong += usize::from(!right);
        if ui.is_json() {
            ui.object(&serde_json::json!({
                "act": shown,
                "ok": right,
                "expected": case.expect,
                "verdict": decision.verdict,
                "category": decision.category,
                "rule": decision.rule,
            }))?;
        } else if !right {
            let found = format!("{} by rule {}", decision.verdict, decision.rule);
            ui.line(&escaped(&format!("wrong: {shown}: {found}, not {}", case.expect)))?;
        }
    }
    if !ui.is_json() {
        let count = policy.cases().len();
        ui.line(&format!("{} of {count} cases are as expected", count - wrong))?;
    }
    Ok(u8::from(wrong > 0))
}

/// Reads a policy file; where it may be missing, the policy of longhaul stands alone.
fn read(file: &Path, optional: bool) -> Result<Policy, Problem> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if optional && error.kind() == ErrorKind::NotFound => {
            return Ok(Policy::standard().clone());
        }
        Err(error) => {
            let detail = format!("{} cannot be read: {error}", file.display());
            return Err(Problem::new(Code::InvalidRequest, detail)
                .next("see the form of such a file", "longhaul policy show"));
        }
    };
    Policy::extended(&text, &file.display().to_string()).map_err(|error| {
        Problem::new(Code::InvalidRequest, error.to_string()).next(
            "mend the file, then try it",
            format!("longhaul policy test {}", file.display()),
        )
    })
}
