//! One decision in the making: facts, and the state they lead to.

use longhaul_journal::Seq;

use super::admission::Admission;
use super::apply::apply;
use super::event::{Actor, Body, Event, Woken};
use super::follow::follow;
use super::money::HeldStep;
use super::state::{Phase, Rest, State};
use crate::entity::{Moment, Placed};

/// Facts decided so far, already folded into a scratch copy of the state.
pub(super) struct Draft {
    /// The state after them.
    pub(super) state: State,
    /// The facts.
    pub(super) events: Vec<Event>,
    /// What the checks said of the step that comes next, if they were asked. It is used up by that step.
    pub(super) admission: Option<Box<Admission>>,
    /// The credit that is held for the step that comes next, if the command brought it.
    pub(super) hold: Option<HeldStep>,
    moment: Moment,
}

impl Draft {
    pub(super) fn new(state: &State, moment: Moment) -> Self {
        let moment = Moment {
            now_ms: moment.now_ms.max(state.last_ms),
        };
        Self {
            state: state.clone(),
            events: Vec::new(),
            admission: None,
            hold: None,
            moment,
        }
    }

    pub(super) const fn now_ms(&self) -> u64 {
        self.moment.now_ms
    }

    /// Adds a fact, and returns the seq it will have.
    pub(super) fn push(&mut self, actor: Actor, cause: Option<Seq>, body: impl Into<Body>) -> Seq {
        let body = body.into();
        let turn = match &body {
            Body::TurnStarted(_) => Some(self.state.turns + 1),
            _ => self.state.turn.as_ref().map(|turn| turn.number),
        };
        let event = Event {
            actor,
            turn,
            cause,
            body,
        };
        let seq = self.state.head.next();
        apply(
            &mut self.state,
            Placed {
                seq,
                time_ms: self.moment.now_ms,
                event: &event,
            },
        );
        self.events.push(event);
        seq
    }

    /// Adds that a message wakes the session, if it is hibernated or was when it was paused.
    pub(super) fn wake(&mut self) {
        let is_asleep = matches!(
            self.state.phase,
            Phase::Hibernated
                | Phase::Paused {
                    rest: Rest::Hibernated,
                    ..
                }
        );
        if is_asleep {
            self.push(Actor::RUNTIME, None, Woken {});
        }
    }

    /// Adds everything that follows by itself, until the state waits for somebody.
    pub(super) fn follow_through(mut self) -> Vec<Event> {
        loop {
            let before = self.events.len();
            follow(&mut self);
            if self.events.len() == before {
                return self.events;
            }
        }
    }
}

/// Longest text about a failure, bytes.
const DETAIL_LIMIT: usize = 1024;

/// Text of a machine's own making, cut to what a frame holds well.
pub(crate) fn clip(mut text: String) -> String {
    if text.len() > DETAIL_LIMIT {
        text.truncate(text.floor_char_boundary(DETAIL_LIMIT));
        text.push_str("...");
    }
    text
}
