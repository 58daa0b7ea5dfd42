//! Patterns of commands and of tools, as they stand in a policy file.
//!
//! `npm publish !--dry-run`: the program; words that its operands begin with; options that must be there, or with `!`
//! must not. A word may be a choice (`apply|destroy`) and hold `*`; `$` at the end: nothing follows but options. Options and their values may stand between.

use super::{Policy, glob};
use crate::shell::expand::Field;

/// A pattern of commands.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    program: Choice,
    operands: Vec<Choice>,
    options: Vec<Wanted>,
}

#[derive(Clone, Debug)]
struct Choice(Vec<String>);

#[derive(Clone, Debug)]
struct Wanted {
    names: Vec<String>,
    absent: bool,
}

impl Choice {
    fn of(word: &str) -> Self {
        Self(word.split('|').map(str::to_owned).collect())
    }

    fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|choice| glob(choice, text))
    }
}

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let program = words
            .next()
            .ok_or("a pattern begins with the name of a program, and this one is empty")?;
        if program.starts_with(['-', '!']) {
            return Err(format!(
                "a pattern begins with the name of a program, not with {program:?}"
            ));
        }
        if program.contains('/') {
            return Err(format!(
                "a program is known by its name alone: write {:?}",
                program.rsplit('/').next().unwrap_or_default()
            ));
        }
        let mut pattern = Self {
            program: Choice::of(program),
            operands: Vec::new(),
            options: Vec::new(),
        };
        for word in words {
            let (absent, name) = match word.strip_prefix('!') {
                Some(name) => (true, name),
                None => (false, word),
            };
            if word.split('|').any(str::is_empty) {
                return Err(format!("{word:?} has an empty choice"));
            }
            if name.starts_with('-') {
                let names = name.split('|').map(str::to_owned).collect();
                pattern.options.push(Wanted { names, absent });
            } else if absent {
                return Err(format!(
                    "`!` goes before an option, as in `!--dry-run`, not before {name:?}"
                ));
            } else {
                pattern.operands.push(Choice::of(name));
            }
        }
        Ok(pattern)
    }

    /// The programs it speaks of.
    pub(crate) fn programs(&self) -> &[String] {
        &self.program.0
    }

    /// Words of which the operands begin with one; none when that may be any word, or no operand is wanted.
    pub(super) fn first_words(&self) -> Option<&[String]> {
        let words = &self.operands.first()?.0;
        let any = words.iter().any(|word| word == "$" || word.contains(['*', '?']));
        (!any).then_some(words)
    }

    /// Whether it speaks of this program.
    pub(crate) fn is_of(&self, program: &str) -> bool {
        self.program.matches(program)
    }

    /// Whether a command of this program is of this form. An option that nobody described may or may not take the next word: the command
    /// matches when it does either way.
    pub(crate) fn matches(&self, policy: &Policy, program: &str, args: &[Field]) -> bool {
        self.operands_match(policy, program, args) && self.options.iter().all(|wanted| wanted.is_met(args))
    }

    fn operands_match(&self, policy: &Policy, program: &str, args: &[Field]) -> bool {
        if self.operands.is_empty() {
            return true;
        }
        // Mostly the first word tells.
        let bare = self.operands[0].0 == ["$"];
        if !bare
            && args
                .first()
                .is_none_or(|arg| !arg.text.starts_with(['-', '+']) && !self.operands[0].matches(&arg.text))
        {
            return false;
        }
        let mut reached = vec![false; args.len() + 2];
        reached[0] = true;
        for choice in &self.operands {
            if choice.0 == ["$"] {
                // Nothing but options from here.
                return (0..=args.len())
                    .any(|at| reached[at] && args[at..].iter().all(|arg| arg.text.starts_with('-')));
            }
            let mut next = vec![false; args.len() + 2];
            let mut any = false;
            for at in 0..args.len() {
                if !reached[at] {
                    continue;
                }
                let text = args[at].text.as_str();
                if text.starts_with('-') && text.len() > 1 {
                    let value_follows = !text.contains('=');
                    if value_follows && policy.takes_value(program, text) {
                        reached[at + 2] = true;
                        continue;
                    }
                    reached[at + 1] = true;
                    let follows = args.get(at + 1).is_some_and(|next| !next.text.starts_with('-'));
                    // `-it`, `-x`: a word behind a short option rarely belongs to it, but it may.
                    if value_follows && text != "--" && follows {
                        reached[at + 2] = true;
                    }
                } else if text.starts_with('+') && program == "cargo" {
                    reached[at + 1] = true;
                } else if choice.matches(text) {
                    next[at + 1] = true;
                    any = true;
                }
            }
            if !any {
                return false;
            }
            reached = next;
        }
        true
    }
}

impl Wanted {
    fn is_met(&self, args: &[Field]) -> bool {
        let options = || {
            args.iter()
                .map(|arg| arg.text.as_str())
                .take_while(|text| *text != "--")
        };
        if !self.absent {
            return options().any(|option| self.names.iter().any(|name| gives(name, option)));
        }
        // The option takes the risk away only when it certainly stands, and nothing takes it back.
        let off = ["false", "none", "no", "0", "off"];
        let stands = |option: &str| {
            self.names
                .iter()
                .any(|name| match option.strip_prefix(name.as_str()) {
                    Some("") => true,
                    Some(value) => value
                        .strip_prefix('=')
                        .is_some_and(|value| !off.contains(&value) && !value.contains('\0')),
                    None => false,
                })
        };
        let taken_back = |option: &str| {
            self.names.iter().any(|name| {
                let bare = name.trim_start_matches('-');
                option.strip_prefix("--no-") == Some(bare)
                    || option
                        .strip_prefix(name.as_str())
                        .and_then(|value| value.strip_prefix('='))
                        .is_some_and(|value| off.contains(&value))
            })
        };
        !options().any(stands) || options().any(taken_back)
    }
}

/// Whether `option` is `name`, possibly with a value, or holds that letter among its short ones.
fn gives(name: &str, option: &str) -> bool {
    if name.contains('*') || name.contains('=') {
        return glob(name, option);
    }
    if let Some(letter) = name.strip_prefix('-').filter(|letter| letter.len() == 1) {
        return option.starts_with('-') && !option.starts_with("--") && option.contains(letter);
    }
    option
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// A pattern of tools: words that must all be among those of the name, or with `!` must not. A word may be a choice.
#[derive(Clone, Debug)]
pub(crate) struct ToolPattern {
    words: Vec<Choice>,
    absent: Vec<Choice>,
}

impl ToolPattern {
    /// Reads a pattern.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (absent, words): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|word| word.starts_with('!'));
        let words: Vec<Choice> = words.into_iter().map(Choice::of).collect();
        let absent = absent.into_iter().map(|word| Choice::of(&word[1..])).collect();
        if words.is_empty() {
            return Err("a pattern of tools holds words of their names, and this one is empty".into());
        }
        if let Some(odd) = text.chars().find(|c| c.is_uppercase() || *c == '_') {
            return Err(format!(
                "words of tools are written in small letters, apart from each other; {odd:?} is neither"
            ));
        }
        Ok(Self { words, absent })
    }

    /// Whether a name with these words is meant.
    pub(crate) fn matches(&self, words: &[String]) -> bool {
        let has = |choice: &Choice| words.iter().any(|word| choice.matches(word));
        self.words.iter().all(has) && !self.absent.iter().any(has)
    }
}
