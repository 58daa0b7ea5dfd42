//! Takes here-documents out of a text and joins continued lines, before the grammar sees it.
//!
//! The grammar loses its way where a here-document meets a pipe or a second redirection, and splits a word at a
//! backslash before the end of a line. So each `<<END` becomes `<` and a mark that names its document, and `<<< word`
//! becomes `<` and a mark before the word, which it reads well.

use std::borrow::Cow;

/// A text without here-documents, and the documents by their number.
#[derive(Debug, Default)]
pub(super) struct Prepared<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) documents: Vec<Document>,
    /// A quote or a bracket was left open, or a document has no end.
    pub(super) open: bool,
}

#[derive(Debug)]
pub(super) struct Document {
    pub(super) body: String,
    /// Its delimiter was quoted: nothing in it is expanded.
    pub(super) literal: bool,
}

/// Stands at the beginning of a word that is read as text: alone, or with the number of a document.
pub(super) const MARK: char = '\u{1}';

#[derive(Clone, Copy, PartialEq, Eq)]
enum In {
    Commands,
    /// `(`, `$(`, `<(`
    Brackets,
    /// `((`, `$((`: `<<` shifts
    Sum,
    /// `${`
    Braces,
    Double,
    Backticks,
}

struct Waiting {
    number: usize,
    end: String,
    tabs: bool,
}

/// Prepares `text`. Linear in its length.
pub(super) fn prepare(text: &str) -> Prepared<'_> {
    // Nothing here that would need it: the usual line.
    if !text.contains("<<") && !text.contains("\\\n") && !text.contains("\\\r\n") {
        return Prepared {
            text: Cow::Borrowed(text),
            ..Prepared::default()
        };
    }
    let mut out = Prepared::default();
    let mut joined = String::with_capacity(text.len());
    let mut stack = vec![In::Commands];
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut rest = text;
    let mut word_begins = true;
    while let Some(next) = rest.chars().next() {
        let within = stack.last().copied().unwrap_or(In::Commands);
        let commands = matches!(within, In::Commands | In::Brackets | In::Backticks);
        if let Some(after) = rest.strip_prefix("\\\n").or_else(|| rest.strip_prefix("\\\r\n")) {
            rest = after;
            continue;
        }
        if next == '\\' {
            let length = rest.chars().take(2).map(char::len_utf8).sum();
            joined.push_str(&rest[..length]);
            rest = &rest[length..];
            word_begins = false;
            continue;
        }
        if next == '\'' && within == In::Braces && stack.contains(&In::Double) {
            // A quote or not, depending on what stands before it.
            out.open = true;
        }
        if within != In::Double && (rest.starts_with('\'') || rest.starts_with("$'")) {
            let (quoted, ansi) = (rest.trim_start_matches('$'), rest.starts_with('$'));
            let end = single_end(quoted, ansi);
            out.open |= end.is_none();
            let length = rest.len() - quoted.len() + end.unwrap_or(quoted.len());
            joined.push_str(&rest[..length]);
            rest = &rest[length..];
            word_begins = false;
            continue;
        }
        if commands && next == '#' && word_begins {
            let length = rest.find('\n').unwrap_or(rest.len());
            rest = &rest[length..];
            continue;
        }
        if commands && rest.starts_with("<<") && !rest.starts_with("<<<") {
            match delimiter(&rest[2..]) {
                Some((end, quoted, tabs, length)) => {
                    let number = out.documents.len();
                    out.documents.push(Document {
                        body: String::new(),
                        literal: quoted,
                    });
                    joined.push_str(&format!("< '{MARK}{number}' "));
                    waiting.push(Waiting { number, end, tabs });
                    rest = &rest[2 + length..];
                    word_begins = true;
                    continue;
                }
                None => out.open = true,
            }
        }
        if commands && let Some(after) = rest.strip_prefix("<<<") {
            joined.push_str(&format!("< '{MARK}'"));
            rest = after.trim_start_matches([' ', '\t']);
            word_begins = false;
            continue;
        }
        let opened = [
            ("$((", In::Sum),
            ("$(", In::Brackets),
            ("${", In::Braces),
            ("<(", In::Brackets),
            (">(", In::Brackets),
        ]
        .into_iter()
        .find(|(sign, kind)| {
            rest.starts_with(sign) && (within != In::Double || sign.starts_with('$') || *kind == In::Sum)
        });
        let length = match opened {
            Some((sign, kind)) => {
                stack.push(kind);
                if kind == In::Sum {
                    stack.push(In::Sum);
                }
                sign.len()
            }
            None => {
                step(next, within, rest.starts_with("((") && word_begins, &mut stack);
                next.len_utf8()
            }
        };
        joined.push_str(&rest[..length]);
        rest = &rest[length..];
        word_begins = next.is_whitespace()
            || ";&|()`".contains(next)
            || opened.is_some_and(|(_, kind)| kind == In::Brackets);
        if next == '\n' && commands && !waiting.is_empty() {
            for wait in waiting.drain(..) {
                let (body, after, ended) = body(rest, &wait, stack.len() > 1);
                out.documents[wait.number].body = body;
                out.open |= !ended;
                rest = after;
            }
        }
    }
    out.open |= !waiting.is_empty() || stack.len() != 1;
    out.text = Cow::Owned(joined);
    out
}

