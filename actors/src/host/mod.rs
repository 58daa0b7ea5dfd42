//! The actor that hosts one stream: a mailbox in front of a [`Line`], and the timers behind it.

mod line;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Message};
use futures_util::future::BoxFuture;
use longhaul_journal::{Epoch, Seq, Standing, StreamId, sabotage};
use tokio::task::AbortHandle;

use crate::answer::{Ask, Caller, TurnedAway};
use crate::entity::{Entity, Recovery, RecoveryCause};
use crate::recover::Folded;
use crate::registry::Home;
use crate::supervisor::{Ending, Place};

pub(crate) use line::Kept;
use line::{Broken, Line, Released};

/// So many messages are handled between two looks at the receipts, so that a full mailbox cannot starve them.
const RELEASE_EVERY: u32 = 64;

/// What somebody wants from a stream.
pub(crate) enum Request<E: Entity> {
    Command(E::Command, Caller<E>),
    Ask(Box<dyn Ask<E>>),
}

impl<E: Entity> Request<E> {
    pub(crate) fn turn_away(self, why: TurnedAway) {
        match self {
            Self::Command(_, caller) => caller.turn_away(why),
            Self::Ask(question) => question.turn_away(why),
        }
    }
}

/// What lies in the mailbox.
pub(crate) enum Letter<E: Entity> {
    Request(Request<E>),
    /// Owed work came back with its outcome; taken however much else waits.
    Outcome(E::Command, Caller<E>),
    /// The time of `due` may have come.
    Alarm,
    /// It may have been idle for long enough.
    Idle,
    /// The runtime closes.
    Close,
    /// Nothing more will come: the registry keeps what is sent from now on.
    Last,
}

impl<E: Entity> Message for Letter<E> {
    type Result = ();
}

/// Hosts one stream of an entity.
///
/// It ends in one way, whatever the cause: the registry is told to keep what is sent from now on, what lies in the
/// mailbox undecided is handed back, what is in flight is answered by its receipts, and the actor stops. Its `Drop` tells
/// the supervisor, even when code of the host itself panicked; then the guards of the callers answer for it.
pub(crate) struct Host<E: Entity> {
    home: Arc<Home<E>>,
    stream: StreamId,
    number: u64,
    line: Line<E>,
    recovery: Recovery,
    /// Records beyond this one count as progress: it holds more than what recovery itself wrote down.
    progress_from: Seq,
    /// Nothing of what was owed at recovery has been begun by this actor.
    fresh: bool,
    alarm: Timer,
    alarm_at: Option<u64>,
    idle: Timer,
    active_ms: u64,
    unreleased: u32,
    ending: Option<Ending>,
    /// The last letter was read.
    emptied: bool,
}

// Nothing in it is ever pinned in place: receipts are `Unpin`, states and replies are plain values.
impl<E: Entity> Unpin for Host<E> {}

impl<E: Entity> Host<E> {
    /// Starts an actor; it reports to the registry once it lives.
    pub(crate) fn start(
        home: Arc<Home<E>>,
        place: &Place,
        stream: StreamId,
        number: u64,
        epoch: Epoch,
        folded: Folded<E>,
        cause: RecoveryCause,
    ) {
        let capacity = home.options().mailbox;
        let recovery = Recovery {
            cause,
            head: folded.head,
            last_boot: folded.boot,
            boot: epoch.boot(),
        };
        Self::start_in_arbiter(place, move |ctx| {
            ctx.set_mailbox_capacity(capacity);
            Self {
                active_ms: home.clock().mono_ms(),
                home,
                stream,
                number,
                progress_from: folded.head,
                line: Line::new(stream, epoch, folded),
                recovery,
                fresh: true,
                alarm: Timer::default(),
                alarm_at: None,
                idle: Timer::default(),
                unreleased: 0,
                ending: None,
                emptied: false,
            }
        });
    }

    /// Tells the entity that it was recovered, and finds out what it waits for.
    fn wake(&mut self, ctx: &Context<Self>) -> Result<(), Broken> {
        if self.recovery.head > Seq::ZERO
            && let Some(command) = self.line.consult(|state| E::recovered(state, &self.recovery))?
        {
            self.decide(command, Caller::nobody())?;
            self.progress_from = self.line.folded();
        }
        if self.line.is_settled() {
            let released = self.line.survey()?;
            self.act_on(released, ctx);
        }
        Ok(())
    }

    fn decide(&mut self, command: E::Command, caller: Caller<E>) -> Result<(), Broken> {
        let now_ms = self.home.clock().now_ms();
        let policy = &self.home.options().keep;
        self.line
            .decide(self.home.journal(), policy, command, caller, now_ms)
    }

