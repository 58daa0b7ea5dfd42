//! The one router: everything a client can ask of a runtime, whichever way it reaches it.
//!
//! [`crate::Runtime::control`] answers in process, [`crate::client::SocketClient`] over the unix socket; the command line
//! and the HTTP routes are written against this trait and cannot tell the two apart.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::api::{
    Accepted, AccountView, ApprovalView, ApprovalsPage, ApprovalsQuery, ArtifactView, ArtifactsPage,
    ArtifactsQuery, Bearer, Cancel, Code, Collect, Collected, CreateTask, Decide, EventsPage, EventsQuery,
    Fork, Imported, LedgerPage, LedgerQuery, ListPage, ListQuery, Mint, Minted, Pause, Problem, Quarantined,
    Remove, Removed, Resume, Revoked, Send as SendMessage, SessionView, Start, Started, TaskChange,
    TaskChanged, TaskView, TasksPage, TasksQuery, TokenText, TokensPage, TopUp, ToppedUp,
};

/// What every call answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// Everything a client can ask. Every accepted wish is on disk before it is answered.
///
/// Where an id is taken, an unambiguous beginning of it (`s_7f3a`) or the session's key will do.
///
/// # Cancel safety
/// Dropping a future does not withdraw a wish.
pub trait Control: Send + Sync + 'static {
    /// Starts a session, and answers once its input is durable; never waits for compute (B-START-1).
    fn start(&self, request: Start) -> Answer<'_, Started>;

    /// A page of sessions, newest first as far as ids tell.
    fn list(&self, query: ListQuery) -> Answer<'_, ListPage>;

    /// One session.
    fn show<'a>(&'a self, id: &'a str) -> Answer<'a, SessionView>;

    /// A page of its records; waits for one when asked to (long poll).
    fn events<'a>(&'a self, id: &'a str, query: EventsQuery) -> Answer<'a, EventsPage>;

    /// Gives it a message.
    fn send<'a>(&'a self, id: &'a str, message: SendMessage) -> Answer<'a, Accepted>;

    /// Makes it rest.
    fn pause<'a>(&'a self, id: &'a str, request: Pause) -> Answer<'a, Accepted>;

    /// Lets it go on.
    fn resume<'a>(&'a self, id: &'a str, request: Resume) -> Answer<'a, Accepted>;

    /// Ends it for good.
    fn cancel<'a>(&'a self, id: &'a str, request: Cancel) -> Answer<'a, Accepted>;

    /// Makes it read-only.
    fn archive<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted>;

    /// Begins a session as another one was at a seq: its fold and its files are those of the source, and nothing that was
    /// under way there is done again.
    fn fork<'a>(&'a self, id: &'a str, request: Fork) -> Answer<'a, Started> {
        let _ = request;
        not_here(id)
    }

    /// Keeps the files of a session as they are, once no act changes them, so that it can be forked from there.
    fn checkpoint<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        not_here(id)
    }

    /// Makes a quarantined session writable again, behind what it lost (B-LOG-10). Nothing that may have been done is done
    /// again; it is paused for a human to look at.
    fn repair<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        not_here(id)
    }

    /// Takes on a session that was imported or restored (B-LOG-12).
    fn adopt<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        not_here(id)
    }

    /// The credit account.
    fn account(&self) -> Answer<'_, AccountView> {
        not_here("the credit account")
    }

    /// Grants more credit; the same request is granted once.
    fn top_up(&self, request: TopUp) -> Answer<'_, ToppedUp> {
        let _ = request;
        not_here("the credit account")
    }

    /// A page of the account's records.
    fn ledger(&self, query: LedgerQuery) -> Answer<'_, LedgerPage> {
        let _ = query;
        not_here("the credit account")
    }

    /// Requests for approval that wait for a decision, of all sessions; or every request of one session (B-GATE-3).
    fn approvals(&self, query: ApprovalsQuery) -> Answer<'_, ApprovalsPage> {
        let _ = query;
        not_here("approvals")
    }

    /// One request for approval, decided or not.
    fn approval<'a>(&'a self, id: &'a str) -> Answer<'a, ApprovalView> {
        not_here(id)
    }

    /// Decides on a request, as the human that the request names, or else the one on whose behalf this is called. The whole id
    /// is needed: the beginning of one could come to mean another act.
    ///
    /// Whoever calls this vouches for that human. The HTTP edge refuses processes that act for an agent.
    fn decide<'a>(&'a self, id: &'a str, request: Decide) -> Answer<'a, Accepted> {
        let _ = request;
        not_here(id)
    }

    /// Mints a token for one session (B-TOKEN-1). It is on record before its text is told, which is told once.
    ///
    /// Whoever calls this vouches for the human that it names. The HTTP edge refuses processes that act for an agent, and
    /// whoever shows a token.
    fn mint<'a>(&'a self, id: &'a str, request: Mint) -> Answer<'a, Minted> {
        let _ = request;
        not_here(id)
    }

    /// The tokens of a session that have not run out, without their texts.
    fn tokens<'a>(&'a self, id: &'a str) -> Answer<'a, TokensPage> {
        not_here(id)
    }

    /// Makes a token count no more, wherever it is. Once more is the same.
    fn revoke<'a>(&'a self, id: &'a str, token: &'a str) -> Answer<'a, Revoked> {
        let _ = token;
        not_here(id)
    }

    /// What a token allows at this moment to whoever shows it; to be asked for each request that shows one.
    ///
    /// # Errors
    /// `unauthorized`: it was not minted here, or was revoked. `token_expired`: its time is over. `agent_session_invalid`: its
    /// session is gone.
    fn bearer<'a>(&'a self, token: &'a TokenText) -> Answer<'a, Bearer> {
        let _ = token;
        not_here("client tokens")
    }

    /// Removes the files of a session that has ended, and the session itself if that is wished (B-LOG-11).
    fn remove<'a>(&'a self, id: &'a str, request: Remove) -> Answer<'a, Removed> {
        let _ = request;
        not_here(id)
    }

    /// Frees what nothing names any more (B-LOG-11). May take minutes.
    fn collect(&self, request: Collect) -> Answer<'_, Collected> {
        let _ = request;
        not_here("a collection")
    }

    /// Takes in a session from the bytes of a file that `longhaul export` wrote; it is inert until it is adopted
    /// (B-LOG-12).
    fn import(&self, portable: Vec<u8>) -> Answer<'_, Imported> {
        let _ = portable;
        not_here("an import")
    }

    /// Says whether wishes can be written down here, or why none will be until the directory is opened anew. A full disk is no
    /// such reason.
    fn writable(&self) -> Answer<'_, ()> {
        ready(Ok(())).boxed()
    }

    /// Sessions known to be quarantined.
    fn quarantined(&self) -> Answer<'_, Vec<Quarantined>> {
        ready(Ok(Vec::new())).boxed()
    }

    /// A page of artifacts, of one session or of all (B-ART-1).
    fn artifacts(&self, query: ArtifactsQuery) -> Answer<'_, ArtifactsPage> {
        let _ = query;
        not_here("artifacts")
    }

    /// One artifact. Its bytes are those of the blob that its `sha256` names.
    fn artifact<'a>(&'a self, id: &'a str) -> Answer<'a, ArtifactView> {
        not_here(id)
    }

    /// Tasks, those that agents suggest among them (B-ART-3, B-TASK-1).
    fn tasks(&self, query: TasksQuery) -> Answer<'_, TasksPage> {
        let _ = query;
        not_here("tasks")
    }

    /// One task, by its id, an unambiguous beginning of it, or its key.
    fn task<'a>(&'a self, id: &'a str) -> Answer<'a, TaskView> {
        not_here(id)
    }

    /// Writes a task down; the same request under the same key is the same task.
    fn create_task(&self, request: CreateTask) -> Answer<'_, TaskChanged> {
        let _ = request;
        not_here("tasks")
    }

    /// Changes where a task stands.
    fn change_task<'a>(&'a self, id: &'a str, change: TaskChange) -> Answer<'a, TaskChanged> {
        let _ = change;
        not_here(id)
    }

    /// The bytes of a body that was too large for a record, or of an artifact, by sha256 (hex).
    fn blob<'a>(&'a self, sha256: &'a str) -> Answer<'a, Vec<u8>>;
}

fn not_here<'a, T: Send + 'a>(id: &'a str) -> Answer<'a, T> {
    let detail = format!("nobody here can take this wish for {id}");
    ready(Err(
        Problem::new(Code::NotServing, detail).next("serve the directory", "longhaul serve")
    ))
    .boxed()
}
