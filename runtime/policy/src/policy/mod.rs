//! The rules: those that come with longhaul, and those of a user before them.

mod file;
mod glob;
mod pattern;
mod secrets;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::act::{Act, Around};
use crate::decision::{Category, Decision, Verdict};
use crate::shell::expand::Field;
use crate::walk;

pub use file::{Case, PolicyError};
pub(crate) use glob::glob;
pub(crate) use pattern::Pattern;
use pattern::ToolPattern;
pub(crate) use secrets::Secrets;

/// The policy that comes with longhaul, as a file one can read.
pub const STANDARD: &str = include_str!("../../data/policy.toml");

/// What may be done.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Command patterns by the program they begin with.
    by_program: HashMap<String, ByWord>,
    /// Those that begin with a glob.
    of_any_program: Vec<At>,
    pub(crate) wrappers: HashMap<String, Wrapper>,
    with_value: HashMap<String, HashSet<String>>,
    pub(crate) secrets: Secrets,
    pub(crate) local_hosts: Vec<String>,
    pub(crate) production: HashSet<String>,
    /// What `policy test` tries.
    cases: Vec<Case>,
}

/// Where a pattern of commands stands: its rule, and its number there.
type At = (usize, usize);

/// Patterns of one program, each list in the order of the rules.
#[derive(Clone, Debug, Default)]
struct ByWord {
    all: Vec<At>,
    /// Those that may match whatever the first argument is, or without one.
    open: Vec<At>,
    /// By a first argument: those of them that begin with it, and the open ones.
    by_word: HashMap<String, Vec<At>>,
}

impl ByWord {
    /// Adds a pattern, whose operands begin with one of these words; none: with any.
    fn add(&mut self, at: At, first_words: Option<&[String]>) {
        self.all.push(at);
        match first_words {
            None => {
                self.open.push(at);
                self.by_word.values_mut().for_each(|patterns| patterns.push(at));
            }
            Some(words) => {
                for word in words {
                    let open = &self.open;
                    let patterns = self.by_word.entry(word.clone()).or_insert_with(|| open.clone());
                    patterns.push(at);
                }
            }
        }
    }

    /// Those that the first argument does not exclude. Behind an option any word may be the first.
    fn that_may_match(&self, args: &[Field]) -> &[At] {
        match args.first().map(|arg| arg.text.as_str()) {
            None => &self.open,
            Some(option) if option.starts_with(['-', '+']) => &self.all,
            Some(word) => self.by_word.get(word).unwrap_or(&self.open),
        }
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    pub(crate) category: Option<Category>,
    pub(crate) why: String,
    commands: Vec<Pattern>,
    tools: Vec<ToolPattern>,
    /// Of a user's file, and so before all others.
    users: bool,
}

/// A program that starts the program its arguments name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrapper {
    pub(crate) with_value: HashSet<String>,
    /// Operands before the command: the duration of `timeout`.
    pub(crate) operands: usize,
    /// `NAME=VALUE` before the command.
    pub(crate) assignments: bool,
    /// The command stands behind this word, as in `docker run ... --`; none: behind the options.
    pub(crate) words: Vec<String>,
}

impl Policy {
    /// The policy that comes with longhaul.
    ///
    /// # Panics
    /// Never: a test reads the file that is compiled in.
    pub fn standard() -> &'static Self {
        static KEPT: LazyLock<Policy> = LazyLock::new(|| {
            let mut policy = Policy::default();
            policy
                .add(STANDARD, "the policy of longhaul", false)
                .expect("the policy that is compiled in is read by a test");
            policy.index();
            policy
        });
        &KEPT
    }

    /// The policy that comes with longhaul, with the rules of `text` before its own. `file` names it in errors.
    ///
    /// # Errors
    /// [`PolicyError`] names the line and what would be right.
    pub fn extended(text: &str, file: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::standard().clone();
        policy.cases.clear();
        // A file that says nothing is no file of another version.
        if !text.trim().is_empty() {
            policy.add(text, file, true)?;
        }
        policy.index();
        Ok(policy)
    }

    /// Decides about one act. Looks at files through `around.read_file` alone; takes time in proportion to the text of
    /// the act and of its scripts, up to a bound.
    pub fn decide(&self, act: &Act, around: &Around<'_>) -> Decision {
        walk::decide(self, act, around)
    }

    /// The cases of a user's file, to be tried with [`Policy::decide`].
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    fn index(&mut self) {
        // A user's rules come first, each file in its own order.
        self.rules.sort_by_key(|rule| !rule.users);
        self.by_program.clear();
        self.of_any_program.clear();
        for (rule, found) in self.rules.iter().enumerate() {
            for (number, pattern) in found.commands.iter().enumerate() {
                let at = (rule, number);
                for name in pattern.programs() {
                    match name.contains(['*', '?']) {
                        true => self.of_any_program.push(at),
                        false => {
                            let patterns = self.by_program.entry(name.clone()).or_default();
                            patterns.add(at, pattern.first_words());
                        }
                    }
                }
            }
        }
    }

    /// Whether this option of this program takes the next word as its value.
    pub(crate) fn takes_value(&self, program: &str, option: &str) -> bool {
        self.with_value
            .get(program)
            .is_some_and(|options| options.contains(option))
    }

    /// The user's rule that a command meets, and the rule of longhaul: of those that ask the first, else one that allows.
    pub(crate) fn rules_for(&self, program: &str, args: &[Field]) -> (Option<&Rule>, Option<&Rule>) {
        let (mut users, mut asks, mut allows) = (None, None, None);
        let own = self
            .by_program
            .get(program)
            .map_or(&[][..], |by| by.that_may_match(args));
        let own = own.iter().map(|at| (at, true));
        let of_any = self.of_any_program.iter().map(|at| (at, false));
        for ((rule, number), named) in own.chain(of_any) {
            let rule = &self.rules[*rule];
            let pattern = &rule.commands[*number];
            let slot = match (rule.users, rule.verdict) {
                (true, _) => &mut users,
                (false, Verdict::Allow) => &mut allows,
                (false, _) => &mut asks,
            };
            if slot.is_none() && (named || pattern.is_of(program)) && pattern.matches(self, program, args) {
                *slot = Some(rule);
            }
        }
        (users, asks.or(allows))
    }

    /// The same for a tool, by the words of its name.
    pub(crate) fn rules_for_tool(&self, words: &[String]) -> (Option<&Rule>, Option<&Rule>) {
        let met = |rule: &&Rule| rule.tools.iter().any(|tool| tool.matches(words));
        let users = self.rules.iter().filter(|rule| rule.users).find(met);
        let own = || self.rules.iter().filter(|rule| !rule.users);
        let asks = own().filter(|rule| rule.verdict != Verdict::Allow).find(met);
        let allows = || own().filter(|rule| rule.verdict == Verdict::Allow).find(met);
        (users, asks.or_else(allows))
    }

    /// Whether a word of this name speaks of production.
    pub(crate) fn is_production(&self, text: &str) -> bool {
        crate::words::of(text)
            .iter()
            .any(|word| self.production.contains(word.as_str()))
    }

    /// Whether this host is this machine.
    pub(crate) fn is_local(&self, host: &str) -> bool {
        self.local_hosts.iter().any(|local| glob(local, host))
    }
}
