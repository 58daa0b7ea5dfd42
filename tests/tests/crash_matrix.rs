//! The crash matrix: one session of more than 200 records, and the world stopped at every frame boundary, with every
//! state in which the act under way may have been left.
//!
//! The journal is the real one, on real bytes; registry, actors, effects and the session's rules are the product's. Only
//! the brain and the hands are virtual, so that every effect outside can be counted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use longhaul_actors::Entity;
use longhaul_actors::session::{Body, SUGGESTION, ToolOutcome};
use longhaul_actors::task::{self, Task};
use longhaul_journal::verify;
use longhaul_tests::invariants;
use longhaul_tests::matrix::cut::{Behind, Original};
use longhaul_tests::matrix::life::{Life, live};
use longhaul_tests::matrix::outside::World;
use longhaul_tests::matrix::point::{Point, Reached, points};
use longhaul_tests::matrix::story::{Story, bodies};

/// Lives at the same time.
const THREADS: usize = 2;

/// B-CRASH-1, B-CRASH-3, B-GATE-2, B-GATE-4, B-CRASH-7, B-STEER-2, B-LOG-7, B-CREDIT-2, B-ART-3:
/// wherever it stops, nothing is lost and nothing is done twice.
#[test]
fn a_life_that_is_cut_anywhere_ends_like_the_one_that_was_not() {
    let folder = scratch();
    let reference_dir = folder.path().join("reference");
    let reference = live(&reference_dir, World::default());
    let records: usize = reference.frames.iter().map(|frame| frame.records.len()).sum();
    assert!(records >= 200, "only {records} records");
    assert_reference_is_sound(&reference);

    let original = Original::read(&reference_dir);
    assert!(original.segments() > 1, "boundaries of segments are cut at too");
    let points = points(&reference);
    let matrix = Matrix {
        reference: &reference,
        story: Story::of(&reference),
        original: &original,
    };
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (matrix, points, next) = (&matrix, &points, &next);
            let place = folder.path().join(format!("thread-{thread}"));
            std::thread::Builder::new()
                .name(format!("matrix-{thread}"))
                .spawn_scoped(scope, move || {
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        matrix.stop_at(point, &place);
                    }
                })
                .expect("a thread");
        }
    });
    print_table(records, &points);
}

fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    // Memory is enough: nothing here loses power. Where it is not writable, the disk will do.
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .expect("a folder")
}

/// What stands behind the last frame: at each boundary both, at each point at least one, and all of it when asked to.
fn behind(point: &Point) -> Vec<Behind> {
    let (room, torn) = (Behind::Room, Behind::TornFrame(point.frames));
    match point.reached {
        _ if std::env::var_os("LONGHAUL_TEST_DEEP").is_some() => vec![room, torn],
        // Between two frames of the session only what is beside it has moved on.
        Reached::Nothing if point.is_beside() => vec![room],
        Reached::Nothing => vec![room, torn],
        Reached::Written | Reached::Intended => vec![room],
        Reached::Running | Reached::Done | Reached::Lost => vec![torn],
    }
}

struct Matrix<'a> {
    reference: &'a Life,
    story: Story,
    original: &'a Original,
}

