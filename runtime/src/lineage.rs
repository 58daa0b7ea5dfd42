//! Who may decide on an approval, mint a token and grant credit: a process that does not act for an agent (B-GATE-3).
//!
//! Whoever reaches the control socket as its owner, and does not descend from an agent, is the local human, or the one that the
//! token they show was minted for. A token makes nobody human: this is asked first, whatever is shown.

use longhaul_hands::{Held, Lineage};

use crate::api::{Code, Problem};
use crate::brains::process::MARK;

/// Environment variables that only processes of agents carry, besides that of a step.
const MARKS: &[&str] = &[MARK];

/// What is for humans alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForHumans {
    /// To decide on a request for approval.
    Decisions,
    /// To hand out tokens.
    Tokens,
    /// To grant credit.
    Money,
    /// To let a session cost more.
    Budgets,
}

impl ForHumans {
    /// How a human does it.
    fn command(self) -> &'static str {
        match self {
            Self::Decisions => "longhaul approvals show ID",
            Self::Tokens => "longhaul token create ID --scope read",
            Self::Money => "longhaul credits top-up AMOUNT",
            Self::Budgets => "longhaul resume ID --budget AMOUNT",
        }
    }
}

/// Refuses a process that acts for an agent, and one of which that cannot be told. Blocks on `/proc`.
///
/// # Errors
/// `self_approval`.
pub(crate) fn check_peer(peer: Option<&Held>, what: ForHumans) -> Result<(), Problem> {
    judge(peer.map_or(Lineage::Unknown, |held| held.lineage(MARKS)), what)
}

/// As [`check_peer`], of this process itself.
///
/// # Errors
/// `self_approval`.
#[cfg(feature = "cli")]
pub(crate) fn check_self(what: ForHumans) -> Result<(), Problem> {
    judge(longhaul_hands::lineage(std::process::id(), MARKS), what)
}

fn judge(lineage: Lineage, what: ForHumans) -> Result<(), Problem> {
    let detail = match lineage {
        Lineage::Free => return Ok(()),
        Lineage::Agent { pid } => {
            format!("the process that asks descends from process {pid}, which acts for an agent")
        }
        Lineage::Unknown => {
            "it cannot be told whether the process that asks acts for an agent: it is gone, or /proc does not show \
             where it comes from"
                .to_owned()
        }
    };
    Err(Problem::new(Code::SelfApproval, detail).next("do it from a shell of your own", what.command()))
}
