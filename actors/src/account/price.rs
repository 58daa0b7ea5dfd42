//! What work costs: a table of prices, the bound of a step before it, and its cost after it.
//!
//! A bound is rounded up and a cost is rounded down, with the rest carried on to the next step of the account, so that
//! nothing is lost however short the steps are, and the cost of what kept to its bound never exceeds the hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::credits::Credits;

/// Milliseconds in an hour.
const HOUR_MS: u64 = 3_600_000;
/// Tokens that a price of tokens is for.
const MILLION: u64 = 1_000_000;

/// Prices. What is not in it and was used all the same has an unknown cost, not none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriceTable {
    /// An hour of active step time, micro-credits.
    pub hour_micro: Credits,
    /// One call of a tool, by its name, micro-credits. A tool that is not named costs its time only.
    pub tools: BTreeMap<String, Credits>,
    /// A million tokens, by brain (`process:./agent`).
    pub models: BTreeMap<String, TokenPrice>,
}

/// The price of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenPrice {
    /// A million tokens put in, micro-credits.
    pub input_micro: Credits,
    /// A million tokens that came out, micro-credits.
    pub output_micro: Credits,
}

impl Default for PriceTable {
    /// 0.012 credits for an hour of active time, and nothing else.
    fn default() -> Self {
        Self {
            hour_micro: Credits::from_micro(12_000),
            tools: BTreeMap::new(),
            models: BTreeMap::new(),
        }
    }
}

/// What a step may use at most, as far as it is known before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bound {
    /// Active milliseconds.
    pub limit_ms: u64,
    /// The tool, if it is an act of the hands.
    pub tool: Option<String>,
    /// The brain, if it is a brain call.
    pub model: Option<String>,
    /// Tokens that go in, when the brain counts them.
    pub input_tokens: u64,
    /// Tokens that may come out, when the brain bounds them.
    pub output_tokens: u64,
}

/// What a step used, raw, so that a log can be priced again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// Active milliseconds.
    pub active_ms: u64,
    /// Tokens put in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Nobody knows how much more it was: the step ended without a report.
    pub unknown: bool,
}

/// Parts of a micro-credit that were used and are too small to be charged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carry {
    /// Of time, in 1/3,600,000 micro-credit.
    time: u64,
    /// Of tokens, in 1/1,000,000 micro-credit.
    tokens: u64,
}

/// What was used, in credits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// As far as it is known.
    pub known: Credits,
    /// Whether there is more that nobody can put a price on.
    pub unknown: bool,
    /// What is carried on.
    pub carry: Carry,
}

impl PriceTable {
    /// No prices at all: everything is free.
    pub const NONE: Self = Self {
        hour_micro: Credits::ZERO,
        tools: BTreeMap::new(),
        models: BTreeMap::new(),
    };

    /// Whether work costs nothing by this table.
    pub fn is_free(&self) -> bool {
        let free = |price: &TokenPrice| price.input_micro.is_zero() && price.output_micro.is_zero();
        self.hour_micro.is_zero()
            && self.tools.values().all(Credits::is_zero)
            && self.models.values().all(free)
    }

    /// The most that a step may cost, rounded up.
    pub fn bound(&self, bound: &Bound) -> Credits {
        let time = u128::from(bound.limit_ms) * u128::from(self.hour_micro.micro());
        let price = bound.model.as_ref().and_then(|model| self.models.get(model));
        let tokens = tokens(price, bound.input_tokens, bound.output_tokens);
        let whole = time.div_ceil(HOUR_MS.into()) + tokens.div_ceil(MILLION.into());
        amount(whole).plus(self.tool(bound.tool.as_deref()))
    }

    /// What a step cost, rounded down; the rest is carried on.
    pub fn cost(&self, used: &Used, tool: Option<&str>, model: Option<&str>, carry: Carry) -> Cost {
        let time = u128::from(used.active_ms) * u128::from(self.hour_micro.micro()) + u128::from(carry.time);
        let price = model.and_then(|model| self.models.get(model));
        let tokens = tokens(price, used.input_tokens, used.output_tokens) + u128::from(carry.tokens);
        let whole = time / u128::from(HOUR_MS) + tokens / u128::from(MILLION);
        let unpriced = price.is_none() && used.input_tokens.saturating_add(used.output_tokens) > 0;
        Cost {
            known: amount(whole).plus(self.tool(tool)),
            unknown: used.unknown || unpriced,
            carry: Carry {
                time: rest(time, HOUR_MS),
                tokens: rest(tokens, MILLION),
            },
        }
    }

