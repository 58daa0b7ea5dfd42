//! The client against the real server, and against peers that break off.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use longhaul_actors::session::SendMode;
use longhaul_journal::Level;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::SocketClient;
use crate::api::{Cancel, Code, EventsQuery, ListQuery, Pause, Problem, Send as SendMessage, Start};
use crate::control::Control;
use crate::http::support::{BLOB, ID, KEY, SHA256, Served};

async fn client(directory: impl AsRef<Path>) -> SocketClient {
    SocketClient::connect(directory)
        .await
        .unwrap()
        .expect("somebody serves it")
}

/// A message that the test does not care about.
fn message() -> SendMessage {
    SendMessage {
        text: "t".to_owned(),
        mode: SendMode::Queue,
        idempotency_key: Some("k".to_owned()),
        by: None,
    }
}

#[tokio::test]
async fn each_call_arrives_and_is_answered_as_in_process() {
    let served = Served::with(&[Level::User, Level::Internal, Level::User]).await;
    served.desk.gate.add_permits(1);
    let client = client(&served.directory).await;
    let start = || Start {
        goal: "g".to_owned(),
        idempotency_key: Some("k".to_owned()),
        ..Start::default()
    };
    let started = client.start(start()).await.unwrap();
    assert_eq!(
        (started.id.as_str(), started.head, started.repeated),
        (ID, 3, false)
    );
    assert!(client.start(start()).await.unwrap().repeated);
    assert_eq!(client.send(ID, message()).await.unwrap().seq, 3);
    client
        .pause(
            ID,
            Pause {
                now: true,
                ..Pause::default()
            },
        )
        .await
        .unwrap();
    client.resume(ID, crate::api::Resume::default()).await.unwrap();
    client
        .cancel(
            ID,
            Cancel {
                force: true,
                ..Cancel::default()
            },
        )
        .await
        .unwrap();
    client.archive(KEY).await.unwrap();
    let expected = [
        r#"start g Some("k")"#,
        r#"start g Some("k")"#,
        r#"send t Queue Some("k")"#,
        "pause true asked",
        "pause true done",
        "resume",
        "cancel true",
        "archive",
    ];
    assert_eq!(served.desk.wishes(), expected);

    let cursor = Some("a&b=c d/ü".to_owned());
    let list = client
        .list(ListQuery {
            cursor,
            limit: Some(3),
            archived: true,
        })
        .await
        .unwrap();
    assert_eq!(list.next_cursor.as_deref(), Some("a&b=c d/ü Some(3) true"));
    assert_eq!(list.sessions, [served.desk.view()]);
    assert_eq!(
        client.show(KEY).await.unwrap(),
        served.desk.view(),
        "a key may hold anything"
    );
    let query = EventsQuery {
        after: 1,
        limit: 1,
        level: Level::User,
        wait_ms: 0,
    };
    let page = client.events(ID, query).await.unwrap();
    assert_eq!((page.events.len(), page.next_after, page.head), (0, 2, 3));
    let query = EventsQuery {
        after: 2,
        ..EventsQuery::default()
    };
    let page = client.events(ID, query).await.unwrap();
    assert_eq!(
        serde_json::to_value(&page.events[0]).unwrap(),
        served.desk.shown(Level::Internal)[2]
    );
    assert_eq!(client.blob(SHA256).await.unwrap(), BLOB);
}

