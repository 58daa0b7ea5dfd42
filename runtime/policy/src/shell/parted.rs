//! Writes `;` for each `|`, `&&` and `||` between commands, and one word for those that mean what they say
//! ([`plain`]), before the grammar sees them; the tree is joined again after.
//!
//! The grammar has two readings of `a | b | c`, and one of `a | b | c && d` that is not the shell's: `a | { b | c && d; }`. It
//! follows both word by word, and mends the one that fails where the text ends, which is most of what a parse takes. Of
//! `a ; b ; c` there is one reading.
//!
//! Where a sign stands between commands is not found out here: this only passes over what is quoted, so that few signs are
//! written for nothing. What counts is the tree: [`Joins`](super::joins::Joins) holds for it only if each sign that was written stands in it between
//! two whole commands of one row. Then the text before reads as these commands with the signs it had, since the grammar
//! and the shell allow each sign wherever they allow `;` between two commands. Otherwise the text is read as it stands.

use std::ops::Range;

use super::ast::Word;
use super::plain::{self, JOINT, Piece, Place, Plain, Run};

/// Longest text that is parted. Texts that turn out to be something else are parsed twice.
const LONGEST: usize = 16 * 1024;

/// What stood between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// `|`, `|&`
    Pipe,
    /// `&&`, `||`
    List,
}

/// A text with `;` for its signs, and with a [`JOINT`] for words next to each other.
#[derive(Debug)]
pub(super) struct Parted<'t> {
    pub(super) text: String,
    /// Where these stand, in their order, and what each was.
    pub(super) signs: Vec<(usize, Sign)>,
    /// Where a run of words stands, in their order, and which of the pieces it is.
    pub(super) runs: Vec<(usize, Range<usize>)>,
    pieces: Vec<Piece>,
    /// The text as it was.
    whole: &'t str,
}

/// Why a text was not parted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unparted {
    /// It is no easier to read in parts, or what it is cannot be told.
    Left,
    /// A quote was left open. With this behind it, nothing is.
    Open(String),
}

/// Parts `text`, if that makes it easier to read. Linear in its length.
pub(super) fn parted(text: &str) -> Result<Parted<'_>, Unparted> {
    part(text, Plain::of(text))
}

fn part<'t>(text: &'t str, plain: Plain<'t>) -> Result<Parted<'t>, Unparted> {
    let bytes = text.as_bytes();
    if bytes.len() > LONGEST {
        return Err(Unparted::Left);
    }
    let mut parting = Parting::of(text, plain);
    let mut at = 0;
    // The byte before, or a quote for whatever was passed over.
    let mut previous = b' ';
    while let Some(&byte) = bytes.get(at) {
        let begins = matches!(previous, b' ' | b'\t' | b'\n' | b';' | b'(');
        if begins && byte.is_ascii_lowercase() {
            parting.of_a_case(&text[at..]).ok_or(Unparted::Left)?;
        }
        if begins && let Some((piece, length)) = parting.plain.name_in_braces(at) {
            let run = parting.plain.name(piece, at..at + length);
            parting.write_run(run);
            at += length;
            previous = b'"';
            continue;
        }
        if begins && let Some((piece, length)) = plain::piece(text, at) {
            let ended = parting.plain.word(piece, length, at);
            parting.run(ended);
            at += length;
            previous = b'"';
            continue;
        }
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        let patterns = parting.open.last() == Some(&Open::Patterns);
        let sign = match (byte, next) {
            // Patterns of a case are told apart by `|`.
            _ if patterns => None,
            // `>| file`
            (b'|', _) if previous == b'>' => None,
            (b'|', b'|') | (b'&', b'&') => Some((Sign::List, 2)),
            (b'|', b'&') => Some((Sign::Pipe, 2)),
            (b'|', _) => Some((Sign::Pipe, 1)),
            _ => None,
        };
        let around = parting.plain.place();
        let ended = parting.plain.other(byte, previous);
        parting.run(ended);
        if let Some((sign, length)) = sign {
            parting.sign(at..at + length, sign);
            at += length;
            previous = b' ';
            continue;
        }
        let mut behind_quotes = false;
        let passed = match (byte, next) {
            (b'\\', _) => 2,
            (b'\'', _) => {
                past(&text[at + 1..], b'\'', previous == b'$').ok_or_else(|| parting.left_open("'"))? + 1
            }
            (b'"', _) => {
                behind_quotes = true;
                1
            }
            (b'$', b'{') => past(&text[at..], b'}', true).ok_or(Unparted::Left)?,
            (b'(', b'(') => text[at..].find("))").ok_or(Unparted::Left)? + 2,
            (b'[', b'[') if begins => text[at..].find("]]").ok_or(Unparted::Left)? + 2,
            (b'#', _) if begins || matches!(previous, b'&' | b')' | b'<' | b'>') => {
                text[at..].find('\n').unwrap_or(text.len() - at)
            }
            // A bracket may stand before a pattern as well.
            (b'(', _) if patterns => begins.then_some(1).ok_or(Unparted::Left)?,
            (b'(', _) => {
                // Behind `$(a b)` the command goes on.
                let behind = if previous == b'$' { around } else { Place::Unknown };
                parting.open.push(Open::Brackets(behind));
                1
            }
            (b')', _) => {
                behind_quotes = parting.closed().ok_or(Unparted::Left)?;
                1
            }
            (b';', b';' | b'&') if parting.open.last() == Some(&Open::Branch) => {
                parting.now(Open::Patterns);
                parting.plain.at(Place::Unknown);
                2
            }
            _ => 1,
        };
        at += passed;
        previous = match passed {
            1 => byte,
            _ => b'"',
        };
        if behind_quotes {
            let (length, substitution) = within_quotes(&text[at..]).ok_or_else(|| parting.left_open("\""))?;
            at += length;
            previous = b'"';
            if substitution {
                parting.open.push(Open::Quoted(parting.plain.place()));
                parting.plain.at(Place::Name);
                previous = b'(';
            }
        }
    }
    let quoted = |open: &Open| matches!(open, Open::Quoted(_));
    match parting.open.is_empty() {
        true => parting.done().ok_or(Unparted::Left),
        false if parting.open.iter().any(quoted) => Err(parting.left_open("")),
        // It has no tree, however it is written.
        false => Err(Unparted::Left),
    }
}

