//! The interpreter: where a run stands in its playbook, and what it says next. It knows no record, no clock, no disk.
//!
//! A run is a stack of places. The bottom is the main list; each message that a handler takes pushes that handler's
//! list on top, and when its steps are done the run goes on below. One answer holds at most one call, so that what
//! is recorded between two answers can only be about that call.

use std::collections::HashMap;

use longhaul_actors::session::{Answer, AnswerEnd, RecoveryClass, ToolCall, Usage};
use longhaul_journal::Seq;

use super::file::{Act, OnUnknown, Playbook, Step, Target};
use super::outcome::Outcome;

/// Where a run stands. `Default` is before the first step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cursor {
    places: Vec<Place>,
    /// Outcome of the call that was answered last, once it is known.
    settled: Option<Outcome>,
    /// How often each step was come to.
    visits: HashMap<(List, usize), u32>,
    /// How often each handler was used.
    used: HashMap<usize, u32>,
    /// Messages that were not yet reacted to.
    inbox: Vec<Message>,
    /// Where the runtime told of a loop, and how often it had gone round.
    looped: Option<(Seq, u32)>,
    /// Records were lost, and with them perhaps that the next act was done: what is to be said of it.
    lost: Option<String>,
    /// How the run ended; said again when the brain is asked again.
    ended: Option<AnswerEnd>,
    /// The seq of the last answer: what is said after it may be the reply to its question.
    answered_at: Seq,
}

#[derive(Clone, Debug, PartialEq)]
struct Message {
    seq: Seq,
    text: String,
}

/// Which list of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum List {
    Main,
    Handler(usize),
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    list: List,
    index: usize,
    phase: Phase,
    /// Failures of this step that were followed by another try.
    failures: u32,
    /// The outcome before it in its own list, which a step may judge; what was put in between does not count.
    last: Option<Outcome>,
}

/// How a place stands with the step it is at.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Not come to yet.
    Fresh,
    /// To be done (again) without counting as another visit.
    Due,
    /// Its call was answered.
    Called,
    /// Its question was asked.
    Asked,
    /// Nobody knows what became of it; the human is to be asked what to do.
    Doubtful(String),
    /// The human was asked that.
    DoubtAsked(String),
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            places: vec![Place::at(List::Main, 0)],
            settled: None,
            visits: HashMap::new(),
            used: HashMap::new(),
            inbox: Vec::new(),
            looped: None,
            lost: None,
            ended: None,
            answered_at: Seq::ZERO,
        }
    }
}

impl Place {
    const fn at(list: List, index: usize) -> Self {
        Self {
            list,
            index,
            phase: Phase::Fresh,
            failures: 0,
            last: None,
        }
    }

    fn go(&mut self, index: usize) {
        *self = Self {
            last: self.last.take(),
            ..Self::at(self.list, index)
        };
    }
}

