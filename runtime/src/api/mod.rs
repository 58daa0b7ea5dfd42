//! The shown vocabulary: what the control socket, the command line and an embedder see. camelCase JSON throughout.
//!
//! Stored events (`longhaul_actors::session::Event`) and the fold (`State`) are converted to it by hand, here, so that
//! a new stored field does not become a promise to clients by accident.

mod approval;
mod artifact;
mod credits;
mod duration;
mod problem;
mod record;
mod room;
mod session;
mod task;
mod token;

pub use approval::{ApprovalStatus, ApprovalView, ApprovalsPage, ApprovalsQuery, Decide, EVIDENCE_LIMIT};
pub(crate) use approval::{Requests, no_approval};
pub use artifact::{ArtifactView, ArtifactsPage, ArtifactsQuery, artifact_id};
pub(crate) use artifact::{artifact_place, no_artifact};
pub use credits::{
    AccountView, Amount, Concurrency, LedgerEntry, LedgerPage, LedgerQuery, PricesView, TokenPriceView,
    TopUp, ToppedUp,
};
pub use duration::{RunDuration, UNTIL_DONE_MS};
pub use problem::{Code, Fields, NextAction, Problem};
pub(crate) use record::rfc3339;
pub use record::{Content, EventsPage, EventsQuery, RecordView, Stored};
pub use room::{Collect, Collected, Imported, Remove, Removed};
pub(crate) use session::no_session;
pub use session::{
    Accepted, Cancel, Fork, ForkedFrom, LimitsWish, ListPage, ListQuery, OnLimit, Pause, Quarantined, Resume,
    Send, SessionCredits, SessionView, Start, Started, StepView, WaitingView, WorkspaceWish, session_id,
    stream_id,
};
pub(crate) use task::no_task;
pub use task::{
    ClaimTask, CompleteTask, CreateTask, OpenTask, TaskChange, TaskChanged, TaskSource, TaskView, TasksPage,
    TasksQuery, WhyTask, task_id,
};
pub(crate) use token::no_token;
pub use token::{Bearer, Mint, Minted, Revoked, Scope, TokenText, TokenView, TokensPage};
