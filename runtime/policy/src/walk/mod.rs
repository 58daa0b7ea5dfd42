//! Follows an act through everything it would run, and gathers what the rules say about each part.
//!
//! Nothing runs here. Which branch is taken, and how often, is not asked: every command that the text can reach is
//! judged, with every value that its variables can have. The most severe answer is the answer for the whole.

mod builtins;
mod command;
mod commands;
mod database;
mod network;
mod places;
mod processes;
mod runners;
mod source;
mod tools;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use crate::act::{Act, Around, Author, What};
use crate::decision::{Category, Decision, Script, Verdict};
use crate::policy::{Policy, Rule};
use crate::shell::ast::{self, How, Node, Redirect, Simple};
use crate::shell::expand::{self, Field, HOLE, Scope, Values};
use crate::shell::parse;

/// Most commands that are judged in one act.
const BUDGET: u32 = 10_000;
/// Deepest chain of commands that start each other.
const DEEPEST: u32 = 24;
/// Most bytes of values that are put into words in one act: each variable may hold another twice.
const WIDEST: usize = 1024 * 1024;
/// Longest script that is read, bytes.
const LONGEST_SCRIPT: usize = 512 * 1024;

/// What a command reads on its standard input.
#[derive(Clone, Debug, Default)]
pub(crate) enum Feed {
    /// What the act gives it, if anything.
    #[default]
    Inherited,
    /// This text.
    Text(String),
    /// Names of files below this place.
    Names(String),
    /// A file.
    File(String),
    /// Known only when it runs.
    Dynamic,
}

/// What a rule says about one part.
#[derive(Clone, Debug)]
struct Finding {
    verdict: Verdict,
    category: Option<Category>,
    rule: String,
    detail: String,
}

/// What a substitution prints, as far as that can be told.
#[derive(Clone, Debug)]
struct Printed {
    text: Option<String>,
    /// How many values variables had been given, if one of them was looked at.
    sets: Option<u64>,
}

pub(crate) struct Walk<'a> {
    policy: &'a Policy,
    around: &'a Around<'a>,
    env: &'a BTreeMap<String, String>,
    stdin: &'a [u8],
    worst: Option<Finding>,
    prohibited: Option<Finding>,
    vars: HashMap<String, Values>,
    /// Arguments of the function or script that is followed: `$1` and its sisters.
    positional: Vec<Vec<String>>,
    functions: HashMap<String, Rc<Vec<Node>>>,
    aliases: HashMap<String, String>,
    /// Files that the act itself writes, by their plain path, with their content as far as it can be told.
    written: HashMap<String, Option<String>>,
    /// What was written to which of them, each once, since what writes is met more than once.
    pieces: HashSet<(String, String)>,
    /// Output of the substitutions that stand for files.
    made: Vec<Option<String>>,
    /// Programs that the act itself builds.
    built: Vec<String>,
    /// Texts that were read, which functions, aliases and loops run again.
    read: HashMap<String, Rc<ast::Script>>,
    /// What substitutions print, by script, arguments and what was defined when that was worked out.
    printed: HashMap<(u64, u64, u64, bool, bool), Printed>,
    /// Counts what was defined (functions, aliases, files), so that what was worked out before counts no more.
    changes: u64,
    /// Counts the values that variables were given, for what was worked out from a variable.
    sets: u64,
    /// A variable was looked at.
    looked: bool,
    scripts: BTreeMap<String, Option<String>>,
    /// Scripts that are being followed, so that one that names itself ends.
    open_scripts: Vec<String>,
    cwd: places::Folder,
    /// Where the act begins.
    began: places::Folder,
    root: Option<String>,
    budget: u32,
    /// Bytes of values that may still be put into words.
    values_left: usize,
    depth: u32,
    unset_is_empty: bool,
    met_unset: bool,
    /// Only looks for risky acts: what is unknown was said before.
    only_risky: bool,
}

