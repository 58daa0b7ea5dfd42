//! Ends a pipe with a line break, so that the parser does not mend what it is about to drop.
//!
//! The grammar may read `a | b | c` in two ways, of which one fails where the line ends. When the text ends there too, the
//! parser has nothing else left to look at once the good reading is finished, and begins to mend the failed one, which costs
//! several times the rest of the parse. A line break lets it drop the failed one instead.
//!
//! What comes out must be the same tree. Where the grammar has several readings that do not fail, the line break may change
//! which of them is taken, so only texts get one in which that cannot be: those with long pipes before `&&` or `||`, and
//! those with a redirection where a program should be, stand as they are.

/// Longest text that gets one. In a longer one its end costs next to nothing.
const LONGEST: usize = 4 * 1024;
/// Most pipes before the last `&&` or `||`.
const MOST_BEFORE: usize = 2;

/// `text` with a line break at its end, if that is a pipe of three or more. Quotes are not looked at: a sign in them
/// counts as well, which at worst costs time.
pub(super) fn ended(text: &str) -> Option<String> {
    // Behind a backslash the line break would mean something else.
    let last = *text.as_bytes().last()?;
    if text.len() > LONGEST || last == b'\\' || !last.is_ascii_graphic() {
        return None;
    }
    let (mut pipes, mut before) = (0, 0);
    // Whether a command begins here, and where its first word does.
    let (mut begins, mut word) = (true, 0);
    let mut previous = b' ';
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        let next = bytes.peek().map(|(_, next)| *next);
        let redirects = matches!(previous, b'<' | b'>');
        match byte {
            b'|' | b'&' if next == Some(byte) => {
                bytes.next();
                word = at + 2;
                before = pipes;
                begins = true;
                previous = byte;
                continue;
            }
            // `>&2`, `>| file`, `&> file`
            b'|' | b'&' if redirects || (byte == b'&' && next == Some(b'>')) => {}
            b'|' => {
                pipes += 1;
                begins = true;
            }
            b'&' if previous == b'|' => {}
            b'&' | b';' | b'(' | b')' | b'{' | b'!' | b'`' | b'\n' => begins = true,
            b'<' | b'>' if begins => return None,
            b' ' | b'\t' | b'\r' => {
                begins |= matches!(
                    &text[word..at],
                    "do" | "then" | "else" | "elif" | "if" | "while" | "until" | "time"
                );
            }
            b'0'..=b'9' if begins => {}
            _ => begins = false,
        }
        if !byte.is_ascii_alphabetic() && byte.is_ascii() {
            word = at + 1;
        }
        previous = byte;
    }
    (pipes - before >= 2 && before <= MOST_BEFORE).then(|| format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::ended;
    use crate::shell::ast::Script;
    use crate::shell::parse::{parse, parse_as_it_stands};

    /// What a line is made of, and what stands between two of these.
    const PIECES: &[&str] = &[
        "git log",
        "-x",
        "--format='%an'",
        "\"x y\"",
        "\"\"",
        "'a'\"b\"c",
        "{}",
        "\\;",
        "*.rs",
        "x=1",
        "20",
        "2>&1",
        ">f",
        "> f",
        "2>/dev/null",
        "< f",
        ">&2",
        "&> f",
        ">| f",
        "done",
        "in",
        "~/a",
        "$(a | b | c)",
        "`a | b`",
        "${x}",
        "$x",
        "!",
        "time",
        "do",
        "if",
        "then",
        "(a)",
        "{ a; }",
        "<(a)",
        "[[ a ]]",
        "for",
        "while",
        "a#b",
        "#",
        "\\",
        "a\\",
        "'",
        "\"",
        "&",
        "&&&",
    ];
    const SIGNS: &[&str] = &[
        " ", " ", " | ", " | ", " | ", "|", "|&", " && ", " || ", "; ", " & ", "\n",
    ];

    /// What a script says, without the numbers that tell scripts apart.
    fn tree(script: &Script) -> String {
        let text = format!("{script:?}");
        let mut parts = text.split(", id: ");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |tree, part| {
            tree + part.trim_start_matches(|c: char| c.is_ascii_digit())
        })
    }

    /// Whether the line was given an end; the tree must be the same then.
    fn is_ended(line: &str) -> bool {
        assert_eq!(tree(&parse(line)), tree(&parse_as_it_stands(line)), "{line:?}");
        ended(line).is_some()
    }

    #[test]
    fn a_line_of_the_corpora_has_the_same_tree_with_a_line_break_at_its_end() {
        let corpora = [
            include_str!("../../tests/data/acts-ordinary.txt"),
            include_str!("../../tests/data/acts-risky.txt"),
        ];
        let ended = corpora
            .iter()
            .flat_map(|corpus| corpus.lines())
            .filter(|line| is_ended(line));
        assert!(ended.count() > 0, "hardly any line was ended");
    }

    #[test]
    fn whatever_a_line_is_made_of_it_has_the_same_tree_with_a_line_break_at_its_end() {
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).expect("below a usize")
        };
        let mut ended = 0;
        for _ in 0..20_000 {
            let mut line = String::from("a");
            for _ in 0..random(12) {
                line.push_str(SIGNS[random(SIGNS.len())]);
                line.push_str(PIECES[random(PIECES.len())]);
            }
            ended += usize::from(is_ended(&line));
        }
        assert!(ended > 500, "only {ended} lines were ended");
    }
}