/// What a bracket or a word opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// `(`, `$(`, `<(`, and where the words behind the bracket stand.
    Brackets(Place),
    /// `$(` between double quotes.
    Quoted(Place),
    /// `case`, up to its `in`.
    Case,
    /// In a case, where a pattern stands.
    Patterns,
    /// In a case, behind a pattern.
    Branch,
}

/// A text that is being parted.
struct Parting<'t> {
    whole: &'t str,
    /// Up to where it was written.
    kept: usize,
    text: String,
    signs: Vec<(usize, Sign)>,
    runs: Vec<(usize, Range<usize>)>,
    plain: Plain<'t>,
    open: Vec<Open>,
}

impl<'t> Parting<'t> {
    fn of(whole: &'t str, plain: Plain<'t>) -> Self {
        Self {
            whole,
            kept: 0,
            text: String::new(),
            signs: Vec::new(),
            runs: Vec::new(),
            plain,
            open: Vec::new(),
        }
    }

    /// What is open is something else now.
    fn now(&mut self, open: Open) {
        self.open.pop();
        self.open.push(open);
    }

    /// Looks for the words of a case where one begins. None where one stands that belongs to no case.
    fn of_a_case(&mut self, rest: &str) -> Option<()> {
        let is = |word: &str| {
            let next = rest.strip_prefix(word).map(|rest| rest.bytes().next());
            next.is_some_and(|next| next.is_none_or(|next| b" \t\n;|&<>()".contains(&next)))
        };
        match self.open.last() {
            Some(Open::Case) if is("in") => {
                self.now(Open::Patterns);
                self.plain.at(Place::Unknown);
            }
            Some(Open::Patterns | Open::Branch) if is("esac") => {
                self.open.pop();
                self.plain.at(Place::Unknown);
            }
            _ if is("esac") => return None,
            _ if is("case") && self.plain.place() == Place::Name => self.open.push(Open::Case),
            _ => {}
        }
        Some(())
    }

    /// A bracket closes what is open. Tells whether it stands between double quotes. None where nothing is open.
    fn closed(&mut self) -> Option<bool> {
        let (quoted, place) = match *self.open.last()? {
            Open::Patterns => {
                self.now(Open::Branch);
                self.plain.at(Place::Name);
                return Some(false);
            }
            Open::Brackets(place) => (false, place),
            Open::Quoted(place) => (true, place),
            Open::Case | Open::Branch => return None,
        };
        self.open.pop();
        self.plain.at(place);
        Some(quoted)
    }

