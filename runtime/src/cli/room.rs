//! `longhaul du`, `rm`, `gc`: what takes room, and how it is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use longhaul_actors::Entity;
use longhaul_actors::session::Session;
use longhaul_journal::{BlobId, Entry, StreamId, blobs_named_in};
use serde_json::json;

use super::Outcome;
use super::args::{Du, Gc, Rm};
use super::reach::{Place, Reach};
use super::render::{count, size};
use super::shelf::{self, Shelf};
use super::ui::{Failure, Ui};
use super::wishes::agreed;
use crate::api::{Code, Collect, Problem, Remove, Removed, session_id};
use crate::service::bytes_below;
use crate::world::SessionFolder;

/// What one session takes.
#[derive(Default)]
struct Taken {
    log: u64,
    files: u64,
    blobs: BTreeSet<BlobId>,
}

/// Bytes by session. A body that several sessions name is counted with each.
pub(super) fn du(args: &Du, place: &Place, ui: &Ui) -> Outcome {
    let data = place.data();
    let only = args
        .id
        .as_deref()
        .map(|id| Shelf::new(data).find(id))
        .transpose()?;
    let mut taken = survey(data, only)?;
    if let Some(stream) = only {
        taken.entry(stream).or_default();
    }
    if !ui.is_json() {
        ui.line(&format!(
            "{:<34}  {:>9}  {:>9}  {:>9}",
            "id", "log", "bodies", "files"
        ))?;
    }
    for (stream, mut taken) in taken {
        taken.files =
            bytes_below(SessionFolder::new(data, stream).root()).map_err(|error| at(data, &error))?;
        let blobs: u64 = taken.blobs.iter().map(|id| blob_bytes(data, *id)).sum();
        let id = session_id(stream);
        if ui.is_json() {
            ui.object(&json!({ "id": id, "log": taken.log, "blobs": blobs, "files": taken.files }))?;
        } else {
            let (log, blobs, files) = (size(taken.log), size(blobs), size(taken.files));
            ui.line(&format!("{id:<34}  {log:>9}  {blobs:>9}  {files:>9}"))?;
        }
    }
    Ok(0)
}

/// Removes the files of a session that has ended; with `--log` the session itself. Whoever serves does it.
pub(super) async fn rm(args: Rm, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let removed = removed(&args, &reach, ui).await;
    reach.close().await;
    let Some(removed) = removed? else {
        ui.note("nothing was removed");
        return Ok(1);
    };
    if ui.is_json() {
        ui.object(&removed)?;
        return Ok(0);
    }
    let (id, freed) = (&removed.id, size(removed.freed));
    if removed.log {
        ui.line(&format!("{id}  removed, freed {freed}"))?;
        ui.note("the room of its log is freed by: longhaul gc");
    } else {
        ui.line(&format!("{id}  freed {freed}; its log is kept"))?;
    }
    Ok(0)
}

async fn removed(args: &Rm, reach: &Reach, ui: &Ui) -> Result<Option<Removed>, Failure> {
    let control = reach.control();
    let shown = match control.show(&args.id).await {
        // It may be a task, or the tokens of a session: what can be said of those, and what may not be removed, the service knows.
        Err(problem) if problem.code == Code::NotFound && args.yes => {
            let removed = control.remove(&args.id, Remove { log: args.log }).await;
            return Ok(Some(removed.map_err(|problem| reach.explained(problem))?));
        }
        Err(problem) if problem.code == Code::NotFound && args.log => {
            let command = format!("longhaul rm {} --log --yes", args.id);
            return Err(problem
                .next("if it is a task, or tokens, that lost their log", command)
                .into());
        }
        shown => shown?,
    };
    let has_ended = matches!(shown.state.as_str(), "completed" | "failed" | "canceled");
    let question = match args.log {
        true => "remove it for good, with its log?",
        false => "remove its workspace and the evidence of its steps?",
    };
    // What is refused anyway is not asked about.
    let may_ask = has_ended || args.log && matches!(shown.state.as_str(), "inert" | "quarantined");
    if may_ask && !args.yes && !agreed(&shown, "rm", question, ui)? {
        return Ok(None);
    }
    let removed = control.remove(&shown.id, Remove { log: args.log }).await;
    Ok(Some(removed.map_err(|problem| reach.explained(problem))?))
}

/// Removes bodies that no record names, once they are older than the grace time, and thins the log (B-LOG-11).
pub(super) async fn gc(args: Gc, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish().await?;
    let wish = Collect {
        grace_hours: args.grace_hours,
        at_least_percent: args.at_least_percent,
    };
    let collected = reach.control().collect(wish).await;
    let collected = collected.map_err(|problem| reach.explained(problem));
    reach.close().await;
    let collected = collected?;
    if ui.is_json() {
        ui.object(&collected)?;
        return Ok(0);
    }
    let bodies = count(collected.blobs, "blob");
    let bytes = size(collected.freed - collected.log);
    ui.line(&format!("freed {bytes} in {bodies} that no record names"))?;
    if collected.log > 0 || collected.left > 0 {
        let segments = count(collected.segments, "segment");
        let (log, left) = (size(collected.log), size(collected.left));
        ui.line(&format!(
            "freed {log} of log in {segments}; {left} of removed sessions stay for now"
        ))?;
    }
    Ok(0)
}

fn survey(data: &Path, only: Option<StreamId>) -> Result<BTreeMap<StreamId, Taken>, Problem> {
    let mut taken: BTreeMap<StreamId, Taken> = BTreeMap::new();
    let walked = shelf::open(data)?.map_or(Ok(()), |journal| {
        journal.walk(only, |entry| {
            if let Entry::Frame(frame) = &entry
                && frame.is_removal()
            {
                taken.remove(&frame.stream);
            }
            if let Entry::Frame(frame) = entry
                && frame.kind == Session::KIND
            {
                let of_session = taken.entry(frame.stream).or_default();
                of_session.log += frame.payload_bytes() as u64;
                of_session.blobs.extend(blobs_named_in(&frame));
            }
            ControlFlow::Continue(())
        })
    });
    walked.map_err(|error| shelf::unreadable(data, error))?;
    Ok(taken)
}

fn blob_bytes(data: &Path, id: BlobId) -> u64 {
    let name = id.to_string();
    let path = data.join("blobs").join(&name[..2]).join(&name[2..]);
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn at(data: &Path, error: &io::Error) -> Problem {
    let detail = format!("cannot look through {}: {error}", data.display());
    Problem::new(Code::StorageUnavailable, detail).next("see what is there", "longhaul doctor")
}
