//! Tasks: what agents suggest and humans write down, and what becomes of it.

use longhaul_actors::session::Actor;
use longhaul_actors::task::{Command, Create, Phase, Refusal, Reply, State, Task, Wanted};
use longhaul_actors::{Entity, RecoverError, SendError, fold};
use longhaul_journal::{Journal, Seq, Standing, StreamId};

use super::address::{is_removed, one_of_kind};
use super::problems::{damaged, read_problem, recover_problem, unsent_code};
use super::{OWNER, Service};
use crate::api::{
    Code, CreateTask, Problem, Start, Started, TaskChange, TaskChanged, TaskView, TasksPage, TasksQuery,
    no_task, session_id, task_id,
};

/// Tasks that are listed at most.
const MOST: usize = 1_000;
/// Tasks that are looked at in one go.
const PAGE: usize = 500;

impl Service {
    pub(super) async fn tasks_page(&self, query: TasksQuery) -> Result<TasksPage, Problem> {
        let wanted = query.filter()?;
        self.blocking(move |journal| list(journal, wanted)).await
    }

    pub(super) async fn task_of(&self, id: &str) -> Result<TaskView, Problem> {
        let stream = self.which_task(id).await?;
        self.task_view(stream).await
    }

    pub(super) async fn write_down(&self, request: CreateTask) -> Result<TaskChanged, Problem> {
        let text = serde_json::to_vec(&request).expect("plain structs with text keys always serialize");
        let fingerprint = hex::encode(&blake3::hash(&text).as_bytes()[..16]);
        let CreateTask {
            title,
            body,
            goal,
            priority,
            risk,
            key,
        } = request;
        let stream = match &key {
            Some(key) => Task::keyed(OWNER, key),
            None => StreamId::unnamed(),
        };
        let create = Create {
            by: Actor::human(OWNER),
            owner: OWNER.into(),
            wanted: Wanted {
                title,
                body,
                goal,
                priority,
                risk,
            },
            fingerprint,
        };
        if let Some(key) = key
            && self.blocking(move |journal| is_removed(journal, stream)).await?
        {
            let detail = format!("the task {key} was removed, and its key is not given again");
            return Err(Problem::new(Code::InvalidRequest, detail).next(
                "write it down under another key",
                "longhaul tasks add TITLE --key KEY",
            ));
        }
        self.told_task(stream, Command::Create(Box::new(create))).await
    }

    pub(super) async fn change(&self, id: &str, change: TaskChange) -> Result<TaskChanged, Problem> {
        let stream = self.which_task(id).await?;
        let by = Actor::human(OWNER);
        let command = match change {
            TaskChange::Open(open) => Command::Open {
                by,
                priority: open.priority,
                risk: open.risk,
            },
            TaskChange::Archive(why) => Command::Archive {
                by,
                reason: why.reason,
            },
            TaskChange::Claim(claim) => Command::Claim {
                by,
                who: claim.by.unwrap_or_else(|| OWNER.to_owned()),
            },
            TaskChange::Release => Command::Release { by },
            TaskChange::Complete(done) => Command::Complete {
                by,
                summary: done.summary,
            },
            TaskChange::Cancel(why) => Command::Cancel {
                by,
                reason: why.reason,
            },
        };
        self.told_task(stream, command).await
    }

    /// Starts a run that works on a task. The run is a session under a name that is the task's, so that it is one however
    /// often it is asked for; the task is told once it is there, and asking again tells it again.
    pub(super) async fn begin_for_task(&self, mut request: Start, id: &str) -> Result<Started, Problem> {
        let task = self.which_task(id).await?;
        // Its run may have come further while nobody served.
        self.task_world.tell(&self.tasks.tasks, task).await;
        let view = self.task_view(task).await?;
        let phase = Phase::named(&view.state).unwrap_or_default();
        if !matches!(phase, Phase::Open | Phase::Claimed) && !phase.is_at_work() {
            let refusal = match phase {
                Phase::Suggested => Refusal::OnlySuggested,
                phase => Refusal::Elsewhere {
                    phase,
                    wish: "started",
                },
            };
            return Err(refused(task, &refusal));
        }
        let key = view.run_key();
        if request.key.as_ref().is_some_and(|own| *own != key) {
            let detail = format!("a run of {} is found by its task; leave the key out", view.id);
            return Err(Problem::new(Code::InvalidRequest, detail));
        }
        (request.key, request.idempotency_key) = (Some(key), None);
        request.task = Some(view.id.clone());
        if request.goal.trim().is_empty() {
            request.goal = view.goal;
        }
        let started = match (self.begin_session(request).await, &view.session) {
            (Err(problem), Some(run)) if problem.code == Code::IdempotencyConflict && phase.is_at_work() => {
                let run = crate::api::stream_id(run)?;
                return Err(refused(task, &Refusal::RunAtWork(run)));
            }
            (started, _) => started?,
        };
        let session = crate::api::stream_id(&started.id)?;
        let by = Actor::human(OWNER);
        self.told_task(task, Command::Begin { by, session })
            .await
            .map_err(|mut problem| {
                problem.detail = format!("{} was started, but {}", started.id, problem.detail);
                problem
            })?;
        Ok(started)
    }

    async fn told_task(&self, stream: StreamId, command: Command) -> Result<TaskChanged, Problem> {
        let Reply { seq, repeated, .. } = self
            .tasks
            .send(stream, command)
            .await
            .map_err(|error| task_problem(stream, error))?;
        Ok(TaskChanged {
            ok: true,
            task: self.task_view(stream).await?,
            seq: seq.0,
            repeated,
        })
    }

