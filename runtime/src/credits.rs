//! How the work of a runtime is charged.

use std::path::Path;

use longhaul_actors::account::{Credits, DEFAULT_ACCOUNT, Open, PriceTable, ResumePolicy};
use longhaul_actors::session::Actor;
use serde_json::Value;

use crate::api::Problem;

/// How work is charged. By default from a prepaid account that starts with 5.00 credits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreditOptions {
    /// Whether sessions that are started are charged at all.
    pub enabled: bool,
    /// What a new account is granted.
    pub initial: Credits,
    /// What work costs; as the account has it when absent.
    pub prices: Option<PriceTable>,
    /// What happens after a top-up to what waits for credit; as the account has it when absent.
    pub resume: Option<ResumePolicy>,
    /// Where credit is bought; told to whoever has none.
    pub top_up_url: String,
}

impl Default for CreditOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            initial: Credits::from_micro(5_000_000),
            prices: None,
            resume: None,
            top_up_url: String::new(),
        }
    }
}

/// How many sessions work at the same time, unless told otherwise.
pub(crate) const ACTIVE_SESSIONS: usize = 5;

impl CreditOptions {
    /// Work that costs nothing.
    pub fn free() -> Self {
        Self {
            enabled: false,
            ..Self::default()
        }
    }

    /// The defaults, with what the environment says: `LONGHAUL_CREDITS` (`off`), `LONGHAUL_CREDITS_INITIAL`,
    /// `LONGHAUL_CREDITS_PRICES` (a JSON file), `LONGHAUL_CREDITS_RESUME` (`auto`, `manual`),
    /// `LONGHAUL_CREDITS_TOP_UP_URL`.
    ///
    /// # Errors
    /// `invalid_request`, naming the variable, when one cannot be understood.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Problem> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let invalid = |name: &str, why: String| Problem::of_setting(format!("{name}: {why}"));
        let mut options = Self::default();
        if let Some(switch) = set("LONGHAUL_CREDITS") {
            options.enabled = match switch.as_str() {
                "on" => true,
                "off" => false,
                other => {
                    return Err(invalid(
                        "LONGHAUL_CREDITS",
                        format!("{other:?} is neither on nor off"),
                    ));
                }
            };
        }
        if let Some(initial) = set("LONGHAUL_CREDITS_INITIAL") {
            let amount = initial.parse();
            options.initial =
                amount.map_err(|error| invalid("LONGHAUL_CREDITS_INITIAL", format!("{error}")))?;
        }
        if let Some(file) = set("LONGHAUL_CREDITS_PRICES") {
            let prices = read_prices(Path::new(&file));
            options.prices = Some(prices.map_err(|why| invalid("LONGHAUL_CREDITS_PRICES", why))?);
        }
        if let Some(policy) = set("LONGHAUL_CREDITS_RESUME") {
            options.resume = Some(match policy.as_str() {
                "auto" => ResumePolicy::Auto,
                "manual" => ResumePolicy::Manual,
                other => {
                    let why = format!("{other:?} is neither auto nor manual");
                    return Err(invalid("LONGHAUL_CREDITS_RESUME", why));
                }
            });
        }
        options.top_up_url = set("LONGHAUL_CREDITS_TOP_UP_URL").unwrap_or_default();
        Ok(options)
    }

    /// What an account is opened with.
    pub(crate) fn open(&self, owner: &str) -> Open {
        Open {
            by: Actor::human(owner),
            name: DEFAULT_ACCOUNT.into(),
            initial: self.initial,
            prices: self.prices.clone(),
            resume: self.resume,
        }
    }
}

/// How many sessions may work at the same time: `LONGHAUL_MAX_ACTIVE`, else 5.
///
/// # Errors
/// `invalid_request` when it is not a number above zero.
#[cfg(feature = "cli")]
pub(crate) fn active_sessions(variable: impl Fn(&str) -> Option<String>) -> Result<usize, Problem> {
    match variable("LONGHAUL_MAX_ACTIVE").filter(|value| !value.is_empty()) {
        None => Ok(ACTIVE_SESSIONS),
        Some(text) => match text.parse() {
            Ok(limit) if limit > 0 => Ok(limit),
            _ => Err(Problem::of_setting(format!(
                "LONGHAUL_MAX_ACTIVE: {text:?} is not a number above zero"
            ))),
        },
    }
}

/// Reads a table of prices strictly: a price under a misspelt name would be one that nobody pays.
fn read_prices(file: &Path) -> Result<PriceTable, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let no_table = |why: String| format!("{shown} is no table of prices: {why}");
    let table: PriceTable = serde_json::from_slice(&text).map_err(|error| no_table(error.to_string()))?;
    let (written, known) = (serde_json::from_slice(&text), serde_json::to_value(&table));
    let (Ok(written), Ok(known)) = (written, known) else {
        return Err(no_table("it cannot be read again".into()));
    };
    match unknown_name(&written, &known) {
        Some(name) => Err(no_table(format!(
            "unknown field `{name}`; it has `hourMicro`, `tools`, `models` with `inputMicro` and `outputMicro`"
        ))),
        None => Ok(table),
    }
}

/// The first name in what was written that means nothing.
fn unknown_name(written: &Value, known: &Value) -> Option<String> {
    let mut names = written.as_object()?.iter();
    names.find_map(|(name, value)| match known.get(name) {
        None => Some(name.clone()),
        Some(known) => unknown_name(value, known),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<CreditOptions, Problem> {
        let value = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        CreditOptions::from_environment(value)
    }

    #[test]
    fn a_newcomer_has_five_credits_and_the_environment_may_say_otherwise() {
        assert_eq!(of(&[]).expect("defaults").initial.to_string(), "5.00");
        let set = of(&[
            ("LONGHAUL_CREDITS_INITIAL", "0.25"),
            ("LONGHAUL_CREDITS_RESUME", "manual"),
        ]);
        let set = set.expect("it is sound");
        assert_eq!(
            (set.initial.to_string().as_str(), set.resume),
            ("0.25", Some(ResumePolicy::Manual))
        );
        assert!(!of(&[("LONGHAUL_CREDITS", "off")]).expect("it is sound").enabled);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (name, value) in [
            ("LONGHAUL_CREDITS", "maybe"),
            ("LONGHAUL_CREDITS_INITIAL", "-1"),
            ("LONGHAUL_CREDITS_RESUME", "later"),
            ("LONGHAUL_CREDITS_PRICES", "nowhere/prices.json"),
        ] {
            let problem = of(&[(name, value)]).expect_err(name);
            assert!(problem.detail.starts_with(name), "{problem}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("prices.json");
        let priced = |text: &str| {
            std::fs::write(&file, text).expect("written");
            of(&[("LONGHAUL_CREDITS_PRICES", &file.display().to_string())])
        };
        for (text, name) in [
            (r#"{"hourMicros": 1}"#, "hourMicros"),
            (
                r#"{"tools": {"exec": 1}, "models": {"a": {"inputMikro": 1}}}"#,
                "inputMikro",
            ),
        ] {
            let problem = priced(text).expect_err(text);
            assert!(problem.detail.contains(&format!("`{name}`")), "{problem}");
        }
        let sound = priced(r#"{"tools": {"exec": 1}, "models": {"a": {"inputMicro": 1}}}"#);
        assert!(sound.expect("it is sound").prices.is_some());
        #[cfg(feature = "cli")]
        assert!(active_sessions(|_| Some("0".into())).is_err());
    }
}
