//! Each route, and each way in which a request can be refused.

use longhaul_journal::Level;
use serde_json::json;

use super::support::{BLOB, Desk, ID, SHA256, Served};
use crate::api::{Code, Problem};

const LOG: [Level; 3] = [Level::User, Level::Internal, Level::Progress];

/// B-START-1, the HTTP half: 201 the first time, 200 when it was there already.
#[tokio::test]
async fn a_session_is_created_once_and_found_again() {
    let served = Served::with(&LOG).await;
    let first = served
        .post("/v1/sessions", r#"{"goal": "mend it", "idempotencyKey": "k1"}"#)
        .await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("location"), format!("/v1/sessions/{ID}"));
    assert_eq!(
        first.json(),
        json!({"id": ID, "state": "queued", "head": 3, "repeated": false})
    );
    let again = served
        .post("/v1/sessions", r#"{"goal": "mend it", "idempotencyKey": "k1"}"#)
        .await;
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)));
}

/// B-START-2: the header and the field are the same knob, and the header wins.
#[tokio::test]
async fn the_idempotency_key_of_the_header_wins_over_that_of_the_body() {
    let served = Served::with(&LOG).await;
    let header = [("Idempotency-Key", "from-header")];
    served
        .call(
            "POST",
            "/v1/sessions",
            &header,
            r#"{"goal": "g", "idempotencyKey": "from-body"}"#,
        )
        .await;
    let path = format!("/v1/sessions/{ID}/messages");
    served.call("POST", &path, &header, r#"{"text": "t"}"#).await;
    let expected = [
        r#"start g Some("from-header")"#,
        r#"send t Steer Some("from-header")"#,
    ];
    assert_eq!(served.desk.wishes(), expected);

    let empty = served
        .call("POST", "/v1/sessions", &[("Idempotency-Key", "")], "{}")
        .await;
    let detail = empty.problem(400, Code::InvalidRequest);
    assert!(detail.contains("idempotency-key"), "{detail}");
}

#[tokio::test]
async fn sessions_are_listed_and_shown() {
    let served = Served::with(&LOG).await;
    let list = served
        .get("/v1/sessions?cursor=c%201&limit=7&archived=true")
        .await;
    assert_eq!(list.status, 200);
    assert_eq!(
        list.json(),
        json!({"sessions": [served.desk.view()], "nextCursor": "c 1 Some(7) true"})
    );
    let shown = served.get(&format!("/v1/sessions/{ID}")).await;
    assert_eq!((shown.status, shown.json()), (200, json!(served.desk.view())));
    let unknown = served.get("/v1/sessions/s_7f3a").await;
    assert_eq!(unknown.problem(404, Code::NotFound), "there is no session s_7f3a");
    assert_eq!(unknown.json()["nextActions"][0]["command"], "longhaul ls");
}

/// B-GATE-3, the HTTP half: grounds are words of the request, and this process acts for no agent.
#[tokio::test]
async fn approvals_are_decided_with_grounds() {
    let served = Served::with(&LOG).await;
    let approved = served
        .post("/v1/approvals/ap_1/approve", r#"{"evidence": "read it"}"#)
        .await;
    assert_eq!(approved.status, 200);
    let denied = served
        .post("/v1/approvals/ap_2/deny", r#"{"reason": "no"}"#)
        .await;
    assert_eq!(denied.status, 200);
    assert_eq!(served.desk.wishes(), ["Approve ap_1: read it", "Deny ap_2: no"]);
    for (path, body) in [
        ("/v1/approvals/ap_1/approve", "{}"),
        ("/v1/approvals/ap_1/approve", r#"{"reason": "no"}"#),
        ("/v1/approvals/ap_1/deny", r#"{"evidence": "yes"}"#),
        ("/v1/approvals/ap_1/approve", r#"{"evidence": 7}"#),
    ] {
        served.post(path, body).await.problem(400, Code::InvalidRequest);
    }
    let read = served.get("/v1/approvals?sesion=x").await;
    read.problem(400, Code::InvalidRequest);
}

/// B-STREAM-1: pages by seq, limit and level.
#[tokio::test]
async fn a_page_of_records_says_where_the_next_begins() {
    let served = Served::with(&LOG).await;
    let path = format!("/v1/sessions/{ID}/events");
    let all = served.get(&path).await.json();
    assert_eq!(all["events"], json!(served.desk.shown(Level::Internal)));
    assert_eq!(
        (&all["nextAfter"], &all["head"], &all["ended"]),
        (&json!(3), &json!(3), &json!(false))
    );

    let second = served
        .get(&format!("{path}?after=1&limit=1&level=user"))
        .await
        .json();
    assert_eq!(
        (&second["events"], &second["nextAfter"]),
        (&json!([]), &json!(2)),
        "hidden ones are passed, too"
    );
}

#[tokio::test]
async fn a_long_poll_is_answered_by_the_record_it_waits_for() {
    let served = Served::with(&LOG).await;
    let path = format!("/v1/sessions/{ID}/events?after=3&waitMs=30000");
    let poll = served.get(&path);
    let append = async {
        served
            .desk
            .until("the poll waits", |desk| {
                desk.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
            })
            .await;
        served.desk.append(Level::User);
    };
    let (page, ()) = tokio::join!(poll, append);
    assert_eq!(page.json()["events"][0]["seq"], 4);
}

/// B-STREAM-1: a cursor beyond the head belongs to another log, and waiting there would be waiting for ever.
#[tokio::test]
async fn a_cursor_beyond_the_head_is_told_the_head() {
    let served = Served::with(&LOG).await;
    let page = served.get(&format!("/v1/sessions/{ID}/events?after=4")).await;
    page.problem(400, Code::InvalidRequest);
    assert_eq!(page.json()["head"], 3);
    assert_eq!(
        served
            .get(&format!("/v1/sessions/{ID}/events?after=3"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn every_wish_reaches_the_router() {
    let served = Served::with(&LOG).await;
    served.desk.gate.add_permits(2);
    let session = format!("/v1/sessions/{ID}");
    let message = r#"{"text": "also this", "mode": "interrupt", "idempotencyKey": "k"}"#;
    for (path, body) in [
        ("messages", message),
        ("pause", ""),
        ("pause", r#"{"now": true}"#),
        ("resume", ""),
        ("cancel", r#"{"force": true}"#),
        ("archive", "{}"),
    ] {
        let accepted = served.post(&format!("{session}/{path}"), body).await;
        assert_eq!(accepted.status, 200, "{path}");
        assert_eq!(
            accepted.json(),
            json!({"id": ID, "seq": 3, "repeated": false, "state": "running"})
        );
    }
    let expected = [
        r#"send also this Interrupt Some("k")"#,
        "pause false asked",
        "pause false done",
        "pause true asked",
        "pause true done",
        "resume",
        "cancel true",
        "archive",
    ];
    assert_eq!(served.desk.wishes(), expected);
}

/// B-LOG-4, the HTTP half.
#[tokio::test]
async fn a_blob_comes_as_it_is() {
    let served = Served::with(&LOG).await;
    let blob = served.get(&format!("/v1/blobs/{SHA256}")).await;
    assert_eq!((blob.status, &blob.body[..]), (200, BLOB));
    assert_eq!(blob.header("content-type"), "application/octet-stream");
    assert_eq!(blob.header("etag"), format!("\"{SHA256}\""));
    served
        .get(&format!("/v1/blobs/{}", "0".repeat(64)))
        .await
        .problem(404, Code::NotFound);
    for name in ["..%2F..%2Fetc%2Fpasswd", "984563", &SHA256.to_uppercase()] {
        served
            .get(&format!("/v1/blobs/{name}"))
            .await
            .problem(400, Code::InvalidRequest);
    }
}

#[tokio::test]
async fn health_is_the_process_and_readiness_is_the_journal() {
    let served = Served::with(&LOG).await;
    served
        .desk
        .refuse_next(Problem::new(Code::StorageUnavailable, "the disk is gone"));
    assert_eq!(served.get("/healthz").await.json(), json!({"ok": true}));
    let ready = served.get("/readyz").await;
    assert_eq!(ready.problem(503, Code::StorageUnavailable), "the disk is gone");
    assert_eq!(served.get("/readyz").await.json(), json!({"ok": true}));
}

/// After a failed sync everything can be read still, and a server that calls itself ready is never restarted.
#[tokio::test]
async fn who_can_write_nothing_any_more_is_not_ready() {
    let served = Served::with(&LOG).await;
    served
        .desk
        .poison(Problem::new(Code::StorageUnavailable, "a sync failed"));
    let ready = served.get("/readyz").await;
    assert_eq!(ready.problem(503, Code::StorageUnavailable), "a sync failed");
    assert_eq!(served.get("/healthz").await.json(), json!({"ok": true}));
}

/// B-LOG-10: one damaged session is named, and holds up nobody else.
#[tokio::test]
async fn readiness_names_quarantined_sessions() {
    let served = Served::with(&LOG).await;
    served.desk.lose_a_record();
    let ready = served.get("/readyz").await.json();
    assert_eq!(ready["ok"], true);
    assert_eq!(ready["quarantined"][0]["reason"], "a byte went bad");
}

/// B section 13: one envelope, and the router's problem arrives unchanged, whichever code it has, but for the path that
/// was asked. That is told of nothing that is not there.
#[tokio::test]
async fn every_problem_of_the_router_arrives_whole() {
    let served = Served::with(&LOG).await;
    for code in Code::ALL {
        let mut problem = Problem::new(*code, "so it is").next("look", "longhaul ls");
        served.desk.refuse_next(problem.clone());
        let path = format!("/v1/sessions/{ID}/cancel");
        let reply = served.post(&path, "").await;
        assert_eq!(reply.problem(code.status(), *code), "so it is");
        problem.fields.instance = (*code != Code::NotFound).then_some(path);
        assert_eq!(reply.json(), json!(problem));
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_by_the_name_of_the_field() {
    let served = Served::with(&LOG).await;
    let messages = format!("/v1/sessions/{ID}/messages");
    for (path, body, named) in [
        (
            "/v1/sessions",
            r#"{"goal": "g", "gaol": 1}"#,
            "unknown field `gaol`",
        ),
        (
            "/v1/sessions",
            r#"{"goal": 3}"#,
            "at goal: invalid type: integer `3`, expected a string",
        ),
        (
            "/v1/sessions",
            r#"{"limits": {"turnMs": "long"}}"#,
            "at limits.turnMs",
        ),
        (
            "/v1/sessions",
            r#"{"limits": {"run_ms": 1}}"#,
            "at limits.run_ms: unknown field `run_ms`",
        ),
        (
            "/v1/sessions",
            r#"{"limits": {"resources": {"memory": 1}}}"#,
            "unknown field `memory`",
        ),
        (
            "/v1/sessions",
            r#"{"workspace": {"kind": "clone", "sorce": "/home"}}"#,
            "unknown field `sorce`",
        ),
        (
            "/v1/sessions",
            r#"{"mode": "until-done"}"#,
            "at mode: unknown variant `until-done`",
        ),
        ("/v1/sessions", r#"{"goal": "#, "EOF while parsing"),
        ("/v1/sessions", "{} {}", "more than one value"),
        (messages.as_str(), "", "missing field `text`"),
        (
            messages.as_str(),
            r#"{"text": "t", "mode": "shout"}"#,
            "at mode: unknown variant `shout`",
        ),
        ("/v1/sessions/x/resume", r#"{"now": true}"#, "unknown field `now`"),
        ("/v1/sessions/x/archive", "[]", "must be a JSON object"),
        ("/v1/sessions", r#"["goal"]"#, "must be a JSON object"),
    ] {
        let reply = served.post(path, body).await;
        let detail = reply.problem(400, Code::InvalidRequest);
        assert!(detail.contains(named), "{body} is told: {detail}");
        assert_eq!(reply.json()["instance"], path);
    }
    assert!(served.desk.wishes().is_empty());
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_by_the_name_of_the_parameter() {
    let served = Served::with(&LOG).await;
    let events = format!("/v1/sessions/{ID}/events");
    for (path, named) in [
        (format!("{events}?after=1&limit=many"), "limit=many"),
        (format!("{events}?after=-1"), "after=-1"),
        (format!("{events}?level=loud"), "level=loud"),
        (format!("{events}?wait_ms=1"), "unknown field `wait_ms`"),
        (format!("{events}?after=1&after=2"), "duplicate field `after`"),
        ("/v1/sessions?archived=perhaps".to_owned(), "archived=perhaps"),
    ] {
        let detail = served.get(&path).await.problem(400, Code::InvalidRequest);
        assert!(detail.contains(named), "{path} is told: {detail}");
    }
}

#[tokio::test]
async fn a_parameter_that_a_route_does_not_take_is_no_wish_that_may_be_passed_over() {
    let served = Served::with(&LOG).await;
    for (method, path) in [
        ("GET", "/v1/credits?foo=1"),
        ("GET", "/v1/sessions/x?foo=1"),
        ("POST", "/v1/sessions?foo=1"),
        ("POST", "/v1/sessions/x/messages?foo=1"),
        ("POST", "/v1/credits/top-ups?foo=1"),
    ] {
        let reply = served.call(method, path, &[], "").await;
        let detail = reply.problem(400, Code::InvalidRequest);
        assert!(
            detail.contains("unknown field `foo`"),
            "{method} {path}: {detail}"
        );
    }
    assert_eq!(served.get("/healthz?from=a-balancer").await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let served = Served::with(&LOG).await;
    let frame = r#"{"text": ""}"#.len();
    let message = |length: usize| format!(r#"{{"text": "{}"}}"#, "x".repeat(length - frame));
    let path = format!("/v1/sessions/{ID}/messages");
    assert_eq!(served.post(&path, &message(1 << 20)).await.status, 200);
    for length in [(1 << 20) + 1, 5 << 20] {
        let detail = served
            .post(&path, &message(length))
            .await
            .problem(413, Code::PayloadTooLarge);
        assert!(detail.contains("1048576"), "{detail}");
    }
    assert_eq!(served.desk.wishes().len(), 1);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems_too() {
    let served = Served::with(&LOG).await;
    for path in [
        "/",
        "/v1",
        "/v1/sessions/",
        "/v1/sessions/x/explode",
        "/v2/sessions",
    ] {
        let reply = served.get(path).await;
        let detail = reply.problem(404, Code::NotFound);
        assert!(detail.contains(path), "{detail}");
        assert_eq!(reply.json().get("instance"), None);
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/sessions", "GET, POST"),
        ("PUT", "/v1/sessions/x", "GET"),
        ("GET", "/v1/sessions/x/cancel", "POST"),
        ("POST", "/healthz", "GET"),
    ] {
        let reply = served.call(method, path, &[], "").await;
        reply.problem(405, Code::InvalidRequest);
        assert_eq!(reply.header("allow"), allow);
        assert_eq!(reply.json()["instance"], path);
    }
}

/// B-STEER, B-STOP at the edge: a wish that was read is carried out, though nobody waits for the answer any more.
#[tokio::test]
async fn a_wish_outlives_the_connection_that_brought_it() {
    let served = Served::with(&LOG).await;
    let path = format!("/v1/sessions/{ID}/pause");
    let arrived = |desk: &Desk| desk.wishes() == ["pause false asked"];
    tokio::select! {
        _ = served.post(&path, "") => panic!("nothing lets the wish through yet"),
        () = served.desk.until("the wish arrives", arrived) => {}
    }
    // The one thread that serves has seen the end of that connection by the time it has served this one, and more.
    for _ in 0..20 {
        assert_eq!(served.get("/healthz").await.status, 200);
    }
    served.desk.gate.add_permits(1);
    let done = ["pause false asked", "pause false done"];
    served
        .desk
        .until("the wish is carried out", |desk| desk.wishes() == done)
        .await;
}