/// Decides about an act.
pub(crate) fn decide(policy: &Policy, act: &Act, around: &Around<'_>) -> Decision {
    let mut walk = Walk::new(policy, act, around);
    match &act.what {
        What::Line(line) => walk.line(line),
        What::Argv(words) => {
            let fields: Vec<Field> = words
                .iter()
                .map(|word| Field::new(word.replace(HOLE, "\u{fffd}")))
                .collect();
            walk.environment();
            match fields.is_empty() {
                true => walk.unknown("nothing-to-run", "there is no program to run"),
                false => walk.invoke(&fields, &Feed::Inherited),
            }
        }
        What::Call(arguments) => walk.tool(&act.tool, arguments),
    }
    walk.finish()
}

impl<'a> Walk<'a> {
    fn new(policy: &'a Policy, act: &'a Act, around: &'a Around<'a>) -> Self {
        let root = around.workspace.map(places::plain);
        let root = root.or_else(|| act.cwd.starts_with('/').then(|| places::plain(&act.cwd)));
        let mut walk = Self {
            policy,
            around,
            env: &act.env,
            stdin: &act.stdin,
            worst: None,
            prohibited: None,
            vars: HashMap::new(),
            positional: Vec::new(),
            functions: HashMap::new(),
            aliases: HashMap::new(),
            written: HashMap::new(),
            pieces: HashSet::new(),
            made: Vec::new(),
            built: Vec::new(),
            read: HashMap::new(),
            printed: HashMap::new(),
            changes: 0,
            sets: 0,
            looked: false,
            scripts: BTreeMap::new(),
            open_scripts: Vec::new(),
            cwd: places::Folder::default(),
            began: places::Folder::default(),
            root,
            budget: BUDGET,
            values_left: WIDEST,
            depth: 0,
            unset_is_empty: false,
            met_unset: false,
            only_risky: false,
        };
        // Scripts are named from the act's own folder, so that is where paths begin; it must lie in the workspace.
        walk.cwd = places::Folder::of_act(&act.cwd, walk.root.as_deref());
        walk.began = walk.cwd.clone();
        walk
    }

    fn finish(self) -> Decision {
        let scripts = self.scripts.into_iter();
        let scripts = scripts.map(|(path, sha256)| Script { path, sha256 }).collect();
        let found = match (self.prohibited, self.worst) {
            (Some(prohibited), _) => prohibited,
            (None, Some(worst)) => worst,
            (None, None) => Finding {
                verdict: Verdict::Allow,
                category: None,
                rule: "nothing-to-run".into(),
                detail: "it runs nothing".into(),
            },
        };
        Decision {
            verdict: found.verdict,
            category: found.category,
            rule: found.rule,
            detail: found.detail,
            scripts,
        }
    }

    /// Keeps a finding if it is more severe than what was found before.
    fn found(&mut self, found: Finding) {
        if let Some(category) = found.category
            && self.prohibited.is_none()
            && self.around.forbidden.contains(&category)
        {
            self.prohibited = Some(Finding {
                verdict: Verdict::Deny,
                category: Some(category),
                rule: "goal".into(),
                detail: format!("the goal forbids to {}: {}", doing(category), found.detail),
            });
        }
        let severity = |found: &Finding| {
            let unknown = found.category == Some(Category::Unknown);
            (found.verdict, !unknown && found.category.is_some(), unknown)
        };
        if self
            .worst
            .as_ref()
            .is_none_or(|worst| severity(&found) > severity(worst))
        {
            self.worst = Some(found);
        }
    }

    /// An act of a category that always asks.
    fn risky(&mut self, category: Category, rule: &str, detail: impl Into<String>) {
        self.found(Finding {
            verdict: Verdict::Ask,
            category: Some(category),
            rule: rule.to_owned(),
            detail: brief(&detail.into()),
        });
    }

