//! Frames that go to the disk together, and whoever waits for them.

use std::collections::HashSet;

use crate::catalogue::Span;
use crate::damage::SetAside;
use crate::frame;
use crate::id::{ChainHash, Position, Seq, StreamId};
use crate::journal::{Durable, SubmitError};
use crate::local::inbox::Answer;
use crate::record::Head;
use crate::rules::Intent;
use crate::spread::ByStream;

/// Heads remembered from one batch to the next, so that a busy stream is not looked up again in the index.
const TIPS: usize = 1 << 17;

/// A batch on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Every item in the order of submission, refused or not, so that answers keep that order.
    answers: Vec<(StreamId, Answer, Result<Durable, SubmitError>)>,
    pub(super) frames: Vec<(Head, Span)>,
    pub(super) gaps: Vec<(StreamId, SetAside)>,
    pub(super) moved: Vec<(StreamId, Seq)>,
    /// What was sealed.
    pub(super) spent: Vec<Vec<u8>>,
    /// Where streams stand after this batch, or stood after one before it.
    pub(super) tips: ByStream<Head>,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.answers.clear();
        self.frames.clear();
        self.gaps.clear();
        self.moved.clear();
        if self.tips.len() > TIPS {
            self.tips.clear();
        }
    }

    /// How many wait for it.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }

    /// Seals an admitted frame behind the others; the batch begins at `first`, and everything below `durable` is on disk.
    pub(super) fn seal(
        &mut self,
        mut intent: Intent,
        previous: ChainHash,
        first: Position,
        durable: Position,
    ) -> Durable {
        let position = Position(first.0 + self.bytes.len() as u64);
        let hash = frame::write(&intent, previous, position, durable, &mut self.bytes);
        self.spent.push(std::mem::take(&mut intent.unsealed));
        let span = Span {
            position,
            first_seq: intent.expected.next(),
            last_seq: intent.last_seq(),
        };
        if let Some(gap) = intent.over_gap {
            let aside = SetAside {
                resumes_after: gap.resumes_after,
                first_seq: span.first_seq,
            };
            self.gaps.push((intent.stream, aside));
        }
        let head = intent.into_head(hash);
        self.moved.push((head.stream, head.seq));
        self.tips.insert(head.stream, head.clone());
        self.frames.push((head, span));
        Durable {
            seq: span.last_seq,
            hash,
            position,
        }
    }

    /// Remembers who is to be told what, once the batch is on disk.
    pub(super) fn will_answer(
        &mut self,
        stream: StreamId,
        answer: Answer,
        verdict: Result<Durable, SubmitError>,
    ) {
        self.answers.push((stream, answer, verdict));
    }

    /// Takes back every acceptance. A conflict with a frame that is taken back was no conflict.
    pub(super) fn fail(&mut self, accepted: &SubmitError, refused: &SubmitError) {
        let taken_back: HashSet<StreamId> = self.moved.iter().map(|(stream, _)| *stream).collect();
        self.tips.clear();
        for (stream, _, verdict) in &mut self.answers {
            match verdict {
                Ok(_) => *verdict = Err(accepted.clone()),
                Err(SubmitError::Conflict { .. }) if taken_back.contains(stream) => {
                    *verdict = Err(refused.clone());
                }
                Err(_) => {}
            }
        }
    }

    pub(super) fn answer(&mut self) {
        for (_, answer, verdict) in self.answers.drain(..) {
            // A dropped receipt does not withdraw the frame.
            let _ = answer.send(verdict);
        }
    }
}
