//! Records as they are shown.

use chrono::{DateTime, SecondsFormat, Utc};
use longhaul_journal::{Level, Record, StreamId};
use serde::{Deserialize, Serialize};

use super::session::session_id;

/// One record on the wire (B-LOG-2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordView {
    /// Unique over all sessions: the session and the seq.
    pub id: String,
    /// Its number in the session, from 1, without gap.
    pub seq: u64,
    /// When it was decided, RFC 3339 with milliseconds, UTC.
    pub ts: String,
    /// The session.
    pub session: String,
    /// What happened.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Who it is meant for.
    pub level: Level,
    /// Who acted, which turn it belongs to, and the facts themselves, as they are stored.
    #[serde(flatten)]
    pub stored: Stored,
    /// The record of the same session that brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
}

/// The stored payload, spliced in without being decoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// `{kind, id}` of who acted.
    pub actor: serde_json::Value,
    /// The turn it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<u32>,
    /// The facts.
    pub data: serde_json::Value,
}

/// RFC 3339 with milliseconds, UTC, for a time in milliseconds since 1970.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    let time = i64::try_from(time_ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis)
        .unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl RecordView {
    /// The shown form of a record of any kind of stream, its payload taken whole as the facts.
    pub fn bare(stream: StreamId, record: &Record) -> Self {
        let payload = &record.event.payload;
        let text = || serde_json::Value::String(String::from_utf8_lossy(payload).into_owned());
        let data = serde_json::from_slice(payload).unwrap_or_else(|_| text());
        Self {
            id: format!("{stream}.{}", record.seq),
            seq: record.seq.0,
            ts: rfc3339(record.time_ms),
            session: stream.to_string(),
            type_name: record.event.type_name.clone().into_owned(),
            level: record.event.level,
            stored: Stored {
                actor: serde_json::Value::Null,
                turn: None,
                data,
            },
            cause: record.event.cause.map(|seq| seq.0),
        }
    }

    /// The shown form of a stored record.
    ///
    /// # Errors
    /// When its payload is not the JSON object that every record of a session holds.
    pub fn of(stream: StreamId, record: &Record) -> Result<Self, serde_json::Error> {
        let stored = serde_json::from_slice(&record.event.payload)?;
        let session = session_id(stream);
        Ok(Self {
            id: format!("{session}.{}", record.seq),
            seq: record.seq.0,
            ts: rfc3339(record.time_ms),
            session,
            type_name: record.event.type_name.clone().into_owned(),
            level: record.event.level,
            stored,
            cause: record.event.cause.map(|seq| seq.0),
        })
    }
}

/// Which records of a session are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct EventsQuery {
    /// Only records with a larger seq.
    pub after: u64,
    /// At most this many, at most 500.
    pub limit: usize,
    /// This level and everything more important.
    pub level: Level,
    /// Wait up to this many milliseconds for a record when there is none; at most 30,000.
    pub wait_ms: u64,
}

impl Default for EventsQuery {
    fn default() -> Self {
        Self {
            after: 0,
            limit: 500,
            level: Level::Internal,
            wait_ms: 0,
        }
    }
}

/// A page of records.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventsPage {
    /// The records, in order.
    pub events: Vec<RecordView>,
    /// Ask for what comes after this next: the last seq that was looked at, hidden ones included.
    pub next_after: u64,
    /// Seq of the last durable record.
    pub head: u64,
    /// Where the session stands.
    pub state: String,
    /// Whether nothing will follow any more.
    pub ended: bool,
}
