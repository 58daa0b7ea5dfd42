//! What was written once folds to what it did when it was written: another fold of an old session would be another session.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_actors::account::{self, Account};
use longhaul_actors::session::{self, Session};
use longhaul_actors::{Entity, Folded, fold};
use longhaul_journal::{
    BlobId, Frame, Journal, Limit, LocalJournal, Options, Portable, REMOVED, Seq, StreamId, VerifyReport,
    verify,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a directory of data amounted to when it was written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct States {
    /// What a walk over all frames counts.
    pub(crate) counts: Counts,
    /// Every stream that can be folded, by id.
    pub(crate) streams: BTreeMap<String, Kept>,
    /// The stream of the portable file, once it is imported.
    pub(crate) imported: BTreeMap<String, Kept>,
    /// Streams that were removed.
    pub(crate) removed: Vec<String>,
    /// Bodies, by hash, as text.
    pub(crate) blobs: BTreeMap<String, String>,
}

/// What a walk over all frames counts.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    streams: u64,
    frames: u64,
    records: u64,
    removed: u64,
    repaired: usize,
}

/// A folded stream.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    kind: String,
    head: Seq,
    hash: String,
    state: Value,
}

/// Every folder of golden data.
fn all() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(here).expect("it is there");
    let folders = entries.map(|entry| entry.expect("readable").path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "nothing is golden");
    folders
}

/// B-LOG-8: verified, opened, imported and folded, once from the segments alone and once more from the catalogue.
#[test]
fn what_a_released_version_wrote_folds_to_what_it_did_then() {
    for golden in all() {
        check(&golden);
    }
}

/// B-LOG-8
#[test]
fn every_record_type_lies_in_a_directory_that_a_released_version_wrote() {
    let mut met = BTreeMap::from([(Session::KIND, BTreeSet::new()), (Account::KIND, BTreeSet::new())]);
    for golden in all() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = copied(&golden, folder.path());
        let (journal, _) = LocalJournal::open(&data, Options::default()).expect("it opens");
        let portable = fs::read(golden.join("export.lhx")).expect("it is there");
        let portable = Portable::parse(&portable).expect("it is sound");
        journal.import(&portable).expect("it is taken in");
        for (kind, types) in &mut met {
            for stream in streams(&journal, kind) {
                let records = frames(&journal, stream).into_iter();
                types.extend(records.flat_map(|frame| {
                    let types = frame.records.iter();
                    let types = types.map(|record| record.event.type_name.to_string());
                    types.collect::<Vec<_>>()
                }));
            }
        }
    }
    let all = |types: &[&str]| -> BTreeSet<String> { types.iter().map(ToString::to_string).collect() };
    assert_eq!(met[Session::KIND], all(session::Body::TYPES));
    assert_eq!(met[Account::KIND], all(account::Body::TYPES));
}

/// Looks at a copy of a golden folder in every way.
pub(crate) fn check(golden: &Path) {
    let states = fs::read_to_string(golden.join("states.json")).expect("it is there");
    let states: States = serde_json::from_str(&states).expect("it is what was written");
    let folder = tempfile::tempdir().expect("a folder");
    let data = copied(golden, folder.path());
    let report = verify(&data, None).expect("it can be verified");
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(Counts::of(&report), states.counts);
    let portable = fs::read(golden.join("export.lhx")).expect("it is there");
    let portable = Portable::parse(&portable).expect("it is sound");
    assert_eq!(
        portable.to_bytes(),
        fs::read(golden.join("export.lhx")).expect("it is there")
    );
    for opening in ["from the segments", "from the catalogue"] {
        let (journal, found) = LocalJournal::open(&data, Options::default()).expect("it opens");
        assert_eq!(
            (&found.damaged[..], &found.lost[..]),
            (&[][..], &[][..]),
            "{opening}"
        );
        for (id, kept) in &states.streams {
            kept.is_found_again(&journal, id, opening);
        }
        for id in &states.removed {
            let head = journal.head(stream(id)).expect("readable").expect("it says so");
            assert_eq!(head.kind, REMOVED, "{opening}");
        }
        for (id, text) in &states.blobs {
            let mut digits = [0; 32];
            hex::decode_to_slice(id, &mut digits).expect("a hash");
            let body = journal.blobs().get(BlobId(digits)).expect("it is there");
            assert_eq!(&body, text.as_bytes(), "{opening}");
        }
        journal
            .import(&portable)
            .expect("it is taken in, and found again");
        for (id, kept) in &states.imported {
            assert!(journal.is_inert(stream(id)), "{opening}");
            kept.is_found_again(&journal, id, opening);
        }
        journal.close();
    }
    assert!(verify(&data, None).expect("it can be verified").is_sound());
}

impl Counts {
    pub(crate) fn of(report: &VerifyReport) -> Self {
        Self {
            streams: report.streams,
            frames: report.frames,
            records: report.records,
            removed: report.removed,
            repaired: report.repaired.len(),
        }
    }
}

