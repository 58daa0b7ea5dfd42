//! What a wish leads to: facts, or a refusal.

use longhaul_journal::{StreamId, sabotage};

use super::command::{Command, Create, Refusal, Reply, Suggest};
use super::event::{
    Archived, Body, Canceled, Claimed, Completed, Continued, Created, Event, Opened, Released, Reopened,
    Started, Suggested, WaitingApproval, Wanted,
};
use super::perform::Progress;
use super::state::{Phase, State};
use super::suggestion::{TITLE_LIMIT, check_goal};
use crate::entity::Decision;
use crate::session::Actor;

/// Longest reason, summary or name that is taken, bytes.
const WORDS_LIMIT: usize = 4 << 10;

type Decided = Result<Decision<Event, Reply>, Refusal>;

pub(super) fn decide(state: &State, command: Command) -> Decided {
    match command {
        Command::Suggest(suggest) => return Ok(file(state, *suggest)),
        Command::Create(create) => return make(state, *create),
        _ if state.phase == Phase::Unborn => return Err(Refusal::NotFound),
        Command::Observed { session, progress } => return Ok(observed(state, session, progress)),
        _ => {}
    }
    match command {
        Command::Suggest(_) | Command::Create(_) | Command::Observed { .. } => {
            unreachable!("answered above")
        }
        Command::Open { by, priority, risk } => {
            suggested(state)?;
            let opened = Opened {
                priority: priority.unwrap_or(state.priority),
                risk: risk.unwrap_or(state.risk),
            };
            Ok(wrote(state, by, opened, Phase::Open))
        }
        Command::Archive { by, reason } => {
            suggested(state)?;
            let reason = words(reason, "a reason")?;
            Ok(wrote(state, by, Archived { reason }, Phase::Archived))
        }
        Command::Claim { by, who } => claim(state, by, who),
        Command::Release { by } => match state.phase {
            Phase::Open => Ok(nothing(state)),
            Phase::Claimed => Ok(wrote(state, by, Released {}, Phase::Open)),
            _ => Err(elsewhere(state, "released")),
        },
        Command::Begin { by, session } => start(state, by, session),
        Command::Complete { by, summary } => match state.phase {
            Phase::Open | Phase::Claimed => {
                let summary = words(summary, "a summary")?;
                let completed = Completed {
                    session: None,
                    summary,
                };
                Ok(wrote(state, by, completed, Phase::Completed))
            }
            Phase::Completed => Ok(nothing(state)),
            _ => Err(elsewhere(state, "completed")),
        },
        Command::Cancel { by, reason } => match state.phase {
            Phase::Open | Phase::Claimed => {
                let reason = words(reason, "a reason")?;
                Ok(wrote(state, by, Canceled { reason }, Phase::Canceled))
            }
            Phase::Canceled => Ok(nothing(state)),
            _ => Err(elsewhere(state, "canceled")),
        },
    }
}

fn file(state: &State, suggest: Suggest) -> Decision<Event, Reply> {
    // A step that is looked at again after a crash finds what it had suggested before.
    if state.phase != Phase::Unborn {
        return nothing(state);
    }
    let Suggest {
        owner,
        wanted,
        source,
    } = suggest;
    let suggested = Suggested {
        owner,
        wanted,
        source: source.clone(),
    };
    let mut decision = wrote(state, Actor::AGENT, suggested, Phase::Suggested);
    decision.reply.source = Some(source);
    decision
}

fn make(state: &State, create: Create) -> Decided {
    let Create {
        by,
        owner,
        wanted,
        fingerprint,
    } = create;
    if state.phase != Phase::Unborn {
        return if state.fingerprint == fingerprint && state.source.is_none() {
            Ok(nothing(state))
        } else {
            Err(Refusal::IdempotencyConflict)
        };
    }
    let wanted = checked(wanted)?;
    let created = Created {
        owner,
        wanted,
        fingerprint,
    };
    Ok(wrote(state, by, created, Phase::Open))
}

