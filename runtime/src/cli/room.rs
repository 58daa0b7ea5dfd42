//! `longhaul du`, `rm`, `gc`: what takes room, and how it is freed. Logs are never shortened.
//!
//! Whatever frees something has the directory for itself, so that nobody names a body while it is swept, and frees only
//! what can be missed: a crash in the middle leaves some of it, and the next round takes the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use longhaul_actors::Entity;
use longhaul_actors::session::Session;
use longhaul_journal::{BlobId, Entry, Journal, StreamId, blobs_named_in};
use serde_json::json;

use super::Outcome;
use super::args::{Du, Gc, Rm};
use super::reach::Place;
use super::render::{count, size};
use super::shelf::{self, Shelf};
use super::ui::Ui;
use super::wishes::agreed;
use crate::Control;
use crate::api::{Code, Problem, session_id};
use crate::runtime::open_journal;
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

/// Removes the files of a session that has ended. Its log and bodies stay, a patch it handed in among them.
pub(super) async fn rm(args: Rm, place: &Place, ui: &Ui) -> Outcome {
    let shelf = Shelf::new(place.data());
    let shown = shelf.show(&args.id).await?;
    let stream = shelf.find(&args.id)?;
    let id = &shown.id;
    if !matches!(shown.state.as_str(), "completed" | "failed" | "canceled") {
        let detail = format!("{id} is {}, so its files may be needed", shown.state);
        return Err(Problem::new(Code::SessionLive, detail)
            .next("end it", format!("longhaul cancel {id}"))
            .into());
    }
    let folder = SessionFolder::new(place.data(), stream);
    let bytes = bytes_below(folder.root()).map_err(|error| at(place.data(), &error))?;
    if !args.yes
        && !agreed(
            &shown,
            "rm",
            "remove its workspace and the evidence of its steps?",
            ui,
        )?
    {
        ui.note("nothing was removed");
        return Ok(1);
    }
    let journal = open_journal(place.data().to_owned(), None).await?;
    let removed = match fs::remove_dir_all(folder.root()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(place.data(), &error)),
        _ => Ok(()),
    };
    close(journal).await;
    removed?;
    if ui.is_json() {
        ui.object(&json!({ "id": id, "freed": bytes }))?;
    } else {
        ui.line(&format!("{id}  freed {}; its log is kept", size(bytes)))?;
    }
    Ok(0)
}

/// Removes bodies that no record names, once they are older than the grace time (B-LOG-11).
pub(super) async fn gc(args: Gc, place: &Place, ui: &Ui) -> Outcome {
    let data = place.data();
    let journal = open_journal(data.to_owned(), None).await?;
    // Everything that survived is known to be durable now; what a lost record named cannot be known.
    let swept = if journal.damaged().is_empty() {
        sweep(data, Duration::from_secs(args.grace_hours * 3600))
    } else {
        let detail = "the journal is damaged, so nobody knows which bodies the lost records named; nothing was removed";
        Err(Problem::new(Code::JournalDamaged, detail).next("see what is lost", "longhaul journal verify"))
    };
    close(journal).await;
    let (blobs, bytes) = swept?;
    if ui.is_json() {
        ui.object(&json!({ "blobs": blobs, "freed": bytes }))?;
    } else {
        let bodies = count(blobs, "blob");
        ui.line(&format!("freed {} in {bodies} that no record names", size(bytes)))?;
    }
    Ok(0)
}

async fn close(journal: longhaul_journal::LocalJournal) {
    // It waits for what is being written, which here is nothing but a marker.
    let closed = tokio::task::spawn_blocking(move || journal.close()).await;
    if let Err(error) = closed {
        tracing::error!(%error, "the journal did not close in good order");
    }
}

/// Removes what is neither named nor young: how many, and how many bytes.
fn sweep(data: &Path, grace: Duration) -> Result<(u64, u64), Problem> {
    let report = longhaul_journal::verify(data, None).map_err(|error| shelf::unreadable(data, &error))?;
    if !report.damaged.is_empty() || !report.lost.is_empty() {
        let detail = "the journal is damaged, so nobody knows which bodies the lost records named; nothing was removed";
        return Err(
            Problem::new(Code::JournalDamaged, detail).next("see what is lost", "longhaul journal verify")
        );
    }
    let mut marked = BTreeSet::new();
    let walked = shelf::open(data)?.map_or(Ok(()), |journal| {
        journal.walk(None, |entry| {
            if let Entry::Frame(frame) = entry {
                marked.extend(blobs_named_in(&frame));
            }
            ControlFlow::Continue(())
        })
    });
    walked.map_err(|error| shelf::unreadable(data, &error))?;
    let names: BTreeSet<String> = marked.iter().map(BlobId::to_string).collect();
    let old_before = SystemTime::now()
        .checked_sub(grace)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    sweep_folder(&data.join("blobs"), &names, old_before).map_err(|error| at(data, &error))
}

fn sweep_folder(blobs: &Path, named: &BTreeSet<String>, old_before: SystemTime) -> io::Result<(u64, u64)> {
    let (mut removed, mut bytes) = (0, 0);
    for folder in entries(blobs)? {
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for blob in entries(&folder.path())? {
            let name = [folder.file_name(), blob.file_name()].map(|part| part.to_string_lossy().into_owned());
            let meta = blob.metadata()?;
            if !named.contains(&name.concat()) && meta.modified()? < old_before {
                fs::remove_file(blob.path())?;
                (removed, bytes) = (removed + 1, bytes + meta.len());
            }
        }
    }
    Ok((removed, bytes))
}

fn survey(data: &Path, only: Option<StreamId>) -> Result<BTreeMap<StreamId, Taken>, Problem> {
    let mut taken: BTreeMap<StreamId, Taken> = BTreeMap::new();
    let walked = shelf::open(data)?.map_or(Ok(()), |journal| {
        journal.walk(only, |entry| {
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
    walked.map_err(|error| shelf::unreadable(data, &error))?;
    Ok(taken)
}

fn blob_bytes(data: &Path, id: BlobId) -> u64 {
    let name = id.to_string();
    let path = data.join("blobs").join(&name[..2]).join(&name[2..]);
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Bytes of all files below a folder; links are not followed.
fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in entries(folder)? {
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            bytes_below(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(bytes)
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn at(data: &Path, error: &io::Error) -> Problem {
    let detail = format!("cannot look through {}: {error}", data.display());
    Problem::new(Code::StorageUnavailable, detail).next("see what is there", "longhaul doctor")
}
