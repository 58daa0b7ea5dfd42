//! The gate of this machine: the policy, and the files that an act would run as they stand at that moment.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Gate, Judgement, Ruling};
use longhaul_actors::session::{Candidate, Script, Setting, ToolCall, call_digest};
use longhaul_hands::INSIDE_WORKSPACE;
use longhaul_journal::StreamId;
use longhaul_policy::{Act, Around, Author, Category, Decision, Policy, Verdict, digest};

use super::SessionFolder;
use super::workspace::Prepared;
use crate::api::{Code, Problem};

/// The policy file of a data directory, where none was named.
const FILE: &str = "policy.toml";
/// A policy file that adds nothing to what comes with longhaul.
const EMPTY: &str = "version = 1\n";
/// Largest script that is looked into, bytes. A larger one counts as one that cannot be read.
const SCRIPT_LIMIT: u64 = 1 << 20;

/// The policy of a runtime: the file that was named, else that of the data directory, else the one that comes with
/// longhaul.
///
/// # Errors
/// `invalid_request`: the file that was named is not there, or one of them has an error; names the line.
pub(crate) fn load(data: &Path, named: Option<&Path>) -> Result<Policy, Problem> {
    let own = data.join(FILE);
    let file = named.unwrap_or(&own);
    let shown = file.display();
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        // What is wrong with the directory itself is told by whoever opens the journal in it.
        Err(error)
            if named.is_none()
                && matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
        {
            EMPTY.to_owned()
        }
        Err(error) => {
            let detail = format!("the policy {shown} cannot be read: {error}");
            return Err(Problem::new(Code::InvalidRequest, detail)
                .next("name one that is there", "longhaul serve --policy FILE"));
        }
    };
    Policy::extended(&text, &shown.to_string()).map_err(|error| {
        Problem::new(Code::InvalidRequest, error.to_string())
            .next("mend it, and try it out", format!("longhaul policy test {shown}"))
    })
}

/// Judges acts of sessions in one data directory.
#[derive(Clone)]
pub(crate) struct PolicyGate {
    data: PathBuf,
    policy: Arc<Policy>,
}

impl PolicyGate {
    pub(crate) fn new(data: PathBuf, policy: Policy) -> Self {
        Self {
            data,
            policy: Arc::new(policy),
        }
    }

    /// Blocks on the files that the act would run.
    fn decide(&self, session: StreamId, candidate: &Candidate, setting: &Setting) -> Judgement {
        let workspace = Prepared::load(&SessionFolder::new(&self.data, session));
        let workspace = workspace.ok().flatten().map(|prepared| prepared.workspace);
        let contained = is_contained(&setting.isolation);
        let act = act_of(&candidate.call);
        let forbidden: Vec<Category> = setting
            .forbidden()
            .iter()
            .filter_map(|name| Category::named(name))
            .collect();
        let seen_as = match &workspace {
            _ if contained => Some(INSIDE_WORKSPACE.to_owned()),
            Some(path) => Some(path.display().to_string()),
            None => None,
        };
        let read_file = |path: &str| {
            let script = located(workspace.as_deref()?, contained, &act.cwd, path);
            read_script(&script).ok()
        };
        let decision = self.policy.decide(
            &act,
            &Around {
                contained,
                author: author(setting),
                forbidden: &forbidden,
                workspace: seen_as.as_deref(),
                read_file: &read_file,
            },
        );
        judgement(&act, decision, contained)
    }
}

impl Gate for PolicyGate {
    fn judge(
        &self,
        session: StreamId,
        candidate: Candidate,
        setting: Setting,
    ) -> BoxFuture<'static, Judgement> {
        let gate = self.clone();
        async move {
            let call = candidate.call.clone();
            let judged =
                tokio::task::spawn_blocking(move || gate.decide(session, &candidate, &setting)).await;
            judged.unwrap_or_else(|error| {
                // What could not be judged is not done: the brain is told, and finds another way.
                tracing::error!(%session, %error, "the gate failed; the act is denied");
                Judgement {
                    ruling: Ruling::Deny,
                    rule: "gate-failed".into(),
                    category: Category::Unknown.name().into(),
                    detail: "longhaul could not judge this act".into(),
                    ..Judgement::allow(call_digest(&call))
                }
            })
        }
        .boxed()
    }
}

/// Whether the hands are walled in, so that an act which no rule knows can do no harm outside.
fn is_contained(isolation: &str) -> bool {
    !matches!(isolation, "" | "process" | "virtual")
}