fn checked(wanted: Wanted) -> Result<Wanted, Refusal> {
    let title = wanted.title.trim();
    if title.is_empty() || title.contains('\n') || title.chars().count() > TITLE_LIMIT {
        let why = format!("a title is one line of 1 to {TITLE_LIMIT} characters");
        return Err(Refusal::Invalid(why));
    }
    let title = title.to_owned();
    let body = words(wanted.body, "a body")?;
    wanted
        .goal
        .as_deref()
        .map_or(Ok(()), check_goal)
        .map_err(Refusal::Invalid)?;
    Ok(Wanted {
        title,
        body,
        ..wanted
    })
}

/// Nobody has said anything about the suggestion yet.
fn suggested(state: &State) -> Result<(), Refusal> {
    if state.phase == Phase::Suggested || sabotage::is_on("open-a-suggestion-twice") {
        Ok(())
    } else {
        Err(Refusal::SuggestionNotOpen(state.phase))
    }
}

fn claim(state: &State, by: Actor, who: String) -> Decided {
    let who = words(who, "a name")?;
    if who.trim().is_empty() {
        return Err(Refusal::Invalid("say who claims it".into()));
    }
    match (state.phase, &state.claimed_by) {
        (Phase::Open, _) => Ok(wrote(state, by, Claimed { by: who }, Phase::Claimed)),
        (Phase::Claimed, Some(holder)) if *holder == who => Ok(nothing(state)),
        (Phase::Claimed, Some(holder)) => Err(Refusal::ClaimedBy(holder.clone())),
        _ => Err(elsewhere(state, "claimed")),
    }
}

fn start(state: &State, by: Actor, session: StreamId) -> Decided {
    if state.session == Some(session) {
        return Ok(nothing(state));
    }
    match state.phase {
        Phase::Open | Phase::Claimed => {
            let run = state.runs.saturating_add(1);
            Ok(wrote(state, by, Started { session, run }, Phase::InProgress))
        }
        _ => Err(elsewhere(state, "started")),
    }
}

/// What the log of its run says. What comes late, or of another run, changes nothing.
fn observed(state: &State, session: StreamId, progress: Progress) -> Decision<Event, Reply> {
    if !state.phase.is_at_work() || state.session != Some(session) {
        return nothing(state);
    }
    let (body, phase): (Body, Phase) = match progress {
        Progress::WaitsForApproval if state.phase != Phase::WaitingApproval => {
            (WaitingApproval { session }.into(), Phase::WaitingApproval)
        }
        Progress::Working if state.phase != Phase::InProgress => {
            (Continued { session }.into(), Phase::InProgress)
        }
        Progress::Working | Progress::WaitsForApproval => return nothing(state),
        Progress::Done { summary } => {
            let session = Some(session);
            (Completed { session, summary }.into(), Phase::Completed)
        }
        Progress::GaveUp { why } => {
            let phase = state.claimed_by.as_ref().map_or(Phase::Open, |_| Phase::Claimed);
            (Reopened { session, why }.into(), phase)
        }
    };
    wrote(state, Actor::RUNTIME, body, phase)
}

fn elsewhere(state: &State, wish: &'static str) -> Refusal {
    match (state.phase, state.session) {
        (Phase::Suggested, _) => Refusal::OnlySuggested,
        (phase, Some(session)) if phase.is_at_work() => Refusal::RunAtWork(session),
        (phase, _) => Refusal::Elsewhere { phase, wish },
    }
}

fn words(text: String, what: &str) -> Result<String, Refusal> {
    if text.len() > WORDS_LIMIT {
        let why = format!(
            "{what} has at most {WORDS_LIMIT} bytes, this one has {}",
            text.len()
        );
        return Err(Refusal::Invalid(why));
    }
    Ok(text)
}

fn wrote(state: &State, by: Actor, body: impl Into<Body>, phase: Phase) -> Decision<Event, Reply> {
    Decision {
        events: vec![Event::of(by, body)],
        reply: Reply {
            seq: state.head.next(),
            repeated: false,
            phase,
            source: state.source.clone(),
        },
    }
}

/// It was so before.
fn nothing(state: &State) -> Decision<Event, Reply> {
    Decision {
        events: Vec::new(),
        reply: Reply {
            seq: state.head,
            repeated: true,
            phase: state.phase,
            source: state.source.clone(),
        },
    }
}
