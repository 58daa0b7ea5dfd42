//! What is wrong with a playbook: the file, the line, and what to write instead.

/// A playbook that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct PlaybookError {
    /// The file as it was called.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

/// Something wrong at a byte of the text; becomes a [`PlaybookError`] once file and line are known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) problem: String,
}

impl Fault {
    pub(super) fn new(at: usize, problem: impl Into<String>) -> Self {
        Self {
            at,
            problem: problem.into(),
        }
    }

    pub(super) fn within(self, file: &str, text: &str) -> PlaybookError {
        PlaybookError {
            file: file.into(),
            line: line_of(text, self.at),
            problem: self.problem,
        }
    }
}

/// The line, from 1, that holds byte `at`.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The candidate that is most like `word`, if any is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate));
    let best = near.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= 1 + word.chars().count() / 3).then_some(best.1)
}

/// How many letters must be put in, taken out or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_named_only_if_it_is_near() {
        let names = ["test", "build", "changelog"];
        assert_eq!(nearest("tset", names), Some("test"));
        assert_eq!(nearest("changlog", names), Some("changelog"));
        assert_eq!(nearest("deploy", names), None);
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(
            (line_of("a\nb\nc", 0), line_of("a\nb\nc", 4), line_of("", 9)),
            (1, 3, 1)
        );
    }
}