/// But for the path that was asked, which nobody below the edge knows.
#[tokio::test]
async fn a_problem_arrives_as_it_was_raised() {
    let served = Served::with(&[]).await;
    let client = client(&served.directory).await;
    for code in Code::ALL {
        let problem = Problem::new(*code, "so it is").next("look", "longhaul ls");
        let at = |path: String| {
            let mut problem = problem.clone();
            problem.fields.instance = (*code != Code::NotFound).then_some(path);
            problem
        };
        served.desk.refuse_next(problem.clone());
        assert_eq!(
            client
                .resume(ID, crate::api::Resume::default())
                .await
                .unwrap_err(),
            at(format!("/v1/sessions/{ID}/resume"))
        );
        served.desk.refuse_next(problem.clone());
        assert_eq!(
            client.show(ID).await.unwrap_err(),
            at(format!("/v1/sessions/{ID}"))
        );
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_not_lost() {
    let served = Served::with(&[]).await;
    let large = SendMessage {
        text: "x".repeat(3 << 20),
        ..message()
    };
    let problem = client(&served.directory).await.send(ID, large).await.unwrap_err();
    assert_eq!(problem.code, Code::PayloadTooLarge);
}

#[tokio::test]
async fn clients_do_not_wait_for_each_other() {
    let served = Served::with(&[]).await;
    let (one, two) = (client(&served.directory).await, client(&served.directory).await);
    let poll = one.events(
        ID,
        EventsQuery {
            wait_ms: 30_000,
            ..EventsQuery::default()
        },
    );
    let others = async {
        served
            .desk
            .until("one waits", |desk| {
                desk.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
            })
            .await;
        // More of them at once than there are threads anywhere.
        let sends = join_all((0..50).map(|_| two.send(ID, message()))).await;
        assert!(sends.iter().all(Result::is_ok));
        served.desk.append(Level::User);
    };
    let (page, ()) = tokio::join!(poll, others);
    assert_eq!(page.unwrap().events.len(), 1);
    assert_eq!(served.desk.wishes().len(), 50);
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_client() {
    let directory = tempfile::tempdir().unwrap();
    assert!(
        SocketClient::connect(directory.path().join("missing"))
            .await
            .unwrap()
            .is_none()
    );
    assert!(SocketClient::connect(&directory).await.unwrap().is_none());
    // The socket file of a process that was killed.
    drop(UnixListener::bind(directory.path().join("control.sock")).unwrap());
    assert!(SocketClient::connect(&directory).await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_apart_from_a_wish_that_may_have_happened() {
    let served = Served::with(&[]).await;
    let client = client(&served.directory).await;
    let Served {
        directory, socket, ..
    } = served;
    socket.close().await;
    for problem in [
        client.send(ID, message()).await.unwrap_err(),
        client.show(ID).await.unwrap_err(),
    ] {
        assert_eq!(problem.code, Code::NotServing);
        assert!(problem.next_actions[0].command.starts_with("longhaul serve"));
    }
    drop(directory);
}

/// A peer that answers one connection after the other with these bytes, having read the request, and then hangs up. It
/// hands out how many requests it has seen.
struct Breaking {
    directory: TempDir,
    seen: tokio::task::JoinHandle<usize>,
}

impl Breaking {
    fn answering(answers: Vec<&'static str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("control.sock")).unwrap();
        let seen = tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut seen = 0;
            // The last request comes after the last answer: a client that dials to see whether somebody is there does
            // not count.
            while let Ok((mut stream, _)) = listener.accept().await {
                if !read_request(&mut stream).await {
                    continue;
                }
                seen += 1;
                let Some(answer) = answers.next() else { break };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answers.as_slice().is_empty() {
                    break;
                }
            }
            seen
        });
        Self { directory, seen }
    }
}

/// Reads until the request is whole, as far as these tests send any; false when the peer hung up instead.
async fn read_request(stream: &mut UnixStream) -> bool {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => text.extend_from_slice(&chunk[..read]),
            _ => return false,
        }
        let whole = text.windows(4).any(|end| end == b"\r\n\r\n");
        if whole && (text.starts_with(b"GET") || text.ends_with(b"}")) {
            return true;
        }
    }
}

const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":";

#[tokio::test]
async fn a_wish_whose_answer_is_lost_may_or_may_not_have_happened_and_is_not_sent_again() {
    for answer in ["", CUT, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"] {
        let peer = Breaking::answering(vec![answer]);
        let problem = client(&peer.directory)
            .await
            .send(ID, message())
            .await
            .unwrap_err();
        assert_eq!(problem.code, Code::OutcomeUnknown, "{answer:?}");
        assert!(problem.detail.contains("idempotency key"), "{}", problem.detail);
        assert_eq!(peer.seen.await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_question_whose_answer_is_lost_is_asked_once_more() {
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n{\"sessions\":[],\"nextCursor\":\"the second\"}";
    let peer = Breaking::answering(vec![CUT, page]);
    let list = client(&peer.directory)
        .await
        .list(ListQuery::default())
        .await
        .unwrap();
    assert_eq!(list.next_cursor.as_deref(), Some("the second"));
    assert_eq!(peer.seen.await.unwrap(), 2);

    let peer = Breaking::answering(vec![CUT, ""]);
    let problem = client(&peer.directory)
        .await
        .list(ListQuery::default())
        .await
        .unwrap_err();
    assert_eq!(problem.code, Code::NotServing);
    assert_eq!(peer.seen.await.unwrap(), 2);
}

#[tokio::test]
async fn an_answer_that_explains_nothing_is_believed_only_where_nothing_can_have_happened() {
    let answer = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops";
    let peer = Breaking::answering(vec![answer, answer]);
    let client = client(&peer.directory).await;
    let shown = client.show(ID).await.unwrap_err();
    let resumed = client
        .resume(ID, crate::api::Resume::default())
        .await
        .unwrap_err();
    assert_eq!((shown.code, resumed.code), (Code::Internal, Code::OutcomeUnknown));
    assert!(shown.detail.contains("502") && resumed.detail.contains("502"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let _silent = UnixListener::bind(directory.path().join("control.sock")).unwrap();
    let client = SocketClient {
        patience: Duration::from_millis(20),
        ..client(&directory).await
    };
    assert_eq!(client.show(ID).await.unwrap_err().code, Code::NotServing);
    assert_eq!(
        client
            .resume(ID, crate::api::Resume::default())
            .await
            .unwrap_err()
            .code,
        Code::OutcomeUnknown
    );
}
