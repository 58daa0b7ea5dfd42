//! Tells where words of one command stand next to each other that mean what they say, so that the grammar may read them
//! as one word.
//!
//! A word takes the grammar some 6,000 instructions, and most words of a command line hold no sign of the shell, or stand
//! between quotes: `test --workspace -- 'a name'`. Behind the name of a command such a run of words is written as one
//! [`JOINT`], and put back where the tree shows it as a word among the arguments of a command. Up to there the text is the
//! one that was written, so that the shell, too, looks for the next argument where the run begins: it reads these words,
//! and as many of them as there are.
//!
//! Which word is the name of a command is guessed here. Behind a wrong guess the run stands elsewhere in the tree, or the
//! text has no tree, and then its words are read as they stand.

use std::ops::Range;

use super::ast::{Part, Word};

/// Stands for a run of words.
pub(super) const JOINT: char = '\u{2}';

/// Words that are no name of a command where one may stand, and that mean something to the grammar elsewhere, too.
const RESERVED: [&str; 25] = [
    "for", "case", "select", "function", "in", "esac", "fi", "done", "coproc", "time", "export", "declare",
    "typeset", "local", "readonly", "unset", "unsetenv", "let", "until", "if", "then", "else", "elif", "do",
    "while",
];
/// Those that a name may follow.
const BEFORE_A_NAME: [&str; 7] = ["until", "if", "then", "else", "elif", "do", "while"];

/// A word that means what it says: where that stands, and how it is quoted.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    says: Range<usize>,
    quotes: Quotes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    /// None, or a backslash before its only sign.
    None,
    Single,
    Double,
}

/// Words of a text next to each other: where they stand, and which of the pieces they are.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) at: Range<usize>,
    pub(super) pieces: Range<usize>,
}

/// Where in a command the words stand that come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// A name may come.
    #[default]
    Name,
    /// Behind the name.
    Arguments,
    /// Not told.
    Unknown,
}

/// Follows a text from its beginning.
#[derive(Debug)]
pub(super) struct Plain<'t> {
    text: &'t str,
    /// A text with a [`JOINT`] of its own is left alone.
    joins: bool,
    place: Place,
    run: Option<Run>,
    pub(super) pieces: Vec<Piece>,
}

