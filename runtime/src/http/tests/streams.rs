//! Streams of records: whole, in order, once each, and ended when there is nothing more to say.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use longhaul_journal::Level;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::support::{ID, Served};
use crate::api::{Code, Problem};

const LEVELS: [Level; 3] = [Level::User, Level::Progress, Level::Internal];

/// A frame of a stream.
#[derive(Clone, Debug, PartialEq)]
enum Frame {
    Retry(u64),
    Record(u64, Value),
    Ping(u64, Value),
}

/// Reads frames the way a browser does: what is not whole does not count.
struct Reader {
    body: Incoming,
    text: Vec<u8>,
    /// Bytes it still reads before it is cut off.
    budget: usize,
}

impl Reader {
    fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self {
            body: response.into_body(),
            text: Vec::new(),
            budget: usize::MAX,
        }
    }

    /// The next whole frame; none at the end of the stream, or of the budget.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.text.drain(..end + 2).collect();
                return Some(parse(std::str::from_utf8(&frame).unwrap()));
            }
            if self.budget == 0 {
                return None;
            }
            let chunk = match self.body.frame().await? {
                Ok(frame) => frame.into_data().unwrap(),
                Err(error) => panic!("the stream broke: {error}"),
            };
            let read = chunk.len().min(self.budget);
            self.budget -= read;
            self.text.extend_from_slice(&chunk[..read]);
        }
    }

    async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

fn parse(frame: &str) -> Frame {
    let (mut event, mut id, mut data) = ("message", None, None);
    for line in frame.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(": ").unwrap();
        match field {
            "retry" => return Frame::Retry(value.parse().unwrap()),
            "event" => event = value,
            "id" => id = Some(value.parse().unwrap()),
            "data" => assert!(
                data.replace(serde_json::from_str(value).unwrap()).is_none(),
                "one line each"
            ),
            other => panic!("unknown field {other}"),
        }
    }
    match event {
        "message" => Frame::Record(id.unwrap(), data.unwrap()),
        "ping" => Frame::Ping(id.unwrap(), data.unwrap()),
        other => panic!("unknown event {other}"),
    }
}

fn records(frames: &[Frame]) -> Vec<Value> {
    let records = frames.iter().filter_map(|frame| match frame {
        Frame::Record(id, record) => {
            assert_eq!(record["seq"], *id, "the id is the seq");
            Some(record.clone())
        }
        _ => None,
    });
    records.collect()
}

fn word(level: Level) -> String {
    serde_json::to_value(level).unwrap().as_str().unwrap().to_owned()
}

/// `count` levels in an order that looks like none.
fn mixed(count: usize) -> Vec<Level> {
    (0..count).map(|n| LEVELS[n * n * 7 / 5 % 3]).collect()
}

#[tokio::test]
async fn a_stream_begins_with_how_to_come_back_and_is_never_buffered() {
    let served = Served::with(&mixed(3)).await;
    let stream = served.stream("", None).await;
    let header = |name: &str| stream.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(header("cache-control"), "no-cache, no-transform");
    assert_eq!(header("x-accel-buffering"), "no");
    assert!(stream.headers().get("content-encoding").is_none());
    assert_eq!(Reader::of(stream).next().await, Some(Frame::Retry(2000)));
}

/// B-STREAM-1: it catches up, over more than a chunk, and stays live.
#[tokio::test]
async fn a_stream_catches_up_and_stays_live() {
    let served = Served::with(&mixed(200)).await;
    let mut reader = Reader::of(served.stream("after=10", None).await);
    let mut frames = Vec::new();
    while frames.len() < 191 {
        frames.push(reader.next().await.unwrap());
    }
    served
        .desk
        .until("the stream waits", |desk| {
            desk.waiting.load(Ordering::SeqCst) == 1
        })
        .await;
    served.desk.append(Level::User);
    frames.push(reader.next().await.unwrap());
    served.desk.append(Level::Internal);
    frames.push(reader.next().await.unwrap());
    assert_eq!(records(&frames), served.desk.shown(Level::Internal)[10..]);
}

/// B-STREAM-2: each page is followed at once by an append, before anybody can wait for it.
#[tokio::test]
async fn appends_in_the_window_between_reading_and_waiting_are_neither_missed_nor_repeated() {
    for level in LEVELS {
        let served = Served::with(&mixed(5)).await;
        served.desk.append_in_windows(&mixed(150));
        served.desk.end();
        let frames = Reader::of(served.stream(&format!("level={}", word(level)), None).await)
            .rest()
            .await;
        assert!(served.desk.windows_are_used());
        assert_eq!(served.desk.shown(Level::Internal).len(), 155);
        assert_eq!(records(&frames), served.desk.shown(level), "{level:?}");
    }
}

