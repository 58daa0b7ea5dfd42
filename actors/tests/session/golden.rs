//! Stored records that must be readable for ever. Add to `golden/session.jsonl`; never change a line of it.

use std::collections::BTreeSet;

use longhaul_actors::session::{Body, Event};
use longhaul_actors::{DecodeError, Entity, session::Session};
use longhaul_journal::{Level, NewRecord, Record, Seq};
use serde_json::{Value, json};

const STORED: &str = include_str!("../golden/session.jsonl");

struct Golden {
    record: Record,
    payload: Value,
}

fn golden() -> Vec<Golden> {
    STORED.lines().map(stored).collect()
}

fn stored(line: &str) -> Golden {
    let line: Value = serde_json::from_str(line).expect("each line is JSON");
    let level: Level = serde_json::from_value(line["level"].clone()).expect("a level");
    let event = NewRecord {
        type_name: line["type"].as_str().expect("a type").to_owned().into(),
        type_version: u16::try_from(line["version"].as_u64().expect("a version")).expect("a small one"),
        cause: None,
        level,
        payload: line["payload"].to_string().into_bytes(),
    };
    let record = Record {
        seq: Seq(7),
        time_ms: 1_000,
        event,
    };
    Golden {
        record,
        payload: line["payload"].clone(),
    }
}

/// B-LOG-8
#[test]
fn every_record_ever_stored_is_read_and_nothing_in_it_is_lost() {
    for Golden { record, payload } in golden() {
        let name = &record.event.type_name;
        let event = Session::decode(&record).unwrap_or_else(|error| panic!("{payload}: {error}"));
        let again = Session::encode(&event);
        assert_eq!((&again.type_name, again.level), (name, record.event.level));
        let kept: Value = serde_json::from_slice(&again.payload).expect("a payload is JSON");
        assert!(holds(&kept, &payload), "{name}: {payload} became {kept}");
    }
}

/// Whether all of `old` is in `new`; empty texts, nulls and zeros may be left out, since they are what is read then.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old.iter().all(|(key, old)| match new.get(key) {
            Some(new) => holds(new, old),
            None => old.is_null() || old == "" || old == 0 || old == false,
        }),
        _ => new == old,
    }
}

/// B-LOG-8
#[test]
fn every_record_type_has_a_golden_record() {
    let kept: BTreeSet<String> = golden()
        .iter()
        .map(|golden| golden.record.event.type_name.to_string())
        .collect();
    let all: BTreeSet<String> = Body::TYPES.iter().map(ToString::to_string).collect();
    assert_eq!(kept, all);
}

#[test]
fn a_record_of_a_newer_version_is_named_and_not_guessed_at() {
    for (type_name, version) in [("session.started", 2), ("session.renamed", 1)] {
        let line = json!({ "type": type_name, "version": version, "level": "user", "payload": {} });
        let error = Event::decode(&stored(&line.to_string()).record).expect_err("it is not known");
        assert_eq!(
            error,
            DecodeError::UnknownType {
                type_name: type_name.into(),
                type_version: version
            }
        );
    }
}

#[test]
fn a_damaged_payload_is_an_error_that_names_its_type() {
    let line = json!({ "type": "session.paused", "version": 1, "level": "user", "payload": { "actor": {} } });
    let error = Event::decode(&stored(&line.to_string()).record).expect_err("it is damaged");
    assert!(error.to_string().contains("session.paused"), "{error}");
}
