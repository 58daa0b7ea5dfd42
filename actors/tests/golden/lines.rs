//! Stored records that must be readable for ever, one JSON object a line in `golden/*.jsonl`. Add to those; never change a
//! line.

use std::collections::BTreeSet;

use longhaul_actors::Entity;
use longhaul_journal::{Level, NewRecord, Record, Seq};
use serde_json::Value;

/// Each record is decoded and encoded again without losing anything, and every one of these types has one.
pub(crate) fn each_is_read_whole<E: Entity>(stored: &str, types: &[&str]) {
    let mut met = BTreeSet::new();
    for line in stored.lines() {
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
        let event = E::decode(&record).unwrap_or_else(|error| panic!("{line}: {error}"));
        let again = E::encode(&event);
        assert_eq!((&*again.type_name, again.level), (&*type_name, level));
        let kept: Value = serde_json::from_slice(&again.payload).expect("a payload is JSON");
        assert!(holds(&kept, &line["payload"]), "{line} became {kept}");
        met.insert(type_name);
    }
    let all: BTreeSet<String> = types.iter().map(ToString::to_string).collect();
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
