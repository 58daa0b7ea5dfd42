//! Requests for approval: what waits, what became of one, and the word of a human on it.

use longhaul_actors::session::{Command, State, approval_session};
use longhaul_journal::{Journal, Limit, Seq, Standing, StreamId};

use super::problems::{read_problem, recover_problem, send_problem};
use super::{Service, human, mend};
pub(crate) use crate::api::no_approval as no_such;
use crate::api::{
    Accepted, ApprovalStatus, ApprovalView, ApprovalsPage, ApprovalsQuery, Code, Decide, Problem, Requests,
};
use crate::folds::Folds;

/// Sessions that are looked at in one go.
const PAGE: usize = 500;

impl Service {
    pub(super) async fn requests(&self, query: ApprovalsQuery) -> Result<ApprovalsPage, Problem> {
        let approvals = match query.session {
            Some(id) => {
                let stream = self.resolve(&id).await?;
                self.blocking(move |journal| log_of(journal, stream, Seq::ZERO))
                    .await?
            }
            None => {
                let folds = std::sync::Arc::clone(&self.folds);
                self.blocking(move |journal| pending(journal, &folds)).await?
            }
        };
        Ok(ApprovalsPage { approvals })
    }

    pub(super) async fn request(&self, id: &str) -> Result<ApprovalView, Problem> {
        let unknown = || no_such(id);
        let Some(stream) = approval_session(id) else {
            let waiting = self.requests(ApprovalsQuery::default()).await?.approvals;
            return meant(waiting, id);
        };
        let exists = self
            .blocking(move |journal| Ok(journal.head(stream).map_err(read_problem)?.is_some()))
            .await?;
        if !exists {
            return Err(unknown());
        }
        let log = self
            .blocking(move |journal| log_of(journal, stream, Seq::ZERO))
            .await?;
        log.into_iter()
            .rev()
            .find(|asked| asked.id == id)
            .ok_or_else(unknown)
    }

    pub(super) async fn decided(&self, id: &str, request: Decide) -> Result<Accepted, Problem> {
        let asked = match approval_session(id) {
            Some(_) => self.request(id).await?,
            None => return Err(no_such(id)),
        };
        let stream = approval_session(id).ok_or_else(|| no_such(id))?;
        if self.journal.is_inert(stream) {
            return Err(mend::inert(stream));
        }
        if asked.status != ApprovalStatus::Pending {
            return Err(settled(&asked));
        }
        let command = Command::Decide {
            by: human(request.by),
            id: id.to_owned(),
            decision: request.decision,
            evidence: request.evidence,
        };
        match self.sessions.send(stream, command).await.map_err(send_problem) {
            Ok(reply) => self.answered(stream, reply).await,
            // Somebody else was faster, or it ran out: what became of it is on record by now.
            Err(problem) if problem.code == Code::ApprovalDecided => Err(settled(&self.request(id).await?)),
            Err(problem) if problem.code == Code::InvalidRequest => {
                let example = format!("longhaul approvals approve {id} --evidence \"read the diff\"");
                Err(problem.next("for example", example))
            }
            Err(problem) => Err(problem),
        }
    }
}

/// What waits for a decision, oldest first. Blocks on the disk.
fn pending(journal: &dyn Journal, folds: &Folds) -> Result<Vec<ApprovalView>, Problem> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let heads = journal.list("session", after, PAGE).map_err(read_problem)?;
        let Some(last) = heads.last() else { break };
        after = Some(last.stream);
        for head in &heads {
            // Where nothing can be waiting for a decision nothing is folded. Copies that nobody adopted wait for nobody.
            let may_wait = match &head.standing {
                Standing::Waits(name) => name == "approval" || name == "resume",
                // A request that may run out, and one beside which a service runs.
                Standing::Until(_) | Standing::Owed => true,
                Standing::Done => false,
            };
            if !may_wait || journal.is_inert(head.stream) {
                continue;
            }
            match folds.at_head(journal, head.stream) {
                Ok(state) => found.extend(waiting(journal, head.stream, &state)?),
                Err(longhaul_actors::RecoverError::Quarantined(_)) => {}
                Err(error) => return Err(recover_problem(error)),
            }
        }
    }
    found.sort_by(|one, other| one.requested_at.cmp(&other.requested_at));
    Ok(found)
}

fn waiting(journal: &dyn Journal, stream: StreamId, state: &State) -> Result<Option<ApprovalView>, Problem> {
    let asked = state.approval.as_ref().filter(|asked| asked.answer.is_none());
    let Some(asked) = asked else { return Ok(None) };
    let log = log_of(journal, stream, Seq(asked.seq.0 - 1))?;
    Ok(log.into_iter().next())
}

/// The requests of one session from a record on, in order. Blocks on the disk.
fn log_of(journal: &dyn Journal, stream: StreamId, after: Seq) -> Result<Vec<ApprovalView>, Problem> {
    let (mut requests, mut after) = (Requests::of(stream), after);
    loop {
        let frames = journal
            .read(stream, after, Limit::default())
            .map_err(read_problem)?;
        let Some(last) = frames.last() else { break };
        for record in frames.iter().flat_map(|frame| &frame.records) {
            if record.seq > after {
                let seen = requests.see(record);
                seen.map_err(|error| Problem::new(Code::JournalDamaged, error.to_string()))?;
            }
        }
        after = last.last_seq();
    }
    Ok(requests.into_views())
}

/// The one request that begins so.
pub(crate) fn meant(among: Vec<ApprovalView>, id: &str) -> Result<ApprovalView, Problem> {
    let mut meant: Vec<ApprovalView> = among
        .into_iter()
        .filter(|asked| id.len() > 3 && asked.id.starts_with(id))
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(Problem::new(
            Code::InvalidRequest,
            format!("several requests begin with {id}; give more of the id"),
        )
        .next("list them", "longhaul approvals ls")),
        (None, _) => Err(no_such(id)),
    }
}

/// There is nothing to decide on any more, and why.
fn settled(asked: &ApprovalView) -> Problem {
    let status = asked.status.name();
    let how = match (&asked.decided_by, &asked.canceled_by) {
        (_, Some(reason)) => format!("was canceled ({})", reason.replace('_', " ")),
        (Some(by), None) => format!("was {status} by {by}"),
        (None, None) => format!("is {status}"),
    };
    Problem::new(
        Code::ApprovalDecided,
        format!("{} {how}; a request is decided on once", asked.id),
    )
    .next(
        "see what became of it",
        format!("longhaul approvals show {}", asked.id),
    )
}
