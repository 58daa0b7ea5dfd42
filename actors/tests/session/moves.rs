//! What may happen in a random world: any command at any time, and every outcome of owed work, good or bad.

use longhaul_actors::account::{Credits, HeldFor, Shortage};
use longhaul_actors::ports::{BrainFailure, Ruling, SetupError};
use longhaul_actors::session::{
    Answer, AnswerEnd, Around, Command, DeniedEgress, Effect, FileRead, FileWrite, HeldStep, Limits,
    OutOfCredit, Output, PauseReason, Purse, SendMode, ServiceEnd, Session, Start, ToolCall, ToolOutcome,
    Usage,
};
use longhaul_actors::{Entity, RecoveryCause};
use longhaul_journal::Seq;
use proptest::prelude::*;
use serde_json::json;

use crate::story::{
    self, a_patch, archive, bounded, exec, exited_after, human, in_a_clone, interactive, kept, ready, resume,
    terms, unknown,
};
use crate::world::{World, judged};

/// What may happen next. Numbers are folded into whatever range makes sense where they land.
#[derive(Clone, Debug)]
pub(crate) enum Move {
    StartAgain {
        same: bool,
    },
    Send {
        mode: SendMode,
        key: Option<u8>,
    },
    Pause {
        now: bool,
        reason: PauseReason,
    },
    Resume,
    Cancel {
        force: bool,
    },
    Archive,
    /// Somebody decides on a request: the one that waits, or another.
    Decide {
        approve: bool,
        other: bool,
    },
    /// The world settles one piece of owed work.
    Outcome {
        which: u8,
        how: u8,
    },
    /// An outcome that was reported before is reported again.
    Again {
        which: u8,
    },
    /// An outcome for a step that is not open.
    Stray {
        step: u8,
        how: u8,
    },
    Crash,
    CleanStop,
    Panic,
    JournalTrouble,
    Wake,
    /// Time passes, and the alarm rings whether it is due or not.
    Alarm {
        after_ms: u64,
    },
    /// The alarm rings when it is due.
    Due,
    /// Somebody wants the files kept.
    Checkpoint,
}

pub(crate) fn moves() -> impl Strategy<Value = Vec<Move>> {
    let mode = prop_oneof![
        Just(SendMode::Steer),
        Just(SendMode::Queue),
        Just(SendMode::Interrupt)
    ];
    let reason = prop_oneof![
        Just(PauseReason::Requested),
        Just(PauseReason::Stuck),
        Just(PauseReason::Credits)
    ];
    let one = prop_oneof![
        1 => any::<bool>().prop_map(|same| Move::StartAgain { same }),
        6 => (mode, prop::option::weighted(0.3, 0..4u8)).prop_map(|(mode, key)| Move::Send { mode, key }),
        2 => (any::<bool>(), reason).prop_map(|(now, reason)| Move::Pause { now, reason }),
        3 => Just(Move::Resume),
        1 => any::<bool>().prop_map(|force| Move::Cancel { force }),
        1 => Just(Move::Archive),
        8 => (any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(approve, other)| Move::Decide { approve, other }),
        40 => (any::<u8>(), any::<u8>()).prop_map(|(which, how)| Move::Outcome { which, how }),
        3 => any::<u8>().prop_map(|which| Move::Again { which }),
        3 => (any::<u8>(), any::<u8>()).prop_map(|(step, how)| Move::Stray { step, how }),
        1 => Just(Move::Checkpoint),
        2 => Just(Move::Crash),
        1 => Just(Move::CleanStop),
        1 => Just(Move::Panic),
        1 => Just(Move::JournalTrouble),
        1 => Just(Move::Wake),
        2 => (0..200_000u64).prop_map(|after_ms| Move::Alarm { after_ms }),
        4 => Just(Move::Due),
    ];
    prop::collection::vec(one, 1..120)
}

/// The bounds are small, so that they are met.
pub(crate) fn starts() -> impl Strategy<Value = Start> {
    let run_ms = prop_oneof![2 => Just(0), 1 => 1..2_000u64];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (flags, run_ms, 1..400u64, 1..12u32).prop_map(
        |((is_bounded, clone, is_charged, checkpoints), run_ms, turn_ms, turn_steps)| {
            let mut start = if is_bounded { bounded() } else { interactive() };
            if clone {
                start = in_a_clone(start);
            }
            start.terms = is_charged.then(terms);
            start.limits = Limits {
                approval_ms: turn_ms % 2 * 50_000,
                run_ms,
                turn_ms,
                turn_steps,
                checkpoints,
                ..Limits::default()
            };
            start
        },
    )
}

