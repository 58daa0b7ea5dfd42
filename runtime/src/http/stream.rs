//! Records as a stream of server-sent events.
//!
//! The framing is ours, and small: a record is one line of JSON, in which a line break can only stand escaped, so a
//! frame is `id:`, `data:` and an empty line. A crate for it would bring more code than it replaces.
//!
//! The cursor of a reader is the last seq that was *passed*: sent, or hidden from it by its level. Every page says so
//! (`nextAfter`), and a `ping` tells the client, so that a filtered stream resumes behind what it does not show.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream;

use super::access::Held;
use super::edge::Edge;
use super::refusal::Refusal;
use crate::api::{Code, EventsPage, EventsQuery};

/// Records per chunk: bounds what a reader that does not read holds in memory.
const CHUNK: usize = 64;
/// How long a client waits before it comes back. The first thing it is told.
const RETRY: &str = "retry: 2000\n\n";

/// One page of records.
pub(super) async fn page(edge: &Edge, id: &str, query: EventsQuery) -> Result<EventsPage, Refusal> {
    let (session, after) = (id.to_owned(), query.after);
    let refusal = match edge
        .ask(|control| async move { control.events(&session, query).await })
        .await
    {
        Ok(page) => return Ok(page),
        Err(refusal) if refusal.code() == Code::InvalidRequest => refusal,
        Err(refusal) => return Err(refusal),
    };
    // A client that is told where the head is can begin again there. The router says it in words; ask for the number.
    let session = id.to_owned();
    match edge
        .ask(|control| async move { control.show(&session).await })
        .await
    {
        Ok(view) if after > view.head => Err(refusal.with_head(view.head)),
        _ => Err(refusal),
    }
}

/// One page of records, or nothing when the socket is closed first.
pub(super) async fn page_or_closing(
    edge: &Edge,
    id: &str,
    query: EventsQuery,
) -> Option<Result<EventsPage, Refusal>> {
    let page = std::pin::pin!(page(edge, id, query));
    let closing = std::pin::pin!(edge.closing());
    match select(page, closing).await {
        Either::Left((page, _)) => Some(page),
        Either::Right(((), _)) => None,
    }
}

/// A stream that begins after `seen`, the last id a client has, or else after `query.after`; or 204 when the session has
/// ended and this reader has nothing more to see, which tells a browser not to come back (B-STREAM-7).
///
/// # Errors
/// Those of the router, and a cursor beyond the head.
pub(super) async fn answer(
    edge: Arc<Edge>,
    id: String,
    query: EventsQuery,
    seen: Option<&str>,
    held: Option<Held>,
) -> Result<HttpResponse, Refusal> {
    let mut after = query.after;
    if let Some(seen) = seen {
        // It wins over `after`, because a browser that reconnects asks for the first address again.
        after = seen
            .parse()
            .map_err(|_| Refusal::unreadable(format!("Last-Event-ID {seen:?} is not the seq of a record")))?;
    }
    let mut reader = Reader {
        edge,
        id,
        held,
        query: EventsQuery {
            after,
            limit: CHUNK,
            ..query
        },
    };
    let first = reader.first_to_see().await?;
    if first.events.is_empty() && is_all(&first) {
        return Ok(HttpResponse::NoContent().finish());
    }
    let ping_every = reader.edge.settings.ping_every;
    let feed = Feed {
        reader,
        first: Some(first),
        head: 0,
        ping_every,
        next_ping: Instant::now() + ping_every,
    };
    let chunks = stream::unfold(Some(feed), |feed| async move {
        let mut feed = feed?;
        let (chunk, last) = feed.next_chunk().await;
        Some((Ok::<_, Infallible>(chunk), if last { None } else { Some(feed) }))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("x-accel-buffering", "no"))
        .streaming(chunks))
}

/// Whether nothing follows this page, now or later.
fn is_all(page: &EventsPage) -> bool {
    page.ended && page.next_after >= page.head
}

/// Reads a session page by page; its query always begins after the last seq that was passed.
struct Reader {
    edge: Arc<Edge>,
    id: String,
    /// The token that was shown; once it counts no more, nothing more is sent.
    held: Option<Held>,
    query: EventsQuery,
}

impl Reader {
    /// The first page that shows something, or the one that reaches the head. Does not wait.
    async fn first_to_see(&mut self) -> Result<EventsPage, Refusal> {
        loop {
            let query = EventsQuery {
                wait_ms: 0,
                ..self.query.clone()
            };
            let page = page(&self.edge, &self.id, query).await?;
            if !page.events.is_empty() || page.next_after >= page.head || page.next_after <= self.query.after
            {
                return Ok(page);
            }
            self.pass(&page);
        }
    }

    /// The next page, or an empty one after `wait`; nothing when the socket is closed.
    async fn next(&self, wait: Duration) -> Option<Result<EventsPage, Refusal>> {
        // A part of a millisecond counts as a whole one: to wait for none would be to ask in a circle.
        let wait_ms = u64::try_from(wait.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let page = page_or_closing(
            &self.edge,
            &self.id,
            EventsQuery {
                wait_ms,
                ..self.query.clone()
            },
        )
        .await?;
        match &self.held {
            Some(held) => Some(held.still_counts(&self.edge).await.and(page)),
            None => Some(page),
        }
    }

    fn pass(&mut self, page: &EventsPage) {
        self.query.after = self.query.after.max(page.next_after);
    }
}

/// What a client is sent, chunk by chunk. A chunk is made only when the one before has been taken, so a slow reader
/// holds one page and catches up from the journal (B-STREAM-4).
struct Feed {
    reader: Reader,
    /// The page that was read before the answer began.
    first: Option<EventsPage>,
    head: u64,
    ping_every: Duration,
    next_ping: Instant,
}

impl Feed {
    /// The next chunk, never empty, and whether it is the last.
    async fn next_chunk(&mut self) -> (Bytes, bool) {
        let mut chunk = String::new();
        loop {
            let page = match self.first.take() {
                Some(first) => {
                    chunk.push_str(RETRY);
                    Some(Ok(first))
                }
                None => {
                    self.reader
                        .next(self.next_ping.saturating_duration_since(Instant::now()))
                        .await
                }
            };
            let last = match page {
                Some(Ok(page)) => {
                    self.write_page(&mut chunk, &page);
                    is_all(&page)
                }
                // The status has long been sent: the client is told when it comes back, with an answer of its own.
                Some(Err(refusal)) => {
                    tracing::warn!(session = self.reader.id, code = refusal.code().name(), %refusal, "a stream ends");
                    true
                }
                None => true,
            };
            if last || Instant::now() >= self.next_ping {
                self.write_ping(&mut chunk);
            }
            if !chunk.is_empty() {
                return (Bytes::from(chunk), last);
            }
        }
    }

    fn write_page(&mut self, chunk: &mut String, page: &EventsPage) {
        for record in &page.events {
            let line = serde_json::to_string(record).expect("a record was made of JSON");
            write!(chunk, "id: {}\ndata: {line}\n\n", record.seq).expect("a string takes everything");
        }
        self.reader.pass(page);
        self.head = page.head;
    }

    /// Liveness, and the cursor: an id without data would be ignored by real clients (B-STREAM-5).
    fn write_ping(&mut self, chunk: &mut String) {
        let (id, head) = (self.reader.query.after, self.head);
        write!(chunk, "event: ping\nid: {id}\ndata: {{\"head\":{head}}}\n\n")
            .expect("a string takes everything");
        self.next_ping = Instant::now() + self.ping_every;
    }
}
