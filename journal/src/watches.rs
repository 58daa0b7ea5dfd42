//! Who waits for which stream to move. Only streams that somebody watches hold an entry.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::id::{Position, Seq, StreamId};

/// The watched streams, and the position of the whole journal.
#[derive(Debug)]
pub(crate) struct Watches {
    streams: Mutex<Streams>,
    all: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Streams {
    senders: HashMap<StreamId, watch::Sender<Seq>>,
    /// Entries without receivers are swept when the map reaches this size, so that the sweeps cost O(1) per watch.
    sweep_at: usize,
}

impl Watches {
    pub(crate) fn new(durable: Position) -> Self {
        Self {
            streams: Mutex::default(),
            all: watch::Sender::new(durable),
        }
    }

    /// Subscribes to one stream. `head` is read while nobody can publish, so that no move falls between the two.
    pub(crate) fn stream(&self, stream: StreamId, head: impl FnOnce() -> Seq) -> watch::Receiver<Seq> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = streams.senders.get(&stream) {
            return sender.subscribe();
        }
        if streams.senders.len() >= streams.sweep_at {
            streams.senders.retain(|_, sender| sender.receiver_count() > 0);
            streams.sweep_at = (streams.senders.len() * 2).max(64);
        }
        let (sender, receiver) = watch::channel(head());
        streams.senders.insert(stream, sender);
        receiver
    }

    pub(crate) fn all(&self) -> watch::Receiver<Position> {
        self.all.subscribe()
    }

    /// Tells the watchers of these streams, then those of the whole journal. Heads never go back.
    pub(crate) fn publish(&self, moved: impl Iterator<Item = (StreamId, Seq)>, durable: Position) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if !streams.senders.is_empty() {
            for (stream, seq) in moved {
                let Some(sender) = streams.senders.get(&stream) else {
                    continue;
                };
                if sender.receiver_count() == 0 {
                    streams.senders.remove(&stream);
                } else {
                    sender.send_if_modified(|head| {
                        seq > *head && {
                            *head = seq;
                            true
                        }
                    });
                }
            }
        }
        drop(streams);
        self.all.send_if_modified(|end| {
            durable > *end && {
                *end = durable;
                true
            }
        });
    }
}
