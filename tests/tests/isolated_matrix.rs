//! The crash matrix with real hands: one session of a real process, its commands behind walls, and the process killed with
//! SIGKILL at every frame of the journal and in the middle of every command.
//!
//! What `crash_matrix` proves of the rules with hands that are virtual, this proves of shims, namespaces and control groups;
//! what `kill` meets by chance, this meets at each boundary, every time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longhaul_actors::Entity;
use longhaul_actors::session::{Body, Isolation, State, Work};
use longhaul_actors::task::{self, Task};
use longhaul_hands::{Walls, probe, session_uid};
use longhaul_journal::{Frame, StreamId, verify};
use longhaul_tests::invariants;
use longhaul_tests::isolated::blade::Side;
use longhaul_tests::isolated::life::{Life, Stage, of_stream};
use longhaul_tests::isolated::moment::{Moment, Then, moments};
use longhaul_tests::isolated::script::{ACCOUNT, COMMANDS, FIRST, SECOND, SERVICE, SUGGESTION, TASK, WORK};
use longhaul_tests::leftovers::{self, Leftovers};
use longhaul_tests::matrix::story::{Story, bodies};
use longhaul_tests::processes_with;

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");
const CUTTER: &str = env!("CARGO_BIN_EXE_cut-under-test");
/// Lives at the same time. Each waits for its commands and its processes more than it works.
const LANES: usize = 3;
/// Bytes that all of it may take.
const ROOM: u64 = 1 << 30;

/// B-CRASH-1, B-CRASH-2, B-CRASH-3, B-CRASH-7, B-LOG-5, B-GATE-4, B-STEER-2, B-CREDIT-2, B-ART-3, B-TASK-1, B-HANDS-4,
/// B-HANDS-5: wherever a runtime with real hands behind walls is killed, nothing is lost, nothing is done twice, and nothing is
/// left; and the task that its session works on is told of each turn it takes once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_is_killed_at_any_frame_or_in_any_command_ends_its_session_like_the_one_that_was_not()
{
    if !has_walls() {
        return;
    }
    let before = Leftovers::now();
    let folder = scratch();
    let stage = Stage::set(folder.path(), PROGRAM, CUTTER);
    let reference = stage.live("reference", None).await;
    assert_reference_is_sound(&reference);
    let matrix = Arc::new(Matrix {
        story: story(&reference),
        moments: moments(
            &reference.streams,
            std::env::var_os("LONGHAUL_TEST_DEEP").is_some(),
        ),
        reference,
        stage,
        next: AtomicUsize::new(0),
    });
    let lanes: Vec<_> = (0..LANES)
        .map(|_| tokio::spawn(Arc::clone(&matrix).go_through()))
        .collect();
    let mut table = BTreeMap::<_, usize>::new();
    for lane in futures_util::future::join_all(lanes).await {
        for met in lane.expect("each life is as it must be") {
            *table.entry(met).or_default() += 1;
        }
    }
    println!("{} lives", matrix.moments.len());
    for ((phase, open, moment), times) in table {
        println!("{phase:<16} {open:<10} {moment:<16} {times:>4}");
    }
    drop(matrix);
    assert_eq!(
        before.left_since(),
        BTreeSet::new(),
        "namespaces and mounts are left"
    );
}

/// Whether this machine can build the walls. Where all of them are required, one that cannot fails the test.
fn has_walls() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("there is a /proc");
    let walls = Walls {
        host_uid: is_root().then(|| session_uid("probe", &map)).flatten(),
        ..Walls::default()
    };
    match probe(Path::new(PROGRAM), &walls) {
        Ok(_) => true,
        Err(refusal) if are_required() => panic!("{refusal:?}"),
        Err(refusal) => {
            eprintln!("skipped: this machine cannot build the walls: {refusal}");
            false
        }
    }
}

