//! Whether everything in a workspace is kept elsewhere, so that it may go.
//!
//! Of a clone, the patch holds the difference between the files and what the work began with. It does not hold what git
//! ignores, which counts as products of a build and goes; nor other branches, stashes and repositories within, for which the
//! workspace stays. A folder that began empty may go when each file in it is an artifact or a body that a record names.
//! Whatever somebody changed by hand after the session had ended makes it stay.
//!
//! The commands of the session wrote what is read here, git's own files included: nothing is opened but by the hands, which
//! follow no link out and wait for no pipe, and what they refuse makes the workspace stay.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use longhaul_actors::session::{State, WorkspaceKind};
use longhaul_hands::{EntryKind, FileError, Met, Step, Walk, Workspace};
use longhaul_journal::{BlobId, Journal, Limit, Seq, StreamId, blobs_named_in};
use sha2::{Digest, Sha256};

use crate::world::SessionFolder;

/// Larger files of a folder that began empty are not read to find out: it stays.
const FILE_LIMIT: u64 = 256 << 20;
/// Larger files of a repository are not read to find out.
const REFS_LIMIT: u64 = 1 << 20;
/// So many names of a folder of branches are looked at.
const NAMES_LIMIT: usize = 10_000;

/// Why the workspace of a session that has ended has to stay; `None` when it may go. Blocks on the disk.
pub(super) fn why_it_stays(
    folder: &SessionFolder,
    journal: &dyn Journal,
    session: StreamId,
    state: &State,
) -> io::Result<Option<String>> {
    let workspace = folder.workspace();
    let kind = state.origin.as_ref().map(|origin| origin.workspace.kind);
    if !workspace.is_dir() || kind == Some(WorkspaceKind::InPlace) {
        return Ok(None);
    }
    let mut look = Look {
        journal,
        ended_ms: state.phase_since_ms,
        is_clone: kind == Some(WorkspaceKind::Clone),
        named: None,
        why: None,
    };
    if look.is_clone {
        look.why = beside_the_patch(&workspace);
    } else {
        look.named = Some(bodies(journal, session)?);
    }
    look.below(&workspace)?;
    Ok(look.why)
}

/// Every body that the session's records name.
fn bodies(journal: &dyn Journal, session: StreamId) -> io::Result<BTreeSet<BlobId>> {
    let (mut named, mut after) = (BTreeSet::new(), Seq::ZERO);
    loop {
        let page = journal
            .read(session, after, Limit::default())
            .map_err(io::Error::other)?;
        let Some(last) = page.last() else {
            return Ok(named);
        };
        after = last.last_seq();
        for frame in &page {
            named.extend(blobs_named_in(frame));
        }
    }
}

struct Look<'a> {
    journal: &'a dyn Journal,
    ended_ms: u64,
    is_clone: bool,
    /// Bodies that records name, whether or not they are there; for a folder that began empty.
    named: Option<BTreeSet<BlobId>>,
    why: Option<String>,
}

