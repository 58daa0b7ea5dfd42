//! `longhaul replay`: the state of a session from its log alone, without a server and without a lock.

use std::sync::Arc;

use longhaul_actors::session::State;
use longhaul_journal::{Frame, Seq};
use serde_json::{Value, json};

use super::Outcome;
use super::args::Replay;
use super::fold::{check, fold};
use super::guests::{self, Guest};
use super::reach::Place;
use super::render::{escaped, escaped_json};
use super::shelf::{Log, Shelf};
use super::ui::{Failure, Ui};
use crate::api::{Code, Problem, session_id};

pub(super) fn replay(args: &Replay, guests: &[Guest], place: &Place, ui: &Ui) -> Outcome {
    if let Some(id) = &args.id
        && let Some(found) = guests::find(guests, place, id)?
    {
        return found.replay(args, ui);
    }
    let shelf = Shelf::new(place.data());
    let logs = match &args.id {
        Some(id) => vec![shelf.log(shelf.find(id)?)?],
        None => shelf.logs()?,
    };
    if args.check {
        let mut sound = check_all(&logs, ui)?;
        if args.all {
            for found in guests::all(guests, place)? {
                sound &= found.check(ui)?;
            }
        }
        return Ok(if sound {
            0
        } else {
            Code::JournalDamaged.exit_code()
        });
    }
    let Some(log) = logs.first() else { return Ok(0) };
    match args.diff.as_deref() {
        Some(&[from, to]) => {
            let (before, after) = (state_at(log, from)?, state_at(log, to)?);
            differences(&value(&before), &value(&after))
                .iter()
                .try_for_each(|change| change.print(ui))?;
        }
        _ => {
            let state = value(&state_at(log, args.to.unwrap_or(u64::MAX))?);
            if ui.is_json() {
                ui.object(&state)?;
            } else {
                ui.line(&escaped_pretty(&state))?;
            }
        }
    }
    Ok(0)
}

/// Says of each log whether this version could go on from it (B-LOG-8).
fn check_all(logs: &[Log], ui: &Ui) -> Result<bool, Failure> {
    let mut sound = true;
    for log in logs {
        let id = session_id(log.stream);
        let checked = log.damage.clone().map_or_else(|| check(frames(log)), Err);
        sound &= checked.is_ok();
        if ui.is_json() {
            ui.object(&match &checked {
                Ok(state) => json!({ "id": id, "ok": true, "head": state.head, "state": state.phase.name() }),
                Err(why) => json!({ "id": id, "ok": false, "reason": why.to_string() }),
            })?;
        } else {
            let line = match &checked {
                Ok(state) => format!("{id}  ok      {} records, {}", state.head, state.phase.name()),
                Err(why) => format!("{id}  broken  {why}"),
            };
            ui.line(&escaped(&line))?;
        }
    }
    Ok(sound)
}

fn frames(log: &Log) -> impl Iterator<Item = &Frame> {
    log.frames.iter().map(Arc::as_ref)
}

fn state_at(log: &Log, seq: u64) -> Result<State, Problem> {
    let id = session_id(log.stream);
    if seq != u64::MAX && seq > log.head().0 {
        let detail = format!("{id} has no seq {seq}; its last one is {}", log.head());
        return Err(Problem::new(Code::InvalidRequest, detail));
    }
    fold(frames(log), Seq(seq)).map_err(|why| {
        Problem::new(Code::JournalDamaged, format!("{id} cannot be replayed: {why}"))
            .next("see what is wrong", "longhaul journal verify")
            .next("read what can be read", format!("longhaul journal inspect {id}"))
    })
}

fn value(state: &State) -> Value {
    serde_json::to_value(state).expect("a state has text keys, so it is JSON")
}

pub(super) fn escaped_pretty(value: &Value) -> String {
    let pretty = serde_json::to_string_pretty(value).expect("a value is JSON");
    let lines: Vec<_> = pretty.lines().map(escaped_json).collect();
    lines.join("\n")
}

/// One place where two states differ.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    path: String,
    before: Value,
    after: Value,
}

impl Change {
    pub(super) fn print(&self, ui: &Ui) -> Result<(), Failure> {
        if ui.is_json() {
            ui.object(&json!({ "path": self.path, "before": self.before, "after": self.after }))
        } else {
            ui.line(&escaped_json(&format!(
                "{}  {} -> {}",
                self.path, self.before, self.after
            )))
        }
    }
}

/// Where two values differ, by path; what is not there counts as null.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    differ("", before, after, &mut changes);
    changes
}

fn differ(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => {
            let added = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(added) {
                let inner = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let (one, other) = (
                    one.get(key).unwrap_or(&Value::Null),
                    other.get(key).unwrap_or(&Value::Null),
                );
                differ(&inner, one, other, changes);
            }
        }
        _ if before == after => {}
        _ => changes.push(Change {
            path: path.to_owned(),
            before: before.clone(),
            after: after.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::tests::{frames, pause, start};
    use super::*;

    fn log() -> Log {
        let frames: Vec<Arc<Frame>> = frames([start(), pause()]).into_iter().map(Arc::new).collect();
        Log {
            stream: frames[0].stream,
            frames,
            damage: None,
        }
    }

    #[test]
    fn a_difference_names_the_place_and_both_values() {
        let before = json!({ "a": 1, "b": { "c": [1], "d": null }, "gone": true });
        let after = json!({ "a": 1, "b": { "c": [1, 2], "d": null }, "new": "x" });
        let paths: Vec<String> = differences(&before, &after)
            .into_iter()
            .map(|change| change.path)
            .collect();
        assert_eq!(paths, ["b.c", "gone", "new"]);
    }

    #[test]
    fn what_a_pause_changes_is_seen_between_two_seqs() {
        let log = log();
        let first = log.frames[0].last_seq().0;
        let (before, after) = (
            state_at(&log, first).expect("sound"),
            state_at(&log, log.head().0).expect("sound"),
        );
        let changes = differences(&value(&before), &value(&after));
        assert!(
            changes
                .iter()
                .any(|change| change.path == "phase" && change.before == "Queued"),
            "{changes:?}"
        );
        assert!(
            changes.iter().all(|change| change.path != "origin.goal"),
            "{changes:?}"
        );
    }

    #[test]
    fn a_seq_beyond_the_head_is_refused_with_the_head() {
        let log = log();
        let problem = state_at(&log, 99).expect_err("there is no such seq");
        assert_eq!(problem.code, Code::InvalidRequest);
        assert!(
            problem
                .detail
                .ends_with(&format!("its last one is {}", log.head())),
            "{problem}"
        );
    }
}
