//! Old checkpoints that nobody asked for go, and with them the contents that no other one has.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use super::Checkpoints;

/// So many that nobody asked for are kept after a pruning.
const KEPT: usize = 16;
/// There is a pruning when there are so many.
const MOST: usize = 24;

/// Removes the oldest that nobody asked for, when there are many. A crash in the middle leaves contents that nothing names;
/// the next pruning takes them.
pub(super) fn prune(checkpoints: &Checkpoints) -> io::Result<()> {
    let seqs = checkpoints.seqs()?;
    if seqs.len() <= MOST {
        return Ok(());
    }
    let mut automatic = Vec::new();
    for at in &seqs {
        if !checkpoints.load(*at)?.requested {
            automatic.push(*at);
        }
    }
    let old = automatic.len().saturating_sub(KEPT);
    for at in &automatic[..old] {
        fs::remove_file(checkpoints.manifest(*at))?;
    }
    let mut named = BTreeSet::new();
    for at in checkpoints.seqs()? {
        let manifest = checkpoints.load(at)?;
        named.extend(manifest.hashes().map(|hash| checkpoints.object(hash)));
    }
    for folder in fs::read_dir(checkpoints.folder().join("objects"))? {
        let folder = folder?;
        if !folder.file_type()?.is_dir() {
            continue;
        }
        for object in fs::read_dir(folder.path())? {
            let object = object?.path();
            if !named.contains(&object) {
                fs::remove_file(object)?;
            }
        }
    }
    Ok(())
}
