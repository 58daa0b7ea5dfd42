//! What backslashes in a word stand for.

use std::iter::Peekable;
use std::str::Chars;

/// Without its backslashes, as between double quotes or outside of quotes.
pub(super) fn unescaped(text: &str, quoted: bool) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => {}
            Some(escaped) if !quoted || "$`\"\\".contains(escaped) => out.push(escaped),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}

/// The character of a number of at most so many digits: behind a letter if they are hexadecimal.
pub(crate) fn numbered(chars: &mut Peekable<Chars<'_>>, radix: u32, longest: usize) -> Option<char> {
    if radix == 16 {
        chars.next();
    }
    let mut value = 0_u32;
    for _ in 0..longest {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(radix)) else {
            break;
        };
        value = value.saturating_mul(radix).saturating_add(digit);
        chars.next();
    }
    char::from_u32(value)
}

/// What stands in `$'...'`.
pub(super) fn ansi_c(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let (radix, longest) = match chars.peek() {
            Some('x') => (16, 2),
            Some('u') => (16, 4),
            Some('U') => (16, 8),
            Some('0'..='7') => (8, 3),
            _ => (0, 0),
        };
        if radix > 0 {
            out.push(numbered(&mut chars, radix, longest).unwrap_or('\u{fffd}'));
            continue;
        }
        out.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('e' | 'E') => '\u{1b}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(other) => other,
            None => '\\',
        });
    }
    out
}
