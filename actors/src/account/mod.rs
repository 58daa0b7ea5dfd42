//! A credit account: what was granted, what is held for steps under way, and what was charged.
//!
//! # What is promised
//!
//! - Settled and held together never exceed what was granted, under any order of messages and any crash: a step starts
//!   only once its bound is held, and settling takes at most the hold. What a step cost beyond it is an overrun, borne by
//!   the operator.
//! - Each use is charged once. A hold is known by the seq of its record; the start record of a step names its hold, and
//!   settling closes it. A hold that no record names is released.
//! - Nothing is charged that nobody can put a price on: such a cost is said to be unknown.
//!
//! # How accounts and sessions speak
//!
//! A session that is about to start a step asks (`Ask`), and settles its last step in the same message. A hold whose
//! session does not come back, because it rests or has ended, is looked after by the account: as long as it holds credit
//! it owes an audit, which reads from the log of the session what became of the step. Sessions owe nothing once they
//! have ended, and never wait for a settlement.
//!
//! What lies in this folder is pure, but for `perform` and `desk`, where messages are sent.

mod apply;
mod command;
mod credits;
mod decide;
mod desk;
mod event;
mod mend;
mod perform;
mod price;
mod state;

use longhaul_journal::{NewRecord, Record, Seq, Standing, StreamId};

pub use command::{
    Ask, Command, Effect, Finding, HeldFor, LastStep, Open, Refusal, Reply, Shortage, Verdict,
};
pub use credits::{AmountError, Credits};
pub use desk::AccountDesk;
pub use event::*;
pub use mend::over_gap;
pub use perform::{AccountWorld, Linked};
pub use price::{Bound, Carry, Cost, PriceTable, TokenPrice, Used};
pub use state::{Hold, Line, Request, State};

use crate::entity::{Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed};

/// The account that sessions use unless told otherwise.
pub const DEFAULT_ACCOUNT: &str = "local";

/// How many sessions are told at the same time that there is credit again.
const WOKEN_AT_ONCE: usize = 64;

/// The rules of an account.
#[derive(Clone, Debug)]
pub enum Account {}

impl Account {
    /// The stream of an account by its owner and name.
    pub fn stream(owner: &str, name: &str) -> StreamId {
        StreamId::named(Self::KIND, owner, name)
    }
}

impl Entity for Account {
    const KIND: &'static str = "account";
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
        if state.holds > 0 || !state.waking.is_empty() {
            Standing::Owed
        } else if state.name.is_none() {
            Standing::Done
        } else {
            Standing::Waits("use".into())
        }
    }

    fn owed(state: &State) -> Vec<Owed<Effect>> {
        // The first record made the account, and what it may ever hold is looked after from then on.
        let audit = (state.holds > 0).then_some(Owed {
            id: EffectId {
                seq: Seq(1),
                attempt: 0,
            },
            effect: Effect::Audit,
        });
        let waking = state.waking.iter().take(WOKEN_AT_ONCE);
        let waking = waking.map(|(since, session)| Owed {
            id: EffectId {
                seq: *since,
                attempt: 1,
            },
            effect: Effect::Resume {
                session: *session,
                since: *since,
            },
        });
        audit.into_iter().chain(waking).collect()
    }

    fn encode(event: &Event) -> NewRecord {
        event.encode()
    }

    fn decode(record: &Record) -> Result<Event, DecodeError> {
        Event::decode(record)
    }
}
