//! A stage for tests of brains: a session's records in a memory journal, written as the session would write them.

use std::sync::Arc;

use futures_util::FutureExt;
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure, Window};
use longhaul_actors::session::{
    Actor, AgentMessage, AgentQuestion, Answer, AnswerEnd, Body, BrainSpec, CommandRun, Event, Execution,
    Limits, Mode, ModelCompleted, ModelStarted, Output, RecoveryClass, SendMode, SessionStarted, ToolFailed,
    ToolOutcomeUnknown, ToolStarted, TurnCause, TurnCompleted, TurnEnd, TurnStarted, Usage, UserMessage,
    Verdict, WorkspaceSpec,
};
use longhaul_journal::{Draft, Epoch, Journal, MemoryJournal, Seq, Standing, StreamId};

/// One session on stage.
pub(crate) struct Stage {
    journal: MemoryJournal,
    epoch: Epoch,
    pub(crate) session: StreamId,
    spec: BrainSpec,
    head: Seq,
    step: u64,
    turn: u32,
}

impl Stage {
    /// A session that has just begun its first turn.
    pub(crate) fn new(spec: BrainSpec, goal: &str) -> Self {
        let journal = MemoryJournal::new();
        let session = StreamId::unnamed();
        let epoch = journal.claim(session);
        let mut stage = Self {
            journal,
            epoch,
            session,
            spec: spec.clone(),
            head: Seq::ZERO,
            step: 0,
            turn: 0,
        };
        let started = SessionStarted {
            owner: "local".into(),
            key: None,
            goal: goal.into(),
            mode: Mode::Interactive,
            brain: spec,
            workspace: WorkspaceSpec::default(),
            limits: Limits::default(),
            network: Vec::new(),
            metadata: None,
            forbidden: Vec::new(),
            fingerprint: String::new(),
            terms: None,
        };
        stage.write([started.into()]);
        stage.hear(goal, SendMode::Steer);
        stage.begin_turn();
        stage
    }

    /// Writes facts as one frame.
    pub(crate) fn write(&mut self, bodies: impl IntoIterator<Item = Body>) {
        let turn = Some(self.turn);
        let event = |body| Event {
            actor: Actor::RUNTIME,
            turn,
            cause: None,
            body,
        };
        let records: Vec<_> = bodies.into_iter().map(|body| event(body).encode()).collect();
        let draft = Draft {
            stream: self.session,
            kind: "session".into(),
            epoch: self.epoch,
            expected: self.head,
            time_ms: 1_700_000_000_000 + self.head.0,
            standing: Standing::Owed,
            records,
        };
        // Unconstrained, because a test that writes thousands of records has no turn of the scheduler to lose.
        let receipt = tokio::task::unconstrained(self.journal.submit(draft)).now_or_never();
        let durable = receipt.expect("the memory journal answers at once");
        self.head = durable.expect("the only writer").seq;
    }

    /// A message arrives.
    pub(crate) fn hear(&mut self, text: &str, mode: SendMode) {
        let message = UserMessage {
            text: text.into(),
            mode,
            idempotency_key: None,
        };
        self.write([message.into()]);
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.turn += 1;
        let started = TurnStarted {
            cause: TurnCause::Input,
            input_from_seq: self.head,
            input_to_seq: self.head,
        };
        self.write([started.into()]);
    }

    /// A turn ends.
    pub(crate) fn end_turn(&mut self, reason: TurnEnd) {
        let completed = TurnCompleted {
            reason,
            result_seq: None,
            usage: Usage::default(),
        };
        self.write([completed.into()]);
    }

    /// The call that asks for the next step, seeing everything so far.
    pub(crate) fn call(&self) -> BrainCall {
        self.call_up_to(self.head)
    }

    /// The call that asks for the next step, seeing everything up to a seq.
    pub(crate) fn call_up_to(&self, to: Seq) -> BrainCall {
        BrainCall {
            session: self.session,
            brain: self.spec.clone(),
            step: self.step + 1,
            attempt: 1,
            window: Window::new(Arc::new(self.journal.clone()), self.session, to),
        }
    }

    pub(crate) fn head(&self) -> Seq {
        self.head
    }

    /// Writes that a brain call begins, and returns it.
    pub(crate) fn begin(&mut self) -> BrainCall {
        let call = self.call();
        let started = ModelStarted {
            step: call.step,
            window_to: self.head,
            hold: None,
        };
        self.write([started.into()]);
        call
    }

