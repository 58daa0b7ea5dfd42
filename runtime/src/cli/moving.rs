//! `longhaul export`, `import`, `adopt`, `backup`: a session, or all of them, on the way to another place.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use longhaul_journal::{OfflineError, Portable, PortableError};
use serde_json::json;

use super::Outcome;
use super::args::{Backup, Export, Import, Which};
use super::reach::Place;
use super::render::{count, escaped, size};
use super::shelf::{self, Shelf};
use super::ui::Ui;
use super::wishes;
use crate::api::{Code, Problem, session_id};

/// Writes a session to a file, whether or not somebody works for it.
pub(super) fn export(args: &Export, place: &Place, ui: &Ui) -> Outcome {
    let stream = Shelf::new(place.data()).find(&args.id)?;
    let id = session_id(stream);
    if args.file.exists() {
        let detail = format!("{} is there already", args.file.display());
        return Err(Problem::new(Code::InvalidRequest, detail)
            .next("choose another name", format!("longhaul export {id} FILE"))
            .into());
    }
    let portable = Portable::of(place.data(), stream).map_err(|error| match error {
        PortableError::Offline(error) => shelf::unreadable(place.data(), error),
        error => not_portable(&error, &id),
    })?;
    let bytes = portable.to_bytes();
    keep(&args.file, &bytes).map_err(|error| {
        let detail = format!("cannot write {}: {error}", args.file.display());
        Problem::new(Code::StorageUnavailable, detail)
    })?;
    let (seq, hash) = portable.head();
    if ui.is_json() {
        ui.object(&json!({
            "id": id, "file": args.file, "bytes": bytes.len(), "head": seq, "hash": hash.to_string(),
            "blobs": portable.blobs(),
        }))?;
    } else {
        let line = format!(
            "{id}  exported to {}: up to seq {seq}, {}, {}",
            args.file.display(),
            count(portable.blobs() as u64, "body").replace("bodys", "bodies"),
            size(bytes.len() as u64)
        );
        ui.line(&escaped(&line))?;
    }
    ui.note("its workspace is not in it; let it run in one place only");
    Ok(0)
}

/// A file that is whole and on disk, or not there.
fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    // Its name is what it is found by.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes a session in; it is inert until it is adopted (B-LOG-12).
pub(super) async fn import(args: &Import, place: &Place, ui: &Ui) -> Outcome {
    let bytes = fs::read(&args.file).map_err(|error| {
        let detail = format!("cannot read {}: {error}", args.file.display());
        Problem::new(Code::InvalidRequest, detail)
    })?;
    // Before anybody is asked: what is no such file makes no directory.
    Portable::parse(&bytes).map_err(|error| not_portable(&error, "ID"))?;
    let reach = place.to_wish().await?;
    let imported = reach.control().import(bytes).await;
    let imported = imported.map_err(|problem| reach.explained(problem));
    reach.close().await;
    let imported = imported?;
    let id = &imported.id;
    if ui.is_json() {
        ui.object(&imported)?;
    } else if imported.frames == 0 {
        ui.line(&format!(
            "{id}  all of it is here already, up to seq {}",
            imported.head
        ))?;
    } else {
        ui.line(&format!(
            "{id}  imported up to seq {}: it is only read here until it is adopted",
            imported.head
        ))?;
        ui.note(&format!("once it runs nowhere else: longhaul adopt {id}"));
    }
    Ok(0)
}

pub(super) async fn adopt(args: Which, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach.control().adopt(&args.id).await;
    wishes::told(accepted, "adoption", reach, ui).await
}

/// Copies the journal and the bodies of the directory, which may be in use.
pub(super) fn backup(args: &Backup, place: &Place, ui: &Ui) -> Outcome {
    let report = longhaul_journal::backup(place.data(), &args.dir).map_err(|error| match error {
        OfflineError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Problem::new(Code::InvalidRequest, error.to_string())
                .next("choose another name", "longhaul backup DIR")
        }
        error => shelf::unreadable(place.data(), error),
    })?;
    if ui.is_json() {
        ui.object(&json!({
            "dir": args.dir, "streams": report.streams, "segmentBytes": report.segment_bytes,
            "blobs": report.blobs, "durableBelow": report.durable_below,
        }))?;
    } else {
        let line = format!(
            "{} of log with {} and {} in {}",
            size(report.segment_bytes),
            count(report.streams, "stream"),
            count(report.blobs, "blob"),
            args.dir.display()
        );
        ui.line(&escaped(&line))?;
    }
    ui.note("workspaces are not in it; what is restored from it is only read until it is adopted");
    Ok(0)
}

fn not_portable(error: &PortableError, id: &str) -> Problem {
    let code = match error {
        PortableError::NotFound(_) => Code::NotFound,
        PortableError::Damaged { .. } => Code::StreamQuarantined,
        PortableError::Blob(_) => Code::JournalDamaged,
        PortableError::Newer(_) => Code::NewerFormat,
        PortableError::Io(_) | PortableError::Offline(_) => Code::StorageUnavailable,
        _ => Code::InvalidRequest,
    };
    let problem = Problem::new(code, error.to_string());
    match error {
        PortableError::Damaged { .. } => problem.next(
            "take it up behind the damage",
            format!("longhaul journal repair {id}"),
        ),
        _ => problem,
    }
}