impl Kept {
    pub(crate) fn of(journal: &dyn Journal, stream: StreamId) -> Self {
        let head = journal.head(stream).expect("readable").expect("it is there");
        let (head_seq, hash, state) = match &*head.kind {
            Session::KIND => {
                let Folded {
                    head, hash, state, ..
                } = folded::<Session>(journal, stream);
                (
                    head,
                    hash,
                    serde_json::to_value(state).expect("plain structs with text keys"),
                )
            }
            Account::KIND => {
                let Folded {
                    head, hash, state, ..
                } = folded::<Account>(journal, stream);
                (head, hash, shown(&state))
            }
            kind => panic!("a stream of kind {kind}"),
        };
        assert_eq!((head_seq, hash), (head.seq, head.hash));
        Self {
            kind: head.kind.to_string(),
            head: head_seq,
            hash: hash.to_string(),
            state,
        }
    }

    fn is_found_again(&self, journal: &dyn Journal, id: &str, story: &str) {
        let found = Self::of(journal, stream(id));
        assert_eq!(
            (&found.kind, found.head, &found.hash),
            (&self.kind, self.head, &self.hash),
            "{id}, {story}"
        );
        if let Some(place) = differs(&self.state, &found.state) {
            panic!(
                "{} {id}, {story}: {place} of the fold is not what it was\nthen {}\nnow  {}",
                self.kind,
                self.state.pointer(&place).unwrap_or_default(),
                found.state.pointer(&place).unwrap_or(&Value::Null),
            );
        }
    }
}

fn folded<E: Entity>(journal: &dyn Journal, stream: StreamId) -> Folded<E> {
    fold::<E>(journal, stream).unwrap_or_else(|error| panic!("{stream}: {error}"))
}

/// The fold of an account as JSON, where keys are texts.
fn shown(state: &account::State) -> Value {
    let sessions: BTreeMap<String, _> = state
        .sessions
        .iter()
        .map(|(session, line)| (session.to_string(), line))
        .collect();
    let waking: BTreeMap<String, String> = state
        .waking
        .iter()
        .map(|(since, session)| (since.to_string(), session.to_string()))
        .collect();
    json!({
        "name": state.name, "head": state.head, "prices": state.prices, "resume": state.resume,
        "granted": state.granted, "settled": state.settled, "held": state.held, "overrun": state.overrun,
        "unknown": state.unknown, "steps": state.steps, "carry": state.carry, "mark": state.mark,
        "toldLow": state.told_low, "sessions": sessions, "holds": state.holds, "waking": waking,
        "requests": state.requests,
    })
}

/// Where `now` does not hold all of `then`, if anywhere. A field that came later is no difference.
fn differs(then: &Value, now: &Value) -> Option<String> {
    match (then, now) {
        (Value::Object(then), Value::Object(now)) => then.iter().find_map(|(key, then)| match now.get(key) {
            Some(now) => differs(then, now).map(|place| format!("/{key}{place}")),
            None => Some(format!("/{key}")),
        }),
        (Value::Array(then), Value::Array(now)) if then.len() == now.len() => {
            let mut pairs = then.iter().zip(now).enumerate();
            pairs.find_map(|(at, (then, now))| differs(then, now).map(|place| format!("/{at}{place}")))
        }
        _ => (then != now).then(String::new),
    }
}

#[test]
fn a_field_that_came_later_is_no_difference_and_another_value_is() {
    let then = json!({ "phase": { "name": "idle" }, "keys": [{ "key": "a" }] });
    let grown =
        json!({ "phase": { "name": "idle", "since": 3 }, "keys": [{ "key": "a", "seq": 7 }], "new": 1 });
    assert_eq!(differs(&then, &grown), None);
    let changed = json!({ "phase": { "name": "idle" }, "keys": [{ "key": "b" }] });
    assert_eq!(differs(&then, &changed).as_deref(), Some("/keys/0/key"));
    let shorter = json!({ "phase": { "name": "idle" }, "keys": [] });
    assert_eq!(differs(&then, &shorter).as_deref(), Some("/keys"));
}

fn stream(id: &str) -> StreamId {
    id.parse().expect("an id")
}

pub(crate) fn streams(journal: &dyn Journal, kind: &str) -> Vec<StreamId> {
    let heads = journal.list(kind, None, 1_000).expect("readable");
    heads.into_iter().map(|head| head.stream).collect()
}

pub(crate) fn frames(journal: &dyn Journal, stream: StreamId) -> Vec<Arc<Frame>> {
    let mut frames: Vec<Arc<Frame>> = Vec::new();
    loop {
        let after = frames.last().map_or(Seq::ZERO, |frame| frame.last_seq());
        match journal.read(stream, after, Limit::default()) {
            Ok(page) if !page.is_empty() => frames.extend(page),
            _ => return frames,
        }
    }
}

/// A copy of the data, which opening changes.
fn copied(golden: &Path, to: &Path) -> PathBuf {
    let data = to.join("data");
    copy_dir(&golden.join("data"), &data);
    data
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("it has a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            fs::copy(&path, target).expect("it is copied");
        }
    }
}
