//! `longhaul ls`, `longhaul show`

use super::Outcome;
use super::args::{Ls, Which};
use super::reach::Place;
use super::render::{card, list_heading, list_line};
use super::ui::Ui;
use crate::Control;
use crate::api::{ListQuery, Problem, SessionView};

pub(super) async fn ls(args: Ls, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_read().await?;
    let listed = list(reach.control(), &args).await;
    reach.close().await;
    let (sessions, more) = listed?;
    if ui.is_json() {
        sessions.iter().try_for_each(|session| ui.object(session))?;
    } else if sessions.is_empty() {
        ui.note("no sessions here; start one: longhaul run --brain playbook:FILE \"GOAL\"");
    } else {
        ui.line(&list_heading())?;
        sessions
            .iter()
            .try_for_each(|session| ui.line(&list_line(session, ui.look())))?;
    }
    if more {
        ui.note(&format!(
            "there are more: longhaul ls --limit {}",
            args.limit.saturating_mul(2)
        ));
    }
    Ok(0)
}

/// As many sessions as are wanted, and whether there are more.
async fn list(control: &dyn Control, args: &Ls) -> Result<(Vec<SessionView>, bool), Problem> {
    let (mut sessions, mut cursor) = (Vec::new(), None);
    loop {
        let limit = Some(args.limit.saturating_sub(sessions.len()).clamp(1, 100));
        let page = control
            .list(ListQuery {
                cursor,
                limit,
                archived: args.archived,
            })
            .await?;
        sessions.extend(page.sessions);
        cursor = page.next_cursor;
        if cursor.is_none() || sessions.len() >= args.limit {
            return Ok((sessions, cursor.is_some()));
        }
    }
}

pub(super) async fn show(args: Which, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_read().await?;
    let shown = reach.control().show(&args.id).await;
    reach.close().await;
    let session = shown?;
    if ui.is_json() {
        ui.object(&session)?;
    } else {
        card(&session).iter().try_for_each(|line| ui.line(line))?;
    }
    Ok(0)
}