impl Cursor {
    /// Takes in what became of the last call.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.settled = Some(outcome);
    }

    /// Takes in a message.
    pub(super) fn hear(&mut self, seq: Seq, text: String) {
        self.inbox.push(Message { seq, text });
    }

    /// Takes in that the runtime saw a loop.
    pub(super) fn looped(&mut self, seq: Seq, times: u32) {
        self.looped = Some((seq, times));
    }

    /// Takes in that records are lost: whatever comes next may have been done already.
    pub(super) fn lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// Notes where the answer just given was recorded.
    pub(super) fn answered(&mut self, at: Seq) {
        self.answered_at = at;
    }

    /// Says what comes next, and stands behind it.
    pub(super) fn answer(&mut self, playbook: &Playbook) -> Answer {
        let mut says = Vec::new();
        self.resolve(playbook);
        self.doubt_loops(playbook);
        self.react(playbook, &mut says);
        loop {
            match self.advance(playbook, &mut says) {
                Flow::Go => {}
                Flow::Answer { call, end } => {
                    return Answer {
                        say: (!says.is_empty()).then(|| says.join("\n\n")),
                        calls: call.into_iter().collect(),
                        end,
                        usage: Usage::default(),
                    };
                }
            }
        }
    }

    /// Moves on from what was answered last.
    fn resolve(&mut self, playbook: &Playbook) {
        let settled = self.settled.take();
        if self.over() {
            return;
        }
        let Some((place, step)) = self.top(playbook) else {
            return;
        };
        match place.phase.clone() {
            Phase::Called => match settled {
                // The turn ended before the act began, so doing it now does it once.
                None => self.phase(Phase::Due),
                Some(Outcome::Doubtful(why)) => self.doubt(step, why),
                Some(outcome) => self.judge(step, outcome),
            },
            Phase::Asked => match self.reply() {
                Some(text) => self.judge(step, Outcome::Text(text)),
                None => self.phase(Phase::Due),
            },
            Phase::DoubtAsked(why) => self.decide(step, why, self.answered_at),
            Phase::Fresh | Phase::Due | Phase::Doubtful(_) => {}
        }
    }

    fn judge(&mut self, step: &Step, outcome: Outcome) {
        let judged = outcome.judge(step.expect.as_ref(), true);
        if let Some(place) = self.places.last_mut() {
            place.last = Some(outcome);
        }
        self.judged(step, judged);
    }

    fn judged(&mut self, step: &Step, judged: Result<(), String>) {
        let Err(wrong) = judged else {
            return self.succeed(step);
        };
        let Some(place) = self.places.last_mut() else {
            return;
        };
        if place.failures < step.retry {
            place.failures += 1;
            place.phase = Phase::Due;
            return;
        }
        let what = match &step.act {
            Act::Call { brief, .. } => format!(": {brief}"),
            _ => String::new(),
        };
        self.follow(step.on_failure, || {
            format!("{} failed{what}: {wrong}", step.label)
        });
    }

    /// What was cut short or cannot be known: done again where that leads to the same, else as the step says.
    fn doubt(&mut self, step: &Step, why: String) {
        let harmless = matches!(
            &step.act,
            Act::Call {
                class: RecoveryClass::Idempotent,
                ..
            }
        );
        let policy = step.on_unknown.unwrap_or(if harmless {
            OnUnknown::Repeat
        } else {
            OnUnknown::Ask
        });
        match policy {
            OnUnknown::Ask => self.phase(Phase::Doubtful(why)),
            OnUnknown::Repeat => self.phase(Phase::Due),
            OnUnknown::Continue => self.succeed(step),
        }
    }

    /// Does what a human said about a step in doubt after `asked`, or leaves it in doubt.
    fn decide(&mut self, step: &Step, why: String, asked: Seq) {
        match self.decision(asked) {
            Some(Decision::Repeat) => self.phase(Phase::Due),
            Some(Decision::Continue) => self.succeed(step),
            Some(Decision::Stop) => self.fail(format!("{} was given up by a human: {why}", step.label)),
            None => self.phase(Phase::Doubtful(why)),
        }
    }

    /// A loop that the runtime told of is not gone on with unless a human says so. The runtime asks one by itself when
    /// it had told before; the reply to that counts.
    fn doubt_loops(&mut self, playbook: &Playbook) {
        let Some((told, times)) = self.looped.take() else {
            return;
        };
        let Some((place, step)) = self.top(playbook) else {
            return;
        };
        let been_here = self.visits.contains_key(&(place.list, place.index));
        if been_here && !self.over() && matches!(place.phase, Phase::Fresh | Phase::Due) {
            let why = format!("the same act had the same result {times} times over");
            self.decide(step, why, told);
        }
    }

    /// Reacts once to each message that was not a reply: puts in the steps of a handler, or says that there is none.
    fn react(&mut self, playbook: &Playbook, says: &mut Vec<String>) {
        let mut inserted = Vec::new();
        for message in std::mem::take(&mut self.inbox) {
            let text = message.text.to_lowercase();
            let mut fitting = playbook
                .handlers
                .iter()
                .enumerate()
                .filter(|(_, h)| text.contains(&h.contains))
                .peekable();
            let known = fitting.peek().is_some();
            match fitting
                .find(|(index, handler)| self.used.get(index).is_none_or(|used| *used < handler.at_most))
            {
                Some((index, _)) => {
                    *self.used.entry(index).or_default() += 1;
                    inserted.push(Place::at(List::Handler(index), 0));
                }
                None if known => says.push(format!("Already done: {}", quoted(&message.text))),
                None => says.push(format!(
                    "Noted, but this playbook has no [[on_message]] for {}; it goes on as written.",
                    quoted(&message.text)
                )),
            }
        }
        // The first message comes first, so it lies on top.
        self.places.extend(inserted.into_iter().rev());
    }

    /// Takes one step.
    fn advance(&mut self, playbook: &Playbook, says: &mut Vec<String>) -> Flow {
        if let Some(end) = self.ended.clone().filter(|_| self.over()) {
            return Flow::end(end);
        }
        let Some((place, step)) = self.top(playbook) else {
            if self.places.len() > 1 {
                self.places.pop();
            } else {
                let done = self.visits.values().sum::<u32>();
                let plural = if done == 1 { "" } else { "s" };
                self.ended = Some(AnswerEnd::Finish {
                    summary: format!("the playbook is done: {done} step{plural}"),
                });
            }
            return Flow::Go;
        };
        let (key, phase) = ((place.list, place.index), place.phase.clone());
        if let Phase::Doubtful(why) = phase {
            self.phase(Phase::DoubtAsked(why.clone()));
            let act = match &step.act {
                Act::Call { brief, .. } => format!(" ({brief})"),
                _ => String::new(),
            };
            let text = format!(
                "{}{act} is in doubt: {why}. Look at what it left, then say `repeat` to do it again, `continue` to go on \
                 as though it had succeeded, or `stop` to end the run.",
                step.label
            );
            return Flow::end(AnswerEnd::Ask { text });
        }
        if phase == Phase::Fresh {
            let visits = self.visits.entry(key).or_default();
            *visits += 1;
            if *visits > step.at_most {
                let text = format!(
                    "{} was come to {visits} times, and at most {} are allowed; see why it never leaves its loop, or \
                     raise its `at_most`",
                    step.label, step.at_most
                );
                self.fail(text);
                return Flow::Go;
            }
        }
        match &step.act {
            Act::Say(text) => {
                says.push(text.clone());
                self.succeed(step);
                Flow::Go
            }
            Act::Judge => {
                let judged = match self.places.last().and_then(|place| place.last.as_ref()) {
                    Some(outcome) => outcome.judge(step.expect.as_ref(), false),
                    None => Err("nothing came before it that could be judged".into()),
                };
                self.judged(step, judged);
                Flow::Go
            }
            Act::Call { call, .. } => {
                if let Some(why) = self.lost.take() {
                    self.doubt(step, why);
                    return Flow::Go;
                }
                self.phase(Phase::Called);
                Flow::Answer {
                    call: Some(call.clone()),
                    end: None,
                }
            }
            Act::Ask(text) => {
                self.phase(Phase::Asked);
                Flow::end(AnswerEnd::Ask { text: text.clone() })
            }
            Act::Yield => {
                self.succeed(step);
                Flow::end(AnswerEnd::Yield)
            }
            Act::Finish(summary) => {
                self.end(AnswerEnd::Finish {
                    summary: summary.clone(),
                });
                Flow::Go
            }
            Act::Fail(detail) => {
                self.fail(detail.clone());
                Flow::Go
            }
        }
    }

    fn succeed(&mut self, step: &Step) {
        self.follow(step.on_success, || {
            format!("{} succeeded, and its `on_success` is `fail`", step.label)
        });
    }

    fn follow(&mut self, target: Target, why: impl FnOnce() -> String) {
        let Some(place) = self.places.last_mut() else {
            return;
        };
        match target {
            Target::Next => place.go(place.index + 1),
            Target::Step(index) => place.go(index),
            Target::Fail => self.fail(why()),
        }
    }

    fn fail(&mut self, detail: String) {
        self.end(AnswerEnd::Fail { detail });
    }

    fn end(&mut self, end: AnswerEnd) {
        self.places.truncate(1);
        self.ended = Some(end);
    }

    /// Whether the run has ended and no handler is at work after its end.
    fn over(&self) -> bool {
        self.ended.is_some() && self.places.len() == 1
    }

    fn phase(&mut self, phase: Phase) {
        if let Some(place) = self.places.last_mut() {
            place.phase = phase;
        }
    }

    /// The place on top and its step; no step means that its list is done.
    fn top<'a>(&self, playbook: &'a Playbook) -> Option<(&Place, &'a Step)> {
        let place = self.places.last()?;
        let steps = match place.list {
            List::Main => &playbook.main,
            List::Handler(index) => &playbook.handlers.get(index)?.steps,
        };
        Some((place, steps.get(place.index)?))
    }

    /// The first message after the question is its reply.
    fn reply(&mut self) -> Option<String> {
        let at = self
            .inbox
            .iter()
            .position(|message| message.seq > self.answered_at)?;
        Some(self.inbox.remove(at).text)
    }

    /// The first message after `asked` that is one of the three replies to a doubt.
    fn decision(&mut self, asked: Seq) -> Option<Decision> {
        let found = self.inbox.iter().enumerate().find_map(|(at, message)| {
            let decision = Decision::of(&message.text)?;
            (message.seq > asked).then_some((at, decision))
        });
        let (at, decision) = found?;
        self.inbox.remove(at);
        Some(decision)
    }
}

/// What a human may say about a step in doubt.
#[derive(Clone, Copy)]
enum Decision {
    Repeat,
    Continue,
    Stop,
}

impl Decision {
    fn of(text: &str) -> Option<Self> {
        match text
            .trim()
            .trim_matches(['`', '"', '.', '!'])
            .to_lowercase()
            .as_str()
        {
            "repeat" => Some(Self::Repeat),
            "continue" => Some(Self::Continue),
            "stop" => Some(Self::Stop),
            _ => None,
        }
    }
}

/// What taking a step led to.
enum Flow {
    /// To the next step.
    Go,
    /// To an answer.
    Answer {
        call: Option<ToolCall>,
        end: Option<AnswerEnd>,
    },
}

impl Flow {
    const fn end(end: AnswerEnd) -> Self {
        Self::Answer {
            call: None,
            end: Some(end),
        }
    }
}

/// The beginning of a message, in quotes.
fn quoted(text: &str) -> String {
    let mut line: String = text.trim().chars().take(80).collect();
    if line.len() < text.trim().len() {
        line.push_str("...");
    }
    format!("{line:?}")
}