fn thought(how: u8) -> Result<Answer, BrainFailure> {
    let end = match how % 7 {
        0 => Some(AnswerEnd::Yield),
        1 => Some(AnswerEnd::Ask {
            text: "which?".into(),
        }),
        2 if how > 128 => Some(AnswerEnd::Finish {
            summary: "done".into(),
        }),
        3 if how > 200 => Some(AnswerEnd::Fail {
            detail: "cannot".into(),
        }),
        _ => None,
    };
    match how {
        0..10 => Err(BrainFailure::Died("gone".repeat(usize::from(how) * 400))),
        10..16 => Err(BrainFailure::Rubbish("{".into())),
        16..22 => Err(BrainFailure::TimedOut(100)),
        22 => Err(BrainFailure::Gone("no file".into())),
        _ => Ok(Answer {
            say: how.is_multiple_of(3).then(|| format!("word {}", how % 5)),
            calls: (0..how % 4).map(|n| call(how.wrapping_add(n * 37))).collect(),
            end,
            // A brain may claim anything.
            usage: Usage {
                input_tokens: u64::MAX / 2,
                output_tokens: 1,
                active_ms: u64::MAX,
                steps: u32::MAX,
            },
        }),
    }
}

fn call(how: u8) -> ToolCall {
    let tool = |tool: &str, args| ToolCall {
        tool: tool.into(),
        args,
    };
    match how % 11 {
        8 => tool(
            "service",
            json!({"action": "start", "name": format!("s{}", how % 6), "command": "serve"}),
        ),
        9 => tool(
            "service",
            json!({"action": "stop", "name": format!("s{}", how % 6)}),
        ),
        10 => tool(
            "service",
            json!({"action": "logs", "name": format!("s{}", how % 6)}),
        ),
        0 => exec("make"),
        1 => tool("read", json!({"path": "a"})),
        2 => tool("write", json!({"path": "a", "content": "x"})),
        3 => tool("fly", json!(null)),
        4 => tool(
            "exec",
            json!({"command": 1.000_000_000_000_000_2e-300, "z": {"b": 1, "a": 2}}),
        ),
        5 => tool("patch", json!({})),
        6 => tool(
            "exec",
            json!({"command": ["make"], "timeoutMs": 5, "env": {"B": "1", "A": "2"}}),
        ),
        _ => tool("artifact", json!({"kind": "patch", "path": "my.patch"})),
    }
}

fn acted(how: u8) -> ToolOutcome {
    let active_ms = u64::from(how % 50);
    match how % 8 {
        0 | 1 => exited_after(active_ms, "the same"),
        2 => exited_after(active_ms, &format!("said {how}")),
        3 => ToolOutcome::Wrote(FileWrite {
            path: "a".into(),
            bytes: 1,
            before: None,
            after: format!("{how}"),
            active_ms,
        }),
        4 => ToolOutcome::Read(FileRead {
            path: "a".into(),
            file_sha256: "00".into(),
            content: Output::default(),
            active_ms,
        }),
        5 => a_patch(),
        6 => ToolOutcome::Failed {
            code: "not_found".into(),
            detail: "there is no such file".into(),
            active_ms,
        },
        _ if how < 60 => unknown(),
        _ => ToolOutcome::Done {
            output: "nothing".into(),
            active_ms,
        },
    }
}

fn of_service(call: &ToolCall, around: &Around, how: u8) -> ToolOutcome {
    let active_ms = u64::from(how % 50);
    let done = match (call.args["action"].as_str(), around.service) {
        (Some("start"), _) => ToolOutcome::ServiceStarted {
            name: call.args["name"].as_str().expect("it was checked").into(),
            active_ms,
        },
        (Some("stop"), Some(service)) => ToolOutcome::ServiceStopped {
            service,
            end: ServiceEnd::default(),
            active_ms,
        },
        _ => return acted(how),
    };
    let place = DeniedEgress {
        host: "evil.test".into(),
        port: 443,
        reason: "not_allowed".into(),
        times: 3,
    };
    if how.is_multiple_of(2) {
        return done;
    }
    ToolOutcome::Denied {
        denied: vec![place],
        then: Box::new(done),
    }
}

fn ruling(how: u8) -> Ruling {
    match how % 6 {
        0 | 1 => Ruling::Ask,
        2 => Ruling::Deny,
        _ => Ruling::Allow,
    }
}

/// What an account answers; each hold has a seq of its own.
pub(crate) fn held(purse: &Purse) -> HeldStep {
    HeldStep {
        step: purse.step,
        attempt: purse.attempt,
        bound: purse.bound.clone(),
        held: HeldFor {
            hold: Seq(purse.step * 100_000 + purse.attempt.0),
            amount: Credits::from_micro(purse.bound.limit_ms),
            spent: Credits::ZERO,
        },
    }
}

fn no_credit(how: u8) -> Command {
    let needed = Credits::from_micro(400);
    Command::OutOfCredit(if how < 128 {
        OutOfCredit::Account(Shortage {
            needed,
            available: Credits::ZERO,
        })
    } else {
        OutOfCredit::Budget {
            spent: Credits::ZERO,
            needed,
        }
    })
}

/// A script is changed now and then.
fn script(how: u8) -> &'static str {
    if how > 200 { "changed" } else { "" }
}

