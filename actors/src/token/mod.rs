//! The client tokens of one session: which were minted, what each may do, and which of them were revoked.
//!
//! # What is promised
//!
//! - A token counts only if its minting is on record here, with the very rights that it names, and its revocation is not.
//!   Both records are on disk before anybody is told (B-TOKEN-1).
//! - A token may hold `approve` only if a human is named with it, and names a human only then (B-GATE-3).
//!
//! # What is not
//!
//! The text of a token is nowhere in here, and cannot be made from what is: it needs a key that is in no record.
//!
//! It is a stream of its own beside that of the session, so that the session's log, what is exported, and what a fork takes
//! over hold no tokens; a session without any has no such stream. It waits for nothing: a token that runs out needs nobody
//! to be woken for it. What lies in this folder is pure, but for `desk`, where messages are sent.

mod apply;
mod command;
mod decide;
mod desk;
mod event;
mod state;

use longhaul_journal::{NewRecord, Record, Standing, StreamId};

pub use command::{Command, Mint, Refusal, Reply};
pub use decide::{TTL_LEAST_S, TTL_MOST_S, TTL_S};
pub use desk::TokenDesk;
pub use event::*;
pub use state::{State, Token, Void};

use crate::entity::{Decision, DecodeError, Entity, Moment, Placed};

/// The rules of the tokens of a session.
#[derive(Clone, Debug)]
pub enum Tokens {}

impl Tokens {
    /// The stream of the tokens of a session.
    pub fn of(owner: &str, session: StreamId) -> StreamId {
        StreamId::named(Self::KIND, owner, &format!("session:{session}"))
    }
}

impl Entity for Tokens {
    const KIND: &'static str = "tokens";
    const FOLD_VERSION: u32 = 1;

    type State = State;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;
    type Effect = std::convert::Infallible;

    fn decide(state: &State, command: Command, moment: Moment) -> Result<Decision<Event, Reply>, Refusal> {
        decide::decide(state, command, moment.now_ms)
    }

    fn apply(state: &mut State, placed: Placed<'_, Event>) {
        apply::apply(state, placed);
    }

    fn standing(_: &State) -> Standing {
        Standing::Done
    }

    fn encode(event: &Event) -> NewRecord {
        event.encode()
    }

    fn decode(record: &Record) -> Result<Event, DecodeError> {
        Event::decode(record)
    }
}
