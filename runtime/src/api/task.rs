//! Tasks as they are shown, and the requests that act on them.

use longhaul_actors::Quarantine;
use longhaul_actors::task::{Grade, Phase, State};
use longhaul_journal::StreamId;
use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};
use super::record::rfc3339;
use super::session::session_id;

/// The shown id of a task: `t_` and 32 hexadecimal digits.
pub fn task_id(stream: StreamId) -> String {
    format!("t_{stream}")
}

pub(crate) fn no_task(id: &str) -> Problem {
    Problem::new(Code::NotFound, format!("there is no task {id}"))
        .next("list them", "longhaul tasks ls --all")
}

/// A task as it is shown. What an agent has suggested is a task in the state `suggested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// Its id.
    pub id: String,
    /// `suggested`, `open`, `claimed`, `in_progress`, `waiting_approval`, `completed`, `canceled`, `archived`;
    /// `quarantined` when it lost part of its log, and then nothing else is known of it.
    pub state: String,
    /// A line.
    pub title: String,
    /// The beginning of what else is said about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The goal that a run of it is given.
    pub goal: String,
    /// How urgent.
    pub priority: Grade,
    /// How much may go wrong in doing it.
    pub risk: Grade,
    /// To whom it belongs.
    pub owner: String,
    /// What it was suggested with; absent when a human wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<TaskSource>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// The run that works on it, or the last one that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How many runs worked on it.
    pub runs: u32,
    /// How it came to stand where it stands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Seq of its last record.
    pub head: u64,
    /// When it was suggested or written down, RFC 3339.
    pub created_at: String,
    /// When it last changed, RFC 3339.
    pub updated_at: String,
}

/// The artifact that a suggestion is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskSource {
    /// The session that suggested it.
    pub session: String,
    /// The step.
    pub step: u64,
    /// What the artifact is called.
    pub name: String,
    /// sha256 (hex) of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

impl TaskView {
    /// A task by its fold.
    pub(crate) fn of(stream: StreamId, state: &State) -> Self {
        let source = state.source.as_ref().map(|source| TaskSource {
            session: session_id(source.session),
            step: source.step,
            name: source.name.clone(),
            sha256: source.sha256.clone(),
            bytes: source.bytes,
        });
        Self {
            id: task_id(stream),
            state: state.phase.name().to_owned(),
            title: state.title.clone(),
            body: state.body.clone(),
            goal: state.goal(),
            priority: state.priority,
            risk: state.risk,
            owner: state.owner.clone(),
            source,
            claimed_by: state.claimed_by.clone(),
            session: state.session.map(session_id),
            runs: state.runs,
            why: state.why.clone(),
            head: state.head.0,
            created_at: rfc3339(state.created_ms),
            updated_at: rfc3339(state.last_ms),
        }
    }

    /// A task that lost part of its log: nothing is told of it but that.
    pub(crate) fn quarantined(stream: StreamId, quarantine: &Quarantine) -> Self {
        let state = State {
            title: "?".into(),
            why: quarantine.to_string(),
            head: quarantine.readable_to,
            ..State::default()
        };
        Self {
            state: "quarantined".to_owned(),
            ..Self::of(stream, &state)
        }
    }

    /// The key of the session that works, or would work next, on the task: so a run that is asked for twice is one.
    pub fn run_key(&self) -> String {
        let at_work = Phase::named(&self.state).is_some_and(Phase::is_at_work);
        let run = if at_work {
            self.runs
        } else {
            self.runs.saturating_add(1)
        };
        format!("task:{}:{run}", self.id)
    }

    /// The task that a session with this key works on, if it is the key of a run.
    pub(crate) fn of_run_key(key: &str) -> Option<StreamId> {
        let (digits, _) = key.strip_prefix("task:t_")?.split_once(':')?;
        digits.parse().ok()
    }
}

/// Which tasks are wanted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TasksQuery {
    /// Only those in this state; all that have not ended, and are more than a suggestion, when absent.
    pub state: Option<String>,
    /// All of them, whatever their state.
    pub all: bool,
}

