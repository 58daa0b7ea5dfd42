//! The one helper that touches the API: `given(...)`, `.when(command)`, `.then([records in brief])`.

use longhaul_actors::RecoveryCause;
use longhaul_actors::ports::{BrainFailure, Kept, Ruling};
use longhaul_actors::session::{
    Actor, Answer, AnswerEnd, ApprovalDecision, BrainSpec, Command, Execution, Isolation, Limits, Mode,
    Output, PauseReason, Refusal, Reply, SendMode, Session, Start, Terms, ToolCall, ToolOutcome, Verdict,
    WorkspaceKind, WorkspaceSpec,
};
use longhaul_actors::{EffectId, Entity};
use longhaul_journal::{Record, Seq};
use serde_json::{Value, json};

use crate::world::World;

/// A session in the middle of its story.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) world: World,
    seen: usize,
    reply: Option<Result<Reply, Refusal>>,
    gate: Ruling,
}

/// A stream without a record.
pub(crate) fn nobody() -> Story {
    Story {
        world: World::new(),
        seen: 0,
        reply: None,
        gate: Ruling::Allow,
    }
}

/// A session that was started so. What a story is given is told in commands, so that every history is a legal one.
pub(crate) fn given(start: Start) -> Story {
    nobody().when(Command::Start(Box::new(start)))
}

/// A session whose brain has just been asked for the first time: step 1 is open.
pub(crate) fn thinking(start: Start) -> Story {
    given(start).when(Command::SlotGranted).when(ready())
}

/// A session whose first tool call is under way: step 2 is open.
pub(crate) fn acting(start: Start) -> Story {
    thinking(start).when(thought(1, calls([exec("make")])))
}

/// An interactive session whose first turn is over.
pub(crate) fn idle() -> Story {
    thinking(interactive())
        .when(thought(1, ends(AnswerEnd::Yield)))
        .stands("idle")
}

impl Story {
    /// The admission of the next act rides with the outcome of the step before it, as the effects have it.
    pub(crate) fn when(self, command: Command) -> Self {
        let command = self.world.with_admission(command, self.gate);
        self.when_bare(command)
    }

    /// The command as it stands: no admission comes with it.
    pub(crate) fn when_bare(mut self, command: Command) -> Self {
        self.seen = self.world.records.len();
        self.reply = Some(self.world.send(command));
        self
    }

    /// From here on the gate says this of every act.
    pub(crate) fn gated(mut self, ruling: Ruling) -> Self {
        self.gate = ruling;
        self
    }

    /// Waits until this time, milliseconds since the start.
    pub(crate) fn at(mut self, ms: u64) -> Self {
        self.world.now_ms = 1_000 + ms;
        self
    }

    /// The server is killed and starts again.
    pub(crate) fn when_the_server_crashes(self) -> Self {
        self.recovered(RecoveryCause::Wake, true)
    }

    /// The server stops in good order and starts again.
    pub(crate) fn when_the_server_stops_and_starts(mut self) -> Self {
        if let Some(command) = Session::stopping(&self.world.state) {
            self.world.send(command).expect("a stop is never refused");
        }
        self.recovered(RecoveryCause::Wake, true)
    }

    pub(crate) fn recovered(mut self, cause: RecoveryCause, rebooted: bool) -> Self {
        self.seen = self.world.records.len();
        self.reply = None;
        self.world.recover(cause, rebooted);
        self
    }

    /// The records of the last frame, in brief.
    #[track_caller]
    pub(crate) fn then<const N: usize>(self, expected: [&str; N]) -> Self {
        if let Some(reply) = &self.reply {
            reply.as_ref().expect("the wish is granted");
        }
        let found: Vec<String> = self.world.records[self.seen..].iter().map(brief).collect();
        assert_eq!(found, expected);
        self
    }

    #[track_caller]
    pub(crate) fn then_nothing(self) -> Self {
        self.then([])
    }

    #[track_caller]
    pub(crate) fn refused(self, expected: &Refusal) -> Self {
        let found = self.reply.as_ref().and_then(|reply| reply.as_ref().err());
        assert_eq!(found, Some(expected));
        assert_eq!(self.seen, self.world.records.len(), "a refusal writes nothing");
        self
    }

    #[track_caller]
    pub(crate) fn refused_as_invalid(self) -> Self {
        assert!(
            matches!(self.reply, Some(Err(Refusal::Invalid(_)))),
            "{:?}",
            self.reply
        );
        self
    }

    #[track_caller]
    pub(crate) fn refused_as_too_large(self) -> Self {
        assert!(
            matches!(self.reply, Some(Err(Refusal::TooLarge(_)))),
            "{:?}",
            self.reply
        );
        self
    }

