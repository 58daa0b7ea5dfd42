//! Facts of a session as they are stored. Adding a field here is a promise: give it a serde default.
//!
//! The payload of a record is `{"actor": .., "turn": .., "data": ..}`, so that a reader splices it into the wire form
//! without decoding `data`.

mod files;
mod gate;
mod life;
mod network;
mod services;
mod talk;
mod work;

use longhaul_journal::{NewRecord, Record, Seq};
use serde::{Deserialize, Serialize};

pub use files::*;
pub use gate::*;
pub use life::*;
pub use network::*;
pub use services::*;
pub use talk::*;
pub use work::*;

use crate::entity::DecodeError;
use crate::facts::facts;

/// A fact of a session with who brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who acted.
    pub actor: Actor,
    /// The turn it belongs to.
    pub turn: Option<u32>,
    /// The record that brought it about.
    pub cause: Option<Seq>,
    /// What happened.
    pub body: Body,
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// What sort of actor.
    pub kind: ActorKind,
    /// Which one; `local` for the human at this machine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

/// What sort of actor acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    /// A person, or a program on a person's behalf.
    Human,
    /// The brain of the session.
    Agent,
    /// longhaul itself.
    Runtime,
}

impl Actor {
    /// longhaul itself.
    pub const RUNTIME: Actor = Actor {
        kind: ActorKind::Runtime,
        id: String::new(),
    };
    /// The brain of the session.
    pub const AGENT: Actor = Actor {
        kind: ActorKind::Agent,
        id: String::new(),
    };

    /// A person by name.
    pub fn human(id: impl Into<String>) -> Self {
        Self {
            kind: ActorKind::Human,
            id: id.into(),
        }
    }
}

// "Add an event" starts with a line here: type on the wire, version, level, shape.
facts! {
    "session.started"          1 User     SessionStarted,
    "session.pause_requested"  1 Progress PauseRequested,
    "session.paused"           1 User     Paused,
    "session.resumed"          1 User     Resumed,
    "session.hibernated"       1 Progress Hibernated,
    "session.woken"            1 Progress Woken,
    "session.stop_requested"   1 Progress StopRequested,
    "session.stop_unconfirmed" 1 User     StopUnconfirmed,
    "session.completed"        1 User     Completed,
    "session.failed"           1 User     Failed,
    "session.canceled"         1 User     Canceled,
    "session.archived"         1 User     Archived,
    "session.adopted"          1 User     Adopted,
    "session.forked"           1 Progress Forked,
    "journal.gap"              1 User     JournalGap,
    "user.message"             1 User     UserMessage,
    "agent.message"            1 User     AgentMessage,
    "agent.question"           1 User     AgentQuestion,
    "turn.started"             1 Progress TurnStarted,
    "turn.steered"             1 Progress TurnSteered,
    "turn.stuck"               1 Progress TurnStuck,
    "turn.completed"           1 User     TurnCompleted,
    "model.started"            1 Internal ModelStarted,
    "model.completed"          1 Internal ModelCompleted,
    "tool.started"             1 Internal ToolStarted,
    "command.run"              1 Progress CommandRun,
    "file.write"               1 Progress FileWritten,
    "file.read"                1 Internal FileWasRead,
    "tool.completed"           1 Internal ToolCompleted,
    "tool.failed"              1 Internal ToolFailed,
    "tool.outcome_unknown"     1 User     ToolOutcomeUnknown,
    "artifact.created"         1 User     ArtifactCreated,
    "service.started"          1 Progress ServiceStarted,
    "service.stop_requested"   1 Internal ServiceStopRequested,
    "service.ended"            1 Progress ServiceEnded,
    "egress.denied"            1 Internal EgressDenied,
    "policy.denied"            1 User     PolicyDenied,
    "approval.requested"       1 User     ApprovalRequested,
    "approval.decided"         1 User     ApprovalDecided,
    "approval.expired"         1 User     ApprovalExpired,
    "approval.canceled"        1 User     ApprovalCanceled,
    "sandbox.starting"         1 Internal SandboxStarting,
    "sandbox.ready"            1 Internal SandboxReady,
    "sandbox.setup_failed"     1 User     SandboxSetupFailed,
    "sandbox.released"         1 Internal SandboxReleased,
    "checkpoint.requested"     1 Internal CheckpointRequested,
    "checkpoint.created"       1 Progress CheckpointCreated,
    "checkpoint.skipped"       1 Internal CheckpointSkipped,
    "runtime.crashed"          1 Progress RuntimeCrashed,
    "runtime.restarted"        1 Progress RuntimeRestarted,
    "runtime.stopped"          1 Internal RuntimeStopped,
}

impl Event {
    /// Its stored form.
    pub fn encode(&self) -> NewRecord {
        self.body.encode(&self.actor, self.turn, self.cause)
    }

    /// A fact from its stored form.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it or it is damaged.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let stored = Body::decode(record)?;
        Ok(Self {
            actor: stored.actor,
            turn: stored.turn,
            cause: record.event.cause,
            body: stored.data,
        })
    }
}
