//! Limits of each process by itself, set between fork and exec and inherited by all that follows.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Limits;

/// What is to be set, computed before the fork.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rlimits(Vec<(Resource, u64)>);

impl Rlimits {
    /// For a command that is in a control group (`grouped`) or in none.
    ///
    /// Without a group, processes are bounded per user: `own_user_namespace` says that nobody else counts; otherwise all
    /// that runs on the machine at this moment is added, as the cheapest number that is not too small.
    pub(crate) fn of(limits: &Limits, grouped: bool, own_user_namespace: bool) -> Self {
        let mut all = vec![(Resource::Fsize, limits.disk_bytes)];
        if !grouped {
            // Not the address space: node, go and java reserve far more of it than they ever touch.
            all.push((Resource::Data, limits.memory_bytes));
            let others = if own_user_namespace { 0 } else { tasks() };
            if limits.pids > 0 {
                all.push((Resource::Nproc, u64::from(limits.pids) + others));
            }
        }
        all.retain(|(_, limit)| *limit > 0);
        Self(all)
    }

    /// Sets them for the calling process, for good. A hard limit that is lower already stays.
    pub(crate) fn apply(&self) -> io::Result<()> {
        for (resource, limit) in &self.0 {
            let limit = getrlimit(*resource)
                .maximum
                .map_or(*limit, |hard| hard.min(*limit));
            let both = Rlimit {
                current: Some(limit),
                maximum: Some(limit),
            };
            setrlimit(*resource, both)?;
        }
        Ok(())
    }
}

/// Processes and threads of the whole machine, from `/proc/loadavg`.
fn tasks() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    parse_tasks(&text).unwrap_or(4_096)
}

fn parse_tasks(loadavg: &str) -> Option<u64> {
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_leaves_only_the_file_size_to_the_process() {
        let limits = Limits::default();
        assert_eq!(
            Rlimits::of(&limits, true, false),
            Rlimits(vec![(Resource::Fsize, 10 << 30)])
        );
        assert_eq!(Rlimits::of(&Limits::NONE, false, false), Rlimits::default());
    }

    #[test]
    fn without_a_group_data_and_processes_are_bounded_and_nobody_pays_for_others() {
        let limits = Limits {
            memory_bytes: 7,
            pids: 100,
            ..Limits::NONE
        };
        assert_eq!(
            Rlimits::of(&limits, false, true),
            Rlimits(vec![(Resource::Data, 7), (Resource::Nproc, 100)])
        );
        let Rlimits(shared) = Rlimits::of(&limits, false, false);
        assert!(shared[1].1 > 100, "{shared:?}");
        assert_eq!(parse_tasks("0.20 0.18 0.12 1/80 11206\n"), Some(80));
        assert_eq!(parse_tasks("torn"), None);
    }
}
