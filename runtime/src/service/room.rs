//! What takes room and is freed, and what is taken in: `rm`, `gc`, `import`, with or without others at work.
//!
//! Each frees only what can be missed, in an order in which a crash leaves some of it for the next time: files of a session
//! before the frame that says it is gone, bodies only when no record that counts names them, segments by a rename.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Display;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use longhaul_actors::session::{Actor, Session};
use longhaul_actors::{Entity, RecoverError};
use longhaul_hands::{Step, Walk, remove_tree};
use longhaul_journal::{
    Compaction, Entry, Frame, ImportError, Journal, Level, Limit, LocalJournal, NewRecord, Offline, Portable,
    PortableError, Position, REMOVED, StreamId, SubmitError, blobs_named_in,
};

use super::problems::{read_problem, recover_problem};
use super::{OWNER, Service, mend};
use crate::api::{Code, Collect, Collected, Imported, Problem, Remove, Removed, session_id};
use crate::world::SessionFolder;

/// Where others write, a body may be on disk for so long before the record that names it.
const LEAST_GRACE_HOURS: u64 = 1;
/// Streams looked up at a time.
const PAGE: usize = 1000;

impl Service {
    /// Removes the files of a session that has ended, and the session itself if that is wished.
    pub(super) async fn let_go(&self, id: &str, request: Remove) -> Result<Removed, Problem> {
        if let Some(beside) = self.beside(id).await? {
            return self.give_up(beside, request).await;
        }
        let stream = self.resolve(id).await?;
        let folds = std::sync::Arc::clone(&self.folds);
        let inert = self.journal.is_inert(stream);
        self.blocking(move |journal| match folds.at_head(journal, stream) {
            // A copy that nobody adopted, and what cannot be folded any more, can only go as a whole.
            _ if inert && request.log => Ok(()),
            _ if inert => Err(mend::inert(stream)),
            Ok(state) if state.phase.is_terminal() => Ok(()),
            Ok(state) => Err(live(stream, state.phase.name())),
            Err(RecoverError::Quarantined(_)) if request.log => Ok(()),
            Err(error) => Err(recover_problem(error)),
        })
        .await?;
        let (data, now_ms) = (self.data.clone(), self.clock.now_ms());
        let freed = self
            .blocking(move |journal| {
                let folder = SessionFolder::new(&data, stream);
                let freed = bytes_below(folder.root()).map_err(|error| at(&data, &error))?;
                remove_tree(folder.root()).map_err(|error| at(&data, &error))?;
                if request.log {
                    journal
                        .remove(stream, now_ms, removed_by())
                        .map_err(not_removed)?;
                }
                Ok(freed)
            })
            .await?;
        if request.log {
            self.folds.forget_removed(stream);
            self.sessions.lift_quarantine(stream);
        }
        Ok(Removed {
            id: session_id(stream),
            freed,
            log: request.log,
        })
    }

    /// Sweeps bodies that no record names, and thins the segments of removed sessions.
    pub(super) async fn free(&self, request: Collect) -> Result<Collected, Problem> {
        if !self.is_alone && request.grace_hours < LEAST_GRACE_HOURS {
            let detail = format!(
                "while others write, a body may lie there before the record that names it; the grace time is at least \
                 {LEAST_GRACE_HOURS} h then"
            );
            return Err(Problem::new(Code::InvalidRequest, detail).next("keep what is young", "longhaul gc"));
        }
        self.releases.round().await;
        let (data, local) = (self.data.clone(), std::sync::Arc::clone(&self.local));
        self.blocking(move |_| collect(&data, &local, request)).await
    }

    /// Takes in a session; it is inert until it is adopted.
    pub(super) async fn take_in(&self, portable: Vec<u8>) -> Result<Imported, Problem> {
        let local = std::sync::Arc::clone(&self.local);
        let (stream, imported) = self
            .blocking(move |_| {
                let portable = Portable::parse(&portable).map_err(|error| not_portable(&error))?;
                let (stream, kind) = (portable.stream(), portable.kind());
                if kind != Session::KIND {
                    let detail = format!("this file holds a {kind}, not a session");
                    return Err(Problem::new(Code::InvalidRequest, detail));
                }
                let imported = local.import(&portable);
                let imported = imported.map_err(|error| not_imported(&error, &session_id(stream)))?;
                Ok((stream, imported))
            })
            .await?;
        // What was known of it may be shorter than what is here now.
        self.folds.forget(stream);
        Ok(Imported {
            id: session_id(stream),
            frames: imported.frames as u64,
            head: imported.head.0,
        })
    }
}

/// The record that is left of a stream.
pub(super) fn removed_by() -> NewRecord {
    let payload = serde_json::json!({ "by": Actor::human(OWNER) });
    NewRecord {
        type_name: "stream.removed".into(),
        type_version: 1,
        cause: None,
        level: Level::Internal,
        payload: payload.to_string().into_bytes(),
    }
}

