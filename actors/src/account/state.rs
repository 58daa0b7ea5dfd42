//! The fold of an account: what its records amount to.
//!
//! Its size is bounded by the sessions that live on the account: a session that has ended is forgotten. That is safe,
//! since a hold is charged only when the log of its session names it: what a late message makes the account hold for a
//! session that is forgotten is named by no record, and released.

use std::collections::{BTreeMap, VecDeque};

use longhaul_journal::{Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::credits::Credits;
use super::event::ResumePolicy;
use super::price::{Bound, Carry, PriceTable};

/// How many requests of top-ups are remembered.
pub(super) const REQUESTS_REMEMBERED: usize = 1_000;

/// Everything that is known about an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What it is called; `None` before its first record.
    pub name: Option<String>,
    /// Seq of its last record.
    pub head: Seq,
    /// Every version of the prices, from 1; the last is in force.
    pub prices: Vec<PriceTable>,
    /// What happens after a top-up.
    pub resume: ResumePolicy,
    /// Sum of all grants.
    pub granted: Credits,
    /// Sum of all charges.
    pub settled: Credits,
    /// Sum of all holds that are neither settled nor released.
    pub held: Credits,
    /// What steps cost beyond their holds; not part of the balance.
    pub overrun: Credits,
    /// Steps whose cost is not known, or not in full.
    pub unknown: u64,
    /// Steps that were settled.
    pub steps: u64,
    /// Parts of a micro-credit that wait to be charged.
    pub carry: Carry,
    /// The balance after the last grant, which 20 % is of.
    pub mark: Credits,
    /// Whether it was said since then that little is left.
    pub told_low: bool,
    /// Sessions that hold credit, wait for it, or may ask for more.
    pub sessions: BTreeMap<StreamId, Line>,
    /// How many of them hold credit.
    pub holds: usize,
    /// Sessions that are to be told that there is credit, by the record that made them wait.
    pub waking: BTreeMap<Seq, StreamId>,
    /// Requests that were granted, oldest first.
    pub requests: VecDeque<Request>,
}

/// What an account knows of a session: the cursor of its messages, and what is between the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What is held for its next or present step.
    pub hold: Option<Hold>,
    /// The last step that was settled; what is asked for it comes late.
    pub settled_to: u64,
    /// What it has cost so far.
    pub spent: Credits,
    /// The record since which it waits for credit.
    pub waits: Option<Seq>,
}

/// Credit set aside for a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its record.
    pub seq: Seq,
    /// The step.
    pub step: u64,
    /// The session's record since which it waits to start the step.
    pub attempt: Seq,
    /// How much.
    pub amount: Credits,
    /// Version of the prices.
    pub prices: u32,
    /// What it covers.
    pub bound: Bound,
}

/// A request that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub request: String,
    /// How much it was over.
    pub amount: Credits,
    /// Its record.
    pub seq: Seq,
}

impl State {
    /// Granted and not settled.
    pub fn balance(&self) -> Credits {
        self.granted.less(self.settled)
    }

    /// Neither settled nor held.
    pub fn available(&self) -> Credits {
        self.balance().less(self.held)
    }

    /// The prices in force, and their version.
    pub fn prices_in_force(&self) -> (u32, &PriceTable) {
        let version = u32::try_from(self.prices.len()).unwrap_or(u32::MAX);
        (version, self.prices_of(version))
    }

    /// The prices of a version.
    pub(super) fn prices_of(&self, version: u32) -> &PriceTable {
        static NONE: PriceTable = PriceTable::NONE;
        let index = usize::try_from(version)
            .ok()
            .and_then(|version| version.checked_sub(1));
        index.and_then(|index| self.prices.get(index)).unwrap_or(&NONE)
    }

    /// Whether a session could start a step that costs anything.
    pub fn has_credit(&self) -> bool {
        !self.available().is_zero() || self.prices.last().is_some_and(PriceTable::is_free)
    }

    /// Sessions that wait for credit.
    pub fn waiting(&self) -> impl Iterator<Item = StreamId> {
        let waiting = self.sessions.iter().filter(|(_, line)| line.waits.is_some());
        waiting.map(|(session, _)| *session)
    }
}
