//! How long a bounded run may work: one of five words.

use super::problem::{Code, Problem};

/// Active milliseconds of a run that goes on until it is done, unless configured otherwise: 24 h.
pub const UNTIL_DONE_MS: u64 = 24 * HOUR_MS;

const HOUR_MS: u64 = 3_600_000;

/// The time a bounded run may work. It is active time: waiting (for input, an approval, a resume) spends none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunDuration {
    /// This many active milliseconds.
    Ms(u64),
    /// Until the brain says that the goal is reached, within the configured cap.
    UntilDone,
}

impl RunDuration {
    /// The words there are.
    pub const WORDS: [&str; 5] = ["30m", "1h", "3h", "5h", "until-done"];

    /// The duration that a word means.
    ///
    /// # Errors
    /// `invalid_duration`, naming the words there are.
    pub fn parse(word: &str) -> Result<Self, Problem> {
        match word {
            "30m" => Ok(Self::Ms(HOUR_MS / 2)),
            "1h" => Ok(Self::Ms(HOUR_MS)),
            "3h" => Ok(Self::Ms(3 * HOUR_MS)),
            "5h" => Ok(Self::Ms(5 * HOUR_MS)),
            "until-done" => Ok(Self::UntilDone),
            other => {
                let detail = format!(
                    "{other:?} is no duration; it is one of {}",
                    Self::WORDS.join(", ")
                );
                Err(Problem::new(Code::InvalidDuration, detail)
                    .next("say how long it may work", "longhaul run \"GOAL\" --duration 1h"))
            }
        }
    }

    /// The bound of the run, active milliseconds; `cap_ms` is that of a run that goes on until it is done.
    pub const fn run_ms(self, cap_ms: u64) -> u64 {
        match self {
            Self::Ms(ms) => ms,
            Self::UntilDone => cap_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-RUN-1
    #[test]
    fn five_words_are_durations_and_nothing_else_is() {
        let spans =
            RunDuration::WORDS.map(|word| RunDuration::parse(word).expect(word).run_ms(UNTIL_DONE_MS));
        let minute = 60_000;
        assert_eq!(spans, [30, 60, 180, 300, 24 * 60].map(|minutes| minutes * minute));
        for word in [
            "",
            "2h",
            "30M",
            "30 m",
            " 1h",
            "1H",
            "60m",
            "until done",
            "Until-Done",
            "-1h",
            "0",
            "1h\n",
        ] {
            assert_eq!(
                RunDuration::parse(word).expect_err(word).code,
                Code::InvalidDuration,
                "{word:?}"
            );
        }
    }
}
