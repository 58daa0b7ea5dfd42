//! Text from elsewhere, made safe and short for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with everything spelled out that a terminal would act on or that would hide what stands there: control
/// characters (a goal or an output line may hold escape sequences) and marks that turn the direction of writing.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) && c.is_ascii() => {
                let _ = write!(safe, "\\x{:02x}", u32::from(c));
            }
            c if is_unsafe(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// JSON text whose strings are spelled so that a terminal shows them and does not act on them. It still means the same:
/// such characters stand in JSON only inside strings, where `\u` may be written for them.
pub(crate) fn escaped_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if is_unsafe(c) {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first line that says something, without the spaces around it.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("")
}

/// The last line that says something, without the spaces around it.
pub(crate) fn last_line(text: &str) -> &str {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("")
}

/// At most `columns` columns of it, ending in `...` when something was left out.
///
/// A character beyond ASCII counts as two columns: a line may then end early, but never wraps.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    let width = |c: char| if c.is_ascii() { 1 } else { 2 };
    if text.len() <= columns || text.chars().map(width).sum::<usize>() <= columns {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut used) = (String::new(), 3);
    for c in text.chars() {
        used += width(c);
        if used > columns {
            break;
        }
        kept.push(c);
    }
    kept.push_str("...");
    Cow::Owned(kept)
}

/// A size as people say it: `512 B`, `1.5 KiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut whole, mut rest, mut unit) = (bytes, 0, 0);
    while whole >= 1024 && unit < UNITS.len() {
        (whole, rest) = (whole / 1024, whole % 1024);
        unit += 1;
    }
    format!("{whole}.{} {}", rest * 10 / 1024, UNITS[unit - 1])
}

/// A span of time as people say it: `80ms`, `1.2s`, `3m 20s`, `5h 2m`, `4d 1h`.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {}h", s / 86_400, s / 3600 % 24),
    }
}

/// `1 step`, `2 steps`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_gets_through() {
        assert_eq!(escaped("plain text, päivää"), "plain text, päivää");
        assert_eq!(
            escaped("\x1b[2Jgone\r\nnext\t\x07"),
            "\\x1b[2Jgone\\r\\nnext\\t\\x07"
        );
        assert_eq!(escaped("\u{9b}31m\u{202e}live"), "\\u{9b}31m\\u{202e}live");
    }

    #[test]
    fn json_is_made_safe_and_still_means_the_same() {
        let value = serde_json::json!({ "text": "\u{1b}[2J \u{9b} \u{202e} \u{7f} \"quoted\"" });
        let json = serde_json::to_string(&value).expect("a value is JSON");
        let safe = escaped_json(&json);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&safe).expect("still JSON"),
            value
        );
    }

    #[test]
    fn a_cut_line_keeps_within_its_columns() {
        assert_eq!(cut("exactly ten", 11), "exactly ten");
        assert_eq!(cut("exactly ten", 10), "exactly...");
        assert_eq!(cut("日本語日本語", 9), "日本語...");
        assert_eq!(cut("äöü", 6), "äöü");
    }

    #[test]
    fn sizes_and_spans_read_well() {
        assert_eq!(
            [size(0), size(1023), size(1536), size(5 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!([span(80), span(1249), span(200_000)], ["80ms", "1.2s", "3m 20s"]);
        assert_eq!([span(18_120_000), span(349_200_000)], ["5h 2m", "4d 1h"]);
        assert_eq!([count(1, "step"), count(2, "step")], ["1 step", "2 steps"]);
    }

    #[test]
    fn the_first_and_the_last_line_are_the_ones_that_say_something() {
        assert_eq!(
            (first_line("\n  one \ntwo\n\n"), last_line("\n  one \ntwo\n\n")),
            ("one", "two")
        );
        assert_eq!((first_line(" \n"), last_line("")), ("", ""));
    }
}