    /// The text ends in quotes that this closes.
    fn left_open(&self, quote: &str) -> Unparted {
        let mut closing = quote.to_owned();
        for open in self.open.iter().rev() {
            match open {
                Open::Brackets(_) => closing.push(')'),
                Open::Quoted(_) => closing.push_str(")\""),
                Open::Case | Open::Patterns | Open::Branch => return Unparted::Left,
            }
        }
        Unparted::Open(closing)
    }

    /// A run of words ended. One word alone stays as it is.
    fn run(&mut self, ended: Option<Run>) {
        if let Some(run) = ended
            && run.pieces.len() > 1
        {
            self.write_run(run);
        }
    }

    fn write_run(&mut self, run: Run) {
        self.write(run.at);
        self.runs.push((self.text.len(), run.pieces));
        self.text.push(JOINT);
    }

    fn sign(&mut self, at: Range<usize>, sign: Sign) {
        self.write(at);
        // A blank before and behind, so that `;` makes no other sign with what stands there.
        self.text.push(' ');
        self.signs.push((self.text.len(), sign));
        self.text.push_str("; ");
    }

    /// Writes what stands before `at`.
    fn write(&mut self, at: Range<usize>) {
        if self.kept == 0 {
            self.text.reserve(self.whole.len() + 32);
        }
        self.text.push_str(&self.whole[self.kept..at.start]);
        self.kept = at.end;
    }

    /// The text, if it is not as it was. A list without pipes and redirections has one reading.
    fn done(mut self) -> Option<Parted<'t>> {
        let ended = self.plain.end();
        self.run(ended);
        let pipes = self.signs.iter().any(|(_, sign)| *sign == Sign::Pipe);
        let redirects = || self.whole.contains(['<', '>']);
        if self.runs.is_empty() && (self.signs.is_empty() || !pipes && !redirects()) {
            return None;
        }
        self.write(self.whole.len()..self.whole.len());
        Some(Parted {
            text: self.text,
            signs: self.signs,
            runs: self.runs,
            pieces: self.plain.pieces,
            whole: self.whole,
        })
    }
}

impl Parted<'_> {
    /// The same text with its words as they stand, where runs of them were written as one and there is a sign as well.
    pub(super) fn with_signs_alone(&self) -> Option<Self> {
        match self.runs.is_empty() || self.signs.is_empty() {
            true => None,
            false => part(self.whole, Plain::never(self.whole)).ok(),
        }
    }

    /// The words of the run that stands at `at`.
    pub(super) fn words(&self, at: usize) -> Option<impl Iterator<Item = Word>> {
        let number = self.runs.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        let pieces = self.pieces.get(self.runs[number].1.clone())?;
        Some(pieces.iter().map(|piece| piece.word(self.whole)))
    }

    /// The sign that stands at `at`.
    pub(super) fn sign(&self, at: usize) -> Option<Sign> {
        let number = self.signs.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        Some(self.signs[number].1)
    }
}

/// How far it is behind the end of double quotes, or behind the next `$(` between them, and whether it is that.
fn within_quotes(text: &str) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Some((at + 1, false)),
            b'$' if bytes[at + 1..].starts_with(b"(") && !bytes[at + 2..].starts_with(b"(") => {
                return Some((at + 2, true));
            }
            // `$$` is a number, and `\` hides what follows.
            b'$' if bytes[at + 1..].starts_with(b"$") => at += 2,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// How far it is behind the next `end`, which a backslash may hide.
