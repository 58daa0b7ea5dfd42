//! Every point at which the world may stop: each frame boundary, and what was under way outside at that moment.

use std::sync::Arc;

use longhaul_actors::session::{ActorKind, Body, Session, State, Tool, Verdict, Work};
use longhaul_actors::task::{self, Task};
use longhaul_actors::{Entity, Placed};
use longhaul_journal::Frame;

use super::human::Log;
use super::life::{Life, session};
use super::outside::{Wait, World, waits_for};
use super::script::Script;
use crate::invariants::ends_step;

/// How far the open act had got when the world stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// No act was open.
    Nothing,
    /// It was written down and not begun.
    Written,
    /// An edit had noted what it is about to do.
    Intended,
    /// A command executes, and goes on without the runtime.
    Running,
    /// It is done, and its outcome is not written down.
    Done,
    /// It was begun, and its evidence is gone.
    Lost,
}

/// One point at which the world stops.
#[derive(Clone, Debug)]
pub struct Point {
    /// So many frames of the session are on disk.
    pub frames: usize,
    /// The last frame on disk: of the session, of its account, or of a task it suggested.
    pub last: Option<Arc<Frame>>,
    /// What was under way.
    pub reached: Reached,
    /// The open step: number, and the act in a line (`think` for the brain).
    pub open: Option<(u64, String)>,
    /// The world outside, as of then.
    pub world: World,
    /// Whether the server's end is a crash of this session.
    pub is_crash: bool,
    /// The phase of the session, for the table that is printed.
    pub phase: &'static str,
    /// Blobs that the log names so far.
    pub blobs: Vec<String>,
}

impl Point {
    /// Whether the last frame on disk is not one of the session.
    pub fn is_beside(&self) -> bool {
        self.last.as_ref().is_some_and(|frame| frame.stream != session())
    }
}

/// All points of a life that was not interrupted.
pub fn points(reference: &Life) -> Vec<Point> {
    let mut walk = Walk {
        acts: Script::of_the_matrix().acts(),
        ..Walk::default()
    };
    let mut points = walk.points(reference, 0);
    let tasks = reference.tasks.iter().flat_map(|(_, frames)| frames);
    let mut frames: Vec<&Arc<Frame>> = reference.frames.iter().collect();
    frames.extend(reference.account.iter().chain(tasks));
    frames.sort_by_key(|frame| frame.position);
    let mut seen = 0;
    for frame in frames {
        if frame.stream == session() {
            walk.see(frame, reference);
            seen += 1;
        } else if frame.kind == Task::KIND {
            walk.see_task(frame);
        }
        walk.last = Some(Arc::clone(frame));
        points.extend(walk.points(reference, seen));
    }
    points
}

/// The reference up to a boundary: the fold, and the world outside as it was when nothing more was settled.
#[derive(Debug, Default)]
struct Walk {
    state: State,
    log: Log,
    world: World,
    acts: Vec<Tool>,
    /// Acts that were begun, by step.
    begun: Vec<(u64, Tool)>,
    blobs: Vec<String>,
    last: Option<Arc<Frame>>,
}

impl Walk {
    fn see(&mut self, frame: &Arc<Frame>, reference: &Life) {
        for record in &frame.records {
            let event = Session::decode(record).expect("this version wrote it");
            let placed = Placed {
                seq: record.seq,
                time_ms: record.time_ms,
                event: &event,
            };
            Session::apply(&mut self.state, placed);
            if let Body::ToolStarted(started) = &event.body
                && event.actor.kind == ActorKind::Agent
            {
                self.begun
                    .push((started.step, self.acts[self.begun.len()].clone()));
            }
            if let Body::ArtifactCreated(made) = &event.body {
                self.blobs.push(made.sha256.clone());
            }
            if let Some((step, _)) = ends_step(&event.body) {
                self.settle(step, reference);
            }
            self.log.0.push(event);
        }
    }

