//! Artifacts as they are shown: what sessions leave behind.

use longhaul_actors::session::{ARTIFACT_KINDS, Body, Event, Session};
use longhaul_actors::{DecodeError, Entity};
use longhaul_journal::{Record, Seq, StreamId};
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use super::record::rfc3339;
use super::session::session_id;
use super::task::task_id;

/// The shown id of an artifact: `a_`, the 32 digits of its session, and the seq of the record that made it.
pub fn artifact_id(session: StreamId, seq: Seq) -> String {
    format!("a_{session}_{seq}")
}

/// Session and seq of an artifact by its shown id, of whose session a beginning will do.
///
/// # Errors
/// `not_found` when it is no such id: nothing can have it.
pub(crate) fn artifact_place(id: &str) -> Result<(String, Seq), Problem> {
    let parts = id.strip_prefix("a_").and_then(|rest| rest.rsplit_once('_'));
    let seq = parts.and_then(|(_, seq)| seq.parse().ok());
    match (parts, seq) {
        (Some((session, _)), Some(seq)) if seq > 0 => Ok((format!("s_{session}"), Seq(seq))),
        _ => Err(no_artifact(id)),
    }
}

pub(crate) fn no_artifact(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no artifact {id}"))
        .next("list them", "longhaul artifacts ls")
}

/// An artifact as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactView {
    /// Its id.
    pub id: String,
    /// The session that made it.
    pub session: String,
    /// The record that says so.
    pub seq: u64,
    /// The step that made it; absent when no step did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// `report`, `research_note`, `content_draft`, `patch`, `task_suggestion`.
    pub kind: String,
    /// What to call it.
    pub name: String,
    /// sha256 (hex) of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Where its bytes are, on the control socket.
    pub href: String,
    /// The task that it is, if it is a suggestion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl ArtifactView {
    /// The artifact that a record of a session tells of, if it does.
    ///
    /// # Errors
    /// [`DecodeError`] when a newer version wrote the record.
    pub(crate) fn of(session: StreamId, record: &Record) -> Result<Option<Self>, DecodeError> {
        if record.event.type_name != "artifact.created" {
            return Ok(None);
        }
        let Event {
            body: Body::ArtifactCreated(created),
            ..
        } = Session::decode(record)?
        else {
            return Ok(None);
        };
        let id = artifact_id(session, record.seq);
        Ok(Some(Self {
            href: format!("/v1/artifacts/{id}/content"),
            id,
            session: session_id(session),
            seq: record.seq.0,
            step: (created.step > 0).then_some(created.step),
            kind: created.kind,
            name: created.name,
            sha256: created.sha256,
            bytes: created.bytes,
            task: created.task.map(task_id),
            created_at: rfc3339(record.time_ms),
        }))
    }
}

/// Which artifacts are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ArtifactsQuery {
    /// Only those of this session; of all when absent.
    pub session: Option<String>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// From `nextCursor` of the page before.
    pub cursor: Option<String>,
}

impl ArtifactsQuery {
    /// Refuses a kind that no artifact has (B-ART-1).
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.kind.as_deref() {
            Some(kind) if !ARTIFACT_KINDS.contains(&kind) => {
                let detail = format!(
                    "an artifact is one of {}, not {kind:?}",
                    ARTIFACT_KINDS.join(", ")
                );
                Err(Problem::new(Code::InvalidRequest, detail).next("list them all", "longhaul artifacts ls"))
            }
            _ => Ok(()),
        }
    }
}

/// Artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactsPage {
    /// The artifacts: those of a session stand together, in the order in which it made them. A page covers so many sessions,
    /// and may be empty.
    pub artifacts: Vec<ArtifactView>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_session_and_seq() {
        let session = StreamId::from_bytes([7; 16]);
        let place = artifact_place(&artifact_id(session, Seq(12))).expect("it is one");
        assert_eq!(place, (session_id(session), Seq(12)));
        for wrong in ["", "a_", "a_07", "a_07_", "a_07_x", "a_07_0", "s_07_1", "a_07_-1"] {
            assert_eq!(artifact_place(wrong).expect_err(wrong).code, Code::NotFound);
        }
    }

    /// B-ART-1
    #[test]
    fn a_kind_that_no_artifact_has_is_refused() {
        let of = |kind: &str| ArtifactsQuery {
            kind: Some(kind.into()),
            ..ArtifactsQuery::default()
        };
        assert!(of("patch").check().is_ok());
        let wrong = of("poem").check().expect_err("there are no poems");
        assert_eq!((wrong.status, wrong.code), (400, Code::InvalidRequest));
    }
}