impl Look<'_> {
    fn below(&mut self, workspace: &Path) -> io::Result<()> {
        let mut walk = Walk::of(workspace)?;
        while self.why.is_none() {
            self.why = match walk.step() {
                Ok(None) => return Ok(()),
                Ok(Some(Step::Left(_))) => None,
                Ok(Some(Step::Met(met))) => self.look(&mut walk, &met),
                Err(error) => Some(unreadable(&error)),
            };
        }
        Ok(())
    }

    /// Why this one has to stay.
    fn look(&self, walk: &mut Walk, met: &Met) -> Option<String> {
        // git itself puts objects there; what no ref leads to is no work.
        if self.is_clone && walk.path() == Path::new(".git") && met.name() == "objects" {
            return None;
        }
        let ctime_ms =
            u64::try_from(met.stat.st_ctime).unwrap_or(0) * 1_000 + met.stat.st_ctime_nsec / 1_000_000;
        if ctime_ms > self.ended_ms {
            return Some(format!("{} was changed after the end", walk.shown(met)));
        }
        if met.is_folder() {
            if self.is_clone && !walk.path().as_os_str().is_empty() && met.name() == ".git" {
                return Some(format!("{} is that of another repository", walk.shown(met)));
            }
            return walk.enter(met).err().map(|error| unreadable(&error));
        }
        let named = self.named.as_ref()?;
        match met.kind().is_file() && met.bytes() <= FILE_LIMIT && self.is_kept(named, walk, met) {
            true => None,
            false => Some(format!("{} is in no artifact", walk.shown(met))),
        }
    }

    /// Whether the contents of a file are a body that a record names and that is there. What cannot be read is not known to be.
    fn is_kept(&self, named: &BTreeSet<BlobId>, walk: &Walk, met: &Met) -> bool {
        let mut hasher = Sha256::new();
        let read = walk
            .open(met)
            .and_then(|file| io::copy(&mut file.take(FILE_LIMIT), &mut hasher));
        let id = BlobId(hasher.finalize().into());
        read.is_ok() && named.contains(&id) && self.journal.blobs().get(id).is_ok()
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("not all of it can be looked at: {error}")
}

/// What a repository holds that is not in the files beside it.
fn beside_the_patch(workspace: &Path) -> Option<String> {
    // Planted, torn, or too much: nobody knows what is in it.
    unpatched(workspace).unwrap_or_else(|_| Some("its repository is not one that can be read".into()))
}

fn unpatched(workspace: &Path) -> Result<Option<String>, FileError> {
    let files = Workspace::open(workspace)?;
    let Some(head) = text(&files, ".git/HEAD")? else {
        return Ok(Some("its repository is gone".into()));
    };
    let on = head.trim().strip_prefix("ref: refs/heads/");
    let packed = text(&files, ".git/packed-refs")?.unwrap_or_default();
    let packed = packed
        .lines()
        .filter_map(|line| line.split(' ').nth(1)?.strip_prefix("refs/heads/"));
    let mut branches = loose(&files)?;
    branches.extend(packed.map(str::to_owned));
    if let Some(other) = branches.iter().find(|branch| Some(branch.as_str()) != on) {
        return Ok(Some(format!("its repository has another branch, {other}")));
    }
    for (what, name) in [
        (".git/refs/stash", "a stash"),
        (".git/worktrees", "work trees elsewhere"),
    ] {
        if files.kind(Path::new(what))?.is_some() {
            return Ok(Some(format!("its repository has {name}")));
        }
    }
    Ok(None)
}

fn text(files: &Workspace, path: &str) -> Result<Option<String>, FileError> {
    match files.read_text(Path::new(path), REFS_LIMIT) {
        Err(FileError::NotFound { .. }) => Ok(None),
        text => text.map(Some),
    }
}

/// Names of branches that have a file of their own; two are enough to know that there is another one.
fn loose(files: &Workspace) -> Result<BTreeSet<String>, FileError> {
    let (mut found, mut prefixes) = (BTreeSet::new(), vec![String::new()]);
    while let Some(prefix) = prefixes.pop() {
        let folder = Path::new(".git/refs/heads").join(&prefix);
        let listing = match files.list(&folder, NAMES_LIMIT) {
            Err(FileError::NotFound { .. }) if prefix.is_empty() => break,
            listing => listing?,
        };
        for entry in listing.entries {
            let name = format!("{prefix}{}", entry.name);
            if entry.kind == EntryKind::Folder {
                prefixes.push(name + "/");
            } else {
                found.insert(name);
            }
        }
        if found.len() > 1 {
            break;
        }
        if listing.more || prefixes.len() > NAMES_LIMIT {
            return Err(FileError::TooLarge {
                path: folder,
                bytes: prefixes.len() as u64,
                max: NAMES_LIMIT as u64,
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
