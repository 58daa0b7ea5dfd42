//! Wakes what owes work or is due, by reading the index of standings: never a fold of a stream that may sleep on.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use longhaul_journal::{Head, StreamId};

use crate::answer::Question;
use crate::entity::Entity;
use crate::host::Request;
use crate::registry::{Home, Mode};

/// Heads read from the index at a time. Each page looks at all that is due, so few large ones cost less than many.
const PAGE: usize = 10_000;

/// Begins to sweep for one kind, at once and then whenever something is due.
pub(crate) fn start<E: Entity>(home: &Arc<Home<E>>) {
    if matches!(home.options().mode, Mode::OnDemand | Mode::ReadOnly) {
        return;
    }
    let weak = Arc::downgrade(home);
    home.runtime().spawn(async move {
        // Held only while it works, so that a registry nobody holds any more is not kept alive by its sweeper.
        while let Some(home) = weak.upgrade() {
            if home.is_closed() {
                return;
            }
            // One time for both: what comes due between the look and the rest would be slept over else.
            let now_ms = home.clock().now_ms();
            sweep(&home, now_ms).await;
            let rested = rest(&home, now_ms);
            rested.await;
        }
    });
}

/// Sleeps until something is due after `now_ms`, somebody has gone to sleep, or it is time to look anyway.
async fn rest<E: Entity>(home: &Arc<Home<E>>, now_ms: u64) {
    let clock = home.clock();
    let latest = now_ms.saturating_add(home.options().sweep_every_ms);
    let journal = Arc::clone(home.shared_journal());
    let next = tokio::task::spawn_blocking(move || journal.next_due(now_ms)).await;
    let until = match next {
        Ok(Ok(next)) => next.map_or(latest, |due| due.min(latest)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the sweeper cannot read what is due next");
            latest
        }
        Err(_) => latest,
    };
    let asleep = std::pin::pin!(home.asleep.notified());
    match select(clock.sleep_until(until), asleep).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}

/// Wakes all streams of this kind that owe work or are due at `now_ms`.
async fn sweep<E: Entity>(home: &Arc<Home<E>>, now_ms: u64) {
    let mut after = None;
    while !home.is_closed() {
        let journal = Arc::clone(home.shared_journal());
        let page = tokio::task::spawn_blocking(move || journal.due(now_ms, after, PAGE)).await;
        let page = match page {
            Ok(Ok(page)) => page,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the sweeper cannot read what is due");
                return;
            }
            Err(_) => return,
        };
        let Some(last) = page.last() else { return };
        after = Some(last.stream);
        let asleep = page
            .iter()
            .filter(|head| is_ours(home, head))
            .map(|head| head.stream);
        futures_util::stream::iter(asleep.collect::<Vec<_>>())
            .for_each_concurrent(home.options().sweep_width.max(1), |stream| wake(home, stream))
            .await;
    }
}

fn is_ours<E: Entity>(home: &Home<E>, head: &Head) -> bool {
    head.kind == E::KIND && home.options().mode.wakes(head.stream) && !home.is_awake(head.stream)
}

async fn wake<E: Entity>(home: &Home<E>, stream: StreamId) {
    let (to, answer) = tokio::sync::oneshot::channel();
    let question = Question {
        look: |_: &E::State, _| (),
        to,
    };
    home.bring(stream, Request::Ask(Box::new(question)));
    match answer.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%stream, %error, "a stream that is due could not be woken"),
        Err(_) => tracing::warn!(%stream, "the actor of a stream that is due ended at once"),
    }
}
