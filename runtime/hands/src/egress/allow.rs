//! What a session may reach: names with a port, and the presets that stand for some of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::is_literal;
use crate::sabotage;

/// The port of a name that is given without one.
const DEFAULT_PORT: u16 = 443;
/// Most names of one session.
const NAMES_LIMIT: usize = 256;
const PRESETS: &str = include_str!("presets.txt");

/// One place on the network: a name and a port. Names are exact: no part of one stands for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    name: String,
    port: u16,
}

/// The places a session may reach, sorted, each once. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowList(Vec<Destination>);

/// A word that is no name and no preset, and what would be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(String);

impl Destination {
    /// The name, in lower case and without a dot at its end.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A place as a client asked for it.
    ///
    /// # Errors
    /// The host is no name: an address, or not made of letters, digits, hyphens and dots.
    pub(super) fn new(host: &str, port: u16) -> Result<Self, BadName> {
        if is_literal(host) {
            return Err(BadName(format!(
                "{host} is an address; places on the network are allowed by name"
            )));
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        if name.len() > 253 || !name.split('.').all(is_label) || port == 0 {
            return Err(BadName(format!(
                "{:?} is no name of a host and a port",
                host.chars().take(80).collect::<String>()
            )));
        }
        Ok(Self { name, port })
    }
}

impl FromStr for Destination {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        match text.rsplit_once(':') {
            None => Self::new(text, DEFAULT_PORT),
            Some((host, port)) => {
                let port = port.parse().map_err(|_| {
                    BadName(format!("{port:?} in {text:?} is no port; write it like name:443"))
                })?;
                Self::new(host, port)
            }
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.port)
    }
}

impl AllowList {
    /// The list that these words stand for: names with or without a port, and presets.
    ///
    /// # Errors
    /// The word that is neither, with what there is.
    pub fn of<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Result<Self, BadName> {
        let mut all = Vec::new();
        for word in words {
            let word = word.as_ref().trim();
            let preset = preset(word);
            if !preset.is_empty() {
                all.extend(preset);
            } else if word.contains('.') || word.contains(':') {
                all.push(word.parse()?);
            } else {
                return Err(BadName(format!(
                    "{word:?} is neither a name with a dot in it nor one of the presets {}",
                    preset_names().join(", ")
                )));
            }
        }
        all.sort_unstable();
        all.dedup();
        if all.len() > NAMES_LIMIT {
            return Err(BadName(format!(
                "{} names are too many; at most {NAMES_LIMIT} are taken",
                all.len()
            )));
        }
        Ok(Self(all))
    }

    /// Whether nothing may be reached.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this place may be reached.
    #[must_use]
    pub fn permits(&self, wanted: &Destination) -> bool {
        self.0.binary_search(wanted).is_ok() || sabotage::is_on("allow-every-name")
    }

    /// The first place of this list that is not on the other one.
    #[must_use]
    pub fn beyond(&self, bound: &Self) -> Option<&Destination> {
        self.0.iter().find(|wanted| !bound.permits(wanted))
    }

    /// The places.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.iter()
    }
}

/// Names of all presets, each once.
#[must_use]
pub fn preset_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = rows().map(|(preset, _)| preset).collect();
    names.dedup();
    names
}

fn preset(wanted: &str) -> Vec<Destination> {
    rows()
        .filter(|(preset, _)| *preset == wanted)
        .map(|(_, name)| name.parse().expect("a test parses each of them"))
        .collect()
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = PRESETS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> AllowList {
        AllowList::of(words).unwrap()
    }

    #[test]
    fn a_preset_stands_for_its_names() {
        assert_eq!(preset_names(), ["git", "npm", "crates", "pypi"]);
        for preset in preset_names() {
            assert!(!list(&[preset]).is_empty());
        }
        let allowed: Vec<String> = list(&["npm", "pypi"]).iter().map(ToString::to_string).collect();
        assert_eq!(
            allowed,
            [
                "files.pythonhosted.org:443",
                "pypi.org:443",
                "registry.npmjs.org:443"
            ]
        );
    }

    #[test]
    fn a_name_is_exact_with_its_port() {
        let allowed = list(&["Example.COM.", "example.com:8080"]);
        let asked = |host, port| allowed.permits(&Destination::new(host, port).unwrap());
        assert!(asked("example.com", 443) && asked("EXAMPLE.com.", 8080));
        assert!(!asked("example.com", 80));
        assert!(!asked("www.example.com", 443));
        assert!(!asked("example.com.evil.test", 443));
        assert!(!asked("notexample.com", 443));
    }

    #[test]
    fn what_is_no_name_says_what_would_be() {
        let error = |word: &str| AllowList::of([word]).expect_err(word).to_string();
        assert!(error("gti").contains("git, npm, crates, pypi"));
        assert!(error("10.0.0.1").contains("address"));
        assert!(error("[::1]:443").contains("address"));
        assert!(error("a b.com").contains("no name"));
        assert!(error("*.example.com").contains("no name"));
        assert!(error("example.com:http").contains("no port"));
        assert!(error("example.com:0").contains("no name"));
        assert!(error("a..b").contains("no name"));
        assert!(error(&format!("{}.com", "a".repeat(64))).contains("no name"));
    }

    #[test]
    fn a_list_that_goes_beyond_its_bound_names_where() {
        let bound = list(&["git", "example.com"]);
        assert_eq!(list(&["github.com"]).beyond(&bound), None);
        assert_eq!(
            list(&["github.com", "npm"])
                .beyond(&bound)
                .map(ToString::to_string),
            Some("registry.npmjs.org:443".into())
        );
    }

    #[test]
    fn a_list_is_stored_as_plain_text() {
        let text = serde_json::to_string(&list(&["example.com", "b.test:22"])).unwrap();
        assert_eq!(text, r#"["b.test:22","example.com:443"]"#);
        assert_eq!(
            serde_json::from_str::<AllowList>(&text).unwrap(),
            list(&["example.com", "b.test:22"])
        );
        assert!(serde_json::from_str::<AllowList>(r#"["127.0.0.1:80"]"#).is_err());
    }
}
