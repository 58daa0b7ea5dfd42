//! A session without a runtime: commands go in, records come out, and every property is checked on the way.

use std::sync::Arc;

use longhaul_actors::ports::{Judgement, Ruling};
use longhaul_actors::session::{
    Admission, Command, Event, Reply, Session, State, Tool, ToolCall, approval_id, call_digest,
};
use longhaul_actors::{Entity, Moment, Owed, Placed, Recovery, RecoveryCause};
use longhaul_journal::{MAX_FRAME_PAYLOAD, MAX_FRAME_RECORDS, Record, Seq, Standing, StreamId};

use crate::witness::Witness;

/// One session, its records, and the clock and boot generation around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) records: Vec<Record>,
    pub(crate) now_ms: u64,
    pub(crate) boot: u32,
    last_boot: u32,
    witness: Witness,
    replayed: State,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now_ms: 1_000,
            boot: 1,
            ..Self::default()
        }
    }

    /// Decides one command and folds what it led to, as the host does: one frame, then the state after it.
    pub(crate) fn send(&mut self, command: Command) -> Result<Reply, <Session as Entity>::Refusal> {
        let moment = Moment { now_ms: self.now_ms };
        let decision = Session::decide(&self.state, command, moment)?;
        let before = self.records.len();
        for event in &decision.events {
            self.append(event);
        }
        let frame = &self.records[before..];
        let bytes: usize = frame.iter().map(|record| record.event.payload.len()).sum();
        assert!(
            frame.len() <= MAX_FRAME_RECORDS && bytes <= MAX_FRAME_PAYLOAD,
            "a decision fits in a frame"
        );
        self.check_frame();
        Ok(decision.reply)
    }

    /// The actor is built anew: after a crash of the server when `rebooted`, else within the same process.
    pub(crate) fn recover(&mut self, cause: RecoveryCause, rebooted: bool) {
        if rebooted {
            self.boot += 1;
        }
        let recovery = Recovery {
            cause,
            head: self.state.head,
            last_boot: self.last_boot,
            boot: self.boot,
        };
        if let Some(command) = Session::recovered(&self.state, &recovery) {
            self.send(command).expect("a recovery is never refused");
        }
    }

    /// The command as the effects send it: with the gate's word on the act that comes next, if there is one.
    pub(crate) fn with_admission(&self, mut command: Command, ruling: Ruling) -> Command {
        let (step, calls, next) = match &mut command {
            Command::Thought {
                step,
                result: Ok(answer),
                next,
                ..
            } => (*step, answer.calls.clone(), next),
            Command::Acted { step, next, .. } => {
                let plan = self.state.turn.iter().flat_map(|turn| &turn.plan);
                (
                    *step,
                    plan.map(|planned| ToolCall::clone(&planned.0)).collect(),
                    next,
                )
            }
            _ => return command,
        };
        if next.is_none() {
            let mut steps = (step + 1..).zip(&calls);
            let first = steps.find(|(_, call)| Tool::parse(call).is_ok());
            *next = first.map(|(step, call)| judged(step, call, ruling, ""));
        }
        command
    }

    pub(crate) fn owed(&self) -> Vec<Owed<<Session as Entity>::Effect>> {
        Session::owed(&self.state)
    }

    fn append(&mut self, event: &Event) {
        let stored = Session::encode(event);
        let record = Record {
            seq: self.state.head.next(),
            time_ms: self.now_ms.max(self.state.last_ms),
            event: stored,
        };
        let decoded = Session::decode(&record).expect("what was encoded decodes");
        assert_eq!(&decoded, event, "a fact survives being stored");
        fold(&mut self.state, &record, event);
        fold(&mut self.replayed, &record, &decoded);
        self.witness.see(record.seq, record.time_ms, event);
        self.records.push(record);
        self.last_boot = self.boot;
    }

    /// The properties that hold between any two frames.
    fn check_frame(&self) {
        assert_eq!(self.replayed, self.state, "replay and life lead to the same fold");
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&self.state, config).expect("a fold fits in a snapshot");
        let (thawed, used): (State, usize) =
            bincode::serde::decode_from_slice(&bytes, config).expect("a snapshot is read back");
        assert_eq!(
            (&thawed, used),
            (&self.state, bytes.len()),
            "a snapshot holds the whole fold"
        );
        if self.state.origin.is_none() {
            return;
        }
        let (standing, owed) = (Session::standing(&self.state), self.owed());
        assert_eq!(
            standing == Standing::Owed,
            !owed.is_empty(),
            "{standing:?} with {owed:?}"
        );
        assert_eq!(
            standing == Standing::Done,
            self.state.phase.is_terminal(),
            "{standing:?}"
        );
        if let Standing::Until(at) = standing {
            assert!(Session::due(&self.state).is_some_and(|due| at <= due));
            assert!(Session::alarm(&self.state).is_some());
        }
        if let Standing::Waits(name) = &standing {
            assert!(!name.is_empty());
        }
        self.witness.agrees(&self.state, &owed);
    }

    /// Folds the stored records from nothing, as recovery does.
    pub(crate) fn replay(&self) -> State {
        let mut state = State::default();
        for record in &self.records {
            let event = Session::decode(record).expect("a stored record decodes");
            fold(&mut state, record, &event);
        }
        state
    }
}

/// The gate's word on a call, its digest being what the witness knows it by; `script` stands for what it runs.
pub(crate) fn judged(step: u64, call: &ToolCall, ruling: Ruling, script: &str) -> Box<Admission> {
    let digest = format!("{ruling:?} {} {script}", call_digest(call));
    let judgement = Judgement {
        ruling,
        category: "publish".into(),
        rule: "git.push".into(),
        risk: "high".into(),
        ..Judgement::allow(digest.clone())
    };
    Box::new(Admission {
        step,
        call: Arc::new(call.clone()),
        judgement,
        approval: approval_id(StreamId::MARKER, step, &digest),
        hold: None,
    })
}

fn fold(state: &mut State, record: &Record, event: &Event) {
    let placed = Placed {
        seq: record.seq,
        time_ms: record.time_ms,
        event,
    };
    Session::apply(state, placed);
    assert_eq!(state.head, record.seq);
    assert!(state.head > Seq::ZERO);
}