/// B-STREAM-1, B-LOG-3: a connection that breaks anywhere, at every level, costs nothing and repeats nothing.
#[tokio::test]
async fn a_stream_cut_at_random_bytes_and_resumed_is_the_log() {
    let seed =
        u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap_or(1) | 1;
    println!("seed {seed}");
    let mut state = seed;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for level in LEVELS {
        let served = Served::with(&mixed(80)).await;
        let query = format!("after=0&level={}", word(level));
        let (mut last_event_id, mut joined, mut cuts) = (None, Vec::new(), 0);
        loop {
            // The log grows for the first hundred cuts, and then ends.
            if cuts < 100 {
                served.desk.append(LEVELS[random(3)]);
            } else {
                served.desk.end();
            }
            // Later connections get further, so that the end is reached.
            let budget = 1 + random(400 + cuts * 10);
            cuts += 1;
            let stream = served.stream(&query, last_event_id).await;
            if stream.status() == 204 {
                break;
            }
            let mut reader = Reader::of(stream);
            reader.budget = budget;
            while let Some(frame) = next_or_caught_up(&mut reader, &served, level, last_event_id).await {
                match &frame {
                    Frame::Retry(_) => {}
                    Frame::Record(id, _) | Frame::Ping(id, _) => last_event_id = Some(*id),
                }
                joined.push(frame);
            }
        }
        assert!(cuts > 100, "seed {seed}");
        assert_eq!(
            records(&joined),
            served.desk.shown(level),
            "seed {seed}, {level:?}"
        );
    }
}

/// The next frame, or nothing when the reader has seen all there is and would wait.
async fn next_or_caught_up(
    reader: &mut Reader,
    served: &Served,
    level: Level,
    last_event_id: Option<u64>,
) -> Option<Frame> {
    tokio::select! {
        biased;
        frame = reader.next() => frame,
        () = served.desk.until("the stream has sent all it had", |desk| {
            let last = desk.shown(level).last().map(|record| record["seq"].as_u64().unwrap());
            last_event_id >= last && desk.waiting.load(Ordering::SeqCst) > 0
        }) => None,
    }
}

