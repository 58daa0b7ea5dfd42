//! Writes a golden directory: legal histories of every record type, in dense segments and a thinned one, with a body, a gap
//! in a session and in the account, streams that were removed, adopted and forked, and a portable file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use longhaul_actors::account::{
    self, Account, Ask, Bound, Finding, LastStep, Open, PriceTable, Used, Verdict,
};
use longhaul_actors::session::{self, Command, Fork, SendMode, Session, fork};
use longhaul_actors::{Entity, Moment, Placed, RecoverError, fold, fold_to};
use longhaul_journal::{
    Compaction, Draft, Gap, Journal, Level, LocalJournal, NewRecord, Options, Portable, Record, Seq,
    StreamId, verify,
};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::moves::{moves, play, starts};
use crate::read::{Counts, Kept, States, check, copy_dir, frames, streams};
use crate::story::{Story, acting, exited, finishes, human, idle, interactive, send, thinking};
use crate::world::World;

/// Records of one frame at most.
const FRAME: usize = 4;
/// A body that a record names.
const BODY: &str = "what a command said, at length\n";

/// B-LOG-8: whatever this version writes it reads back. Where `LONGHAUL_GOLDEN` names a new folder beside this file, it stays.
#[test]
fn a_directory_of_this_version_is_read_back_and_kept_where_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let golden = folder.path().join("golden");
    write(folder.path(), &golden);
    check(&golden);
    if let Ok(name) = std::env::var("LONGHAUL_GOLDEN") {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(name);
        assert!(!kept.exists(), "golden bytes are left alone; choose another name");
        copy_dir(&golden, &kept);
    }
}

fn write(scratch: &Path, golden: &Path) {
    let here = scratch.join("here");
    let journal = open(&here);
    let body = journal.blobs().put(&mut BODY.as_bytes()).expect("it is put");

    // Mostly removed: the segments they lie in are thinned, and what stays in them keeps its bytes.
    put::<Session>(&journal, named("released"), &released().world.records);
    let removed: Vec<StreamId> = (0..3).map(|number| named(&format!("removed {number}"))).collect();
    let filler = random_worlds();
    for (stream, world) in removed.iter().zip(filler.iter().cycle()) {
        put::<Session>(&journal, *stream, &world.records);
    }
    for stream in &removed {
        journal
            .remove(*stream, LATER_MS, said("stream.removed", "{\"by\":\"nobody\"}"))
            .expect("it is removed");
    }
    // Dense.
    for (number, world) in filler.iter().enumerate() {
        put::<Session>(&journal, named(&format!("random {number}")), &world.records);
    }
    let names_a_body = idle().when(send(&format!("look at {}", body.id), SendMode::Queue));
    put::<Session>(&journal, named("names a body"), &names_a_body.world.records);
    let rich = account();
    put::<Account>(&journal, Account::stream("local", "local"), &rich);
    put::<Account>(&journal, Account::stream("local", "hurt"), &rich);
    let hurt = acting(interactive()).settles(exited("ok")).answers(finishes());
    put::<Session>(&journal, named("hurt"), &hurt.world.records);
    fork_off(&journal, &idle());
    take_in(&journal, scratch);
    // Behind the damage, so that it was acknowledged.
    put::<Session>(&journal, named("last"), &idle().world.records);
    journal.close();

    lose(&here, Account::stream("local", "hurt"), 3);
    lose(&here, named("hurt"), 2);
    let journal = open(&here);
    repair::<Account>(
        &journal,
        Account::stream("local", "hurt"),
        |state, highest, reason| account::over_gap(state, highest, reason, human()),
    );
    repair::<Session>(&journal, named("hurt"), |state, highest, reason| {
        session::over_gap(state, highest, reason, human(), Moment { now_ms: LATER_MS })
    });
    let thinned = journal.compact(Compaction::default()).expect("it is thinned");
    assert!(thinned.rewritten > 0, "{thinned:?}");
    journal.close();

    let data = golden.join("data");
    keep(&here, &data);
    fs::write(golden.join("export.lhx"), exported(&scratch.join("there"))).expect("written");
    let journal = open(&here);
    let portable = Portable::parse(&exported(&scratch.join("there"))).expect("it is sound");
    let folded = |stream: StreamId| (stream.to_string(), Kept::of(&journal, stream));
    let all = [Session::KIND, Account::KIND].map(|kind| streams(&journal, kind));
    let known: BTreeMap<_, _> = all.into_iter().flatten().map(folded).collect();
    journal.import(&portable).expect("it is taken in");
    let states = States {
        counts: Counts::of(&verify(&data, None).expect("it can be verified")),
        streams: known,
        imported: BTreeMap::from([folded(portable.stream())]),
        removed: removed.iter().map(ToString::to_string).collect(),
        blobs: BTreeMap::from([(body.id.to_string(), BODY.to_owned())]),
    };
    journal.close();
    let mut text = serde_json::to_string_pretty(&states).expect("plain structs with text keys");
    text.push('\n');
    fs::write(golden.join("states.json"), text).expect("written");
}

