//! What the environment configures, for every verb that hosts sessions.

use crate::api::{Code, Problem};
use crate::credits::{CreditOptions, active_sessions};
use crate::{Mode, Options};

/// Where `runUrl` begins. Over the control socket any host will do.
const URL: &str = "LONGHAUL_URL";
/// Hours of active time of a run that goes on until it is done.
const UNTIL_DONE_HOURS: &str = "LONGHAUL_UNTIL_DONE_HOURS";

/// Hours after which a request for approval counts as denied.
const APPROVAL_HOURS: &str = "LONGHAUL_APPROVAL_HOURS";

/// How a runtime of this command line is opened.
///
/// # Errors
/// `invalid_request` naming the variable that cannot be understood.
pub(super) fn options(mode: Mode) -> Result<Options, Problem> {
    from(mode, |name| std::env::var(name).ok())
}

fn from(mode: Mode, variable: impl Fn(&str) -> Option<String>) -> Result<Options, Problem> {
    let mut options = Options::of(mode);
    options.credits = CreditOptions::from_environment(&variable)?;
    options.active_sessions = Some(active_sessions(&variable)?);
    let hours = |name| {
        let Some(hours) = variable(name) else {
            return Ok(None);
        };
        let whole = hours.parse::<u64>().ok().filter(|hours| *hours > 0);
        let ms = whole.and_then(|hours| hours.checked_mul(3_600_000));
        ms.map(Some)
            .ok_or_else(|| wrong(name, &hours, "a whole number of hours"))
    };
    options.until_done_ms = hours(UNTIL_DONE_HOURS)?;
    options.limits.approval_ms = hours(APPROVAL_HOURS)?.unwrap_or(0);
    Ok(options)
}

fn wrong(name: &str, value: &str, wanted: &str) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!("{name} is {value:?}; it takes {wanted}"),
    )
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

    #[test]
    fn what_cannot_be_understood_is_named_and_not_taken_for_a_default() {
        let set = |value: &'static str| {
            let hours = move |name: &str| (name == UNTIL_DONE_HOURS).then(|| value.to_owned());
            from(Mode::Serve, hours)
        };
        for value in ["", "0", "-1", "2h", "1.5", "99999999999999999999"] {
            let problem = set(value).expect_err(value);
            assert_eq!(problem.code, Code::InvalidRequest);
            assert!(problem.detail.contains(UNTIL_DONE_HOURS), "{problem}");
        }
        assert_eq!(set("2").expect("two hours").until_done_ms, Some(7_200_000));
        let unset = from(Mode::Serve, |_| None).expect("nothing is set");
        assert_eq!(unset.until_done_ms, None);
    }
}
