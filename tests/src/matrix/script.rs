//! What the brain of the matrix wants: a flat list of acts and turn ends, said in groups.
//!
//! The brain is a pure function of its window. It counts what was begun so far and says the rest of the group it stands
//! in; and it repeats the messages it has heard since it last answered, so that the log itself shows whether one was
//! missed or heard twice (B-STEER-2).

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure, Seen};
use longhaul_actors::session::{ActorKind, Answer, AnswerEnd, Body, Tool, ToolCall, TurnEnd, UserMessage};
use longhaul_journal::{Seq, StreamId};
use serde_json::{Value, json};

use super::outside::Outside;

/// One thing the brain wants.
#[derive(Clone, Debug)]
pub enum Wish {
    /// An act of the hands.
    Act(ToolCall),
    /// The end of the turn.
    End(AnswerEnd),
}

/// Everything the brain wants, in groups that are said at once.
#[derive(Clone, Debug)]
pub struct Script(Vec<Vec<Wish>>);

/// Rounds of ordinary work in the script; each has every kind of act, and a message while a command runs.
const ROUNDS: usize = 6;

impl Script {
    /// The script of the matrix: every kind of act, every mode of message, rests, a question, an artifact, a
    /// suggestion, the end.
    pub fn of_the_matrix() -> Self {
        let mut groups = Vec::new();
        for round in 0..ROUNDS {
            let file = format!("{round}.txt");
            groups.push(vec![
                run(&format!("append work-{round}")),
                write(&file, "one\n"),
                edit(&file, "one", &format!("two of {round}")),
                read(&file),
            ]);
            groups.push(vec![
                run(&format!("await message:steer-{round}")),
                run(&format!("append after-steer-{round}")),
            ]);
            groups.push(vec![write(&format!("{round}.done"), "done\n"), yields()]);
        }
        groups.extend([
            vec![run("await message:queue-1"), run("append after-queue"), yields()],
            vec![run("hang interrupt-1"), run("append after-interrupt")],
            vec![run("await pause:1"), run("append after-pause")],
            vec![run("hang pause-now"), run("append after-pause-now"), yields()],
            vec![Wish::End(AnswerEnd::Ask {
                text: "which?".into(),
            })],
            vec![run("append gated-1"), run("append after-gated")],
            vec![run("append gated-refused"), run("append after-refused")],
            vec![
                write("report.md", "all is well\n"),
                act("artifact", json!({"kind": "report", "path": "report.md"})),
            ],
            vec![
                write("idea.md", "# cache the index\n\nit is slow\n"),
                act("artifact", json!({"kind": "task_suggestion", "path": "idea.md"})),
            ],
            vec![Wish::End(AnswerEnd::Finish {
                summary: "done".into(),
            })],
        ]);
        Self(groups)
    }

    /// Its acts, in order.
    pub fn acts(&self) -> Vec<Tool> {
        let wishes = self.0.iter().flatten();
        wishes
            .filter_map(|wish| match wish {
                Wish::Act(call) => Some(Tool::parse(call).expect("the script makes calls that fit")),
                Wish::End(_) => None,
            })
            .collect()
    }

    /// What comes after so many wishes were begun: the rest of the group.
    fn after(&self, begun: usize) -> Vec<Wish> {
        let mut first = 0;
        for group in &self.0 {
            if begun < first + group.len() {
                return group[begun - first..].to_vec();
            }
            first += group.len();
        }
        // Its end was refused because something was said meanwhile; it has nothing to add.
        self.0.last().cloned().unwrap_or_default()
    }
}

fn act(tool: &str, args: Value) -> Wish {
    Wish::Act(ToolCall {
        tool: tool.into(),
        args,
    })
}

fn run(line: &str) -> Wish {
    act("exec", json!({ "command": line }))
}

fn write(path: &str, content: &str) -> Wish {
    act("write", json!({ "path": path, "content": content }))
}

fn edit(path: &str, old: &str, new: &str) -> Wish {
    act("edit", json!({ "path": path, "old": old, "new": new }))
}

fn read(path: &str) -> Wish {
    act("read", json!({ "path": path }))
}

fn yields() -> Wish {
    Wish::End(AnswerEnd::Yield)
}

/// The brain: the script, and the count of its calls, which is kept outside and survives every crash.
#[derive(Clone, Debug)]
pub struct ScriptedBrain {
    script: Script,
    outside: Outside,
}

impl ScriptedBrain {
    /// A brain that follows `script`.
    pub fn new(script: Script, outside: Outside) -> Self {
        Self { script, outside }
    }
}

impl Brain for ScriptedBrain {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        let brain = self.clone();
        async move {
            brain.outside.thought(call.step);
            let window = call
                .window
                .read_all(Seq::ZERO)
                .map_err(|error| BrainFailure::Died(error.to_string()))?;
            Ok(answer(&brain.script, &window))
        }
        .boxed()
    }

    fn release(&self, _session: StreamId) -> BoxFuture<'static, ()> {
        futures_util::future::ready(()).boxed()
    }
}

fn answer(script: &Script, window: &[Seen]) -> Answer {
    let begun = window.iter().filter(|seen| is_begun(seen)).count();
    let mut answer = Answer {
        say: Some(format!("#{begun} heard [{}]", heard(window).join(", "))),
        ..Answer::default()
    };
    for wish in script.after(begun) {
        match wish {
            Wish::Act(call) => answer.calls.push(call),
            Wish::End(end) => answer.end = Some(end),
        }
    }
    answer
}

fn is_begun(seen: &Seen) -> bool {
    match &seen.event.body {
        Body::ToolStarted(_) => seen.event.actor.kind == ActorKind::Agent,
        Body::TurnCompleted(turn) => matches!(turn.reason, TurnEnd::Yielded | TurnEnd::NeedsInput),
        _ => false,
    }
}

/// Messages that turns and steps have taken since the brain last answered.
fn heard(window: &[Seen]) -> Vec<String> {
    let mut unread: Vec<(Seq, &UserMessage)> = Vec::new();
    let mut heard: Vec<&UserMessage> = Vec::new();
    for seen in window {
        match &seen.event.body {
            Body::UserMessage(message) => unread.push((seen.seq, message)),
            Body::TurnStarted(turn) => {
                heard.extend(
                    unread
                        .extract_if(.., |(seq, _)| *seq <= turn.input_to_seq)
                        .map(|(_, m)| m),
                );
            }
            Body::TurnSteered(steered) => {
                heard.extend(
                    unread
                        .extract_if(.., |(seq, _)| *seq == steered.message_seq)
                        .map(|(_, m)| m),
                );
            }
            Body::ModelCompleted(completed) if completed.failure.is_none() => heard.clear(),
            _ => {}
        }
    }
    heard.iter().map(|message| message.text.clone()).collect()
}
