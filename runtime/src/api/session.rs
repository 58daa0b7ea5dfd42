//! Sessions as they are shown, and the requests that act on them.

use longhaul_actors::session::{
    Limits, Mode, ResourcesWish, Sandbox, SendMode, Usage, WorkspaceKind, WorkspaceSpec,
};
use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use super::token::Minted;

/// The shown id of a session: `s_` and 32 hexadecimal digits.
pub fn session_id(stream: StreamId) -> String {
    format!("s_{stream}")
}

/// The stream of a session by its full shown id.
///
/// # Errors
/// `invalid_request` when it is not such an id.
pub fn stream_id(id: &str) -> Result<StreamId, Problem> {
    id.strip_prefix("s_")
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                format!("{id:?} is no session id; ids look like s_0190..."),
            )
            .next("list the sessions", "longhaul ls")
        })
}

pub(crate) fn no_session(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no session {id}")).next("list them", "longhaul ls")
}

/// A request to start a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Start {
    /// What it is for.
    pub goal: String,
    /// `playbook:FILE` or `process:PROGRAM [ARG...]`.
    pub brain: Option<String>,
    /// How it ends.
    pub mode: Mode,
    /// Its name: the session with that name is returned if there is one.
    pub key: Option<String>,
    /// Retry safety: the same key with the same request is the same session.
    pub idempotency_key: Option<String>,
    /// What it works on.
    pub workspace: WorkspaceWish,
    /// Its bounds; each that is absent is as configured.
    pub limits: Option<LimitsWish>,
    /// What its commands may reach: names with or without a port, and the presets `git`, `npm`, `crates`, `pypi`. Nothing
    /// unless told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<String>,
    /// How long it may work: `30m`, `1h`, `3h`, `5h` or `until-done`, in active time. Makes it a bounded run.
    // Left out where it is absent: the fingerprint of a request must not change with the version that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What one of its commands may use; what is absent is as in `limits`, or as configured.
    #[serde(skip_serializing_if = "ResourcesWish::is_empty")]
    pub resources: ResourcesWish,
    /// Opaque JSON text of at most 16 KB, returned byte-equal.
    pub metadata: Option<String>,
    /// What it may cost in all: a decimal number of credits, as text. No bound of its own when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// What happens when as many sessions work as may.
    #[serde(skip_serializing_if = "OnLimit::is_queue")]
    pub on_limit: OnLimit,
    /// The task that it works on. Its key is then given by the task, and its goal too where none is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Whether a client token is wanted with the answer, which reads and steers for an hour. Each time it is asked for there is
    /// another one, and one more durable write; so who needs none leaves it out.
    #[serde(skip_serializing_if = "is_false")]
    pub token: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What a session is to work on.
// What is stored is as tolerant as old records need, and a request is not: a misspelt field must not be ignored. All
// fields are always sent, in the order of what is stored, because fingerprints of requests were made of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceWish {
    /// An empty folder, a clone, or a folder of the user's own.
    pub kind: WorkspaceKind,
    /// The repository or folder it comes from; empty for an empty folder.
    #[serde(default)]
    pub source: String,
    /// How its commands are walled in; as the runtime is configured when absent.
    #[serde(default)]
    pub sandbox: Option<Sandbox>,
}

impl WorkspaceWish {
    /// The workspace that is wished for, with the walls that were agreed on.
    pub(crate) fn walled(self, sandbox: Sandbox) -> WorkspaceSpec {
        WorkspaceSpec {
            kind: self.kind,
            source: self.source,
            sandbox: Some(sandbox),
        }
    }
}

/// Bounds that a session is to have, as [`Limits`] has them; what is absent is as configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[allow(missing_docs, reason = "as in `Limits`")]
pub struct LimitsWish {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brain_call_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_max_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_steps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_confirm_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_ms: Option<u64>,
    #[serde(skip_serializing_if = "ResourcesWish::is_empty")]
    pub resources: ResourcesWish,
}

