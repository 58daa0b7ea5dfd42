//! The line behind one fold: what was decided and is not yet shown. No actor in here, so that it is tested by hand.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use longhaul_journal::{
    ChainHash, Draft, Durable, Epoch, Journal, Receipt, Seq, Standing, StreamId, SubmitError, sabotage,
};
use longhaul_snapshots::Policy;

use crate::answer::{Ask, Caller, Held, SendError};
use crate::entity::{Entity, Moment, Owed, Placed};
use crate::panics::panic_message;
use crate::recover::Folded;

/// A fold, the frames it has handed to the journal, and what waits for them.
///
/// A decision is folded at once and shown late: `snapshotted <= durable <= folded`, and whatever was learnt from the
/// fold at some seq leaves in order, once that seq is durable.
///
/// All code of the entity runs before its frame is submitted. So a panic in it always means that nothing was written;
/// the fold may be torn by it, and nothing further is decided on it.
pub(crate) struct Line<E: Entity> {
    stream: StreamId,
    epoch: Epoch,
    state: E::State,
    time_ms: u64,
    folded: Seq,
    durable: Seq,
    /// Hash of the last durable frame.
    hash: ChainHash,
    snapshotted: Seq,
    /// The last seq at which the state was set aside for a snapshot.
    set_aside: Seq,
    owed: Vec<Arc<Owed<E::Effect>>>,
    waiting: VecDeque<Step<E>>,
}

/// One place in the line.
enum Step<E: Entity> {
    Frame(InFlight<E>),
    /// An answer without facts of its own, held back for the frames before it.
    Answer(Caller<E>, Result<E::Reply, E::Refusal>),
    Sight(Held),
}

struct InFlight<E: Entity> {
    to: Seq,
    receipt: Receipt,
    caller: Caller<E>,
    reply: E::Reply,
    due: Option<u64>,
    /// `None` when it owes what the frame before it owed.
    owed: Option<Vec<Arc<Owed<E::Effect>>>>,
    /// The state after this frame, when it is worth a snapshot.
    state: Option<E::State>,
}

/// A durable state, and the frame it belongs to.
pub(crate) struct Kept<E: Entity> {
    pub(crate) seq: Seq,
    pub(crate) hash: ChainHash,
    pub(crate) state: E::State,
}

/// What became durable and may now be acted on.
pub(crate) struct Released<E: Entity> {
    /// When it must be woken.
    pub(crate) due: Option<u64>,
    /// All owed work, if that changed.
    pub(crate) owed: Option<Vec<Arc<Owed<E::Effect>>>>,
    /// The newest state that is worth a snapshot.
    pub(crate) kept: Option<Kept<E>>,
}

/// Why a line takes nothing more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Code of the entity panicked.
    Panic(String),
    /// The journal did not take a frame.
    Journal(SubmitError),
}

