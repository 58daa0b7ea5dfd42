//! What a decision says.

use serde::{Deserialize, Serialize};

/// Whether an act may be done.
///
/// Ordered by severity: of the parts of an act the most severe answers for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// A human decides.
    Ask,
    /// It is not done.
    Deny,
}

impl Verdict {
    /// Its name in policy files and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What kind of act it is, when that is why it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Nothing is known about it. Allowed when contained, and for a playbook of the local human.
    Unknown,
    /// Puts something where others find it: a push, a package, a release.
    Publish,
    /// Changes what runs for others.
    Deploy,
    /// Spends money.
    Spend,
    /// Speaks to somebody or something outside this machine.
    MessageOutside,
    /// Reads a key, a password, a token.
    ReadSecrets,
    /// Changes data that others rely on.
    ChangeProductionData,
}

impl Category {
    /// All that always ask, in the order of their declaration.
    pub const RISKY: [Self; 6] = [
        Self::Publish,
        Self::Deploy,
        Self::Spend,
        Self::MessageOutside,
        Self::ReadSecrets,
        Self::ChangeProductionData,
    ];

    /// Its name in policy files and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Publish => "publish",
            Self::Deploy => "deploy",
            Self::Spend => "spend",
            Self::MessageOutside => "message_outside",
            Self::ReadSecrets => "read_secrets",
            Self::ChangeProductionData => "change_production_data",
        }
    }

    /// The category of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::RISKY
            .into_iter()
            .chain([Self::Unknown])
            .find(|category| category.name() == name)
    }

    /// Whether it always asks, contained or not, whoever wrote it.
    pub const fn is_risky(self) -> bool {
        !matches!(self, Self::Unknown)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A script that an act would run, as it stood when the decision was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Script {
    /// Its path as the act names it, from the act's `cwd`.
    pub path: String,
    /// sha256 (hex) of its content; none when there was no such file.
    pub sha256: Option<String>,
}

/// The answer of the gate about one act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may be done.
    pub verdict: Verdict,
    /// What kind of act it is; none for an ordinary one.
    pub category: Option<Category>,
    /// Name of the rule that decided.
    pub rule: String,
    /// The part of the act that the rule met, and why it matters, in a line for a person.
    pub detail: String,
    /// Scripts that were read, by path. The digest of the act binds them.
    pub scripts: Vec<Script>,
}