    pub(super) async fn which_task(&self, id: &str) -> Result<StreamId, Problem> {
        let id = id.to_owned();
        self.blocking(move |journal| {
            let unknown = || no_task(&id);
            if let Some(digits) = id.strip_prefix("t_") {
                return one_of_kind(journal, Task::KIND, digits, &id, "longhaul tasks ls --all")?
                    .ok_or_else(unknown);
            }
            let keyed = Task::keyed(OWNER, &id);
            match journal.head(keyed).map_err(read_problem)? {
                Some(head) if head.kind == Task::KIND => Ok(keyed),
                _ => Err(unknown()),
            }
        })
        .await
    }

    async fn task_view(&self, stream: StreamId) -> Result<TaskView, Problem> {
        self.blocking(move |journal| match fold::<Task>(journal, stream) {
            Ok(folded) => Ok(TaskView::of(stream, &folded.state)),
            Err(RecoverError::Quarantined(quarantine)) => {
                Err(damaged(quarantine.to_string(), &task_id(stream)))
            }
            Err(error) => Err(recover_problem(error)),
        })
        .await
    }
}

/// The tasks that are wanted, the most urgent first. Blocks on the disk.
fn list(journal: &dyn Journal, wanted: impl Fn(Phase) -> bool) -> Result<TasksPage, Problem> {
    let (mut found, mut more, mut after): (Vec<(StreamId, State)>, bool, Option<StreamId>) =
        (Vec::new(), false, None);
    let mut lost = Vec::new();
    'pages: loop {
        let heads = journal.list(Task::KIND, after, PAGE).map_err(read_problem)?;
        let Some(last) = heads.last() else { break };
        after = Some(last.stream);
        for head in &heads {
            // Where the index says already that it is not wanted, nothing is folded.
            let is_headless = head.seq == Seq::ZERO;
            if !is_headless && !phases(&head.standing).iter().any(|phase| wanted(*phase)) {
                continue;
            }
            let state = match fold::<Task>(journal, head.stream) {
                Ok(folded) => folded.state,
                // One damaged task hides no other. Where it stands nobody can tell, so it is shown with what is to be done.
                Err(RecoverError::Quarantined(quarantine)) => {
                    if wanted(Phase::Open) {
                        lost.push(TaskView::quarantined(head.stream, &quarantine));
                    }
                    continue;
                }
                Err(error) => return Err(recover_problem(error)),
            };
            if wanted(state.phase) {
                if found.len() == MOST {
                    more = true;
                    break 'pages;
                }
                found.push((head.stream, state));
            }
        }
    }
    found.sort_by(|(_, one), (_, other)| {
        let urgent = other.priority.cmp(&one.priority);
        urgent.then(one.created_ms.cmp(&other.created_ms))
    });
    let tasks = found.iter().map(|(stream, state)| TaskView::of(*stream, state));
    Ok(TasksPage {
        tasks: lost.into_iter().chain(tasks).collect(),
        more,
    })
}

/// The phases that a task with this standing may be in.
fn phases(standing: &Standing) -> &'static [Phase] {
    match standing {
        Standing::Waits(name) => match &**name {
            "suggestion" => &[Phase::Suggested],
            "claim" => &[Phase::Open],
            "work" => &[Phase::Claimed],
            _ => &Phase::ALL,
        },
        Standing::Owed => &[Phase::InProgress, Phase::WaitingApproval],
        Standing::Done => &[Phase::Completed, Phase::Canceled, Phase::Archived],
        Standing::Until(_) => &Phase::ALL,
    }
}

fn task_problem(stream: StreamId, error: SendError<Refusal>) -> Problem {
    match error {
        SendError::Refused(refusal) => refused(stream, &refusal),
        SendError::Quarantined(_) => {
            let id = task_id(stream);
            damaged(format!("the task {id}: {error}"), &id)
        }
        error => Problem::new(
            unsent_code(&error),
            format!("the task {}: {error}", task_id(stream)),
        ),
    }
}

fn refused(stream: StreamId, refusal: &Refusal) -> Problem {
    let id = task_id(stream);
    let code = match refusal {
        Refusal::NotFound => Code::NotFound,
        Refusal::SuggestionNotOpen(_) => Code::SuggestionNotOpen,
        Refusal::IdempotencyConflict => Code::IdempotencyConflict,
        Refusal::Invalid(_) => Code::InvalidRequest,
        _ => Code::TaskConflict,
    };
    let problem = Problem::new(code, format!("{id}: {refusal}"));
    match refusal {
        Refusal::OnlySuggested => problem.next("take it up", format!("longhaul suggested-work task {id}")),
        Refusal::ClaimedBy(_) => problem.next("make it nobody's", format!("longhaul tasks release {id}")),
        Refusal::RunAtWork(session) => {
            let session = session_id(*session);
            problem
                .next("watch the run", format!("longhaul tail {session} --follow"))
                .next("end the run", format!("longhaul cancel {session}"))
        }
        Refusal::SuggestionNotOpen(_) | Refusal::Elsewhere { .. } => {
            problem.next("see where it stands", format!("longhaul tasks show {id}"))
        }
        Refusal::IdempotencyConflict => {
            problem.next("see the one that there is", format!("longhaul tasks show {id}"))
        }
        Refusal::Invalid(_) => problem.next("see what it takes", "longhaul tasks --help"),
        _ => problem,
    }
}
