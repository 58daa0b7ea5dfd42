//! Policy files.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Pattern, Policy, Rule, ToolPattern, Wrapper};
use crate::decision::{Category, Verdict};

/// A policy file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct PolicyError {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// What a policy file says is to be decided about a command or a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Name of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether it is contained.
    #[serde(default)]
    pub contained: bool,
    /// The verdict it is to have.
    pub expect: Verdict,
    /// The category it is to have, where that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    #[serde(default)]
    rule: Vec<Spanned<RuleEntry>>,
    #[serde(default)]
    wrapper: Vec<WrapperEntry>,
    #[serde(default)]
    options: Vec<OptionsEntry>,
    #[serde(default)]
    secrets: SecretsEntry,
    #[serde(default)]
    hosts: HostsEntry,
    #[serde(default)]
    production: ProductionEntry,
    #[serde(default)]
    test: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    name: Spanned<String>,
    #[serde(default)]
    verdict: Option<Spanned<String>>,
    #[serde(default)]
    category: Option<Spanned<String>>,
    #[serde(default)]
    why: String,
    #[serde(default)]
    commands: Vec<Spanned<String>>,
    #[serde(default)]
    tools: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrapperEntry {
    programs: Vec<String>,
    #[serde(default)]
    with_value: Vec<String>,
    #[serde(default)]
    operands: usize,
    #[serde(default)]
    assignments: bool,
    #[serde(default)]
    words: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptionsEntry {
    programs: Vec<String>,
    with_value: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SecretsEntry {
    files: Vec<String>,
    except: Vec<String>,
    variables: Vec<String>,
    variables_except: Vec<String>,
    not_reading: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostsEntry {
    local: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ProductionEntry {
    words: Vec<String>,
}

/// The version of the format that this longhaul reads.
const VERSION: u32 = 1;

impl Policy {
    /// Adds the rules and lists of a file.
    pub(super) fn add(&mut self, text: &str, file: &str, users: bool) -> Result<(), PolicyError> {
        let fault = |at: usize, problem: String| PolicyError {
            file: file.to_owned(),
            line: text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1,
            problem,
        };
        let read: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().lines().next().unwrap_or_default();
            let hint = match message.contains("missing field `version`") {
                true => "; begin the file with `version = 1`",
                false => "",
            };
            fault(at, format!("{message}{hint}"))
        })?;
        if *read.version.get_ref() != VERSION {
            let problem = format!(
                "this longhaul reads policy files of version {VERSION}, not {}",
                read.version.get_ref()
            );
            return Err(fault(read.version.span().start, problem));
        }
        for entry in read.rule {
            let at = entry.span().start;
            self.rules
                .push(rule(entry.into_inner(), at, users).map_err(|(at, problem)| fault(at, problem))?);
        }
        for entry in read.wrapper {
            let wrapper = Wrapper {
                with_value: entry.with_value.into_iter().collect(),
                operands: entry.operands,
                assignments: entry.assignments,
                words: entry.words,
            };
            for program in entry.programs {
                self.wrappers.insert(program, wrapper.clone());
            }
        }
        for entry in read.options {
            for program in entry.programs {
                let options = self.with_value.entry(program).or_default();
                options.extend(entry.with_value.iter().cloned());
            }
        }
        let SecretsEntry {
            files,
            except,
            variables,
            variables_except,
            not_reading,
        } = read.secrets;
        self.secrets
            .add(&files, &except, &variables, &variables_except, &not_reading);
        self.local_hosts.extend(read.hosts.local);
        self.production.extend(read.production.words);
        self.cases.extend(read.test);
        Ok(())
    }
}

fn rule(entry: RuleEntry, at: usize, users: bool) -> Result<Rule, (usize, String)> {
    let category = match entry.category {
        None => None,
        Some(name) => Some(Category::named(name.get_ref()).ok_or_else(|| {
            let known: Vec<&str> = Category::RISKY.iter().map(|category| category.name()).collect();
            let problem = format!(
                "there is no category {:?}; there are {}",
                name.get_ref(),
                known.join(", ")
            );
            (name.span().start, problem)
        })?),
    };
    let verdict = match &entry.verdict {
        None => match category {
            Some(_) => Verdict::Ask,
            None => Verdict::Allow,
        },
        Some(name) => [Verdict::Allow, Verdict::Ask, Verdict::Deny]
            .into_iter()
            .find(|verdict| verdict.name() == name.get_ref())
            .ok_or_else(|| {
                let problem = format!("a verdict is `allow`, `ask` or `deny`, not {:?}", name.get_ref());
                (name.span().start, problem)
            })?,
    };
    if entry.commands.is_empty() && entry.tools.is_empty() {
        let problem = format!(
            "the rule {:?} meets nothing; give it `commands` or `tools`",
            entry.name.get_ref()
        );
        return Err((at, problem));
    }
    if entry.name.get_ref().trim().is_empty() {
        return Err((
            entry.name.span().start,
            "a rule needs a name, which decisions tell".into(),
        ));
    }
    let mut commands = Vec::with_capacity(entry.commands.len());
    for text in &entry.commands {
        commands.push(Pattern::read(text.get_ref()).map_err(|problem| (text.span().start, problem))?);
    }
    let mut tools = Vec::with_capacity(entry.tools.len());
    for text in &entry.tools {
        tools.push(ToolPattern::read(text.get_ref()).map_err(|problem| (text.span().start, problem))?);
    }
    Ok(Rule {
        name: entry.name.into_inner(),
        verdict,
        category,
        why: entry.why,
        commands,
        tools,
        users,
    })
}
