//! [`Control`] over the control socket of another process.
//!
//! What it promises:
//! - Each call has a connection of its own, so a call that waits holds up no other.
//! - A question is asked twice before it is given up. A wish is sent once: when the connection is lost after that, nobody
//!   here knows whether it was granted, and the answer says so (`outcome_unknown`). When nobody listens, the wish was not
//!   sent, and the answer says that (`not_serving`).
//! - No call waits for ever: each has a time within which it is answered or lost.

mod exchange;

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::Method;
use longhaul_actors::session::ApprovalDecision;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use self::exchange::{Answered, Lost, exchange};
use crate::api::{
    Accepted, AccountView, ApprovalView, ApprovalsPage, ApprovalsQuery, ArtifactView, ArtifactsPage,
    ArtifactsQuery, Cancel, Code, Collect, Collected, CreateTask, Decide, EventsPage, EventsQuery, Fork,
    Imported, LedgerPage, LedgerQuery, ListPage, ListQuery, Mint, Minted, Pause, Problem, Quarantined,
    Remove, Removed, Resume, Revoked, Send as SendMessage, SessionView, Start, Started, TaskChange,
    TaskChanged, TaskView, TasksPage, TasksQuery, TokenText, TokensPage, TopUp, ToppedUp,
};
use crate::control::{Answer, Control};
use crate::http;

/// How long a call may take beyond what it was asked to wait. A wish is granted once it is on disk, and a disk under load
/// may take its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a call may take that goes through the whole journal.
const LONG: Duration = Duration::from_secs(3600);
/// The longest that a server waits for a record.
const LONGEST_POLL: Duration = Duration::from_secs(30);

/// A client of whoever serves a data directory.
///
/// It finds the socket anew for each call, so it outlives a server that is started again.
///
/// # Cancel safety
/// Dropping a call closes its connection. A wish whose call is dropped before it was answered may or may not be granted.
#[derive(Clone, Debug)]
pub struct SocketClient {
    directory: PathBuf,
    patience: Duration,
    /// Shown with each call, which is then held to it.
    token: Option<TokenText>,
}

impl SocketClient {
    /// A client of the process that serves `directory`; none when nobody does.
    ///
    /// # Errors
    /// `not_serving`: somebody may serve it, but this process is not allowed to talk to them.
    pub async fn connect(directory: impl AsRef<Path>) -> Result<Option<Self>, Problem> {
        let client = Self {
            directory: directory.as_ref().to_owned(),
            patience: PATIENCE,
            token: None,
        };
        match client.dial().await {
            Ok(_) => Ok(Some(client)),
            // Refused is how a socket answers whose process is gone.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(client.not_serving(&error)),
        }
    }

