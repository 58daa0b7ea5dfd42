//! What the environment configures, for every verb that hosts sessions.

use std::time::Duration;

use crate::api::{Problem, TokenText};
use crate::credits::{CreditOptions, active_sessions};
use crate::{Mode, Options};

/// Where `runUrl` begins. Over the control socket any host will do.
const URL: &str = "LONGHAUL_URL";
/// Hours of active time of a run that goes on until it is done.
const UNTIL_DONE_HOURS: &str = "LONGHAUL_UNTIL_DONE_HOURS";
/// Most hours that a setting takes; their milliseconds fit in 64 bits.
const MOST_HOURS: u64 = 1_000_000_000;

/// Days that the folders of a session stay after its end.
const KEEP_WORKSPACES: &str = "LONGHAUL_KEEP_WORKSPACES";
/// Hours after which a request for approval counts as denied.
const APPROVAL_HOURS: &str = "LONGHAUL_APPROVAL_HOURS";
/// What is shown to whoever serves.
const TOKEN: &str = "LONGHAUL_TOKEN";

/// A client token that is to be shown to whoever serves. Not an option, since everybody sees the options of a process.
pub(super) fn token() -> Option<TokenText> {
    let text = std::env::var(TOKEN).ok()?;
    (!text.is_empty()).then(|| TokenText::new(text))
}

/// How a runtime of this command line is opened.
///
/// # Errors
/// `invalid_request` naming the variable that cannot be understood.
pub(super) fn options(mode: Mode) -> Result<Options, Problem> {
    from(mode, |name| std::env::var(name).ok())
}

/// How long folders stay, from the words of whoever runs us.
///
/// # Errors
/// `invalid_request` when they are none.
pub(super) fn keep_for(days: &str) -> Result<Duration, Problem> {
    if days == "forever" {
        return Ok(Duration::MAX);
    }
    let seconds = days
        .parse::<u64>()
        .ok()
        .and_then(|days| days.checked_mul(24 * 3600));
    let wrong = || wrong("keep-workspaces", days, "a whole number of days, or forever");
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

fn from(mode: Mode, variable: impl Fn(&str) -> Option<String>) -> Result<Options, Problem> {
    let mut options = Options::of(mode);
    options.credits = CreditOptions::from_environment(&variable)?;
    options.active_sessions = Some(active_sessions(&variable)?);
    if let Some(days) = variable(KEEP_WORKSPACES) {
        options.keep_workspaces = Some(keep_for(&days)?);
    }
    let hours = |name| {
        let Some(hours) = variable(name) else {
            return Ok(None);
        };
        let whole = hours.parse::<u64>().ok();
        let whole = whole.filter(|hours| (1..=MOST_HOURS).contains(hours));
        whole
            .map(|hours| Some(hours * 3_600_000))
            .ok_or_else(|| wrong(name, &hours, "a whole number of hours from 1 to 1000000000"))
    };
    options.until_done_ms = hours(UNTIL_DONE_HOURS)?;
    options.limits.approval_ms = hours(APPROVAL_HOURS)?.unwrap_or(0);
    Ok(options)
}

fn wrong(name: &str, value: &str, wanted: &str) -> Problem {
    Problem::of_setting(format!("{name} is {value:?}; it takes {wanted}"))
}

/// Where a run can be looked at.
pub(super) fn run_url(id: &str) -> String {
    let base = std::env::var(URL).ok().filter(|base| !base.is_empty());
    let base = base.as_deref().unwrap_or("http://localhost");
    format!("{}/v1/sessions/{id}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;

    #[test]
    fn what_cannot_be_understood_is_named_and_not_taken_for_a_default() {
        let set = |name: &'static str, value: &'static str| {
            from(Mode::Serve, move |asked| {
                (asked == name).then(|| value.to_owned())
            })
        };
        for value in ["", "0", "-1", "2h", "1.5", "99999999999999999999"] {
            let problem = set(UNTIL_DONE_HOURS, value).expect_err(value);
            assert_eq!(problem.code, Code::InvalidRequest);
            assert!(problem.detail.contains(UNTIL_DONE_HOURS), "{problem}");
        }
        for value in ["", "-1", "7d", "never", "99999999999999999999"] {
            assert_eq!(
                set(KEEP_WORKSPACES, value).expect_err(value).code,
                Code::InvalidRequest
            );
        }
        assert_eq!(
            set(UNTIL_DONE_HOURS, "2").expect("two hours").until_done_ms,
            Some(7_200_000)
        );
        let kept = |value| set(KEEP_WORKSPACES, value).expect(value).keep_workspaces;
        assert_eq!(kept("forever"), Some(Duration::MAX));
        assert_eq!(kept("2"), Some(Duration::from_secs(172_800)));
        let unset = from(Mode::Serve, |_| None).expect("nothing is set");
        assert_eq!((unset.until_done_ms, unset.keep_workspaces), (None, None));
    }
}