    #[track_caller]
    pub(crate) fn stands(self, phase: &str) -> Self {
        assert_eq!(self.world.state.phase.name(), phase);
        self
    }

    /// The reply names this record; `repeated` when the wish had been granted before.
    #[track_caller]
    pub(crate) fn replies(self, seq: u64, repeated: bool) -> Self {
        let reply = self
            .reply
            .clone()
            .expect("there was a command")
            .expect("it was granted");
        assert_eq!((reply.seq.0, reply.repeated), (seq, repeated));
        self
    }

    /// What is owed, in brief.
    #[track_caller]
    pub(crate) fn owes<const N: usize>(self, expected: [&str; N]) -> Self {
        let found: Vec<String> = self
            .world
            .owed()
            .iter()
            .map(|work| effect_name(&format!("{:?}", work.effect)))
            .collect();
        assert_eq!(found, expected);
        self
    }

    pub(crate) fn owed_ids(&self) -> Vec<EffectId> {
        self.world.owed().iter().map(|work| work.id).collect()
    }

    /// Number of the step that is open.
    pub(crate) fn step(&self) -> u64 {
        self.world.state.open.as_ref().map_or(0, |open| open.step)
    }

    /// The brain answers the call that is open.
    pub(crate) fn answers(self, answer: Answer) -> Self {
        let step = self.step();
        self.when(thought(step, answer))
    }

    /// The brain fails in the call that is open.
    pub(crate) fn fails(self, failure: BrainFailure) -> Self {
        let step = self.step();
        self.when(Command::Thought {
            step,
            result: Err(failure),
            active_ms: 5,
            next: None,
        })
    }

    /// The act that is open comes out so.
    pub(crate) fn settles(self, outcome: ToolOutcome) -> Self {
        let step = self.step();
        self.when(acted(step, outcome))
    }

    /// Whether a record of this type was ever written.
    pub(crate) fn has(&self, type_name: &str) -> bool {
        self.world
            .records
            .iter()
            .any(|record| record.event.type_name == type_name)
    }
}

fn effect_name(debug: &str) -> String {
    debug.split([' ', '(']).next().unwrap_or_default().to_lowercase()
}

/// A record in brief: its type and the fields that tell one such record from another.
fn brief(record: &Record) -> String {
    let fields: &[&str] = match &*record.event.type_name {
        "turn.started" => &["/cause", "/inputFromSeq", "/inputToSeq"],
        "service.started" => &["/name"],
        "service.stop_requested" | "service.ended" => &["/name", "/cause"],
        "egress.denied" => &["/host", "/port", "/times"],
        "turn.steered" => &["/messageSeq"],
        "turn.completed" | "session.paused" | "session.pause_requested" => &["/reason"],
        "turn.stuck" => &["/evidence/kind"],
        "session.stop_requested" => &["/stop"],
        "session.completed" => &["/outcome"],
        "session.failed" => &["/code"],
        "session.resumed" => &["/pausedMs"],
        "tool.started" => &["/tool"],
        "tool.failed" => &["/code", "/settledBy"],
        "checkpoint.created" => &["/at"],
        "checkpoint.skipped" => &["/at", "/code"],
        "session.forked" => &["/at"],
        "artifact.created" => &["/kind"],
        "policy.denied" => &["/rule"],
        "approval.decided" => &["/decision"],
        "approval.canceled" => &["/reason"],
        "runtime.crashed" => &["/cause", "/counted"],
        "runtime.restarted" => &["/attempt"],
        _ => &[],
    };
    let payload: Value = serde_json::from_slice(&record.event.payload).expect("a payload is JSON");
    let mut brief = record.event.type_name.to_string();
    for field in fields {
        match payload["data"].pointer(field) {
            Some(Value::String(text)) => brief += &format!(" {text}"),
            Some(value) => brief += &format!(" {value}"),
            None => {}
        }
    }
    brief
}

pub(crate) fn interactive() -> Start {
    Start {
        by: human(),
        key: Some("nightly".into()),
        goal: "make the test pass".into(),
        mode: Mode::Interactive,
        brain: BrainSpec {
            kind: "playbook".into(),
            name: "fix.toml".into(),
            sha256: None,
            args: Vec::new(),
        },
        workspace: WorkspaceSpec::default(),
        network: Vec::new(),
        limits: Limits::default(),
        metadata: None,
        forbidden: Vec::new(),
        fingerprint: "f1".into(),
        terms: None,
    }
}

