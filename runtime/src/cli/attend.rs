//! Watching a session until it rests, and working for it while nobody serves: `longhaul attach`, and the larger part of
//! `longhaul run`.

use std::time::Duration;

use longhaul_actors::session::{AgentQuestion, ApprovalRequested, ArtifactCreated, ToolStarted};
use longhaul_journal::{Level, StreamId};
use serde::Deserialize;
use tokio::time::Instant;

use super::Outcome;
use super::args::Attach;
use super::patch::patch_of;
use super::reach::{Place, Reach};
use super::render::{cut, first_line, heading};
use super::serve::Stops;
use super::tail::print;
use super::ui::{Failure, Ui};
use crate::api::{Cancel, Code, EventsPage, EventsQuery, Problem, RecordView, SessionView, stream_id};

/// How many records of the past are shown, so that one sees where it stands.
const LAST: u64 = 10;
/// How long one question waits for a record.
const WAIT_MS: u64 = 20_000;
/// How long after a first Ctrl-C a second one cancels.
const SECOND_THOUGHTS: Duration = Duration::from_secs(3);
/// How long to wait before looking for a new host, and how often, once the old one has gone.
const RETRY: Duration = Duration::from_millis(250);
const RETRIES: u32 = 40;

pub(super) async fn attach(args: Attach, place: &Place, ui: &Ui) -> Outcome {
    let mut stops = Stops::new()?;
    let shown = place.to_read().await?.control().show(&args.id).await?;
    let stream = stream_id(&shown.id)?;
    let after = args
        .from
        .map_or(shown.head.saturating_sub(LAST), |from| from.saturating_sub(1));
    let reach = place.to_work(stream, ui).await?;
    let watch = Watch::new(place, ui, shown.id, stream, after, args.shown.level());
    watch.until_it_rests(reach, &mut stops).await
}

/// One session being watched.
pub(super) struct Watch<'a> {
    place: &'a Place,
    ui: &'a Ui,
    id: String,
    stream: StreamId,
    after: u64,
    level: Level,
    // Nobody reads what we print any more; the session goes on all the same.
    muted: bool,
    told_of_queue: bool,
    pressed: Pressed,
    seen: Seen,
}

/// What Ctrl-C has been taken to mean so far.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pressed {
    Never,
    /// Once: detach at this time, unless it is pressed again.
    Once(Instant),
    /// Twice: the session is being canceled.
    Twice,
}

/// What is worth remembering of the records that went by.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The act under way, in a line.
    running: Option<String>,
    question: Option<String>,
    /// The act that waits for a human's word.
    asked: Option<ApprovalRequested>,
    patch: Option<ArtifactCreated>,
}

/// How watching came to an end.
enum Ending {
    /// Nothing will happen until somebody says something, or ever.
    Rests,
    /// The person has seen enough.
    Detached,
    /// Whoever worked for the session is gone.
    HostGone,
}

impl<'a> Watch<'a> {
    /// Watches from the record after `after`, and shows records down to `level`.
    pub(super) fn new(
        place: &'a Place,
        ui: &'a Ui,
        id: String,
        stream: StreamId,
        after: u64,
        level: Level,
    ) -> Self {
        Self {
            place,
            ui,
            id,
            stream,
            after,
            level,
            muted: false,
            told_of_queue: false,
            pressed: Pressed::Never,
            seen: Seen::default(),
        }
    }

    /// Prints nothing but notes: what the session says is read elsewhere.
    pub(super) const fn without_records(mut self) -> Self {
        self.muted = true;
        self
    }

    /// Prints what happens until the session rests or the person detaches, then says what to do next.
    pub(super) async fn until_it_rests(mut self, reach: Reach, stops: &mut Stops) -> Outcome {
        if !self.ui.is_json() {
            self.show(|ui| ui.line(&heading()))?;
        }
        let mut reach = reach;
        let ending = loop {
            match self.follow(&reach, stops).await {
                Ok(Ending::HostGone) => {
                    reach.close().await;
                    reach = self.new_host().await?;
                }
                Ok(ending) => break Ok(ending),
                Err(failure) => break Err(failure),
            }
        };
        let outcome = match ending {
            Ok(Ending::Detached) => {
                self.say_how_to_come_back(reach.is_here());
                Ok(130)
            }
            Ok(_) => self.conclude(&reach).await,
            Err(failure) => Err(failure),
        };
        reach.close().await;
        outcome
    }

