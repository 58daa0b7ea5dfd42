//! What a life amounts to, without what a crash may change: times, seqs, and the records of the crash itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use longhaul_actors::Entity;
use longhaul_actors::session::{Body, FileWrite, Session, TurnEnd};
use longhaul_journal::Frame;

use super::life::Life;
use crate::invariants::folded;

/// What must be the same, however often and wherever the life was cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Where it ended, and with what words.
    pub end: String,
    /// Turns, and how each ended.
    pub turns: Vec<TurnEnd>,
    /// Every act in order, with what became of it.
    pub acts: Vec<(String, String)>,
    /// What the brain said, in order; it repeats what it heard.
    pub said: Vec<String>,
    /// Messages in the order in which they came.
    pub messages: Vec<String>,
    /// Kind, name and hash of each artifact.
    pub artifacts: Vec<(String, String, String)>,
    /// Rests, and how they began.
    pub rests: Vec<String>,
    /// What was asked of a human under which name, and what was said.
    pub approvals: Vec<(String, String)>,
    /// The files outside.
    pub files: BTreeMap<String, String>,
}

impl Story {
    /// The story of a life.
    pub fn of(life: &Life) -> Self {
        Self::told_by(&life.frames, life.world.files.clone())
    }

    /// The story that a log tells, with the files that it left.
    pub fn told_by(frames: &[Arc<Frame>], files: BTreeMap<String, String>) -> Self {
        let state = folded(frames);
        let mut story = Self {
            end: format!("{}: {}", state.phase.name(), state.outcome),
            files,
            ..Self::default()
        };
        for body in bodies(frames) {
            story.tell(&body);
        }
        story
    }

    /// The same story without the names of requests, which say whose session it is.
    pub fn without_names(mut self) -> Self {
        self.approvals.iter_mut().for_each(|(id, _)| id.clear());
        self
    }

    /// The same story, as it is told when nobody can know what became of one act: the brain is asked once more there.
    pub fn without_what_is_said_about(mut self, brief: &str) -> Self {
        self.said.clear();
        self.acts.retain(|(act, _)| act != brief);
        // One brain call more, so that the steps behind it have other numbers, and their requests other names.
        self.without_names()
    }

    fn tell(&mut self, body: &Body) {
        let outcome = match body {
            Body::TurnCompleted(turn) => return self.turns.push(turn.reason),
            Body::AgentMessage(message) => return self.said.push(message.text.clone()),
            Body::UserMessage(message) => return self.messages.push(message.text.clone()),
            Body::ArtifactCreated(made) => {
                return self
                    .artifacts
                    .push((made.kind.clone(), made.name.clone(), made.sha256.clone()));
            }
            Body::PauseRequested(wish) => return self.rests.push(format!("asked, now: {}", wish.now)),
            Body::Paused(paused) => return self.rests.push(format!("{:?}", paused.reason)),
            Body::ApprovalRequested(asked) => {
                return self.approvals.push((asked.id.clone(), asked.action.clone()));
            }
            Body::ApprovalDecided(decided) => {
                let said = format!("{:?}", decided.decision);
                return self.approvals.push((decided.id.clone(), said));
            }
            Body::Resumed(_) => return self.rests.push("resumed".into()),
            Body::ToolStarted(started) => return self.acts.push((started.brief.clone(), "open".into())),
            Body::CommandRun(run) => format!("{:?} {:?}", run.execution.verdict, run.execution.stdout.head),
            // The hash before a whole-file write that was done again is that of the first try.
            Body::FileWritten(written) => {
                let FileWrite {
                    path, bytes, after, ..
                } = &written.file;
                format!("{path} {bytes} {after}")
            }
            Body::FileWasRead(read) => format!("{} {:?}", read.file.path, read.file.content.head),
            Body::ToolCompleted(completed) => completed.output.clone(),
            Body::ToolFailed(failed) => format!("{} by {:?}", failed.code, failed.settled_by),
            Body::ToolOutcomeUnknown(unknown) => format!("unknown: {}", unknown.why),
            _ => return,
        };
        if let Some((_, open)) = self.acts.last_mut() {
            assert_eq!(open, "open", "one end for each act");
            *open = outcome;
        }
    }
}

/// The decoded facts of a log.
pub fn bodies(frames: &[Arc<Frame>]) -> Vec<Body> {
    let records = frames.iter().flat_map(|frame| &frame.records);
    records
        .map(|record| Session::decode(record).expect("this version wrote it").body)
        .collect()
}
