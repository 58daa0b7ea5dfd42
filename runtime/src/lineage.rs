//! Who may decide on an approval: a process that does not act for an agent (B-GATE-3).
//!
//! Whoever reaches the control socket as its owner, and does not descend from an agent, is the local human, or the one that the
//! token they show was minted for. A token makes nobody human: this is asked first, whatever is shown.

use longhaul_hands::{Held, Lineage};

use crate::api::{Code, Problem};
use crate::brains::process::MARK;

/// Environment variables that only processes of agents carry, besides that of a step.
const MARKS: &[&str] = &[MARK];

/// Refuses a process that acts for an agent, and one of which that cannot be told. Blocks on `/proc`.
///
/// # Errors
/// `self_approval`.
pub(crate) fn check_peer(peer: Option<&Held>) -> Result<(), Problem> {
    judge(peer.map_or(Lineage::Unknown, |held| held.lineage(MARKS)))
}

/// As [`check_peer`], of this process itself.
///
/// # Errors
/// `self_approval`.
#[cfg(feature = "cli")]
pub(crate) fn check_self() -> Result<(), Problem> {
    judge(longhaul_hands::lineage(std::process::id(), MARKS))
}

fn judge(lineage: Lineage) -> Result<(), Problem> {
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
    Err(Problem::new(Code::SelfApproval, detail).next(
        "do it from a shell of your own",
        "longhaul approvals approve ID --evidence TEXT",
    ))
}
