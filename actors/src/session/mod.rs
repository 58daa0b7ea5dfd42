//! A session: one agent at work, as rules.
//!
//! A session is a fold over its records ([`State`]). A wish ([`Command`]) is decided on that fold into facts
//! ([`Event`]) or a [`Refusal`]; what follows by itself from those facts lands in the same frame (`follow`). Work owed
//! to the world ([`Effect`]) is a function of the fold too, so that it is found again after any crash. Nothing in this
//! folder reads a clock, draws a random number, or waits, but for `perform`, which maps effects to the ports.

mod admission;
mod answer;
mod apply;
mod approval;
mod checkpoint;
mod command;
mod decide;
mod draft;
mod event;
mod follow;
mod fork;
mod mend;
mod meter;
mod money;
mod outcome;
mod perform;
mod resources;
mod service;
mod state;
mod tool;
mod waits;

use longhaul_journal::{NewRecord, Record, Standing};

pub use admission::{Admission, Candidate, Setting, call_digest};
pub use answer::{ANSWER_TEXT_LIMIT, CALLS_AT_ONCE, CALLS_LIMIT, DEPTH_LIMIT, TOOL_NAME_LIMIT};
pub use approval::{Approval, EVIDENCE_LIMIT, Word, approval_id, approval_session};
pub use checkpoint::{Files, may_change_files};
pub use command::{Command, Effect, Refusal, Reply, Start};
pub use decide::{KEY_LIMIT, MESSAGE_LIMIT, METADATA_LIMIT};
pub(crate) use draft::clip;
pub use event::*;
pub use fork::{Fork, ForkedFrom, fork};
pub use mend::over_gap;
pub use meter::{CRASH_LIMIT, CRASH_WINDOW_MS, CrashMeter, LOOP_LIMIT, LoopMeter};
pub use money::{HeldStep, Metered, Money, OutOfCredit, Purse, Terms, finding};
pub use perform::{SessionWorld, brain_name};
pub use resources::{LimitsReport, Resources, ResourcesWish, Used};
pub use service::{
    Around, DeniedEgress, RunningService, SERVICES_LIMIT, ServiceCall, ServiceCause, ServiceEnd,
    ServiceEnding,
};
pub use state::{
    Ending, OpenStep, Origin, PauseWish, Phase, PlannedCall, Rest, State, Turn, Unread, UsedKey, Work,
};
pub use tool::*;

use crate::entity::{Decision, DecodeError, Entity, Moment, Owed, Placed, Recovery, RecoveryCause};

/// The rules of a session.
#[derive(Clone, Debug)]
pub enum Session {}

impl Entity for Session {
    const KIND: &'static str = "session";
    const FOLD_VERSION: u32 = 10;

    type State = State;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;
    type Effect = Effect;

    fn decide(state: &State, command: Command, moment: Moment) -> Result<Decision<Event, Reply>, Refusal> {
        decide::decide(state, command, moment)
    }

    fn apply(state: &mut State, placed: Placed<'_, Event>) {
        apply::apply(state, placed);
    }

    fn standing(state: &State) -> Standing {
        waits::standing(state)
    }

    fn due(state: &State) -> Option<u64> {
        waits::due(state)
    }

    fn alarm(state: &State) -> Option<Command> {
        waits::alarm(state)
    }

    fn owed(state: &State) -> Vec<Owed<Effect>> {
        waits::owed(state)
    }

    fn is_asleep(state: &State) -> bool {
        state.phase == Phase::Hibernated
    }

    fn recovered(state: &State, recovery: &Recovery) -> Option<Command> {
        // A panic is counted wherever it happens; whatever else ended an actor matters only to work under way.
        let panicked = matches!(recovery.cause, RecoveryCause::Panic { .. });
        (state.phase.is_live() && (state.phase.has_compute() || state.stopped_cleanly || panicked))
            .then(|| Command::Recovered(recovery.clone()))
    }

    fn stopping(state: &State) -> Option<Command> {
        state.phase.has_compute().then_some(Command::Stopping)
    }

    fn encode(event: &Event) -> NewRecord {
        event.encode()
    }

    fn decode(record: &Record) -> Result<Event, DecodeError> {
        Event::decode(record)
    }
}