    /// An act that no rule knows.
    fn unknown(&mut self, rule: &str, detail: impl Into<String>) {
        if self.only_risky {
            return;
        }
        let free = self.around.contained || self.around.author == Author::LocalHuman;
        self.found(Finding {
            verdict: if free { Verdict::Allow } else { Verdict::Ask },
            category: Some(Category::Unknown),
            rule: rule.to_owned(),
            detail: brief(&detail.into()),
        });
    }

    /// An ordinary act.
    fn ordinary(&mut self, rule: &str, detail: impl Into<String>) {
        if self.worst.is_none() {
            self.found(Finding {
                verdict: Verdict::Allow,
                category: None,
                rule: rule.to_owned(),
                detail: brief(&detail.into()),
            });
        }
    }

    /// An ordinary command. Mostly another was found before, and nobody reads what this one was.
    fn ordinary_command(&mut self, rule: &str, fields: &[Field]) {
        if self.worst.is_none() {
            self.ordinary(rule, command::shown(fields));
        }
    }

    /// What a rule says.
    fn by_rule(&mut self, rule: &Rule, detail: &str) {
        if rule.category == Some(Category::Unknown) && rule.verdict == Verdict::Ask {
            return self.unknown(&rule.name, format!("{detail}: {}", rule.why));
        }
        let detail = match rule.why.is_empty() {
            true => brief(detail),
            false => format!("{}: {}", brief(detail), rule.why),
        };
        self.found(Finding {
            verdict: rule.verdict,
            category: rule.category,
            rule: rule.name.clone(),
            detail,
        });
    }

    /// A text that a shell would run.
    fn line(&mut self, text: &str) {
        self.environment();
        self.code(text, &Feed::Inherited);
    }

    /// What the act's own environment makes programs run.
    fn environment(&mut self) {
        let env: Vec<(String, String)> = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in env {
            self.variable_runs(&name, &value);
        }
    }

    /// Follows shell code. A hole in it may hold any command.
    fn code(&mut self, text: &str, feed: &Feed) {
        let holed = text.contains(HOLE);
        let text = match holed {
            true => text.replace(HOLE, "${_}"),
            false => text.to_owned(),
        };
        if holed {
            self.unknown(
                "dynamic-code",
                format!("part of this is known only when it runs: {text}"),
            );
        }
        if self.depth >= DEEPEST {
            return self.unknown(
                "too-deep",
                "commands that start commands, too deep to be followed",
            );
        }
        let script = match self.read.get(&text) {
            Some(script) => Rc::clone(script),
            None => {
                let script = Rc::new(parse(&text));
                // The line itself is read once.
                if self.depth > 0 {
                    self.read.insert(text.clone(), Rc::clone(&script));
                }
                script
            }
        };
        self.depth += 1;
        if script.broken {
            self.unknown("not-shell", format!("this cannot be read as shell: {text}"));
            self.scan(&text);
        }
        self.script(&script, feed);
        self.depth -= 1;
    }

    /// A text that is not shell, word by word: what would be risky in it still asks for that.
    fn scan(&mut self, text: &str) {
        const QUOTES: [char; 3] = ['"', '\'', '`'];
        let only_risky = std::mem::replace(&mut self.only_risky, true);
        let word = |text: &str| ast::Word {
            parts: vec![ast::Part::Text {
                text: text.to_owned(),
                quoted: false,
            }],
        };
        for part in text.split([';', '|', '&', '\n', '(', ')']).take(200) {
            let texts = part.split_whitespace().map(|word| word.trim_matches(QUOTES));
            let texts: Vec<&str> = texts.take(64).collect();
            self.try_words(texts.iter().copied().map(word).collect());
            // A quote that nothing closes may stand behind a word as well as in it.
            if texts.iter().any(|text| text.contains(QUOTES)) {
                let before = |text: &&str| {
                    let before = text.split(QUOTES).next().unwrap_or_default();
                    word(before.trim_end_matches('$'))
                };
                self.try_words(texts.iter().map(before).collect());
            }
        }
        self.only_risky = only_risky;
    }