fn collect(data: &Path, journal: &LocalJournal, request: Collect) -> Result<Collected, Problem> {
    // What somebody took note of was looked at, and is no reason to keep everything for ever.
    let report = longhaul_journal::verify(data, None).map_err(|error| at(data, &error))?;
    if !journal.damaged().is_empty() || !report.damaged.is_empty() || !report.lost.is_empty() {
        let detail = "the journal is damaged, so nobody knows which bodies the lost records named; nothing was removed";
        return Err(
            Problem::new(Code::JournalDamaged, detail).next("see what is lost", "longhaul journal verify")
        );
    }
    let removed = removed_streams(journal)?;
    let old_before = SystemTime::now()
        .checked_sub(Duration::from_secs(request.grace_hours.saturating_mul(3600)))
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let mut named = BTreeSet::new();
    let mut mark = |frame: &Frame| {
        if !removed.contains(&frame.stream) {
            named.extend(blobs_named_in(frame));
        }
    };
    let offline = Offline::open(data).map_err(|error| at(data, &error))?;
    let walked = offline.walk(None, |entry| {
        if let Entry::Frame(frame) = entry {
            mark(&frame);
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|error| at(data, &error))?;
    // And what was written since that walk began.
    let mut after = Position(offline.durable_below().0.saturating_sub(1));
    loop {
        let page = journal.read_all(after, Limit::default()).map_err(read_problem)?;
        let Some(last) = page.last() else { break };
        after = last.position;
        page.iter().for_each(|frame| mark(frame));
    }
    let swept = journal.sweep_blobs(&named, old_before);
    let swept = swept.map_err(|error| at(data, &error))?;
    let thinned = journal
        .compact(Compaction {
            at_least_percent: request.at_least_percent,
        })
        .map_err(|error| at(data, &error))?;
    Ok(Collected {
        blobs: swept.blobs,
        freed: swept.bytes + thinned.freed,
        segments: thinned.rewritten,
        log: thinned.freed,
        left: thinned.left,
    })
}

fn removed_streams(journal: &dyn Journal) -> Result<HashSet<StreamId>, Problem> {
    let (mut removed, mut after) = (HashSet::new(), None);
    loop {
        let page = journal.list(REMOVED, after, PAGE).map_err(read_problem)?;
        let Some(last) = page.last() else {
            return Ok(removed);
        };
        after = Some(last.stream);
        removed.extend(page.iter().map(|head| head.stream));
    }
}

/// Bytes of all files below a folder that can be reached; links are not followed.
pub(crate) fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut walk = match Walk::of(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        walk => walk?,
    };
    let mut bytes = 0;
    loop {
        match walk.step() {
            Ok(None) => return Ok(bytes),
            // What somebody closed or moved away takes room that nobody can tell; the rest is counted.
            Ok(Some(Step::Met(met))) if met.is_folder() => drop(walk.enter(&met)),
            Ok(Some(Step::Met(met))) => bytes += met.bytes(),
            Ok(Some(Step::Left(_))) | Err(_) => {}
        }
    }
}

fn at(data: &Path, error: &impl Display) -> Problem {
    let detail = format!("cannot look through {}: {error}", data.display());
    Problem::new(Code::StorageUnavailable, detail).next("see what is there", "longhaul doctor")
}

fn live(stream: StreamId, state: &str) -> Problem {
    let id = session_id(stream);
    let detail = format!("{id} is {state}, so its files may be needed");
    Problem::new(Code::SessionLive, detail).next("end it", format!("longhaul cancel {id}"))
}

fn not_removed(error: SubmitError) -> Problem {
    let code = match error.may_have_happened() {
        true => Code::OutcomeUnknown,
        false => Code::StorageUnavailable,
    };
    Problem::new(code, error.to_string())
}

fn not_portable(error: &PortableError) -> Problem {
    let code = match error {
        PortableError::Newer(_) => Code::NewerFormat,
        _ => Code::InvalidRequest,
    };
    Problem::new(code, error.to_string())
}

fn not_imported(error: &ImportError, id: &str) -> Problem {
    let code = match error {
        ImportError::Conflict { .. } => Code::HistoryConflict,
        ImportError::Removed(_) => Code::SessionRemoved,
        ImportError::Read(_) => Code::StreamQuarantined,
        _ => Code::StorageUnavailable,
    };
    let problem = Problem::new(code, error.to_string());
    let elsewhere = "longhaul --data DIR import FILE";
    match error {
        ImportError::Conflict { .. } => problem
            .next("see what is here", format!("longhaul tail {id}"))
            .next("look at the other one elsewhere", elsewhere),
        ImportError::Removed(_) => problem.next("look at it elsewhere", elsewhere),
        _ => problem,
    }
}
