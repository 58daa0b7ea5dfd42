//! A router that holds one session in memory, and a plain HTTP client: what the tests of the control socket and of its
//! client stand on. Neither is under test.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use longhaul_journal::Level;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use crate::api::{
    Accepted, Cancel, Code, Decide, EventsPage, EventsQuery, ListPage, ListQuery, Pause, Problem, RecordView,
    Resume, Send as SendMessage, SessionView, Start, Started,
};
use crate::control::{Answer, Control};
use crate::http::{ControlSocket, Settings};

/// The only session.
pub(crate) const ID: &str = "s_00000000000000000000000000000001";
/// A name of it that must be escaped in a path.
pub(crate) const KEY: &str = "a/b ü?#%2F";
/// The sha256 of [`BLOB`].
pub(crate) const SHA256: &str = "984563a8bbb458703da2586448caa4f1a69796a8202fba5de14c9dfac63045a2";
/// The only blob: no text.
pub(crate) const BLOB: &[u8] = &[0xff, 0, b'\n', 0xfe];

/// A router over a log that the test appends to.
#[derive(Debug)]
pub(crate) struct Desk {
    world: Mutex<World>,
    changed: watch::Sender<u64>,
    /// Calls of `events` that are waiting now.
    pub(crate) waiting: AtomicUsize,
    /// A `pause` goes on only with a permit from here.
    pub(crate) gate: Semaphore,
}

#[derive(Debug, Default)]
struct World {
    log: Vec<RecordView>,
    ended: bool,
    /// What `events` was asked to begin after, each time.
    asked: Vec<u64>,
    /// Appended by `events` itself, one per call, after its page was cut and before it is handed out.
    window: VecDeque<Level>,
    /// What was wished, in words.
    wishes: Vec<String>,
    /// What the next call is refused with.
    refusal: Option<Problem>,
    /// Whether its session is quarantined.
    quarantined: bool,
    /// Why nothing can be written any more.
    poison: Option<Problem>,
}