    async fn follow(&mut self, reach: &Reach, stops: &mut Stops) -> Result<Ending, Failure> {
        loop {
            let query = EventsQuery {
                after: self.after,
                level: Level::Internal,
                wait_ms: WAIT_MS,
                ..EventsQuery::default()
            };
            let asked = tokio::select! {
                asked = reach.control().events(&self.id, query) => asked,
                () = stops.next() => match self.pressed {
                    Pressed::Never => {
                        self.ui.note("detaching; Ctrl-C again cancels the session");
                        self.pressed = Pressed::Once(Instant::now() + SECOND_THOUGHTS);
                        continue;
                    }
                    Pressed::Once(_) => {
                        reach.control().cancel(&self.id, Cancel::default()).await?;
                        self.ui.note("canceling; once more to detach");
                        self.pressed = Pressed::Twice;
                        continue;
                    }
                    Pressed::Twice => return Ok(Ending::Detached),
                },
                () = self.detaches() => return Ok(Ending::Detached),
            };
            let page = match asked {
                Ok(page) => page,
                Err(problem) if problem.code == Code::NotServing && !reach.is_here() => {
                    return Ok(Ending::HostGone);
                }
                Err(problem) => return Err(problem.into()),
            };
            self.take(&page)?;
            if page.events.is_empty() {
                // A host of our own that can write nothing any more would keep us waiting for ever.
                reach.control().writable().await?;
            }
            if page.events.is_empty() && page.state == "queued" && !self.told_of_queue {
                self.ui.note("note: it still waits for its turn; whoever serves is busy, or works for another session only");
                self.told_of_queue = true;
            }
            if page.next_after >= page.head && (page.ended || rests(&page.state)) {
                return Ok(Ending::Rests);
            }
        }
    }

    fn take(&mut self, page: &EventsPage) -> Result<(), Failure> {
        for record in &page.events {
            self.seen.take(record);
            if record.level <= self.level {
                self.show(|ui| print(record, ui))?;
            }
        }
        self.after = page.next_after;
        Ok(())
    }

    fn show(&mut self, print: impl FnOnce(&Ui) -> Result<(), Failure>) -> Result<(), Failure> {
        if !self.muted {
            match print(self.ui) {
                Err(Failure::PipeClosed) => self.muted = true,
                printed => return printed,
            }
        }
        Ok(())
    }

    /// Resolves once the time for second thoughts after a first Ctrl-C is over.
    async fn detaches(&self) {
        match self.pressed {
            Pressed::Once(at) => tokio::time::sleep_until(at).await,
            Pressed::Never | Pressed::Twice => std::future::pending().await,
        }
    }

