//! One error shape everywhere: RFC 9457 problem details with a stable `code` and what to do next.

use serde::{Deserialize, Serialize};

/// Stable names of everything that can be refused or go wrong, with HTTP status and exit code.
macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $exit:literal $title:literal),+ $(,)?) => {
        /// What went wrong: the stable contract of an error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $name)] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// The exit code of the command line.
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => $exit,)+ }
            }

            /// The same few words each time it comes.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)+ }
            }
        }
    };
}

codes! {
    MissingGoal         "missing_goal"         400 2 "No goal was given",
    InvalidDuration     "invalid_duration"     400 2 "The duration is not valid",
    InvalidRequest      "invalid_request"      400 2 "The request is not valid",
    NoBrain             "no_brain"             400 2 "No brain was named",
    NotFound            "not_found"            404 1 "There is no such thing",
    Unauthorized        "unauthorized"         401 3 "The token does not count",
    TokenExpired        "token_expired"        401 3 "The token has run out",
    AgentSessionInvalid "agent_session_invalid" 401 3 "The session of the token is gone",
    ForbiddenScope      "forbidden_scope"      403 3 "The token does not allow it",
    IdempotencyConflict "idempotency_conflict" 409 4 "The key was used for another request",
    SelfApproval        "self_approval"        403 3 "An agent cannot decide on its own acts",
    SessionTerminal     "session_terminal"     409 4 "The session has ended",
    SessionLive         "session_live"         409 4 "The session is still going",
    SessionArchived     "session_archived"     409 4 "The session is archived",
    SessionInert        "session_inert"        409 4 "The session was not adopted here",
    NotForkable         "not_forkable"         409 4 "The session cannot be forked there",
    SessionRemoved      "session_removed"      410 4 "The session was removed",
    HistoryConflict     "history_conflict"     409 4 "The session has another history here",
    ApprovalDecided     "approval_decided"     409 4 "There is nothing to decide any more",
    SuggestionNotOpen   "suggestion_not_open"  409 4 "The suggestion is not open any more",
    TaskConflict        "task_conflict"        409 4 "The task stands elsewhere",
    StreamQuarantined   "stream_quarantined"   409 8 "The session lost part of its log",
    DataDirInUse        "data_dir_in_use"      409 4 "Another process has the data directory",
    NewerFormat         "newer_format"         409 1 "A newer version wrote the data directory",
    AiCreditsRequired   "ai_credits_required"  402 6 "There is no credit left",
    ConcurrencyLimit    "concurrency_limit"    429 5 "As many sessions work as may",
    PayloadTooLarge     "payload_too_large"    413 2 "The request is too large",
    JournalDamaged      "journal_damaged"      500 8 "The journal is damaged",
    Internal            "internal"             500 1 "longhaul itself failed",
    OutcomeUnknown      "outcome_unknown"      503 5 "It may or may not have happened",
    SandboxRefused      "sandbox_refused"      403 3 "Commands without walls are not consented to",
    SandboxUnavailable  "sandbox_unavailable"  503 1 "This machine cannot wall commands in",
    StorageUnavailable  "storage_unavailable"  503 5 "Nothing can be written at the moment",
    ShimNotFound        "shim_not_found"       503 1 "The program that runs commands was not found",
    NotServing          "not_serving"          503 5 "Nobody serves this data directory",
}

/// Something to do next, ready to be typed or requested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextAction {
    /// What it is for.
    pub label: String,
    /// A command line.
    pub command: String,
}

/// An error as everyone sees it: `application/problem+json`, `--json` errors, and the library's error type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("{detail}")]
pub struct Problem {
    /// Names the page about the code in docs/errors.md: `urn:longhaul:error:CODE`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The same few words each time.
    pub title: String,
    /// This case, and what to do.
    pub detail: String,
    /// Always false.
    pub ok: bool,
    /// HTTP status.
    pub status: u16,
    /// The stable contract.
    pub code: Code,
    /// What to do next.
    pub next_actions: Vec<NextAction>,
    /// What not every problem says.
    #[serde(flatten)]
    pub fields: Box<Fields>,
}

/// What not every problem says; beside the other members on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fields {
    /// The path that was asked, where it was asked over HTTP. Left out where there is nothing of that name, so that what
    /// belongs to somebody else cannot be told from what is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where credit is bought (`ai_credits_required`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_up_url: Option<String>,
    /// How many sessions work (`concurrency_limit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<usize>,
    /// How many may (`concurrency_limit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl Problem {
    /// This code, for this case.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            type_uri: format!("urn:longhaul:error:{}", code.name()),
            title: code.title().to_owned(),
            detail: detail.into(),
            ok: false,
            status: code.status(),
            code,
            next_actions: Vec::new(),
            fields: Box::default(),
        }
    }

    /// A newer version wrote the data directory: the same ways on, whoever finds it out.
    pub(crate) fn newer_format(detail: impl Into<String>) -> Self {
        Self::new(Code::NewerFormat, detail)
            .next(
                "see which version this is; a newer one reads it",
                "longhaul --version",
            )
            .next("use another directory", "longhaul --data DIR ls")
    }

    /// The data directory has a `format` file that no version of longhaul has written.
    pub(crate) fn unrecognised(detail: impl Into<String>) -> Self {
        Self::new(Code::StorageUnavailable, detail).next("use another directory", "longhaul --data DIR ls")
    }

    /// A setting of the environment that cannot be understood; `detail` names it.
    pub(crate) fn of_setting(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, detail).next("see what each setting means", "longhaul --help")
    }

    /// The same with this id wherever a way on asks for one.
    #[must_use]
    pub(crate) fn about(mut self, id: &str) -> Self {
        for action in &mut self.next_actions {
            let words = action.command.split(' ');
            let words: Vec<&str> = words.map(|word| if word == "ID" { id } else { word }).collect();
            action.command = words.join(" ");
        }
        self
    }

    /// Adds a way on.
    #[must_use]
    pub fn next(mut self, label: impl Into<String>, command: impl Into<String>) -> Self {
        self.next_actions.push(NextAction {
            label: label.into(),
            command: command.into(),
        });
        self
    }
}