fn are_required() -> bool {
    std::env::var_os("SANDBOX_REQUIRE").is_some()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn scratch() -> tempfile::TempDir {
    // Memory is enough: nothing here loses power. Where it is not writable, or small, the disk will do.
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let in_memory = (room > ROOM).then(|| tempfile::tempdir_in(memory));
    in_memory
        .and_then(Result::ok)
        .unwrap_or_else(|| tempfile::tempdir().expect("a folder"))
}

/// The phase that the session was in, the act that was open, and what kind of moment it was.
type Met = (&'static str, String, String);

struct Matrix {
    reference: Life,
    story: Story,
    stage: Stage,
    moments: Vec<Moment>,
    next: AtomicUsize,
}

impl Matrix {
    async fn go_through(self: Arc<Self>) -> Vec<Met> {
        let mut met = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(moment) = self.moments.get(index) else {
                return met;
            };
            let named = Named(&self, moment);
            let life = self.stage.live(&format!("life-{index}"), Some(moment)).await;
            met.push(self.judge(moment, &life));
            drop(named);
        }
    }

    fn judge(&self, moment: &Moment, life: &Life) -> Met {
        let wreck = life.wreck.as_ref().expect("it was killed");
        self.assert_it_died_there(moment, life);
        for (stream, frames) in wreck {
            let now = of_stream(&life.streams, stream);
            assert!(now.len() >= frames.len(), "frames of {stream} are gone");
            assert_eq!(
                hashes(&now[..frames.len()]),
                hashes(frames),
                "a frame of {stream} is another"
            );
        }
        assert_is_sound(life);
        let state = invariants::folded(of_stream(wreck, SECOND));
        self.assert_same_story(moment, &state, life);
        assert_effects_happened_once(moment, life);
        for (stream, lost) in [(FIRST, false), (SECOND, is_lost(moment))] {
            let died = invariants::folded(of_stream(wreck, stream));
            let crashes = usize::from(died.phase.has_compute()) + usize::from(lost);
            let frames = of_stream(&life.streams, stream);
            let found = ["runtime.crashed", "runtime.restarted"].map(|crash| count(frames, crash));
            assert_eq!(found, [crashes, crashes], "crashes of {stream}");
        }
        let open = state
            .open
            .as_ref()
            .map_or("-".to_owned(), |open| match &open.work {
                Work::Think { .. } => "think".to_owned(),
                Work::Act { call, .. } => call.0.tool.clone(),
            });
        let kind = match moment {
            Moment::Frame(cut) => format!("{} {:?}", cut.stream, cut.side),
            Moment::Running(_, then) => format!("{then:?}"),
        };
        (state.phase.name(), open, kind)
    }

    /// Up to its moment it took the course of the reference, and it died exactly there.
    fn assert_it_died_there(&self, moment: &Moment, life: &Life) {
        let wreck = life.wreck.as_ref().expect("it was killed");
        // The account notes that it resumed a session before or after it holds for it, as it comes.
        for (stream, frames) in wreck.iter().filter(|(stream, _)| *stream != ACCOUNT) {
            let (died, reference) = (types(frames), types(of_stream(&self.reference.streams, stream)));
            assert_eq!(
                died[..],
                reference[..died.len()],
                "it took another course, in {stream}"
            );
        }
        let last = |stream: &str| {
            of_stream(wreck, stream)
                .last()
                .map_or(0, |frame| frame.last_seq().0)
        };
        if let Moment::Frame(cut) = moment {
            let last = last(&cut.stream);
            match cut.side {
                // What the account settles and what it holds next are one frame or two, as it comes.
                Side::Before if cut.stream == ACCOUNT => assert!(last < cut.seq, "{last}"),
                Side::After if cut.stream == ACCOUNT => assert!(last >= cut.seq, "{last}"),
                Side::Before => assert_eq!(last, cut.seq - 1),
                Side::After => assert_eq!(last, cut.seq),
            }
        }
        assert!(last(SECOND) >= life.acknowledged, "{}", life.acknowledged);
        let started = bodies(of_stream(wreck, SECOND));
        for command in &life.begun {
            let mark = format!("~/{command};");
            let is_on_record =
                |body: &Body| matches!(body, Body::ToolStarted(started) if started.brief.contains(&mark));
            assert!(
                started.iter().any(is_on_record),
                "{command} has begun, and its start is not on record"
            );
        }
    }

    fn assert_same_story(&self, moment: &Moment, at_death: &State, life: &Life) {
        let story = story(life);
        if !is_lost(moment) {
            return assert_eq!(story, self.story);
        }
        let open = at_death.open.as_ref().expect("a command was open").step;
        let brief = bodies(life.frames()).into_iter().find_map(|body| match body {
            Body::ToolStarted(started) if started.step == open => Some(started.brief),
            _ => None,
        });
        let brief = brief.expect("its start is on record");
        let told = story.acts.iter().find(|(act, _)| *act == brief);
        assert!(
            told.is_some_and(|(_, outcome)| outcome.starts_with("unknown: ")),
            "{told:?}"
        );
        let silent = |story: &Story| {
            let mut story = story.clone().without_what_is_said_about(&brief);
            story.files.remove(WORK);
            story
        };
        assert_eq!(silent(&story), silent(&self.story));
    }
}

/// When a panic passes by, names its moment and lets no life begin any more.
struct Named<'a>(&'a Matrix, &'a Moment);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("killed at {}", self.1);
            self.0.next.store(self.0.moments.len(), Ordering::Relaxed);
        }
    }
}

