//! At which seqs the files of a session are known: a function of its records and of the checkpoints there are.

use std::collections::BTreeSet;

use longhaul_actors::session::{Body, Event, may_change_files};
use longhaul_journal::Seq;

/// What the files are after each record of a log.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By seq from 1: which state of the files, counted from 0 (no workspace yet); none while an act may be changing them.
    states: Vec<Option<u32>>,
    /// Step of the act under way.
    open: Option<u64>,
    /// Services that go on beside the steps, and may write at any time.
    services: BTreeSet<u64>,
    state: u32,
    made: bool,
}

impl History {
    /// Takes the next record.
    pub(super) fn see(&mut self, event: &Event) {
        match &event.body {
            Body::SandboxReady(_) if !self.made => {
                self.made = true;
                self.state += 1;
            }
            Body::ToolStarted(started) if may_change_files(&started.tool) => {
                // It begins once this record is on disk, so that the files are still what they were.
                self.states.push(self.services.is_empty().then_some(self.state));
                self.open = Some(started.step);
                return;
            }
            // Its workspace is made anew where it is now.
            Body::Adopted(_) => self.state += 1,
            Body::ServiceStarted(started) => {
                self.services.insert(started.step);
            }
            Body::ServiceEnded(ended) => {
                self.services.remove(&ended.step);
                self.state += 1;
            }
            body => {
                if self.open.is_some() && self.open == ended(body) {
                    self.open = None;
                    self.state += 1;
                }
            }
        }
        self.states.push(self.is_still().then_some(self.state));
    }

    fn is_still(&self) -> bool {
        self.open.is_none() && self.services.is_empty()
    }

    /// Which state the files are in after this record.
    pub(super) fn at(&self, seq: u64) -> Option<u32> {
        let index = usize::try_from(seq).ok()?.checked_sub(1)?;
        self.states.get(index).copied().flatten()
    }

    /// The last seq that was seen.
    pub(super) fn head(&self) -> u64 {
        self.states.len() as u64
    }

    /// Which state the files are in now; none while an act may be changing them, whatever the last record says of before.
    pub(super) fn present(&self) -> Option<u32> {
        self.is_still().then(|| self.at(self.head())).flatten()
    }

    /// The checkpoint that holds the files after this record, of those there are.
    pub(super) fn checkpoint(&self, seq: u64, there: &BTreeSet<u64>) -> Option<u64> {
        let wanted = self.at(seq)?;
        there.iter().copied().find(|at| self.at(*at) == Some(wanted))
    }

    /// The seqs that can be forked, as ranges, given in which states the files can be had.
    pub(super) fn forkable(&self, can_be_had: impl Fn(u32) -> bool) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (state, seq) in self.states.iter().zip(1..) {
            if !state.is_some_and(&can_be_had) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => ranges.push((seq, seq)),
            }
        }
        ranges
    }
}

/// The act that a record ends.
fn ended(body: &Body) -> Option<u64> {
    match body {
        Body::CommandRun(end) => Some(end.step),
        Body::FileWritten(end) => Some(end.step),
        Body::ToolCompleted(end) => Some(end.step),
        Body::ToolFailed(end) => Some(end.step),
        Body::ToolOutcomeUnknown(end) => Some(end.step),
        _ => None,
    }
}

/// Ranges for a person: `1-4, 9`.
pub(super) fn shown(ranges: &[(u64, u64)]) -> String {
    let range = |&(from, to): &(u64, u64)| {
        if from == to {
            from.to_string()
        } else {
            format!("{from}-{to}")
        }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(", ")
}

/// The seq nearest to this one that lies in a range.
pub(super) fn nearest(ranges: &[(u64, u64)], seq: Seq) -> Option<u64> {
    let candidates = ranges.iter().map(|&(from, to)| seq.0.clamp(from, to));
    candidates.min_by_key(|candidate| candidate.abs_diff(seq.0))
}

#[cfg(test)]
mod tests {
    use longhaul_actors::session::{
        Actor, FileWasRead, RecoveryClass, SandboxReady, ToolCompleted, ToolStarted,
    };

    use super::*;

    fn history(bodies: impl IntoIterator<Item = Body>) -> History {
        let mut history = History::default();
        for body in bodies {
            let (actor, turn, cause) = (Actor::RUNTIME, None, None);
            history.see(&Event {
                actor,
                turn,
                cause,
                body,
            });
        }
        history
    }

    fn ready() -> Body {
        let ready = serde_json::json!({ "isolation": { "mode": "process" } });
        serde_json::from_value::<SandboxReady>(ready)
            .expect("the rest has defaults")
            .into()
    }

    fn begins(step: u64, tool: &str) -> Body {
        ToolStarted {
            step,
            tool: tool.into(),
            brief: String::new(),
            digest: String::new(),
            class: RecoveryClass::Once,
            limit_ms: 1,
            hold: None,
        }
        .into()
    }

    fn ends(step: u64) -> Body {
        ToolCompleted {
            step,
            tool: "exec".into(),
            output: String::new(),
            active_ms: 0,
        }
        .into()
    }

    fn hears() -> Body {
        longhaul_actors::session::Woken {}.into()
    }

    #[test]
    fn the_files_are_known_wherever_nothing_that_may_change_them_is_under_way() {
        let read = FileWasRead {
            step: 2,
            file: longhaul_actors::session::FileRead {
                path: String::new(),
                file_sha256: String::new(),
                content: longhaul_actors::session::Output::default(),
                active_ms: 0,
            },
        };
        let log = history([
            hears(),
            ready(),
            begins(1, "exec"),
            hears(),
            ends(1),
            begins(2, "read"),
            hears(),
            read.into(),
            ready(),
            begins(3, "write"),
            ends(3),
        ]);
        let states: Vec<_> = (1..=log.head()).map(|seq| log.at(seq)).collect();
        let known = [0, 1, 1, 9, 2, 2, 2, 2, 2, 2, 3].map(|state| Some(state).filter(|state| *state != 9));
        assert_eq!(states, known);
        assert_eq!((log.at(0), log.at(12)), (None, None));
        assert_eq!(log.checkpoint(5, &BTreeSet::from([3, 8])), Some(8));
        assert_eq!(log.checkpoint(11, &BTreeSet::from([3, 8])), None);
        let ranges = log.forkable(|state| state == 1 || state == 3);
        assert_eq!(ranges, [(2, 3), (11, 11)]);
        assert_eq!(shown(&ranges), "2-3, 11");
        assert_eq!(nearest(&ranges, Seq(5)), Some(3));
        assert_eq!(nearest(&[], Seq(5)), None);
    }
}