impl TasksQuery {
    /// The suggestions that nobody has taken up.
    pub fn suggested() -> Self {
        Self {
            state: Some(Phase::Suggested.name().to_owned()),
            all: false,
        }
    }

    /// Refuses a state that no task can be in.
    ///
    /// # Errors
    /// `invalid_request`, naming the states.
    #[cfg(feature = "cli")]
    pub(crate) fn check(&self) -> Result<(), Problem> {
        self.filter().map(drop)
    }

    /// Whether a task in this phase is wanted.
    ///
    /// # Errors
    /// `invalid_request` when there is no such state.
    pub(crate) fn filter(&self) -> Result<impl Fn(Phase) -> bool + use<>, Problem> {
        let one = match &self.state {
            None => None,
            Some(name) => Some(Phase::named(name).ok_or_else(|| {
                let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.name()).collect();
                let detail = format!("a task is {}, never {name:?}", names.join(", "));
                Problem::new(Code::InvalidRequest, detail).next("list them all", "longhaul tasks ls --all")
            })?),
        };
        let all = self.all;
        Ok(move |phase: Phase| match one {
            Some(one) => phase == one,
            None => all || !phase.has_ended() && phase != Phase::Suggested,
        })
    }
}

/// Tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TasksPage {
    /// The most urgent first, and of those the oldest first.
    pub tasks: Vec<TaskView>,
    /// Whether there are more than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A task that a human writes down.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateTask {
    /// A line of at most 200 characters.
    pub title: String,
    /// What else there is to say, at most 4 KiB.
    pub body: String,
    /// The goal of a run that works on it, at most 16 KiB; made from title and body when absent.
    pub goal: Option<String>,
    /// How urgent.
    pub priority: Grade,
    /// How much may go wrong in doing it.
    pub risk: Grade,
    /// Its name: the task with that name is returned if there is one.
    pub key: Option<String>,
}

/// What becomes of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// A suggestion is taken up.
    Open(OpenTask),
    /// A suggestion is not taken up.
    Archive(WhyTask),
    /// It is somebody's.
    Claim(ClaimTask),
    /// It is nobody's again.
    Release,
    /// It is done.
    Complete(CompleteTask),
    /// It will not be done.
    Cancel(WhyTask),
}

/// A suggestion is taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenTask {
    /// How urgent; as suggested when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Grade>,
    /// How much may go wrong; as suggested when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<Grade>,
}

/// Why something is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhyTask {
    /// In the words of who says so, at most 4 KiB.
    pub reason: String,
}

/// A task is somebody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClaimTask {
    /// Whose; that of who asks when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// A task is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteTask {
    /// What came of it, at most 4 KiB.
    pub summary: String,
}

/// A task as it stands after a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskChanged {
    /// Always true.
    pub ok: bool,
    /// The task.
    pub task: TaskView,
    /// The record that holds the wish, or the head when nothing had to be written.
    pub seq: u64,
    /// Whether it was so before.
    pub repeated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_asked_for_while_it_works_is_the_same_run() {
        let mut state = State {
            phase: Phase::Open,
            ..State::default()
        };
        let key = |state: &State| TaskView::of(StreamId::from_bytes([1; 16]), state).run_key();
        let first = key(&state);
        (state.phase, state.runs) = (Phase::InProgress, 1);
        assert_eq!(key(&state), first);
        assert_eq!(TaskView::of_run_key(&first), Some(StreamId::from_bytes([1; 16])));
        assert_eq!(TaskView::of_run_key("nightly"), None);
        state.phase = Phase::Open;
        assert_ne!(key(&state), first);
    }

    #[test]
    fn a_list_leaves_out_what_nobody_can_work_on_unless_told() {
        let wanted = TasksQuery::default().filter().expect("it is right");
        let listed: Vec<&str> = Phase::ALL
            .into_iter()
            .filter(|phase| wanted(*phase))
            .map(Phase::name)
            .collect();
        assert_eq!(listed, ["open", "claimed", "in_progress", "waiting_approval"]);
        let query = TasksQuery {
            state: Some("done".into()),
            all: false,
        };
        let wrong = query.filter().err().expect("there is no such state");
        assert!(wrong.detail.contains("waiting_approval"), "{wrong}");
    }
}
