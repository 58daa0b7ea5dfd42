//! Which session is meant: the address of a request, and the stream of what a person typed.

use longhaul_actors::Entity;
use longhaul_actors::account::{Account, DEFAULT_ACCOUNT};
use longhaul_actors::task::Task;
use longhaul_journal::{Head, Journal, REMOVED, StreamId};

use super::OWNER;
use super::problems::read_problem;
use crate::api::{Code, Problem, Start, no_session, session_id, stream_id, task_id};

/// The address of the session a request is for: its name if it has one, else the key of the request, else a new one.
pub(crate) fn address(request: &Start) -> StreamId {
    match (&request.key, &request.idempotency_key) {
        (Some(key), _) => keyed(key),
        (None, Some(key)) => StreamId::named("session", OWNER, &format!("request:{key}")),
        (None, None) => StreamId::unnamed(),
    }
}

pub(crate) fn keyed(key: &str) -> StreamId {
    StreamId::named("session", OWNER, &format!("key:{key}"))
}

/// What the account of the directory is called where a session would be named. A session with this key is meant by its id.
pub(crate) const ACCOUNT: &str = "account";

/// Whether the account is meant.
pub(super) fn is_account(name: &str) -> bool {
    let digits = name.strip_prefix("s_").unwrap_or(name);
    name == ACCOUNT || digits.parse() == Ok(Account::stream(OWNER, DEFAULT_ACCOUNT))
}

/// A stream as people are told of it: the account by name, a task by its id, whatever else longhaul writes by the id of a session.
pub(crate) fn shown_name(stream: StreamId, kind: &str) -> String {
    if stream == Account::stream(OWNER, DEFAULT_ACCOUNT) {
        return ACCOUNT.into();
    }
    match kind {
        Task::KIND => task_id(stream),
        _ => session_id(stream),
    }
}

/// The stream of a session by its id, the beginning of one, or its key. Blocks on the disk.
pub(super) fn resolve(journal: &dyn Journal, id: &str) -> Result<StreamId, Problem> {
    let unknown = || no_session(id);
    let exists = |stream| match journal.head(stream).map_err(read_problem)? {
        Some(head) if head.kind == REMOVED => Err(removed(stream)),
        head => Ok(head.filter(is_session).is_some()),
    };
    if let Ok(stream) = stream_id(id) {
        return if exists(stream)? {
            Ok(stream)
        } else {
            Err(unknown())
        };
    }
    let named = keyed(id);
    if exists(named)? {
        return Ok(named);
    }
    match id.strip_prefix("s_") {
        Some(digits) => one_of_kind(journal, "session", digits, id, "longhaul ls")?.ok_or_else(unknown),
        None => Err(unknown()),
    }
}

/// The one stream of a kind whose id begins with these digits, as `id` was typed; `None` when there is none. Blocks on the
/// disk.
pub(super) fn one_of_kind(
    journal: &dyn Journal,
    kind: &str,
    digits: &str,
    id: &str,
    listing: &str,
) -> Result<Option<StreamId>, Problem> {
    let Some(first) = first_with_prefix(digits) else {
        return Ok(None);
    };
    let mut found = journal.list(kind, first, 2).map_err(read_problem)?;
    found.retain(|head| head.stream.to_string().starts_with(digits));
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.stream)),
        _ => Err(Problem::new(
            Code::InvalidRequest,
            format!("several {kind}s begin with {id}; give more of the id"),
        )
        .next("list them", listing)),
    }
}

/// Whether a stream was here once. Blocks on the disk.
pub(super) fn is_removed(journal: &dyn Journal, stream: StreamId) -> Result<bool, Problem> {
    let head = journal.head(stream).map_err(read_problem)?;
    Ok(head.is_some_and(|head| head.kind == REMOVED))
}

/// The session was here once.
pub(super) fn removed(stream: StreamId) -> Problem {
    let id = session_id(stream);
    let detail = format!("{id} was removed; nothing of it is left but its id, which is not given again");
    Problem::new(Code::SessionRemoved, detail).next("list what there is", "longhaul ls")
}

fn is_session(head: &Head) -> bool {
    head.kind == "session"
}

/// The id right before all ids with these leading digits (`None`: before every id), or nothing when they are no digits.
fn first_with_prefix(digits: &str) -> Option<Option<StreamId>> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let lowest: StreamId = format!("{digits:0<32}").parse().ok()?;
    let before = u128::from_be_bytes(*lowest.as_bytes()).checked_sub(1);
    Some(before.map(|before| StreamId::from_bytes(before.to_be_bytes())))
}