impl Matrix<'_> {
    fn stop_at(&self, point: &Point, place: &Path) {
        for behind in behind(point) {
            let named = format!(
                "stopped after frame {} ({}), {:?} {:?}, {behind:?}",
                point.frames, point.phase, point.open, point.reached
            );
            let checked = std::panic::catch_unwind(|| self.live_on(point, behind, place));
            if let Err(panic) = checked {
                eprintln!("{named}");
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn live_on(&self, point: &Point, behind: Behind, place: &Path) {
        let _ = std::fs::remove_dir_all(place);
        self.original
            .cut(place, point.last.as_deref(), behind, &point.blobs);
        let life = live(place, point.world.clone());

        assert_eq!(
            life.opened.torn.is_some(),
            behind != Behind::Room,
            "{:?}",
            life.opened.torn
        );
        assert!(life.opened.damaged.is_empty(), "a torn tail is no damage");
        self.assert_nothing_was_lost(point, &life);
        invariants::check(&life.frames);
        invariants::check_ledger(&life.account, &life.frames);
        assert_eq!(
            invariants::folded(&life.frames),
            life.state,
            "replay and life lead to the same fold"
        );
        assert_chain_verifies(place);
        self.assert_same_story(point, &life);
        assert_effects_happened_once(point, &life);
        assert_heard_once(&life);
        assert_suggested_once(&life);
        let crashes = count(&life, "runtime.crashed");
        assert_eq!(
            (crashes, count(&life, "runtime.restarted")),
            expected_crashes(point)
        );
    }

    /// Every frame that was on disk is still there, unchanged.
    fn assert_nothing_was_lost(&self, point: &Point, life: &Life) {
        let hashes = |frames: &[std::sync::Arc<longhaul_journal::Frame>]| -> Vec<_> {
            frames[..point.frames].iter().map(|frame| frame.hash).collect()
        };
        assert!(life.frames.len() >= point.frames);
        assert_eq!(hashes(&life.frames), hashes(&self.reference.frames));
    }

    fn assert_same_story(&self, point: &Point, life: &Life) {
        let story = Story::of(life);
        let (_, brief) = match (&point.open, point.reached) {
            (Some(open), Reached::Lost) => open,
            _ => return assert_eq!(story, self.story),
        };
        let told = story.acts.iter().find(|(act, _)| act == brief);
        assert!(
            told.is_some_and(|(_, outcome)| outcome.starts_with("unknown: ")),
            "{told:?}"
        );
        let silent = |story: &Story| story.clone().without_what_is_said_about(brief);
        assert_eq!(silent(&story), silent(&self.story));
    }
}

fn assert_reference_is_sound(reference: &Life) {
    invariants::check(&reference.frames);
    invariants::check_ledger(&reference.account, &reference.frames);
    let exhausted = reference.account.iter().flat_map(|frame| &frame.records);
    let exhausted = exhausted.filter(|record| record.event.type_name == "credits.exhausted");
    assert!(exhausted.count() > 0, "the credit lasted");
    assert_eq!(invariants::folded(&reference.frames), reference.state);
    assert_heard_once(reference);
    assert_suggested_once(reference);
    let story = Story::of(reference);
    assert_eq!(story.end, "completed: done");
    assert_eq!(count(reference, "runtime.crashed"), 0);
    let types: Vec<&str> = vec![
        "command.run",
        "file.write",
        "file.read",
        "turn.steered",
        "session.stop_requested",
        "session.paused",
        "session.resumed",
        "agent.question",
        "approval.requested",
        "approval.decided",
        "artifact.created",
    ];
    for type_name in types {
        assert!(count(reference, type_name) > 0, "no {type_name} in the script");
    }
}

fn expected_crashes(point: &Point) -> (usize, usize) {
    if point.reached == Reached::Lost {
        // The server died, and then the hands said that they cannot know.
        return (2, 2);
    }
    let crashes = usize::from(point.is_crash);
    (crashes, crashes)
}

/// Commands and edits once; what may be repeated, once more at most, and only where it was cut off.
fn assert_effects_happened_once(point: &Point, life: &Life) {
    let was_open = |step: u64| point.open.as_ref().is_some_and(|(open, _)| *open == step);
    for (step, evidence) in &life.world.steps {
        let repeatable = ["write ", "read ", "keep "]
            .iter()
            .any(|verb| evidence.brief.starts_with(verb));
        let stopped = evidence.brief.starts_with("hang ");
        let allowed = match (repeatable && was_open(*step), stopped) {
            (true, _) => 1..=2,
            // It may be ended from outside before it has begun.
            (_, true) => 0..=1,
            _ => 1..=1,
        };
        assert!(
            allowed.contains(&evidence.times),
            "{} took effect {} times",
            evidence.brief,
            evidence.times
        );
    }
    for (step, times) in &life.world.thoughts {
        let allowed = if was_open(*step) { 1..=2 } else { 1..=1 };
        assert!(
            allowed.contains(times),
            "brain call {step} was made {times} times"
        );
    }
    let settled = bodies(&life.frames)
        .iter()
        .filter(|body| matches!(body, Body::ToolStarted(_)))
        .count();
    let begun = life.world.steps.len();
    assert!(
        begun <= settled,
        "{begun} acts took effect, {settled} are on record"
    );
    for evidence in life.world.steps.values() {
        assert!(
            !evidence.brief.contains("refused") || evidence.brief.contains("after"),
            "{evidence:?}"
        );
        assert!(!matches!(evidence.end, Some(ToolOutcome::Unknown { .. })));
    }
}

/// B-STEER-2: the brain repeats what it hears; it has heard every message, and each of them once.
fn assert_heard_once(life: &Life) {
    let story = Story::of(life);
    let mut heard: Vec<&str> = story
        .said
        .iter()
        .filter_map(|said| said.split_once('[')?.1.strip_suffix(']'))
        .flat_map(|list| list.split(", "))
        .filter(|text| !text.is_empty())
        .collect();
    let mut messages: Vec<&str> = story.messages.iter().map(String::as_str).collect();
    heard.sort_unstable();
    messages.sort_unstable();
    assert_eq!(heard, messages);
}

/// B-ART-3: the step that suggests something has filed one task, and its artifact names it.
fn assert_suggested_once(life: &Life) {
    let records = life.tasks.iter().flat_map(|(stream, frames)| {
        let records = frames.iter().flat_map(|frame| &frame.records);
        records.map(move |record| (*stream, record))
    });
    let filed: Vec<_> = records
        .map(|(stream, record)| (stream, Task::decode(record).expect("this version wrote it").body))
        .collect();
    let [(stream, task::Body::Suggested(suggested))] = filed.as_slice() else {
        panic!("one suggestion, not {filed:?}");
    };
    let made = bodies(&life.frames).into_iter().filter_map(|body| match body {
        Body::ArtifactCreated(made) if made.kind == SUGGESTION => Some((made.step, made.task, made.sha256)),
        _ => None,
    });
    let source = &suggested.source;
    let expected = (source.step, Some(*stream), source.sha256.clone());
    assert_eq!(made.collect::<Vec<_>>(), [expected]);
}

fn assert_chain_verifies(place: &Path) {
    let report = verify(place, None).expect("the journal is readable");
    assert!(report.is_sound(), "{report:?}");
}

fn count(life: &Life, type_name: &str) -> usize {
    bodies(&life.frames)
        .iter()
        .filter(|body| body.type_name() == type_name)
        .count()
}

fn print_table(records: usize, points: &[Point]) {
    let mut table: BTreeMap<(&str, String, Reached), usize> = BTreeMap::new();
    for point in points {
        let act = point.open.as_ref().map_or("-", |(_, brief)| {
            brief.split_once(' ').map_or(brief.as_str(), |(verb, _)| verb)
        });
        *table
            .entry((point.phase, act.to_owned(), point.reached))
            .or_default() += 1;
    }
    println!(
        "{records} records, {} points, each boundary with and without a torn frame behind it",
        points.len()
    );
    for ((phase, act, reached), times) in table {
        println!("{phase:<16} {act:<8} {:<10} {times:>4}", format!("{reached:?}"));
    }
}
