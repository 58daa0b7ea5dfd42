//! Reading what an agent suggests: a JSON object, or a text whose first line is the title.

use serde::Deserialize;

use super::event::{Grade, Wanted};

/// Largest suggestion that is taken, bytes.
pub const SUGGESTION_LIMIT: u64 = 64 << 10;
/// Longest title, characters.
pub const TITLE_LIMIT: usize = 200;
/// How much of the body is kept beside the artifact, characters.
const EXCERPT: usize = 2_000;
/// Longest goal, bytes: a record has to hold it.
const GOAL_LIMIT: usize = 16 << 10;

/// The form of a suggestion that is a JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suggestion {
    /// A line.
    pub title: String,
    /// What else there is to say.
    #[serde(default)]
    pub body: String,
    /// The goal of a run that works on it.
    #[serde(default)]
    pub goal: Option<String>,
    /// How urgent.
    #[serde(default)]
    pub priority: Grade,
    /// How much may go wrong in doing it.
    #[serde(default)]
    pub risk: Grade,
}

/// What the bytes of a suggestion want.
///
/// # Errors
/// What is wrong with them and what would be right, for the brain that wrote them.
pub fn read_suggestion(bytes: &[u8]) -> Result<Wanted, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("a suggestion is UTF-8 text; byte {} is not", error.valid_up_to()))?;
    let suggestion = if text.trim_start().starts_with('{') {
        serde_json::from_str(text).map_err(|error| {
            format!(
                "a suggestion that begins with {{ is a JSON object with title, and if you like body, goal, priority and \
                 risk (low, medium, high): {error}"
            )
        })?
    } else {
        plain(text)
    };
    let title = suggestion.title.trim();
    if title.is_empty() {
        return Err("a suggestion needs a title: its first line, or the field title of a JSON object".into());
    }
    suggestion.goal.as_deref().map_or(Ok(()), check_goal)?;
    let line: String = title
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    Ok(Wanted {
        title: cut(&line, TITLE_LIMIT),
        body: cut(suggestion.body.trim(), EXCERPT),
        goal: suggestion.goal,
        priority: suggestion.priority,
        risk: suggestion.risk,
    })
}

/// A goal can be given to a run.
pub(super) fn check_goal(goal: &str) -> Result<(), String> {
    if goal.trim().is_empty() || goal.len() > GOAL_LIMIT {
        return Err(format!("a goal has 1 to {GOAL_LIMIT} bytes and is not blank"));
    }
    Ok(())
}

/// The first line that says something is the title, without the marks of a heading; the rest is the body.
fn plain(text: &str) -> Suggestion {
    let text = text.trim_start();
    let (title, body) = text.split_once('\n').unwrap_or((text, ""));
    Suggestion {
        title: title.trim_start_matches('#').trim().to_owned(),
        body: body.to_owned(),
        ..Suggestion::default()
    }
}

/// At most so many characters, the last of which say that something is missing.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 3).collect();
    kept + "..."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_its_title_in_the_first_line_that_says_something() {
        let wanted =
            read_suggestion(b"\n\n# Cache the index \n\nIt is read for each request.\n").expect("it fits");
        assert_eq!(
            (wanted.title.as_str(), wanted.body.as_str(), wanted.priority),
            ("Cache the index", "It is read for each request.", Grade::Medium)
        );
    }

    #[test]
    fn an_object_says_how_urgent_and_how_risky() {
        let wanted = read_suggestion(
            br#"{"title": "Rotate", "goal": "rotate the log", "priority": "high", "risk": "low"}"#,
        );
        let wanted = wanted.expect("it fits");
        assert_eq!(
            (wanted.goal.as_deref(), wanted.priority, wanted.risk),
            (Some("rotate the log"), Grade::High, Grade::Low)
        );
    }

    #[test]
    fn what_is_no_suggestion_says_what_would_be() {
        for (bytes, word) in [
            (&b""[..], "title"),
            (b"   \n\n", "title"),
            (b"###\nbody", "title"),
            (b"\xff\xfe", "UTF-8"),
            (b"{\"titel\": \"x\"}", "titel"),
            (b"{\"title\": \"x\", \"priority\": \"urgent\"}", "urgent"),
            (b"{\"title\": \"x\"", "JSON"),
            (b"{\"title\": \" \"}", "title"),
            (b"{\"title\": \"x\", \"goal\": \"\"}", "goal"),
        ] {
            let wrong = read_suggestion(bytes).expect_err("it is none");
            assert!(wrong.contains(word), "{wrong}");
        }
    }

    #[test]
    fn what_is_long_is_cut_between_letters() {
        let long = "\u{e4}".repeat(5_000);
        let wanted = read_suggestion(format!("{long}\n{long}").as_bytes()).expect("it fits");
        assert_eq!(
            (wanted.title.chars().count(), wanted.body.chars().count()),
            (TITLE_LIMIT, EXCERPT)
        );
        let hidden = read_suggestion("a\u{1b}[31m b".as_bytes()).expect("it fits");
        assert_eq!(hidden.title, "a [31m b");
    }
}
