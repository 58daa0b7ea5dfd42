//! The record that continues a log over what it lost, for entities of which nothing else has to be written down.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use crate::session::clip;

/// `journal.gap`: acknowledged records of the stream are lost, or can no longer be folded. It goes on behind them with what
/// stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalGap {
    /// The first seq that is lost.
    pub from_seq: Seq,
    /// The last seq that is lost, or may be.
    pub to_seq: Seq,
    /// What happened to them.
    pub reason: String,
}

impl JournalGap {
    /// Between `stands`, the last seq that can be folded, and `highest`, the highest that may ever have been given.
    pub fn between(stands: Seq, highest: Seq, reason: String) -> Self {
        Self {
            from_seq: stands.next(),
            to_seq: highest,
            reason: clip(reason),
        }
    }
}