impl LimitsWish {
    /// `base` with what was asked for.
    #[must_use]
    pub fn over(self, base: Limits) -> Limits {
        Limits {
            brain_call_ms: self.brain_call_ms.unwrap_or(base.brain_call_ms),
            command_ms: self.command_ms.unwrap_or(base.command_ms),
            command_max_ms: self.command_max_ms.unwrap_or(base.command_max_ms),
            turn_ms: self.turn_ms.unwrap_or(base.turn_ms),
            turn_steps: self.turn_steps.unwrap_or(base.turn_steps),
            run_ms: self.run_ms.unwrap_or(base.run_ms),
            idle_ms: self.idle_ms.unwrap_or(base.idle_ms),
            stop_confirm_ms: self.stop_confirm_ms.unwrap_or(base.stop_confirm_ms),
            checkpoints: self.checkpoints.unwrap_or(base.checkpoints),
            approval_ms: self.approval_ms.unwrap_or(base.approval_ms),
            resources: self.resources.over(base.resources),
        }
    }
}

/// Asks for each of these bounds, whatever is configured.
impl From<Limits> for LimitsWish {
    fn from(limits: Limits) -> Self {
        Self {
            brain_call_ms: Some(limits.brain_call_ms),
            command_ms: Some(limits.command_ms),
            command_max_ms: Some(limits.command_max_ms),
            turn_ms: Some(limits.turn_ms),
            turn_steps: Some(limits.turn_steps),
            run_ms: Some(limits.run_ms),
            idle_ms: Some(limits.idle_ms),
            stop_confirm_ms: Some(limits.stop_confirm_ms),
            checkpoints: Some(limits.checkpoints),
            approval_ms: Some(limits.approval_ms),
            resources: limits.resources.into(),
        }
    }
}

/// What happens to a session that is started when as many work as may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLimit {
    /// It waits its turn.
    #[default]
    Queue,
    /// It is not started.
    Reject,
}

impl OnLimit {
    fn is_queue(&self) -> bool {
        *self == Self::Queue
    }
}

/// A session was started, or found again by the same request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// Seq of its last durable record.
    pub head: u64,
    /// Whether it was there before.
    pub repeated: bool,
    /// A client token for it, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Minted>,
}

/// A message to a session.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Send {
    /// What is said, at most 32 KiB.
    pub text: String,
    /// When it is to be seen.
    #[serde(default)]
    pub mode: SendMode,
    /// Retry safety.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Who wants it, where it is somebody else than whoever runs the program. Whoever sets it vouches for them: over HTTP it is
    /// the bearer of a token, and nothing in a body says so.
    #[serde(skip)]
    pub by: Option<String>,
}

/// A wish to pause.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pause {
    /// End the open step instead of awaiting it.
    pub now: bool,
    /// Who wants it, where it is somebody else than whoever runs the program. Whoever sets it vouches for them: over HTTP it is
    /// the bearer of a token, and nothing in a body says so.
    #[serde(skip)]
    pub by: Option<String>,
}

/// A wish to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resume {
    /// What the session may cost in all from here on: a decimal number of credits, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Who wants it, where it is somebody else than whoever runs the program. Whoever sets it vouches for them: over HTTP it is
    /// the bearer of a token, and nothing in a body says so.
    #[serde(skip)]
    pub by: Option<String>,
}

/// A wish to cancel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cancel {
    /// End even though processes are not confirmed gone.
    pub force: bool,
    /// Who wants it, where it is somebody else than whoever runs the program. Whoever sets it vouches for them: over HTTP it is
    /// the bearer of a token, and nothing in a body says so.
    #[serde(skip)]
    pub by: Option<String>,
}

/// A wish for a session that begins as another one was.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fork {
    /// The last record that it shares with its source; the head of the source when absent.
    pub at: Option<u64>,
    /// Its name: the session with that name is returned if it is the same fork.
    pub key: Option<String>,
    /// Retry safety.
    pub idempotency_key: Option<String>,
    /// Something to say to it before it goes on, at most 32 KiB.
    pub say: Option<String>,
}

/// Where a session was forked from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The session.
    pub id: String,
    /// The last record that is shared.
    pub seq: u64,
}