    fn read(&mut self, letter: Letter<E>, ctx: &mut Context<Self>) -> Result<(), Broken> {
        match letter {
            Letter::Request(Request::Command(command, caller)) => {
                if self.line.len() >= self.home.options().in_flight {
                    caller.turn_away(TurnedAway::Overloaded);
                    return Ok(());
                }
                self.active_ms = self.home.clock().mono_ms();
                self.decide(command, caller)
            }
            Letter::Outcome(command, caller) => {
                self.active_ms = self.home.clock().mono_ms();
                self.decide(command, caller)
            }
            Letter::Request(Request::Ask(question)) => {
                self.active_ms = self.home.clock().mono_ms();
                self.line.look(question);
                Ok(())
            }
            Letter::Alarm => self.ring(ctx),
            Letter::Idle => self.rest(ctx),
            Letter::Close => {
                if let Some(command) = self.line.consult(E::stopping)? {
                    self.decide(command, Caller::nobody())?;
                }
                self.leave(Ending::Closed, ctx);
                Ok(())
            }
            Letter::Last => Ok(()),
        }
    }

    /// The time that the alarm was set for has come, or the wall clock was moved.
    fn ring(&mut self, ctx: &Context<Self>) -> Result<(), Broken> {
        let now_ms = self.home.clock().now_ms();
        match self.line.consult(E::due)? {
            Some(due) if due > now_ms => {
                self.alarm_at = None;
                self.set_alarm(Some(due), ctx);
                Ok(())
            }
            Some(_) => match self.line.consult(E::alarm)? {
                Some(command) => self.decide(command, Caller::nobody()),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Goes to sleep when nothing has happened for long enough and nothing is about to.
    fn rest(&mut self, ctx: &mut Context<Self>) -> Result<(), Broken> {
        let idle_after_ms = self.home.options().idle_after_ms;
        let idle_ms = self.home.clock().mono_ms().saturating_sub(self.active_ms);
        let asleep = self.line.consult(E::is_asleep)?;
        if idle_ms < idle_after_ms && !asleep {
            self.set_idle(idle_after_ms - idle_ms, ctx);
            return Ok(());
        }
        let soon_ms = self.home.clock().now_ms().saturating_add(idle_after_ms);
        let (standing, due) = self.line.consult(|state| (E::standing(state), E::due(state)))?;
        let is_needed = standing == Standing::Owed
            || due.is_some_and(|due| due <= soon_ms)
            || !self.line.is_settled()
            || self.home.effects().is_busy(self.stream);
        if is_needed {
            self.set_idle(idle_after_ms, ctx);
        } else {
            if let Some(kept) = self.line.keep_at_rest(&self.home.options().keep) {
                self.home.keep(self.stream, kept);
            }
            self.leave(Ending::Passivated, ctx);
        }
        Ok(())
    }

    /// Releases what is durable and acts on it.
    fn release(&mut self, cx: &mut TaskContext<'_>, ctx: &mut Context<Self>) {
        self.unreleased = 0;
        let mut released = None;
        while let Err(broken) = self.line.release(cx, &mut released) {
            self.break_down(broken, ctx);
        }
        if let Err(inequality) = self.line.check() {
            self.break_down(Broken::Panic(inequality), ctx);
        }
        // An actor that ends begins nothing: its successor will find the work owed.
        if self.ending.is_none()
            && let Some(released) = released
        {
            self.act_on(released, ctx);
            self.leave_if_asleep(ctx);
        }
    }

    /// A letter to itself: whatever was sent before is read before, and may have woken the stream by then.
    fn leave_if_asleep(&self, ctx: &Context<Self>) {
        if matches!(self.line.consult(E::is_asleep), Ok(true)) {
            ctx.address().do_send(Letter::Idle);
        }
    }

    fn act_on(&mut self, released: Released<E>, ctx: &Context<Self>) {
        self.set_alarm(released.due, ctx);
        // The line starts as if nothing were owed; so nothing said at first means that nothing is.
        let owed = released.owed.or_else(|| self.fresh.then(Vec::new));
        if self.fresh && self.recovery.head > Seq::ZERO && sabotage::is_on("forget-what-is-owed") {
            self.fresh = false;
            return;
        }
        if let Some(owed) = owed {
            let found = self.fresh.then_some(self.recovery.head);
            let recovered = |seq: Seq| found.is_some_and(|head| seq <= head);
            self.home.ensure(self.stream, owed, |id| recovered(id.seq));
            self.fresh = false;
        }
        if let Some(kept) = released.kept {
            self.home.keep(self.stream, kept);
        }
    }

    fn set_alarm(&mut self, due: Option<u64>, ctx: &Context<Self>) {
        if due == self.alarm_at {
            return;
        }
        self.alarm_at = due;
        self.alarm = match due {
            Some(due) => self.timer(self.home.clock().sleep_until(due), Letter::Alarm, ctx),
            None => Timer::default(),
        };
    }

    fn set_idle(&mut self, ms: u64, ctx: &Context<Self>) {
        self.idle = self.timer(self.home.clock().sleep(ms), Letter::Idle, ctx);
    }

    fn timer(&self, sleep: BoxFuture<'static, ()>, letter: Letter<E>, ctx: &Context<Self>) -> Timer {
        let address = ctx.address();
        let task = self.home.runtime().spawn(async move {
            sleep.await;
            address.do_send(letter);
        });
        Timer(Some(task.abort_handle()))
    }

    /// Takes nothing more: its fold is torn, or what it rests on was lost.
    fn break_down(&mut self, broken: Broken, ctx: &mut Context<Self>) {
        let ending = match broken {
            Broken::Panic(message) => Ending::Panicked(message),
            Broken::Journal(error) => {
                // Refusals and sights behind a lost frame were taken from a fold that never became true.
                self.line.drop_answers();
                Ending::Journal(error)
            }
        };
        if self.ending.is_none() {
            tracing::warn!(stream = %self.stream, kind = E::KIND, ?ending, "an actor is discarded");
        }
        self.leave(ending, ctx);
    }

    /// Begins to end; the first cause stands, but for an orderly end that turns out otherwise.
    fn leave(&mut self, ending: Ending, ctx: &mut Context<Self>) {
        match self.ending {
            None => {
                self.ending = Some(ending);
                self.home.leaving(self.stream, self.number);
                // From now on the registry puts nothing in the mailbox, so this letter is the last.
                ctx.address().do_send(Letter::Last);
            }
            Some(Ending::Closed | Ending::Passivated) => self.ending = Some(ending),
            Some(Ending::Panicked(_) | Ending::Journal(_)) => {}
        }
    }

    fn stop_when_done(&mut self, ctx: &mut Context<Self>) {
        if self.emptied && self.line.is_settled() {
            ctx.stop();
        }
    }
}

impl<E: Entity> Actor for Host<E> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Receipts);
        self.set_idle(self.home.options().idle_after_ms, ctx);
        let woken = self.wake(ctx);
        // What waited for the recovery comes after the entity was told of it.
        if !self.home.born(self.stream, self.number, ctx.address()) {
            self.leave(Ending::Closed, ctx);
        }
        match woken {
            Ok(()) => self.leave_if_asleep(ctx),
            Err(broken) => self.break_down(broken, ctx),
        }
    }
}

