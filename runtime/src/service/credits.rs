//! What a client asks about credit, and what stands in the way of a session that has none.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_actors::account::{self, Account, Credits, DEFAULT_ACCOUNT, Reply};
use longhaul_actors::session::{Actor, PauseReason, Phase, Terms};
use longhaul_actors::{Entity, QueryError, SendError};
use longhaul_journal::{Head, Journal, Limit, Record, Seq, Standing, StreamId};

use super::address::ACCOUNT;
use super::problems::{damaged, read_problem, unsent_code};
use super::{OWNER, Service};
use crate::api::{
    AccountView, Code, Concurrency, LedgerEntry, LedgerPage, LedgerQuery, Problem, TopUp, ToppedUp, rfc3339,
    session_id,
};

/// Most records of one page of the ledger.
const PAGE: usize = 500;
/// How long a top-up waits for the sessions that it resumes.
const RESUMING: Duration = Duration::from_secs(2);

/// The account of this owner.
fn stream() -> StreamId {
    Account::stream(OWNER, DEFAULT_ACCOUNT)
}

impl Service {
    /// What a session that is started now is charged to; checks that there is credit (B-CREDIT-1).
    pub(super) async fn terms(&self, budget: Option<&str>, exists: bool) -> Result<Option<Terms>, Problem> {
        let budget_micro = budget
            .map(|text| read_budget(text, "longhaul run --budget 0.50 --brain KIND:NAME GOAL"))
            .transpose()?;
        if !self.credits.enabled {
            return match budget_micro {
                None => Ok(None),
                Some(_) => Err(Problem::new(
                    Code::InvalidRequest,
                    "a budget needs an account, and work is not charged here (LONGHAUL_CREDITS=off)",
                )),
            };
        }
        if !exists && !self.has_credit().await? {
            return Err(self.no_credit("the account has no credit left, so nothing was started"));
        }
        Ok(Some(Terms {
            account: DEFAULT_ACCOUNT.into(),
            budget_micro,
        }))
    }

    /// Refuses to resume what could not take a step (B-CREDIT-4).
    pub(super) async fn check_resumable(&self, session: StreamId) -> Result<(), Problem> {
        let state = self.folded(session).await?;
        let is_charged = matches!(state.phase, Phase::Paused { .. }) && state.account().is_some();
        if is_charged && !self.has_credit().await? {
            return Err(self.no_credit("the account has no credit left, so the session stays paused"));
        }
        Ok(())
    }

    async fn has_credit(&self) -> Result<bool, Problem> {
        let look = |state: &account::State, _: Seq| state.name.as_ref().map(|_| state.has_credit());
        if !self.journal.is_inert(stream())
            && let Some(has_credit) = self.accounts.query(stream(), look).await.map_err(unanswered)?
        {
            return Ok(has_credit);
        }
        self.desk.ready(stream()).await.map_err(refused)?;
        let has_credit = self.accounts.query(stream(), look).await.map_err(unanswered)?;
        Ok(has_credit.unwrap_or(false))
    }

    fn no_credit(&self, detail: &str) -> Problem {
        let mut problem = Problem::new(Code::AiCreditsRequired, detail)
            .next("top the account up", "longhaul credits top-up 5")
            .next("see what was spent", "longhaul credits ledger");
        problem.fields.top_up_url = Some(self.credits.top_up_url.clone());
        problem
    }

    pub(super) async fn account(&self) -> Result<AccountView, Problem> {
        let state = self
            .accounts
            .query(stream(), |state, _| state.clone())
            .await
            .map_err(unanswered)?;
        let sessions = match &self.places {
            Some(places) => Some(places.occupied().await),
            None => None,
        };
        let sessions = sessions.map(|occupied| Concurrency {
            active: occupied.active,
            queued: occupied.queued,
            limit: occupied.limit,
        });
        let waiting: Vec<_> = state.waiting().collect();
        let waiting = self.blocking(move |journal| Ok(lives(journal, waiting))).await?;
        let top_up_url = &self.credits.top_up_url;
        let mut shown = AccountView::of(DEFAULT_ACCOUNT, &state, waiting, top_up_url, sessions);
        if state.name.is_none() {
            // As it will be once the first session opens it.
            let prices = self.credits.prices.clone().unwrap_or_default();
            shown.prices.hour = prices.hour_micro.into();
            shown.granted = self.credits.initial.into();
            (shown.balance, shown.available) = (self.credits.initial.into(), self.credits.initial.into());
        }
        Ok(shown)
    }