    /// Writes what a brain answered, and ends the turn when it did.
    pub(crate) fn complete(&mut self, result: &Result<Answer, BrainFailure>) {
        self.step += 1;
        let mut completed = ModelCompleted {
            step: self.step,
            calls: Vec::new(),
            end: None,
            gone: false,
            failure: None,
            usage: Usage::default(),
        };
        let answer = match result {
            Ok(answer) => answer.clone(),
            Err(failure) => {
                completed.failure = Some(failure.to_string());
                return self.write([completed.into()]);
            }
        };
        completed.calls = answer.calls.into_iter().map(Arc::new).collect();
        completed.end = answer.end.clone();
        self.write([completed.into()]);
        if let Some(text) = answer.say {
            self.write([AgentMessage { text }.into()]);
        }
        match answer.end {
            None => {}
            Some(AnswerEnd::Ask { text }) => {
                self.write([AgentQuestion { text }.into()]);
                self.end_turn(TurnEnd::NeedsInput);
            }
            Some(AnswerEnd::Yield) => self.end_turn(TurnEnd::Yielded),
            Some(AnswerEnd::Finish { .. }) => self.end_turn(TurnEnd::Finished),
            Some(AnswerEnd::Fail { .. }) => self.end_turn(TurnEnd::Failed),
        }
    }

    /// Asks a brain, and writes down what it answers.
    pub(crate) async fn ask(&mut self, brain: &dyn Brain) -> Result<Answer, BrainFailure> {
        let call = self.begin();
        let result = brain.next(call).await;
        self.complete(&result);
        result
    }

    /// An act begins and settles.
    pub(crate) fn settle(&mut self, outcome: impl FnOnce(u64) -> Body) {
        self.step += 1;
        let started = ToolStarted {
            step: self.step,
            tool: "exec".into(),
            brief: String::new(),
            digest: String::new(),
            class: RecoveryClass::Reattach,
            limit_ms: 1,
            hold: None,
        };
        self.write([started.into()]);
        self.write([outcome(self.step)]);
    }
}

/// A command that ended by itself.
pub(crate) fn exited(code: i32, stdout: &str) -> impl FnOnce(u64) -> Body {
    command(Verdict::Exited { code }, stdout)
}

/// A command that ended.
pub(crate) fn command(verdict: Verdict, stdout: &str) -> impl FnOnce(u64) -> Body {
    let output = |text: &str| Output {
        head: text.into(),
        bytes: text.len() as u64,
        ..Output::default()
    };
    let execution = Execution {
        verdict,
        stdout: output(stdout),
        stderr: output(""),
        active_ms: 1,
        isolation: "process".into(),
        used: None,
    };
    |step| CommandRun { step, execution }.into()
}

/// An act that failed.
pub(crate) fn failed(detail: &str, settled_by: Option<&str>) -> impl FnOnce(u64) -> Body {
    let (detail, settled_by) = (detail.to_owned(), settled_by.map(str::to_owned));
    |step| {
        let code = "not_found".into();
        let active_ms = 0;
        ToolFailed {
            step,
            code,
            detail,
            settled_by,
            active_ms,
        }
        .into()
    }
}

/// An act of which nobody knows whether it happened.
pub(crate) fn unknown(why: &str) -> impl FnOnce(u64) -> Body {
    let why = why.to_owned();
    |step| ToolOutcomeUnknown { step, why }.into()
}

/// An answer in a line: `say "x" | exec make test | ask which?`.
pub(crate) fn brief(answer: &Answer) -> String {
    let say = answer.say.iter().map(|text| format!("say {text}"));
    let calls = answer.calls.iter().map(|call| {
        let what = call.args.get("command").or_else(|| call.args.get("path"));
        match what.and_then(|what| what.as_str()) {
            Some(what) => format!("{} {what}", call.tool),
            None => call.tool.clone(),
        }
    });
    let end = answer.end.iter().map(|end| match end {
        AnswerEnd::Yield => "yield".into(),
        AnswerEnd::Ask { text } => format!("ask {text}"),
        AnswerEnd::Finish { summary } => format!("finish {summary}"),
        AnswerEnd::Fail { detail } => format!("fail {detail}"),
    });
    say.chain(calls).chain(end).collect::<Vec<String>>().join(" | ")
}
