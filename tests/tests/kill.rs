//! A runtime that is killed with SIGKILL at random instants while it works for several sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use longhaul::Control;
use longhaul::api::Code;
use longhaul_actors::fold;
use longhaul_actors::session::{Body, CrashCause, Phase, Session, State, Work};
use longhaul_journal::{Frame, Journal, LocalJournal, Options, StreamId, verify};
use longhaul_tests::child::Child;
use longhaul_tests::dice::Dice;
use longhaul_tests::fleet::{Fate, Ship};
use longhaul_tests::invariants;
use longhaul_tests::matrix::story::bodies;
use longhaul_tests::wreck::{copy_journal, frames, open_copy};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
/// Sessions that are under way at the same time.
const AFLOAT: usize = 4;
/// Kills from which on each of [`CELLS`] must have been met.
const MANY: usize = 300;
/// What may be under way when the runtime dies.
///
/// Two phases have no row. A session is `unborn` only before its first frame, which a kill leaves whole or not at all; and
/// what is `completed`, `failed` or `canceled` is no longer afloat. A session is `running` with no step ("-") while its next
/// act is judged and paid for.
const CELLS: [(&str, &str); 19] = [
    ("queued", "slot"),
    ("starting", "prepare"),
    ("running", "think"),
    ("running", "exec"),
    ("running", "write"),
    ("running", "edit"),
    ("running", "read"),
    ("running", "list"),
    ("running", "artifact"),
    ("running", "patch"),
    ("running", "service"),
    ("running", "-"),
    ("recovering", "think"),
    ("stopping", "stop"),
    ("paused", "-"),
    ("awaiting_input", "-"),
    ("awaiting_approval", "-"),
    ("idle", "-"),
    ("hibernated", "-"),
];

/// B-CRASH-1, B-CRASH-2, B-CRASH-4, B-CRASH-7, B-LOG-5: nothing acknowledged is lost, nothing is run twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_is_killed_at_random_instants_loses_nothing_and_doubles_nothing() {
    let mut dice = Dice::thrown("kills");
    let kills = kills();
    let folder = tempfile::tempdir().expect("a folder");
    let mut harbour = Harbour {
        data: folder.path().join("data"),
        scratch: folder.path().join("copy"),
        ships: Vec::new(),
        histogram: BTreeMap::new(),
    };
    for kill in 0..kills {
        harbour.launch(folder.path());
        let mut child = Child::start(&[], PROGRAM, &harbour.data);
        let aim = Aim::taken(&mut dice, harbour.is_patience_due());
        harbour.sail(&mut child, aim, &mut dice).await;
        child.kill().await;
        harbour.inspect(kill);
    }
    harbour.bring_home(&mut dice).await;
    harbour.print(kills);
    harbour.judge();
    if kills >= MANY {
        let empty: Vec<_> = CELLS
            .iter()
            .filter(|(state, effect)| !harbour.histogram.contains_key(&(state, (*effect).to_owned())))
            .collect();
        assert!(empty.is_empty(), "never met: {empty:?}");
    }
}

fn is_deep() -> bool {
    std::env::var_os("LONGHAUL_TEST_DEEP").is_some()
}

fn kills() -> usize {
    let chosen = std::env::var("LONGHAUL_TEST_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    chosen.unwrap_or(if is_deep() { MANY } else { 40 })
}

/// What the runtime is killed after, and how long after that.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// So long after the process was begun, whatever it does then.
    Start(Duration),
    /// So long after it serves.
    Ready(Duration),
    /// So long after the next wish was acknowledged.
    Ack(Duration),
    /// So long after every step that was open at the last kill has settled.
    Progress(Duration),
}

impl Aim {
    fn taken(dice: &mut Dice, is_patience_due: bool) -> Self {
        if is_patience_due {
            return Self::Progress(Duration::from_millis(dice.below(60)));
        }
        match dice.below(8) {
            0 => Self::Start(Duration::from_millis(dice.below(120))),
            1..=3 => Self::Ready(Duration::from_millis(dice.below(150))),
            4..=5 => Self::Ack(Duration::from_micros(dice.below(4_000))),
            _ => Self::Progress(Duration::from_millis(dice.below(60))),
        }
    }
}

struct Harbour {
    data: std::path::PathBuf,
    scratch: std::path::PathBuf,
    ships: Vec<Ship>,
    histogram: BTreeMap<(&'static str, String), usize>,
}

impl Harbour {
    /// Sees to it that enough sessions are under way.
    fn launch(&mut self, folder: &Path) {
        while self.ships.iter().filter(|ship| !ship.is_home).count() < AFLOAT {
            let number = self.ships.len();
            self.ships.push(Ship::build(folder, number));
        }
    }