/// A wish was granted and is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The session.
    pub id: String,
    /// The record that holds the wish; the head when it was so already.
    pub seq: u64,
    /// Whether it was so already.
    pub repeated: bool,
    /// Where the session stands.
    pub state: String,
}

/// A session that can only be read, up to what is wrong with its log; or the credit account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// Its id; `account` for the account.
    pub id: String,
    /// What is wrong.
    pub reason: String,
}

/// Which sessions are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ListQuery {
    /// Continue after this page.
    pub cursor: Option<String>,
    /// At most this many: 50 unless told, at most 100.
    pub limit: Option<usize>,
    /// Archived ones too.
    pub archived: bool,
}

/// A page of sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPage {
    /// The sessions.
    pub sessions: Vec<SessionView>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: String,
    /// Why it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_reason: Option<String>,
    /// How it ends.
    pub mode: Mode,
    /// What it is for.
    pub goal: String,
    /// `playbook:FILE`.
    pub brain: String,
    /// Who it belongs to.
    pub owner: String,
    /// Its name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Seq of its last durable record.
    pub head: u64,
    /// When it was started, RFC 3339.
    pub started_at: String,
    /// When its last record was written, RFC 3339.
    pub updated_at: String,
    /// Turns begun.
    pub turns: u32,
    /// The step under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepView>,
    /// What waits for a human's decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<WaitingView>,
    /// Messages that no turn has taken.
    pub unread: usize,
    /// Whether it can only be read.
    pub archived: bool,
    /// How far its hands are walled in, once they are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// What its commands may reach, as `name:port`; absent: no network.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub network: Vec<String>,
    /// Names of the services that run.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub services: Vec<String>,
    /// What it used.
    pub usage: Usage,
    /// Why it is paused and what to do about it, where that does not go without saying.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub paused_detail: String,
    /// What it costs, if its work is charged.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub credits: Option<SessionCredits>,
    /// Active milliseconds that the whole run may take, if it is bounded in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_limit_ms: Option<u64>,
    /// How it ended, in a line.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub outcome: String,
    /// Folder it works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Where it comes from, if it is a fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkedFrom>,
    /// What stands in the way of reading or writing it, if its log is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<String>,
    /// Opaque JSON text it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

/// What a session costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCredits {
    /// The account it is charged to.
    pub account: String,
    /// What it had cost when its last step started, credits.
    pub spent: String,
    /// What it may cost in all, credits, if it has a budget of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub budget: Option<String>,
}

/// A request for approval that waits for a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingView {
    /// Its id.
    pub id: String,
    /// The record that asks.
    pub seq: u64,
    /// When it counts as denied if nobody decides, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A step under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Its number.
    pub step: u64,
    /// `think` or the tool.
    pub kind: String,
    /// The record that started it.
    pub seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bound in a request once took the place of everything that was configured.
    #[test]
    fn a_wish_for_one_bound_leaves_the_others_as_they_are_configured() {
        let configured = Limits {
            approval_ms: 7,
            turn_steps: 9,
            ..Limits::default()
        };
        let wish: LimitsWish =
            serde_json::from_str(r#"{"turnSteps":3,"resources":{"pids":50}}"#).expect("it fits");
        let mut expected = configured;
        (expected.turn_steps, expected.resources.pids) = (3, 50);
        assert_eq!(wish.over(configured), expected);
        assert_eq!(LimitsWish::default().over(configured), configured);
        assert_eq!(LimitsWish::from(expected).over(Limits::default()), expected);
    }

    /// The fingerprint of a request is made of what is sent, so that must not change with the version that sends it.
    #[test]
    fn a_wish_is_sent_with_what_it_names_and_nothing_else() {
        let sent = |wish: LimitsWish| serde_json::to_string(&wish).expect("plain numbers");
        assert_eq!(sent(LimitsWish::default()), "{}");
        let wish = LimitsWish {
            run_ms: Some(0),
            ..LimitsWish::default()
        };
        assert_eq!(sent(wish), r#"{"runMs":0}"#);
        assert_eq!(
            serde_json::to_string(&WorkspaceWish::default()).expect("plain text"),
            r#"{"kind":"empty","source":"","sandbox":null}"#
        );
    }
}
