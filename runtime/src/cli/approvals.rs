//! `longhaul approvals`: what agents want to do and may not do without a human's word, and that word.

use longhaul_actors::session::ApprovalDecision;

use super::Outcome;
use super::args::{ApprovalsVerb, ListApprovals};
use super::reach::Place;
use super::render::{approval_card, approval_heading, approval_line};
use super::ui::Ui;
use super::wishes::told;
use crate::api::{ApprovalsQuery, Decide};
use crate::lineage::{self, ForHumans};

pub(super) async fn approvals(verb: ApprovalsVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        ApprovalsVerb::Ls(args) => ls(args, place, ui).await,
        ApprovalsVerb::Show(args) => show(&args.id, place, ui).await,
        ApprovalsVerb::Approve(args) => {
            decide(&args.id, ApprovalDecision::Approve, args.evidence, place, ui).await
        }
        ApprovalsVerb::Deny(args) => decide(&args.id, ApprovalDecision::Deny, args.reason, place, ui).await,
    }
}

async fn ls(args: ListApprovals, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_read().await?;
    let query = ApprovalsQuery {
        session: args.session,
    };
    let found = reach.control().approvals(query).await;
    reach.close().await;
    let approvals = found?.approvals;
    if ui.is_json() {
        approvals.iter().try_for_each(|asked| ui.object(asked))?;
    } else if approvals.is_empty() {
        ui.note("nothing waits for a decision");
    } else {
        ui.line(&approval_heading())?;
        approvals
            .iter()
            .try_for_each(|asked| ui.line(&approval_line(asked, ui.look())))?;
    }
    Ok(0)
}

async fn show(id: &str, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_read().await?;
    let shown = reach.control().approval(id).await;
    reach.close().await;
    let asked = shown?;
    if ui.is_json() {
        ui.object(&asked)?;
    } else {
        approval_card(&asked).iter().try_for_each(|line| ui.line(line))?;
    }
    Ok(0)
}

async fn decide(id: &str, decision: ApprovalDecision, evidence: String, place: &Place, ui: &Ui) -> Outcome {
    // Whoever serves looks at us as well; where nobody serves this is the only look there is.
    lineage::check_self(ForHumans::Decisions)?;
    let reach = place.to_decide_on(id).await?;
    let decided = Decide {
        decision,
        evidence,
        by: None,
    };
    let accepted = reach.control().decide(id, decided).await;
    let word = match decision {
        ApprovalDecision::Approve => "approval",
        ApprovalDecision::Deny => "denial",
    };
    told(accepted, word, reach, ui).await
}
