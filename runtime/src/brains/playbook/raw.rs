//! The shape of a playbook as TOML, before anything is checked but its keys and their types.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::error::{Fault, nearest};
use super::file::OnUnknown;
use super::outcome::Expect;

/// Reads the shape.
pub(super) fn read(text: &str) -> Result<RawFile, Fault> {
    toml::from_str(text).map_err(|error| misread(&error))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFile {
    #[serde(default)]
    pub(super) step: Vec<Spanned<RawStep>>,
    #[serde(default)]
    pub(super) on_message: Vec<Spanned<RawHandler>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHandler {
    pub(super) contains: Spanned<String>,
    pub(super) at_most: Option<Spanned<u32>>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<RawStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    pub(super) name: Option<Spanned<String>>,
    // What it does: exactly one of these.
    pub(super) say: Option<Spanned<String>>,
    pub(super) run: Option<Spanned<CommandText>>,
    pub(super) read: Option<Spanned<String>>,
    pub(super) write: Option<Spanned<String>>,
    pub(super) replace: Option<Spanned<String>>,
    pub(super) list: Option<Spanned<String>>,
    pub(super) artifact: Option<Spanned<String>>,
    pub(super) patch: Option<Spanned<bool>>,
    pub(super) service: Option<Spanned<String>>,
    pub(super) ask: Option<Spanned<String>>,
    pub(super) finish: Option<Spanned<String>>,
    pub(super) fail: Option<Spanned<String>>,
    pub(super) r#yield: Option<Spanned<bool>>,
    // More about that.
    pub(super) timeout: Option<Spanned<String>>,
    pub(super) cwd: Option<Spanned<String>>,
    pub(super) env: Option<Spanned<BTreeMap<String, String>>>,
    pub(super) stdin: Option<Spanned<String>>,
    pub(super) content: Option<Spanned<String>>,
    pub(super) old: Option<Spanned<String>>,
    pub(super) new: Option<Spanned<String>>,
    pub(super) kind: Option<Spanned<String>>,
    pub(super) start: Option<Spanned<CommandText>>,
    pub(super) logs: Option<Spanned<bool>>,
    pub(super) stop: Option<Spanned<bool>>,
    // How it is judged and what follows.
    pub(super) expect: Option<Spanned<Expect>>,
    pub(super) on_success: Option<Spanned<String>>,
    pub(super) on_failure: Option<Spanned<String>>,
    pub(super) on_unknown: Option<Spanned<OnUnknown>>,
    pub(super) retry: Option<Spanned<u32>>,
    pub(super) at_most: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum CommandText {
    Line(String),
    Words(Vec<String>),
}

impl RawStep {
    /// Every key that is written in the step, with the byte its value begins at.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
        fn at<T>(field: &Option<Spanned<T>>) -> Option<usize> {
            field.as_ref().map(|value| value.span().start)
        }
        let keys = [
            ("name", at(&self.name)),
            ("run", at(&self.run)),
            ("say", at(&self.say)),
            ("read", at(&self.read)),
            ("write", at(&self.write)),
            ("replace", at(&self.replace)),
            ("list", at(&self.list)),
            ("artifact", at(&self.artifact)),
            ("patch", at(&self.patch)),
            ("service", at(&self.service)),
            ("ask", at(&self.ask)),
            ("finish", at(&self.finish)),
            ("fail", at(&self.fail)),
            ("yield", at(&self.r#yield)),
            ("timeout", at(&self.timeout)),
            ("cwd", at(&self.cwd)),
            ("env", at(&self.env)),
            ("stdin", at(&self.stdin)),
            ("content", at(&self.content)),
            ("old", at(&self.old)),
            ("new", at(&self.new)),
            ("kind", at(&self.kind)),
            ("start", at(&self.start)),
            ("logs", at(&self.logs)),
            ("stop", at(&self.stop)),
            ("expect", at(&self.expect)),
            ("on_success", at(&self.on_success)),
            ("on_failure", at(&self.on_failure)),
            ("on_unknown", at(&self.on_unknown)),
            ("retry", at(&self.retry)),
            ("at_most", at(&self.at_most)),
        ];
        keys.into_iter().filter_map(|(key, at)| Some((key, at?)))
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
