//! Sessions as they are shown, and the requests that act on them.

use longhaul_actors::session::{Limits, Mode, ResourcesWish, SendMode, Usage, WorkspaceSpec};
use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};

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
    pub workspace: WorkspaceSpec,
    /// Its bounds; the configured ones when absent.
    pub limits: Option<Limits>,
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
}

/// A wish to pause.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pause {
    /// End the open step instead of awaiting it.
    pub now: bool,
}

/// A wish to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resume {
    /// What the session may cost in all from here on: a decimal number of credits, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
}

/// A wish to cancel.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cancel {
    /// End even though processes are not confirmed gone.
    pub force: bool,
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