pub(crate) fn outcome(effect: &Effect, how: u8) -> Option<Command> {
    Some(match effect {
        Effect::Slot { .. } => Command::SlotGranted,
        Effect::Prepare { .. } if how < 30 => Command::Prepared {
            result: Err(SetupError {
                code: "no_git".into(),
                detail: "install git".into(),
                report: None,
            }),
        },
        Effect::Prepare { .. } => ready(),
        Effect::Think { step, .. } => Command::Thought {
            step: *step,
            result: thought(how),
            active_ms: u64::from(how),
            next: None,
        },
        Effect::Act {
            step, call, around, ..
        } if call.tool == "service" && how > 60 => story::acted(*step, of_service(call, around, how)),
        Effect::Act { step, .. } => story::acted(*step, acted(how)),
        Effect::Admit { purse: Some(_), .. } | Effect::Hold(_) if how % 16 == 3 => no_credit(how),
        Effect::Admit { candidate, purse, .. } => {
            let mut admission = judged(candidate.step, &candidate.call, ruling(how), script(how));
            let digest = &admission.judgement.digest;
            let begins = |purse: &Purse| match admission.judgement.ruling {
                Ruling::Allow => true,
                Ruling::Ask => purse.approved.as_ref() == Some(digest),
                Ruling::Deny => false,
            };
            admission.hold = purse.as_deref().filter(|purse| begins(purse)).map(held);
            Command::Admitted(admission)
        }
        Effect::Hold(purse) => Command::Held(Box::new(held(purse))),
        Effect::CancelStep { .. } | Effect::EndService { .. } => return None,
        Effect::WatchService { step } => Command::ServiceEnded {
            step: *step,
            end: ServiceEnd::default(),
        },
        Effect::Checkpoint { at, .. } if how < 60 => Command::Checkpointed {
            at: *at,
            result: Err(SetupError {
                code: "workspace_too_large".into(),
                detail: String::new(),
                report: None,
            }),
        },
        Effect::Checkpoint { at, .. } => kept(at.0),
        Effect::Stop { .. } if how < 60 => Command::Stopped { survivors: vec![42] },
        Effect::Stop { .. } => Command::Stopped {
            survivors: Vec::new(),
        },
    })
}

/// Plays one move; a refusal is a fine answer to any wish.
pub(crate) fn play(world: &mut World, reported: &mut Vec<Command>, start: &Start, step: &Move) {
    world.now_ms += 7;
    let by = human();
    let command = match step {
        Move::StartAgain { same } => {
            let mut again = start.clone();
            if !same {
                again.fingerprint = "another".into();
            }
            let answer = world.send(Command::Start(Box::new(again)));
            assert_eq!(answer.is_ok(), *same);
            return;
        }
        Move::Send { mode, key } => Command::Send {
            by,
            text: format!("word {key:?}"),
            mode: *mode,
            idempotency_key: key.map(|key| key.to_string()),
        },
        Move::Pause { now, reason } => Command::Pause {
            by,
            reason: *reason,
            now: *now,
        },
        Move::Resume => resume(),
        Move::Cancel { force } => Command::Cancel { by, force: *force },
        Move::Archive => archive(),
        Move::Decide { approve, other } => {
            let pending = world.state.approval.as_ref().map(|pending| pending.id.clone());
            let id = pending.filter(|_| !other).unwrap_or_else(|| "ap_other".into());
            story::decide(&id, *approve)
        }
        Move::Outcome { which, how } => {
            let owed = world.owed();
            let Some(command) = owed
                .get(usize::from(*which) % owed.len().max(1))
                .and_then(|work| outcome(&work.effect, *how))
            else {
                return;
            };
            // Most of the time the admission of the next act rides with the outcome; else it is asked for by itself.
            let command = if how.is_multiple_of(5) {
                command
            } else {
                world.with_admission(command, ruling(*how))
            };
            reported.push(command.clone());
            command
        }
        Move::Again { which } => match reported.get(usize::from(*which) % reported.len().max(1)) {
            Some(command) => command.clone(),
            None => return,
        },
        Move::Stray { step, how } => {
            let step = u64::from(*step) % (world.state.steps + 2);
            if how.is_multiple_of(2) {
                Command::Thought {
                    step,
                    result: thought(*how),
                    active_ms: 1,
                    next: None,
                }
            } else {
                story::acted(step, acted(*how))
            }
        }
        Move::Crash => return world.recover(RecoveryCause::Wake, true),
        Move::CleanStop => {
            if let Some(command) = Session::stopping(&world.state) {
                world.send(command).expect("a stop is never refused");
            }
            return world.recover(RecoveryCause::Wake, true);
        }
        Move::Panic => return world.recover(RecoveryCause::Panic { message: "oh".into() }, false),
        Move::JournalTrouble => {
            return world.recover(
                RecoveryCause::Journal {
                    message: "full".into(),
                },
                false,
            );
        }
        Move::Wake => return world.recover(RecoveryCause::Wake, false),
        Move::Alarm { after_ms } => {
            world.now_ms += after_ms;
            Command::Alarm
        }
        Move::Checkpoint => Command::Checkpoint { by },
        Move::Due => match Session::due(&world.state) {
            Some(due) => {
                world.now_ms = world.now_ms.max(due);
                Command::Alarm
            }
            None => return,
        },
    };
    let _ = world.send(command);
}
