//! What one command, with all that it starts, may use; and what it did use.
//!
//! Three layers, each for what the others cannot see:
//!
//! - a **control group** per command bounds memory, processes and processor time of the whole tree, counts what it
//!   refused, and kills the tree in one stroke ([`Groups`], found by [`probe`]);
//! - **rlimits** bound each process by itself: the size of one file always; data and processes where there is no group;
//! - the **disk watch** bounds what the workspace grows to, and keeps a reserve of the file system free.
//!
//! Verdicts come from the counters of the kernel and from what the shim measured, never from words in the output.

mod group;
mod probe;
mod rlimits;

use serde::{Deserialize, Serialize};

pub(crate) use self::group::{Group, name_ahead, reclaim, sweep_ahead};
pub use self::probe::{Groups, probe};
pub(crate) use self::rlimits::Rlimits;

/// Bounds on one command with all that it starts. Zero is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory of all its processes together, bytes; temporary files in memory count. Without a control group: of each
    /// process by itself, its private data only.
    pub memory_bytes: u64,
    /// Processes and threads at one time.
    pub pids: u32,
    /// Processor time per time, in thousandths of one processor. Without a control group: no bound.
    pub cpu_milli: u32,
    /// What the workspace may grow to, bytes on disk; also the largest single file.
    pub disk_bytes: u64,
    /// What the workspace may grow to, files and folders.
    pub disk_files: u64,
    /// Room that stays free on the file system of the workspace, bytes; at most half of what was free at first.
    pub disk_reserve: u64,
}

impl Limits {
    /// No bound at all.
    pub const NONE: Self = Self {
        memory_bytes: 0,
        pids: 0,
        cpu_milli: 0,
        disk_bytes: 0,
        disk_files: 0,
        disk_reserve: 0,
    };

    pub(crate) fn none() -> Self {
        Self::NONE
    }
}

impl Default for Limits {
    /// Room for a large build, and too little to take a usual machine down.
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            pids: 2_048,
            cpu_milli: 0,
            disk_bytes: 10 << 30,
            disk_files: 1_000_000,
            disk_reserve: 256 << 20,
        }
    }
}

/// Who held a command to its [`Limits`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimitsBy {
    /// Limits of each process by itself; nobody bounds the sum.
    #[default]
    Rlimit,
    /// Control groups of version 1 alone.
    V1,
    /// Limits by version 1, the kill by version 2.
    Hybrid,
    /// Control groups of version 2.
    V2,
}

impl LimitsBy {
    /// The word for records: `rlimit`, `v1`, `hybrid`, `v2`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rlimit => "rlimit",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
            Self::V2 => "v2",
        }
    }
}

/// What a command used, and what it was refused. Written down with its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Who held it to its limits.
    pub by: LimitsBy,
    /// Processor time of all its processes, milliseconds. Without a control group: of those that were reaped.
    pub cpu_ms: u64,
    /// Most memory at one time, bytes; 0 where nobody counted. Without a control group: of its largest process.
    pub mem_peak: u64,
    /// Processes that the kernel killed because the memory was used up. More than none is possible beside any verdict.
    #[serde(skip_serializing_if = "is_zero")]
    pub oom_kills: u64,
    /// How often a new process or thread was refused.
    #[serde(skip_serializing_if = "is_zero")]
    pub pids_limit_hits: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Which bound of the disk a command ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiskLimit {
    /// Bytes of the workspace.
    Bytes,
    /// Files and folders of the workspace.
    Files,
    /// Size of one file.
    FileSize,
    /// The reserve of the file system.
    Reserve,
}

impl DiskLimit {
    /// The word for records: `bytes`, `files`, `file_size`, `reserve`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Files => "files",
            Self::FileSize => "file_size",
            Self::Reserve => "reserve",
        }
    }
}
