//! What takes room and is let go, and what comes in from another place.

use serde::{Deserialize, Serialize};

/// A wish to remove what a session holds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Remove {
    /// Its log as well, that is, the session itself. Its id is never given again.
    pub log: bool,
}

/// What was removed of a session, and is not coming back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// The session.
    pub id: String,
    /// Bytes of its workspace and of the evidence of its steps.
    pub freed: u64,
    /// Whether its log is removed as well. The room of it is freed by the next collection.
    pub log: bool,
}

/// A wish to free what nothing names any more.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Collect {
    /// Bodies younger than so many hours stay, named or not.
    pub grace_hours: u64,
    /// Segments are written anew in which at least so many percent belong to removed sessions.
    pub at_least_percent: u8,
}

impl Default for Collect {
    fn default() -> Self {
        Self {
            grace_hours: 24,
            at_least_percent: 50,
        }
    }
}

/// What a collection freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// Bodies that no record named.
    pub blobs: u64,
    /// Their bytes, and those of the log.
    pub freed: u64,
    /// Segments that were written anew without the sessions that were removed.
    pub segments: u64,
    /// Bytes the log takes less.
    pub log: u64,
    /// Bytes of removed sessions that stay for now: in segments that are not worth it, or not sealed yet.
    pub left: u64,
}

/// What an import brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    /// The session; inert until it is adopted.
    pub id: String,
    /// Frames that were not here before.
    pub frames: u64,
    /// The last record that is here now.
    pub head: u64,
}
