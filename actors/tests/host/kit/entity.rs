//! A counter that can also remind, owe jobs, refuse and panic.

use std::collections::BTreeMap;

use longhaul_actors::{
    Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed, Recovery, RecoveryCause,
};
use longhaul_journal::{Level, NewRecord, Record, Seq, Standing};
use serde::{Deserialize, Serialize};

pub enum Counter {}

#[derive(Clone, Debug)]
pub enum Wish {
    Add(u64),
    /// Add, but refuse when the total would exceed a bound.
    AddUpTo(u64, u64),
    /// Look, and write nothing.
    Look,
    RemindAt(u64),
    Alarm,
    /// Owe this job.
    Owe(String),
    /// No longer owe it.
    Drop(String),
    /// The job came to this.
    Done(String, String),
    /// Panic in `decide`.
    Panic,
    /// Panic in `apply`, after some events were folded.
    PanicInFold,
    Recovered(Recovery),
    Stopping,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Note {
    Added(u64),
    ReminderSet(u64),
    Reminded,
    JobOwed(String),
    JobDropped(String),
    JobDone(String, String),
    Restarted(String),
    Stopped,
    Broken,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub total: u64,
    pub remind_at: Option<u64>,
    pub reminded: u64,
    pub jobs: BTreeMap<Seq, String>,
    pub done: Vec<(String, String)>,
    pub restarts: Vec<String>,
    pub stops: u64,
    pub last_time_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{total} would be more than {most}")]
pub struct TooMuch {
    pub total: u64,
    pub most: u64,
}

impl Entity for Counter {
    const KIND: &'static str = "counter";
    const FOLD_VERSION: u32 = 1;

    type State = State;
    type Command = Wish;
    type Event = Note;
    type Reply = u64;
    type Refusal = TooMuch;
    type Effect = String;

    fn decide(state: &State, wish: Wish, _moment: Moment) -> Result<Decision<Note, u64>, TooMuch> {
        let mut reply = state.total;
        let events = match wish {
            Wish::Add(by) => {
                reply += by;
                vec![Note::Added(by)]
            }
            Wish::AddUpTo(by, most) if state.total + by > most => {
                return Err(TooMuch {
                    total: state.total + by,
                    most,
                });
            }
            Wish::AddUpTo(by, _) => {
                reply += by;
                vec![Note::Added(by)]
            }
            Wish::Look => vec![],
            Wish::RemindAt(at) => vec![Note::ReminderSet(at)],
            Wish::Alarm => vec![Note::Reminded],
            Wish::Owe(job) => vec![Note::JobOwed(job)],
            Wish::Drop(job) => vec![Note::JobDropped(job)],
            Wish::Done(job, what) => vec![Note::JobDone(job, what)],
            Wish::Panic => panic!("asked to panic"),
            Wish::PanicInFold => vec![Note::Added(1), Note::Broken],
            Wish::Recovered(recovery) => match recovery.cause {
                RecoveryCause::Panic { message } => vec![Note::Restarted(message)],
                RecoveryCause::Journal { .. } => vec![Note::Restarted("journal".into())],
                RecoveryCause::Wake => vec![],
            },
            Wish::Stopping => vec![Note::Stopped],
        };
        Ok(Decision { events, reply })
    }

    fn apply(state: &mut State, placed: Placed<'_, Note>) {
        state.last_time_ms = placed.time_ms;
        match placed.event {
            Note::Added(by) => state.total += by,
            Note::ReminderSet(at) => state.remind_at = Some(*at),
            Note::Reminded => {
                state.remind_at = None;
                state.reminded += 1;
            }
            Note::JobOwed(job) => {
                state.jobs.insert(placed.seq, job.clone());
            }
            Note::JobDropped(job) => state.jobs.retain(|_, owed| owed != job),
            Note::JobDone(job, what) => {
                state.jobs.retain(|_, owed| owed != job);
                state.done.push((job.clone(), what.clone()));
            }
            Note::Restarted(why) => state.restarts.push(why.clone()),
            Note::Stopped => state.stops += 1,
            Note::Broken => panic!("cannot fold this"),
        }
    }

    fn standing(state: &State) -> Standing {
        if !state.jobs.is_empty() {
            Standing::Owed
        } else if let Some(at) = state.remind_at {
            Standing::Until(at)
        } else {
            Standing::Waits("wish".into())
        }
    }

    fn due(state: &State) -> Option<u64> {
        state.remind_at
    }

    fn alarm(state: &State) -> Option<Wish> {
        state.remind_at.map(|_| Wish::Alarm)
    }

    fn owed(state: &State) -> Vec<Owed<String>> {
        let owed = |(&seq, job): (&Seq, &String)| Owed {
            id: EffectId { seq, attempt: 1 },
            effect: job.clone(),
        };
        state.jobs.iter().map(owed).collect()
    }

    fn recovered(_: &State, recovery: &Recovery) -> Option<Wish> {
        Some(Wish::Recovered(recovery.clone()))
    }

    fn stopping(_: &State) -> Option<Wish> {
        Some(Wish::Stopping)
    }

    fn encode(event: &Note) -> NewRecord {
        NewRecord {
            type_name: "counter.note".into(),
            type_version: 1,
            cause: None,
            level: Level::User,
            payload: serde_json::to_vec(&(event,)).unwrap(),
        }
    }

    fn decode(record: &Record) -> Result<Note, DecodeError> {
        serde_json::from_slice::<(Note,)>(&record.event.payload)
            .map(|(note,)| note)
            .map_err(|error| DecodeError::Payload {
                type_name: record.event.type_name.to_string(),
                reason: error.to_string(),
            })
    }
}
