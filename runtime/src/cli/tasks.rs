//! `longhaul suggested-work`, `longhaul tasks`: what agents suggest, what is to be done, and what becomes of it.

use clap::{Args, Subcommand, ValueEnum};
use longhaul_actors::task::Grade;

use super::Outcome;
use super::joints;
use super::reach::Place;
use super::render::{cut, escaped};
use super::ui::Ui;
use crate::api::{
    ClaimTask, CompleteTask, CreateTask, OpenTask, TaskChange, TaskView, TasksPage, TasksQuery, WhyTask,
    no_task,
};

#[derive(Debug, Args)]
pub(super) struct SuggestedWork {
    #[command(subcommand)]
    pub(super) verb: Option<SuggestedVerb>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SuggestedVerb {
    /// List what agents have suggested (the same as without a verb)
    Ls,
    /// Take a suggestion up: it becomes an open task
    Task(TakeUp),
    /// Put a suggestion away
    Archive(WithReason),
}

#[derive(Debug, Args)]
pub(super) struct TakeUp {
    /// Which suggestion
    id: String,
    /// How urgent it is [default: as suggested]
    #[arg(long, value_enum, value_name = "GRADE")]
    priority: Option<GradeArg>,
    /// How much may go wrong in doing it [default: as suggested]
    #[arg(long, value_enum, value_name = "GRADE")]
    risk: Option<GradeArg>,
}

#[derive(Debug, Args)]
pub(super) struct Tasks {
    #[command(subcommand)]
    pub(super) verb: TasksVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum TasksVerb {
    /// List the tasks that are to be done, the most urgent first
    Ls(ListTasks),
    /// Show one task
    Show(WhichTask),
    /// Write a task down
    Add(Add),
    /// Make a task somebody's
    Claim(Claim),
    /// Make a task nobody's again
    Release(WhichTask),
    /// Say that a task is done
    Complete(Complete),
    /// Say that a task will not be done
    Cancel(WithReason),
}

#[derive(Debug, Args)]
pub(super) struct ListTasks {
    /// Only those in this state: suggested, open, claimed, in_progress, waiting_approval, completed, canceled, archived
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Those that have ended and those that are only suggested, too
    #[arg(long, conflicts_with = "state")]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct WhichTask {
    /// Which task
    id: String,
}

#[derive(Debug, Args)]
pub(super) struct WithReason {
    /// Which one
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What is to be done, in a line
    title: String,
    /// What else there is to say
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    body: String,
    /// The goal of a run that works on it [default: title and body]
    #[arg(long, value_name = "TEXT")]
    goal: Option<String>,
    /// How urgent it is
    #[arg(long, value_enum, value_name = "GRADE", default_value_t)]
    priority: GradeArg,
    /// How much may go wrong in doing it
    #[arg(long, value_enum, value_name = "GRADE", default_value_t)]
    risk: GradeArg,
    /// A name; the task with that name is found again if there is one
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Claim {
    /// Which task
    id: String,
    /// Whose it is [default: yours]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Complete {
    /// Which task
    id: String,
    /// What came of it
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    summary: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum GradeArg {
    /// Little
    Low,
    /// Neither little nor much
    #[default]
    Medium,
    /// Much
    High,
}

impl From<GradeArg> for Grade {
    fn from(grade: GradeArg) -> Self {
        match grade {
            GradeArg::Low => Self::Low,
            GradeArg::Medium => Self::Medium,
            GradeArg::High => Self::High,
        }
    }
}

pub(super) async fn suggested_work(verb: Option<SuggestedVerb>, place: &Place, ui: &Ui) -> Outcome {
    match verb.unwrap_or(SuggestedVerb::Ls) {
        SuggestedVerb::Ls => ls(TasksQuery::suggested(), "nothing is suggested", place, ui).await,
        SuggestedVerb::Task(TakeUp { id, priority, risk }) => {
            let open = OpenTask {
                priority: priority.map(Grade::from),
                risk: risk.map(Grade::from),
            };
            change(&id, TaskChange::Open(open), place, ui).await
        }
        SuggestedVerb::Archive(WithReason { id, reason }) => {
            change(&id, TaskChange::Archive(WhyTask { reason }), place, ui).await
        }
    }
}

pub(super) async fn tasks(verb: TasksVerb, place: &Place, ui: &Ui) -> Outcome {
    match verb {
        TasksVerb::Ls(ListTasks { state, all }) => {
            ls(TasksQuery { state, all }, "no such tasks", place, ui).await
        }
        TasksVerb::Show(WhichTask { id }) => show(&id, place, ui).await,
        TasksVerb::Add(args) => add(args, place, ui).await,
        TasksVerb::Claim(Claim { id, by }) => {
            change(&id, TaskChange::Claim(ClaimTask { by }), place, ui).await
        }
        TasksVerb::Release(WhichTask { id }) => change(&id, TaskChange::Release, place, ui).await,
        TasksVerb::Complete(Complete { id, summary }) => {
            change(&id, TaskChange::Complete(CompleteTask { summary }), place, ui).await
        }
        TasksVerb::Cancel(WithReason { id, reason }) => {
            change(&id, TaskChange::Cancel(WhyTask { reason }), place, ui).await
        }
    }
}

async fn ls(query: TasksQuery, nothing: &str, place: &Place, ui: &Ui) -> Outcome {
    let page = if joints::holds_a_journal(place.data()) {
        let reach = place.to_wish().await?;
        let found = reach.control().tasks(query).await;
        reach.close().await;
        found?
    } else {
        query.check()?;
        TasksPage::default()
    };
    if ui.is_json() {
        page.tasks.iter().try_for_each(|task| ui.object(task))?;
    } else if page.tasks.is_empty() {
        ui.note(nothing);
    } else {
        ui.line(&line(["id", "state", "priority", "risk", "title"], ui))?;
        for task in &page.tasks {
            let (priority, risk) = (task.priority.word(), task.risk.word());
            ui.line(&line([&task.id, &task.state, priority, risk, &task.title], ui))?;
        }
    }
    if page.more {
        ui.note("there are more; name a state with --state");
    }
    Ok(0)
}

fn line(columns: [&str; 5], ui: &Ui) -> String {
    let [id, state, priority, risk, title] = columns;
    let line = format!(
        "{id:<34}  {state:<16}  {priority:<8}  {risk:<6}  {}",
        escaped(title)
    );
    match ui.look().width {
        Some(width) => cut(&line, width).into_owned(),
        None => line,
    }
}

async fn show(id: &str, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_unless(|| no_task(id)).await?;
    let shown = reach.control().task(id).await;
    reach.close().await;
    let task = shown?;
    if ui.is_json() {
        ui.object(&task)?;
    } else {
        card(&task)
            .iter()
            .try_for_each(|(name, value)| ui.line(&format!("{name:<11}{}", escaped(value))))?;
        if !task.body.is_empty() {
            ui.line("")?;
            task.body.lines().try_for_each(|line| ui.line(&escaped(line)))?;
        }
    }
    Ok(0)
}

/// A task for a person; what is not there is left out.
fn card(task: &TaskView) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("id", task.id.clone()),
        ("state", task.state.clone()),
        ("title", task.title.clone()),
        ("priority", task.priority.word().to_owned()),
        ("risk", task.risk.word().to_owned()),
    ];
    rows.extend(task.claimed_by.clone().map(|who| ("claimed by", who)));
    rows.extend(task.session.clone().map(|run| {
        let runs = if task.runs == 1 {
            "its only run"
        } else {
            "its last run"
        };
        ("run", format!("{run} ({runs}, of {})", task.runs))
    }));
    if !task.why.is_empty() {
        rows.push(("why", task.why.clone()));
    }
    rows.extend(task.source.as_ref().map(|source| {
        let from = format!("{} step {}, {}", source.session, source.step, source.name);
        ("suggested", from)
    }));
    rows.push(("since", task.created_at.clone()));
    rows
}

async fn add(args: Add, place: &Place, ui: &Ui) -> Outcome {
    let request = CreateTask {
        title: args.title,
        body: args.body,
        goal: args.goal,
        priority: args.priority.into(),
        risk: args.risk.into(),
        // A task that is written down twice on the way is one.
        key: args.key.or_else(|| Some(uuid::Uuid::now_v7().to_string())),
    };
    let mut reach = place.to_wish().await?;
    let mut created = reach.control().create_task(request.clone()).await;
    if matches!(&created, Err(problem) if reach.may_repeat(problem)) {
        reach.close().await;
        reach = place.to_wish().await?;
        created = reach.control().create_task(request).await;
    }
    let created = created.map_err(|problem| reach.explained(problem));
    reach.close().await;
    told(&created?.task, ui)
}

async fn change(id: &str, change: TaskChange, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_unless(|| no_task(id)).await?;
    let changed = reach.control().change_task(id, change).await;
    let changed = changed.map_err(|problem| reach.explained(problem));
    reach.close().await;
    told(&changed?.task, ui)
}

fn told(task: &TaskView, ui: &Ui) -> Outcome {
    if ui.is_json() {
        ui.object(task)?;
    } else {
        ui.line(&escaped(&format!("{} {}", task.id, task.state)))?;
    }
    if task.state == "open" {
        ui.note(&format!(
            "let an agent work on it: longhaul run --task {} --brain KIND:NAME",
            task.id
        ));
    }
    Ok(0)
}
