//! The lines that go over stdio, as values: `docs/brain-protocol.md` in code. Pure.

use chrono::{DateTime, SecondsFormat, Utc};
use longhaul_actors::ports::Seen;
use longhaul_actors::session::{Answer, AnswerEnd, ToolCall, Usage};
use longhaul_journal::{Level, Seq, StreamId};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// Version of the protocol that is spoken.
pub const PROTOCOL: u32 = 1;

/// The first line to a child.
pub(super) fn hello(session: StreamId, goal: &str) -> String {
    line(&Hello {
        r#type: "hello",
        protocol: PROTOCOL,
        session: session.to_string(),
        goal,
        tools: &TOOLS,
    })
}

/// Records ahead of the question, when they are too many for one line.
pub(super) fn records(page: &[Seen]) -> String {
    line(&Records {
        r#type: "records",
        records: page.iter().map(record).collect(),
    })
}

/// The question: what next?
pub(super) fn next(step: u64, attempt: u32, window_to: Seq, page: &[Seen]) -> String {
    line(&Next {
        r#type: "next",
        step,
        attempt,
        window_to,
        records: page.iter().map(record).collect(),
    })
}

/// What a child may say.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// The answer to a step.
    Answer { step: u64, answer: Box<Answer> },
    /// The step cannot be answered before somebody has paid.
    Unpaid { step: u64, detail: String },
    /// A line for the log of the program.
    Log(String),
    /// An empty line.
    Nothing,
}

/// Understands one line of a child.
///
/// # Errors
/// What is wrong with it and what would be right.
pub(super) fn understand(line: &[u8]) -> Result<Said, String> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(Said::Nothing);
    }
    let kind: Kind = serde_json::from_slice(line).map_err(|error| {
        format!(
            "a line must be a JSON object with a `type` ({error}): {}",
            shortened(line)
        )
    })?;
    let unfit = |error: serde_json::Error| format!("{error}: {}", shortened(line));
    match kind.r#type.as_str() {
        "answer" => {
            let given: GivenAnswer = serde_json::from_slice(line).map_err(unfit)?;
            let answer = Answer {
                say: given.say.filter(|text| !text.trim().is_empty()),
                calls: given.calls,
                end: given.end,
                usage: given.usage,
            };
            if answer.say.is_none() && answer.calls.is_empty() && answer.end.is_none() {
                return Err(format!(
                    "an answer needs one of say, calls, end: {}",
                    shortened(line)
                ));
            }
            let step = given.step;
            let answer = Box::new(answer);
            Ok(Said::Answer { step, answer })
        }
        "unpaid" => {
            let GivenUnpaid { step, detail } = serde_json::from_slice(line).map_err(unfit)?;
            Ok(Said::Unpaid { step, detail })
        }
        "log" => {
            let given: GivenLog = serde_json::from_slice(line).map_err(unfit)?;
            Ok(Said::Log(given.text))
        }
        other => Err(format!(
            "there is no line of type {other:?}; there are answer, unpaid and log"
        )),
    }
}

