//! Stored records that must be readable for ever. Add to `golden/task.jsonl`; never change a line of it.

use std::collections::BTreeSet;

use longhaul_actors::Entity;
use longhaul_actors::task::{Body, Task};
use longhaul_journal::{Level, NewRecord, Record, Seq};
use serde_json::Value;

const STORED: &str = include_str!("../golden/task.jsonl");

/// B-LOG-8
#[test]
fn every_record_ever_stored_is_read_and_nothing_in_it_is_lost() {
    let mut met = BTreeSet::new();
    for line in STORED.lines() {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let level: Level = serde_json::from_value(line["level"].clone()).expect("a level");
        let type_name = line["type"].as_str().expect("a type").to_owned();
        let event = NewRecord {
            type_name: type_name.clone().into(),
            type_version: 1,
            cause: None,
            level,
            payload: line["payload"].to_string().into_bytes(),
        };
        let record = Record {
            seq: Seq(7),
            time_ms: 1_000,
            event,
        };
        let event = Task::decode(&record).unwrap_or_else(|error| panic!("{line}: {error}"));
        let again = Task::encode(&event);
        assert_eq!((&*again.type_name, again.level), (&*type_name, level));
        let kept: Value = serde_json::from_slice(&again.payload).expect("a payload is JSON");
        assert!(holds(&kept, &line["payload"]), "{line} became {kept}");
        met.insert(type_name);
    }
    let all: BTreeSet<String> = Body::TYPES.iter().map(ToString::to_string).collect();
    assert_eq!(met, all);
}

/// Whether all of `old` is in `new`.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old
            .iter()
            .all(|(key, old)| new.get(key).is_some_and(|new| holds(new, old))),
        _ => new == old,
    }
}
