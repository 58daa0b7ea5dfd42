//! Requests for approval as a list of lines, and one as a card.

use super::line::Look;
use super::text::{cut, escaped};
use crate::api::ApprovalView;

/// The line over a list of requests.
pub(crate) fn approval_heading() -> String {
    format!(
        "{:<51}  {:<8}  {:<6}  {:<22}  action",
        "id", "status", "risk", "category"
    )
}

/// A request as a line.
pub(crate) fn approval_line(asked: &ApprovalView, look: Look) -> String {
    let line = format!(
        "{:<51}  {:<8}  {:<6}  {:<22}  {}",
        asked.id,
        asked.status.name(),
        asked.risk,
        asked.category,
        escaped(&asked.action)
    );
    match look.width {
        Some(width) => cut(&line, width).into_owned(),
        None => line,
    }
}

/// A request as lines of `name  value`; what is not there is left out. The act is shown whole.
pub(crate) fn approval_card(asked: &ApprovalView) -> Vec<String> {
    let mut rows: Vec<(&str, String)> = vec![
        ("id", asked.id.clone()),
        ("session", asked.session.clone()),
        ("status", asked.status.name().into()),
        ("action", asked.action.clone()),
        ("tool", asked.tool.clone()),
    ];
    match &asked.args {
        Some(args) => rows.push(("arguments", args.to_string())),
        None => rows.push((
            "arguments",
            format!(
                "too long to stand here; read the answer of the brain before record {}",
                asked.seq
            ),
        )),
    }
    rows.push(("category", format!("{}, risk {}", asked.category, asked.risk)));
    rows.push(("rule", asked.rule.clone()));
    rows.extend((!asked.detail.is_empty()).then(|| ("because", asked.detail.clone())));
    for script in &asked.scripts {
        rows.push(("script", format!("{} sha256 {}", script.path, script.sha256)));
    }
    rows.push(("digest", asked.digest.clone()));
    rows.push(("requested", asked.requested_at.clone()));
    rows.extend(asked.expires_at.clone().map(|at| ("expires", at)));
    rows.extend(asked.settled_at.clone().map(|at| ("settled", at)));
    rows.extend(asked.decided_by.clone().map(|by| ("decided by", by)));
    rows.extend(asked.evidence.clone().map(|evidence| ("evidence", evidence)));
    rows.extend(
        asked
            .canceled_by
            .clone()
            .map(|why| ("canceled by", why.replace('_', " "))),
    );
    rows.extend(asked.used.then(|| ("used", "the act was begun".into())));
    rows.extend(asked.advisory.then(|| {
        let note = "the commands of this session are not walled in, so the approval is advisory";
        ("note", note.into())
    }));
    rows.into_iter()
        .map(|(name, value)| format!("{name:<11}  {}", escaped(&value)))
        .collect()
}