fn assert_reference_is_sound(reference: &Life) {
    assert_is_sound(reference);
    let story = story(reference);
    assert_eq!(story.end, "completed: done");
    assert_eq!(count(reference.frames(), "runtime.crashed"), 0);
    for type_name in [
        "command.run",
        "file.write",
        "file.read",
        "turn.steered",
        "agent.question",
        "approval.decided",
        "artifact.created",
        "service.started",
        "session.paused",
        "session.resumed",
        "checkpoint.created",
    ] {
        assert!(
            count(reference.frames(), type_name) > 0,
            "no {type_name} in the script"
        );
    }
}

/// What holds at the end of each life.
fn assert_is_sound(life: &Life) {
    let report = verify(life.data(), None).expect("the journal is readable");
    assert!(report.is_sound(), "{report:?}");
    let first = of_stream(&life.streams, FIRST);
    invariants::check(first);
    invariants::check(life.frames());
    invariants::check_ledger(life.account(), &[first, life.frames()].concat());
    assert_tasks_were_told_once(life);
    assert_isolated(life);
    assert_nothing_is_left(life);
}

/// B-HANDS-4: every record that says how commands ran says that it was behind walls.
fn assert_isolated(life: &Life) {
    let mut commands = 0;
    for body in bodies(life.frames()) {
        let ran = match &body {
            Body::SandboxReady(ready) => {
                assert_walls(&ready.isolation);
                continue;
            }
            Body::CommandRun(run) => &run.execution,
            Body::ServiceEnded(ended) => ended.end.execution.as_ref().expect("its end is known"),
            _ => continue,
        };
        assert_eq!(ran.isolation, "isolated");
        commands += 1;
    }
    assert!(commands >= COMMANDS.len(), "only {commands} commands");
}

fn assert_walls(isolation: &Isolation) {
    assert_eq!(isolation.mode, "isolated");
    for layer in ["namespaces", "root", "capabilities", "seccomp", "proc"] {
        assert!(
            isolation.layers.iter().any(|found| found == layer),
            "{isolation:?}"
        );
    }
    if are_required() {
        assert!(
            isolation.layers.iter().any(|found| found == "landlock"),
            "{isolation:?}"
        );
        let by = isolation.limits.as_ref().map_or("", |limits| limits.by.as_str());
        assert!(!is_root() || by != "rlimit", "{isolation:?}");
    }
}

/// No process of the session, no shim, no control group; what has done its work may take a moment to go.
fn assert_nothing_is_left(life: &Life) {
    let mark = format!("LONGHAUL_STEP={}/", life.session);
    let left = || {
        let processes = [processes_with(&mark), leftovers::named(life.data())].concat();
        (processes, leftovers::groups(&life.session.to_string()))
    };
    let give_up = Instant::now() + Duration::from_secs(10);
    while left() != Default::default() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(left(), Default::default(), "processes and groups");
}

