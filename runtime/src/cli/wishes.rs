//! `longhaul send`, `pause`, `resume`, `cancel`, `archive`: wishes that are on disk when the verb returns.

use std::io::{BufRead, IsTerminal, Write};

use super::Outcome;
use super::args;
use super::attend::rests;
use super::reach::{Place, Reach};
use super::render::{cut, escaped, first_line};
use super::ui::{Failure, Ui};
use crate::api::{Accepted, Cancel, Code, Fork, Pause, Problem, Resume, Send, SessionView};
use crate::lineage::{self, ForHumans};
use crate::service::ACCOUNT;

pub(super) async fn send(args: args::Send, place: &Place, ui: &Ui) -> Outcome {
    let message = Send {
        mode: args.mode(),
        text: args.text,
        idempotency_key: Some(uuid::Uuid::now_v7().to_string()),
        by: None,
    };
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach.control().send(&args.id, message.clone()).await;
    match accepted {
        // The server was lost on the way: whoever answers now knows the key if the message had arrived.
        Err(problem) if reach.may_repeat(&problem) => {
            reach.close().await;
            let reach = place.to_wish_about(&args.id).await?;
            let accepted = reach.control().send(&args.id, message).await;
            told(accepted, "message", reach, ui).await
        }
        accepted => told(accepted, "message", reach, ui).await,
    }
}

/// Begins a session as another one was, and says its id.
pub(super) async fn fork(args: args::Fork, place: &Place, ui: &Ui) -> Outcome {
    let args::Fork { id, at, key, say } = args;
    let request = Fork {
        at,
        // A fork that is sent twice makes one session.
        idempotency_key: key.is_none().then(|| uuid::Uuid::now_v7().to_string()),
        key,
        say,
    };
    let mut reach = place.to_wish_about(&id).await?;
    let mut forked = reach.control().fork(&id, request.clone()).await;
    if matches!(&forked, Err(problem) if reach.may_repeat(problem)) {
        reach.close().await;
        reach = place.to_wish_about(&id).await?;
        forked = reach.control().fork(&id, request).await;
    }
    let waits = reach.is_here();
    let forked = forked.map_err(|problem| reach.explained(problem));
    reach.close().await;
    let forked = forked?;
    if ui.is_json() {
        ui.object(&forked)?;
    } else {
        ui.line(&escaped(&format!("{} {}", forked.id, forked.state)))?;
    }
    if waits && !rests(&forked.state) {
        let id = &forked.id;
        ui.note(&format!(
            "nobody serves this directory, so it waits: longhaul attach {id} or longhaul serve"
        ));
    }
    Ok(0)
}

pub(super) async fn checkpoint(args: args::Which, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach.control().checkpoint(&args.id).await;
    told(accepted, "checkpoint", reach, ui).await
}

pub(super) async fn pause(args: args::Pause, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach
        .control()
        .pause(
            &args.id,
            Pause {
                now: args.now,
                ..Pause::default()
            },
        )
        .await;
    told(accepted, "pause", reach, ui).await
}

pub(super) async fn resume(args: args::Resume, place: &Place, ui: &Ui) -> Outcome {
    if args.budget.is_some() {
        lineage::check_self(ForHumans::Budgets)?;
    }
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach
        .control()
        .resume(
            &args.id,
            Resume {
                budget: args.budget,
                ..Resume::default()
            },
        )
        .await;
    told(accepted, "resume", reach, ui).await
}

pub(super) async fn cancel(args: args::Cancel, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let agreed = if args.yes {
        Ok(true)
    } else {
        ask(&args.id, &reach, ui).await
    };
    match agreed {
        Ok(true) => {
            let accepted = reach
                .control()
                .cancel(
                    &args.id,
                    Cancel {
                        force: args.force,
                        ..Cancel::default()
                    },
                )
                .await;
            told(accepted, "cancel", reach, ui).await
        }
        Ok(false) => {
            reach.close().await;
            ui.note("nothing was canceled");
            Ok(1)
        }
        Err(failure) => {
            reach.close().await;
            Err(failure)
        }
    }
}

pub(super) async fn archive(args: args::Which, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(&args.id).await?;
    let accepted = reach.control().archive(&args.id).await;
    told(accepted, "archive", reach, ui).await
}

pub(super) async fn repair(id: &str, place: &Place, ui: &Ui) -> Outcome {
    let reach = place.to_wish_about(id).await?;
    let accepted = reach.control().repair(id).await;
    let mended = accepted
        .as_ref()
        .is_ok_and(|accepted| accepted.id == ACCOUNT && !accepted.repeated);
    let outcome = told(accepted, "repair", reach, ui).await?;
    if mended {
        ui.note(
            "top-ups whose records were lost are to be repeated: longhaul credits top-up AMOUNT --request ID",
        );
        ui.note("sessions that it could not pay for meanwhile stay paused: longhaul resume ID");
    }
    Ok(outcome)
}

/// Says what became of a wish.
pub(super) async fn told(accepted: Result<Accepted, Problem>, wish: &str, reach: Reach, ui: &Ui) -> Outcome {
    let waits = reach.is_here();
    let accepted = accepted.map_err(|problem| reach.explained(problem));
    reach.close().await;
    let accepted = accepted?;
    if ui.is_json() {
        ui.object(&accepted)?;
    } else {
        let before = if accepted.repeated {
            "already so"
        } else {
            "written down"
        };
        let line = format!(
            "{wish} {before} as {} of {} {}",
            accepted.seq, accepted.id, accepted.state
        );
        ui.line(&escaped(&line))?;
    }
    // An account, tasks and tokens wait for nobody who serves.
    let is_session = accepted.state != "usable" && !accepted.id.starts_with("t_");
    if waits && is_session && !rests(&accepted.state) {
        let id = &accepted.id;
        ui.note(&format!(
            "nobody serves this directory, so it waits: longhaul attach {id} or longhaul serve"
        ));
    }
    Ok(0)
}

/// Asks whether a session is really to end. Without a person to ask, it is not.
async fn ask(id: &str, reach: &Reach, ui: &Ui) -> Result<bool, Failure> {
    let session = reach.control().show(id).await?;
    agreed(&session, "cancel", "end it for good?", ui)
}

/// Asks before something is destroyed; `verb` takes `--yes` where there is nobody to ask.
pub(super) fn agreed(session: &SessionView, verb: &str, question: &str, ui: &Ui) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let detail = if verb == "cancel" {
            format!(
                "cancel ends {} for good, and there is no terminal to ask on",
                session.id
            )
        } else {
            format!(
                "{verb} cannot be undone for {}, and there is no terminal to ask on",
                session.id
            )
        };
        let problem = Problem::new(Code::InvalidRequest, detail);
        return Err(problem
            .next(
                "answer beforehand",
                format!("longhaul {verb} {} --yes", session.id),
            )
            .into());
    }
    ui.note(&format!(
        "{}: {}",
        session.id,
        cut(first_line(&session.goal), 100)
    ));
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}
