//! git outside the walls, on a repository that somebody else may have prepared.
//!
//! What a repository configures for itself can make git execute programs: a file system monitor, filters, hooks. The
//! user's own configuration is trusted, that of the repository is not: whatever it says of this kind is switched off for
//! the few commands that read the source of a clone. In a workspace that commands have worked in, git is only ever run
//! behind the same walls as they are.

use std::path::Path;
use std::process::{Command, Stdio};

use url::Url;

/// Variables of a git that may be running us.
const INHERITED: [&str; 7] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG_PARAMETERS",
];

/// What is always off. The user's own file system monitor is a matter of speed only.
const OFF: [(&str, &str); 4] = [
    ("core.fsmonitor", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.alternateRefsCommand", ""),
    ("diff.external", ""),
];

/// git in a folder, with the user's own configuration.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for variable in INHERITED {
        command.env_remove(variable);
    }
    command
        .arg("-C")
        .arg(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    command
}

/// A repository whose own configuration executes nothing.
#[derive(Debug)]
pub(crate) struct Distrusted<'a> {
    root: &'a Path,
    overrides: Vec<(String, String)>,
}

impl<'a> Distrusted<'a> {
    /// Looks at what the repository that `root` lies in configures for itself; executes nothing of it.
    ///
    /// # Errors
    /// In words: it cannot be read, or says that its files lie elsewhere.
    pub(crate) fn open(root: &'a Path) -> Result<Self, String> {
        let mut overrides: Vec<(String, String)> = OFF
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let listed = said(git(root).args(["config", "--list", "-z", "--show-scope", "--name-only"]))?;
        let mut words = listed.split('\0');
        while let (Some(scope), Some(key)) = (words.next(), words.next()) {
            if matches!(scope, "local" | "worktree") {
                overrides.extend(disarmed(key));
            }
        }
        let distrusted = Self { root, overrides };
        let top = said(distrusted.git().args(["rev-parse", "--show-toplevel"]))?;
        // With core.worktree a repository could have files of the machine read as if they were its own.
        let top = std::fs::canonicalize(top.trim_end_matches('\n')).map_err(|error| error.to_string())?;
        if !root.starts_with(&top) {
            return Err(format!(
                "the repository says that its files lie in {}, outside of {}",
                top.display(),
                root.display()
            ));
        }
        Ok(distrusted)
    }

    /// git in it.
    pub(crate) fn git(&self) -> Command {
        let mut command = git(self.root);
        command.env("GIT_CONFIG_COUNT", self.overrides.len().to_string());
        for (number, (key, value)) in self.overrides.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command
    }

    /// The address that the repository itself is pushed to, as its remote `origin` has it, without secrets; `None` when there is
    /// none, or none that a clone may know.
    pub(crate) fn upstream(&self) -> Option<String> {
        let address = said(self.git().args(["config", "--get", "remote.origin.url"])).ok()?;
        told(address.trim_end_matches('\n'))
    }
}

/// The part of an address of a repository that a clone of it may know; nothing of what is no plain address.
///
/// A password stays behind, and so does a name where it may be a token (over HTTP). `ext::` and its like have git start a
/// program; a relative path means another folder in the clone.
fn told(address: &str) -> Option<String> {
    if let Some((scheme, _)) = address.split_once("://") {
        let mut url = Url::parse(address).ok()?;
        match scheme {
            "http" | "https" => url.set_username("").ok()?,
            "ssh" | "git" => {}
            "file" => return Some(address.to_owned()),
            _ => return None,
        }
        url.set_password(None).ok()?;
        return Some(url.into());
    }
    let (host, path) = address.split_once(':').unwrap_or(("", address));
    let is_over_ssh =
        !host.is_empty() && !host.contains('/') && !host.starts_with('-') && !path.starts_with(':');
    (is_over_ssh || Path::new(address).is_absolute()).then(|| address.to_owned())
}

