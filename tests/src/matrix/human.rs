//! The human of the matrix: looks at the log, and says and asks what is to be said and asked at that point.
//!
//! A function of the log, so that it survives a crash as a client with retries does: what is not in the log yet is
//! sent again, under the same key.

use longhaul_actors::Entity;
use longhaul_actors::session::{
    Actor, ApprovalDecision, ApprovalRequested, Body, BrainSpec, Command, Event, Limits, Mode, PauseReason,
    SendMode, Session, Start, Terms, WorkspaceSpec,
};
use longhaul_journal::{Journal, Limit, Seq, StreamId};

/// A decoded log.
#[derive(Clone, Debug, Default)]
pub struct Log(pub Vec<Event>);

impl Log {
    /// Everything durable in a stream.
    pub fn read(journal: &dyn Journal, stream: StreamId) -> Self {
        let (mut events, mut after) = (Vec::new(), Seq::ZERO);
        loop {
            let page = journal
                .read(stream, after, Limit::default())
                .expect("the journal is sound");
            let Some(last) = page.last() else {
                return Self(events);
            };
            after = last.last_seq();
            for record in page.iter().flat_map(|frame| &frame.records) {
                events.push(Session::decode(record).expect("this version wrote it"));
            }
        }
    }

    /// Whether a message with this text is there.
    pub fn has_message(&self, text: &str) -> bool {
        self.bodies()
            .any(|body| matches!(body, Body::UserMessage(message) if message.text == text))
    }

    /// The types of its records, in order.
    pub fn types(&self) -> Vec<&str> {
        self.bodies().map(Body::type_name).collect()
    }

    /// How many records of a type there are.
    pub fn count(&self, type_name: &str) -> usize {
        self.bodies().filter(|body| body.type_name() == type_name).count()
    }

    /// How often it rested because somebody asked. (That it rests for lack of credit is the account's concern.)
    fn rests(&self) -> usize {
        let asked =
            |body: &&Body| matches!(body, Body::Paused(paused) if paused.reason == PauseReason::Requested);
        self.bodies().filter(asked).count()
    }

    /// How often a human resumed it.
    fn resumes(&self) -> usize {
        let resumed = |event: &&Event| matches!(event.body, Body::Resumed(_)) && event.actor == human();
        self.0.iter().filter(resumed).count()
    }

    /// Whether it rests for lack of credit.
    pub fn waits_for_credit(&self) -> bool {
        let mut rests = self.bodies().filter_map(|body| match body {
            Body::Paused(paused) => Some(paused.reason == PauseReason::Credits),
            Body::Resumed(_) => Some(false),
            _ => None,
        });
        rests.next_back().unwrap_or(false)
    }

    /// The request for approval that nobody has decided on.
    pub fn pending_approval(&self) -> Option<&ApprovalRequested> {
        let (mut pending, mut decided) = (None, 0);
        for body in self.bodies() {
            match body {
                Body::ApprovalRequested(asked) => pending = Some(asked),
                Body::ApprovalDecided(_) => decided += 1,
                _ => {}
            }
        }
        pending.filter(|_| self.count("approval.requested") > decided)
    }

    fn has_begun(&self, brief: &str) -> bool {
        self.bodies()
            .any(|body| matches!(body, Body::ToolStarted(started) if started.brief == brief))
    }

    fn bodies(&self) -> impl DoubleEndedIterator<Item = &Body> {
        self.0.iter().map(|event| &event.body)
    }

    /// Whether the session has ended.
    pub fn is_over(&self) -> bool {
        self.count("session.completed") + self.count("session.failed") + self.count("session.canceled") > 0
    }
}

/// The next thing to be asked for, or nothing until the log has grown.
pub fn next_wish(log: &Log) -> Option<Command> {
    if log.0.is_empty() {
        return Some(Command::Start(Box::new(start())));
    }
    for round in 0.. {
        let text = format!("steer-{round}");
        if !log.has_begun(&format!("await message:{text}")) {
            break;
        }
        if !log.has_message(&text) {
            return Some(send(&text, SendMode::Steer));
        }
    }
    let said_while = [
        ("await message:queue-1", "queue-1", SendMode::Queue),
        ("hang interrupt-1", "interrupt-1", SendMode::Interrupt),
    ];
    for (brief, text, mode) in said_while {
        if log.has_begun(brief) && !log.has_message(text) {
            return Some(send(text, mode));
        }
    }
    if log.count("agent.question") > 0 && !log.has_message("answer-1") {
        return Some(send("answer-1", SendMode::Steer));
    }
    if let Some(asked) = log.pending_approval() {
        let refused = asked.action.contains("refused");
        let decision = if refused {
            ApprovalDecision::Deny
        } else {
            ApprovalDecision::Approve
        };
        return Some(Command::Decide {
            by: human(),
            id: asked.id.clone(),
            decision,
            evidence: "it was looked at".into(),
        });
    }
    let pauses = [("await pause:1", false), ("hang pause-now", true)];
    for (index, (brief, now)) in pauses.into_iter().enumerate() {
        if log.has_begun(brief) && log.count("session.pause_requested") == index {
            let reason = PauseReason::Requested;
            return Some(Command::Pause {
                by: human(),
                reason,
                now,
            });
        }
        if log.rests() == index + 1 && log.resumes() == index {
            let text = format!("while-paused-{index}");
            if !log.has_message(&text) {
                return Some(send(&text, SendMode::Queue));
            }
            return Some(Command::Resume {
                by: human(),
                budget: None,
            });
        }
    }
    None
}

fn human() -> Actor {
    Actor::human("local")
}

fn send(text: &str, mode: SendMode) -> Command {
    Command::Send {
        by: human(),
        text: text.into(),
        mode,
        idempotency_key: Some(format!("key of {text}")),
    }
}

fn start() -> Start {
    Start {
        by: human(),
        key: Some("matrix".into()),
        goal: "walk through every boundary".into(),
        mode: Mode::Bounded,
        brain: BrainSpec {
            kind: "virtual".into(),
            name: "matrix".into(),
            sha256: None,
            args: Vec::new(),
        },
        workspace: WorkspaceSpec::default(),
        network: Vec::new(),
        limits: Limits::default(),
        metadata: None,
        forbidden: Vec::new(),
        fingerprint: "the one request".into(),
        // Its work is charged, and what the account begins with does not last.
        terms: Some(Terms {
            account: "local".into(),
            budget_micro: None,
        }),
    }
}
