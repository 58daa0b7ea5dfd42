//! Client tokens over a real socket: what each lets its bearer do, what it does not, and that its text is nowhere.
//!
//! The clock is moved by hand, so that a day passes at once. What real processes do with a token is told in `approvals`.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longhaul::api::{Code, Mint, Minted, Scope, Start, Started, TokenText};
use longhaul::client::SocketClient;
use longhaul::http::{ControlSocket, Settings};
use longhaul::{Control, Mode, Runtime};
use longhaul_actors::ManualClock;
use longhaul_tests::child::Child;
use longhaul_tests::{close, log_until, options, playbook};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const NOON: u64 = 1_700_000_000_000;

/// A data directory that is served, with a clock that stands.
struct Desk {
    folder: tempfile::TempDir,
    clock: ManualClock,
    runtime: Runtime,
    socket: ControlSocket,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it is this problem, with a way on.
    #[track_caller]
    fn is(&self, code: Code) {
        let body = self.json();
        assert_eq!(
            (self.status, &body["code"]),
            (code.status(), &json!(code.name())),
            "{body}"
        );
        let ways = body["nextActions"].as_array().expect("a list");
        assert!(!ways.is_empty(), "no way on: {body}");
        if self.status == 401 {
            assert!(
                self.head.to_lowercase().contains("www-authenticate: bearer"),
                "{}",
                self.head
            );
        }
    }

    #[track_caller]
    fn is_granted(&self) {
        assert!(
            (200..300).contains(&self.status),
            "{}",
            String::from_utf8_lossy(&self.body)
        );
    }
}

impl Desk {
    /// One in which nothing is worked for.
    async fn new() -> Self {
        Self::working(Mode::Dormant).await
    }

    async fn working(mode: Mode) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(NOON);
        let runtime = open(&folder.path().join("data"), &clock, mode).await;
        let socket = serve(&runtime).await;
        Self {
            folder,
            clock,
            runtime,
            socket,
        }
    }

    /// As after a kill: whatever was not on disk is gone.
    async fn again(self) -> Self {
        let Self {
            folder,
            clock,
            runtime,
            socket,
        } = self;
        socket.close().await;
        close(runtime).await;
        let runtime = open(&folder.path().join("data"), &clock, Mode::Dormant).await;
        let socket = serve(&runtime).await;
        Self {
            folder,
            clock,
            runtime,
            socket,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    async fn starts(&self, key: &str) -> Started {
        let request = Start {
            goal: "be looked at".into(),
            key: Some(key.into()),
            brain: Some(playbook(self.folder.path(), "[[step]]\nsay = \"hi\"\n")),
            ..Start::default()
        };
        self.runtime.control().start(request).await.expect("it starts")
    }

    async fn mints(&self, session: &str, scopes: &[Scope], human: Option<&str>) -> Minted {
        let mut mint = Mint::of(scopes);
        mint.human = human.map(str::to_owned);
        self.runtime
            .control()
            .mint(session, mint)
            .await
            .expect("it is minted")
    }

    async fn asks(&self, method: &str, path: &str, token: Option<&TokenText>, body: &str) -> Reply {
        let shown = token.map(|token| format!("authorization: Bearer {}\r\n", token.reveal()));
        self.raw(method, path, &shown.unwrap_or_default(), body).await
    }

    async fn gets(&self, path: &str, token: &TokenText) -> Reply {
        self.asks("GET", path, Some(token), "").await
    }

    async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: longhaul\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let socket = self.socket.path().to_owned();
        let answer = tokio::task::spawn_blocking(move || asked(&socket, &request)).await;
        let answer = answer.expect("no panic");
        let text = String::from_utf8_lossy(&answer);
        let (head, _) = text.split_once("\r\n\r\n").expect("a whole answer");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Reply {
            status: status.expect("a status"),
            body: answer[head.len() + 4..].to_vec(),
            head: head.to_owned(),
        }
    }
}

fn asked(socket: &Path, request: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("somebody listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a socket");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it is answered");
    answer
}

async fn open(data: &Path, clock: &ManualClock, mode: Mode) -> Runtime {
    let mut options = options(PROGRAM);
    options.mode = mode;
    options.manual_clock = Some(clock.clone());
    Runtime::open(data, options).await.expect("it opens")
}