/// After everything that the worlds put in their records.
const LATER_MS: u64 = 4_000_000_000_000;

fn open(folder: &Path) -> LocalJournal {
    let mut options = Options::default();
    (options.segment_bytes, options.fill_ahead) = (8 << 10, 0);
    LocalJournal::open(folder, options).expect("it opens").0
}

fn named(name: &str) -> StreamId {
    StreamId::named(Session::KIND, "local", name)
}

fn said(type_name: &'static str, payload: &str) -> NewRecord {
    NewRecord {
        type_name: type_name.into(),
        type_version: 1,
        cause: None,
        level: Level::Internal,
        payload: payload.as_bytes().to_vec(),
    }
}

/// The frames of these records, each with the standing after it.
fn drafts<E: Entity>(journal: &dyn Journal, stream: StreamId, records: &[Record]) -> Vec<Draft> {
    let epoch = journal.claim(stream);
    let (mut state, mut rest, mut drafts) = (E::State::default(), records, Vec::new());
    while let Some(first) = rest.first() {
        let together = rest.iter().take(FRAME);
        let together = together
            .take_while(|record| record.time_ms == first.time_ms)
            .count();
        let (frame, later) = rest.split_at(together);
        for record in frame {
            let event = E::decode(record).expect("this version wrote it");
            let (seq, time_ms) = (record.seq, record.time_ms);
            E::apply(
                &mut state,
                Placed {
                    seq,
                    time_ms,
                    event: &event,
                },
            );
        }
        drafts.push(Draft {
            stream,
            kind: E::KIND.into(),
            epoch,
            expected: Seq(first.seq.0 - 1),
            time_ms: first.time_ms,
            standing: E::standing(&state),
            records: frame.iter().map(|record| record.event.clone()).collect(),
        });
        rest = later;
    }
    drafts
}

fn put<E: Entity>(journal: &dyn Journal, stream: StreamId, records: &[Record]) {
    for draft in drafts::<E>(journal, stream, records) {
        journal.submit(draft).wait().expect("it is written");
    }
}

/// One frame of these events behind what is there.
fn behind<E: Entity>(
    journal: &dyn Journal,
    stream: StreamId,
    expected: Seq,
    before: &E::State,
    events: &[E::Event],
) -> Draft {
    let (mut state, mut seq) = (before.clone(), expected);
    for event in events {
        seq = seq.next();
        let time_ms = LATER_MS;
        E::apply(&mut state, Placed { seq, time_ms, event });
    }
    Draft {
        stream,
        kind: E::KIND.into(),
        epoch: journal.claim(stream),
        expected,
        time_ms: LATER_MS,
        standing: E::standing(&state),
        records: events.iter().map(E::encode).collect(),
    }
}

/// Random worlds that have every record type of an ordinary life between them, each no longer than that takes.
fn random_worlds() -> Vec<World> {
    let apart = [
        "journal.gap",
        "session.adopted",
        "session.forked",
        "sandbox.released",
    ];
    let types = session::Body::TYPES.iter().filter(|name| !apart.contains(name));
    let mut missing: BTreeSet<&str> = types.copied().collect();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (mut worlds, mut wanted) = (Vec::new(), 6);
    for tried in 1..20_000 {
        if missing.is_empty() {
            return worlds;
        }
        if tried % 100 == 0 && wanted > 1 {
            wanted -= 1;
        }
        let world = (starts(), moves()).new_tree(&mut runner).expect("a world");
        let (start, moves) = world.current();
        let mut world = World::new();
        world
            .send(Command::Start(Box::new(start.clone())))
            .expect("it is granted");
        let (mut found, mut reported) = (BTreeSet::new(), Vec::new());
        for step in &moves {
            play(&mut world, &mut reported, &start, step);
            let types = world.records.iter().map(|record| &*record.event.type_name);
            found = types.filter_map(|name| missing.get(name).copied()).collect();
            if found.len() >= wanted || world.records.len() > 120 {
                break;
            }
        }
        // Few that show much, rather than many that show little.
        if found.len() >= wanted {
            missing.retain(|name| !found.contains(name));
            worlds.push(world);
        }
    }
    panic!("no world has {missing:?}")
}