/// B-STREAM-1: a browser asks for its first address again, with the id it has.
#[tokio::test]
async fn the_last_event_id_wins_over_after() {
    let served = Served::with(&mixed(6)).await;
    served.desk.end();
    let frames = Reader::of(served.stream("after=1", Some(4)).await).rest().await;
    assert_eq!(records(&frames), served.desk.shown(Level::Internal)[4..]);

    let path = format!("/v1/sessions/{ID}/events");
    let headers = [
        ("accept", "text/html, text/event-stream;q=0.9"),
        ("last-event-id", "four"),
    ];
    let detail = served
        .call("GET", &path, &headers, "")
        .await
        .problem(400, Code::InvalidRequest);
    assert!(detail.contains("four"), "{detail}");
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_refused_by_status() {
    let served = Served::with(&mixed(3)).await;
    let headers = [("accept", "text/event-stream")];
    let beyond = served
        .call("GET", &format!("/v1/sessions/{ID}/events?after=9"), &headers, "")
        .await;
    beyond.problem(400, Code::InvalidRequest);
    assert_eq!(beyond.json()["head"], 3);
    let unknown = served
        .call("GET", "/v1/sessions/s_none/events", &headers, "")
        .await;
    unknown.problem(404, Code::NotFound);
}

/// B-STREAM-5: idle, and filtered so that nothing at all is shown.
#[tokio::test]
async fn a_ping_says_how_far_the_reader_has_got_hidden_records_included() {
    let served = Served::pinging(&[Level::Internal; 70], Duration::from_millis(10)).await;
    let mut reader = Reader::of(served.stream("level=user", None).await);
    assert_eq!(reader.next().await, Some(Frame::Retry(2000)));
    assert_eq!(reader.next().await, Some(Frame::Ping(70, json!({"head": 70}))));
    served.desk.append(Level::Progress);
    // Pings that were on their way say the old head; then comes the new one, though nothing was shown.
    loop {
        match reader.next().await.unwrap() {
            Frame::Ping(70, head) => assert_eq!(head, json!({"head": 70})),
            other => break assert_eq!(other, Frame::Ping(71, json!({"head": 71}))),
        }
    }
}

/// B-STREAM-7, B-STREAM-5: the last records are hidden from this reader; the last ping carries it past them.
#[tokio::test]
async fn a_finished_session_ends_the_stream_and_a_reconnect_gets_204() {
    let served = Served::with(&[Level::User, Level::User, Level::Progress, Level::Internal]).await;
    served.desk.end();
    let frames = Reader::of(served.stream("level=user", None).await).rest().await;
    assert_eq!(records(&frames), served.desk.shown(Level::User));
    assert_eq!(frames.last(), Some(&Frame::Ping(4, json!({"head": 4}))));
    for last_event_id in [2, 4] {
        assert_eq!(
            served.stream("level=user", Some(last_event_id)).await.status(),
            204
        );
    }
    // More than a page of hidden records is no reason to open a stream that says nothing.
    for _ in 0..200 {
        served.desk.append(Level::Internal);
    }
    assert_eq!(served.stream("level=user", Some(2)).await.status(), 204);
    assert_eq!(served.stream("level=internal", Some(2)).await.status(), 200);
}

#[tokio::test]
async fn a_stream_ends_by_itself_when_the_session_ends_under_it() {
    let served = Served::with(&[Level::User]).await;
    let mut reader = Reader::of(served.stream("level=user", None).await);
    assert_eq!(reader.next().await, Some(Frame::Retry(2000)));
    assert!(matches!(reader.next().await, Some(Frame::Record(1, _))));
    served.desk.append(Level::Internal);
    served.desk.end();
    assert_eq!(
        reader.rest().await.last(),
        Some(&Frame::Ping(2, json!({"head": 2})))
    );
}

/// A failure under an open stream cannot change its status: it ends, and the next request is told.
#[tokio::test]
async fn a_stream_whose_session_becomes_unreadable_ends_with_a_ping() {
    let served = Served::pinging(&[Level::User], Duration::from_millis(10)).await;
    let mut reader = Reader::of(served.stream("", None).await);
    assert_eq!(reader.next().await, Some(Frame::Retry(2000)));
    served
        .desk
        .refuse_next(Problem::new(Code::StreamQuarantined, "it lost record 2"));
    let frames = reader.rest().await;
    assert_eq!(frames.last(), Some(&Frame::Ping(1, json!({"head": 1}))));
}

#[tokio::test]
async fn a_reader_that_hangs_up_leaves_nothing_behind() {
    // No ping comes to find out that nobody reads it.
    let served = Served::pinging(&[Level::User], Duration::from_secs(3600)).await;
    let mut reader = Reader::of(served.stream("", None).await);
    reader.next().await;
    served
        .desk
        .until("the stream waits", |desk| {
            desk.waiting.load(Ordering::SeqCst) == 1
        })
        .await;
    drop(reader);
    served
        .desk
        .until("nobody waits", |desk| desk.waiting.load(Ordering::SeqCst) == 0)
        .await;
}

/// B-STREAM-4: among many that read, one that does not holds a chunk and what the sockets take, not the log, and holds up
/// nobody.
#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    const LOG: u64 = 20_000;
    let many = match std::env::var_os("LONGHAUL_TEST_DEEP") {
        Some(_) => 1_000,
        None => 100,
    };
    may_open(4 * many);
    let served = Served::with(&mixed(20_000)).await;
    let stalled = served.stream("", None).await;
    let mut readers = Vec::new();
    for _ in 0..many {
        readers.push(Reader::of(served.stream("after=19990", None).await));
    }
    for reader in &mut readers {
        for _ in 0..11 {
            reader.next().await.unwrap();
        }
    }
    for more in 1..=3 {
        served.desk.append(Level::User);
        for reader in &mut readers {
            let next = reader.next().await;
            assert!(
                matches!(next, Some(Frame::Record(seq, _)) if seq == LOG + more),
                "{next:?}"
            );
        }
    }
    // What the server has taken from the log for it lies in its own memory or in that of the kernel.
    let taken = usize::try_from(served.desk.furthest_below(LOG - 10)).unwrap();
    let log = served.desk.shown(Level::Internal);
    let size = |records: &[Value]| {
        records
            .iter()
            .map(|record| record.to_string().len())
            .sum::<usize>()
    };
    let (held, whole) = (size(&log[..taken]), size(&log));
    assert!(
        held < 1 << 20 && held < whole / 2,
        "{held} of {whole} bytes are held for it"
    );
    // And once it reads, it gets everything.
    served.desk.end();
    assert_eq!(
        records(&Reader::of(stalled).rest().await),
        served.desk.shown(Level::Internal)
    );
}

/// Lets this process have so many files open, if the machine does.
fn may_open(files: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        limit.current = limit.maximum.map_or(Some(files), |most| Some(most.min(files)));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// Streams end before the server does, and say how far they came.
#[tokio::test]
async fn closing_the_socket_ends_streams_and_long_polls() {
    let served = Served::with(&[Level::User, Level::Internal]).await;
    let mut reader = Reader::of(served.stream("level=user", None).await);
    assert_eq!(reader.next().await, Some(Frame::Retry(2000)));
    let Served {
        directory,
        desk,
        socket,
    } = served;
    let path = socket.path().to_owned();
    let poll = {
        let path = path.clone();
        let query = format!("/v1/sessions/{ID}/events?after=2&waitMs=30000");
        tokio::spawn(async move { super::support::call(&path, "GET", &query, &[], "").await })
    };
    desk.until("both wait", |desk| desk.waiting.load(Ordering::SeqCst) == 2)
        .await;
    socket.close().await;
    assert_eq!(
        reader.rest().await.last(),
        Some(&Frame::Ping(2, json!({"head": 2})))
    );
    assert_eq!(poll.await.unwrap().json()["events"], json!([]));
    assert!(!path.exists());
    drop(directory);
}