/// Each command has left its two lines at home and its one in the workspace, and the service its own. A command of which
/// nobody can know how far it got has ended in the middle, and was not begun again.
fn assert_effects_happened_once(moment: &Moment, life: &Life) {
    let lost = match moment {
        Moment::Running(command, Then::IsLost) => Some(*command),
        _ => None,
    };
    for (name, lines) in &life.marks {
        let expected = match *name {
            SERVICE => "begun\n",
            name if Some(name) == lost => "begun\n",
            _ => "begun\nended\n",
        };
        assert_eq!(lines, expected, "what {name} has left at home");
    }
    let worked = COMMANDS.into_iter().filter(|name| Some(*name) != lost);
    let worked: String = worked.map(|name| format!("{name}\n")).collect();
    assert!(
        life.files[WORK].ends_with(&format!("{:?}", worked.as_bytes())),
        "each has worked once, in order: {}",
        life.files[WORK]
    );
    let count = |type_name| count(life.frames(), type_name);
    assert_eq!(count("tool.outcome_unknown"), usize::from(lost.is_some()));
    assert_eq!((count("service.started"), count("service.ended")), (1, 1));
}

/// B-TASK-1, B-ART-3: the task has followed its two runs, each turn they took told once and in order; what the second one
/// suggests is one task, and there is no third.
fn assert_tasks_were_told_once(life: &Life) {
    let history = history(of_stream(&life.streams, TASK), life);
    assert_eq!(
        history,
        [
            "task.created",
            "task.started: run 1 is session/1",
            "task.reopened by session/1: it failed: brain_failed: not the first time",
            "task.started: run 2 is session/2",
            "task.waiting_approval with session/2",
            "task.continued with session/2",
            "task.completed by session/2: done",
        ]
    );
    let suggested = self::history(of_stream(&life.streams, SUGGESTION), life);
    assert_eq!(suggested, ["task.suggested by session/2"]);
    let kinds: Vec<&String> = life.streams.keys().collect();
    assert_eq!(kinds, [ACCOUNT, FIRST, SECOND, TASK, SUGGESTION]);
}

/// What the records of a task say, with the sessions by their turn.
fn history(frames: &[Arc<Frame>], life: &Life) -> Vec<String> {
    let who = |session: StreamId| {
        let is_its = |name: &&str| of_stream(&life.streams, name)[0].stream == session;
        let known = [FIRST, SECOND].into_iter().find(is_its);
        known.unwrap_or("a session that is none of ours")
    };
    let records = frames.iter().flat_map(|frame| &frame.records);
    let told = records.map(|record| {
        let body = Task::decode(record).expect("this version wrote it").body;
        let what = match &body {
            task::Body::Suggested(suggested) => format!(" by {}", who(suggested.source.session)),
            task::Body::Started(started) => format!(": run {} is {}", started.run, who(started.session)),
            task::Body::WaitingApproval(waits) => format!(" with {}", who(waits.session)),
            task::Body::Continued(goes_on) => format!(" with {}", who(goes_on.session)),
            task::Body::Reopened(again) => format!(" by {}: {}", who(again.session), again.why),
            task::Body::Completed(done) => {
                format!(" by {}: {}", done.session.map_or("nobody", who), done.summary)
            }
            _ => String::new(),
        };
        format!("{}{what}", body.type_name())
    });
    told.collect()
}

fn is_lost(moment: &Moment) -> bool {
    matches!(moment, Moment::Running(_, Then::IsLost))
}

fn story(life: &Life) -> Story {
    Story::told_by(life.frames(), life.files.clone()).without_names()
}

fn hashes(frames: &[Arc<Frame>]) -> Vec<longhaul_journal::ChainHash> {
    frames.iter().map(|frame| frame.hash).collect()
}

/// The types of the records in these frames.
fn types(frames: &[Arc<Frame>]) -> Vec<&str> {
    let records = frames.iter().flat_map(|frame| &frame.records);
    records.map(|record| &*record.event.type_name).collect()
}

fn count(frames: &[Arc<Frame>], type_name: &str) -> usize {
    let bodies = bodies(frames);
    bodies.iter().filter(|body| body.type_name() == type_name).count()
}