    /// The old host is gone: somebody else's turn, or ours.
    async fn new_host(&self) -> Result<Reach, Problem> {
        self.ui
            .note("note: whoever served is gone; looking for another host");
        let mut left = RETRIES;
        loop {
            match self.place.to_work(self.stream, self.ui).await {
                // Another one has taken the directory and does not listen yet, or does no longer.
                Err(problem) if left > 0 && matches!(problem.code, Code::DataDirInUse | Code::NotServing) => {
                    left -= 1
                }
                found => return found,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn say_how_to_come_back(&self, was_here: bool) {
        let id = &self.id;
        if let Some(running) = &self.seen.running {
            let whose = if was_here { "goes on by itself" } else { "goes on" };
            self.ui.note(&format!("still running, and {whose}: {running}"));
        }
        if was_here {
            self.ui.note(&format!(
                "nobody works for {id} now; go on with: longhaul attach {id} or longhaul serve"
            ));
        } else {
            self.ui.note(&format!("watch again with: longhaul attach {id}"));
        }
        self.ui.note(&format!("end it with: longhaul cancel {id}"));
    }

    async fn conclude(&self, reach: &Reach) -> Outcome {
        let session = reach.control().show(&self.id).await?;
        for line in conclusion(&session, &self.seen) {
            self.ui.note(&line);
        }
        Ok(if self.pressed == Pressed::Twice {
            130
        } else {
            exit_code(&session)
        })
    }
}

impl Seen {
    fn take(&mut self, record: &RecordView) {
        let data = &record.stored.data;
        match record.type_name.as_str() {
            "tool.started" => self.running = ToolStarted::deserialize(data).ok().map(|tool| tool.brief),
            "command.run"
            | "file.write"
            | "file.read"
            | "tool.completed"
            | "tool.failed"
            | "tool.outcome_unknown"
            | "turn.completed" => self.running = None,
            "approval.requested" => self.asked = ApprovalRequested::deserialize(data).ok(),
            "agent.question" => self.question = AgentQuestion::deserialize(data).ok().map(|asked| asked.text),
            "artifact.created" => {
                self.running = None;
                self.patch = patch_of(record).or(self.patch.take());
            }
            _ => {}
        }
    }
}

/// Whether nothing happens by itself any more.
pub(super) fn rests(state: &str) -> bool {
    matches!(
        state,
        "awaiting_input"
            | "awaiting_approval"
            | "idle"
            | "hibernated"
            | "paused"
            | "completed"
            | "failed"
            | "canceled"
            | "quarantined"
    )
}

/// How a session that rests came out, as an exit code.
fn exit_code(session: &SessionView) -> u8 {
    match (session.state.as_str(), session.paused_reason.as_deref()) {
        ("completed" | "idle" | "hibernated", _) => 0,
        ("paused", Some("credits" | "budget")) => 6,
        ("paused", Some("damaged")) | ("quarantined", _) => 8,
        ("paused" | "awaiting_input" | "awaiting_approval", _) => 7,
        _ => 1,
    }
}

/// What to say at the end: how it stands, what came out, and what to type next.
fn conclusion(session: &SessionView, seen: &Seen) -> Vec<String> {
    let id = &session.id;
    let state = session.state.as_str();
    let mut lines = vec![
        match (session.outcome.as_str(), session.paused_reason.as_deref()) {
            (_, Some(reason)) => format!("{state}: {}", reason.replace('_', " ")),
            ("", None) => state.replace('_', " "),
            (outcome, None) => format!("{state}: {outcome}"),
        },
    ];
    match state {
        "awaiting_input" => {
            let question = seen.question.as_deref().map_or("", first_line);
            if !question.is_empty() {
                lines.push(format!("it asks: {}", cut(question, 200)));
            }
            lines.push(format!(
                "answer with: longhaul send {id} \"TEXT\", then: longhaul attach {id}"
            ));
        }
        "awaiting_approval" => {
            if let Some(asked) = &seen.asked {
                let action = cut(first_line(&asked.action), 200);
                lines.push(format!(
                    "it wants to: {action} ({}, risk {})",
                    asked.category, asked.risk
                ));
            }
            if let Some(asked) = &session.approval {
                let asked = &asked.id;
                lines.push(format!("see all of it with: longhaul approvals show {asked}"));
                lines.push(format!(
                    "approve with: longhaul approvals approve {asked} --evidence \"TEXT\", then: longhaul attach {id}"
                ));
                lines.push(format!(
                    "deny with: longhaul approvals deny {asked} --reason \"TEXT\""
                ));
            }
        }
        "idle" | "hibernated" => {
            lines.push(format!(
                "say more with: longhaul send {id} \"TEXT\", then: longhaul attach {id}"
            ));
        }
        "paused" => lines.extend(ways_out_of_a_pause(session)),
        _ => {}
    }
    if seen.patch.is_some() {
        lines.push(format!("take its changes with: longhaul patch {id} | git apply"));
    }
    lines.push(format!("read the log with: longhaul tail {id}"));
    lines
}

/// How a session goes on that is paused. Where money is missing, the pause says which and where it comes from.
fn ways_out_of_a_pause(session: &SessionView) -> Vec<String> {
    let (id, why) = (&session.id, first_line(&session.paused_detail));
    let budget = match session.paused_reason.as_deref() {
        Some("budget") => " --budget AMOUNT",
        _ => "",
    };
    let go_on = format!("go on with: longhaul resume {id}{budget}, then: longhaul attach {id}");
    let because = (!why.is_empty()).then(|| format!("because {}", cut(why, 300)));
    because.into_iter().chain([go_on]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::render::tests::session;
    use super::*;

    fn record(type_name: &str, data: Value) -> RecordView {
        let view = json!({
            "id": "s_0.7", "seq": 7, "ts": "2026-01-02T12:04:07.181Z", "session": "s_0", "type": type_name,
            "level": "user", "actor": { "kind": "runtime" }, "data": data,
        });
        serde_json::from_value(view).expect("it has the shape of a record")
    }

    fn at_rest(state: &str, paused_reason: Option<&str>) -> SessionView {
        SessionView {
            state: state.into(),
            paused_reason: paused_reason.map(Into::into),
            ..session()
        }
    }

    #[test]
    fn the_exit_code_tells_how_it_stands() {
        let rows = [
            ("completed", None, 0),
            ("idle", None, 0),
            ("failed", None, 1),
            ("canceled", None, 1),
            ("awaiting_input", None, 7),
            ("awaiting_approval", None, 7),
            ("paused", Some("requested"), 7),
            ("paused", Some("crash_loop"), 7),
            ("paused", Some("budget"), 6),
            ("paused", Some("damaged"), 8),
            ("quarantined", None, 8),
        ];
        for (state, reason, code) in rows {
            assert!(rests(state), "{state}");
            assert_eq!(exit_code(&at_rest(state, reason)), code, "{state} {reason:?}");
        }
    }

    #[test]
    fn what_works_or_waits_for_a_place_does_not_rest() {
        for state in ["queued", "starting", "running", "recovering", "stopping"] {
            assert!(!rests(state), "{state}");
        }
    }

    #[test]
    fn a_question_comes_with_the_way_to_answer_it() {
        let mut seen = Seen::default();
        seen.take(&record(
            "agent.question",
            json!({ "text": "which branch?\nthere are two" }),
        ));
        let lines = conclusion(&at_rest("awaiting_input", None), &seen);
        assert_eq!(
            lines,
            [
                "awaiting input",
                "it asks: which branch?",
                "answer with: longhaul send s_0190aaaabbbbccccddddeeeeffff0000 \"TEXT\", \
                 then: longhaul attach s_0190aaaabbbbccccddddeeeeffff0000",
                "read the log with: longhaul tail s_0190aaaabbbbccccddddeeeeffff0000",
            ]
        );
    }

    #[test]
    fn a_pause_for_lack_of_money_says_where_more_comes_from() {
        let paused = |reason, detail: &str| SessionView {
            paused_detail: detail.into(),
            ..at_rest("paused", Some(reason))
        };
        let lines = conclusion(&paused("credits", "nothing is left; top it up"), &Seen::default());
        assert_eq!(lines[1], "because nothing is left; top it up");
        let lines = conclusion(&paused("budget", "it is spent; raise it"), &Seen::default());
        assert!(
            lines[2].contains("0000 --budget AMOUNT, then: longhaul attach"),
            "{lines:?}"
        );
        let lines = conclusion(&paused("requested", ""), &Seen::default());
        assert!(lines[1].starts_with("go on with: longhaul resume"), "{lines:?}");
    }

    #[test]
    fn a_patch_comes_with_the_way_to_take_it() {
        let mut seen = Seen::default();
        let patch =
            json!({ "step": 1, "kind": "patch", "name": "changes.patch", "sha256": "ab", "bytes": 3 });
        seen.take(&record("artifact.created", patch));
        seen.take(&record(
            "artifact.created",
            json!({ "step": 2, "kind": "report", "name": "r", "sha256": "cd", "bytes": 3 }),
        ));
        let lines = conclusion(&at_rest("completed", None), &seen);
        assert!(
            lines.iter().any(|line| line.contains("longhaul patch s_0190")),
            "{lines:?}"
        );
    }

    #[test]
    fn the_command_that_still_runs_is_known_until_it_ends() {
        let mut seen = Seen::default();
        let started = json!({ "step": 1, "tool": "exec", "brief": "make test", "digest": "", "class": "reattach", "limitMs": 1 });
        seen.take(&record("tool.started", started));
        assert_eq!(seen.running.as_deref(), Some("make test"));
        seen.take(&record(
            "tool.outcome_unknown",
            json!({ "step": 1, "why": "rebooted" }),
        ));
        assert_eq!(seen, Seen::default());
    }
}