/// The tools with their arguments in brief; a test holds this table against the parser of calls.
const TOOLS: [Offer; 8] = [
    Offer {
        name: "exec",
        about: "runs a command in the workspace",
        args: &[
            (
                "command",
                "a line for sh -c, or an array of words to start without a shell",
            ),
            ("cwd", "optional: folder inside the workspace"),
            ("env", "optional: object of additions to the environment"),
            ("stdin", "optional: text on its standard input"),
            ("timeoutMs", "optional: milliseconds it may take"),
        ],
    },
    Offer {
        name: "read",
        about: "reads a file",
        args: &[("path", "inside the workspace")],
    },
    Offer {
        name: "write",
        about: "writes a whole file, making its folders",
        args: &[("path", "inside the workspace"), ("content", "the new text")],
    },
    Offer {
        name: "edit",
        about: "replaces the one place in a file where `old` stands",
        args: &[
            ("path", "inside the workspace"),
            ("old", "stands there exactly once"),
            ("new", "is to stand there"),
        ],
    },
    Offer {
        name: "list",
        about: "lists a folder",
        args: &[("path", "optional: inside the workspace")],
    },
    Offer {
        name: "artifact",
        about: "keeps a file of the workspace",
        args: &[
            (
                "kind",
                "report, research_note, content_draft, patch or task_suggestion: text with its title in the first line, or a JSON \
                 object with title and, if you like, body, goal, priority and risk (low, medium, high)",
            ),
            ("path", "inside the workspace"),
        ],
    },
    Offer {
        name: "patch",
        about: "keeps all changes of the workspace as a patch",
        args: &[],
    },
    Offer {
        name: "service",
        about: "starts a program that goes on beside the steps, reads what it said last, or ends it; commands reach it on \
                localhost",
        args: &[
            ("action", "start, logs or stop"),
            (
                "name",
                "what it is called: lower-case letters, digits, '-' and '_'",
            ),
            ("command", "start: a line for sh -c, or an array of words"),
            ("cwd", "start, optional: folder inside the workspace"),
            ("env", "start, optional: object of additions to the environment"),
        ],
    },
];

/// A tool as a brain is told of it.
#[derive(Serialize)]
struct Offer {
    name: &'static str,
    about: &'static str,
    #[serde(serialize_with = "as_object")]
    args: &'static [(&'static str, &'static str)],
}

fn as_object<S: Serializer>(args: &&[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(args.iter().copied())
}

#[derive(Serialize)]
struct Hello<'a> {
    r#type: &'static str,
    protocol: u32,
    session: String,
    goal: &'a str,
    tools: &'static [Offer],
}

#[derive(Serialize)]
struct Records {
    r#type: &'static str,
    records: Vec<WireRecord>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Next {
    r#type: &'static str,
    step: u64,
    attempt: u32,
    window_to: Seq,
    records: Vec<WireRecord>,
}

#[derive(Serialize)]
struct WireRecord {
    seq: Seq,
    ts: String,
    r#type: &'static str,
    level: Level,
    actor: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Seq>,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Stored {
    actor: Box<RawValue>,
    #[serde(default)]
    turn: Option<u32>,
    data: Box<RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    r#type: String,
}

#[derive(Deserialize)]
struct GivenAnswer {
    step: u64,
    #[serde(default)]
    say: Option<String>,
    #[serde(default)]
    calls: Vec<ToolCall>,
    #[serde(default)]
    end: Option<AnswerEnd>,
    #[serde(default)]
    usage: Usage,
}

#[derive(Deserialize)]
struct GivenUnpaid {
    step: u64,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
struct GivenLog {
    #[serde(default)]
    text: String,
}

fn record(seen: &Seen) -> WireRecord {
    let stored: Stored = serde_json::from_slice(&seen.event.encode().payload)
        .expect("an event encodes to an object with actor, turn and data");
    WireRecord {
        seq: seen.seq,
        ts: timestamp(seen.time_ms),
        r#type: seen.event.body.type_name(),
        level: seen.event.body.level(),
        actor: stored.actor,
        turn: stored.turn,
        cause: seen.event.cause,
        data: stored.data,
    }
}

fn timestamp(ms: u64) -> String {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis);
    time.unwrap_or(DateTime::<Utc>::MAX_UTC)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("plain structs with text keys always serialize");
    line.push('\n');
    line
}

/// The beginning of a line, printable, for an error.
pub(super) fn shortened(line: &[u8]) -> String {
    const SHOWN: usize = 160;
    let head = &line[..line.len().min(SHOWN)];
    let dots = if line.len() > SHOWN { "..." } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(head))
}

#[cfg(test)]
mod tests {
    use longhaul_actors::session::{Actor, Event, SendMode, Tool, UserMessage};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_tool_of_the_hands_is_offered() {
        let offered: Vec<&str> = TOOLS.iter().map(|offer| offer.name).collect();
        assert_eq!(offered, Tool::NAMES);
        for Offer { name, args, .. } in TOOLS {
            let named: Vec<&str> = args.iter().map(|(arg, _)| *arg).collect();
            let values = named.iter().map(|arg| {
                let value = match *arg {
                    "kind" => json!("report"),
                    "action" => json!("start"),
                    "env" => json!({}),
                    "timeoutMs" => json!(1),
                    _ => json!("x"),
                };
                ((*arg).to_owned(), value)
            });
            let args = Value::Object(values.collect());
            let tool = name.into();
            Tool::parse(&ToolCall { tool, args }).expect("what is offered is what is taken");
        }
    }

