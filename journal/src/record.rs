//! Records, the frames that carry them, and what a stream waits for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{ChainHash, Epoch, Position, Seq, StreamId};

/// Who a record is meant for; a filter shows its level and everything more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Level {
    /// A person wants to read it.
    User = 0,
    /// It shows that work goes on.
    Progress = 1,
    /// Needed to rebuild the state, rarely to understand the run.
    Internal = 2,
}

impl Level {
    /// The level stored as `code`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::User),
            1 => Some(Self::Progress),
            2 => Some(Self::Internal),
            _ => None,
        }
    }

    /// The byte that is stored.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// What a stream waits for, computed by its entity from its fold and sealed in every frame.
///
/// The scheduler, the sweeper and boot read standings from an index, and never fold a stream to learn whether it
/// must be woken.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing will ever happen here by itself.
    Done,
    /// Work is owed now: some owner must be at it, and boot must find one.
    Owed,
    /// Nothing to do before this wall-clock time in milliseconds since 1970.
    Until(u64),
    /// Somebody else must act first; the name says who or what (`input`, `approval`, `resume`).
    Waits(Cow<'static, str>),
}

impl Standing {
    /// Whether an owner is needed at `now_ms`.
    pub fn is_due(&self, now_ms: u64) -> bool {
        match self {
            Self::Owed => true,
            Self::Until(time_ms) => *time_ms <= now_ms,
            Self::Done | Self::Waits(_) => false,
        }
    }
}

/// One event as its entity hands it to the journal, before it has a seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Dotted name, at most 64 bytes: `turn.started`.
    pub type_name: Cow<'static, str>,
    /// Version of the payload's shape, from 1.
    pub type_version: u16,
    /// The record of the same stream that brought this one about.
    pub cause: Option<Seq>,
    /// Who it is meant for.
    pub level: Level,
    /// One JSON object as bytes. The journal never looks inside.
    pub payload: Vec<u8>,
}

/// One event with its stream, seq and time: a fact as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the stream.
    pub seq: Seq,
    /// When it was decided, wall clock, milliseconds since 1970; never falls within a stream.
    pub time_ms: u64,
    /// The event itself.
    pub event: NewRecord,
}

/// All records of one decision, written together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// What kind of entity the stream is (`session`); at most 32 bytes.
    pub kind: Cow<'static, str>,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// What the stream waits for after this frame.
    pub standing: Standing,
    /// Hash of the stream's frame before this one.
    pub previous: ChainHash,
    /// For a frame that continues over a gap: the last seq that stands before it. Whatever lies between was lost, or
    /// can no longer be folded, and is set aside.
    pub resumes_after: Option<Seq>,
    /// Hash of this frame's sealed part.
    pub hash: ChainHash,
    /// Where it lies. Physical: another journal holding the same frame gives it another position.
    pub position: Position,
    /// At least one record, seqs dense and rising, all with the same time.
    pub records: Vec<Record>,
}

impl Frame {
    /// Whether this frame says that its stream was removed; what came before it is read no more.
    pub fn is_removal(&self) -> bool {
        self.resumes_after == Some(Seq::ZERO)
    }

    /// Seq of its first record.
    pub fn first_seq(&self) -> Seq {
        self.records.first().map_or(Seq::ZERO, |record| record.seq)
    }

    /// Seq of its last record.
    pub fn last_seq(&self) -> Seq {
        self.records.last().map_or(Seq::ZERO, |record| record.seq)
    }

    /// When it was decided, milliseconds since 1970.
    pub fn time_ms(&self) -> u64 {
        self.records.first().map_or(0, |record| record.time_ms)
    }

    /// Bytes of all payloads together.
    pub fn payload_bytes(&self) -> usize {
        self.records.iter().map(|record| record.event.payload.len()).sum()
    }
}

/// Where a stream stands: its last durable frame in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The stream.
    pub stream: StreamId,
    /// Its kind.
    pub kind: Cow<'static, str>,
    /// Seq of its last durable record.
    pub seq: Seq,
    /// Hash of its last durable frame.
    pub hash: ChainHash,
    /// Highest epoch that has written to it.
    pub epoch: Epoch,
    /// Time of its last durable frame, milliseconds since 1970.
    pub time_ms: u64,
    /// What it waits for.
    pub standing: Standing,
}
