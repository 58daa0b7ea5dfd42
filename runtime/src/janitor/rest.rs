//! Brain processes, caches, and whatever the hands hold beside files, once a session waits for somebody else.
//!
//! A session that is merely idle keeps its brain for the next message; one that asks, is paused, hibernates or has ended
//! may wait for days, and waiting holds nothing (B-IDLE-1).

use std::sync::Arc;

use longhaul_actors::Entity;
use longhaul_actors::ports::{Brain, Hands};
use longhaul_actors::session::Session;
use longhaul_journal::{Frame, Journal, Standing, StreamId, tail_all};

/// Follows the journal from its present end until it is dropped.
pub(crate) async fn release_what_rests(
    journal: Arc<dyn Journal>,
    brain: Arc<dyn Brain>,
    hands: Arc<dyn Hands>,
) {
    let from = *journal.watch_all().borrow();
    let mut tail = tail_all(Arc::clone(&journal), from);
    loop {
        match tail.next().await {
            // Each by itself: a brain that takes its time to die holds up no other session.
            Ok(frame) if is_at_rest(&frame) => {
                tokio::spawn(release(
                    Arc::clone(&journal),
                    Arc::clone(&brain),
                    Arc::clone(&hands),
                    frame.stream,
                ));
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be followed; brains of ended sessions stay until the end");
                return;
            }
        }
    }
}

fn is_at_rest(frame: &Frame) -> bool {
    frame.kind == Session::KIND && rests(&frame.standing)
}

const fn rests(standing: &Standing) -> bool {
    matches!(standing, Standing::Done | Standing::Waits(_))
}

/// Releases what is held for a session, unless it has been woken since.
async fn release(journal: Arc<dyn Journal>, brain: Arc<dyn Brain>, hands: Arc<dyn Hands>, session: StreamId) {
    let looked = tokio::task::spawn_blocking(move || journal.head(session)).await;
    if matches!(looked, Ok(Ok(Some(head))) if rests(&head.standing)) {
        brain.release(session).await;
        hands.release(session).await;
    }
}