fn released() -> Story {
    thinking(interactive())
        .answers(finishes())
        .when(Command::Released {
            freed_bytes: 4_096,
            workspace_kept: String::new(),
            patch: None,
        })
}

/// Records of an account of every type but `journal.gap`.
fn account() -> Vec<Record> {
    let mut world = Bank::default();
    let open = |prices| {
        let open = Open {
            initial: "0.047".parse().expect("an amount"),
            prices,
            ..Open::of_defaults()
        };
        account::Command::Open(Box::new(open))
    };
    let ask = |number, step, limit_ms, last| {
        let ask = Ask {
            session: session_of(number),
            step,
            attempt: Seq(10 * step),
            bound: Bound {
                limit_ms,
                tool: Some("exec".into()),
                ..Bound::default()
            },
            budget: None,
            last,
        };
        account::Command::Ask(Box::new(ask))
    };
    const HOUR_MS: u64 = 3_600_000;
    let used = |active_ms| Used {
        active_ms,
        ..Used::default()
    };
    world.send(open(None));
    let hold = world.send(ask(1, 1, HOUR_MS, None));
    let last = Some(LastStep {
        hold,
        used: used(HOUR_MS + 1_000),
    });
    let hold = world.send(ask(1, 2, HOUR_MS, last));
    let mut dearer = PriceTable::default();
    dearer
        .tools
        .insert("exec".into(), "0.002".parse().expect("an amount"));
    world.send(open(Some(dearer)));
    let other = world.send(ask(2, 1, HOUR_MS, None));
    world.send(ask(3, 1, 9 * HOUR_MS, None));
    let found = |number, verdict, ended| Finding {
        session: session_of(number),
        verdict,
        ended,
    };
    let last = LastStep {
        hold,
        used: Used {
            unknown: true,
            ..used(HOUR_MS)
        },
    };
    world.send(account::Command::Audited(vec![
        found(1, Verdict::Settle(last), false),
        found(2, Verdict::Release { hold: other }, false),
    ]));
    let hold = world.send(ask(2, 1, HOUR_MS / 2, None));
    let last = Some(LastStep {
        hold,
        used: used(HOUR_MS),
    });
    let hold = world.send(ask(2, 2, HOUR_MS / 3, last));
    let last = LastStep {
        hold,
        used: used(HOUR_MS),
    };
    world.send(account::Command::Audited(vec![found(
        2,
        Verdict::Settle(last),
        false,
    )]));
    world.send(account::Command::TopUp {
        by: human(),
        request: "more".into(),
        amount: "1.5".parse().expect("an amount"),
    });
    let (session, since) = (session_of(3), world.since(3));
    world.send(account::Command::Resumed { session, since });
    world.send(account::Command::Audited(vec![found(2, Verdict::Forget, true)]));
    world.append(&account::Event {
        actor: human(),
        body: account::Adopted {}.into(),
    });
    // Held to the end.
    world.send(ask(1, 3, HOUR_MS, None));
    world.records
}

fn session_of(number: u64) -> StreamId {
    named(&format!("random {number}"))
}

/// An account without a runtime.
#[derive(Default)]
struct Bank {
    state: account::State,
    records: Vec<Record>,
}

impl Bank {
    /// Returns the seq of the last record it led to.
    fn send(&mut self, command: account::Command) -> Seq {
        let moment = Moment { now_ms: 1_000 };
        let decision = Account::decide(&self.state, command, moment).expect("it is granted");
        decision.events.iter().for_each(|event| self.append(event));
        self.state.head
    }

    fn append(&mut self, event: &account::Event) {
        let (seq, time_ms) = (self.state.head.next(), 1_000 * (1 + self.state.head.0));
        let event_stored = Account::encode(event);
        Account::apply(&mut self.state, Placed { seq, time_ms, event });
        self.records.push(Record {
            seq,
            time_ms,
            event: event_stored,
        });
    }

    /// The record that made a session wait.
    fn since(&self, number: u64) -> Seq {
        let line = self.state.sessions.get(&session_of(number));
        line.and_then(|line| line.waits).expect("it waits")
    }
}

