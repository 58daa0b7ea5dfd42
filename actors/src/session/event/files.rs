//! Facts of the files of a session: checkpoints, forks, and the end of its folders.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

/// `checkpoint.requested`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRequested {}

/// `checkpoint.created`: the files as they are at a seq can be had again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointCreated {
    /// The files are those after this record.
    pub at: Seq,
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that no earlier checkpoint of the session held.
    pub added_bytes: u64,
    /// Hash (blake3, hex) of the list of them all.
    pub digest: String,
}

/// `checkpoint.skipped`: there is none; the session goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointSkipped {
    /// The record that it would have been for.
    pub at: Seq,
    /// Stable code: `workspace_too_large`, `workspace_missing`, `checkpoint_failed`.
    pub code: String,
    /// What stood in the way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// `session.forked`: the records before this one are those of another session. This is the first of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forked {
    /// The session they come from, as it is shown.
    pub from: String,
    /// The last of its records that is here, under the same seq.
    pub at: Seq,
    /// Who the fork belongs to.
    pub owner: String,
    /// Its name, if it has one; the name of its source is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Hash of the request, so that a repeat is told from another request under the same key.
    pub fingerprint: String,
}

/// `sandbox.released`: folders of a session that has ended are gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxReleased {
    /// Bytes that were freed.
    pub freed_bytes: u64,
    /// Why the workspace stays, if it does; the evidence of the steps is gone in any case.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workspace_kept: String,
}