impl Desk {
    /// A router whose session has records of these levels.
    pub(crate) fn with(levels: &[Level]) -> Arc<Self> {
        let desk = Self {
            world: Mutex::default(),
            changed: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        };
        levels.iter().for_each(|level| desk.append(*level));
        Arc::new(desk)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Appends a record.
    pub(crate) fn append(&self, level: Level) {
        append(&mut self.world(), level);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Says that nothing will follow.
    pub(crate) fn end(&self) {
        self.world().ended = true;
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Appends these one by one in the window between the cutting of a page and its use.
    pub(crate) fn append_in_windows(&self, levels: &[Level]) {
        self.world().window.extend(levels);
    }

    /// Whether all of those were appended.
    pub(crate) fn windows_are_used(&self) -> bool {
        self.world().window.is_empty()
    }

    /// The furthest that records were asked for after, among calls that began below this seq.
    pub(crate) fn furthest_below(&self, seq: u64) -> u64 {
        let world = self.world();
        let below = world.asked.iter().filter(|after| **after < seq);
        below.copied().max().unwrap_or_default()
    }

    /// Refuses the next call.
    pub(crate) fn refuse_next(&self, problem: Problem) {
        self.world().refusal = Some(problem);
    }

    /// From here on its session is quarantined.
    pub(crate) fn lose_a_record(&self) {
        self.world().quarantined = true;
    }

    /// From here on nothing can be written.
    pub(crate) fn poison(&self, problem: Problem) {
        self.world().poison = Some(problem);
    }

    /// The wishes so far.
    pub(crate) fn wishes(&self) -> Vec<String> {
        self.world().wishes.clone()
    }

    /// The log as this level shows it, as JSON.
    pub(crate) fn shown(&self, level: Level) -> Vec<Value> {
        let world = self.world();
        let shown = world.log.iter().filter(|record| record.level <= level);
        shown
            .map(|record| serde_json::to_value(record).unwrap())
            .collect()
    }

    /// The session as it is shown.
    pub(crate) fn view(&self) -> SessionView {
        let head = self.world().log.len();
        serde_json::from_value(json!({
            "id": ID, "state": "running", "mode": "interactive", "goal": "mend it", "brain": "playbook:p.toml",
            "owner": "local", "key": KEY, "head": head, "startedAt": "2026-01-01T00:00:00.000Z",
            "updatedAt": "2026-01-01T00:00:00.000Z", "turns": 1, "unread": 0, "archived": false, "usage": {},
        }))
        .unwrap()
    }

    fn admit(&self, id: &str) -> Result<(), Problem> {
        if let Some(problem) = self.world().refusal.take() {
            return Err(problem);
        }
        if id == ID || id == KEY {
            Ok(())
        } else {
            Err(Problem::new(Code::NotFound, format!("there is no session {id}"))
                .next("list them", "longhaul ls"))
        }
    }

    fn wished(&self, wish: String) -> Accepted {
        let mut world = self.world();
        world.wishes.push(wish);
        let seq = world.log.len() as u64;
        Accepted {
            id: ID.to_owned(),
            seq,
            repeated: false,
            state: "running".to_owned(),
        }
    }

    /// A page, without waiting.
    fn page(&self, query: &EventsQuery) -> EventsPage {
        let mut world = self.world();
        let head = world.log.len() as u64;
        let after = usize::try_from(query.after).unwrap().min(world.log.len());
        let looked: Vec<_> = world.log[after..]
            .iter()
            .take(query.limit.min(500))
            .cloned()
            .collect();
        let next_after = query.after + looked.len() as u64;
        let page = EventsPage {
            events: looked
                .into_iter()
                .filter(|record| record.level <= query.level)
                .collect(),
            next_after,
            head,
            state: "running".to_owned(),
            ended: world.ended && world.window.is_empty(),
        };
        if let Some(level) = world.window.pop_front() {
            append(&mut world, level);
            self.changed.send_modify(|changes| *changes += 1);
        }
        page
    }
}

fn append(world: &mut World, level: Level) {
    let seq = world.log.len() as u64 + 1;
    let record = json!({
        "id": format!("{ID}.{seq}"), "seq": seq, "ts": "2026-01-01T00:00:00.000Z", "session": ID,
        "type": "user.message", "level": level, "actor": {"kind": "human", "id": "local"},
        "data": {"text": format!("line {seq}\nid: 7\r\ndata: ü\u{2028}")},
    });
    world.log.push(serde_json::from_value(record).unwrap());
}

/// Counts a call that waits for as long as it lives.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Control for Desk {
    fn start(&self, request: Start) -> Answer<'_, Started> {
        async move {
            self.admit(ID)?;
            let wish = format!("start {} {:?}", request.goal, request.idempotency_key);
            let repeated = self.wishes().contains(&wish);
            let head = self.wished(wish).seq;
            Ok(Started {
                id: ID.to_owned(),
                state: "queued".to_owned(),
                head,
                repeated,
                token: None,
            })
        }
        .boxed()
    }

    fn list(&self, query: ListQuery) -> Answer<'_, ListPage> {
        async move {
            self.admit(ID)?;
            // The cursor comes back, so that a test sees what arrived.
            let next_cursor = query
                .cursor
                .map(|cursor| format!("{cursor} {:?} {}", query.limit, query.archived));
            Ok(ListPage {
                sessions: vec![self.view()],
                next_cursor,
            })
        }
        .boxed()
    }

    fn show<'a>(&'a self, id: &'a str) -> Answer<'a, SessionView> {
        async move {
            self.admit(id)?;
            Ok(self.view())
        }
        .boxed()
    }

    fn events<'a>(&'a self, id: &'a str, query: EventsQuery) -> Answer<'a, EventsPage> {
        async move {
            self.admit(id)?;
            let head = self.view().head;
            self.world().asked.push(query.after);
            if query.after > head {
                return Err(Problem::new(
                    Code::InvalidRequest,
                    format!("the last record is {head}"),
                ));
            }
            let mut changed = self.changed.subscribe();
            let until = Instant::now() + Duration::from_millis(query.wait_ms);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waits = Waits(&self.waiting);
            loop {
                changed.mark_unchanged();
                let page = self.page(&query);
                if !page.events.is_empty()
                    || page.ended
                    || timeout_at(until, changed.changed()).await.is_err()
                {
                    return Ok(page);
                }
            }
        }
        .boxed()
    }