    fn try_words(&mut self, words: Vec<ast::Word>) {
        for fields in expand::fields(&words, self) {
            self.invoke(&fields, &Feed::Dynamic);
        }
    }

    fn script(&mut self, script: &ast::Script, feed: &Feed) {
        self.collect(&script.nodes);
        self.nodes(&script.nodes, feed);
    }

    fn nodes(&mut self, nodes: &[Node], feed: &Feed) {
        for node in nodes {
            self.node(node, feed);
        }
    }

    fn node(&mut self, node: &Node, feed: &Feed) {
        match node {
            Node::Simple(simple) => self.simple(simple, feed),
            Node::Pipe(stages) => {
                let mut feed = feed.clone();
                for (at, stage) in stages.iter().enumerate() {
                    let next = self.next_feed(stages, at, &feed);
                    self.node(stage, &feed);
                    feed = next;
                }
            }
            Node::Block { nodes, subshell } => {
                let cwd = self.cwd.clone();
                self.nodes(nodes, feed);
                if *subshell {
                    self.cwd = cwd;
                }
            }
            Node::For { values, body, .. } => {
                // What runs while the values are worked out.
                let _ = expand::fields(values, self);
                self.nodes(body, feed);
            }
            Node::Function { .. } => {}
            Node::Redirected { body, redirects } => {
                let feed = self.redirects(redirects, feed);
                self.node(body, &feed);
            }
        }
    }

    /// What a stage of a pipe hands on, where a later stage would run it or write it down.
    fn next_feed(&mut self, stages: &[Node], at: usize, feed: &Feed) -> Feed {
        const FILTERS: [&str; 16] = [
            "grep", "egrep", "rg", "sort", "head", "tail", "wc", "uniq", "cut", "tr", "jq", "less", "more",
            "column", "nl", "fold",
        ];
        let filters = |stage: &Node| match stage {
            Node::Simple(simple) => {
                let first = simple.words.first().map(|word| &word.parts[..]);
                let writes = simple.redirects.iter().any(|redirect| redirect.how == How::Write);
                !writes
                    && matches!(first, Some([ast::Part::Text { text, .. }]) if FILTERS.contains(&text.as_str()))
            }
            _ => false,
        };
        match stages[at + 1..].iter().all(filters) {
            true => Feed::Dynamic,
            false => self.output(&stages[at], feed),
        }
    }

    /// A first look at everything that is set somewhere: variables, functions, aliases, files. Whatever may be set when
    /// a command runs counts, in whichever order the lines stand.
    fn collect(&mut self, nodes: &[Node]) {
        for node in nodes {
            match node {
                Node::Simple(simple) => self.collect_simple(simple, &Feed::Inherited),
                Node::Pipe(stages) => {
                    let mut feed = Feed::Inherited;
                    for (at, stage) in stages.iter().enumerate() {
                        let next = self.next_feed(stages, at, &feed);
                        match stage {
                            Node::Simple(simple) => self.collect_simple(simple, &feed),
                            stage => self.collect(std::slice::from_ref(stage)),
                        }
                        feed = next;
                    }
                }
                Node::Block { nodes, .. } => self.collect(nodes),
                Node::For { name, values, body } => {
                    let mut all: Values = Vec::new();
                    for reading in expand::fields(values, self) {
                        all.extend(reading.into_iter().map(|field| match field.glob {
                            // Names of files, whatever they are.
                            true => vec![format!(
                                "{}{HOLE}",
                                field.text.split(['*', '?', '[']).next().unwrap_or_default()
                            )],
                            false => vec![field.text],
                        }));
                    }
                    if all.len() > expand::MOST || all.is_empty() {
                        all = vec![vec![HOLE.to_string()]];
                    }
                    self.sets += 1;
                    self.vars.entry(name.clone()).or_default().extend(all);
                    self.collect(body);
                }
                Node::Function { name, body } => {
                    self.changes += 1;
                    self.functions.insert(name.clone(), Rc::clone(body));
                    self.collect(body);
                }
                Node::Redirected { body, redirects } => {
                    let writes = redirects.iter().find(|redirect| redirect.how == How::Write);
                    if let Some(redirect) = writes {
                        let content = match self.output(body, &Feed::Inherited) {
                            Feed::Text(text) => Some(text),
                            _ => None,
                        };
                        self.wrote(redirect, content);
                    }
                    self.collect(std::slice::from_ref(body));
                }
            }
        }
    }