impl<E: Entity> Handler<Letter<E>> for Host<E> {
    type Result = ();

    fn handle(&mut self, letter: Letter<E>, ctx: &mut Self::Context) {
        match letter {
            Letter::Last => self.emptied = true,
            letter if self.ending.is_some() => {
                if let Some(request) = letter.into_request() {
                    self.home.hand_back(self.stream, self.number, request);
                }
            }
            letter => {
                if let Err(broken) = self.read(letter, ctx) {
                    self.break_down(broken, ctx);
                } else if sabotage::is_on("begin-before-the-receipt")
                    && let Ok(early) = self.line.survey()
                {
                    self.act_on(early, ctx);
                }
            }
        }
        self.unreleased += 1;
        if self.unreleased >= RELEASE_EVERY {
            // `Receipts` is polled after the mailbox in any case, and registers its waker then.
            self.release(&mut TaskContext::from_waker(Waker::noop()), ctx);
        }
    }
}

impl<E: Entity> Letter<E> {
    pub(crate) fn into_request(self) -> Option<Request<E>> {
        match self {
            Self::Request(request) => Some(request),
            Self::Outcome(command, caller) => Some(Request::Command(command, caller)),
            Self::Alarm | Self::Idle | Self::Close | Self::Last => None,
        }
    }
}

impl<E: Entity> Drop for Host<E> {
    fn drop(&mut self) {
        let ending = self
            .ending
            .take()
            .unwrap_or_else(|| Ending::Panicked("the host itself panicked".into()));
        let progressed = self.line.durable() > self.progress_from;
        self.home
            .ended(self.stream, self.number, &ending, self.line.durable(), progressed);
    }
}

/// Polled whenever the actor is, after its mailbox: releases what the receipts allow.
struct Receipts;

impl<E: Entity> ActorFuture<Host<E>> for Receipts {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        host: &mut Host<E>,
        ctx: &mut Context<Host<E>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        host.release(task, ctx);
        host.stop_when_done(ctx);
        Poll::Pending
    }
}

/// A task that waits for a time; it ends with its owner.
#[derive(Default)]
struct Timer(Option<AbortHandle>);

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}
