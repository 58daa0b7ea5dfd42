//! Frees what is held for sessions that need it no more: brain processes, caches.
//!
//! A reaction to durable records, not an effect: what is freed twice or not at all loses nothing but memory.

use std::sync::Arc;

use longhaul_actors::Entity;
use longhaul_actors::ports::Brain;
use longhaul_actors::session::Session;
use longhaul_journal::{Frame, Journal, tail_all};

/// Record types after which no brain works for the session.
const AT_REST: [&str; 5] = [
    "session.paused",
    "session.hibernated",
    "session.completed",
    "session.failed",
    "session.canceled",
];

/// Follows the journal from its present end until it is dropped.
pub(crate) async fn run(journal: Arc<dyn Journal>, brain: Arc<dyn Brain>) {
    let from = *journal.watch_all().borrow();
    let mut tail = tail_all(journal, from);
    loop {
        match tail.next().await {
            Ok(frame) if brings_to_rest(&frame) => brain.release(frame.stream).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be followed; brains of ended sessions stay until the end");
                return;
            }
        }
    }
}

fn brings_to_rest(frame: &Frame) -> bool {
    frame.kind == Session::KIND
        && frame
            .records
            .iter()
            .any(|record| AT_REST.contains(&&*record.event.type_name))
}
