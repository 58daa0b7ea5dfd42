//! `longhaul tail`

use std::time::Duration;

use super::Outcome;
use super::args::Tail;
use super::reach::{Place, Reach};
use super::render::{heading, line};
use super::ui::{Failure, Ui};
use crate::api::{Code, EventsQuery, Problem, RecordView};

/// How long one question waits for a record. Short enough that a server which comes meanwhile is found.
const WAIT_MS: u64 = 2_000;
/// How long to wait before asking whether somebody else answers, once nobody does.
const RETRY: Duration = Duration::from_millis(250);

pub(super) async fn tail(args: Tail, place: &Place, ui: &Ui) -> Outcome {
    let mut reach = place.to_read().await?;
    // Found once, so that a session which comes later cannot make a short id mean two.
    let shown = reach.control().show(&args.id).await?;
    let (id, first) = (shown.id, args.from.max(1));
    if first > shown.head + 1 {
        let detail = format!("{id} has no seq {first} yet; its last one is {}", shown.head);
        return Err(Problem::new(Code::InvalidRequest, detail).into());
    }
    if !ui.is_json() {
        ui.line(&heading())?;
    }
    let mut query = EventsQuery {
        after: first - 1,
        level: args.shown.level(),
        ..EventsQuery::default()
    };
    loop {
        let page = match reach.control().events(&id, query.clone()).await {
            Ok(page) => page,
            Err(problem) if args.follow && problem.code == Code::NotServing => {
                reach = again(place).await?;
                continue;
            }
            Err(problem) => return Err(problem.into()),
        };
        page.events.iter().try_for_each(|record| print(record, ui))?;
        query.after = page.next_after;
        let caught_up = page.next_after >= page.head;
        if caught_up && page.state == "quarantined" {
            let detail = format!("{id} lost part of its log; this is what can be read of it");
            let problem = Problem::new(Code::StreamQuarantined, detail);
            return Err(problem.next("see what is lost", "longhaul journal verify").into());
        }
        if page.ended || (caught_up && !args.follow) {
            return Ok(0);
        }
        if caught_up {
            query.wait_ms = WAIT_MS;
            if reach.is_files() {
                reach = place.to_read().await?;
            }
        }
    }
}

/// One record, as a line or an object.
pub(super) fn print(record: &RecordView, ui: &Ui) -> Result<(), Failure> {
    if ui.is_json() {
        ui.object(record)
    } else {
        ui.line(&line(record, ui.look()))
    }
}

async fn again(place: &Place) -> Result<Reach, Failure> {
    tokio::time::sleep(RETRY).await;
    Ok(place.to_read().await?)
}