    pub(super) async fn top_up_account(&self, request: TopUp) -> Result<ToppedUp, Problem> {
        let amount = read_amount(&request.amount, TOP_UP)?;
        self.desk.ready(stream()).await.map_err(refused)?;
        let waiting = self.resting_for_credit().await?;
        let top_up = account::Command::TopUp {
            by: Actor::human(OWNER),
            request: request.request_id,
            amount,
        };
        let reply = self.accounts.send(stream(), top_up).await.map_err(refused)?;
        let Reply::Done {
            seq,
            repeated,
            available,
        } = reply
        else {
            return Err(Problem::new(Code::Internal, "the account gave another answer"));
        };
        let resumed = self.until_resumed(waiting).await?;
        let balance = self.accounts.query(stream(), |state, _| state.balance()).await;
        Ok(ToppedUp {
            seq: seq.0,
            repeated,
            amount: amount.into(),
            balance: balance.map_err(unanswered)?.into(),
            available: available.into(),
            resumed: resumed.into_iter().map(session_id).collect(),
        })
    }

    /// Those that a top-up resumes. The account does not hear when one of them ends, or is to rest for another reason.
    async fn resting_for_credit(&self) -> Result<BTreeSet<StreamId>, Problem> {
        let mut resting = BTreeSet::new();
        for session in self.waiting().await? {
            let phase = self.folded(session).await.map(|state| state.phase);
            let reason = PauseReason::Credits;
            if matches!(phase, Ok(Phase::Paused { reason: why, .. }) if why == reason) {
                resting.insert(session);
            }
        }
        Ok(resting)
    }

    async fn waiting(&self) -> Result<BTreeSet<StreamId>, Problem> {
        let waiting = self
            .accounts
            .query(stream(), |state, _| state.waiting().collect());
        waiting.await.map_err(unanswered)
    }