/// A fork: the records of another session, and how it begins by itself.
fn fork_off(journal: &LocalJournal, source: &Story) {
    let (target, records) = (named("fork"), &source.world.records);
    let head = source.world.state.head;
    let copies = drafts::<Session>(journal, target, records);
    journal.copy_in(target, copies).expect("it is copied");
    let wish = Fork {
        by: human(),
        from: format!("s_{}", named("source")),
        at: head,
        key: Some("fork".into()),
        fingerprint: "5f0c".into(),
        say: Some("another way".into()),
    };
    let state = &source.world.state;
    let events = fork(state, wish, Moment { now_ms: LATER_MS }).expect("it can be forked");
    let draft = behind::<Session>(journal, target, head, state, &events);
    journal.adopt(draft).expect("it is adopted");
}

/// A session that lived elsewhere, and was adopted.
fn take_in(journal: &LocalJournal, scratch: &Path) {
    let (elsewhere, stream) = (scratch.join("elsewhere"), named("adopted"));
    let other = open(&elsewhere);
    put::<Session>(&other, stream, &acting(interactive()).world.records);
    other.close();
    drop(other);
    let portable = Portable::of(&elsewhere, stream).expect("it is exported");
    journal.import(&portable).expect("it is taken in");
    let folded = fold::<Session>(journal, stream).expect("it folds");
    let adopt = Command::Adopt { by: human() };
    let moment = Moment { now_ms: LATER_MS };
    let decision = Session::decide(&folded.state, adopt, moment).expect("it is granted");
    let draft = behind::<Session>(journal, stream, folded.head, &folded.state, &decision.events);
    journal.adopt(draft).expect("it is adopted");
}

/// A session with a body, as one file.
fn exported(folder: &Path) -> Vec<u8> {
    let stream = named("exported");
    if !folder.exists() {
        let journal = open(folder);
        let body = journal
            .blobs()
            .put(&mut &b"a body that travels"[..])
            .expect("it is put");
        let story = idle().when(send(&format!("look at {}", body.id), SendMode::Queue));
        put::<Session>(&journal, stream, &story.world.records);
        journal.close();
    }
    Portable::of(folder, stream).expect("it is exported").to_bytes()
}

/// Flips a bit of the payload of the nth frame of a stream, counted from 0.
fn lose(folder: &Path, stream: StreamId, nth: usize) {
    let journal = open(folder);
    let position = frames(&journal, stream)[nth].position.0;
    journal.close();
    drop(journal);
    let first = |path: &PathBuf| {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("it has a name");
        u64::from_str_radix(name, 16).expect("a position")
    };
    let held = segments(folder)
        .into_iter()
        .rev()
        .find(|path| first(path) <= position);
    let segment = held.expect("some segment holds it");
    let mut bytes = fs::read(&segment).expect("readable");
    // Behind the envelope and the header: who it belonged to can still be read.
    let at = usize::try_from(64 + position - first(&segment)).expect("a small file") + 160;
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("written");
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("journal")).expect("readable");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

/// Takes a stream up behind what it lost.
fn repair<E: Entity>(
    journal: &LocalJournal,
    stream: StreamId,
    over_gap: impl FnOnce(&E::State, Seq, String) -> Vec<E::Event>,
) {
    let Err(RecoverError::Quarantined(quarantine)) = fold::<E>(journal, stream) else {
        panic!("it lost a frame");
    };
    let stands = fold_to::<E>(journal, stream, quarantine.readable_to).expect("it folds up to there");
    let highest = journal.highest_seen(stream).expect("readable");
    let events = over_gap(&stands.state, highest, "a bit was flipped".into());
    let gap = Gap {
        resumes_after: stands.head,
        hash: stands.hash,
    };
    let draft = behind::<E>(journal, stream, highest, &stands.state, &events);
    journal.submit_over_gap(draft, gap).wait().expect("it is written");
}

/// What of a directory is kept: what cannot be made anew, and of the last segment what was written.
fn keep(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("journal")).expect("a folder");
    copy_dir(&from.join("blobs"), &to.join("blobs"));
    for name in ["format", "boot", "inert", "lost"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).expect("it is copied");
        }
    }
    let paths = segments(from);
    for (nth, path) in paths.iter().enumerate() {
        let mut bytes = fs::read(path).expect("readable");
        if nth + 1 == paths.len() {
            // A few zeros of the last checksum may be among them.
            let written = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            bytes.truncate(bytes.len().min(written + 4));
        }
        let name = path.file_name().expect("it has a name");
        fs::write(to.join("journal").join(name), bytes).expect("written");
    }
}
