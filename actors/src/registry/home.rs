//! Where streams live: the table of actors, and what happens to a message that finds none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use actix::Addr;
use actix::prelude::SendError as MailboxError;
use futures_util::future::BoxFuture;
use longhaul_journal::{Epoch, Journal, Seq, StreamId};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::{Options, Ports};
use crate::answer::{Caller, Quarantine, SendError, TurnedAway};
use crate::effects::{Deliver, Effects};
use crate::entity::{EffectId, Entity, Owed, RecoveryCause};
use crate::host::{Host, Kept, Letter, Request};
use crate::ports::Clock;
use crate::recover::{self, RecoverError};
use crate::supervisor::{Ending, SystemInner, Verdict, judge};

/// Streams are spread over so many locks, so that streams do not wait for each other.
const SHARDS: usize = 32;

/// The home of all streams of one kind in this process.
///
/// A message for a stream is put in the mailbox of its actor, or kept until there is one. All that decides where a
/// message goes happens under the lock of its shard, so that none is lost between an actor and its successor.
pub(crate) struct Home<E: Entity> {
    itself: Weak<Self>,
    system: Arc<SystemInner>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    effects: Effects<E>,
    options: Options,
    shards: Vec<Mutex<Shard<E>>>,
    numbers: AtomicU64,
    closed: AtomicBool,
    live: watch::Sender<usize>,
    /// Somebody went to sleep who may have to be woken sooner than the sweeper thinks.
    pub(crate) asleep: Notify,
}

struct Shard<E: Entity> {
    slots: HashMap<StreamId, Slot<E>>,
    /// Endings in a row without a record in between. Only streams that fail have an entry.
    failures: HashMap<StreamId, u32>,
}

/// Every slot but a quarantined one has the number of the actor it is for, so that a late word from an earlier actor
/// changes nothing.
enum Slot<E: Entity> {
    Waking {
        number: u64,
        waiting: Vec<Request<E>>,
    },
    Live {
        number: u64,
        address: Addr<Host<E>>,
    },
    /// The actor takes nothing more. What it hands back is older than what waits.
    Leaving {
        number: u64,
        handed: Vec<Request<E>>,
        waiting: Vec<Request<E>>,
    },
    Quarantined(Arc<Quarantine>),
}

impl<E: Entity> Slot<E> {
    const fn number(&self) -> Option<u64> {
        match self {
            Self::Waking { number, .. } | Self::Live { number, .. } | Self::Leaving { number, .. } => {
                Some(*number)
            }
            Self::Quarantined(_) => None,
        }
    }

    fn into_waiting(self) -> Vec<Request<E>> {
        match self {
            Self::Waking { waiting, .. } => waiting,
            Self::Leaving {
                mut handed, waiting, ..
            } => {
                handed.extend(waiting);
                handed
            }
            Self::Live { .. } | Self::Quarantined(_) => Vec::new(),
        }
    }
}

impl<E: Entity> Home<E> {
    pub(crate) fn new(system: Arc<SystemInner>, ports: Ports<E>, options: Options) -> Arc<Self> {
        let effects = Effects::new(ports.world, Arc::clone(&ports.clock), system.runtime().clone());
        let shard = || {
            Mutex::new(Shard {
                slots: HashMap::new(),
                failures: HashMap::new(),
            })
        };
        Arc::new_cyclic(|itself| Self {
            itself: Weak::clone(itself),
            system,
            journal: ports.journal,
            clock: ports.clock,
            effects,
            options,
            shards: (0..SHARDS).map(|_| shard()).collect(),
            numbers: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            live: watch::Sender::new(0),
            asleep: Notify::new(),
        })
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        &*self.journal
    }

