//! The repository of the demo: POSIX sh, a real bug, a failing test, and the steps that mend it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::api::{Code, Problem};

pub(super) const GOAL: &str = "make the test pass";
pub(super) const MESSAGE: &str = "also bump the changelog";
/// The command that the runtime dies under; it takes about three seconds.
pub(super) const SLOW_COMMAND: &str = "sh check-baskets.sh";
/// Where that command writes a line each time it runs; git ignores it.
pub(super) const RUNS_FILE: &str = "runs.log";

/// The repository, file by file.
const FILES: [(&str, &str); 6] = [
    ("total.sh", include_str!("receipts/total.sh")),
    ("test.sh", include_str!("receipts/test.sh")),
    ("check-baskets.sh", include_str!("receipts/check-baskets.sh")),
    ("CHANGELOG.md", include_str!("receipts/CHANGELOG.md")),
    ("README.md", include_str!("receipts/README.md")),
    (".gitignore", include_str!("receipts/gitignore")),
];

/// What the agent does.
const PLAYBOOK: &str = include_str!("playbook.toml");

/// The repository, and the playbook beside it.
pub(super) struct Project {
    pub(super) repository: PathBuf,
    playbook: PathBuf,
}

impl Project {
    /// Makes both in this folder.
    pub(super) fn make(root: &Path) -> Result<Self, Problem> {
        let project = Self {
            repository: root.join("receipts"),
            playbook: root.join("playbook.toml"),
        };
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|error| trouble(&format!("write {}: {error}", path.display())))
        };
        fs::create_dir(&project.repository).map_err(|error| trouble(&format!("make a folder: {error}")))?;
        for (name, text) in FILES {
            write(project.repository.join(name), text)?;
        }
        write(project.playbook.clone(), PLAYBOOK)?;
        project.git(&["init", "--quiet", "--initial-branch=main"])?;
        project.git(&["config", "user.name", "demo"])?;
        project.git(&["config", "user.email", "demo@localhost"])?;
        project.git(&["add", "--all"])?;
        project.git(&["commit", "--quiet", "--message=receipts"])?;
        Ok(project)
    }

    /// The name by which a session takes the playbook.
    pub(super) fn brain(&self) -> String {
        format!("playbook:{}", self.playbook.display())
    }

    /// Applies a patch to the repository, and runs the test there: it must fail before and pass after.
    pub(super) fn apply(&self, patch: &Path) -> Result<(), Problem> {
        if self.test_passes()? {
            return Err(trouble("fail the test before the patch: it passes"));
        }
        self.git(&["apply", &patch.display().to_string()])?;
        if !self.test_passes()? {
            return Err(trouble("pass the test after the patch"));
        }
        let changelog = fs::read_to_string(self.repository.join("CHANGELOG.md")).unwrap_or_default();
        if !changelog.contains("A last line") {
            return Err(trouble("find the changelog bumped"));
        }
        Ok(())
    }

    fn test_passes(&self) -> Result<bool, Problem> {
        let status = Command::new("sh")
            .arg("test.sh")
            .current_dir(&self.repository)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status
            .map(|status| status.success())
            .map_err(|error| trouble(&format!("run sh: {error}")))
    }

    fn git(&self, args: &[&str]) -> Result<(), Problem> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.repository)
            .args(args)
            .stdin(Stdio::null())
            .output();
        let output = output.map_err(|error| trouble(&format!("run git (is it installed?): {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(trouble(&format!(
            "run git {}: {}",
            args.join(" "),
            complaint.trim()
        )))
    }
}

fn trouble(what: &str) -> Problem {
    Problem::new(Code::Internal, format!("the demo cannot {what}"))
}
