//! `longhaul patch`: what a session changed, as `git apply` takes it.

use longhaul_actors::session::ArtifactCreated;
use longhaul_journal::Level;
use serde::Deserialize;

use super::Outcome;
use super::args::Which;
use super::reach::Place;
use super::ui::Ui;
use crate::Control;
use crate::api::{Code, EventsQuery, Problem, RecordView};

pub(super) async fn patch(args: Which, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_read().await?;
    let found = last_patch(reach.control(), &args.id).await;
    reach.close().await;
    ui.bytes(&found?)?;
    Ok(0)
}

async fn last_patch(control: &dyn Control, id: &str) -> Result<Vec<u8>, Problem> {
    let id = control.show(id).await?.id;
    let mut query = EventsQuery {
        level: Level::User,
        ..EventsQuery::default()
    };
    let mut last = None;
    loop {
        let page = control.events(&id, query.clone()).await?;
        last = page.events.iter().filter_map(patch_of).next_back().or(last);
        if page.next_after >= page.head {
            break;
        }
        query.after = page.next_after;
    }
    let artifact = last.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("the session {id} has made no patch"))
            .next("see what it did", format!("longhaul tail {id}"))
    })?;
    control.blob(&artifact.sha256).await
}

/// The patch that a record is about, if it is about one.
pub(super) fn patch_of(record: &RecordView) -> Option<ArtifactCreated> {
    (record.type_name == "artifact.created")
        .then(|| ArtifactCreated::deserialize(&record.stored.data).ok())
        .flatten()
        .filter(|artifact| artifact.kind == "patch")
}
