//! Making a workspace: an empty folder, a clone with the uncommitted changes on top, or a folder of the user's own.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use longhaul_actors::ports::SetupError;
use longhaul_actors::session::{Sandbox, WorkspaceKind, WorkspaceSpec};
use longhaul_hands::remove_tree;
use serde::{Deserialize, Serialize};

use super::durable;
use super::folders::SessionFolder;
use super::owner::give;
use super::repository::{Distrusted, git};
use crate::sandbox::{Walled, user_of};

/// What was learnt when the workspace was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Prepared {
    /// Where commands work.
    pub(crate) workspace: PathBuf,
    /// The git tree a patch is made against, for a clone.
    pub(crate) base_tree: Option<String>,
    /// How its commands are walled in. Notes from before there were walls have none.
    #[serde(default)]
    pub(crate) sandbox: Walled,
    /// Whether it is a folder of the user's own.
    #[serde(default)]
    pub(crate) in_place: bool,
}

impl Prepared {
    /// What was learnt, or `None` when the workspace is not whole yet.
    ///
    /// # Errors
    /// When the note is there and cannot be read.
    pub(crate) fn load(folder: &SessionFolder) -> Result<Option<Self>, SetupError> {
        match fs::read(folder.prepared()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                failed(
                    "workspace_note_unreadable",
                    format!("{}: {error}", folder.prepared().display()),
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("workspace_note_unreadable", error)),
        }
    }
}

pub(crate) fn failed(code: &str, detail: impl ToString) -> SetupError {
    SetupError {
        code: code.into(),
        detail: detail.to_string(),
        report: None,
    }
}

/// Makes the workspace, or finds it made. A crash in the middle leaves a half-made one that is thrown away the next time.
///
/// # Errors
/// [`SetupError`] naming what is missing.
pub(crate) fn prepare(
    folder: &SessionFolder,
    spec: &WorkspaceSpec,
    sandbox: Sandbox,
) -> Result<Prepared, SetupError> {
    if let Some(prepared) = Prepared::load(folder)? {
        return Ok(prepared);
    }
    let io = |error: std::io::Error| {
        failed(
            "workspace_unwritable",
            format!("{}: {error}", folder.root().display()),
        )
    };
    fs::create_dir_all(folder.private().join("tmp")).map_err(io)?;
    fs::create_dir_all(folder.steps()).map_err(io)?;
    let workspace = folder.workspace();
    let (workspace, base_tree) = match spec.kind {
        WorkspaceKind::InPlace => {
            let workspace = fs::canonicalize(&spec.source)
                .map_err(|error| failed("workspace_not_found", format!("{}: {error}", spec.source)))?;
            (workspace, None)
        }
        WorkspaceKind::Empty => {
            remove_tree(&workspace).map_err(io)?;
            fs::create_dir_all(&workspace).map_err(io)?;
            (workspace, None)
        }
        WorkspaceKind::Clone => {
            remove_tree(&workspace).map_err(io)?;
            let base_tree = clone(Path::new(&spec.source), &workspace)?;
            (workspace, Some(base_tree))
        }
    };
    let in_place = spec.kind == WorkspaceKind::InPlace;
    let sandbox = match sandbox {
        Sandbox::Process => Walled::Process,
        Sandbox::Isolated => isolated(folder, &workspace, in_place)?,
    };
    let prepared = Prepared {
        workspace,
        base_tree,
        sandbox,
        in_place,
    };
    note(folder, &prepared).map_err(io)?;
    Ok(prepared)
}

/// Which user of the machine the session is, and its files made that user's.
fn isolated(folder: &SessionFolder, workspace: &Path, in_place: bool) -> Result<Walled, SetupError> {
    let owned = |error: std::io::Error| {
        failed(
            "workspace_unwritable",
            format!("{}: its owner cannot be set: {error}", workspace.display()),
        )
    };
    let mut host_uid = user_of(&folder.name());
    if in_place && host_uid.is_some() {
        // The folder stays whose it is, so its commands are that user.
        let uid = fs::metadata(workspace).map_err(owned)?.uid();
        if uid == 0 {
            return Err(failed(
                "sandbox.workspace_of_root",
                format!(
                    "{} belongs to root, and an isolated command is never root; work on a copy (without --in-place), \
                     give the folder to a user, or choose --sandbox=process",
                    workspace.display()
                ),
            ));
        }
        host_uid = Some(uid);
    }
    if let Some(uid) = host_uid {
        if !in_place {
            give(workspace, uid).map_err(owned)?;
        }
        give(&folder.private(), uid).map_err(owned)?;
    }
    Ok(Walled::Isolated { host_uid })
}