/// The account of this owner, without a budget.
pub(crate) fn terms() -> Terms {
    Terms {
        account: "local".into(),
        budget_micro: None,
    }
}

pub(crate) fn bounded() -> Start {
    Start {
        mode: Mode::Bounded,
        ..interactive()
    }
}

pub(crate) fn in_a_clone(start: Start) -> Start {
    let workspace = WorkspaceSpec {
        kind: WorkspaceKind::Clone,
        source: "/repo".into(),
        ..WorkspaceSpec::default()
    };
    Start { workspace, ..start }
}

pub(crate) fn limited(start: Start, limits: Limits) -> Start {
    Start { limits, ..start }
}

pub(crate) fn human() -> Actor {
    Actor::human("local")
}

pub(crate) fn ready() -> Command {
    Command::Prepared {
        result: Ok(Isolation {
            mode: "process".into(),
            ..Isolation::default()
        }),
    }
}

pub(crate) fn send(text: &str, mode: SendMode) -> Command {
    Command::Send {
        by: human(),
        text: text.into(),
        mode,
        idempotency_key: None,
    }
}

pub(crate) fn send_once(text: &str, key: &str) -> Command {
    Command::Send {
        by: human(),
        text: text.into(),
        mode: SendMode::Steer,
        idempotency_key: Some(key.into()),
    }
}

pub(crate) fn pause() -> Command {
    Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now: false,
    }
}

pub(crate) fn pause_now() -> Command {
    Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now: true,
    }
}

pub(crate) fn resume() -> Command {
    Command::Resume {
        by: human(),
        budget: None,
    }
}

pub(crate) fn cancel() -> Command {
    Command::Cancel {
        by: human(),
        force: false,
    }
}

pub(crate) fn cancel_by_force() -> Command {
    Command::Cancel {
        by: human(),
        force: true,
    }
}

pub(crate) fn archive() -> Command {
    Command::Archive { by: human() }
}

pub(crate) fn decide(id: &str, approve: bool) -> Command {
    Command::Decide {
        by: human(),
        id: id.into(),
        decision: if approve {
            ApprovalDecision::Approve
        } else {
            ApprovalDecision::Deny
        },
        evidence: "seen with my own eyes".into(),
    }
}

pub(crate) fn gone() -> Command {
    Command::Stopped {
        survivors: Vec::new(),
    }
}

pub(crate) fn thought(step: u64, answer: Answer) -> Command {
    Command::Thought {
        step,
        result: Ok(answer),
        active_ms: 5,
        next: None,
    }
}

pub(crate) fn acted(step: u64, outcome: ToolOutcome) -> Command {
    Command::Acted {
        step,
        outcome,
        next: None,
    }
}

pub(crate) fn ends(end: AnswerEnd) -> Answer {
    Answer {
        end: Some(end),
        ..Answer::default()
    }
}

pub(crate) fn finishes() -> Answer {
    ends(AnswerEnd::Finish {
        summary: "done".into(),
    })
}

pub(crate) fn calls<const N: usize>(calls: [ToolCall; N]) -> Answer {
    Answer {
        calls: calls.into(),
        ..Answer::default()
    }
}

pub(crate) fn exec(line: &str) -> ToolCall {
    ToolCall {
        tool: "exec".into(),
        args: json!({ "command": line }),
    }
}

/// The command ended by itself, having said this.
pub(crate) fn exited(said: &str) -> ToolOutcome {
    exited_after(5, said)
}

pub(crate) fn exited_after(active_ms: u64, said: &str) -> ToolOutcome {
    ToolOutcome::Command(Execution {
        verdict: Verdict::Exited { code: 0 },
        stdout: Output {
            head: said.into(),
            bytes: said.len() as u64,
            ..Output::default()
        },
        stderr: Output::default(),
        active_ms,
        isolation: "process".into(),
        used: None,
    })
}

pub(crate) fn unknown() -> ToolOutcome {
    ToolOutcome::Unknown {
        why: "the machine was rebooted".into(),
    }
}

pub(crate) fn a_patch() -> ToolOutcome {
    ToolOutcome::Artifact {
        kind: "patch".into(),
        name: "changes.patch".into(),
        sha256: "00".into(),
        bytes: 9,
        active_ms: 1,
        task: None,
    }
}

/// The files were kept as they are after this record.
pub(crate) fn kept(at: u64) -> Command {
    let kept = Kept {
        entries: 3,
        bytes: 9,
        added_bytes: 2,
        digest: "00".into(),
    };
    Command::Checkpointed {
        at: Seq(at),
        result: Ok(kept),
    }
}