    fn collect_simple(&mut self, simple: &Simple, feed: &Feed) {
        for assign in &simple.assigns {
            self.assign(assign);
        }
        self.collect_command(simple, feed);
    }

    fn assign(&mut self, assign: &ast::Assign) {
        let fields: Vec<Vec<String>> = assign
            .values
            .iter()
            .map(|word| expand::texts(word, self))
            .collect();
        let mut values: Values = match &fields[..] {
            [one] => one.iter().map(|text| vec![text.clone()]).collect(),
            many => vec![many.iter().filter_map(|texts| texts.first().cloned()).collect()],
        };
        let before = self.vars.get(&assign.name).cloned().unwrap_or_default();
        if assign.joins {
            let joined = before.iter().flat_map(|old| {
                let old = old.first().cloned().unwrap_or_default();
                values
                    .iter()
                    .map(move |new| vec![format!("{old}{}", new.join(" "))])
            });
            // As an array too: `a+=(push)`, `a[1]=push`.
            let listed = before.iter().flat_map(|old| {
                values
                    .iter()
                    .map(move |new| [old.as_slice(), new.as_slice()].concat())
            });
            values = joined
                .chain(listed)
                .chain(values.iter().cloned())
                .take(expand::MOST)
                .collect();
        }
        let all = self.vars.entry(assign.name.clone()).or_default();
        for value in values {
            if !all.contains(&value) {
                all.push(value);
                self.sets += 1;
            }
        }
        if all.len() > expand::MOST {
            *all = vec![vec![HOLE.to_string()]];
        }
    }

    /// What redirections feed a command with; where they write is looked at.
    fn redirects(&mut self, redirects: &[Redirect], feed: &Feed) -> Feed {
        let mut feed = feed.clone();
        for redirect in redirects {
            let texts = expand::texts(&redirect.to, self);
            match redirect.how {
                How::Same => {}
                How::Text => {
                    feed = match texts.into_iter().next() {
                        Some(text) if !text.contains(HOLE) => Feed::Text(text),
                        Some(text) => Feed::Text(text),
                        None => Feed::Dynamic,
                    }
                }
                How::Read => {
                    for text in &texts {
                        self.reads_file(text, false, "<");
                    }
                    feed = texts.into_iter().next().map_or(Feed::Dynamic, Feed::File);
                }
                How::Write => {
                    for text in &texts {
                        self.writes_file(text, ">");
                    }
                }
            }
        }
        feed
    }

    fn simple(&mut self, simple: &Simple, feed: &Feed) {
        if self.budget == 0 {
            return self.unknown("too-long", "more commands than are followed in one act");
        }
        self.budget -= 1;
        let feed = self.redirects(&simple.redirects, feed);
        for assign in &simple.assigns {
            self.assigned(assign);
        }
        if let ([word], false) = (&simple.words[..], simple.assigns.is_empty())
            && let [ast::Part::Text { text, .. }] = &word.parts[..]
            && ["export", "declare", "typeset", "local", "readonly"].contains(&text.as_str())
        {
            return self.ordinary("ordinary", text);
        }
        self.met_unset = false;
        let readings = expand::fields(&simple.words, self);
        let unset = std::mem::take(&mut self.met_unset);
        for fields in &readings {
            self.invoke(fields, &feed);
        }
        // A variable that nobody set is often empty, and `$x git push` is a push then.
        if unset && !self.unset_is_empty {
            self.unset_is_empty = true;
            let (only_risky, worst) = (
                std::mem::replace(&mut self.only_risky, true),
                self.worst.is_some(),
            );
            for fields in expand::fields(&simple.words, self) {
                self.invoke(&fields, &feed);
            }
            debug_assert!(!worst || self.worst.is_some());
            self.only_risky = only_risky;
            self.unset_is_empty = false;
        }
    }

