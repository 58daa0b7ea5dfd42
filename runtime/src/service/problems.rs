//! From what went wrong below to what a client is told.

use longhaul_actors::session::Refusal;
use longhaul_actors::{RecoverError, SendError};
use longhaul_journal::ReadError;

use crate::api::{Code, Problem, session_id};

/// A sync has failed once: what may and may not be on disk is found out by opening the directory anew.
pub(crate) fn poisoned() -> Problem {
    let detail = "a write or a sync of the journal failed, so nothing is acknowledged until the directory is opened again";
    Problem::new(Code::StorageUnavailable, detail).next("see to the disk, then serve again", "longhaul serve")
}

/// A stream lost part of its log, and is called `name` where people name it.
pub(super) fn damaged(detail: impl Into<String>, name: &str) -> Problem {
    Problem::new(Code::StreamQuarantined, detail)
        .next("see what is damaged", "longhaul journal verify")
        .next(
            "take it up again behind the damage",
            format!("longhaul journal repair {name}"),
        )
}

pub(super) fn read_problem(error: ReadError) -> Problem {
    match error {
        ReadError::Damaged { stream, .. } => damaged(error.to_string(), &session_id(stream)),
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

pub(super) fn recover_problem(error: RecoverError) -> Problem {
    match error {
        RecoverError::Quarantined(quarantine) => {
            damaged(quarantine.to_string(), &session_id(quarantine.stream))
        }
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

pub(super) fn send_problem(error: SendError<Refusal>) -> Problem {
    match error {
        SendError::Refused(refusal) => refusal_problem(&refusal),
        SendError::OutcomeUnknown { .. } => Problem::new(Code::OutcomeUnknown, error.to_string()),
        SendError::Quarantined(quarantine) => damaged(quarantine.to_string(), &session_id(quarantine.stream)),
        SendError::NotHosted => {
            Problem::new(Code::NotServing, error.to_string()).next("serve all sessions", "longhaul serve")
        }
        other => Problem::new(Code::StorageUnavailable, other.to_string()),
    }
}

/// The code of every error of sending but a refusal, which has one of its own.
pub(super) fn unsent_code<R: std::error::Error>(error: &SendError<R>) -> Code {
    match error {
        SendError::OutcomeUnknown { .. } => Code::OutcomeUnknown,
        SendError::Quarantined(_) => Code::StreamQuarantined,
        SendError::NotHosted => Code::NotServing,
        _ => Code::StorageUnavailable,
    }
}

pub(super) fn refusal_problem(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::NotFound => Code::NotFound,
        Refusal::IdempotencyConflict => Code::IdempotencyConflict,
        Refusal::Terminal(_) => Code::SessionTerminal,
        Refusal::Archived => Code::SessionArchived,
        Refusal::StillLive(_) => Code::SessionLive,
        Refusal::NotPending(_) => Code::ApprovalDecided,
        Refusal::NotHuman => Code::SelfApproval,
        Refusal::TooLarge(_) => Code::PayloadTooLarge,
        _ => Code::InvalidRequest,
    };
    let problem = Problem::new(code, refusal.to_string());
    match refusal {
        Refusal::Terminal(_) => problem
            .next("see how it ended", "longhaul show ID")
            .next("start another one", "longhaul run --brain playbook:FILE \"GOAL\""),
        Refusal::Archived => problem
            .next("read it", "longhaul tail ID")
            .next("start another one", "longhaul run --brain playbook:FILE \"GOAL\""),
        Refusal::StillLive(_) => problem.next("end it first", "longhaul cancel ID"),
        Refusal::IdempotencyConflict => conflict(problem),
        _ => problem,
    }
}

/// Adds what to do about a key that was used for another request.
pub(super) fn conflict(problem: Problem) -> Problem {
    problem
        .next("see what the key was used for", "longhaul ls")
        .next("name a new wish by another key", "longhaul run --key KEY ...")
}