impl<E: Entity> Line<E> {
    /// A line behind what recovery has folded; everything in it is durable.
    pub(crate) fn new(stream: StreamId, epoch: Epoch, folded: Folded<E>) -> Self {
        Self {
            stream,
            epoch,
            state: folded.state,
            time_ms: folded.time_ms,
            folded: folded.head,
            durable: folded.head,
            hash: folded.hash,
            snapshotted: folded.snapshotted,
            set_aside: folded.snapshotted,
            owed: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    pub(crate) const fn folded(&self) -> Seq {
        self.folded
    }

    pub(crate) const fn durable(&self) -> Seq {
        self.durable
    }

    /// Whether everything that was decided is durable and shown.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many frames and answers wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Decides a command and hands its facts to the journal.
    ///
    /// # Errors
    /// [`Broken::Panic`] when code of the entity panicked; the caller has been told that nothing was written.
    pub(crate) fn decide(
        &mut self,
        journal: &dyn Journal,
        policy: &Policy,
        command: E::Command,
        mut caller: Caller<E>,
        now_ms: u64,
    ) -> Result<(), Broken> {
        let time_ms = now_ms.max(self.time_ms);
        // Unwind safe: after a panic the state is never read again.
        let ruled = catch_unwind(AssertUnwindSafe(|| self.rule(command, time_ms)));
        match ruled {
            Err(panic) => {
                let message = panic_message(&*panic);
                caller.answer(Err(SendError::NotWritten {
                    reason: format!("the rules panicked: {message}"),
                }));
                Err(Broken::Panic(message))
            }
            Ok(Ruled::Answer(answer)) => {
                self.hold_answer(caller, answer);
                Ok(())
            }
            Ok(Ruled::Facts(facts)) => {
                let Facts {
                    draft,
                    to,
                    reply,
                    due,
                    owed,
                } = facts;
                self.time_ms = time_ms;
                self.folded = to;
                let state = policy.is_due(self.set_aside, to).then(|| {
                    self.set_aside = to;
                    self.state.clone()
                });
                caller.submitted();
                let receipt = journal.submit(draft);
                self.waiting.push_back(Step::Frame(InFlight {
                    to,
                    receipt,
                    caller,
                    reply,
                    due,
                    owed,
                    state,
                }));
                Ok(())
            }
        }
    }

    /// Everything that runs code of the entity: decide, fold, and ask the new state what follows from it.
    fn rule(&mut self, command: E::Command, time_ms: u64) -> Ruled<E> {
        let decision = match E::decide(&self.state, command, Moment { now_ms: time_ms }) {
            Err(refusal) => return Ruled::Answer(Err(refusal)),
            Ok(decision) if decision.events.is_empty() => return Ruled::Answer(Ok(decision.reply)),
            Ok(decision) => decision,
        };
        let mut to = self.folded;
        for event in &decision.events {
            to = to.next();
            E::apply(
                &mut self.state,
                Placed {
                    seq: to,
                    time_ms,
                    event,
                },
            );
        }
        let draft = Draft {
            stream: self.stream,
            kind: E::KIND.into(),
            epoch: self.epoch,
            expected: self.folded,
            time_ms,
            standing: if sabotage::is_on("drop-the-standing") {
                Standing::Done
            } else {
                E::standing(&self.state)
            },
            records: decision.events.iter().map(E::encode).collect(),
        };
        Ruled::Facts(Facts {
            draft,
            to,
            reply: decision.reply,
            due: E::due(&self.state),
            owed: self.owed_if_changed(),
        })
    }

    /// All owed work, unless it is what the line was told last.
    fn owed_if_changed(&mut self) -> Option<Vec<Arc<Owed<E::Effect>>>> {
        let owed = E::owed(&self.state);
        if owed.iter().eq(self.owed.iter().map(Arc::as_ref)) {
            return None;
        }
        self.owed = owed.into_iter().map(Arc::new).collect();
        Some(self.owed.clone())
    }

    /// Asks the rules about the state.
    ///
    /// # Errors
    /// [`Broken::Panic`] when they panicked.
    pub(crate) fn consult<T>(&self, ask: impl FnOnce(&E::State) -> T) -> Result<T, Broken> {
        catch_unwind(AssertUnwindSafe(|| ask(&self.state)))
            .map_err(|panic| Broken::Panic(panic_message(&*panic)))
    }

    /// What follows from the state as it is, once all of it is durable.
    ///
    /// # Errors
    /// [`Broken::Panic`] when the rules panicked.
    pub(crate) fn survey(&mut self) -> Result<Released<E>, Broken> {
        let (due, owed) = self.consult(|state| (E::due(state), E::owed(state)))?;
        self.owed = owed.into_iter().map(Arc::new).collect();
        Ok(Released {
            due,
            owed: Some(self.owed.clone()),
            kept: None,
        })
    }

    fn hold_answer(&mut self, caller: Caller<E>, answer: Result<E::Reply, E::Refusal>) {
        if self.is_settled() {
            caller.answer(answer.map_err(SendError::Refused));
        } else {
            self.waiting.push_back(Step::Answer(caller, answer));
        }
    }

    /// Lets somebody look at the fold; what they saw is given to them once it is durable.
    ///
    /// A question that panics harms nobody but its asker.
    pub(crate) fn look(&mut self, question: Box<dyn Ask<E>>) {
        // Unwind safe: the question gets the state by shared reference.
        let seen = catch_unwind(AssertUnwindSafe(|| question.look(&self.state, self.folded)));
        match seen {
            Err(panic) => {
                let message = panic_message(&*panic);
                tracing::warn!(stream = %self.stream, message, "a question about a state panicked");
            }
            Ok(held) if self.is_settled() || sabotage::is_on("show-before-the-receipt") => held(),
            Ok(held) => self.waiting.push_back(Step::Sight(held)),
        }
    }

    /// Releases what has become durable, in order; registers the waker of `cx` for what comes next.
    ///
    /// # Errors
    /// [`Broken::Journal`] for the first frame that failed. Its caller has been answered; call again for those behind
    /// it, which answer by their own receipts. What was durable before it is in `released`.
    pub(crate) fn release(
        &mut self,
        cx: &mut Context<'_>,
        released: &mut Option<Released<E>>,
    ) -> Result<(), Broken> {
        while let Some(step) = self.waiting.front_mut() {
            let mut written = None;
            if let Step::Frame(frame) = step {
                match Pin::new(&mut frame.receipt).poll(cx) {
                    Poll::Pending => break,
                    Poll::Ready(answer) => written = Some(answer),
                }
            }
            match (self.waiting.pop_front(), written) {
                (Some(Step::Frame(frame)), Some(Ok(durable))) if durable.seq == frame.to => {
                    (self.durable, self.hash) = (frame.to, durable.hash);
                    let (owed, kept) = released
                        .take()
                        .map_or((None, None), |earlier| (earlier.owed, earlier.kept));
                    let kept = frame.state.map_or(kept, |state| {
                        self.snapshotted = frame.to;
                        let (seq, hash) = (frame.to, durable.hash);
                        Some(Kept { seq, hash, state })
                    });
                    *released = Some(Released {
                        due: frame.due,
                        owed: frame.owed.or(owed),
                        kept,
                    });
                    frame.caller.answer(Ok(frame.reply));
                }
                (Some(Step::Frame(frame)), Some(written)) => return Err(refused(frame, written)),
                (Some(Step::Answer(caller, answer)), _) => {
                    caller.answer(answer.map_err(SendError::Refused));
                }
                (Some(Step::Sight(held)), _) => held(),
                (Some(Step::Frame(_)) | None, None) | (None, Some(_)) => {
                    unreachable!("the front of the line was just looked at")
                }
            }
        }
        Ok(())
    }

    /// Drops answers that were decided on a fold whose frames are lost: their askers are told to ask again.
    pub(crate) fn drop_answers(&mut self) {
        self.waiting.retain(|step| matches!(step, Step::Frame(_)));
    }

    /// The state before the actor goes to sleep, when it is settled and worth a snapshot.
    pub(crate) fn keep_at_rest(&mut self, policy: &Policy) -> Option<Kept<E>> {
        let is_due = policy.is_due_at_passivation(self.snapshotted, self.durable);
        if !is_due || self.folded != self.durable {
            return None;
        }
        self.snapshotted = self.durable;
        Some(Kept {
            seq: self.durable,
            hash: self.hash,
            state: self.state.clone(),
        })
    }

    /// The inequality that everything else rests on.
    ///
    /// # Errors
    /// The inequality as it stands, when it is broken.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (snapshotted, durable, folded) = (self.snapshotted, self.durable, self.folded);
        if snapshotted <= durable && durable <= folded {
            return Ok(());
        }
        Err(format!(
            "snapshotted {snapshotted} <= durable {durable} <= folded {folded} does not hold"
        ))
    }
}

/// Answers the caller of a frame that was not acknowledged.
fn refused<E: Entity>(frame: InFlight<E>, written: Result<Durable, SubmitError>) -> Broken {
    let error = written.err().unwrap_or_else(|| SubmitError::OutcomeUnknown {
        reason: format!("the journal acknowledged another seq than {}", frame.to),
    });
    let reason = error.to_string();
    frame.caller.answer(Err(if error.may_have_happened() {
        SendError::OutcomeUnknown { reason }
    } else {
        SendError::NotWritten { reason }
    }));
    Broken::Journal(error)
}

enum Ruled<E: Entity> {
    Answer(Result<E::Reply, E::Refusal>),
    Facts(Facts<E>),
}

struct Facts<E: Entity> {
    draft: Draft,
    to: Seq,
    reply: E::Reply,
    due: Option<u64>,
    owed: Option<Vec<Arc<Owed<E::Effect>>>>,
}