/// Writes the note that the workspace is whole, after the workspace itself is on disk.
pub(super) fn note(folder: &SessionFolder, prepared: &Prepared) -> std::io::Result<()> {
    rustix::fs::syncfs(fs::File::open(folder.root())?)?;
    durable::write(&folder.prepared(), &serde_json::to_vec_pretty(prepared)?)
}

/// Clones HEAD without hard links, lays the uncommitted changes on top, and returns the tree of the whole.
fn clone(source: &Path, workspace: &Path) -> Result<String, SetupError> {
    let source = fs::canonicalize(source)
        .map_err(|error| failed("workspace_not_found", format!("{}: {error}", source.display())))?;
    let error = |what: &str, detail: String| failed("workspace_clone_failed", format!("{what}: {detail}"));
    let run = |what: &str, command: &mut Command| -> Result<Output, SetupError> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|e| error(what, format!("is git installed? {e}")))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(error(
            what,
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    };
    let distrusted = Distrusted::open(&source).map_err(|detail| error("git config", detail))?;
    let quiet = [
        "clone",
        "--quiet",
        "--no-hardlinks",
        "--no-recurse-submodules",
        "--",
    ];
    run(
        "git clone",
        git(Path::new("/")).args(quiet).arg(&source).arg(workspace),
    )?;
    // A push to `origin` would reach the user's own repository, and not the one that they push to.
    run(
        "git remote remove",
        git(workspace).args(["remote", "remove", "origin"]),
    )?;
    if let Some(upstream) = distrusted.upstream() {
        run(
            "git remote add",
            git(workspace).args(["remote", "add", "origin", &upstream]),
        )?;
    }
    copy_identity(&source, workspace);

    let changes = run(
        "git diff",
        distrusted
            .git()
            .args(["diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD"]),
    )?;
    if !changes.stdout.is_empty() {
        apply_changes(workspace, &changes.stdout).map_err(|detail| error("git apply", detail))?;
    }
    let untracked = run(
        "git ls-files",
        distrusted
            .git()
            .args(["ls-files", "-z", "--others", "--exclude-standard"]),
    )?;
    for name in untracked
        .stdout
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        copy_untracked(&source, workspace, name).map_err(|e| error("copy", e.to_string()))?;
    }
    let index = workspace.join(".git").join("longhaul-base-index");
    let with_index = |command: &mut Command| {
        command.env("GIT_INDEX_FILE", &index);
    };
    let mut add = git(workspace);
    with_index(add.args(["add", "--all"]));
    run("git add", &mut add)?;
    let mut write_tree = git(workspace);
    with_index(write_tree.arg("write-tree"));
    let tree = run("git write-tree", &mut write_tree)?;
    fs::remove_file(&index).map_err(|e| error("remove index", e.to_string()))?;
    Ok(String::from_utf8_lossy(&tree.stdout).trim().to_owned())
}

/// Commits made in the workspace carry the user's name, since the home of its commands has no configuration.
fn copy_identity(source: &Path, workspace: &Path) {
    for (key, otherwise) in [("user.name", "longhaul"), ("user.email", "longhaul@localhost")] {
        let value = git(source)
            .args(["config", key])
            .output()
            .ok()
            .filter(|output| output.status.success());
        let value = value.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        // Best effort: without it a commit in the workspace fails, and says what to configure.
        let _ = git(workspace)
            .args(["config", key, value.as_deref().unwrap_or(otherwise)])
            .output();
    }
}

fn apply_changes(workspace: &Path, changes: &[u8]) -> Result<(), String> {
    let mut child = git(workspace)
        .args(["apply", "--binary", "--whitespace=nowarn", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().expect("stdin is piped");
    // git reads all of it before it complains, so this cannot block on a full pipe of complaints.
    let written = stdin.write_all(changes);
    drop(stdin);
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    written.map_err(|error| error.to_string())
}

fn copy_untracked(source: &Path, workspace: &Path, name: &[u8]) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = Path::new(std::ffi::OsStr::from_bytes(name));
    let (from, to) = (source.join(name), workspace.join(name));
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let kind = fs::symlink_metadata(&from)?.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(&from)?, &to)
    } else if kind.is_file() {
        fs::copy(&from, &to).map(|_| ())
    } else {
        // A socket, a pipe or a nested repository is no part of the work.
        Ok(())
    }
}
