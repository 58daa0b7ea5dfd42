//! What is stored of a task: the record types, and the shape of each.
//!
//! The payload of a record is `{"actor": .., "data": ..}`, as in every stream of longhaul.

use longhaul_journal::{NewRecord, Record, Seq, StreamId};
use serde::{Deserialize, Serialize};

use crate::entity::DecodeError;
use crate::facts::facts;
pub use crate::gap::JournalGap;
use crate::session::Actor;
use crate::shown;

/// A fact of a task with who brought it about.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who acted.
    pub actor: Actor,
    /// What happened.
    pub body: Body,
}

facts! {
    "task.suggested"        1 User     Suggested,
    "task.created"          1 User     Created,
    "task.opened"           1 User     Opened,
    "task.archived"         1 User     Archived,
    "task.claimed"          1 Progress Claimed,
    "task.released"         1 Progress Released,
    "task.started"          1 User     Started,
    "task.waiting_approval" 1 User     WaitingApproval,
    "task.continued"        1 Progress Continued,
    "task.reopened"         1 User     Reopened,
    "task.completed"        1 User     Completed,
    "task.canceled"         1 User     Canceled,
    "task.adopted"          1 Progress Adopted,
    "journal.gap"           1 User     JournalGap,
}

impl Event {
    /// A fact brought about by this actor.
    pub fn of(actor: Actor, body: impl Into<Body>) -> Self {
        let body = body.into();
        Self { actor, body }
    }

    /// Its stored form.
    pub fn encode(&self) -> NewRecord {
        self.body.encode(&self.actor, None, None)
    }

    /// A fact from its stored form.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote it or it is damaged.
    pub fn decode(record: &Record) -> Result<Self, DecodeError> {
        let stored = Body::decode(record)?;
        Ok(Self {
            actor: stored.actor,
            body: stored.data,
        })
    }
}

/// How much of something: of urgency, of what may go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Little.
    Low,
    /// Neither little nor much.
    #[default]
    Medium,
    /// Much.
    High,
}

impl Grade {
    /// Every grade by its word on the wire, lowest first.
    pub const WORDS: [&'static str; 3] = ["low", "medium", "high"];

    /// Its word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Low => Self::WORDS[0],
            Self::Medium => Self::WORDS[1],
            Self::High => Self::WORDS[2],
        }
    }
}

/// What is to be done, as its first record says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// A line.
    pub title: String,
    /// The beginning of what else is said about it; the whole is in the artifact, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The goal of a run that works on it; made from title and body when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// How urgent.
    pub priority: Grade,
    /// How much may go wrong in doing it.
    pub risk: Grade,
}

/// The artifact that a suggestion is, and where it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The session.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// The step that made it.
    pub step: u64,
    /// The record with which that step began.
    pub seq: Seq,
    /// What the artifact is called.
    pub name: String,
    /// sha256 (hex) of its bytes, which is its name in the blob store.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// `task.suggested`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggested {
    /// To whom it belongs.
    pub owner: String,
    /// What is suggested.
    pub wanted: Wanted,
    /// Where it comes from.
    pub source: Source,
}

/// `task.created`: a human wrote it down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// To whom it belongs.
    pub owner: String,
    /// What is to be done.
    pub wanted: Wanted,
    /// Tells the same request from another.
    pub fingerprint: String,
}

/// `task.opened`: the suggestion is taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// How urgent, in the eyes of who took it up.
    pub priority: Grade,
    /// How much may go wrong.
    pub risk: Grade,
}

/// `task.archived`: the suggestion is not taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archived {
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `task.claimed`: somebody says that it is theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// Who.
    pub by: String,
}

/// `task.released`: nobody's again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Released {}

/// `task.started`: a run works on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The run.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// How many runs worked on it, this one included.
    pub run: u32,
}

/// `task.waiting_approval`: its run waits for a human's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingApproval {
    /// The run.
    #[serde(with = "shown::session")]
    pub session: StreamId,
}

/// `task.continued`: its run waits no more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Continued {
    /// The run.
    #[serde(with = "shown::session")]
    pub session: StreamId,
}

/// `task.reopened`: its run ended without having reached its goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reopened {
    /// The run.
    #[serde(with = "shown::session")]
    pub session: StreamId,
    /// How it ended.
    pub why: String,
}

/// `task.completed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completed {
    /// The run that did it; absent when somebody says that it is done.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "shown::maybe_session"
    )]
    pub session: Option<StreamId>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
}

/// `task.canceled`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Canceled {
    /// Why, if that was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// `task.adopted`: it was restored from a backup, and belongs to this directory from here on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adopted {}