    /// A suggestion names its body before the session does.
    fn see_task(&mut self, frame: &Frame) {
        for record in &frame.records {
            let event = Task::decode(record).expect("this version wrote it");
            if let task::Body::Suggested(suggested) = event.body {
                self.blobs.push(suggested.source.sha256);
            }
        }
    }

    /// The outcome of a step is on record, so the step has happened outside.
    fn settle(&mut self, step: u64, reference: &Life) {
        if let Some(times) = reference.world.thoughts.get(&step) {
            self.world.thoughts.insert(step, *times);
        }
        let begun = self.begun.iter().find(|(begun, _)| *begun == step);
        // An act that a human refused is on record, and nothing happened outside.
        if let (Some((_, tool)), Some(evidence)) = (begun, reference.world.steps.get(&step)) {
            take_effect(&mut self.world, step, tool);
            // How it ended is the reference's word, which knows of those that were ended from outside.
            self.world.steps.insert(step, evidence.clone());
        }
    }

    fn points(&self, reference: &Life, frames: usize) -> Vec<Point> {
        let point = |reached, open: Option<(u64, String)>, world| Point {
            frames,
            last: self.last.clone(),
            reached,
            open,
            world,
            is_crash: self.state.phase.has_compute(),
            phase: self.state.phase.name(),
            blobs: self.blobs.clone(),
        };
        let Some(open) = &self.state.open else {
            return vec![point(Reached::Nothing, None, self.world.clone())];
        };
        let step = open.step;
        if let Work::Think { .. } = open.work {
            let mut called = self.world.clone();
            *called.thoughts.entry(step).or_default() += 1;
            let named = Some((step, "think".to_owned()));
            return vec![
                point(Reached::Written, named.clone(), self.world.clone()),
                point(Reached::Done, named, called),
            ];
        }
        let (_, tool) = self.begun.last().expect("the open act was begun");
        let named = Some((step, tool.brief()));
        self.worlds(reference, step, tool)
            .into_iter()
            .map(|(reached, world)| point(reached, named.clone(), world))
            .collect()
    }

    /// The worlds that may be found while this act is open.
    fn worlds(&self, reference: &Life, step: u64, tool: &Tool) -> Vec<(Reached, World)> {
        let before = self.world.clone();
        let mut after = before.clone();
        take_effect(&mut after, step, tool);
        let mut worlds = vec![(Reached::Written, before.clone())];
        match tool {
            Tool::Exec(_) => {
                let line = tool.brief();
                worlds.push((Reached::Running, after.clone()));
                let wait = waits_for(&line);
                let was_stopped = wait == Wait::Death
                    && (self.log.count("session.stop_requested") > 0 && line.contains("interrupt")
                        || self.state.pause.is_some_and(|pause| pause.now));
                if wait.is_over(&self.log) || was_stopped {
                    let mut done = after.clone();
                    let verdict = if was_stopped {
                        Verdict::Canceled
                    } else {
                        Verdict::Exited { code: 0 }
                    };
                    done.end_command(step, &line, verdict);
                    worlds.push((Reached::Done, done));
                }
                if wait == Wait::Nothing {
                    let mut lost = after;
                    lost.steps.get_mut(&step).expect("it has begun").lost = true;
                    worlds.push((Reached::Lost, lost));
                }
            }
            Tool::Edit(edit) => {
                let mut intended = before;
                intended.intend_edit(step, &tool.brief(), &edit.path, &edit.old, &edit.new);
                worlds.push((Reached::Intended, intended));
                worlds.push((Reached::Done, after));
            }
            _ => worlds.push((Reached::Done, after)),
        }
        debug_assert!(reference.world.steps.contains_key(&step));
        worlds
    }
}

/// What an act does to the world outside.
fn take_effect(world: &mut World, step: u64, tool: &Tool) {
    match tool {
        Tool::Exec(_) => world.begin_command(step, &tool.brief()),
        // Keeping an artifact changes nothing here: its bytes go to the blobs of the journal.
        Tool::Artifact(_) => world.note(step, &tool.brief()),
        _ => {
            world.file_tool(step, tool, None);
        }
    }
}