    fn send<'a>(&'a self, id: &'a str, message: SendMessage) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            let SendMessage {
                text,
                mode,
                idempotency_key,
                by: _,
            } = message;
            Ok(self.wished(format!("send {text} {mode:?} {idempotency_key:?}")))
        }
        .boxed()
    }

    fn pause<'a>(&'a self, id: &'a str, request: Pause) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            self.wished(format!("pause {} asked", request.now));
            self.changed.send_modify(|changes| *changes += 1);
            self.gate.acquire().await.unwrap().forget();
            let accepted = self.wished(format!("pause {} done", request.now));
            self.changed.send_modify(|changes| *changes += 1);
            Ok(accepted)
        }
        .boxed()
    }

    fn resume<'a>(&'a self, id: &'a str, _request: Resume) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            Ok(self.wished("resume".to_owned()))
        }
        .boxed()
    }

    fn cancel<'a>(&'a self, id: &'a str, request: Cancel) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            Ok(self.wished(format!("cancel {}", request.force)))
        }
        .boxed()
    }

    fn archive<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            Ok(self.wished("archive".to_owned()))
        }
        .boxed()
    }

    fn decide<'a>(&'a self, id: &'a str, request: Decide) -> Answer<'a, Accepted> {
        async move { Ok(self.wished(format!("{:?} {id}: {}", request.decision, request.evidence))) }.boxed()
    }

    fn repair<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            Ok(self.wished("repair".to_owned()))
        }
        .boxed()
    }

    fn adopt<'a>(&'a self, id: &'a str) -> Answer<'a, Accepted> {
        async move {
            self.admit(id)?;
            Ok(self.wished("adopt".to_owned()))
        }
        .boxed()
    }

    fn writable(&self) -> Answer<'_, ()> {
        let poison = self.world().poison.clone();
        async move { poison.map_or(Ok(()), Err) }.boxed()
    }

    fn quarantined(&self) -> Answer<'_, Vec<crate::api::Quarantined>> {
        async move {
            let quarantined = crate::api::Quarantined {
                id: ID.to_owned(),
                reason: "a byte went bad".to_owned(),
            };
            Ok(self
                .world()
                .quarantined
                .then_some(quarantined)
                .into_iter()
                .collect())
        }
        .boxed()
    }

    fn blob<'a>(&'a self, sha256: &'a str) -> Answer<'a, Vec<u8>> {
        async move {
            if sha256 == SHA256 {
                Ok(BLOB.to_vec())
            } else {
                Err(Problem::new(Code::NotFound, format!("there is no blob {sha256}")))
            }
        }
        .boxed()
    }
}

impl Desk {
    /// Returns once `is_so`; the test fails when that takes very long.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let patience = Instant::now() + Duration::from_secs(30);
        while !is_so(self) {
            // What is counted and not sent is looked at now and then.
            let look_again = Instant::now() + Duration::from_millis(5);
            let _ = timeout_at(look_again, changed.changed()).await;
            assert!(Instant::now() < patience, "it never came to this: {what}");
        }
    }
}

/// A data directory with a router behind its control socket.
pub(crate) struct Served {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) desk: Arc<Desk>,
    pub(crate) socket: ControlSocket,
}

impl Served {
    pub(crate) async fn with(levels: &[Level]) -> Self {
        Self::pinging(levels, Settings::default().ping_every).await
    }

    pub(crate) async fn pinging(levels: &[Level], ping_every: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let desk = Desk::with(levels);
        let settings = Settings {
            ping_every,
            ..Settings::default()
        };
        let socket = ControlSocket::bind_with(&directory, desk.clone(), settings)
            .await
            .unwrap();
        Self {
            directory,
            desk,
            socket,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.call("POST", path, &[], body).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        call(self.socket.path(), method, path, headers, body).await
    }

    /// Opens a stream of records.
    pub(crate) async fn stream(&self, query: &str, last_event_id: Option<u64>) -> Response<Incoming> {
        let last_event_id = last_event_id.map(|id| id.to_string());
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last_event_id.as_deref().map(|id| ("last-event-id", id)));
        let path = format!("/v1/sessions/{ID}/events?{query}");
        send(self.socket.path(), "GET", &path, &headers, "").await
    }
}

/// An answer that was read to its end.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: hyper::http::response::Parts,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head
            .headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is a whole problem, and hands out what it says.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: Code) -> String {
        let body = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!((self.status, &body["status"]), (status, &json!(status)), "{body}");
        assert_eq!(
            (&body["code"], &body["ok"]),
            (&json!(code.name()), &json!(false)),
            "{body}"
        );
        assert_eq!(body["type"], format!("urn:longhaul:error:{}", code.name()));
        assert!(
            body["title"].is_string() && body["nextActions"].is_array(),
            "{body}"
        );
        body["detail"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn call(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    let (head, body) = send(socket, method, path, headers, body).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Reply {
        status: head.status.as_u16(),
        head,
        body,
    }
}

async fn send(
    socket: &Path,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response<Incoming> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender
        .send_request(request.body(Full::new(Bytes::from(body.to_owned()))).unwrap())
        .await
        .unwrap()
}
