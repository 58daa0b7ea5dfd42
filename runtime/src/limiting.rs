//! How the commands of sessions are held to what they may use: what was chosen, what this machine can do, and what is
//! refused.
//!
//! What a session may use is pinned when it starts ([`Resources`]); who holds it to that is a matter of the machine, found
//! out here once, and written in the session's first records.

use std::sync::OnceLock;

use longhaul_actors::ports::SetupError;
use longhaul_actors::session::{LimitsReport, Resources, Sandbox};
use longhaul_hands::{self as hands, Groups, LimitsBy};

use crate::api::{Code, Problem};

/// Who is to hold commands to what they may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitsMode {
    /// Control groups where they can be made. A plain user who cannot make any has the limits of each process by itself,
    /// and so has a command without walls; a command behind walls is refused to root then, since root can have them.
    #[default]
    Auto,
    /// Each process by itself, also where control groups could be made.
    Rlimit,
    /// Control groups, or nothing runs.
    Cgroup,
}

/// How a runtime holds commands to what they may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitOptions {
    /// Who does it.
    pub mode: LimitsMode,
    /// Room that commands leave free on the disk of their workspace, bytes; at most half of what was free when they began.
    pub disk_reserve: u64,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            mode: LimitsMode::Auto,
            disk_reserve: hands::Limits::default().disk_reserve,
        }
    }
}

/// The code of the refusal.
pub(crate) const UNAVAILABLE: &str = "limits.cgroup_unavailable";

/// What was chosen, with what was found out about this machine.
#[derive(Debug)]
pub(crate) struct Limiting {
    options: LimitOptions,
    found: OnceLock<Result<Groups, String>>,
}

impl Limiting {
    pub(crate) fn new(options: LimitOptions) -> Self {
        Self {
            options,
            found: OnceLock::new(),
        }
    }

    /// Where control groups can be made. Blocks for some milliseconds the first time.
    fn found(&self) -> &Result<Groups, String> {
        self.found.get_or_init(|| match self.options.mode {
            LimitsMode::Rlimit => Err("--limits=rlimit was asked for".to_owned()),
            LimitsMode::Auto | LimitsMode::Cgroup => hands::probe_groups(),
        })
    }

    /// How commands of a session are held to what they may use, behind walls or not.
    ///
    /// # Errors
    /// [`SetupError`] `limits.cgroup_unavailable`, with what is missing and the way on.
    pub(crate) fn ready(&self, sandbox: Sandbox) -> Result<LimitsReport, SetupError> {
        report(
            self.options.mode,
            self.found().as_ref(),
            sandbox == Sandbox::Isolated,
            rustix::process::geteuid().is_root(),
        )
    }

    /// The same before a session is started at all.
    ///
    /// # Errors
    /// `sandbox_unavailable`, which names `limits.cgroup_unavailable`.
    pub(crate) fn agree(&self, sandbox: Sandbox) -> Result<(), Problem> {
        let ready = self.ready(sandbox).map(|_| ());
        ready.map_err(|SetupError { code, detail, .. }| {
            Problem::new(Code::SandboxUnavailable, format!("{code}: {detail}"))
                .next("bound each process by itself", "longhaul serve --limits=rlimit")
        })
    }

    /// Bytes that stay free on the disk of the sessions' files.
    pub(crate) fn disk_reserve(&self) -> u64 {
        self.options.disk_reserve
    }

    /// What a command gets: its bounds, and where its control group is made. `in_place` leaves the workspace out: it is
    /// the user's own, and may be of any size.
    pub(crate) fn bound(&self, spec: &mut hands::Spec, resources: &Resources, in_place: bool) {
        let Resources {
            memory_bytes,
            pids,
            cpu_milli,
            disk_bytes,
            disk_files,
            output_bytes,
            silent_ms,
        } = *resources;
        spec.limits = hands::Limits {
            memory_bytes,
            pids,
            cpu_milli,
            disk_bytes: if in_place { 0 } else { disk_bytes },
            disk_files: if in_place { 0 } else { disk_files },
            disk_reserve: self.options.disk_reserve,
        };
        spec.kill_bytes = if output_bytes == 0 { u64::MAX } else { output_bytes };
        spec.idle_ms = (silent_ms > 0).then_some(silent_ms);
        spec.groups = self.found().as_ref().ok().cloned();
    }
}

/// Decides what is good enough. Pure.
fn report(
    mode: LimitsMode,
    found: Result<&Groups, &String>,
    isolated: bool,
    root: bool,
) -> Result<LimitsReport, SetupError> {
    let disk = "watch".to_owned();
    match found {
        Ok(groups) => Ok(LimitsReport {
            by: groups.by().as_str().to_owned(),
            cpu: groups.bounds_cpu(),
            disk,
            lacks: String::new(),
        }),
        Err(lacks) if mode == LimitsMode::Cgroup || (mode == LimitsMode::Auto && isolated && root) => {
            Err(SetupError {
                code: UNAVAILABLE.to_owned(),
                detail: format!(
                    "no control group can be made for a command: {lacks}. The way on: --limits=rlimit bounds each process \
                     by itself"
                ),
                report: None,
            })
        }
        Err(lacks) => Ok(LimitsReport {
            by: LimitsBy::Rlimit.as_str().to_owned(),
            cpu: false,
            disk,
            lacks: lacks.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-HANDS-4: nothing is weaker than it was asked for, and nobody is shut out for want of a service manager.
    #[test]
    fn what_is_missing_is_refused_to_who_could_have_it_and_told_to_who_could_not() {
        use LimitsMode::{Auto, Cgroup, Rlimit};
        let lacks = "no group can be made in /x: Read-only file system".to_owned();
        // mode, behind walls, root, refused
        let cases = [
            (Auto, true, true, true),
            (Auto, true, false, false),
            (Auto, false, true, false),
            (Auto, false, false, false),
            (Cgroup, true, false, true),
            (Cgroup, false, true, true),
            (Rlimit, true, true, false),
            (Rlimit, false, false, false),
        ];
        for (mode, isolated, root, refused) in cases {
            match report(mode, Err(&lacks), isolated, root) {
                Err(error) => {
                    assert!(refused, "{mode:?} {isolated} {root}");
                    assert_eq!(error.code, UNAVAILABLE);
                    assert!(error.detail.contains(&lacks) && error.detail.contains("--limits=rlimit"));
                }
                Ok(report) => {
                    assert!(!refused, "{mode:?} {isolated} {root}");
                    assert_eq!((report.by.as_str(), &report.lacks), ("rlimit", &lacks));
                }
            }
        }
    }
}