    /// An assignment, when it is met: what its value runs, and what the variable makes others run.
    fn assigned(&mut self, assign: &ast::Assign) {
        for word in &assign.values {
            for text in expand::texts(word, self) {
                self.variable_runs(&assign.name, &text);
            }
            for part in &word.parts {
                if let ast::Part::Var {
                    name, fallback: None, ..
                } = part
                    && *name != assign.name
                {
                    self.secret_variable(name);
                }
            }
        }
    }

    /// Variables that name a program which others start.
    fn variable_runs(&mut self, name: &str, value: &str) {
        const COMMANDS: [&str; 17] = [
            "GIT_SSH_COMMAND",
            "GIT_SSH",
            "GIT_EDITOR",
            "GIT_SEQUENCE_EDITOR",
            "GIT_PAGER",
            "GIT_ASKPASS",
            "SSH_ASKPASS",
            "GIT_EXTERNAL_DIFF",
            "GIT_PROXY_COMMAND",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "BROWSER",
            "PROMPT_COMMAND",
            "RUSTC_WRAPPER",
            "MANPAGER",
            "LESSOPEN",
        ];
        const SCRIPTS: [&str; 2] = ["BASH_ENV", "ENV"];
        const LIBRARIES: [&str; 4] = ["LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS"];
        if value.is_empty() {
        } else if COMMANDS.contains(&name) {
            self.code(value, &Feed::Dynamic);
        } else if SCRIPTS.contains(&name) && value.contains(['/', '.']) {
            self.shell_script(value, &[]);
        } else if LIBRARIES.contains(&name)
            && (name != "NODE_OPTIONS" || value.contains("require") || value.contains("import"))
        {
            self.unknown("loads-library", format!("{name}={value}"));
        }
    }

    /// A variable whose name says that it holds a secret, and that the act did not set itself.
    fn secret_variable(&mut self, name: &str) {
        self.looked = true;
        if !self.vars.contains_key(name)
            && !self.env.contains_key(name)
            && self.policy.secrets.is_variable(name)
        {
            self.risky(Category::ReadSecrets, "secret-variable", format!("${name}"));
        }
    }

    /// A script, as it is now; its hash is kept for the digest.
    fn read_script(&mut self, path: &str) -> Option<Vec<u8>> {
        let content = (self.around.read_file)(path);
        let sha256 = content
            .as_ref()
            .map(|content| hex::encode(Sha256::digest(content)));
        self.scripts.insert(path.to_owned(), sha256);
        content
    }
}

impl Walk<'_> {
    /// Takes what a value costs. Tells whether it may be put into words.
    fn affords(&mut self, length: usize) -> bool {
        let left = self.values_left.checked_sub(length);
        self.values_left = left.unwrap_or_default();
        left.is_some()
    }

    fn values_of(&mut self, name: &str) -> Option<Values> {
        if let Some(values) = self.vars.get(name) {
            // An assignment that stands further down has no say when a function gave it another value, so all count.
            return Some(values.clone());
        }
        if let Some(value) = self.env.get(name) {
            return Some(vec![vec![value.clone()]]);
        }
        let own = self.positional.last();
        match name {
            "@" | "*" => {
                return match own {
                    Some(own) => Some(vec![own.clone()]),
                    None => {
                        self.met_unset = true;
                        None
                    }
                };
            }
            "HOME" => return Some(vec![vec!["~".into()]]),
            "PWD" => return Some(vec![vec![".".into()]]),
            "TMPDIR" => return Some(vec![vec!["/tmp".into()]]),
            "IFS" => return Some(vec![vec![" ".into()]]),
            "?" | "#" | "UID" | "EUID" | "RANDOM" | "SECONDS" | "LINENO" => {
                return Some(vec![vec!["1".into()]]);
            }
            // Processes, and none of them the first.
            "$" | "!" | "PPID" => return Some(vec![vec!["10000".into()]]),
            _ => {}
        }
        if let (Ok(number @ 1..), Some(own)) = (name.parse::<usize>(), own) {
            return Some(vec![vec![own.get(number - 1).cloned().unwrap_or_default()]]);
        }
        self.secret_variable(name);
        self.met_unset = true;
        None
    }
}