    pub(crate) const fn shared_journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) const fn effects(&self) -> &Effects<E> {
        &self.effects
    }

    pub(crate) fn runtime(&self) -> &Handle {
        self.system.runtime()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn live(&self) -> watch::Receiver<usize> {
        self.live.subscribe()
    }

    /// Whether a stream has an actor, or is about to have one.
    pub(crate) fn is_awake(&self, stream: StreamId) -> bool {
        self.shard(stream).slots.contains_key(&stream)
    }

    pub(crate) fn quarantined(&self) -> Vec<Arc<Quarantine>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            found.extend(shard.slots.values().filter_map(|slot| match slot {
                Slot::Quarantined(quarantine) => Some(Arc::clone(quarantine)),
                _ => None,
            }));
        }
        found
    }

    /// Forgets a quarantine; the next message folds the stream again.
    pub(crate) fn release(&self, stream: StreamId) -> bool {
        let mut shard = self.shard(stream);
        let is_quarantined = matches!(shard.slots.get(&stream), Some(Slot::Quarantined(_)));
        if is_quarantined {
            shard.slots.remove(&stream);
            shard.failures.remove(&stream);
        }
        is_quarantined
    }

    /// Brings a request to the actor of a stream, waking it if need be.
    pub(crate) fn bring(&self, stream: StreamId, request: Request<E>) {
        self.post(stream, Letter::Request(request));
    }

    fn post(&self, stream: StreamId, letter: Letter<E>) {
        if let Some((letter, why)) = self.try_post(stream, letter)
            && let Some(request) = letter.into_request()
        {
            request.turn_away(why);
        }
    }

    /// Puts a letter where it belongs, or returns it with the reason why it has no place.
    fn try_post(&self, stream: StreamId, letter: Letter<E>) -> Option<(Letter<E>, TurnedAway)> {
        if !self.options.mode.hosts(stream) {
            return Some((letter, TurnedAway::NotHosted));
        }
        let is_owed = matches!(letter, Letter::Outcome(..));
        let mut shard = self.shard(stream);
        // Read under the lock: `close` sets it before it visits the shards.
        if self.is_closed() {
            return Some((letter, TurnedAway::Closed));
        }
        match shard.slots.get_mut(&stream) {
            None => {
                let number = self.next_number();
                let waiting = letter.into_request().into_iter().collect();
                shard.slots.insert(stream, Slot::Waking { number, waiting });
                drop(shard);
                self.bring_up(stream, number, RecoveryCause::Wake, 0);
                None
            }
            Some(Slot::Waking { waiting, .. } | Slot::Leaving { waiting, .. }) => {
                if !is_owed && waiting.len() >= self.options.mailbox {
                    return Some((letter, TurnedAway::Overloaded));
                }
                waiting.extend(letter.into_request());
                None
            }
            Some(Slot::Live { address, .. }) if is_owed => {
                address.do_send(letter);
                None
            }
            Some(Slot::Live { address, .. }) => match address.try_send(letter) {
                Ok(()) => None,
                Err(MailboxError::Full(letter)) => Some((letter, TurnedAway::Overloaded)),
                Err(MailboxError::Closed(letter)) => {
                    Some((letter, TurnedAway::NotWritten("the actor has just ended".into())))
                }
            },
            Some(Slot::Quarantined(quarantine)) => {
                let why = TurnedAway::Quarantined(Arc::clone(quarantine));
                Some((letter, why))
            }
        }
    }

    /// Builds an actor from the journal, after a while.
    fn bring_up(&self, stream: StreamId, number: u64, cause: RecoveryCause, after_ms: u64) {
        let Some(home) = self.itself.upgrade() else { return };
        self.runtime().spawn(async move {
            if after_ms > 0 {
                home.clock.sleep(after_ms).await;
            }
            let permit = Arc::clone(home.system.recoveries()).acquire_owned().await;
            let (journal, snapshots) = (Arc::clone(&home.journal), Arc::clone(&home.options.snapshots));
            let folding = tokio::task::spawn_blocking(move || {
                if journal.is_inert(stream) {
                    return (
                        Epoch::default(),
                        Err(RecoverError::Quarantined(inert(&*journal, stream))),
                    );
                }
                // Claimed first: nobody else can move the stream while it is folded.
                let epoch = journal.claim(stream);
                (epoch, recover::recover::<E>(&*journal, &snapshots, stream))
            });
            let folded = folding.await;
            drop(permit);
            match folded {
                Ok((epoch, Ok(folded))) => {
                    let place = home.system.place(stream);
                    Host::start(Arc::clone(&home), place, stream, number, epoch, folded, cause);
                }
                Ok((_, Err(RecoverError::Quarantined(quarantine)))) => home.quarantine(number, quarantine),
                Ok((_, Err(error))) => home.give_up(stream, number, &error.to_string()),
                Err(error) => home.give_up(stream, number, &error.to_string()),
            }
        });
    }

    /// An actor lives; what waited for it is put in its mailbox. `false` when nobody waits for this actor any more.
    pub(crate) fn born(&self, stream: StreamId, number: u64, address: Addr<Host<E>>) -> bool {
        let mut shard = self.shard(stream);
        match shard.slots.get_mut(&stream) {
            Some(Slot::Waking {
                number: expected,
                waiting,
            }) if *expected == number => {
                for request in waiting.drain(..) {
                    address.do_send(Letter::Request(request));
                }
                shard.slots.insert(stream, Slot::Live { number, address });
                self.live.send_modify(|live| *live += 1);
                true
            }
            _ => false,
        }
    }

    /// An actor begins to end: from now on its mailbox gets nothing.
    pub(crate) fn leaving(&self, stream: StreamId, number: u64) {
        let mut shard = self.shard(stream);
        if let Some(slot @ Slot::Live { .. }) = shard.slots.get_mut(&stream)
            && slot.number() == Some(number)
        {
            *slot = Slot::Leaving {
                number,
                handed: Vec::new(),
                waiting: Vec::new(),
            };
        }
    }

    /// An ending actor gives back what it has not decided.
    pub(crate) fn hand_back(&self, stream: StreamId, number: u64, request: Request<E>) {
        let mut shard = self.shard(stream);
        match shard.slots.get_mut(&stream) {
            Some(Slot::Leaving {
                number: of, handed, ..
            }) if *of == number => handed.push(request),
            _ => {
                drop(shard);
                request.turn_away(TurnedAway::NotWritten("the actor has just ended".into()));
            }
        }
    }

    /// An actor is gone.
    pub(crate) fn ended(
        &self,
        stream: StreamId,
        number: u64,
        ending: &Ending,
        durable: Seq,
        progressed: bool,
    ) {
        let mut shard = self.shard(stream);
        if shard.slots.get(&stream).and_then(Slot::number) != Some(number) {
            return;
        }
        let was_live = !matches!(shard.slots.get(&stream), Some(Slot::Waking { .. }));
        let failures = if matches!(ending, Ending::Passivated | Ending::Closed) {
            shard.failures.remove(&stream);
            0
        } else {
            let failures = shard.failures.entry(stream).or_insert(0);
            *failures = if progressed { 1 } else { *failures + 1 };
            *failures
        };
        let waiting = shard
            .slots
            .remove(&stream)
            .map_or_else(Vec::new, Slot::into_waiting);
        if was_live {
            self.live.send_modify(|live| *live -= 1);
        }
        let turned_away = if self.is_closed() {
            Some(TurnedAway::Closed)
        } else {
            match judge(ending, failures, durable) {
                Verdict::Rest if waiting.is_empty() => None,
                Verdict::Rest => return self.replace(shard, stream, waiting, RecoveryCause::Wake, 0),
                Verdict::Restart { cause, after_ms } => {
                    return self.replace(shard, stream, waiting, cause, after_ms);
                }
                Verdict::GiveUp { reason } => {
                    self.effects.abandon(stream);
                    Some(TurnedAway::NotWritten(reason))
                }
                Verdict::Quarantine { readable_to, reason } => {
                    let quarantine = Arc::new(Quarantine {
                        stream,
                        readable_to,
                        reason,
                    });
                    tracing::error!(%quarantine, kind = E::KIND, "a stream is quarantined");
                    self.effects.abandon(stream);
                    shard
                        .slots
                        .insert(stream, Slot::Quarantined(Arc::clone(&quarantine)));
                    Some(TurnedAway::Quarantined(quarantine))
                }
            }
        };
        drop(shard);
        self.asleep.notify_one();
        if let Some(why) = turned_away {
            waiting
                .into_iter()
                .for_each(|request| request.turn_away(why.clone()));
        }
    }

    fn replace(
        &self,
        mut shard: MutexGuard<'_, Shard<E>>,
        stream: StreamId,
        waiting: Vec<Request<E>>,
        cause: RecoveryCause,
        after_ms: u64,
    ) {
        let number = self.next_number();
        shard.slots.insert(stream, Slot::Waking { number, waiting });
        drop(shard);
        self.bring_up(stream, number, cause, after_ms);
    }

    fn quarantine(&self, number: u64, quarantine: Quarantine) {
        let stream = quarantine.stream;
        let quarantine = Arc::new(quarantine);
        let mut shard = self.shard(stream);
        if shard.slots.get(&stream).and_then(Slot::number) != Some(number) {
            return;
        }
        tracing::error!(%quarantine, kind = E::KIND, "a stream is quarantined");
        let slot = Slot::Quarantined(Arc::clone(&quarantine));
        let waiting = shard
            .slots
            .insert(stream, slot)
            .map_or_else(Vec::new, Slot::into_waiting);
        drop(shard);
        self.effects.abandon(stream);
        let why = TurnedAway::Quarantined(quarantine);
        waiting
            .into_iter()
            .for_each(|request| request.turn_away(why.clone()));
    }

    /// The stream could not be read just now: whoever waits is told so, and the next message tries again.
    fn give_up(&self, stream: StreamId, number: u64, reason: &str) {
        let mut shard = self.shard(stream);
        if shard.slots.get(&stream).and_then(Slot::number) != Some(number) {
            return;
        }
        tracing::error!(%stream, kind = E::KIND, reason, "a stream cannot be recovered");
        let waiting = shard
            .slots
            .remove(&stream)
            .map_or_else(Vec::new, Slot::into_waiting);
        drop(shard);
        let why = TurnedAway::NotWritten(reason.to_owned());
        waiting
            .into_iter()
            .for_each(|request| request.turn_away(why.clone()));
    }

    /// Makes the effects under way equal to what is owed.
    pub(crate) fn ensure(
        &self,
        stream: StreamId,
        owed: Vec<Arc<Owed<E::Effect>>>,
        recovered: impl Fn(EffectId) -> bool,
    ) {
        if self.is_closed() {
            return;
        }
        if let Some(home) = self.itself.upgrade() {
            let deliver: Arc<dyn Deliver<E>> = home;
            self.effects.ensure(stream, owed, recovered, &deliver);
        }
    }

    /// Puts a state away, in the background: it is worth something only if nobody waits for it.
    pub(crate) fn keep(&self, stream: StreamId, kept: Kept<E>) {
        let snapshots = Arc::clone(&self.options.snapshots);
        self.runtime()
            .spawn_blocking(move || recover::keep(&snapshots, stream, kept));
    }

    /// Takes nothing more, and tells every actor to end in good order.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.effects.abandon_all();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let mut waiting = Vec::new();
            shard.slots.retain(|_, slot| match slot {
                Slot::Live { address, .. } => {
                    address.do_send(Letter::Close);
                    true
                }
                Slot::Leaving { .. } => true,
                Slot::Waking {
                    waiting: requests, ..
                } => {
                    waiting.append(requests);
                    false
                }
                Slot::Quarantined(_) => false,
            });
            drop(shard);
            waiting
                .into_iter()
                .for_each(|request| request.turn_away(TurnedAway::Closed));
        }
        self.asleep.notify_one();
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, stream: StreamId) -> MutexGuard<'_, Shard<E>> {
        // Both kinds of ids end in bytes that are evenly spread.
        let spread = usize::from(stream.as_bytes()[15]);
        lock(&self.shards[spread % SHARDS])
    }
}

impl<E: Entity> Deliver<E> for Home<E> {
    fn deliver(
        &self,
        stream: StreamId,
        outcome: E::Command,
    ) -> BoxFuture<'static, Result<(), SendError<E::Refusal>>> {
        let (caller, answer) = Caller::pair();
        self.post(stream, Letter::Outcome(outcome, caller));
        Box::pin(async move {
            match answer.await {
                Ok(Ok(_reply)) => Ok(()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(SendError::Closed),
            }
        })
    }
}

/// A copy that nobody has adopted has no actor.
fn inert(journal: &dyn Journal, stream: StreamId) -> Quarantine {
    let head = journal.head(stream).ok().flatten();
    Quarantine {
        stream,
        readable_to: head.map_or(Seq::ZERO, |head| head.seq),
        reason: "it was imported or restored, and is to be adopted first".into(),
    }
}

fn lock<E: Entity>(shard: &Mutex<Shard<E>>) -> MutexGuard<'_, Shard<E>> {
    // Nothing under this lock runs code of an entity, so a poisoned one is still sound.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