    /// The same, with this client token shown in each call: what it does not allow is refused, whoever calls.
    #[must_use]
    pub fn with_token(mut self, token: TokenText) -> Self {
        self.token = Some(token);
        self
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    async fn dial(&self) -> std::io::Result<UnixStream> {
        match http::locate(&self.directory)? {
            Some(socket) => UnixStream::connect(socket).await,
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Asks what changes nothing; once more when the connection was lost.
    async fn ask(&self, path: &str, wait: Duration) -> Result<Bytes, Problem> {
        let patience = wait + self.patience;
        let lost = match self.attempt(Method::GET, path, Bytes::new(), patience).await {
            Ok(answered) => return understood(answered, not_understood),
            Err(lost) => lost,
        };
        tracing::debug!(path, ?lost, "asking once more");
        match self.attempt(Method::GET, path, Bytes::new(), patience).await {
            Ok(answered) => understood(answered, not_understood),
            Err(Lost::NotSent(error)) => Err(self.not_serving(&error)),
            Err(Lost::Unknown(reason)) => Err(self.no_answer(&reason)),
        }
    }

    async fn ask_for<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, Problem> {
        let body = self.ask(path, wait).await?;
        serde_json::from_slice(&body)
            .map_err(|error| not_understood(&format!("the answer of the server was not understood, {error}")))
    }

    /// Sends a wish, once.
    async fn wish<T: DeserializeOwned>(&self, path: &str, wish: &impl Serialize) -> Result<T, Problem> {
        self.wish_within(path, body_of(wish), self.patience).await
    }

    /// Sends the wish that something be no more, once.
    async fn wish_away<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        self.wish_by(Method::DELETE, path, Bytes::new(), self.patience)
            .await
    }

    /// The same for a wish that may take its time.
    async fn wish_within<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, Problem> {
        self.wish_by(Method::POST, path, body, patience).await
    }

    async fn wish_by<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<T, Problem> {
        let body = match self.attempt(method, path, body, patience).await {
            Ok(answered) => understood(answered, unknown)?,
            Err(Lost::NotSent(error)) => return Err(self.not_serving(&error)),
            Err(Lost::Unknown(reason)) => return Err(unknown(&reason)),
        };
        // The wish was granted; only what the server says about it is lost.
        serde_json::from_slice(&body)
            .map_err(|error| unknown(&format!("the answer was not understood, {error}")))
    }

    async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<Answered, Lost> {
        let stream = self.dial().await.map_err(Lost::NotSent)?;
        match tokio::time::timeout(
            patience,
            exchange(stream, method, path, self.token.as_ref(), body),
        )
        .await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(Lost::Unknown(format!(
                "no answer within {} s",
                patience.as_secs_f32()
            ))),
        }
    }

    fn not_serving(&self, error: &std::io::Error) -> Problem {
        let shown = self.directory.display();
        let detail = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!("nobody serves {shown}"),
            ErrorKind::PermissionDenied => {
                format!("the control socket of {shown} belongs to another user ({error})")
            }
            _ => format!("the control socket of {shown} cannot be reached: {error}"),
        };
        Problem::new(Code::NotServing, detail).next("serve it", format!("longhaul serve --data '{shown}'"))
    }

    fn no_answer(&self, reason: &str) -> Problem {
        let shown = self.directory.display();
        Problem::new(
            Code::NotServing,
            format!("whoever serves {shown} does not answer: {reason}"),
        )
        .next(
            "see what is the matter",
            format!("longhaul doctor --data '{shown}'"),
        )
    }
}

