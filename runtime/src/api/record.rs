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
    /// The body that lies outside the record, if it names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<Content>,
    /// The record of the same session that brought it about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<u64>,
}

/// The stored payload, as it is.
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

/// A body that lies outside the record that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// sha256 (hex) of its bytes.
    pub sha256: String,
    /// How many there were; the body holds fewer where `data` says `truncated`.
    pub bytes: u64,
    /// Where its bytes are, below the address of the server.
    pub href: String,
}

impl Content {
    /// What the facts name: themselves (an artifact), or the output, the errors or the content in them. Only a hash with a
    /// size beside it names a body here; a hash alone may be that of a file of the workspace, which is kept nowhere.
    fn named_in(data: &serde_json::Value) -> Option<Self> {
        let parts = ["stdout", "stderr", "content"];
        let places = std::iter::once(Some(data)).chain(parts.iter().map(|part| data.get(part)));
        places.flatten().find_map(|place| {
            let sha256 = place.get("sha256")?.as_str()?;
            Some(Self {
                sha256: sha256.to_owned(),
                bytes: place.get("bytes")?.as_u64()?,
                href: format!("/v1/blobs/{sha256}"),
            })
        })
    }
}

/// The last millisecond that RFC 3339 can write: of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// RFC 3339 with milliseconds, UTC, for a time in milliseconds since 1970. What comes after the year 9999 is its end.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    let time_ms = i64::try_from(time_ms).map_or(LAST_MS, |time_ms| time_ms.min(LAST_MS));
    let time = DateTime::<Utc>::from_timestamp_millis(time_ms).unwrap_or_default();
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
            content: None,
            cause: record.event.cause.map(|seq| seq.0),
        }
    }

    /// The shown form of a stored record.
    ///
    /// # Errors
    /// When its payload is not the JSON object that every record of a session holds.
    pub fn of(stream: StreamId, record: &Record) -> Result<Self, serde_json::Error> {
        let stored: Stored = serde_json::from_slice(&record.event.payload)?;
        let content = Content::named_in(&stored.data);
        let session = session_id(stream);
        Ok(Self {
            id: format!("{session}.{}", record.seq),
            seq: record.seq.0,
            ts: rfc3339(record.time_ms),
            session,
            type_name: record.event.type_name.clone().into_owned(),
            level: record.event.level,
            stored,
            content,
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

#[cfg(test)]
mod tests {
    use longhaul_journal::{NewRecord, Seq};
    use serde_json::{Value, json};

    use super::*;

    const SHA256: &str = "984563a8bbb458703da2586448caa4f1a69796a8202fba5de14c9dfac63045a2";

    #[test]
    fn a_time_beyond_what_can_be_written_is_the_last_that_can_and_never_the_first() {
        for far in [253_402_300_800_000, u64::MAX] {
            assert_eq!(rfc3339(far), "9999-12-31T23:59:59.999Z");
        }
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    fn record(level: Level, cause: Option<Seq>, payload: &Value) -> Record {
        Record {
            seq: Seq(41),
            time_ms: 1_764_000_000_123,
            event: NewRecord {
                type_name: "user.message".into(),
                type_version: 1,
                cause,
                level,
                payload: payload.to_string().into_bytes(),
            },
        }
    }

    fn shown(record: &Record) -> Value {
        let view = RecordView::of(StreamId::from_bytes([1; 16]), record).expect("a record of a session");
        serde_json::to_value(view).expect("it serializes")
    }

    fn keys(shown: &Value) -> Vec<&str> {
        shown
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect()
    }

    /// B-LOG-2: these keys and no others.
    #[test]
    fn a_record_has_exactly_the_keys_that_are_documented() {
        let actor = json!({"kind": "human", "id": "local"});
        let least = json!({"actor": actor, "data": {"text": "hi"}});
        let least = shown(&record(Level::User, None, &least));
        assert_eq!(
            keys(&least),
            ["actor", "data", "id", "level", "seq", "session", "ts", "type"]
        );
        let session = format!("s_{}", "01".repeat(16));
        assert_eq!(
            least,
            json!({
                "id": format!("{session}.41"), "seq": 41, "ts": "2025-11-24T16:00:00.123Z", "session": session,
                "type": "user.message", "level": "user", "actor": actor, "data": {"text": "hi"}
            })
        );
        let most = json!({"actor": actor, "turn": 3, "data": {"sha256": SHA256, "bytes": 4}});
        let most = shown(&record(Level::User, Some(Seq(40)), &most));
        assert_eq!(
            keys(&most),
            [
                "actor", "cause", "content", "data", "id", "level", "seq", "session", "ts", "turn", "type"
            ]
        );
        assert_eq!((&most["turn"], &most["cause"]), (&json!(3), &json!(40)));
        assert_eq!(keys(&most["actor"]), ["id", "kind"]);
    }

    /// B-LOG-2
    #[test]
    fn what_names_a_body_says_where_its_bytes_are() {
        let body = json!({"sha256": SHA256, "bytes": 5});
        let other = json!({"sha256": "00", "bytes": 6});
        for data in [
            json!({"kind": "report", "sha256": SHA256, "bytes": 5}),
            json!({"stdout": body, "stderr": other}),
            json!({"stdout": {"head": "all of it", "bytes": 9}, "stderr": body}),
            json!({"path": "a.txt", "fileSha256": "00", "content": body}),
        ] {
            let shown = shown(&record(Level::User, None, &json!({"actor": null, "data": data})));
            assert_eq!(
                shown["content"],
                json!({"sha256": SHA256, "bytes": 5, "href": format!("/v1/blobs/{SHA256}")})
            );
            assert_eq!(shown["data"], data, "what is stored stays as it is");
        }
    }

    /// B-LOG-2: such a hash is that of something else.
    #[test]
    fn a_hash_without_a_size_names_no_body() {
        for data in [
            json!({"brain": {"sha256": SHA256}}),
            json!({"scripts": [{"path": "run.sh", "sha256": SHA256}]}),
            json!({"sha256": SHA256}),
            json!("text"),
        ] {
            let shown = shown(&record(Level::User, None, &json!({"actor": null, "data": data})));
            assert!(shown.get("content").is_none(), "{shown}");
        }
    }

    /// B-LOG-3: there are three levels, and each shows those before it too.
    #[test]
    fn a_level_is_one_of_three_words_and_each_shows_the_more_important_ones() {
        let levels = [Level::User, Level::Progress, Level::Internal];
        let told = levels
            .map(|level| shown(&record(level, None, &json!({"actor": null, "data": {}})))["level"].clone());
        assert_eq!(told, ["user", "progress", "internal"]);
        for (rank, asked) in levels.into_iter().enumerate() {
            let visible: Vec<Level> = levels.into_iter().filter(|level| *level <= asked).collect();
            assert_eq!(visible, levels[..=rank]);
        }
        assert!(serde_json::from_value::<Level>(json!("debug")).is_err());
    }
}
