//! The shown vocabulary: what the control socket, the command line and an embedder see. camelCase JSON throughout.
//!
//! Stored events (`longhaul_actors::session::Event`) and the fold (`State`) are converted to it by hand, here, so that
//! a new stored field does not become a promise to clients by accident.

mod duration;
mod problem;
mod record;
mod session;

pub use duration::{RunDuration, UNTIL_DONE_MS};
pub use problem::{Code, NextAction, Problem};
pub(crate) use record::rfc3339;
pub use record::{EventsPage, EventsQuery, RecordView, Stored};
pub use session::{
    Accepted, Cancel, Fork, ForkedFrom, ListPage, ListQuery, Pause, Quarantined, Send, SessionView, Start,
    Started, StepView, session_id, stream_id,
};