impl Control for SocketClient {
    fn start(&self, request: Start) -> Answer<'_, Started> {
        async move { self.wish("/v1/sessions", &request).await }.boxed()
    }

    fn list(&self, query: ListQuery) -> Answer<'_, ListPage> {
        async move {
            let mut path = format!("/v1/sessions?archived={}", query.archived);
            if let Some(cursor) = &query.cursor {
                path.push_str("&cursor=");
                path.push_str(&escaped(cursor));
            }
            if let Some(limit) = query.limit {
                write!(path, "&limit={limit}").expect("a string takes everything");
            }
            self.ask_for(&path, Duration::ZERO).await
        }
        .boxed()
    }

    fn show<'a>(&'a self, id: &'a str) -> Answer<'a, SessionView> {
        async move { self.ask_for(&session(id, ""), Duration::ZERO).await }.boxed()
    }

    fn events<'a>(&'a self, id: &'a str, query: EventsQuery) -> Answer<'a, EventsPage> {
        async move {
            let EventsQuery {
                after,
                limit,
                level,
                wait_ms,
            } = query;
            let level = serde_json::to_value(level).expect("a level is a word");
            let level = level.as_str().unwrap_or_default();
            let rest = format!("/events?after={after}&limit={limit}&level={level}&waitMs={wait_ms}");
            let wait = Duration::from_millis(wait_ms).min(LONGEST_POLL);
            self.ask_for(&session(id, &rest), wait).await
        }
        .boxed()
    }

    fn send<'a>(&'a self, id: &'a str, message: SendMessage) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/messages"), &message).await }.boxed()
    }

    fn pause<'a>(&'a self, id: &'a str, request: Pause) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/pause"), &request).await }.boxed()
    }

    fn resume<'a>(&'a self, id: &'a str, request: Resume) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/resume"), &request).await }.boxed()
    }

    fn account(&self) -> Answer<'_, AccountView> {
        async move { self.ask_for("/v1/credits", Duration::ZERO).await }.boxed()
    }

    fn top_up(&self, request: TopUp) -> Answer<'_, ToppedUp> {
        async move { self.wish("/v1/credits/top-ups", &request).await }.boxed()
    }

    fn ledger(&self, query: LedgerQuery) -> Answer<'_, LedgerPage> {
        async move {
            let mut path = format!("/v1/credits/ledger?after={}", query.after);
            if let Some(limit) = query.limit {
                write!(path, "&limit={limit}").expect("a string takes everything");
            }
            self.ask_for(&path, Duration::ZERO).await
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str, request: Cancel) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/cancel"), &request).await }.boxed()
    }

    fn archive<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/archive"), &Nothing {}).await }.boxed()
    }

    fn fork<'a>(&'a self, id: &'a str, request: Fork) -> Answer<'a, Started> {
        async move { self.wish(&session(id, "/fork"), &request).await }.boxed()
    }

    fn checkpoint<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/checkpoints"), &Nothing {}).await }.boxed()
    }

    fn repair<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/repair"), &Nothing {}).await }.boxed()
    }

    fn adopt<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move { self.wish(&session(id, "/adopt"), &Nothing {}).await }.boxed()
    }

    fn approvals(&self, query: ApprovalsQuery) -> Answer<'_, ApprovalsPage> {
        async move {
            let of = query.session.map(|id| format!("?session={}", escaped(&id)));
            let path = format!("/v1/approvals{}", of.unwrap_or_default());
            self.ask_for(&path, Duration::ZERO).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, id: &'a str, request: Remove) -> Answer<'a, Removed> {
        async move {
            let body = body_of(&request);
            self.wish_within(&session(id, "/remove"), body, LONG).await
        }
        .boxed()
    }

    fn approval<'a>(&'a self, id: &'a str) -> Answer<'a, ApprovalView> {
        async move { self.ask_for(&request(id, ""), Duration::ZERO).await }.boxed()
    }

    fn decide<'a>(&'a self, id: &'a str, decided: Decide) -> Answer<'a, Accepted> {
        async move {
            if decided.by.is_some() {
                // Over the socket a human is named by a token and by nothing else.
                return Err(nobody_vouches());
            }
            match decided.decision {
                ApprovalDecision::Approve => {
                    let body = serde_json::json!({ "evidence": decided.evidence });
                    self.wish(&request(id, "/approve"), &body).await
                }
                ApprovalDecision::Deny => {
                    let body = serde_json::json!({ "reason": decided.evidence });
                    self.wish(&request(id, "/deny"), &body).await
                }
            }
        }
        .boxed()
    }

    fn mint<'a>(&'a self, id: &'a str, request: Mint) -> Answer<'a, Minted> {
        async move { self.wish(&session(id, "/tokens"), &request).await }.boxed()
    }

    fn tokens<'a>(&'a self, id: &'a str) -> Answer<'a, TokensPage> {
        async move { self.ask_for(&session(id, "/tokens"), Duration::ZERO).await }.boxed()
    }

    fn revoke<'a>(&'a self, id: &'a str, token: &'a str) -> Answer<'a, Revoked> {
        async move {
            let rest = format!("/tokens/{}", escaped(token));
            self.wish_away(&session(id, &rest)).await
        }
        .boxed()
    }

    fn artifacts(&self, query: ArtifactsQuery) -> Answer<'_, ArtifactsPage> {
        async move {
            let parameters = [
                ("session", &query.session),
                ("kind", &query.kind),
                ("cursor", &query.cursor),
            ];
            self.ask_for(&with_query("/v1/artifacts", &parameters), Duration::ZERO)
                .await
        }
        .boxed()
    }

    fn artifact<'a>(&'a self, id: &'a str) -> Answer<'a, ArtifactView> {
        async move {
            let path = format!("/v1/artifacts/{}", escaped(id));
            self.ask_for(&path, Duration::ZERO).await
        }
        .boxed()
    }

    fn tasks(&self, query: TasksQuery) -> Answer<'_, TasksPage> {
        async move {
            let all = query.all.then(|| "true".to_owned());
            let parameters = [("state", &query.state), ("all", &all)];
            self.ask_for(&with_query("/v1/tasks", &parameters), Duration::ZERO)
                .await
        }
        .boxed()
    }

    fn task<'a>(&'a self, id: &'a str) -> Answer<'a, TaskView> {
        async move { self.ask_for(&task(id, ""), Duration::ZERO).await }.boxed()
    }

    fn create_task(&self, request: CreateTask) -> Answer<'_, TaskChanged> {
        async move { self.wish("/v1/tasks", &request).await }.boxed()
    }

    fn change_task<'a>(&'a self, id: &'a str, change: TaskChange) -> Answer<'a, TaskChanged> {
        async move {
            let suggestion = |verb: &str| format!("/v1/suggested-work/{}/{verb}", escaped(id));
            match change {
                TaskChange::Open(body) => self.wish(&suggestion("task"), &body).await,
                TaskChange::Archive(body) => self.wish(&suggestion("archive"), &body).await,
                TaskChange::Claim(body) => self.wish(&task(id, "/claim"), &body).await,
                TaskChange::Release => self.wish(&task(id, "/release"), &Nothing {}).await,
                TaskChange::Complete(body) => self.wish(&task(id, "/complete"), &body).await,
                TaskChange::Cancel(body) => self.wish(&task(id, "/cancel"), &body).await,
            }
        }
        .boxed()
    }

    fn collect(&self, request: Collect) -> Answer<'_, Collected> {
        async move { self.wish_within("/v1/gc", body_of(&request), LONG).await }.boxed()
    }

    fn import(&self, portable: Vec<u8>) -> Answer<'_, Imported> {
        async move { self.wish_within("/v1/import", portable.into(), LONG).await }.boxed()
    }

    fn quarantined(&self) -> Answer<'_, Vec<Quarantined>> {
        async move {
            #[derive(Deserialize)]
            struct Ready {
                #[serde(default)]
                quarantined: Vec<Quarantined>,
            }
            let ready: Ready = self.ask_for("/readyz", Duration::ZERO).await?;
            Ok(ready.quarantined)
        }
        .boxed()
    }

    fn blob<'a>(&'a self, sha256: &'a str) -> Answer<'a, Vec<u8>> {
        async move {
            let path = format!("/v1/blobs/{}", escaped(sha256));
            Ok(self.ask(&path, Duration::ZERO).await?.into())
        }
        .boxed()
    }
}

