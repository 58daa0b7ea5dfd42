//! Amounts of credit: whole micro-credits, written as decimal numbers, never as floats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Micro-credits in a credit.
const MICRO: u64 = 1_000_000;
/// Digits behind the point.
const DIGITS: usize = 6;

/// An amount of credit in micro-credits. One credit is one US dollar, and 1,000,000 micro-credits.
///
/// Stored and sent as a whole number of micro-credits; shown and typed as a decimal number of credits (`0.012`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credits(u64);

/// The text is no amount of credit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AmountError {
    /// It is not a decimal number.
    #[error("{0:?} is no amount; write credits as a decimal number, 5 or 0.25")]
    NotANumber(String),
    /// It is below zero.
    #[error("{0:?} is negative; an amount is never below zero")]
    Negative(String),
    /// It has more than six digits behind the point.
    #[error("{0:?} is finer than a micro-credit; at most six digits may stand behind the point")]
    TooFine(String),
    /// It is more than an account may hold.
    #[error("{0:?} is too large; at most {max} credits are taken", max = Credits::MOST)]
    TooLarge(String),
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that may be granted to one account in all: a thousand million credits.
    pub const MOST: Self = Self(1_000_000_000 * MICRO);

    /// So many micro-credits.
    pub const fn from_micro(micro: u64) -> Self {
        Self(micro)
    }

    /// As micro-credits.
    pub const fn micro(self) -> u64 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// Both together; what does not fit is cut off.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it; nothing when the other is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl FromStr for Credits {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let quoted = || text.chars().take(40).collect::<String>();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(rest) = text.strip_prefix('-')
            && are_digits(&rest.replacen('.', "", 1))
            && !rest.is_empty()
        {
            return Err(AmountError::Negative(quoted()));
        }
        if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) || text.ends_with('.') {
            return Err(AmountError::NotANumber(quoted()));
        }
        if fraction.trim_end_matches('0').len() > DIGITS {
            return Err(AmountError::TooFine(quoted()));
        }
        let fraction: String = fraction
            .chars()
            .chain(std::iter::repeat('0'))
            .take(DIGITS)
            .collect();
        let micro = |text: &str| text.parse::<u64>().ok();
        let amount = micro(whole)
            .and_then(|credits| credits.checked_mul(MICRO))
            .zip(micro(&fraction))
            .and_then(|(credits, rest)| credits.checked_add(rest))
            .filter(|amount| *amount <= Self::MOST.0);
        amount.map(Self).ok_or_else(|| AmountError::TooLarge(quoted()))
    }
}

/// At least two digits behind the point, at most six: `5.00`, `0.012`.
impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:06}", self.0 % MICRO);
        let shown = fraction.trim_end_matches('0').len().max(2);
        f.pad(&format!("{}.{}", self.0 / MICRO, &fraction[..shown]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, AmountError> {
        text.parse::<Credits>().map(Credits::micro)
    }

    #[test]
    fn amounts_are_read_to_the_micro_credit() {
        for (text, micro) in [
            ("5", 5_000_000),
            ("5.00", 5_000_000),
            ("0.012", 12_000),
            ("0.000001", 1),
            ("1000000000", Credits::MOST.micro()),
            ("0.5000000", 500_000),
            ("0", 0),
        ] {
            assert_eq!(read(text), Ok(micro), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_says_why() {
        for text in [
            "", ".", "5.", ".5", "five", "1e3", "+1", "0x10", "1,5", " 1", "--1", "NaN", "-",
        ] {
            assert_eq!(read(text), Err(AmountError::NotANumber(text.into())), "{text}");
        }
        assert_eq!(read("-0.5"), Err(AmountError::Negative("-0.5".into())));
        assert_eq!(read("0.0000001"), Err(AmountError::TooFine("0.0000001".into())));
        for text in ["1000000000.000001", "99999999999999999999999"] {
            assert_eq!(read(text), Err(AmountError::TooLarge(text.into())), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown_as_they_are_typed() {
        for text in ["5.00", "0.012", "0.000001", "0.00", "12.34"] {
            assert_eq!(text.parse::<Credits>().expect(text).to_string(), text);
        }
    }
}