/// What one character opens or closes.
fn step(next: char, within: In, sum: bool, stack: &mut Vec<In>) {
    match (next, within) {
        ('"', In::Double) | ('}', In::Braces) | (')', In::Brackets | In::Sum) => {
            stack.pop();
        }
        ('"', _) => stack.push(In::Double),
        ('`', In::Backticks) => {
            stack.pop();
        }
        ('`', _) if !stack.contains(&In::Backticks) => stack.push(In::Backticks),
        ('(', In::Double | In::Braces) => {}
        ('(', In::Sum) => stack.push(In::Sum),
        ('(', _) if sum => stack.push(In::Sum),
        ('(', _) => stack.push(In::Brackets),
        _ => {}
    }
}

/// Where a single-quoted text ends, with its quotes.
fn single_end(text: &str, ansi: bool) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\'' if !escaped => return Some(at + 1),
            '\\' if ansi && !escaped => escaped = true,
            _ => escaped = false,
        }
    }
    None
}

/// The delimiter that follows `<<`: itself, whether it is quoted, whether tabs are cut, and the length read.
fn delimiter(text: &str) -> Option<(String, bool, bool, usize)> {
    let tabs = text.starts_with('-');
    let after = text[usize::from(tabs)..].trim_start_matches([' ', '\t']);
    let begin = text.len() - after.len();
    let (mut end, mut quoted, mut quote, mut escaped) = (String::new(), false, None, false);
    let mut length = after.len();
    for (at, c) in after.char_indices() {
        match (c, quote) {
            _ if escaped => {
                end.push(c);
                escaped = false;
            }
            ('\\', None | Some('"')) => (quoted, escaped) = (true, true),
            ('\'' | '"', None) => (quoted, quote) = (true, Some(c)),
            (c, Some(open)) if c == open => quote = None,
            (c, None) if c.is_whitespace() || ";&|()<>`".contains(c) => {
                length = at;
                break;
            }
            (c, _) => end.push(c),
        }
    }
    (quote.is_none() && (quoted || !end.is_empty())).then_some((end, quoted, tabs, begin + length))
}

/// The lines up to the delimiter, what follows it, and whether it was met.
///
/// Inside a substitution a bracket may follow the delimiter on its line. Shells disagree about that, so it counts as
/// not ended.
fn body<'a>(text: &'a str, wait: &Waiting, substituted: bool) -> (String, &'a str, bool) {
    let mut body = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let line = if wait.tabs {
            line.trim_start_matches('\t')
        } else {
            line
        };
        if line.trim_end_matches('\r') == wait.end {
            return (body, after, true);
        }
        if substituted
            && let Some(tail) = line.strip_prefix(wait.end.as_str())
            && tail.trim_start().starts_with([')', '`'])
            && !wait.end.is_empty()
        {
            let used = rest.len() - after.len() - tail.len() - usize::from(rest.contains('\n'));
            return (body, &rest[used..], false);
        }
        body.push_str(line);
        body.push('\n');
        rest = after;
    }
    (body, "", false)
}