impl<'t> Plain<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self {
            text,
            joins: !text.contains(JOINT),
            place: Place::Name,
            run: None,
            pieces: Vec::new(),
        }
    }

    /// Joins no words.
    pub(super) fn never(text: &'t str) -> Self {
        Self {
            joins: false,
            ..Self::of(text)
        }
    }

    /// A word that means what it says stands at `at`. Gives the run that it does not belong to.
    pub(super) fn word(&mut self, piece: Piece, length: usize, at: usize) -> Option<Run> {
        let word = &self.text[at..at + length];
        let reserved = RESERVED.contains(&word);
        match self.place {
            Place::Arguments if self.joins && !reserved => self.join(piece, at..at + length),
            Place::Name => {
                self.place = match reserved {
                    true if BEFORE_A_NAME.contains(&word) => Place::Name,
                    false if piece.quotes == Quotes::None && word.contains('=') => Place::Name,
                    false if word.starts_with(|c: char| c.is_ascii_alphanumeric() || "._/~".contains(c)) => {
                        Place::Arguments
                    }
                    _ => Place::Unknown,
                };
                None
            }
            Place::Arguments | Place::Unknown => self.end(),
        }
    }

    /// The name of a command that begins with a brace, and its length: `{git,push}`. The grammar finds no word there.
    pub(super) fn name_in_braces(&self, at: usize) -> Option<(Piece, usize)> {
        let bytes = &self.text.as_bytes()[at..];
        if !self.joins || self.place != Place::Name || bytes.first() != Some(&b'{') {
            return None;
        }
        let in_word = |byte: &&u8| is_plain(**byte) || matches!(byte, b'{' | b'}');
        let length = bytes.iter().take_while(in_word).count();
        let word = &bytes[..length];
        let count = |sign: u8| word.iter().filter(|byte| **byte == sign).count();
        let chooses = count(b',') > 0 && count(b'{') == count(b'}');
        let piece = Piece {
            says: at..at + length,
            quotes: Quotes::None,
        };
        (chooses && ends(bytes.get(length))).then_some((piece, length))
    }

    /// The name of a command stands at `at`.
    pub(super) fn name(&mut self, piece: Piece, at: Range<usize>) -> Run {
        self.place = Place::Arguments;
        self.pieces.push(piece);
        let count = self.pieces.len();
        Run {
            at,
            pieces: count - 1..count,
        }
    }

    fn join(&mut self, piece: Piece, at: Range<usize>) -> Option<Run> {
        self.pieces.push(piece);
        let count = self.pieces.len();
        match &mut self.run {
            Some(run) if run.at.end + 1 == at.start && self.text.as_bytes()[run.at.end] == b' ' => {
                run.at.end = at.end;
                run.pieces.end = count;
                None
            }
            run => run.replace(Run {
                at,
                pieces: count - 1..count,
            }),
        }
    }

    /// Something else stands there: a sign, or a word that is more than it says. Gives the run that ended before it.
    pub(super) fn other(&mut self, byte: u8, previous: u8) -> Option<Run> {
        if matches!(byte, b' ' | b'\t') {
            return None;
        }
        self.place = match (byte, self.place) {
            // `>&2`, `>| file`
            (b'&' | b'|', place) if matches!(previous, b'<' | b'>') => place,
            (b';' | b'|' | b'&' | b'\n', _) => Place::Name,
            // `$(a b)`, `(a b)`, but not `x=(a b)` or `@(a|b)`.
            (b'(', _) if matches!(previous, b'$' | b'(' | b'<' | b' ' | b'\t' | b'\n' | b';') => Place::Name,
            (b'(' | b')' | b'<' | b'>' | b'`', _) => Place::Unknown,
            (b'{', Place::Name) => Place::Name,
            (_, Place::Name) => Place::Unknown,
            (_, place) => place,
        };
        self.end()
    }

    /// Where the next word stands.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Tells where the next word stands.
    pub(super) fn at(&mut self, place: Place) {
        self.place = place;
    }

    /// Gives the run that is open.
    pub(super) fn end(&mut self) -> Option<Run> {
        self.run.take()
    }
}

/// The word that `text` has at `at`, if it means what it says, and its length. It ends at a blank, or where the command ends.
pub(super) fn piece(text: &str, at: usize) -> Option<(Piece, usize)> {
    let bytes = &text.as_bytes()[at..];
    let (length, quotes) = match bytes.first()? {
        b'\'' => (
            2 + bytes[1..].iter().position(|byte| *byte == b'\'')?,
            Quotes::Single,
        ),
        b'"' => {
            let inner = bytes[1..].iter().position(|byte| b"\"$`\\!\n".contains(byte))?;
            (bytes[1 + inner] == b'"').then_some((2 + inner, Quotes::Double))?
        }
        b'{' if bytes.starts_with(b"{}") => (2, Quotes::None),
        b'\\' => matches!(bytes.get(1)?, b';' | b'(' | b')').then_some((2, Quotes::None))?,
        // Alone or before `=` these mean something to the grammar.
        b'=' | b'+' => return None,
        _ => (
            bytes.iter().take_while(|byte| is_plain(**byte)).count(),
            Quotes::None,
        ),
    };
    let quoted = usize::from(quotes != Quotes::None);
    let from = at + quoted.max(usize::from(bytes[0] == b'\\'));
    let says = from..at + length - quoted;
    (length > 0 && ends(bytes.get(length))).then_some((Piece { says, quotes }, length))
}

/// Whether a word ends before this.
fn ends(byte: Option<&u8>) -> bool {
    matches!(byte, None | Some(b' ' | b'\t' | b'\n' | b';' | b')'))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:=,+@%*?~^".contains(&byte)
}

impl Piece {
    /// The word, as the grammar would have shown it.
    pub(super) fn word(&self, text: &str) -> Word {
        let says = text.get(self.says.clone()).unwrap_or_default();
        let part = |text: &str| Part::Text {
            text: text.to_owned(),
            quoted: self.quotes != Quotes::None,
        };
        let parts = match self.quotes {
            Quotes::None | Quotes::Single => vec![part(says)],
            Quotes::Double if says.is_empty() => vec![part("")],
            Quotes::Double => vec![part(""), part(says)],
        };
        Word { parts }
    }
}
