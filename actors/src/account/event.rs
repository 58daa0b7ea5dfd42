//! Facts of an account as they are stored. Adding a field here is a promise: give it a serde default.
//!
//! The payload of a record is `{"actor": .., "data": ..}`, as in every stream of longhaul.

use longhaul_journal::{NewRecord, Record, Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::credits::Credits;
use super::price::{Bound, Carry, PriceTable, Used};
use crate::entity::DecodeError;
use crate::facts::facts;
use crate::session::Actor;
use crate::shown;

/// A fact of an account with who brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who acted.
    pub actor: Actor,
    /// What happened.
    pub body: Body,
}

facts! {
    "account.opened"     1 User     Opened,
    "account.configured" 1 User     Configured,
    "account.adopted"    1 Progress Adopted,
    "account.forgot"     1 Internal Forgot,
    "journal.gap"        1 User     JournalGap,
    "credits.granted"    1 User     Granted,
    "credits.held"       1 Internal Held,
    "credits.settled"    1 Progress Settled,
    "credits.released"   1 Internal Released,
    "credits.low"        1 User     Low,
    "credits.exhausted"  1 User     Exhausted,
    "credits.resumed"    1 Progress WaitEnded,
}

impl Event {
    /// Its stored form.
    pub fn encode(&self) -> NewRecord {
        self.body.encode(&self.actor, None, None)
    }

    /// A fact from its stored form.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it or it is damaged.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let stored = Body::decode(record)?;
        Ok(Self {
            actor: stored.actor,
            body: stored.data,
        })
    }
}

/// What happens to sessions that wait for credit once there is some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResumePolicy {
    /// The account resumes what it paused.
    #[default]
    Auto,
    /// A human resumes each of them.
    Manual,
}

/// `account.opened`: the first record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// What it is called; `local` unless told.
    pub name: String,
    /// Prices, version 1.
    pub prices: PriceTable,
    /// What happens after a top-up.
    #[serde(default)]
    pub resume: ResumePolicy,
}

/// `account.configured`: other prices or another policy from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configured {
    /// Prices; their version is one higher than that before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PriceTable>,
    /// What happens after a top-up.
    pub resume: ResumePolicy,
}

/// `account.adopted`: a copy that was restored belongs to this directory from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {}

/// `account.forgot`: sessions that have ended, and hold nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forgot {
    /// Which.
    #[serde(with = "shown::sessions")]
    pub sessions: Vec<StreamId>,
}

/// `journal.gap`: acknowledged records of the account are lost, or can no longer be folded. It goes on behind them with
/// what stands: grants and charges that lie in the gap are as if they had never been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalGap {
    /// The first seq that is lost.
    pub from_seq: Seq,
    /// The last seq that is lost, or may be.
    pub to_seq: Seq,
    /// What happened to them.
    pub reason: String,
    /// The sum of all grants that stand, micro-credits.
    pub granted_micro: Credits,
    /// The sum of all charges that stand, those of `closed` among them, micro-credits.
    pub settled_micro: Credits,
    /// Holds that were open before the gap. What they were for may have been done, so they are charged in full.
    #[serde(default)]
    pub closed: Vec<ClosedHold>,
}

/// A hold that a repair has charged in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedHold {
    /// Seq of the hold.
    pub hold: Seq,
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// The step.
    pub step: u64,
    /// What was held and is charged, micro-credits.
    pub amount_micro: Credits,
}

/// Why credit was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantReason {
    /// The account is new.
    Initial,
    /// Somebody topped it up.
    TopUp,
}

/// `credits.granted`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// Names the request, so that it is granted once.
    pub request: String,
    /// How much, micro-credits.
    pub amount_micro: Credits,
    /// Why.
    pub reason: GrantReason,
}

/// `credits.held`: set aside for a step that is about to start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// The step.
    pub step: u64,
    /// Seq of the session's record since which it waits to start the step: a later try has a later one.
    pub attempt: Seq,
    /// How much, micro-credits.
    pub amount_micro: Credits,
    /// What it covers.
    pub bound: Bound,
    /// Version of the prices it was computed with, and will be settled with.
    pub prices: u32,
}

/// `credits.settled`: what a step cost; the rest of its hold is free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Seq of the hold.
    pub hold: Seq,
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// The step.
    pub step: u64,
    /// What is charged, micro-credits; never more than was held.
    pub amount_micro: Credits,
    /// What the step cost beyond its hold, micro-credits; borne by the operator.
    #[serde(default, rename = "overrun", skip_serializing_if = "Credits::is_zero")]
    pub overrun_micro: Credits,
    /// Whether there is more that nobody can put a price on; it is not charged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// What was used, raw.
    pub used: Used,
    /// Version of the prices.
    pub prices: u32,
    /// Parts of a micro-credit that the account carries on.
    #[serde(default)]
    pub carry: Carry,
    /// The session has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// `credits.released`: the step was not started; its hold is free again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Seq of the hold.
    pub hold: Seq,
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// The step.
    pub step: u64,
    /// How much, micro-credits.
    pub amount_micro: Credits,
    /// The session has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// `credits.low`: a fifth or less is left of what there was after the last grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Low {
    /// The balance, micro-credits.
    pub balance_micro: Credits,
    /// The balance after the last grant, micro-credits.
    pub of_micro: Credits,
}

/// `credits.exhausted`: there is not enough for the next step of a session, which rests until there is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exhausted {
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// What its next step may cost, micro-credits.
    pub needed_micro: Credits,
    /// What is neither settled nor held, micro-credits.
    pub available_micro: Credits,
}

/// `credits.resumed`: a session that waited for credit was told that there is some.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitEnded {
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
}