fn body_of(wish: &impl Serialize) -> Bytes {
    let body = serde_json::to_vec(wish).expect("requests are text, numbers and flags");
    body.into()
}

/// The body of a wish that needs no words.
#[derive(Serialize)]
struct Nothing {}

fn session(id: &str, rest: &str) -> String {
    format!("/v1/sessions/{}{rest}", escaped(id))
}

fn request(id: &str, rest: &str) -> String {
    format!("/v1/approvals/{}{rest}", escaped(id))
}

fn task(id: &str, rest: &str) -> String {
    format!("/v1/tasks/{}{rest}", escaped(id))
}

/// A path with those parameters that are there.
fn with_query(path: &str, parameters: &[(&str, &Option<String>)]) -> String {
    let (mut path, mut mark) = (path.to_owned(), '?');
    for (name, value) in parameters {
        if let Some(value) = value {
            write!(path, "{mark}{name}={}", escaped(value)).expect("a string takes everything");
            mark = '&';
        }
    }
    path
}

/// Text as it stands in one segment of a path, or one value of a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    out
}

/// The body of a good answer, or the problem that was sent instead; or, when that explains nothing, `unclear`.
fn understood(answered: Answered, unclear: impl FnOnce(&str) -> Problem) -> Result<Bytes, Problem> {
    if answered.status.is_success() {
        return Ok(answered.body);
    }
    Err(serde_json::from_slice(&answered.body).unwrap_or_else(|_| {
        unclear(&format!(
            "the server answered {} without saying why",
            answered.status
        ))
    }))
}

fn nobody_vouches() -> Problem {
    let detail =
        "over the control socket the human who decides is named by a client token, not by the request";
    Problem::new(Code::InvalidRequest, detail).next(
        "mint a token for them",
        "longhaul token create ID --scope approve --human NAME",
    )
}

fn not_understood(reason: &str) -> Problem {
    Problem::new(Code::Internal, format!("{reason}; it may be of another version"))
        .next("see both versions", "longhaul doctor")
}

fn unknown(reason: &str) -> Problem {
    Problem::new(
        Code::OutcomeUnknown,
        format!(
            "there was no answer to rely on ({reason}), so the wish may or may not have been granted; \
             asking again is safe with an idempotency key, and for pause, resume, cancel and archive"
        ),
    )
    .next("see whether it happened", "longhaul ls")
}
