//! What may happen in a random world: any command at any time, and every outcome of owed work, good or bad.

use longhaul_actors::ports::{BrainFailure, SetupError};
use longhaul_actors::session::{
    Answer, AnswerEnd, Command, Effect, FileRead, FileWrite, Limits, Output, PauseReason, SendMode, Session,
    Start, ToolCall, ToolOutcome, Usage,
};
use longhaul_actors::{Entity, RecoveryCause};
use proptest::prelude::*;
use serde_json::json;

use crate::story::{
    a_patch, archive, bounded, exec, exited_after, human, in_a_clone, interactive, kept, ready, resume,
    unknown,
};
use crate::world::World;

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
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (flags, run_ms, 1..400u64, 1..12u32).prop_map(
        |((is_bounded, clone, checkpoints), run_ms, turn_ms, turn_steps)| {
            let mut start = if is_bounded { bounded() } else { interactive() };
            if clone {
                start = in_a_clone(start);
            }
            start.limits = Limits {
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
    match how % 8 {
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

pub(crate) fn outcome(effect: &Effect, how: u8) -> Option<Command> {
    Some(match effect {
        Effect::Slot => Command::SlotGranted,
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
        },
        Effect::Act { step, .. } => Command::Acted {
            step: *step,
            outcome: acted(how),
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
        Effect::CancelStep { .. } => return None,
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
        Move::Outcome { which, how } => {
            let owed = world.owed();
            let Some(command) = owed
                .get(usize::from(*which) % owed.len().max(1))
                .and_then(|work| outcome(&work.effect, *how))
            else {
                return;
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
                }
            } else {
                Command::Acted {
                    step,
                    outcome: acted(*how),
                }
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
