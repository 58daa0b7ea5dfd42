//! Every moment at which the runtime is killed: at each frame of each stream, and in the middle of each command.

use std::fmt;

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

/// All moments of a life like this one.
pub fn moments(reference: &Streams) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (kind, frames) in reference {
        for frame in frames {
            let sides = [
                (Side::Before, frame.first_seq().0),
                (Side::After, frame.last_seq().0),
            ];
            moments.extend(sides.map(|(side, seq)| {
                let kind = kind.clone();
                Moment::Frame(Cut { kind, seq, side })
            }));
        }
    }
    for command in COMMANDS {
        let thens = [Then::EndsAlone, Then::GoesOn, Then::IsLost];
        moments.extend(thens.map(|then| Moment::Running(command, then)));
    }
    moments
}