    /// Waits until those whom the account resumes have heard of it; who cannot hear now will later.
    async fn until_resumed(&self, waiting: BTreeSet<StreamId>) -> Result<BTreeSet<StreamId>, Problem> {
        let mut moved = self.journal.watch(stream());
        let all_told = async {
            loop {
                moved.mark_unchanged();
                let waking = self.accounts.query(stream(), |state, _| !state.waking.is_empty());
                match waking.await {
                    Ok(true) => {}
                    _ => return,
                }
                if moved.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(RESUMING, all_told).await;
        let still = self.waiting().await?;
        Ok(waiting.difference(&still).copied().collect())
    }

    pub(super) async fn ledger_page(&self, query: LedgerQuery) -> Result<LedgerPage, Problem> {
        self.blocking(move |journal| {
            let head = journal.head(stream()).map_err(read_problem)?;
            let head = head.map_or(0, |head| head.seq.0);
            if query.after > head {
                let detail = format!(
                    "after={} lies beyond the head; the last record is {head}",
                    query.after
                );
                return Err(Problem::new(Code::InvalidRequest, detail));
            }
            let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE);
            let (mut entries, mut next_after) = (Vec::new(), query.after);
            while entries.len() < limit {
                let page = journal
                    .read(stream(), Seq(next_after), Limit::default())
                    .map_err(read_problem)?;
                if page.is_empty() {
                    break;
                }
                let records = page.iter().flat_map(|frame| &frame.records);
                let fresh = records.filter(|record| record.seq.0 > query.after);
                let before = next_after;
                for record in fresh {
                    if record.seq.0 > next_after && entries.len() < limit {
                        entries.push(entry(record)?);
                        next_after = record.seq.0;
                    }
                }
                if next_after == before {
                    break;
                }
            }
            Ok(LedgerPage {
                entries,
                next_after,
                head,
            })
        })
        .await
    }
}

fn entry(record: &Record) -> Result<LedgerEntry, Problem> {
    let unreadable = |error: String| Problem::new(Code::JournalDamaged, error);
    let event = Account::decode(record).map_err(|error| unreadable(error.to_string()))?;
    let payload: serde_json::Value =
        serde_json::from_slice(&record.event.payload).map_err(|error| unreadable(error.to_string()))?;
    let micro = |credits: Credits| i64::try_from(credits.micro()).unwrap_or(i64::MAX);
    let change_micro = match event.body {
        account::Body::Granted(granted) => micro(granted.amount_micro),
        account::Body::Settled(settled) => -micro(settled.amount_micro),
        account::Body::JournalGap(gap) => {
            let closed = gap.closed.iter().map(|closed| closed.amount_micro);
            -micro(closed.fold(Credits::ZERO, Credits::plus))
        }
        _ => 0,
    };
    Ok(LedgerEntry {
        seq: record.seq.0,
        ts: rfc3339(record.time_ms),
        type_name: record.event.type_name.to_string(),
        change_micro,
        data: payload.get("data").cloned().unwrap_or_default(),
    })
}

/// How credit is granted, for whoever did not get it right.
const TOP_UP: &str = "longhaul credits top-up 2.50";

/// Those of these sessions that have not ended.
fn lives(journal: &dyn Journal, sessions: Vec<StreamId>) -> Vec<String> {
    let lives = |session: &StreamId| {
        let head = journal.head(*session);
        !matches!(
            head,
            Ok(None
                | Some(Head {
                    standing: Standing::Done,
                    ..
                }))
        )
    };
    sessions.into_iter().filter(lives).map(session_id).collect()
}

/// A budget as it was typed, where this is how it is typed.
pub(super) fn read_budget(text: &str, example: &str) -> Result<Credits, Problem> {
    let budget = read_amount(text, example)?;
    if budget.is_zero() {
        let detail = "a budget of zero allows nothing; give something above zero";
        return Err(Problem::new(Code::InvalidRequest, detail).next("for example", example));
    }
    Ok(budget)
}

fn read_amount(text: &str, example: &str) -> Result<Credits, Problem> {
    text.parse().map_err(|error: account::AmountError| {
        Problem::new(Code::InvalidRequest, error.to_string()).next("for example", example)
    })
}

fn unanswered(error: QueryError) -> Problem {
    let detail = format!("the credit account: {error}");
    match error {
        QueryError::Quarantined(_) => damaged(detail, ACCOUNT),
        QueryError::NotHosted => Problem::new(Code::NotServing, detail),
        _ => Problem::new(Code::StorageUnavailable, detail),
    }
}

fn refused(error: SendError<account::Refusal>) -> Problem {
    let code = match &error {
        SendError::Refused(account::Refusal::NotFound) => Code::NotFound,
        SendError::Refused(account::Refusal::IdempotencyConflict { .. }) => Code::IdempotencyConflict,
        SendError::Refused(_) => Code::InvalidRequest,
        SendError::Quarantined(_) => return damaged(format!("the credit account: {error}"), ACCOUNT),
        unsent => unsent_code(unsent),
    };
    let too_much = matches!(error, SendError::Refused(account::Refusal::TooMuch { .. }));
    let problem = Problem::new(code, error.to_string());
    match code {
        Code::IdempotencyConflict => problem
            .next("see what was granted", "longhaul credits ledger")
            .next(
                "ask for more by another request",
                "longhaul credits top-up AMOUNT",
            ),
        Code::InvalidRequest if too_much => problem.next("see what was granted", "longhaul credits ledger"),
        Code::InvalidRequest => problem.next("for example", format!("{TOP_UP} --request payment-17")),
        _ => problem,
    }
}
