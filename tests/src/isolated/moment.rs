//! Every moment at which the runtime is killed: at each frame of each stream, and in the middle of each command.

use std::fmt;

use longhaul_actors::Entity;
use longhaul_actors::account::Account;
use longhaul_actors::session::Session;

use super::blade::{Cut, Side};
use super::life::Streams;
use super::script::COMMANDS;

/// When the runtime dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At a frame, by its own hand.
    Frame(Cut),
    /// While this command runs.
    Running(&'static str, Then),
}

/// What becomes of a command whose runtime died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It ends before there is another runtime.
    EndsAlone,
    /// It runs still when the next runtime comes.
    GoesOn,
    /// Its shim dies too, and all of it: how far it got, nobody can know.
    IsLost,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(cut) => write!(f, "{cut}"),
            Self::Running(command, then) => write!(f, "{command}:{then:?}"),
        }
    }
}

/// The moments of a life like this one: both sides of each frame, and each command in its middle.
///
/// What is left of a process that was killed is what is on disk, and what goes on outside. Right before a frame of the session is
/// written that is the same as right after the frame before it, when that is one of the account: nothing outside is
/// done in between. Then the side of the session is enough, unless all of them are asked for.
pub fn moments(reference: &Streams, all: bool) -> Vec<Moment> {
    let mut frames: Vec<_> = reference
        .iter()
        .flat_map(|(stream, frames)| frames.iter().map(move |frame| (stream, frame)))
        .collect();
    frames.sort_by_key(|(_, frame)| frame.position);
    let is_of_session = |index: Option<usize>| {
        let neighbour = index.and_then(|index| frames.get(index));
        neighbour.is_some_and(|(_, frame)| frame.kind == Session::KIND)
    };
    let mut moments = Vec::new();
    for (index, (stream, frame)) in frames.iter().enumerate() {
        let sides = [
            (Side::Before, frame.first_seq().0, index.checked_sub(1)),
            (Side::After, frame.last_seq().0, Some(index + 1)),
        ];
        for (side, seq, neighbour) in sides {
            if all || frame.kind != Account::KIND || !is_of_session(neighbour) {
                let stream = (*stream).clone();
                moments.push(Moment::Frame(Cut { stream, seq, side }));
            }
        }
    }
    for command in COMMANDS {
        let thens = [Then::EndsAlone, Then::GoesOn, Then::IsLost];
        moments.extend(thens.map(|then| Moment::Running(command, then)));
    }
    moments
}
