//! A task: work that somebody wants done, suggested by an agent or written down by a human, until it is done or dropped.
//!
//! # What is promised
//!
//! - A suggestion is a task in the state `suggested`. It is filed under the step that made it, so that a step that is
//!   looked at twice after a crash files one; opening it makes exactly one task of it, whoever asks how often (B-ART-3).
//! - At most one run works on a task at a time, and the task follows it by itself: it waits for an approval with its run,
//!   is completed with its run, and is open again when the run ends without having reached its goal (B-TASK-1).
//!
//! # How tasks and sessions speak
//!
//! A session that keeps an artifact of kind `task_suggestion` files it through the desk before the step that made it
//! is settled, so it owes nothing once it has ended. A task that a run works on owes a watch, which reads in the log of that
//! session where it stands; sessions know nothing of tasks.
//!
//! What lies in this folder is pure, but for `perform` and `desk`, where messages are sent.

mod apply;
mod command;
mod decide;
mod desk;
mod event;
mod perform;
mod state;
mod suggestion;

use longhaul_journal::{NewRecord, Record, Standing, StreamId};

pub use command::{Command, Create, Effect, Refusal, Reply, Suggest};
pub use desk::TaskDesk;
pub use event::*;
pub use perform::{Progress, TaskWorld, progress};
pub use state::{Phase, State};
pub use suggestion::{SUGGESTION_LIMIT, Suggestion, TITLE_LIMIT, read_suggestion};

use crate::entity::{Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed};

/// The rules of a task.
#[derive(Clone, Debug)]
pub enum Task {}

impl Task {
    /// The stream of what a step of a session suggested.
    pub fn suggested_by(owner: &str, session: StreamId, step: u64) -> StreamId {
        StreamId::named(Self::KIND, owner, &format!("step:{session}/{step}"))
    }

    /// The stream of a task that somebody made under a name of their own.
    pub fn keyed(owner: &str, key: &str) -> StreamId {
        StreamId::named(Self::KIND, owner, &format!("key:{key}"))
    }
}

impl Entity for Task {
    const KIND: &'static str = "task";
    const FOLD_VERSION: u32 = 1;

    type State = State;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;
    type Effect = Effect;

    fn decide(state: &State, command: Command, _moment: Moment) -> Result<Decision<Event, Reply>, Refusal> {
        decide::decide(state, command)
    }

    fn apply(state: &mut State, placed: Placed<'_, Event>) {
        apply::apply(state, placed);
    }

    fn standing(state: &State) -> Standing {
        match state.phase {
            Phase::Unborn | Phase::Completed | Phase::Canceled | Phase::Archived => Standing::Done,
            Phase::Suggested => Standing::Waits("suggestion".into()),
            Phase::Open => Standing::Waits("claim".into()),
            Phase::Claimed => Standing::Waits("work".into()),
            Phase::InProgress | Phase::WaitingApproval => Standing::Owed,
        }
    }

    fn owed(state: &State) -> Vec<Owed<Effect>> {
        let known = match state.phase {
            Phase::InProgress => Progress::Working,
            Phase::WaitingApproval => Progress::WaitsForApproval,
            _ => return Vec::new(),
        };
        let watch = state.session.map(|session| Owed {
            // Once more after each change, since what is known then is something else.
            id: EffectId {
                seq: state.moved,
                attempt: 0,
            },
            effect: Effect::Watch { session, known },
        });
        watch.into_iter().collect()
    }

    fn encode(event: &Event) -> NewRecord {
        event.encode()
    }

    fn decode(record: &Record) -> Result<Event, DecodeError> {
        Event::decode(record)
    }
}
