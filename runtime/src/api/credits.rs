//! Accounts as they are shown, and the requests that act on them. Amounts are decimal numbers of credits as text, and
//! whole micro-credits beside them; one credit is one US dollar.

use std::collections::BTreeMap;

use longhaul_actors::account::{Credits, PriceTable, ResumePolicy, State, TokenPrice};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An amount, both ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// A decimal number of credits: `0.012`.
    pub credits: String,
    /// The same in whole micro-credits.
    pub micro: u64,
}

impl From<Credits> for Amount {
    fn from(credits: Credits) -> Self {
        Self {
            credits: credits.to_string(),
            micro: credits.micro(),
        }
    }
}

/// An account as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    /// Its name.
    pub account: String,
    /// Whether it exists; one that does not is opened with the first session.
    pub opened: bool,
    /// What a credit is worth one of: `USD`.
    pub currency: String,
    /// Everything that was ever granted.
    pub granted: Amount,
    /// Everything that was ever charged.
    pub settled: Amount,
    /// What is left of the grants.
    pub balance: Amount,
    /// What is set aside for steps under way.
    pub held: Amount,
    /// The balance without what is held.
    pub available: Amount,
    /// What steps cost beyond what was held for them; it was not charged.
    pub overrun: Amount,
    /// Steps that were charged.
    pub steps: u64,
    /// Steps whose cost is not known, or not in full; what is not known was not charged.
    pub unknown_steps: u64,
    /// Whether a fifth or less is left of what there was after the last grant.
    pub low: bool,
    /// What happens after a top-up to sessions that wait for credit.
    pub resume: ResumePolicy,
    /// Sessions that wait for credit.
    pub waiting: Vec<String>,
    /// What work costs.
    pub prices: PricesView,
    /// Where credit is bought, if that was configured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub top_up_url: String,
    /// Sessions at work, if somebody serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Concurrency>,
}

/// Sessions at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// How many work.
    pub active: usize,
    /// How many wait for a place.
    pub queued: usize,
    /// How many may work at the same time.
    pub limit: usize,
}

/// Prices as they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PricesView {
    /// Their version, from 1.
    pub version: u32,
    /// An hour of active step time.
    pub hour: Amount,
    /// One call, by tool.
    pub tools: BTreeMap<String, Amount>,
    /// A million tokens, by brain.
    pub models: BTreeMap<String, TokenPriceView>,
}

/// The price of a million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPriceView {
    /// Put in.
    pub input: Amount,
    /// That came out.
    pub output: Amount,
}

impl AccountView {
    /// An account by its fold, and the ids of those sessions that wait for it.
    pub(crate) fn of(
        name: &str,
        state: &State,
        waiting: Vec<String>,
        top_up_url: &str,
        sessions: Option<Concurrency>,
    ) -> Self {
        let (version, prices) = state.prices_in_force();
        Self {
            account: name.to_owned(),
            opened: state.name.is_some(),
            currency: "USD".to_owned(),
            granted: state.granted.into(),
            settled: state.settled.into(),
            balance: state.balance().into(),
            held: state.held.into(),
            available: state.available().into(),
            overrun: state.overrun.into(),
            steps: state.steps,
            unknown_steps: state.unknown,
            low: state.told_low,
            resume: state.resume,
            waiting,
            prices: prices_view(version, prices),
            top_up_url: top_up_url.to_owned(),
            sessions,
        }
    }
}

fn prices_view(version: u32, prices: &PriceTable) -> PricesView {
    let tools = prices.tools.iter();
    let models = prices.models.iter();
    PricesView {
        version,
        hour: prices.hour_micro.into(),
        tools: tools
            .map(|(tool, price)| (tool.clone(), (*price).into()))
            .collect(),
        models: models
            .map(|(model, price)| (model.clone(), token_price(price)))
            .collect(),
    }
}

fn token_price(price: &TokenPrice) -> TokenPriceView {
    TokenPriceView {
        input: price.input_micro.into(),
        output: price.output_micro.into(),
    }
}

/// A request for more credit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopUp {
    /// A decimal number of credits, as text.
    pub amount: String,
    /// Names the request: the same one is granted once.
    pub request_id: String,
}

/// Credit was granted, and is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToppedUp {
    /// The record of the grant.
    pub seq: u64,
    /// Whether the request had been granted before.
    pub repeated: bool,
    /// What was granted.
    pub amount: Amount,
    /// What is left of all grants.
    pub balance: Amount,
    /// The balance without what is held.
    pub available: Amount,
    /// Sessions that waited for credit and were resumed.
    pub resumed: Vec<String>,
}

/// Which part of the ledger is wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LedgerQuery {
    /// Only records with a larger seq.
    pub after: u64,
    /// At most this many: 500 unless told, and at most.
    pub limit: Option<usize>,
}

/// A page of the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPage {
    /// The records, in order.
    pub entries: Vec<LedgerEntry>,
    /// Ask for what comes after this next.
    pub next_after: u64,
    /// Seq of the last durable record.
    pub head: u64,
}

/// One record of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// Its seq.
    pub seq: u64,
    /// When it was written, RFC 3339.
    pub ts: String,
    /// Its type: `credits.settled`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// What it does to the balance, micro-credits: above zero for a grant, below for a charge.
    pub change_micro: i64,
    /// What happened.
    pub data: Value,
}
