//! `longhaul artifacts`: what sessions leave behind.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};

use super::Outcome;
use super::joints;
use super::reach::{Place, Reach};
use super::render::{cut, escaped, size};
use super::ui::{Failure, Ui};
use crate::api::{ArtifactView, ArtifactsQuery, Code, Problem, no_artifact};

#[derive(Debug, Args)]
pub(super) struct Artifacts {
    #[command(subcommand)]
    pub(super) verb: ArtifactsVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum ArtifactsVerb {
    /// List what sessions have left behind, the newest last
    Ls(ListArtifacts),
    /// Show one artifact: what made it, and its hash
    Show(WhichArtifact),
    /// Print the bytes of an artifact, or write them to a file
    Get(GetArtifact),
}

#[derive(Debug, Args)]
pub(super) struct ListArtifacts {
    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only those of this kind: report, research_note, content_draft, patch, task_suggestion
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct WhichArtifact {
    /// Which artifact
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct GetArtifact {
    /// Which artifact
    id: String,
    /// A new file for its bytes
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn artifacts(verb: ArtifactsVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        ArtifactsVerb::Ls(args) => ls(args, place, ui).await,
        ArtifactsVerb::Show(args) => show(&args.id, place, ui).await,
        ArtifactsVerb::Get(args) => get(args, place, ui).await,
    }
}

async fn ls(args: ListArtifacts, place: &Place, ui: &Ui) -> Outcome {
    let found = if joints::holds_a_journal(place.data()) {
        let reach = place.to_wish().await?;
        let found = all(&reach, args.session, args.kind).await;
        reach.close().await;
        found?
    } else {
        Vec::new()
    };
    let skipped = found.len().saturating_sub(args.limit);
    let shown = &found[skipped..];
    if ui.is_json() {
        shown.iter().try_for_each(|artifact| ui.object(artifact))?;
    } else if shown.is_empty() {
        ui.note("no artifacts");
    } else {
        ui.line(&line(["id", "kind", "size", "name"], ui))?;
        for artifact in shown {
            let size = size(artifact.bytes);
            ui.line(&line([&artifact.id, &artifact.kind, &size, &artifact.name], ui))?;
        }
    }
    if skipped > 0 {
        ui.note(&format!(
            "{skipped} earlier ones: longhaul artifacts ls --limit {}",
            found.len()
        ));
    }
    Ok(0)
}

/// Every artifact that is wanted, the newest last.
async fn all(
    reach: &Reach,
    session: Option<String>,
    kind: Option<String>,
) -> Result<Vec<ArtifactView>, Problem> {
    let mut query = ArtifactsQuery {
        session,
        kind,
        cursor: None,
    };
    let mut found = Vec::new();
    loop {
        let page = reach.control().artifacts(query.clone()).await?;
        found.extend(page.artifacts);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            // Those of one session keep their order.
            found.sort_by(|one, other| one.created_at.cmp(&other.created_at));
            return Ok(found);
        }
    }
}

fn line(columns: [&str; 4], ui: &Ui) -> String {
    let [id, kind, size, name] = columns;
    let line = format!("{id:<38}  {kind:<15}  {size:>9}  {}", escaped(name));
    match ui.look().width {
        Some(width) => cut(&line, width).into_owned(),
        None => line,
    }
}

async fn show(id: &str, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_unless(|| no_artifact(id)).await?;
    let shown = reach.control().artifact(id).await;
    reach.close().await;
    let artifact = shown?;
    if ui.is_json() {
        ui.object(&artifact)?;
        return Ok(0);
    }
    let mut rows = vec![
        ("id", artifact.id),
        ("kind", artifact.kind),
        ("name", artifact.name),
        ("size", size(artifact.bytes)),
        ("sha256", artifact.sha256),
        ("session", artifact.session),
        ("record", artifact.seq.to_string()),
    ];
    rows.extend(artifact.step.map(|step| ("step", step.to_string())));
    rows.extend(artifact.task.map(|task| ("task", task)));
    rows.push(("made", artifact.created_at));
    for (name, value) in rows {
        ui.line(&format!("{name:<9}{}", escaped(&value)))?;
    }
    Ok(0)
}

async fn get(args: GetArtifact, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_unless(|| no_artifact(&args.id)).await?;
    let got = bytes_of(&reach, &args.id).await;
    reach.close().await;
    let (artifact, bytes) = got?;
    // Whoever sent them may have lost some on the way.
    if hex::encode(Sha256::digest(&bytes)) != artifact.sha256 {
        let detail = format!(
            "the bytes of {} have another hash than its record says",
            artifact.id
        );
        return Err(Problem::new(Code::JournalDamaged, detail)
            .next("see what is damaged", "longhaul journal verify")
            .into());
    }
    match &args.output {
        None => ui.bytes(&bytes)?,
        Some(file) => {
            save(file, &bytes)?;
            ui.note(&format!("wrote {} to {}", size(artifact.bytes), file.display()));
        }
    }
    Ok(0)
}

async fn bytes_of(reach: &Reach, id: &str) -> Result<(ArtifactView, Vec<u8>), Problem> {
    let artifact = reach.control().artifact(id).await?;
    let bytes = reach.control().blob(&artifact.sha256).await?;
    Ok((artifact, bytes))
}

/// A file that is there already is somebody's.
fn save(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = std::fs::File::create_new(file).and_then(|mut made| {
        made.write_all(bytes)?;
        made.sync_all()
    });
    written.map_err(|error| {
        let detail = format!("cannot write {}: {error}", file.display());
        Problem::new(Code::InvalidRequest, detail)
            .next("name a new file", "longhaul artifacts get ID --output FILE")
            .into()
    })
}