/// What takes the sting out of a key, if it has one: an empty filter is none.
fn disarmed(key: &str) -> Option<(String, String)> {
    let (section, rest) = key.split_once('.')?;
    let (_, variable) = rest.rsplit_once('.')?;
    let value = match (section, variable) {
        ("filter", "clean" | "smudge" | "process") | ("diff", "textconv" | "command") => "",
        ("filter", "required") => "false",
        _ => return None,
    };
    Some((key.to_owned(), value.to_owned()))
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("is git installed? {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, words: &[&str]) {
        let name = ["-c", "user.name=a", "-c", "user.email=a@b"];
        let output = git(folder).args(name).args(words).output().expect("git is there");
        assert!(output.status.success(), "{words:?}: {output:?}");
    }

    #[test]
    fn a_clone_knows_where_its_source_is_pushed_to_and_no_secret_of_it() {
        for (address, known) in [
            ("https://git.example/a/b.git", "https://git.example/a/b.git"),
            (
                "https://ann:hunter2@git.example/a/b.git",
                "https://git.example/a/b.git",
            ),
            (
                "https://ghp_token@git.example:8443/a",
                "https://git.example:8443/a",
            ),
            (
                "ssh://git:hunter2@git.example/a/b.git",
                "ssh://git@git.example/a/b.git",
            ),
            ("git@git.example:a/b.git", "git@git.example:a/b.git"),
            ("file:///srv/git/b.git", "file:///srv/git/b.git"),
            ("/srv/git/b.git", "/srv/git/b.git"),
        ] {
            assert_eq!(told(address).as_deref(), Some(known), "{address}");
        }
        for address in [
            "",
            "../b.git",
            "b.git",
            "ext::sh -c touch%20/tmp/a",
            "fd::17",
            "ext://a/b",
            "-oProxyCommand=a:b",
        ] {
            assert_eq!(told(address), None, "{address}");
        }
    }

    /// B-HANDS-2: a repository that was prepared to execute what it likes where the runtime runs.
    #[test]
    fn a_hostile_repository_executes_nothing_when_it_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there").join("source");
        std::fs::create_dir(&root).expect("a folder");
        let canary = folder.path().join("canary");
        let evil = folder.path().join("evil.sh");
        let text = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", canary.display());
        std::fs::write(&evil, text).expect("written");
        std::fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
        run(&root, &["init", "-q"]);
        std::fs::write(root.join("a"), "1\n").expect("written");
        run(&root, &["add", "."]);
        run(&root, &["commit", "-qm", "one"]);
        std::fs::write(root.join(".gitattributes"), "* filter=x diff=x\n").expect("written");
        std::fs::write(root.join("a"), "2\n").expect("written");
        let evil = evil.display().to_string();
        for key in [
            "core.fsmonitor",
            "core.hooksPath",
            "filter.x.clean",
            "filter.x.smudge",
            "filter.x.process",
            "diff.external",
            "diff.x.textconv",
            "diff.x.command",
            "core.alternateRefsCommand",
        ] {
            run(&root, &["config", key, &evil]);
        }
        run(&root, &["config", "filter.x.required", "true"]);
        let distrusted = Distrusted::open(&root).expect("it can be read");
        let words = ["diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD"];
        let changes = said(distrusted.git().args(words)).expect("it says what changed");
        assert!(changes.contains("+2"), "{changes}");
        let others = said(
            distrusted
                .git()
                .args(["ls-files", "-z", "--others", "--exclude-standard"]),
        );
        assert_eq!(others.expect("it lists"), ".gitattributes\0");
        assert!(
            !canary.exists(),
            "{}",
            std::fs::read_to_string(&canary).unwrap_or_default()
        );

        // The same without care, so that this test is known to bite.
        drop(git(&root).args(words).output());
        assert!(canary.exists());
    }

    #[test]
    fn files_elsewhere_are_not_read_as_the_repositorys_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there").join("source");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&root).expect("a folder");
        std::fs::create_dir(&elsewhere).expect("a folder");
        run(&root, &["init", "-q"]);
        run(
            &root,
            &["config", "core.worktree", &elsewhere.display().to_string()],
        );
        let refused = Distrusted::open(&root).expect_err("its files lie elsewhere");
        assert!(refused.contains("elsewhere"), "{refused}");
    }
}
