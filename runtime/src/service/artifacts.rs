//! What sessions leave behind: read from their logs, so that there is no list beside them that could be wrong.

use longhaul_journal::{Journal, Limit, REMOVED, ReadError, Record, Seq, StreamId};

use super::Service;
use super::problems::read_problem;
use crate::api::{
    ArtifactView, ArtifactsPage, ArtifactsQuery, Code, Problem, artifact_place, no_artifact, session_id,
    stream_id,
};

/// Sessions whose logs are read for one page.
const PAGE: usize = 200;

impl Service {
    pub(super) async fn artifacts_page(&self, query: ArtifactsQuery) -> Result<ArtifactsPage, Problem> {
        query.check()?;
        let ArtifactsQuery {
            session,
            kind,
            cursor,
        } = query;
        let wanted = move |artifact: &ArtifactView| kind.as_ref().is_none_or(|kind| artifact.kind == *kind);
        if let Some(id) = session {
            let stream = self.resolve(&id).await?;
            let mut artifacts = self.blocking(move |journal| of_log(journal, stream)).await?;
            artifacts.retain(wanted);
            return Ok(ArtifactsPage {
                artifacts,
                next_cursor: None,
            });
        }
        let after = cursor.as_deref().map(stream_id).transpose()?;
        self.blocking(move |journal| {
            let heads = journal.list("session", after, PAGE).map_err(read_problem)?;
            let next_cursor = (heads.len() == PAGE)
                .then(|| heads.last().map(|head| session_id(head.stream)))
                .flatten();
            let mut artifacts = Vec::new();
            for head in heads.iter().filter(|head| head.kind != REMOVED) {
                artifacts.extend(of_log(journal, head.stream)?);
            }
            artifacts.retain(wanted);
            Ok(ArtifactsPage {
                artifacts,
                next_cursor,
            })
        })
        .await
    }

    pub(super) async fn artifact_of(&self, id: &str) -> Result<ArtifactView, Problem> {
        let (session, seq) = artifact_place(id)?;
        let stream = match self.resolve(&session).await {
            // An id that is not there and one of a session that is not there are the same answer.
            Err(problem) if problem.code == Code::NotFound => return Err(no_artifact(id)),
            found => found?,
        };
        let found = self
            .blocking(move |journal| {
                let frames = journal
                    .read(stream, Seq(seq.0 - 1), Limit::default())
                    .map_err(read_problem)?;
                let mut records = frames.iter().flat_map(|frame| &frame.records);
                let record = records.find(|record| record.seq == seq);
                record.map_or(Ok(None), |record| view(stream, record))
            })
            .await?;
        found.ok_or_else(|| no_artifact(id))
    }
}

/// The artifacts of one session, as far as its log can be read. Blocks on the disk.
fn of_log(journal: &dyn Journal, stream: StreamId) -> Result<Vec<ArtifactView>, Problem> {
    let (mut artifacts, mut after) = (Vec::new(), Seq::ZERO);
    loop {
        let frames = match journal.read(stream, after, Limit::default()) {
            Ok(frames) => frames,
            // What lies before the damage was made all the same; `journal verify` names what is lost.
            Err(ReadError::Damaged { .. }) => return Ok(artifacts),
            Err(error) => return Err(read_problem(error)),
        };
        let Some(last) = frames.last() else {
            return Ok(artifacts);
        };
        for record in frames.iter().flat_map(|frame| &frame.records) {
            if record.seq > after {
                artifacts.extend(view(stream, record)?);
            }
        }
        after = last.last_seq();
    }
}

fn view(stream: StreamId, record: &Record) -> Result<Option<ArtifactView>, Problem> {
    ArtifactView::of(stream, record).map_err(|error| Problem::new(Code::JournalDamaged, error.to_string()))
}