    /// Looks after the ships until it is time to kill.
    async fn sail(&mut self, child: &mut Child, aim: Aim, dice: &mut Dice) {
        if let Aim::Start(delay) = aim {
            tokio::time::sleep(delay).await;
            return;
        }
        let control = child.control().await.expect("it serves");
        match aim {
            Aim::Start(_) => unreachable!("handled above"),
            Aim::Ready(delay) => {
                let _ = tokio::time::timeout(delay, self.look_after(&control, dice, |_| false)).await;
            }
            Aim::Ack(delay) => {
                let patience = Duration::from_secs(2);
                let _ = tokio::time::timeout(patience, self.look_after(&control, dice, |_| true)).await;
                tokio::time::sleep(delay).await;
            }
            Aim::Progress(delay) => {
                self.settled(&control, dice).await;
                let _ = tokio::time::timeout(delay, self.look_after(&control, dice, |_| false)).await;
            }
        }
    }

    /// Does for each ship what is to be done, over and over, until a wish was acknowledged that is `enough`.
    async fn look_after(&mut self, control: &Arc<dyn Control>, dice: &mut Dice, enough: fn(&str) -> bool) {
        while self.ships.iter().any(|ship| !ship.is_home) {
            for ship in self.ships.iter_mut().filter(|ship| !ship.is_home) {
                if attend(ship, control, dice).await.is_some_and(enough) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Looks after each ship until it is no longer at the step at which it is found now.
    async fn settled(&mut self, control: &Arc<dyn Control>, dice: &mut Dice) {
        for ship in self.ships.iter_mut().filter(|ship| !ship.is_home) {
            let Some(id) = ship.id.clone() else { continue };
            let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
            let Some(first) = open_step(control, &id).await else {
                continue;
            };
            while open_step(control, &id).await == Some(first) {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "{} stands still",
                    ship.key
                );
                attend(ship, control, dice).await;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }

    /// Whether some session has met so many kills that count that a few more would pause it as a crash loop.
    fn is_patience_due(&self) -> bool {
        self.scratch.is_dir()
            && open_copy(&self.scratch, |journal| {
                self.afloat(journal).iter().any(|(stream, _)| {
                    let counted = bodies(&frames(journal, *stream))
                        .iter()
                        .filter(|body| matches!(body, Body::RuntimeCrashed(crash) if crash.counted && crash.cause == CrashCause::Server))
                        .count();
                    counted >= 2
                })
            })
    }

    fn afloat(&self, journal: &LocalJournal) -> Vec<(StreamId, State)> {
        let heads = journal.list("session", None, 10_000).expect("listed");
        heads
            .iter()
            .map(|head| {
                (
                    head.stream,
                    fold::<Session>(journal, head.stream).expect("folds").state,
                )
            })
            .filter(|(_, state)| !state.phase.is_terminal())
            .collect()
    }

    /// What is on disk after a kill: sound, with all that was acknowledged.
    fn inspect(&mut self, kill: usize) {
        if !copy_journal(&self.data, &self.scratch) {
            assert!(
                self.ships.iter().all(|ship| ship.id.is_none()),
                "the journal is gone"
            );
            return;
        }
        let report = verify(&self.scratch, None).expect("it is readable");
        assert!(report.is_sound(), "after kill {kill}: {report:?}");
        let cells = open_copy(&self.scratch, |journal| {
            for ship in &self.ships {
                let Some(id) = &ship.id else { continue };
                let stream = longhaul::api::stream_id(id).expect("an id");
                let head = journal.head(stream).expect("listed").map_or(0, |head| head.seq.0);
                assert!(
                    head >= ship.acknowledged,
                    "after kill {kill}, {} ends at {head}, and {} was acknowledged",
                    ship.key,
                    ship.acknowledged
                );
            }
            let afloat = self.afloat(journal);
            afloat.iter().map(|(_, state)| cell(state)).collect::<Vec<_>>()
        });
        for cell in cells {
            *self.histogram.entry(cell).or_default() += 1;
        }
    }

    /// Lets everything that is under way come to its end.
    async fn bring_home(&mut self, dice: &mut Dice) {
        let mut child = Child::start(&[], PROGRAM, &self.data);
        let control = child.control().await.expect("it serves");
        let done = tokio::time::timeout(
            Duration::from_secs(120),
            self.look_after(&control, dice, |_| false),
        );
        assert!(done.await.is_ok(), "some never end: {:?}", self.ships);
        assert!(child.stop().await.success());
    }

    fn print(&self, kills: usize) {
        println!("{kills} kills, {} sessions", self.ships.len());
        for ((state, effect), times) in &self.histogram {
            println!("{state:<16} {effect:<10} {times:>5}");
        }
    }

    /// Everything that must hold of the logs and of the world outside at the end.
    fn judge(&self) {
        let report = verify(&self.data, None).expect("it is readable");
        assert!(report.is_sound(), "{report:?}");
        let (journal, _) = LocalJournal::open(&self.data, Options::default()).expect("it opens");
        // The account that pays for them has a stream of its own.
        let sessions = journal
            .list("session", None, self.ships.len() + 1)
            .expect("they can be listed");
        assert_eq!(sessions.len(), self.ships.len(), "each was started once");
        for ship in &self.ships {
            let stream = longhaul::api::stream_id(ship.id.as_ref().expect("started")).expect("an id");
            let frames = frames(&journal, stream);
            judge_ship(ship, &ship.marks(&self.data), &frames);
        }
    }
}

/// Does the next thing for a ship; says which wish was acknowledged, if one was.
async fn attend(ship: &mut Ship, control: &Arc<dyn Control>, dice: &mut Dice) -> Option<&'static str> {
    match ship.look_after(control, dice).await {
        Ok(wish) => wish,
        // It came to its end, or went on, between the look and the wish.
        Err(problem) if matches!(problem.code, Code::SessionTerminal | Code::ApprovalDecided) => None,
        Err(problem) => panic!("{}: {problem}", ship.key),
    }
}

async fn open_step(control: &Arc<dyn Control>, id: &str) -> Option<u64> {
    let view = control.show(id).await.expect("it is there");
    view.step.map(|step| step.step)
}

fn judge_ship(ship: &Ship, marks: &Path, frames: &[Arc<Frame>]) {
    invariants::check(frames);
    let bodies = bodies(frames);
    let of_type = |name: &str| bodies.iter().filter(|body| body.type_name() == name).count();
    let told = || {
        format!(
            "{}: {:?}",
            ship.key,
            bodies.iter().map(Body::type_name).collect::<Vec<_>>()
        )
    };
    assert_eq!(of_type("tool.outcome_unknown"), 0, "{}", told());
    let end = if ship.fate == Fate::Canceled {
        "session.canceled"
    } else {
        "session.completed"
    };
    assert_eq!(bodies.last().map(Body::type_name), Some(end), "{}", told());
    for (seq, text) in &ship.said {
        let index = usize::try_from(*seq).expect("small") - 1;
        assert!(
            matches!(&bodies[index], Body::UserMessage(message) if message.text == *text),
            "seq {seq} of {} was acknowledged as {text:?}",
            ship.key
        );
    }
    let mut heard: Vec<&str> = bodies.iter().filter_map(message).collect();
    // The first one is the goal. What was not acknowledged may be there all the same, but once.
    heard.remove(0);
    for text in &heard {
        assert!(
            ship.sent.contains(*text),
            "{text:?} was never said to {}",
            ship.key
        );
    }
    let distinct: BTreeSet<&str> = heard.iter().copied().collect();
    assert_eq!(
        distinct.len(),
        heard.len(),
        "{} heard something twice: {heard:?}",
        ship.key
    );
    for mark in ship.expected_marks() {
        let lines = std::fs::read_to_string(marks.join(&mark)).unwrap_or_default();
        let ran = lines.lines().count();
        if ship.fate == Fate::Canceled {
            assert!(ran <= 1, "{mark} of {} ran {ran} times", ship.key);
        } else {
            assert_eq!(ran, 1, "{mark} of {}", ship.key);
        }
    }
}

fn message(body: &Body) -> Option<&str> {
    match body {
        Body::UserMessage(message) => Some(&message.text),
        _ => None,
    }
}

fn cell(state: &State) -> (&'static str, String) {
    let effect = match (&state.open, state.phase) {
        (_, Phase::Queued) => "slot".to_owned(),
        (_, Phase::Starting) => "prepare".to_owned(),
        (_, Phase::Stopping { .. }) => "stop".to_owned(),
        (Some(open), _) => match &open.work {
            Work::Think { .. } => "think".to_owned(),
            Work::Act { call, .. } => call.0.tool.clone(),
        },
        (None, _) => "-".to_owned(),
    };
    (state.phase.name(), effect)
}