    #[test]
    fn a_record_goes_out_in_the_wire_shape() {
        let message = UserMessage {
            text: "hi\nthere".into(),
            mode: SendMode::Steer,
            idempotency_key: None,
        };
        let seen = Seen {
            seq: Seq(7),
            time_ms: 1_700_000_000_123,
            event: Event {
                actor: Actor::human("local"),
                turn: Some(2),
                cause: None,
                body: message.into(),
            },
        };
        let line = next(3, 1, Seq(7), &[seen]);
        assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let expected = json!({
            "type": "next", "step": 3, "attempt": 1, "windowTo": 7,
            "records": [{
                "seq": 7, "ts": "2023-11-14T22:13:20.123Z", "type": "user.message", "level": "user",
                "actor": {"kind": "human", "id": "local"}, "turn": 2,
                "data": {"text": "hi\nthere", "mode": "steer"},
            }],
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn an_answer_is_understood_and_unknown_fields_are_passed_over() {
        let line = br#"{"type":"answer","step":4,"say":"ok","calls":[{"tool":"patch"}],"end":{"kind":"finish","mood":1},"x":2}"#;
        let Ok(Said::Answer { step: 4, answer }) = understand(line) else {
            panic!("{:?}", understand(line))
        };
        assert_eq!(answer.say.as_deref(), Some("ok"));
        assert_eq!(
            answer.end,
            Some(AnswerEnd::Finish {
                summary: String::new()
            })
        );
        assert_eq!(
            understand(br#"{"type":"log","text":"x"}"#),
            Ok(Said::Log("x".into()))
        );
        assert_eq!(understand(b" \r"), Ok(Said::Nothing));
    }

    #[test]
    fn the_lines_that_the_protocol_page_shows_are_understood() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/brain-protocol.md");
        let page = std::fs::read_to_string(page).expect("the page stands beside the code");
        let lines = page.lines().filter_map(|line| line.strip_prefix("    < "));
        let said: Vec<Said> = lines
            .map(|line| understand(line.as_bytes()).expect(line))
            .collect();
        assert!(said.len() >= 4, "the page shows what a brain says: {said:?}");
    }

    #[test]
    fn rubbish_is_shown_with_what_would_be_right() {
        for (line, told) in [
            (
                &b"Traceback (most recent call last):"[..],
                "a line must be a JSON object with a `type`",
            ),
            (b"{}", "missing field `type`"),
            (br#"{"type":"final"}"#, "there are answer, unpaid and log"),
            (br#"{"type":"answer"}"#, "missing field `step`"),
            (
                br#"{"type":"answer","step":1}"#,
                "an answer needs one of say, calls, end",
            ),
            (
                br#"{"type":"answer","step":1,"end":{"kind":"done"}}"#,
                "unknown variant `done`",
            ),
            (b"\xff\xfe", "a line must be"),
        ] {
            let wrong = understand(line).expect_err("rubbish");
            assert!(wrong.contains(told), "{wrong}");
        }
        assert!(understand(&[b'x'; 100_000]).expect_err("rubbish").len() < 400);
    }
}
