//! From records to the interpreter: which input each answer saw, and which answer each outcome belongs to.
//!
//! No record says which step of the playbook an answer came from, and none needs to. Each `model.completed` that holds
//! an answer was given from the records up to its pinned window; so the interpreter is shown just those, asked again,
//! and stands where it stood then. What it says is compared with what was recorded: unequal means that the session
//! was led by another playbook or another interpreter, and then no step is guessed.

use std::borrow::Borrow;
use std::collections::VecDeque;

use longhaul_actors::ports::Seen;
use longhaul_actors::session::{Answer, Body, SendMode, StuckEvidence, ToolCall};
use longhaul_journal::Seq;

use super::cursor::Cursor;
use super::file::Playbook;
use super::outcome::Outcome;

/// What the records so far mean to the interpreter. `Default` is before the first record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fold {
    cursor: Cursor,
    /// Inputs recorded but not yet shown to the interpreter.
    pending: VecDeque<Input>,
    /// Messages that wait for the turn to end.
    queued: Vec<Input>,
    turn_open: bool,
    /// The goal, until the message that carries it has come.
    goal: Option<String>,
    /// The last act that began.
    begun: Option<u64>,
    /// Step and window of the last brain call that began.
    pinned: Option<(u64, Seq)>,
}

/// The records do not fit the playbook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the log does not fit the playbook: at seq {seq} it holds {recorded}, where the playbook says {replayed}; start a \
     new session with this playbook"
)]
pub(super) struct Unlike {
    seq: Seq,
    recorded: String,
    replayed: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Input {
    seq: Seq,
    news: News,
}

#[derive(Clone, Debug, PartialEq)]
enum News {
    Message(String),
    Settled(Outcome),
    Looped(u32),
    Lost(String),
}

impl Fold {
    /// Takes in the next record.
    ///
    /// # Errors
    /// [`Unlike`] when it is an answer that this playbook would not have given.
    pub(super) fn see(&mut self, playbook: &Playbook, seen: &Seen) -> Result<(), Unlike> {
        let seq = seen.seq;
        match &seen.event.body {
            Body::SessionStarted(started) => self.goal = Some(started.goal.clone()),
            // The goal is what the playbook was written for, not a message about the run.
            Body::UserMessage(message) if self.goal.take_if(|goal| *goal == message.text).is_some() => {}
            Body::UserMessage(message) => {
                let input = Input {
                    seq,
                    news: News::Message(message.text.clone()),
                };
                match self.turn_open && message.mode == SendMode::Queue {
                    true => self.queued.push(input),
                    false => self.pending.push_back(input),
                }
            }
            Body::TurnStarted(_) => self.turn_open = true,
            Body::TurnStuck(stuck) => {
                if let StuckEvidence::Loop { times, .. } = stuck.evidence {
                    let news = News::Looped(times);
                    self.pending.push_back(Input { seq, news });
                }
            }
            Body::JournalGap(gap) => {
                let why = format!(
                    "records {} to {} of the log are lost, so it, and what follows it, may have been done",
                    gap.from_seq, gap.to_seq
                );
                let news = News::Lost(why);
                self.pending.push_back(Input { seq, news });
            }
            Body::TurnCompleted(_) => {
                self.turn_open = false;
                self.release_queued();
            }
            Body::ModelStarted(started) => self.pinned = Some((started.step, started.window_to)),
            Body::ModelCompleted(done) if done.failure.is_none() => {
                let window_to = match self.pinned {
                    Some((step, window_to)) if step == done.step => window_to,
                    _ => seq,
                };
                let replayed = self.answer_at(playbook, window_to);
                let (replayed, recorded) = (names(&replayed.calls), names(&done.calls));
                if replayed != recorded {
                    return Err(Unlike {
                        seq,
                        recorded: listed(&recorded),
                        replayed: listed(&replayed),
                    });
                }
                self.cursor.answered(seq);
            }
            Body::ToolStarted(started) => self.begun = Some(started.step),
            // Settled from outside before it began: as if it had never been asked for.
            Body::ToolFailed(failed) if failed.settled_by.is_some() && self.begun != Some(failed.step) => {}
            body => {
                if let Some(outcome) = Outcome::of(body) {
                    let news = News::Settled(outcome);
                    self.pending.push_back(Input { seq, news });
                }
            }
        }
        Ok(())
    }

    /// What the playbook says now. Changes nothing: the answer counts once it is recorded.
    pub(super) fn answer(&self, playbook: &Playbook) -> Answer {
        self.clone().answer_at(playbook, Seq(u64::MAX))
    }

    fn answer_at(&mut self, playbook: &Playbook, window_to: Seq) -> Answer {
        while let Some(input) = self.pending.pop_front_if(|input| input.seq <= window_to) {
            match input.news {
                News::Message(text) => self.cursor.hear(input.seq, text),
                News::Settled(outcome) => self.cursor.settle(outcome),
                News::Lost(why) => self.cursor.lost(why),
                News::Looped(times) => self.cursor.looped(input.seq, times),
            }
        }
        self.cursor.answer(playbook)
    }

    /// Queued messages become visible where the turn ended, among the rest by their seq.
    fn release_queued(&mut self) {
        if self.queued.is_empty() {
            return;
        }
        self.pending.extend(self.queued.drain(..));
        self.pending.make_contiguous().sort_by_key(|input| input.seq);
    }
}

fn names(calls: &[impl Borrow<ToolCall>]) -> Vec<&str> {
    calls.iter().map(|call| call.borrow().tool.as_str()).collect()
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "no call".into(),
        names => format!("a call of {}", names.join(", ")),
    }
}
