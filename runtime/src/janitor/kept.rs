//! Whether everything in a workspace is kept elsewhere, so that it may go.
//!
//! Of a clone, the patch holds the difference between the files and what the work began with. It does not hold what git
//! ignores, which counts as products of a build and goes; nor other branches, stashes and repositories within, for which the
//! workspace stays. A folder that began empty may go when each file in it is an artifact or a body that a record names.
//! Whatever somebody changed by hand after the session had ended makes it stay.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use longhaul_actors::session::{State, WorkspaceKind};
use longhaul_journal::{BlobId, Journal, Limit, Seq, StreamId, blobs_named_in};
use sha2::{Digest, Sha256};

use crate::world::SessionFolder;

/// Larger files of a folder that began empty are not read to find out: it stays.
const FILE_LIMIT: u64 = 256 << 20;

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
        look.why = beside_the_patch(&workspace.join(".git"))?;
    } else {
        look.named = Some(bodies(journal, session)?);
    }
    look.below(&workspace, Path::new(""))?;
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
    /// Whether the contents of a file are a body that a record names and that is there.
    fn is_kept(&self, named: &BTreeSet<BlobId>, file: &Path) -> io::Result<bool> {
        let id = blob_id(file)?;
        Ok(named.contains(&id) && self.journal.blobs().get(id).is_ok())
    }

    fn below(&mut self, folder: &Path, path: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            if self.why.is_some() {
                return Ok(());
            }
            let entry = entry?;
            let (meta, below) = (entry.metadata()?, path.join(entry.file_name()));
            // git itself puts objects there; what no ref leads to is no work.
            if self.is_clone && below == Path::new(".git/objects") {
                continue;
            }
            let ctime_ms = u64::try_from(meta.ctime()).unwrap_or(0) * 1_000
                + u64::try_from(meta.ctime_nsec()).unwrap_or(0) / 1_000_000;
            if ctime_ms > self.ended_ms {
                self.why = Some(format!("{} was changed after the end", below.display()));
            } else if meta.is_dir() {
                if self.is_clone && below != Path::new(".git") && entry.file_name() == ".git" {
                    self.why = Some(format!("{} is a repository of its own", path.display()));
                } else {
                    self.below(&entry.path(), &below)?;
                }
            } else if let Some(named) = &self.named
                && !(meta.is_file() && meta.len() <= FILE_LIMIT && self.is_kept(named, &entry.path())?)
            {
                self.why = Some(format!("{} is in no artifact", below.display()));
            }
        }
        Ok(())
    }
}

fn blob_id(path: &Path) -> io::Result<BlobId> {
    let mut hasher = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(BlobId(hasher.finalize().into()))
}

/// What a repository holds that is not in the files beside it.
fn beside_the_patch(git: &Path) -> io::Result<Option<String>> {
    let head = match fs::read_to_string(git.join("HEAD")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Some("its repository is gone".into()));
        }
        head => head?,
    };
    let on = head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned);
    let mut branches = BTreeSet::new();
    loose(&git.join("refs/heads"), "", &mut branches)?;
    let packed = fs::read_to_string(git.join("packed-refs")).unwrap_or_default();
    let packed = packed
        .lines()
        .filter_map(|line| line.split(' ').nth(1)?.strip_prefix("refs/heads/"));
    branches.extend(packed.map(str::to_owned));
    if let Some(other) = branches.iter().find(|branch| Some(*branch) != on.as_ref()) {
        return Ok(Some(format!("its repository has another branch, {other}")));
    }
    for (what, name) in [("refs/stash", "a stash"), ("worktrees", "work trees elsewhere")] {
        if git.join(what).exists() {
            return Ok(Some(format!("its repository has {name}")));
        }
    }
    Ok(None)
}

fn loose(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            loose(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}