async fn serve(runtime: &Runtime) -> ControlSocket {
    let mut settings = Settings::default();
    settings.ping_every = Duration::from_millis(50);
    ControlSocket::bind_with(runtime.directory(), runtime.control(), settings)
        .await
        .expect("it listens")
}

fn session(id: &str, rest: &str) -> String {
    format!("/v1/sessions/{id}{rest}")
}

const ALL: [Scope; 2] = [Scope::Read, Scope::Steer];

/// B-START-1: a start answers a token where one is asked for, also for a session that was there; it makes no other session.
#[tokio::test]
async fn a_start_answers_a_token_where_one_is_wanted() {
    let desk = Desk::new().await;
    let brain = playbook(desk.folder.path(), "[[step]]\nsay = \"hi\"\n");
    let body =
        |token: &str| format!(r#"{{"goal": "be looked at", "key": "one", "brain": "{brain}"{token}}}"#);
    let plain = desk.asks("POST", "/v1/sessions", None, &body("")).await;
    assert_eq!((plain.status, &plain.json()["token"]), (201, &json!(null)));
    let with = desk
        .asks("POST", "/v1/sessions", None, &body(r#", "token": true"#))
        .await;
    assert!(with.head.contains("no-store"), "{}", with.head);
    let with = with.json();
    assert_eq!(
        (&with["id"], &with["repeated"]),
        (&plain.json()["id"], &json!(true))
    );
    assert_eq!(with["token"]["scopes"], json!(["read", "steer"]));
    assert_eq!(with["token"]["expiresAt"], "2023-11-14T23:13:20.000Z");
    let token = TokenText::new(with["token"]["token"].as_str().expect("its text"));
    let id = with["id"].as_str().expect("an id");
    desk.gets(&session(id, ""), &token).await.is_granted();
    let desk = desk.again().await;
    desk.asks("POST", &session(id, "/pause"), Some(&token), "")
        .await
        .is_granted();
    close(desk.runtime).await;
}

/// B-TOKEN-1: in a header or in the query; each scope lets in where it should, and nowhere else.
#[tokio::test]
async fn a_token_lets_its_bearer_do_what_its_scopes_say() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let (read, steer) = (
        desk.mints(&id, &[Scope::Read], None).await,
        desk.mints(&id, &[Scope::Steer], None).await,
    );
    let approve = desk.mints(&id, &[Scope::Approve], Some("ann")).await;
    let say = r#"{"text": "hello"}"#;
    let decide = format!("/v1/approvals/ap_{}{}/approve", &id[2..], "0".repeat(16));
    let asks = [
        ("GET", session(&id, ""), "", Scope::Read, 200),
        ("GET", session(&id, "/events"), "", Scope::Read, 200),
        ("GET", format!("/v1/approvals?session={id}"), "", Scope::Read, 200),
        ("GET", format!("/v1/artifacts?session={id}"), "", Scope::Read, 200),
        ("POST", session(&id, "/messages"), say, Scope::Steer, 200),
        ("POST", session(&id, "/pause"), "", Scope::Steer, 200),
        ("POST", session(&id, "/resume"), "", Scope::Steer, 200),
        // There is no such request, which is more than somebody without the scope is told.
        ("POST", decide, r#"{"evidence": "seen"}"#, Scope::Approve, 404),
    ];
    for (method, path, body, scope, status) in &asks {
        for token in [&read, &steer, &approve] {
            let reply = desk.asks(method, path, Some(&token.token), body).await;
            if token.scopes == [*scope] {
                assert_eq!(reply.status, *status, "{method} {path}: {reply:?}");
            } else {
                reply.is(Code::ForbiddenScope);
            }
        }
    }
    // As a browser shows it, which has its own parameters beside it.
    let path = format!(
        "{}?after=0&token={}&level=user",
        session(&id, "/events"),
        read.token.reveal()
    );
    desk.raw("GET", &path, "", "").await.is_granted();
    // What is the owner's alone is nobody's who shows a token, the owner's included.
    let whole = desk.mints(&id, &ALL, None).await.token;
    for (method, path, body) in [
        ("GET", "/v1/sessions".to_owned(), ""),
        ("POST", "/v1/sessions".to_owned(), r#"{"goal": "more"}"#),
        ("POST", session(&id, "/tokens"), r#"{"scopes": ["read"]}"#),
        ("GET", session(&id, "/tokens"), ""),
        ("DELETE", session(&id, &format!("/tokens/{}", read.id)), ""),
        ("POST", session(&id, "/resume"), r#"{"budget": "100"}"#),
        ("POST", session(&id, "/fork"), ""),
        ("POST", session(&id, "/remove"), r#"{"log": true}"#),
        (
            "POST",
            "/v1/credits/top-ups".to_owned(),
            r#"{"amount": "5", "requestId": "r"}"#,
        ),
        ("GET", "/v1/approvals".to_owned(), ""),
        ("GET", "/v1/tasks".to_owned(), ""),
        ("GET", format!("/v1/blobs/{}", "0".repeat(64)), ""),
    ] {
        desk.asks(method, &path, Some(&whole), body)
            .await
            .is(Code::ForbiddenScope);
    }
    close(desk.runtime).await;
}

/// What was wanted with a token is no wish of whoever runs the program, and a body cannot say whose it is.
#[tokio::test]
async fn the_log_says_whose_wish_it_was() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let unnamed = desk.mints(&id, &[Scope::Steer], None).await;
    let ann = desk
        .mints(&id, &[Scope::Steer, Scope::Approve], Some("ann"))
        .await;
    for (path, token) in [
        ("/pause", Some(&unnamed.token)),
        ("/messages", None),
        ("/messages", Some(&unnamed.token)),
        ("/messages", Some(&ann.token)),
        ("/resume", Some(&ann.token)),
        ("/cancel", Some(&unnamed.token)),
    ] {
        let body = if path == "/messages" {
            r#"{"text": "hello"}"#
        } else {
            ""
        };
        desk.asks("POST", &session(&id, path), token, body)
            .await
            .is_granted();
    }
    let forged = r#"{"text": "hello", "by": "ann"}"#;
    let reply = desk.asks("POST", &session(&id, "/messages"), None, forged).await;
    assert_eq!(reply.status, 400, "{reply:?}");
    let log = desk
        .asks("GET", &session(&id, "/events?level=internal"), None, "")
        .await;
    let log: serde_json::Value = serde_json::from_slice(&log.body).expect("JSON");
    let by = |wanted: &str| -> Vec<String> {
        let events = log["events"].as_array().expect("a page").iter();
        let of_type = events.filter(|event| event["type"] == wanted && event["actor"]["kind"] == "human");
        let ids = of_type.map(|event| event["actor"]["id"].as_str().expect("a name").to_owned());
        ids.collect()
    };
    assert_eq!(by("session.pause_requested"), [unnamed.id.as_str()]);
    assert_eq!(
        by("user.message"),
        ["local", "local", &unnamed.id, "ann"],
        "the goal is the first"
    );
    assert_eq!(by("session.resumed"), ["ann"]);
    assert_eq!(by("session.stop_requested"), [unnamed.id.as_str()]);
    close(desk.runtime).await;
}

/// B-TOKEN-1: what is another's cannot be told from what is not there, byte for byte.
#[tokio::test]
async fn another_session_is_answered_as_one_that_does_not_exist() {
    let desk = Desk::new().await;
    let ours = desk.starts("ours").await.id;
    let token = desk.mints(&ours, &ALL, None).await.token;
    // The id that this key will have, which is known before.
    let theirs = desk.starts("theirs").await.id;
    let fresh = Desk::new().await;
    let token_there = {
        let id = fresh.starts("ours").await.id;
        assert_eq!(id, ours, "a name is an address");
        fresh.mints(&id, &ALL, None).await.token
    };
    let digits = &theirs[2..];
    for (method, path, body) in [
        ("GET", session(&theirs, ""), ""),
        ("GET", session("theirs", ""), ""),
        ("GET", session(&theirs[..12], ""), ""),
        ("GET", session(&theirs, "/events"), ""),
        ("POST", session(&theirs, "/messages"), r#"{"text": "hello"}"#),
        ("POST", session(&theirs, "/cancel"), ""),
        ("POST", session(&theirs, "/archive"), ""),
        ("GET", format!("/v1/approvals?session={theirs}"), ""),
        ("GET", format!("/v1/approvals/ap_{digits}{}", "0".repeat(16)), ""),
        ("GET", format!("/v1/artifacts/a_{digits}_1"), ""),
    ] {
        let there = desk.asks(method, &path, Some(&token), body).await;
        let missing = fresh.asks(method, &path, Some(&token_there), body).await;
        there.is(Code::NotFound);
        let (there, missing) = (
            String::from_utf8_lossy(&there.body),
            String::from_utf8_lossy(&missing.body),
        );
        assert_eq!(there, missing, "{method} {path}");
    }
    // And as the owner is told of what is not there.
    let owners = fresh.raw("GET", &session(&theirs, ""), "", "").await;
    let there = desk.gets(&session(&theirs, ""), &token).await;
    assert_eq!(owners.body, there.body);
    assert_eq!(
        desk.runtime
            .control()
            .show(&theirs)
            .await
            .expect("it is there")
            .state,
        "queued",
        "nothing was done to it"
    );
    close(desk.runtime).await;
    close(fresh.runtime).await;
}

/// B-TOKEN-1: each way in which a token does not count, with what to do.
#[tokio::test]
async fn what_is_no_token_that_counts_is_refused_with_a_way_on() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let path = session(&id, "");
    // Before there was any there is no key to open one with.
    desk.gets(&path, &TokenText::new("v4.local.AAAA"))
        .await
        .is(Code::Unauthorized);
    assert!(!desk.data().join("token.key").exists());
    let token = desk.mints(&id, &ALL, None).await.token;
    let text = token.reveal();
    let other = Desk::new().await;
    other.starts("one").await;
    let of_another_key = other.mints("one", &ALL, None).await.token;
    for shown in [
        "",
        "x",
        &text[..text.len() - 1],
        &text[1..],
        &text.replace("v4.local", "v3.local"),
        &text.replace("v4.local", "v4.public"),
        of_another_key.reveal(),
    ] {
        desk.gets(&path, &TokenText::new(shown))
            .await
            .is(Code::Unauthorized);
    }
    let shown = format!("authorization: Bearer {text}\r\n");
    let query = format!("{path}?token={text}");
    let twice = format!("{query}&token={text}");
    for (path, headers) in [
        (&query, &*shown),
        (&twice, ""),
        (&path, &*format!("{shown}{shown}")),
        (&path, "authorization: Basic bG9jYWw6\r\n"),
        (&path, "authorization: Bearer\r\n"),
    ] {
        desk.raw("GET", path, headers, "").await.is(Code::Unauthorized);
    }
    desk.gets(&path, &token).await.is_granted();
    close(desk.runtime).await;
    close(other.runtime).await;
}

/// B-TOKEN-1, B-GATE-3: what is asked for and cannot be had.
#[tokio::test]
async fn a_token_that_may_not_be_is_not_minted() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let path = session(&id, "/tokens");
    for body in [
        r#"{"scopes": ["read"], "ttlSeconds": 59}"#,
        r#"{"scopes": ["read"], "ttlSeconds": 86401}"#,
        r#"{"scopes": []}"#,
        r#"{"scopes": ["approve"]}"#,
        r#"{"scopes": ["read"], "human": "ann"}"#,
    ] {
        desk.asks("POST", &path, None, body)
            .await
            .is(Code::InvalidRequest);
    }
    for body in [
        r#"{"scopes": ["all"]}"#,
        r#"{}"#,
        r#"{"scopes": ["read"], "ttl": 60}"#,
    ] {
        assert_eq!(desk.asks("POST", &path, None, body).await.status, 400, "{body}");
    }
    desk.asks(
        "POST",
        &session("none", "/tokens"),
        None,
        r#"{"scopes": ["read"]}"#,
    )
    .await
    .is(Code::NotFound);
    for (ttl, expires) in [
        (60, "2023-11-14T22:14:20.000Z"),
        (86_400, "2023-11-15T22:13:20.000Z"),
    ] {
        let body = format!(r#"{{"scopes": ["steer", "read"], "ttlSeconds": {ttl}}}"#);
        let reply = desk.asks("POST", &path, None, &body).await;
        assert_eq!((reply.status, &reply.json()["expiresAt"]), (201, &json!(expires)));
        assert!(reply.head.contains("no-store"), "{}", reply.head);
    }
    let reply = desk.asks("POST", &path, None, r#"{"scopes": ["read"]}"#).await;
    assert_eq!(
        reply.json()["expiresAt"],
        "2023-11-14T23:13:20.000Z",
        "an hour unless told"
    );
    close(desk.runtime).await;
}

/// B-TOKEN-1: a token lives as long as it was minted for, by the wall clock, over restarts.
#[tokio::test]
async fn a_token_runs_out_when_its_time_is_over_and_not_before() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let token = desk.mints(&id, &ALL, None).await.token;
    desk.clock.advance(3_600_000 - 1);
    desk.gets(&session(&id, ""), &token).await.is_granted();
    let desk = desk.again().await;
    desk.gets(&session(&id, ""), &token).await.is_granted();
    desk.clock.advance(1);
    desk.gets(&session(&id, ""), &token).await.is(Code::TokenExpired);
    let desk = desk.again().await;
    desk.gets(&session(&id, ""), &token).await.is(Code::TokenExpired);
    close(desk.runtime).await;
}

/// B-TOKEN-1: a revocation that was answered holds, over restarts too; the neighbours of the token go on.
#[tokio::test]
async fn a_revoked_token_counts_no_more_and_never_again() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let (one, other) = (
        desk.mints(&id, &ALL, None).await,
        desk.mints(&id, &ALL, None).await,
    );
    let path = session(&id, "");
    let away = session(&id, &format!("/tokens/{}", one.id));
    let revoked = desk.asks("DELETE", &away, None, "").await;
    assert_eq!(revoked.json(), json!({"id": one.id, "repeated": false}));
    desk.gets(&path, &one.token).await.is(Code::Unauthorized);
    desk.gets(&path, &other.token).await.is_granted();
    let desk = desk.again().await;
    desk.gets(&path, &one.token).await.is(Code::Unauthorized);
    desk.gets(&path, &other.token).await.is_granted();
    let again = desk.asks("DELETE", &away, None, "").await;
    assert_eq!(again.json(), json!({"id": one.id, "repeated": true}));
    let unknown = session(&id, "/tokens/tk_0");
    desk.asks("DELETE", &unknown, None, "").await.is(Code::NotFound);
    let listed = desk.asks("GET", &session(&id, "/tokens"), None, "").await.json();
    let status = |at: usize| (&listed["tokens"][at]["id"], &listed["tokens"][at]["status"]);
    assert_eq!(status(0), (&json!(one.id), &json!("revoked")));
    assert_eq!(status(1), (&json!(other.id), &json!("live")));
    assert_eq!(status(2), (&json!(null), &json!(null)));
    close(desk.runtime).await;
}

/// B-TOKEN-1: a stream ends with the token that opened it, and not only at the next request.
#[tokio::test]
async fn a_stream_ends_when_its_token_counts_no_more() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let minted = desk.mints(&id, &[Scope::Read], None).await;
    let path = format!("{}?token={}", session(&id, "/events"), minted.token.reveal());
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: longhaul\r\nconnection: close\r\naccept: text/event-stream\r\n\r\n"
    );
    let socket = desk.socket.path().to_owned();
    let reading = tokio::task::spawn_blocking(move || asked(&socket, &request));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!reading.is_finished(), "it stays live while the token counts");
    desk.runtime
        .control()
        .revoke(&id, &minted.id)
        .await
        .expect("it is revoked");
    // What is written now is not for this reader any more.
    desk.runtime
        .control()
        .pause(&id, longhaul::api::Pause::default())
        .await
        .expect("it pauses");
    let seen = reading.await.expect("it ends");
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("session.started") && !seen.contains("session.paused"),
        "{seen}"
    );
    let again = desk.raw("GET", &path, "accept: text/event-stream\r\n", "").await;
    again.is(Code::Unauthorized);
    close(desk.runtime).await;
}

/// B-TOKEN-1: with its session a token is gone, and so it is where a backup of it is restored.
#[tokio::test]
async fn a_token_does_not_outlive_its_session_and_is_not_in_a_backup() {
    let desk = Desk::working(Mode::Serve).await;
    let id = desk.starts("one").await.id;
    let token = desk.mints(&id, &ALL, None).await.token;
    let copy = desk.folder.path().join("copy");
    longhaul_journal::backup(&desk.data(), &copy).expect("it is copied");
    assert!(!copy.join("token.key").exists());
    let control = desk.runtime.control();
    log_until(&control, &id, &["completed"]).await;
    desk.gets(&session(&id, ""), &token).await.is_granted();
    let remove = longhaul::api::Remove { log: true };
    control.remove(&id, remove).await.expect("it is removed");
    desk.gets(&session(&id, ""), &token)
        .await
        .is(Code::AgentSessionInvalid);

    // Where the copy is restored with the key beside it, nobody knows what was revoked since.
    std::fs::copy(desk.data().join("token.key"), copy.join("token.key")).expect("copied");
    let restored = open(&copy, &desk.clock, Mode::Dormant).await;
    let shown = restored.control().bearer(&token).await;
    assert_eq!(shown.expect_err("it does not count").code, Code::Unauthorized);
    restored.control().adopt(&id).await.expect("it is taken on");
    let minted = restored
        .control()
        .mint(&id, Mint::of(&ALL))
        .await
        .expect("it is minted");
    let shown = restored.control().bearer(&token).await;
    assert_eq!(shown.expect_err("it does not count").code, Code::Unauthorized);
    let bearer = restored.control().bearer(&minted.token).await.expect("it counts");
    assert_eq!((bearer.session, bearer.id), (id, minted.id));
    close(restored).await;
    close(desk.runtime).await;
}

/// B-TOKEN-1: the client shows its token with each call, and asks for tokens as everybody does.
#[tokio::test]
async fn the_client_is_held_to_the_token_that_it_shows() {
    let desk = Desk::new().await;
    let id = desk.starts("one").await.id;
    let owner = SocketClient::connect(desk.data())
        .await
        .expect("no error")
        .expect("it is served");
    let minted = owner
        .mint(&id, Mint::of(&[Scope::Read]))
        .await
        .expect("it is minted");
    let reader = owner.clone().with_token(minted.token.clone());
    assert!(!format!("{reader:?}").contains(minted.token.reveal()));
    assert_eq!(reader.show(&id).await.expect("it reads").id, id);
    let refused = reader.pause(&id, longhaul::api::Pause::default()).await;
    assert_eq!(refused.expect_err("it does not steer").code, Code::ForbiddenScope);
    let refused = reader.mint(&id, Mint::of(&[Scope::Read])).await;
    assert_eq!(
        refused.expect_err("a token mints none").code,
        Code::ForbiddenScope
    );
    assert_eq!(owner.tokens(&id).await.expect("listed").tokens[0].id, minted.id);
    assert!(!owner.revoke(&id, &minted.id).await.expect("revoked").repeated);
    assert!(owner.revoke(&id, &minted.id).await.expect("revoked").repeated);
    assert_eq!(
        reader.show(&id).await.expect_err("it is revoked").code,
        Code::Unauthorized
    );
    close(desk.runtime).await;
}

/// B-TOKEN-1: what was answered holds, whatever was killed right after.
#[tokio::test]
async fn a_kill_neither_voids_a_token_nor_brings_a_revoked_one_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let brain = playbook(folder.path(), "[[step]]\nsay = \"hi\"\n");
    let mut child = Child::start(&[], PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let id = longhaul_tests::start(&control, brain, "be looked at").await.id;
    let shows = |token: TokenText| async {
        let client = SocketClient::connect(&data)
            .await
            .expect("no error")
            .expect("it is served");
        client
            .with_token(token)
            .show(&id)
            .await
            .map_err(|problem| problem.code)
    };
    for round in 0..3 {
        let control = child.control().await.expect("it serves");
        let minted = control
            .mint(&id, Mint::of(&[Scope::Read]))
            .await
            .expect("it is minted");
        child.kill().await;
        child = Child::start(&[], PROGRAM, &data);
        let control = child.control().await.expect("it serves");
        shows(minted.token.clone())
            .await
            .unwrap_or_else(|code| panic!("round {round}: {code:?}"));
        control.revoke(&id, &minted.id).await.expect("it is revoked");
        child.kill().await;
        child = Child::start(&[], PROGRAM, &data);
        child.control().await.expect("it serves");
        assert_eq!(
            shows(minted.token).await.err(),
            Some(Code::Unauthorized),
            "round {round}"
        );
    }
    child.kill().await;
}

/// B-TOKEN-1: shown in every way, right and wrong, with everything logged that there is to log.
#[tokio::test]
async fn the_text_of_a_token_is_in_no_log_no_error_and_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, logged) = (folder.path().join("data"), folder.path().join("log"));
    let brain = playbook(folder.path(), "[[step]]\nsay = \"hi\"\n");
    let to_file = format!("exec \"$@\" 2>>'{}'", logged.display());
    let wrapper = ["env", "LONGHAUL_LOG=trace", "sh", "-c", &to_file, "sh"];
    let mut child = Child::start(&wrapper, PROGRAM, &data);
    let control = child.control().await.expect("it serves");
    let id = longhaul_tests::start(&control, brain, "be looked at").await.id;
    let minted = control
        .mint(&id, Mint::of(&[Scope::Read]))
        .await
        .expect("it is minted");
    let text = minted.token.reveal().to_owned();
    let socket = data.join("control.sock");
    let mut heard = Vec::new();
    let ask = |method: &str, path: &str, headers: &str| {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: longhaul\r\nconnection: close\r\n{headers}\r\n");
        asked(&socket, &head)
    };
    let header = format!("authorization: Bearer {text}\r\n");
    let cut = format!("authorization: Bearer {}\r\n", &text[..text.len() - 4]);
    for rest in [
        "",
        "/events",
        "/events?after=x",
        "/events?after=99",
        "/archive",
        "/none",
        "/tokens",
    ] {
        let mark = if rest.contains('?') { '&' } else { '?' };
        let path = session(&id, rest);
        let (with, name) = (
            format!("{path}{mark}token={text}"),
            format!("{path}{mark}tok%65n={text}"),
        );
        for (path, headers) in [
            (&path, &*header),
            (&path, &*cut),
            (&with, ""),
            (&name, ""),
            (&with, &*header),
            (&with, "accept: text/event-stream\r\n"),
        ] {
            heard.extend(ask("GET", path, headers));
        }
        heard.extend(ask("POST", &with, "content-length: 0\r\n"));
        heard.extend(ask("PUT", &path, &header));
    }
    heard.extend(ask(
        "GET",
        &session(&id, ""),
        &format!("authorization: Basic {text}\r\n"),
    ));
    heard.extend(ask(
        "GET",
        &session(&id, ""),
        &format!("authorization: {text}\r\n"),
    ));
    for words in [
        vec!["show", &*id],
        vec!["pause", &*id, "--json"],
        vec!["token", "ls", &*id],
    ] {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(words).stdin(std::process::Stdio::null());
        command
            .env("LONGHAUL_DATA", &data)
            .env("LONGHAUL_TOKEN", &text)
            .env("LONGHAUL_LOG", "trace");
        let output = longhaul_tests::watched::output(&mut command);
        heard.extend([output.stdout, output.stderr].concat());
    }
    control.revoke(&id, &minted.id).await.expect("it is revoked");
    heard.extend(ask("GET", &session(&id, ""), &header));
    let listed = control.tokens(&id).await.expect("listed");
    heard.extend(serde_json::to_vec(&listed).expect("it is JSON"));
    child.kill().await;
    let heard_text = String::from_utf8_lossy(&heard);
    for wanted in [
        "200 OK",
        "token_expired",
        "forbidden_scope",
        "unauthorized",
        "session.started",
    ] {
        // Nothing ran out here.
        assert_eq!(heard_text.contains(wanted), wanted != "token_expired", "{wanted}");
    }

    let key = std::fs::read_to_string(data.join("token.key")).expect("there is a key");
    let key = key.trim_end();
    let raw = key.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    });
    // Neither the whole nor a good part of it.
    let secrets = [
        text.as_bytes()[..48].to_vec(),
        text.as_bytes()[text.len() - 48..].to_vec(),
        key.as_bytes().to_vec(),
        raw.collect(),
    ];
    let mut places = vec![
        ("what was answered".into(), heard),
        ("the log".into(), read(&logged)),
    ];
    let mut folders = vec![data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            let meta = std::fs::symlink_metadata(&path).expect("it is there");
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() && path != data.join("token.key") {
                places.push((path.display().to_string(), read(&path)));
            }
        }
    }
    assert!(
        places
            .iter()
            .any(|(place, bytes)| place.ends_with(".seg") && holds(bytes, b"token.minted"))
    );
    assert!(places[1].1.len() > 1_000, "nothing was logged");
    for (place, bytes) in &places {
        for secret in &secrets {
            assert!(
                !holds(bytes, secret),
                "{place} holds {:?}",
                String::from_utf8_lossy(secret)
            );
        }
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("readable")
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
