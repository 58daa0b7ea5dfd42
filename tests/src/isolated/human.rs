//! The human of the session: a client that does what is to be done next, as far as what is there tells.
//!
//! It keeps nothing but what was acknowledged. What was not is asked for again, under the same key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul::Control;
use longhaul::api::{
    ApprovalStatus, ApprovalsQuery, Code, CreateTask, Decide, EventsQuery, Problem, Send as Message, Start,
    TaskView, TopUp, WorkspaceWish,
};
use longhaul_actors::session::{ApprovalDecision, Mode, SendMode, WorkspaceKind};

use super::script::{ANSWER, COMMANDS, HEARD, MESSAGE};

/// At every so manieth look the runtime is asked; the others are at the files of the commands alone, which costs next to
/// nothing.
const ASKS: u32 = 4;

/// Where a session comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The playbook of the first run of its task.
    pub failing: String,
    /// Its playbook.
    pub brain: String,
    /// The repository that it works on.
    pub repository: PathBuf,
}

/// One session, and what its human knows of it.
///
/// It lets nothing of the session go on, and ends no wait, before the task has followed it so far: what the task has to be
/// told is then the same in every life, whenever its watch looks.
#[derive(Clone, Debug)]
pub struct Human {
    /// The name of the task.
    task: String,
    origin: Origin,
    /// Its id, once its start was acknowledged.
    pub id: Option<String>,
    /// The highest seq at which anything acknowledged lies.
    pub acknowledged: u64,
    /// The command that is not let go.
    pub held: Option<&'static str>,
    looks: u32,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The session has ended, and its task with it.
    Ended,
    /// The command that is held has begun.
    Holding,
    /// It goes on.
    UnderWay,
}

impl Human {
    /// Somebody who wants the task of this name to be done.
    pub fn wanting(task: String, origin: Origin) -> Self {
        Self {
            task,
            origin,
            id: None,
            acknowledged: 0,
            held: None,
            looks: 0,
        }
    }

    /// Looks at the session, and does what is to be done.
    ///
    /// # Errors
    /// What the runtime said, or that it is gone.
    pub async fn look(&mut self, control: &Arc<dyn Control>, data: &Path) -> Result<Found, Problem> {
        let Some(id) = self.id.clone() else {
            self.begin(control).await?;
            return Ok(Found::UnderWay);
        };
        if self.let_go(control, &id, &crate::home(data, &id)).await? {
            return Ok(Found::Holding);
        }
        self.looks += 1;
        if !self.looks.is_multiple_of(ASKS) {
            return Ok(Found::UnderWay);
        }
        let view = control.show(&id).await?;
        match view.state.as_str() {
            "completed" | "failed" | "canceled" if self.task_is(control, "completed").await? => {
                return Ok(Found::Ended);
            }
            "paused" if view.paused_reason.as_deref() == Some("credits") => {
                let wish = TopUp {
                    amount: "5".into(),
                    request_id: "the one top-up".into(),
                };
                control.top_up(wish).await?;
            }
            // Once its files are kept the next record is the answer, in every life.
            "awaiting_input" if has_kept(control, &id).await? => {
                self.say(control, &id, ANSWER).await?;
            }
            "awaiting_approval" if self.task_is(control, "waiting_approval").await? => {
                self.approve(control, &id).await?;
            }
            _ => {}
        }
        Ok(Found::UnderWay)
    }

    /// Writes the task down, and has it done: by one run, which fails, and by another.
    async fn begin(&mut self, control: &Arc<dyn Control>) -> Result<(), Problem> {
        let wish = CreateTask {
            title: "be killed at every frame".into(),
            key: Some(self.task.clone()),
            ..CreateTask::default()
        };
        let TaskView { id, state, runs, .. } = control.create_task(wish).await?.task;
        match (state.as_str(), runs) {
            ("open", 0) => {
                let run = Start {
                    brain: Some(self.origin.failing.clone()),
                    mode: Mode::Bounded,
                    task: Some(id),
                    ..Start::default()
                };
                control.start(run).await?;
            }
            // Or it works already, and nobody was told.
            ("open", 1) | (_, 2) => {
                let started = control.start(self.start(id)).await?;
                self.heard(1);
                self.id = Some(started.id);
            }
            _ => {}
        }
        Ok(())
    }

    async fn task_is(&self, control: &Arc<dyn Control>, state: &str) -> Result<bool, Problem> {
        Ok(control.task(&self.task).await?.state == state)
    }

    /// Lets commands go that have begun; whether the one that is held has.
    async fn let_go(&mut self, control: &Arc<dyn Control>, id: &str, home: &Path) -> Result<bool, Problem> {
        for command in COMMANDS {
            let go = home.join(format!("go-{command}"));
            if !home.join(command).exists() || go.exists() {
                continue;
            }
            if command == HEARD {
                self.say(control, id, MESSAGE).await?;
            }
            if self.held == Some(command) {
                return Ok(true);
            }
            if !self.task_is(control, "in_progress").await? {
                continue;
            }
            std::fs::write(go, "").expect("its home is ours to write in");
        }
        Ok(false)
    }

    async fn say(&mut self, control: &Arc<dyn Control>, id: &str, text: &str) -> Result<(), Problem> {
        let message = Message {
            text: text.into(),
            mode: SendMode::Steer,
            idempotency_key: Some(format!("key of {text}")),
            by: None,
        };
        self.heard(control.send(id, message).await?.seq);
        Ok(())
    }

    async fn approve(&mut self, control: &Arc<dyn Control>, id: &str) -> Result<(), Problem> {
        let query = ApprovalsQuery {
            session: Some(id.to_owned()),
        };
        let asked = control.approvals(query).await?.approvals;
        let Some(asked) = asked.iter().find(|asked| asked.status == ApprovalStatus::Pending) else {
            return Ok(());
        };
        let wish = Decide {
            decision: ApprovalDecision::Approve,
            evidence: "it is to be done, once".into(),
            by: None,
        };
        match control.decide(&asked.id, wish).await {
            Ok(accepted) => self.heard(accepted.seq),
            Err(problem) if problem.code == Code::ApprovalDecided => {}
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    fn heard(&mut self, seq: u64) {
        self.acknowledged = self.acknowledged.max(seq);
    }

    fn start(&self, task: String) -> Start {
        Start {
            brain: Some(self.origin.brain.clone()),
            mode: Mode::Bounded,
            workspace: WorkspaceWish {
                kind: WorkspaceKind::Clone,
                source: self.origin.repository.display().to_string(),
                ..WorkspaceWish::default()
            },
            task: Some(task),
            ..Start::default()
        }
    }
}

/// Whether the files were kept that were there at the end of a turn.
async fn has_kept(control: &Arc<dyn Control>, id: &str) -> Result<bool, Problem> {
    let page = control.events(id, EventsQuery::default()).await?;
    Ok(page
        .events
        .iter()
        .any(|record| record.type_name == "checkpoint.created"))
}