impl Scope for Walk<'_> {
    fn values(&mut self, name: &str) -> Option<Values> {
        self.looked = true;
        let values = self.values_of(name)?;
        match self.affords(values.iter().flatten().map(String::len).sum()) {
            true => Some(values),
            false => Some(vec![vec![HOLE.to_string()]]),
        }
    }

    fn prints(&mut self, script: &ast::Script) -> Option<String> {
        let mut arguments = DefaultHasher::new();
        (self.positional.len(), self.positional.last(), &self.cwd).hash(&mut arguments);
        let key = (
            script.id,
            arguments.finish(),
            self.changes,
            self.unset_is_empty,
            self.only_risky,
        );
        if let Some(printed) = self.printed.get(&key)
            && printed.sets.is_none_or(|sets| sets == self.sets)
        {
            self.looked |= printed.sets.is_some();
            return printed.text.clone();
        }
        let (looked, sets) = (std::mem::take(&mut self.looked), self.sets);
        let printed = match &script.nodes[..] {
            [one] => self.output(one, &Feed::Inherited),
            _ => Feed::Dynamic,
        };
        self.runs(script);
        let text = match printed {
            Feed::Text(text) => Some(text.trim_end_matches('\n').to_owned()),
            Feed::Names(place) => Some(format!("{place}{HOLE}")),
            _ => None,
        };
        let text = text.filter(|text| self.affords(text.len()));
        let sets = self.looked.then_some(sets);
        self.looked |= looked;
        let kept = Printed {
            text: text.clone(),
            sets,
        };
        self.printed.insert(key, kept);
        text
    }

    fn file_of(&mut self, script: &ast::Script) -> String {
        let printed = match &script.nodes[..] {
            [one] => self.output(one, &Feed::Inherited),
            _ => Feed::Dynamic,
        };
        // `>(sh)` is fed with what the command prints, which is not known here.
        let cwd = self.cwd.clone();
        self.script(script, &Feed::Dynamic);
        self.cwd = cwd;
        self.made.push(match printed {
            Feed::Text(text) => Some(text),
            _ => None,
        });
        format!("{}{}", places::MADE, self.made.len() - 1)
    }

    fn runs(&mut self, script: &ast::Script) {
        if self.depth >= DEEPEST {
            return self.unknown("too-deep", "substitutions too deep to be followed");
        }
        self.depth += 1;
        let cwd = self.cwd.clone();
        // What is met inside has variables of its own to forget.
        let unset = self.met_unset;
        self.script(script, &Feed::Inherited);
        self.met_unset = unset;
        self.cwd = cwd;
        self.depth -= 1;
    }

    fn unset_is_empty(&self) -> bool {
        self.unset_is_empty
    }
}

fn doing(category: Category) -> &'static str {
    match category {
        Category::Unknown => "do what nobody knows",
        Category::Publish => "publish",
        Category::Deploy => "deploy",
        Category::Spend => "spend money",
        Category::MessageOutside => "message anyone outside",
        Category::ReadSecrets => "read secrets",
        Category::ChangeProductionData => "change production data",
    }
}

/// A line of at most about 160 characters for a person, without control characters.
pub(crate) fn brief(text: &str) -> String {
    // Most are short and plain.
    if text.len() <= 160 && text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return text.to_owned();
    }
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == 160 {
            line.push_str("...");
            break;
        }
        match c {
            HOLE => line.push_str("<?>"),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
    line
}
