//! What one command may use, and what it did use.

use serde::{Deserialize, Serialize};

/// Bounds of every command of a session, each with all that it starts. Zero is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Processes and threads at one time.
    pub pids: u32,
    /// Processor time per time, in thousandths of one processor.
    pub cpu_milli: u32,
    /// What the workspace may grow to, bytes on disk. Also the largest file.
    pub disk_bytes: u64,
    /// What the workspace may grow to, files and folders.
    pub disk_files: u64,
    /// Output on both streams together, bytes; far more than is kept of it.
    pub output_bytes: u64,
    /// How long it may say nothing, milliseconds.
    pub silent_ms: u64,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            pids: 2_048,
            cpu_milli: 0,
            disk_bytes: 10 << 30,
            disk_files: 1_000_000,
            output_bytes: 256 << 20,
            silent_ms: 0,
        }
    }
}

/// Less than this and no command can begin.
const LEAST_MEMORY: u64 = 4 << 20;
const LEAST_PIDS: u32 = 4;
const LEAST_CPU_MILLI: u32 = 10;

impl Resources {
    /// The first bound with which no command could do anything, and what would be enough.
    pub(super) fn too_little(&self) -> Option<String> {
        let bounds = [
            ("memory in bytes", self.memory_bytes, LEAST_MEMORY),
            ("processes", self.pids.into(), LEAST_PIDS.into()),
            (
                "thousandths of a processor",
                self.cpu_milli.into(),
                LEAST_CPU_MILLI.into(),
            ),
        ];
        let (what, bound, least) = bounds
            .into_iter()
            .find(|(_, bound, least)| *bound > 0 && bound < least)?;
        Some(format!(
            "a command needs at least {least} ({what}), not {bound}; 0 is no bound"
        ))
    }
}

/// Bounds that somebody asked for; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "as in `Resources`")]
pub struct ResourcesWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_milli: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
}

impl ResourcesWish {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `base` with what was asked for.
    #[must_use]
    pub fn over(self, base: Resources) -> Resources {
        Resources {
            memory_bytes: self.memory_bytes.unwrap_or(base.memory_bytes),
            pids: self.pids.unwrap_or(base.pids),
            cpu_milli: self.cpu_milli.unwrap_or(base.cpu_milli),
            disk_bytes: self.disk_bytes.unwrap_or(base.disk_bytes),
            disk_files: self.disk_files.unwrap_or(base.disk_files),
            output_bytes: self.output_bytes.unwrap_or(base.output_bytes),
            silent_ms: self.silent_ms.unwrap_or(base.silent_ms),
        }
    }
}

/// Asks for each of these bounds, whatever they would be otherwise.
impl From<Resources> for ResourcesWish {
    fn from(bounds: Resources) -> Self {
        Self {
            memory_bytes: Some(bounds.memory_bytes),
            pids: Some(bounds.pids),
            cpu_milli: Some(bounds.cpu_milli),
            disk_bytes: Some(bounds.disk_bytes),
            disk_files: Some(bounds.disk_files),
            output_bytes: Some(bounds.output_bytes),
            silent_ms: Some(bounds.silent_ms),
        }
    }
}

/// How commands of a session are held to their [`Resources`] on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimitsReport {
    /// `v2`, `hybrid`, `v1`: a control group per command. `rlimit`: each process by itself, and nobody bounds the sum.
    pub by: String,
    /// Whether processor time is bounded when a bound is set.
    pub cpu: bool,
    /// `watch`: the workspace is measured while a command runs. `none`: only the largest file is bounded.
    pub disk: String,
    /// What is missing, and what would give it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lacks: String,
}

/// What a command used, and what it was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// Who counted: `v2`, `hybrid`, `v1`, `rlimit`.
    pub by: String,
    /// Processor time of all its processes, milliseconds.
    pub cpu_ms: u64,
    /// Most memory at one time, bytes; with `rlimit` that of its largest process. 0 where nobody counted.
    pub mem_peak: u64,
    /// Processes that were killed because the memory was used up. A command may go on after one, and end well.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_changes_what_it_names_and_nothing_else() {
        let wish: ResourcesWish = serde_json::from_str(r#"{"memoryBytes":0,"pids":9}"#).expect("it fits");
        let found = wish.over(Resources::default());
        let expected = Resources {
            memory_bytes: 0,
            pids: 9,
            ..Resources::default()
        };
        assert_eq!(found, expected);
        assert!(
            serde_json::from_str::<ResourcesWish>(r#"{"memory":1}"#).is_err(),
            "a slip of the pen is told"
        );
    }

    #[test]
    fn too_little_for_anything_is_named() {
        assert_eq!(Resources::default().too_little(), None);
        let little = Resources {
            pids: 1,
            ..Resources::default()
        };
        assert!(
            little
                .too_little()
                .expect("nothing runs alone")
                .contains("processes")
        );
    }
}