fn past(text: &str, end: u8, escapes: bool) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == end {
            return Some(at + 1);
        }
        if escapes && byte == b'\\' {
            bytes.next();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parted;
    use crate::shell::ast::{Node, Part, Redirect, Script, Word};
    use crate::shell::parse::{TREES, parse, parse_as_it_stands};

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
        "\"$(a \"b | c\")\"",
        "(a && b)",
        "[[ a && b ]]",
        "[ -f a ]",
        "((a|b))",
        "$((1 | 2))",
        "$[1 | 2]",
        "@(a|b)",
        "${x:-a | b}",
        "case a in a|b) c | d;; esac",
        "f() { a | b; }",
        "unset a",
        "export a=1",
        "x=(a b)",
        "fi",
        "else",
        "esac",
        "}",
        ")",
        "< '\u{1}a'",
        "-a b --c=d",
        "a/b 'c d' \"e f\" *.rs",
        "x y 2>f z w",
        "b > f g h",
        "in b c",
        "for i in a b c; do d e f; done",
        "while read -r a b; do c d e; done",
        "function g { a b c; }",
        "export b c d",
        "y=(a b c)",
        "== = +=",
        "-- ''",
        "\u{2}",
        "\"x $(a | b) y\" c d",
        "\"$(a \"$(b && c)\" d e)\" f",
        "\"$((1 | 2))\"",
        "\"$$(a | b\"",
        "&# a's",
        "case $x in (a|b) c | d ;; *) e f g;; esac",
        "case",
        ";;",
        "esac | a b",
    ];
    // No line break alone: in a pipe the grammar may pass over it, and then words of two commands run together.
    const SIGNS: &[&str] = &[
        " ", " ", " | ", " | ", " | ", "|", "|&", " && ", " && ", " || ", "&&", "; ", " & ", " |\n", " &&\n",
    ];

    /// Commands in their order, and redirections, without what holds them together.
    #[derive(Debug, Default, PartialEq)]
    struct Leaves {
        commands: Vec<String>,
        redirects: Vec<String>,
    }

    impl Leaves {
        fn of(script: &Script) -> Self {
            let mut leaves = Self::default();
            leaves.nodes(&script.nodes);
            // The grammar gives those at the end of a list or a pipe to the whole of it.
            leaves.redirects.sort();
            leaves
        }

        fn nodes(&mut self, nodes: &[Node]) {
            nodes.iter().for_each(|node| self.node(node));
        }

        fn node(&mut self, node: &Node) {
            match node {
                Node::Simple(simple) => {
                    let mut text = String::new();
                    for assign in &simple.assigns {
                        text.push_str(&format!("{}={} ", assign.name, assign.joins));
                        assign.values.iter().for_each(|word| self.word(word, &mut text));
                    }
                    simple.words.iter().for_each(|word| self.word(word, &mut text));
                    if !text.is_empty() {
                        self.commands.push(text);
                    }
                    self.redirects(&simple.redirects);
                }
                Node::Pipe(nodes) => self.nodes(nodes),
                Node::Block { nodes, subshell } => {
                    self.nodes(nodes);
                    if *subshell {
                        self.commands.push("subshell".into());
                    }
                }
                Node::For { name, values, body } => {
                    let mut text = format!("for {name} ");
                    values.iter().for_each(|word| self.word(word, &mut text));
                    self.commands.push(text);
                    self.nodes(body);
                }
                Node::Function { name, body } => {
                    self.commands.push(format!("function {name}"));
                    self.nodes(body);
                }
                Node::Redirected { body, redirects } => {
                    self.node(body);
                    self.redirects(redirects);
                }
            }
        }

        fn redirects(&mut self, redirects: &[Redirect]) {
            for redirect in redirects {
                let mut text = format!("{:?} ", redirect.how);
                self.word(&redirect.to, &mut text);
                self.redirects.push(text);
            }
        }

        fn word(&mut self, word: &Word, text: &mut String) {
            // The grammar gives `{}` in two pieces, which is the same text.
            let mut before = None;
            for part in &word.parts {
                let scripts = match part {
                    Part::Text { text: piece, quoted } => {
                        if before != Some(*quoted) {
                            text.push_str(if *quoted { " quoted:" } else { " plain:" });
                        }
                        text.push_str(piece);
                        before = Some(*quoted);
                        continue;
                    }
                    Part::Run { script, .. } | Part::Process(script) => std::slice::from_ref(script),
                    Part::Opaque(scripts) => scripts,
                    part => {
                        text.push_str(&format!("{part:?}"));
                        before = None;
                        continue;
                    }
                };
                for script in scripts {
                    text.push_str(&format!("{:?}", Self::of(script)));
                }
            }
            text.push(' ');
        }
    }

    /// Whether the line is read as parted; it must hold the same commands then, in the same order.
    fn is_parted(line: &str) -> bool {
        let (script, as_it_stands) = (parse(line), parse_as_it_stands(line));
        // Where the grammar loses its way at a redirection, it finds it in the parts.
        if !as_it_stands.broken {
            assert!(!script.broken, "{line:?}");
            assert_eq!(Leaves::of(&script), Leaves::of(&as_it_stands), "{line:?}");
        }
        parted(line).is_ok() && !script.broken
    }

    #[test]
    fn a_line_of_the_corpora_holds_the_same_commands_when_it_is_parted() {
        let corpora = [
            include_str!("../../tests/data/acts-ordinary.txt"),
            include_str!("../../tests/data/acts-risky.txt"),
        ];
        let lines = corpora.iter().flat_map(|corpus| corpus.lines());
        let count = lines.filter(|line| is_parted(&line.replace("\\n", "\n"))).count();
        assert!(count > 40, "only {count} lines were parted");
    }

    #[test]
    fn whatever_a_line_is_made_of_it_holds_the_same_commands_when_it_is_parted() {
        let mut seed = 7_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).expect("below a usize")
        };
        let mut count = 0;
        for _ in 0..20_000 {
            let mut line = String::from("a");
            for _ in 0..random(12) {
                line.push_str(SIGNS[random(SIGNS.len())]);
                line.push_str(PIECES[random(PIECES.len())]);
            }
            count += usize::from(is_parted(&line));
        }
        assert!(count > 500, "only {count} lines were parted");
    }

    /// As it stands the grammar reads `head git push` here, in which nothing is pushed.
    #[test]
    fn a_command_on_the_next_line_is_no_word_of_the_one_before() {
        let line = "sort a | uniq -c | sort -rn | head\ngit push || true";
        assert!(parse_as_it_stands(line).broken);
        assert!(!parse(line).broken);
        for text in [
            format!("x=\"$({line})\""),
            format!("x=\"a $(b \"$({line})\") c\" d e"),
            format!("case a in b) {line};; esac"),
            format!("case a in (b|c) d | e;; f|g)\n{line}\n;; *) h;; esac"),
        ] {
            assert!(parse_as_it_stands(&text).broken, "{text:?}");
            let before = TREES.get();
            assert!(!parse(&text).broken, "{text:?}");
            assert_eq!(TREES.get() - before, 1, "{text:?}");
        }
        // Where no sign is written.
        assert!(parse(&format!("x=\"`{line}`\"")).broken);
    }

    /// With `test it -o` as one word the grammar finds no tree here, and with the pipe as it stands none either.
    #[test]
    fn where_words_cannot_be_joined_the_signs_are_parted_all_the_same() {
        let line = "lines | echo  test it -o `\n` publish: > x 12 ";
        assert!(parse_as_it_stands(line).broken);
        assert!(!parse(line).broken);
    }

    /// To find its way out of quotes that nothing closes costs the grammar more than to read them.
    #[test]
    fn quotes_left_open_are_read_as_if_they_were_closed_and_the_text_stays_unread() {
        for (text, closed) in [
            ("git 'push", "git 'push'"),
            ("git push \"origin", "git push \"origin\""),
            ("ls | cat; echo $'a\\'b", "ls | cat; echo $'a\\'b'"),
            ("x=\"$(git push", "x=\"$(git push)\""),
            ("(a; echo \"$(b | c \"d", "(a; echo \"$(b | c \"d\")\")"),
        ] {
            let before = TREES.get();
            let script = parse(text);
            assert!(script.broken, "{text:?}");
            assert_eq!(TREES.get() - before, 1, "{text:?}");
            assert_eq!(Leaves::of(&script), Leaves::of(&parse(closed)), "{text:?}");
        }
        // What the quotes hide is not the only fault, or they are none.
        for text in [
            "if then 'fi (",
            "a # it's",
            "a &# it's",
            "(a)# it's",
            "case a in 'b",
            "cat <<E\nit's\nE\n(",
        ] {
            assert_eq!(
                Leaves::of(&parse(text)),
                Leaves::of(&parse_as_it_stands(text)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_name_that_begins_with_a_brace_is_a_word() {
        for line in [
            "{git,push}",
            "a && {b,c{d,e}} f | g",
            "{ {a,b}; }",
            "if {a,b} c; then d; fi",
        ] {
            assert!(parse_as_it_stands(line).broken, "{line:?}");
            assert!(!parse(line).broken, "{line:?}");
        }
        for line in ["{a,b", "{a}", "{ a,b", "{a,b}c(d)"] {
            assert_eq!(parse(line).broken, parse_as_it_stands(line).broken, "{line:?}");
        }
    }

    #[test]
    fn words_that_were_joined_come_apart_as_they_were() {
        let line = r#"find src -name '*.rs' -o -name "x y" -exec grep -l TODO {} \; | xargs -n 1 wc -l"#;
        let runs = parted(line).expect("a pipe").runs.len();
        assert_eq!(runs, 2);
        assert_eq!(Leaves::of(&parse(line)), Leaves::of(&parse_as_it_stands(line)));
    }

    /// Where each text is read in parts first and then as it stands, those within it must not be read twice each time.
    #[test]
    fn texts_within_texts_are_read_as_often_as_there_are_levels() {
        let mut text = "a".to_owned();
        for level in 0..10 {
            text = format!("echo \\\" | \\\" <<A{level}\n`{text}`\nA{level}\n$(a \"b | c\") ");
        }
        let before = TREES.get();
        parse(&text);
        let trees = TREES.get() - before;
        assert!((10..=40).contains(&trees), "{trees}");
    }

    /// Pipes as `a|b`, lists as `[a b]`, blocks of other kinds as `{a}`.
    fn shape(nodes: &[Node]) -> String {
        let shapes: Vec<String> = nodes
            .iter()
            .map(|node| match node {
                Node::Simple(simple) => match simple.words.first().map(|word| &word.parts[..]) {
                    Some([Part::Text { text, .. }]) => text.clone(),
                    _ => "_".into(),
                },
                Node::Pipe(stages) => stages
                    .iter()
                    .map(|stage| shape(std::slice::from_ref(stage)))
                    .collect::<Vec<_>>()
                    .join("|"),
                Node::Block { nodes, subshell } if *subshell => format!("({})", shape(nodes)),
                Node::Block { nodes, .. } => format!("[{}]", shape(nodes)),
                Node::Redirected { body, .. } => format!("{}>", shape(std::slice::from_ref(body))),
                Node::For { body, .. } => format!("for [{}]", shape(body)),
                Node::Function { name, .. } => format!("{name}()"),
            })
            .collect();
        shapes.join(" ")
    }

    /// The grammar reads `a | b | c && d` as `a | { b | c && d; }`, and a redirection at the end as one of the whole.
    #[test]
    fn a_pipe_binds_closer_than_a_list() {
        for (line, expected) in [
            ("a | b", "a|b"),
            ("a | b | c && d", "[a|b|c d]"),
            ("a && b | c || d | e", "[a b|c d|e]"),
            ("a | b; c | d & e", "a|b c|d e"),
            ("a |& b |\n c &&\n d", "[a|b|c d]"),
            ("a|b&&c", "[a|b c]"),
            ("a && b < f", "[a b]"),
            ("(a && b | c) | d", "([a b|c])|d"),
            ("{ a | b; } > f && c", "[[a|b]> c]"),
            ("[ -f a ] && b | c", "[b|c]"),
            ("a | while b | c; do d | e; done", "a|[b|c [d|e]]"),
            ("for x in a; do b | c; done | d", "for [b|c]|d"),
            ("if a | b && c; then d | e; else f | g; fi", "[[a|b c] d|e [f|g]]"),
            ("f() { a | b; } && c | d", "[f() c|d]"),
            ("! a | b", "[a]|b"),
            ("a | b\nc && d | e\nf", "a|b [c d|e] f"),
        ] {
            assert_eq!(shape(&parse(line).nodes), expected, "{line:?}");
        }
    }

    #[test]
    fn a_sign_that_does_not_stand_between_two_commands_is_left() {
        for line in [
            "a |",
            "a && && b",
            "a | | b",
            "| a",
            "a & | b",
            "while a | do b; done",
            "if a; then | b; fi",
            "if a | else b; fi",
            "for x in a | do b; done",
            "a ; | b",
        ] {
            assert!(parse(line).broken, "{line:?}");
        }
        for line in [
            "a '|' b | c",
            "a # b | c",
            "a \"x && y\" | b",
            "a \\| b | c",
            "[[ a && b ]] | c",
        ] {
            let (script, as_it_stands) = (parse(line), parse_as_it_stands(line));
            assert_eq!(Leaves::of(&script), Leaves::of(&as_it_stands), "{line:?}");
        }
    }
}
