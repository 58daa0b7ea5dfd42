//! One line of results, as JSON or for people.

use serde_json::{Map, Value};

use crate::load::Measured;
use crate::plan::Plan;

/// What every object has, so that whoever reads many benches need not know which of them measures what; `null` where a bench
/// does not.
const ALWAYS: [&str; 7] = [
    "bench",
    "concurrency",
    "rate_per_s",
    "p50_us",
    "p99_us",
    "yardstick_per_s",
    "ratio",
];

/// The fields of one line, in the order in which they were found out.
#[derive(Debug)]
pub(crate) struct Row(Vec<(&'static str, Value)>);

impl Row {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self(vec![("bench", plan.bench.into())])
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    /// A number with so many digits behind the point.
    pub(crate) fn number(self, name: &'static str, value: f64, digits: i32) -> Self {
        let scale = 10f64.powi(digits);
        let rounded = (value * scale).round() / scale;
        if digits == 0 {
            self.with(name, rounded_whole(rounded))
        } else {
            self.with(name, rounded)
        }
    }

    pub(crate) fn measured(self, concurrency: usize, measured: &Measured) -> Self {
        self.with("concurrency", concurrency)
            .number("rate_per_s", measured.rate, 0)
            .number("p50_us", measured.p50_us, 0)
            .number("p99_us", measured.p99_us, 0)
    }

    pub(crate) fn print(mut self, plan: &Plan) {
        if plan.json {
            for name in ALWAYS {
                if self.0.iter().all(|(known, _)| *known != name) {
                    self.0.push((name, Value::Null));
                }
            }
            // serde_json's map sorts by name; so the line is put together here.
            let fields: Vec<String> = self
                .0
                .iter()
                .map(|(name, value)| format!("{}:{value}", Value::from(*name)))
                .collect();
            println!("{{{}}}", fields.join(","));
        } else {
            let fields: Vec<String> = self
                .0
                .iter()
                .map(|(name, value)| format!("{name} {}", plain(value)))
                .collect();
            println!("{}", fields.join("  "));
        }
    }

    /// Adds what another process found out.
    pub(crate) fn and(mut self, found: &Map<String, Value>, names: &[&'static str]) -> Self {
        for name in names {
            self.0.push((name, found.get(*name).cloned().unwrap_or_default()));
        }
        self
    }
}

fn rounded_whole(value: f64) -> Value {
    format!("{value:.0}")
        .parse::<i64>()
        .map_or(Value::Null, Value::from)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
