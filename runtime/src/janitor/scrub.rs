//! Reads what is sealed, slowly and over and over, so that damage is met while a backup still has what it hit.

use std::sync::Arc;
use std::time::Duration;

use longhaul_journal::{Damage, LocalJournal, Position};

/// Read at a time, and the pause after it: at most 4 MiB/s, which no other reader notices.
const STEP_BYTES: u64 = 8 << 20;
const PAUSE: Duration = Duration::from_secs(2);
/// From the end of one round to the beginning of the next.
const ROUND: Duration = Duration::from_secs(24 * 3600);

/// Scrubs until it is dropped. What it finds is quarantined there and then, and told.
pub(crate) async fn scrub(journal: Arc<LocalJournal>) {
    let mut from = Position::default();
    loop {
        let (reader, at) = (Arc::clone(&journal), from);
        let step = tokio::task::spawn_blocking(move || reader.scrub(at, STEP_BYTES)).await;
        from = match step {
            Ok(Ok(scrubbed)) => {
                scrubbed.damaged.iter().for_each(tell_damage);
                for lost in &scrubbed.lost {
                    tracing::error!(?lost, "damaged bytes in the journal that belong to no session");
                }
                scrubbed.next.unwrap_or_default()
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "a sealed segment of the journal cannot be read");
                Position::default()
            }
            // The runtime is going away.
            Err(_) => return,
        };
        tokio::time::sleep(if from == Position::default() { ROUND } else { PAUSE }).await;
    }
}

/// Tells the log of the program that a stream is damaged.
pub(crate) fn tell_damage(damage: &Damage) {
    tracing::error!(
        stream = %damage.stream,
        kind = damage.kind,
        readable_to = %damage.readable_to,
        reason = damage.reason,
        "a stream lost acknowledged records and is quarantined"
    );
}