/// A playbook is a file of steps that the human at this machine wrote and started; every other brain is an agent.
fn author(setting: &Setting) -> Author {
    if setting.is_wanted_by("playbook") {
        Author::LocalHuman
    } else {
        Author::Agent
    }
}

/// The act of a call. A service is a command that goes on, so it is judged as one.
fn act_of(call: &ToolCall) -> Act {
    let action = call.args["action"].as_str();
    if call.tool != "service" || action != Some("start") {
        return Act::call(call.tool.clone(), call.args.clone());
    }
    let name = call.args["name"].as_str().unwrap_or_default();
    Act {
        tool: format!("service {name}"),
        ..Act::call("exec", call.args.clone())
    }
}

fn judgement(act: &Act, decision: Decision, contained: bool) -> Judgement {
    let category = decision.category;
    Judgement {
        ruling: match decision.verdict {
            Verdict::Allow => Ruling::Allow,
            Verdict::Ask => Ruling::Ask,
            Verdict::Deny => Ruling::Deny,
        },
        digest: digest(act, &decision.scripts),
        category: category
            .map(|category| category.name().to_owned())
            .unwrap_or_default(),
        rule: decision.rule,
        detail: decision.detail,
        risk: risk(category).into(),
        scripts: decision
            .scripts
            .into_iter()
            .map(|script| Script {
                path: script.path,
                sha256: script.sha256.unwrap_or_default(),
            })
            .collect(),
        advisory: !contained,
        expires_after_ms: None,
    }
}

fn risk(category: Option<Category>) -> &'static str {
    match category {
        None => "low",
        Some(Category::Unknown | Category::MessageOutside) => "medium",
        Some(_) => "high",
    }
}

/// Where a script lies that an act names: from its folder, inside the workspace unless it is absolute.
fn located(workspace: &Path, contained: bool, cwd: &str, path: &str) -> PathBuf {
    let named = Path::new(cwd).join(path);
    let inside = named.strip_prefix(INSIDE_WORKSPACE).ok().filter(|_| contained);
    let Some(relative) = inside.or(named.is_relative().then_some(&named)) else {
        return named;
    };
    let mut located = workspace.to_owned();
    for part in relative.components() {
        match part {
            Component::ParentDir => drop(located.pop()),
            Component::Normal(name) => located.push(name),
            _ => {}
        }
    }
    located
}

/// Reads a regular file of bounded size; one that would block is not waited for.
fn read_script(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32);
    let file = options.open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > SCRIPT_LIMIT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(SCRIPT_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_looked_for_where_the_act_would_find_it() {
        let workspace = Path::new("/data/ws");
        let rows = [
            (false, "", "push.sh", "/data/ws/push.sh"),
            (false, "sub", "./push.sh", "/data/ws/sub/push.sh"),
            (false, "sub", "../push.sh", "/data/ws/push.sh"),
            (false, "", "/usr/bin/x", "/usr/bin/x"),
        ];
        for (contained, cwd, path, expected) in rows {
            assert_eq!(located(workspace, contained, cwd, path), Path::new(expected));
        }
        let inside = format!("{INSIDE_WORKSPACE}/push.sh");
        assert_eq!(
            located(workspace, true, "", &inside),
            Path::new("/data/ws/push.sh")
        );
    }

    /// B-GATE-1: a service runs a command as well.
    #[test]
    fn a_service_is_judged_by_the_command_it_runs() {
        let call = ToolCall {
            tool: "service".into(),
            args: serde_json::json!({ "action": "start", "name": "web", "command": "git push" }),
        };
        let act = act_of(&call);
        let decision = Policy::standard().decide(&act, &Around::bare());
        assert_eq!(decision.category, Some(Category::Publish));
        assert_ne!(digest(&act, &[]), digest(&Act::line("git push"), &[]));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read_script(folder.path()).is_err());
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .expect("a pipe");
        assert!(read_script(&fifo).is_err());
        fs::write(folder.path().join("s"), "echo").expect("written");
        assert_eq!(read_script(&folder.path().join("s")).expect("a file"), b"echo");
    }

    #[test]
    fn a_policy_file_that_was_named_must_be_there() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(load(folder.path(), None).is_ok());
        let missing = load(folder.path(), Some(&folder.path().join("mine.toml")));
        assert_eq!(missing.expect_err("there is none").code, Code::InvalidRequest);
    }

    #[test]
    fn a_directory_that_is_a_file_is_no_trouble_with_the_policy() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(load(file.path(), None).is_ok());
    }
}