    fn tool(&self, tool: Option<&str>) -> Credits {
        let price = tool.and_then(|tool| self.tools.get(tool));
        price.copied().unwrap_or_default()
    }
}

/// In 1/1,000,000 micro-credit.
fn tokens(price: Option<&TokenPrice>, input: u64, output: u64) -> u128 {
    let price = price.copied().unwrap_or_default();
    let part = |tokens: u64, price: Credits| u128::from(tokens) * u128::from(price.micro());
    part(input, price.input_micro) + part(output, price.output_micro)
}

fn amount(micro: u128) -> Credits {
    Credits::from_micro(u64::try_from(micro).unwrap_or(u64::MAX))
}

fn rest(of: u128, by: u64) -> u64 {
    u64::try_from(of % u128::from(by)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-CREDIT-5: by the default table, however the hour is cut into steps.
    #[test]
    fn an_hour_of_active_time_costs_exactly_0_012_credits() {
        let table = PriceTable::default();
        for step_ms in [1, 7, 250, 1_000, 3_600_000] {
            let (mut carry, mut sum, mut left) = (Carry::default(), Credits::ZERO, HOUR_MS);
            while left > 0 {
                let active_ms = step_ms.min(left);
                let used = Used {
                    active_ms,
                    ..Used::default()
                };
                let cost = table.cost(&used, None, None, carry);
                (carry, sum, left) = (cost.carry, sum.plus(cost.known), left - active_ms);
            }
            assert_eq!(
                (sum.to_string().as_str(), carry),
                ("0.012", Carry::default()),
                "in steps of {step_ms} ms"
            );
        }
    }

    /// B-CREDIT-2: whatever is carried over from other steps.
    #[test]
    fn what_keeps_to_its_bound_costs_no_more_than_the_bound() {
        let mut table = PriceTable::default();
        table.tools.insert("exec".into(), Credits::from_micro(5));
        for limit_ms in [1, 299, 300, 301, 599, 600, 120_000] {
            for time in [0, 1, HOUR_MS / 2, HOUR_MS - 1] {
                let bound = Bound {
                    limit_ms,
                    tool: Some("exec".into()),
                    ..Bound::default()
                };
                let used = Used {
                    active_ms: limit_ms,
                    ..Used::default()
                };
                let cost = table.cost(&used, Some("exec"), None, Carry { time, tokens: 0 });
                assert!(cost.known <= table.bound(&bound), "{limit_ms} ms with {time}");
            }
        }
    }

    /// B-CREDIT-5
    #[test]
    fn tokens_without_a_price_have_an_unknown_cost_and_not_none() {
        let mut table = PriceTable::default();
        let used = Used {
            input_tokens: 1_000_000,
            output_tokens: 500_000,
            ..Used::default()
        };
        let cost = table.cost(&used, None, Some("process:a"), Carry::default());
        assert_eq!((cost.known, cost.unknown), (Credits::ZERO, true));
        let price = TokenPrice {
            input_micro: Credits::from_micro(3_000_000),
            output_micro: Credits::from_micro(15_000_000),
        };
        table.models.insert("process:a".into(), price);
        let cost = table.cost(&used, None, Some("process:a"), Carry::default());
        assert_eq!((cost.known.to_string().as_str(), cost.unknown), ("10.50", false));
    }

    #[test]
    fn nothing_overflows() {
        let mut table = PriceTable::default();
        let most = TokenPrice {
            input_micro: Credits::from_micro(u64::MAX),
            output_micro: Credits::from_micro(u64::MAX),
        };
        table.models.insert("m".into(), most);
        let bound = Bound {
            limit_ms: u64::MAX,
            model: Some("m".into()),
            input_tokens: u64::MAX / 2,
            output_tokens: u64::MAX / 2,
            ..Bound::default()
        };
        assert_eq!(table.bound(&bound).micro(), u64::MAX);
    }
}
