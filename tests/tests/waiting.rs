//! Requests for approval that wait for days, on a clock that is moved by hand: over restarts, and until they run out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure, Clock, EndlessSlots, FreeOfCharge, NoTasks};
use longhaul_actors::session::{
    Actor, Answer, AnswerEnd, ApprovalDecision, Body, BrainSpec, Command, Limits, Mode, Session,
    SessionWorld, Start, ToolCall, WorkspaceSpec,
};
use longhaul_actors::{ManualClock, Options, Ports, Registry, System, SystemOptions};
use longhaul_journal::{Journal, MemoryJournal, Seq, StreamId};
use longhaul_tests::in_time;
use longhaul_tests::matrix::gate::MatrixGate;
use longhaul_tests::matrix::human::Log;
use longhaul_tests::matrix::outside::{Outside, VirtualHands, World};

const NOON: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 3_600_000;

/// Wants one gated act, and says how it came out.
struct Wants;

impl Brain for Wants {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        let seen = call.window.read_all(Seq::ZERO).expect("the journal is sound");
        let came_out = seen.iter().find_map(|seen| match &seen.event.body {
            Body::CommandRun(_) => Some("done".to_owned()),
            Body::ToolFailed(failed) => Some(failed.code.clone()),
            _ => None,
        });
        let answer = match came_out {
            Some(summary) => Answer {
                end: Some(AnswerEnd::Finish { summary }),
                ..Answer::default()
            },
            None => Answer {
                calls: vec![ToolCall {
                    tool: "exec".into(),
                    args: serde_json::json!({ "command": "append gated-1" }),
                }],
                ..Answer::default()
            },
        };
        ready(Ok(answer)).boxed()
    }

    fn release(&self, _session: StreamId) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

/// One process: threads, actors, and the world outside that outlives it.
struct Process {
    journal: MemoryJournal,
    clock: ManualClock,
    system: System,
    sessions: Registry<Session>,
}

impl Process {
    fn begin(journal: MemoryJournal, now_ms: u64, outside: &Outside) -> Self {
        let clock = ManualClock::at(now_ms);
        let shared: Arc<dyn Journal> = Arc::new(journal.clone());
        let system = System::start(SystemOptions::default()).expect("threads");
        let ports = Ports {
            journal: Arc::clone(&shared),
            clock: Arc::new(clock.clone()),
            world: Arc::new(SessionWorld {
                journal: Arc::clone(&shared),
                brain: Arc::new(Wants),
                hands: Arc::new(VirtualHands::new(outside.clone(), shared)),
                gate: Arc::new(MatrixGate),
                credit: Arc::new(FreeOfCharge),
                slots: Arc::new(EndlessSlots),
                suggestions: Arc::new(NoTasks),
                clock: Arc::new(clock.clone()),
            }),
        };
        let sessions = Registry::open(&system, ports, Options::default());
        Self {
            journal,
            clock,
            system,
            sessions,
        }
    }

    async fn until(&self, type_name: &str) -> Log {
        let mut moved = self.journal.watch(session());
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            moved.mark_unchanged();
            let log = Log::read(&self.journal, session());
            if log.count(type_name) > 0 {
                return log;
            }
            let changed = tokio::time::timeout_at(deadline, moved.changed()).await;
            let changed = changed
                .unwrap_or_else(|_| panic!("no {type_name} within a minute:\n{}", log.types().join("\n")));
            changed.expect("the journal lives");
        }
    }

    async fn end(self) {
        in_time("the sessions close", self.sessions.close()).await;
        in_time("the threads end", self.system.close()).await;
    }
}

fn session() -> StreamId {
    StreamId::named("session", "local", "key:waits")
}

fn start(approval_ms: u64) -> Command {
    Command::Start(Box::new(Start {
        by: Actor::human("local"),
        key: Some("waits".into()),
        goal: "get it out of the door".into(),
        mode: Mode::Bounded,
        brain: BrainSpec {
            kind: "virtual".into(),
            name: "wants".into(),
            sha256: None,
            args: Vec::new(),
        },
        workspace: WorkspaceSpec::default(),
        limits: Limits {
            approval_ms,
            ..Limits::default()
        },
        network: Vec::new(),
        metadata: None,
        forbidden: Vec::new(),
        terms: None,
        fingerprint: "one".into(),
    }))
}

fn times(outside: &Outside) -> u32 {
    outside
        .world()
        .steps
        .values()
        .map(|evidence| evidence.times)
        .sum()
}

/// B-GATE-4, B-GATE-5: a month passes and the process is killed each week; then a human says yes, and it is done once.
#[tokio::test]
async fn a_request_waits_for_a_month_over_restarts_and_spends_nothing() {
    let outside = Outside::new(World::default());
    let mut process = Process::begin(MemoryJournal::new(), NOON, &outside);
    process
        .sessions
        .send(session(), start(0))
        .await
        .expect("it starts");
    let log = process.until("approval.requested").await;
    let id = log.pending_approval().expect("it waits").id.clone();
    let before = process
        .sessions
        .query(session(), |state, _| state.usage)
        .await
        .expect("it answers");
    for week in 1..=4 {
        // Killed: what it has written is all that is left of it.
        let journal = process.journal.reopen();
        let next = Process::begin(journal, NOON + week * 7 * DAY, &outside);
        process.end().await;
        process = next;
    }
    let log = Log::read(&process.journal, session());
    assert_eq!(log.count("approval.requested"), 1);
    assert_eq!((log.count("runtime.crashed"), times(&outside)), (0, 0));
    let decide = Command::Decide {
        by: Actor::human("local"),
        id,
        decision: ApprovalDecision::Approve,
        evidence: "back from holiday".into(),
    };
    process
        .sessions
        .send(session(), decide)
        .await
        .expect("it waits for this");
    process.until("session.completed").await;
    let (usage, outcome) = process
        .sessions
        .query(session(), |state, _| (state.usage, state.outcome.clone()))
        .await
        .expect("it answers");
    assert_eq!((outcome.as_str(), times(&outside)), ("done", 1));
    assert!(
        usage.active_ms < before.active_ms + DAY,
        "waiting is no work: {usage:?}"
    );
    process.end().await;
}

/// B-GATE-5: nobody decides for a day; the alarm rings in a process that was started meanwhile, and the brain is told.
#[tokio::test]
async fn a_request_that_may_run_out_does_so_at_its_time() {
    let outside = Outside::new(World::default());
    let process = Process::begin(MemoryJournal::new(), NOON, &outside);
    process
        .sessions
        .send(session(), start(DAY))
        .await
        .expect("it starts");
    process.until("approval.requested").await;
    let journal = process.journal.reopen();
    let next = Process::begin(journal, NOON + DAY - 1, &outside);
    process.end().await;
    in_time("the alarm is set", next.clock.sleeping(1)).await;
    assert_eq!(Log::read(&next.journal, session()).count("approval.expired"), 0);
    next.clock.set_wall(next.clock.now_ms() + 1);
    next.until("session.completed").await;
    let outcome = next
        .sessions
        .query(session(), |state, _| state.outcome.clone())
        .await
        .expect("it answers");
    assert_eq!((outcome.as_str(), times(&outside)), ("approval_expired", 0));
    next.end().await;
}
