//! A record as one line: seq, time, event, detail.

use longhaul_journal::Level;

use super::detail::detail;
use super::text::{cut, escaped};
use crate::api::RecordView;

/// How lines are to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether colour may be used; meaning never rests on it.
    pub(crate) colour: bool,
    /// Columns of the terminal; lines are cut there. `None` leaves them whole, for a pipe.
    pub(crate) width: Option<usize>,
}

/// Room for the longest common event, `tool.outcome_unknown`; a longer one pushes its detail to the right.
const EVENT: usize = 20;

/// The line over the lines.
pub(crate) fn heading() -> String {
    format!("{:>5}  {:<12}  {:<EVENT$}  detail", "seq", "time", "event")
}

/// A record as a line. Times are UTC, as in the record.
pub(crate) fn line(record: &RecordView, look: Look) -> String {
    let event = escaped(&record.type_name);
    let head = format!("{:>5}  {:<12}  ", record.seq, time_of_day(&record.ts));
    let detail = detail(record);
    let text = format!("{event:<EVENT$}  {}", escaped(detail.trim()));
    let text = match look.width {
        Some(width) => cut(text.trim_end(), width.saturating_sub(head.len()).max(EVENT)).into_owned(),
        None => text.trim_end().to_owned(),
    };
    match colour_of(record).filter(|_| look.colour) {
        Some(code) => format!("{head}\x1b[{code}m{text}\x1b[0m"),
        None => head + &text,
    }
}

/// `12:04:07.181` of `2026-01-02T12:04:07.181Z`.
fn time_of_day(ts: &str) -> &str {
    ts.split_once('T')
        .map_or(ts, |(_, time)| time.trim_end_matches('Z'))
}

fn colour_of(record: &RecordView) -> Option<&'static str> {
    match (record.type_name.as_str(), record.level) {
        ("session.failed" | "session.stop_unconfirmed" | "sandbox.setup_failed" | "runtime.crashed", _) => {
            Some("31")
        }
        ("tool.outcome_unknown" | "tool.failed" | "turn.stuck" | "session.paused", _) => Some("33"),
        ("session.completed", _) => Some("32"),
        ("user.message", _) => Some("36"),
        (_, Level::User) => Some("1"),
        (_, Level::Internal) => Some("2"),
        (_, Level::Progress) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(seq: u64, type_name: &str, level: Level, data: Value) -> RecordView {
        let view = json!({
            "id": format!("s_0.{seq}"), "seq": seq, "ts": "2026-01-02T12:04:07.181Z", "session": "s_0",
            "type": type_name, "level": level, "actor": { "kind": "agent" }, "data": data,
        });
        serde_json::from_value(view).expect("it has the shape of a record")
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let said = record(41, "agent.message", Level::User, json!({ "text": "hello" }));
        let archived = record(12345, "session.archived", Level::User, json!({}));
        let lines = [
            heading(),
            line(&said, Look::default()),
            line(&archived, Look::default()),
        ];
        assert_eq!(
            lines,
            [
                "  seq  time          event                 detail",
                "   41  12:04:07.181  agent.message         hello",
                "12345  12:04:07.181  session.archived",
            ]
        );
    }

    #[test]
    fn a_line_is_cut_on_a_terminal_and_whole_in_a_pipe() {
        let long = record(
            1,
            "agent.message",
            Level::User,
            json!({ "text": "x".repeat(200) }),
        );
        assert_eq!(
            line(
                &long,
                Look {
                    colour: false,
                    width: Some(80)
                }
            )
            .len(),
            80
        );
        assert!(line(&long, Look::default()).ends_with(&"x".repeat(200)));
    }

    #[test]
    fn what_an_agent_says_cannot_drive_the_terminal() {
        let hostile = record(
            1,
            "agent.message",
            Level::User,
            json!({ "text": "\u{1b}]0;owned\u{7}\nline two" }),
        );
        assert!(line(&hostile, Look::default()).ends_with("\\x1b]0;owned\\x07\\nline two"));
        let type_too = record(1, "\u{1b}[2J", Level::User, json!({}));
        assert!(!line(&type_too, Look::default()).contains('\u{1b}'));
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let failed = record(9, "session.failed", Level::User, json!({ "code": "brain_gone" }));
        let plain = line(&failed, Look::default());
        let coloured = line(
            &failed,
            Look {
                colour: true,
                width: None,
            },
        );
        assert_eq!(coloured.replace("\x1b[31m", "").replace("\x1b[0m", ""), plain);
        assert_ne!(coloured, plain);
    }
}
