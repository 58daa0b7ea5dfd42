//! Text to tree. The one place that knows the grammar's own tree.
//!
//! Whatever the grammar cannot read makes the script [`Script::broken`]; what stands around it is kept. Depth and length
//! are bounded, since a tree of the grammar may be as deep as its text is long.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;

use tree_sitter::{Language, Node as Found, Parser, Tree};

use super::ast::{Assign, How, Node, Part, Redirect, Script, Simple, Word};
use super::documents::{self, Document, MARK};
use super::escapes::{ansi_c, unescaped};
use super::joins::Joins;
use super::parted::{self, Parted, Sign, Unparted};
use super::plain::JOINT;

/// Longest text that is parsed, bytes.
const LONGEST: usize = 256 * 1024;
/// Deepest nesting that is followed.
const DEEPEST: u32 = 80;
/// How much text within a text is read, as a multiple of its length, and beside that, bytes. Each text within may be almost as
/// long as the one around it.
const MOST_WITHIN: (usize, usize) = (3, 4096);

/// What the grammar sees of characters beyond ASCII.
const UNSEEN: u8 = 0x7f;

static LANGUAGE: LazyLock<Language> = LazyLock::new(|| tree_sitter_bash::LANGUAGE.into());

thread_local! {
    /// Making a parser costs more than most parses.
    static PARSER: RefCell<Option<Parser>> = const { RefCell::new(None) };
}

/// Parses `text` as a script. Never fails: see [`Script::broken`].
pub(crate) fn parse(text: &str) -> Script {
    let within = Cell::new(text.len() * MOST_WITHIN.0 + MOST_WITHIN.1);
    parse_within(
        text,
        &Bounds {
            depth: DEEPEST,
            within: &within,
        },
    )
}

/// What may still be read.
#[derive(Clone, Copy)]
struct Bounds<'t> {
    /// Levels.
    depth: u32,
    /// Bytes of texts within the one that is read.
    within: &'t Cell<usize>,
}

fn parse_within(text: &str, bounds: &Bounds<'_>) -> Script {
    parse_parted(text, bounds, parted::parted)
}

/// Parses `text`, which `part` may part before.
fn parse_parted(text: &str, bounds: &Bounds<'_>, part: fn(&str) -> Result<Parted<'_>, Unparted>) -> Script {
    let unread = Script::new(Vec::new(), true);
    if text.len() > LONGEST || bounds.depth == 0 {
        return unread;
    }
    let prepared = documents::prepare(text);
    let broken = prepared.open || text.contains('\0');
    let script = match part(&prepared.text) {
        Ok(parted) => {
            let read = |parted: &Parted<'_>| parse_parts(parted, &prepared.documents, broken, bounds);
            read(&parted).or_else(|| read(&parted.with_signs_alone()?))
        }
        Err(Unparted::Open(closing)) => {
            let closed = format!("{}{closing}", prepared.text);
            parse_closed(&closed, &prepared.documents, bounds)
        }
        Err(Unparted::Left) => None,
    };
    if let Some(script) = script {
        return script;
    }
    let Some(tree) = tree_of(&prepared.text) else {
        return unread;
    };
    let root = tree.root_node();
    let mut lower = Lower::new(
        &prepared.text,
        &prepared.documents,
        broken || root.has_error(),
        bounds,
    );
    let nodes = lower.children(root);
    Script::new(nodes, lower.broken)
}

/// Reads a text as parted, if its tree holds what was written for others where those may stand.
fn parse_parts(
    parted: &Parted<'_>,
    documents: &[Document],
    broken: bool,
    bounds: &Bounds<'_>,
) -> Option<Script> {
    let tree = tree_of(&parted.text)?;
    if tree.root_node().has_error() {
        return None;
    }
    let lower = || Lower {
        parted: Some(parted),
        ..Lower::new(&parted.text, documents, broken, bounds)
    };
    // Texts within texts are read once it is known that this reading counts: read for each attempt, they would be read
    // twice as often with each level.
    let mut looking = lower();
    looking.only_looks = true;
    let nodes = looking.children(tree.root_node());
    if !looking.met_all_of(parted) {
        return None;
    }
    if !looking.left_unread {
        return Some(Script::new(nodes, looking.broken));
    }
    let mut lower = lower();
    let nodes = lower.children(tree.root_node());
    Some(Script::new(nodes, lower.broken))
}

/// Reads a text whose quotes were left open and closed here, if the grammar finds no other fault with it. To find its way
/// where one is costs the grammar more than most texts take to read.
fn parse_closed(closed: &str, documents: &[Document], bounds: &Bounds<'_>) -> Option<Script> {
    if let Ok(parted) = parted::parted(closed) {
        return parse_parts(&parted, documents, true, bounds);
    }
    let tree = tree_of(closed)?;
    if tree.root_node().has_error() {
        return None;
    }
    let nodes = Lower::new(closed, documents, true, bounds).children(tree.root_node());
    Some(Script::new(nodes, true))
}

/// The grammar's tree of a text.
///
/// Its scanner looks characters up in a table of 256, however large they are: `{` and U+31860 end the process. So it sees
/// [`UNSEEN`] for each byte of what is not ASCII, which stands in words as such characters do in a shell.
fn tree_of(text: &str) -> Option<Tree> {
    #[cfg(test)]
    TREES.with(|trees| trees.set(trees.get() + 1));
    let parsed = |bytes: &[u8]| {
        PARSER.with(|kept| {
            let mut parser = kept.borrow_mut().take().or_else(new_parser)?;
            let tree = parser.parse(bytes, None);
            *kept.borrow_mut() = Some(parser);
            tree
        })
    };
    if text.is_ascii() {
        return parsed(text.as_bytes());
    }
    let seen = |byte: u8| if byte.is_ascii() { byte } else { UNSEEN };
    let bytes: Vec<u8> = text.bytes().map(seen).collect();
    parsed(&bytes).filter(|tree| cuts_no_character(tree, text))
}

/// Whether all that was found begins and ends with a character of the text, and not within one.
fn cuts_no_character(tree: &Tree, text: &str) -> bool {
    let mut cursor = tree.walk();
    loop {
        let range = cursor.node().byte_range();
        if !text.is_char_boundary(range.start) || !text.is_char_boundary(range.end) {
            return false;
        }
        if cursor.goto_first_child() || cursor.goto_next_sibling() {
            continue;
        }
        loop {
            if !cursor.goto_parent() {
                return true;
            }
            if cursor.goto_next_sibling() {
                break;
            }
        }
    }
}

/// The name of what was found. The grammar keeps it as a string of C, which would be measured and checked each time.
fn kind(found: Found<'_>) -> &'static str {
    static KINDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let count = u16::try_from(LANGUAGE.node_kind_count()).unwrap_or(u16::MAX);
        let name = |id| LANGUAGE.node_kind_for_id(id).unwrap_or_default();
        (0..count).map(name).collect()
    });
    // An error has no number of the grammar's own.
    KINDS
        .get(usize::from(found.kind_id()))
        .copied()
        .unwrap_or("ERROR")
}

fn new_parser() -> Option<Parser> {
    let mut parser = Parser::new();
    parser.set_language(&LANGUAGE).ok()?;
    Some(parser)
}

struct Lower<'t> {
    text: &'t str,
    documents: &'t [Document],
    broken: bool,
    bounds: Bounds<'t>,
    /// The text was parted before.
    parted: Option<&'t Parted<'t>>,
    /// How many of its signs were met between commands.
    signs_met: usize,
    /// How many of its runs of words were met among the arguments of a command.
    runs_met: usize,
    /// One of them stands elsewhere.
    wrong: bool,
    /// Whether texts within this one are left unread.
    only_looks: bool,
    /// One of them was.
    left_unread: bool,
}

impl<'t> Lower<'t> {
    fn new(text: &'t str, documents: &'t [Document], broken: bool, bounds: &Bounds<'t>) -> Self {
        Self {
            text,
            documents,
            broken,
            bounds: *bounds,
            parted: None,
            signs_met: 0,
            runs_met: 0,
            wrong: false,
            only_looks: false,
            left_unread: false,
        }
    }

    fn text_of(&self, found: Found<'_>) -> &'t str {
        self.text.get(found.byte_range()).unwrap_or_default()
    }

    /// In a pipe the grammar passes over a line break at times, and takes what stands on the next line for more words of the
    /// same command. Such a text is not read as it would run.
    fn one_line(&mut self, found: Found<'_>) {
        if self.broken || !self.text_of(found).contains('\n') {
            return;
        }
        let mut cursor = found.walk();
        let mut at = found.start_byte();
        for child in found.children(&mut cursor) {
            let between = self.text.get(at..child.start_byte()).unwrap_or_default();
            self.broken |= between.contains('\n');
            at = child.end_byte();
        }
    }

    /// Goes one level down, unless that is too deep.
    fn deeper<T: Default>(&mut self, go: impl FnOnce(&mut Self) -> T) -> T {
        if self.bounds.depth == 0 {
            self.broken = true;
            return T::default();
        }
        self.bounds.depth -= 1;
        let out = go(self);
        self.bounds.depth += 1;
        out
    }

    fn children(&mut self, of: Found<'_>) -> Vec<Node> {
        self.deeper(|lower| {
            let mut nodes = Vec::new();
            let mut joins = Joins::default();
            let mut cursor = of.walk();
            for child in of.children(&mut cursor) {
                if let Some(sign) = lower.sign(child) {
                    lower.signs_met += 1;
                    joins.sign(sign);
                    continue;
                }
                let before = nodes.len();
                lower.statement(child, &mut nodes);
                match is_command(child) {
                    true => joins.command(before..nodes.len()),
                    false => joins.other(),
                }
            }
            joins.other();
            lower.wrong |= joins.wrong;
            joins.join(nodes)
        })
    }

    /// The sign that was written as this `;`.
    fn sign(&self, found: Found<'_>) -> Option<Sign> {
        let parted = self
            .parted
            .filter(|parted| !parted.signs.is_empty() && !found.is_named())?;
        parted.sign(found.start_byte())
    }

    /// The words that were written as this one.
    fn run(&self, found: Found<'_>) -> Option<impl Iterator<Item = Word> + use<'t>> {
        let is_run = self.text_of(found).strip_prefix(JOINT) == Some("");
        self.parted.filter(|_| is_run)?.words(found.start_byte())
    }

    /// Whether the tree holds what was written for others where those may stand.
    fn met_all_of(&self, parted: &Parted<'_>) -> bool {
        !self.wrong && self.signs_met == parted.signs.len() && self.runs_met == parted.runs.len()
    }

    fn script(&mut self, of: Found<'_>) -> Script {
        Script::new(self.children(of), false)
    }

    fn statement(&mut self, found: Found<'_>, nodes: &mut Vec<Node>) {
        if !found.is_named() {
            return;
        }
        let kind = kind(found);
        if matches!(
            kind,
            "command"
                | "redirected_statement"
                | "declaration_command"
                | "unset_command"
                | "variable_assignments"
        ) {
            self.one_line(found);
        }
        match kind {
            "comment" | "heredoc_body" | "heredoc_end" | "heredoc_start" => {}
            "command" => {
                let simple = self.deeper(|lower| lower.command(found));
                nodes.push(Node::Simple(simple));
            }
            "redirected_statement" => {
                if let Some(node) = self.deeper(|lower| lower.redirected(found)) {
                    nodes.push(node);
                }
            }
            "pipeline" => nodes.push(Node::Pipe(self.children(found))),
            "subshell" => nodes.push(Node::Block {
                nodes: self.children(found),
                subshell: true,
            }),
            "list"
            | "program"
            | "compound_statement"
            | "do_group"
            | "if_statement"
            | "elif_clause"
            | "else_clause"
            | "while_statement"
            | "case_statement"
            | "case_item"
            | "negated_command"
            | "ERROR"
            | "variable_assignments" => {
                let inner = self.children(found);
                nodes.push(Node::Block {
                    nodes: inner,
                    subshell: false,
                });
            }
            "for_statement" => {
                let node = self.deeper(|lower| lower.for_loop(found));
                nodes.extend(node);
            }
            "function_definition" => self.function(found, nodes),
            "variable_assignment" => {
                let assign = self.deeper(|lower| lower.assign(found));
                nodes.push(Node::Simple(Simple {
                    assigns: assign.into_iter().collect(),
                    ..Simple::default()
                }));
            }
            "declaration_command" => {
                let simple = self.deeper(|lower| lower.declaration(found));
                nodes.push(Node::Simple(simple));
            }
            // Words that are only worked out: a test, a sum, the subject of a case. What runs inside them runs.
            _ => {
                let scripts = self.runs(found);
                nodes.extend(scripts.into_iter().map(|script| Node::Block {
                    nodes: script.nodes,
                    subshell: true,
                }));
            }
        }
    }

    fn command(&mut self, found: Found<'_>) -> Simple {
        let mut simple = Simple::default();
        let mut cursor = found.walk();
        for child in found.children(&mut cursor) {
            match kind(child) {
                "variable_assignment" => simple.assigns.extend(self.assign(child)),
                "command_name" if let Some(words) = self.run(child) => {
                    simple.words.extend(words);
                    self.runs_met += 1;
                }
                "command_name" => {
                    let word = self.name(child);
                    simple.words.push(word);
                }
                "file_redirect" => {
                    let (redirect, more) = self.file_redirect(child);
                    simple.redirects.extend(redirect);
                    simple.words.extend(more);
                }
                "heredoc_redirect" | "herestring_redirect" => self.broken = true,
                "ERROR" => {
                    let word = self.opaque(child);
                    simple.words.push(word);
                }
                "word" if let Some(words) = self.run(child) => {
                    simple.words.extend(words);
                    self.runs_met += 1;
                }
                _ => {
                    let word = self.word(child);
                    simple.words.push(word);
                }
            }
        }
        simple
    }

    /// The name of a command, mostly a word of letters.
    fn name(&mut self, found: Found<'_>) -> Word {
        let text = self.text_of(found);
        match text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            true => Word {
                parts: vec![Part::Text {
                    text: text.to_owned(),
                    quoted: false,
                }],
            },
            false => self.word(found.child(0).unwrap_or(found)),
        }
    }

    fn redirected(&mut self, found: Found<'_>) -> Option<Node> {
        let mut bodies = Vec::new();
        let (mut redirects, mut words) = (Vec::new(), Vec::new());
        let mut cursor = found.walk();
        for child in found.children(&mut cursor) {
            match kind(child) {
                "file_redirect" => {
                    let (redirect, more) = self.file_redirect(child);
                    redirects.extend(redirect);
                    words.extend(more);
                }
                "heredoc_redirect" | "herestring_redirect" => self.broken = true,
                _ => self.statement(child, &mut bodies),
            }
        }
        let body = match bodies.len() {
            0 => Node::Simple(Simple::default()),
            1 => bodies.swap_remove(0),
            _ => Node::Block {
                nodes: bodies,
                subshell: false,
            },
        };
        // The grammar takes words behind a redirection for further targets; they are arguments.
        Some(match body {
            Node::Simple(mut simple) => {
                simple.redirects.extend(redirects);
                simple.words.extend(words);
                Node::Simple(simple)
            }
            body => {
                self.broken |= !words.is_empty();
                Node::Redirected {
                    body: Box::new(body),
                    redirects,
                }
            }
        })
    }

    /// The redirection, and what the grammar took for further targets.
    fn file_redirect(&mut self, found: Found<'_>) -> (Option<Redirect>, Vec<Word>) {
        self.one_line(found);
        let mut how = How::Write;
        let mut words = Vec::new();
        let mut cursor = found.walk();
        for child in found.children(&mut cursor) {
            match kind(child) {
                "file_descriptor" => {}
                "<" => how = How::Read,
                ">&" | "<&" | ">&-" | "<&-" => how = How::Same,
                _ if !child.is_named() => {}
                "ERROR" => self.broken = true,
                _ => words.push(self.word(child)),
            }
        }
        if words.is_empty() {
            return (None, words);
        }
        let mut to = words.remove(0);
        if let Some(Part::Text { text, .. }) = to.parts.first()
            && let Some(number) = text.strip_prefix(MARK).map(str::to_owned)
        {
            match number.parse() {
                Ok(number) => to = self.document(number),
                Err(_) => {
                    to.parts.remove(0);
                }
            }
            return (Some(Redirect { how: How::Text, to }), words);
        }
        // `>& file` is a file, `>&2` and `>&-` are not.
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if how == How::Same && !matches!(&to.parts[..], [Part::Text { text, .. }] if number(text)) {
            how = How::Write;
        }
        (Some(Redirect { how, to }), words)
    }

    fn document(&mut self, number: usize) -> Word {
        let Some(document) = self.documents.get(number) else {
            self.broken = true;
            return Word::default();
        };
        if document.literal || !document.body.contains(['$', '`', '\\']) {
            return Word::literal(document.body.as_str());
        }
        // As between double quotes, where only the quote itself would be special.
        let line = format!("_ \"{}\"", document.body.replace('"', "\\\""));
        let script = self.within(&line);
        match script.nodes.into_iter().next() {
            Some(Node::Simple(mut simple)) if simple.words.len() == 2 => simple.words.swap_remove(1),
            _ => {
                self.broken = true;
                Word {
                    parts: vec![Part::Opaque(Vec::new())],
                }
            }
        }
    }

    fn for_loop(&mut self, found: Found<'_>) -> Vec<Node> {
        let (mut name, mut values, mut body) = (String::new(), Vec::new(), Vec::new());
        let mut cursor = found.walk();
        for child in found.named_children(&mut cursor) {
            match kind(child) {
                "variable_name" if name.is_empty() => name = self.text_of(child).to_owned(),
                "do_group" | "compound_statement" => body = self.children(child),
                "comment" => {}
                _ => values.push(self.word(child)),
            }
        }
        vec![Node::For { name, values, body }]
    }

    fn function(&mut self, found: Found<'_>, nodes: &mut Vec<Node>) {
        let name = found
            .child_by_field_name("name")
            .map(|name| self.text_of(name).to_owned());
        let mut body = Vec::new();
        self.deeper(|lower| {
            let mut cursor = found.walk();
            for child in found.children_by_field_name("body", &mut cursor) {
                lower.statement(child, &mut body);
            }
        });
        nodes.push(Node::Function {
            name: name.unwrap_or_default(),
            body: Rc::new(body),
        });
    }

    fn assign(&mut self, found: Found<'_>) -> Option<Assign> {
        let name = found.child_by_field_name("name")?;
        let (name, index) = match kind(name) {
            "subscript" => (name.child_by_field_name("name").unwrap_or(name), true),
            _ => (name, false),
        };
        let joins = index || self.text_of(found).contains("+=");
        let values = match found.child_by_field_name("value") {
            None => vec![Word::literal("")],
            Some(array) if kind(array) == "array" => {
                let mut cursor = array.walk();
                array
                    .named_children(&mut cursor)
                    .map(|word| self.word(word))
                    .collect()
            }
            Some(word) => vec![self.word(word)],
        };
        Some(Assign {
            name: self.text_of(name).to_owned(),
            joins,
            values,
        })
    }

    fn declaration(&mut self, found: Found<'_>) -> Simple {
        let mut simple = Simple::default();
        let mut cursor = found.walk();
        for child in found.children(&mut cursor) {
            match kind(child) {
                "variable_assignment" => simple.assigns.extend(self.assign(child)),
                _ => {
                    let word = self.word(child);
                    simple.words.push(word);
                }
            }
        }
        simple
    }

    fn word(&mut self, found: Found<'_>) -> Word {
        let mut word = Word::default();
        self.deeper(|lower| lower.parts(found, false, &mut word.parts));
        word
    }

    fn parts(&mut self, found: Found<'_>, quoted: bool, parts: &mut Vec<Part>) {
        let text = self.text_of(found);
        match kind(found) {
            "concatenation" | "command_name" if found.child_count() > 0 => {
                self.deeper(|lower| lower.joined(found, found.start_byte(), found.end_byte(), quoted, parts));
            }
            "string" => {
                let (from, to) = (found.start_byte() + 1, found.end_byte().saturating_sub(1));
                // So that an empty string is a word all the same.
                parts.push(Part::Text {
                    text: String::new(),
                    quoted: true,
                });
                self.deeper(|lower| lower.joined(found, from, to, true, parts));
            }
            "translated_string" => self.deeper(|lower| {
                let mut cursor = found.walk();
                for child in found.named_children(&mut cursor) {
                    lower.parts(child, true, parts);
                }
            }),
            "raw_string" => parts.push(Part::Text {
                text: text
                    .strip_prefix('\'')
                    .and_then(|text| text.strip_suffix('\''))
                    .unwrap_or(text)
                    .to_owned(),
                quoted: true,
            }),
            "ansi_c_string" => {
                let inner = text.strip_prefix("$'").and_then(|text| text.strip_suffix('\''));
                parts.push(Part::Text {
                    text: ansi_c(inner.unwrap_or(text)),
                    quoted: true,
                });
            }
            "string_content" => parts.push(Part::Text {
                text: unescaped(text, true),
                quoted: true,
            }),
            "simple_expansion" => parts.push(Part::Var {
                name: text.trim_start_matches('$').to_owned(),
                fallback: None,
                quoted,
            }),
            "expansion" => self.expansion(found, text, quoted, parts),
            "command_substitution" => {
                let script = self.substitution(found);
                parts.push(Part::Run { script, quoted });
            }
            "process_substitution" => {
                let script = self.script(found);
                parts.push(Part::Process(script));
            }
            "arithmetic_expansion" | "subshell" | "array" | "ERROR" => {
                let word = self.opaque(found);
                parts.extend(word.parts);
            }
            _ if found.named_child_count() > 0 => {
                let word = self.opaque(found);
                parts.extend(word.parts);
            }
            _ => parts.push(Part::Text {
                text: unescaped(text, quoted),
                quoted,
            }),
        }
    }

    /// `$(...)`, whose only redirection may stand alone: `$(< file)`.
    fn substitution(&mut self, found: Found<'_>) -> Script {
        let mut script = self.script(found);
        if !self.text_of(found).contains(['<', '>']) {
            return script;
        }
        let mut cursor = found.walk();
        for child in found.children_by_field_name("redirect", &mut cursor) {
            let (redirect, _) = self.file_redirect(child);
            script.nodes.push(Node::Simple(Simple {
                words: vec![Word::literal("cat")],
                redirects: redirect.into_iter().collect(),
                ..Simple::default()
            }));
        }
        script
    }

    /// Children between two places, and the text between them, which the grammar does not always keep.
    fn joined(&mut self, found: Found<'_>, from: usize, to: usize, quoted: bool, parts: &mut Vec<Part>) {
        let mut at = from;
        let whole = self.text;
        let gap = |from: usize, to: usize, parts: &mut Vec<Part>| {
            if let Some(text) = whole.get(from..to)
                && !text.is_empty()
            {
                parts.push(Part::Text {
                    text: unescaped(text, quoted),
                    quoted,
                });
            }
        };
        let mut inner = Vec::new();
        let mut cursor = found.walk();
        for child in found.named_children(&mut cursor) {
            if child.start_byte() >= from && child.end_byte() <= to {
                inner.push(child);
            }
        }
        for child in inner {
            gap(at, child.start_byte(), parts);
            at = child.end_byte();
            self.parts(child, quoted, parts);
        }
        gap(at, to, parts);
    }

    fn expansion(&mut self, found: Found<'_>, text: &str, quoted: bool, parts: &mut Vec<Part>) {
        let inner = text
            .strip_prefix("${")
            .and_then(|text| text.strip_suffix('}'))
            .unwrap_or_default();
        let length = inner
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(inner.len());
        let (name, rest) = match inner.chars().next() {
            Some('@' | '*' | '?' | '$' | '-') => inner.split_at(1),
            _ => inner.split_at(length),
        };
        let fallback = [":-", ":=", ":+", "-", "=", "+"]
            .into_iter()
            .find_map(|sign| rest.strip_prefix(sign));
        let indexed = rest.starts_with('[') && rest.ends_with(']') && !rest.contains(['$', '`']);
        let plain = fallback.is_none_or(|fallback| !fallback.contains(['$', '`', '\'', '"', '\\']));
        if !name.is_empty() && plain && (rest.is_empty() || indexed || fallback.is_some()) {
            parts.push(Part::Var {
                name: name.to_owned(),
                fallback: fallback.map(str::to_owned),
                quoted,
            });
        } else {
            // The variable is named, for what its name says, though what is made of it is not known.
            let word = self.opaque(found);
            parts.extend(word.parts);
            if !name.is_empty() && !inner.starts_with('#') {
                parts.push(Part::Var {
                    name: name.to_owned(),
                    fallback: None,
                    quoted: true,
                });
            }
        }
    }

    /// Reads a text within this one.
    fn within(&mut self, line: &str) -> Script {
        if self.only_looks {
            self.left_unread = true;
            return Script::new(Vec::new(), false);
        }
        let left = self.bounds.within.get().checked_sub(line.len());
        self.bounds.within.set(left.unwrap_or_default());
        let bounds = Bounds {
            depth: self.bounds.depth.saturating_sub(1),
            ..self.bounds
        };
        let script = match left {
            Some(_) => parse_within(line, &bounds),
            None => Script::new(Vec::new(), true),
        };
        self.broken |= script.broken;
        script
    }

    fn opaque(&mut self, found: Found<'_>) -> Word {
        let mut scripts = self.runs(found);
        let text = self.text_of(found);
        if scripts.is_empty() && (text.contains('`') || text.contains("$(")) {
            // The grammar did not see that something runs here.
            let inner = text.trim_start_matches("${").trim_end_matches('}');
            let line = format!("_ \"{}\"", inner.replace('"', "\\\""));
            scripts.push(self.within(&line));
        }
        Word {
            parts: vec![Part::Opaque(scripts)],
        }
    }

    /// Every substitution below.
    fn runs(&mut self, found: Found<'_>) -> Vec<Script> {
        self.deeper(|lower| match kind(found) {
            "command_substitution" => vec![lower.substitution(found)],
            "process_substitution" => vec![lower.script(found)],
            "command" | "list" | "pipeline" | "redirected_statement" | "subshell" | "declaration_command" => {
                let mut nodes = Vec::new();
                lower.statement(found, &mut nodes);
                vec![Script::new(nodes, false)]
            }
            _ => {
                let mut all = Vec::new();
                let mut cursor = found.walk();
                for child in found.named_children(&mut cursor) {
                    all.extend(lower.runs(child));
                }
                all
            }
        })
    }
}

/// Whether this is a whole command, which may stand before a sign and behind one.
fn is_command(found: Found<'_>) -> bool {
    matches!(
        kind(found),
        "command"
            | "redirected_statement"
            | "variable_assignment"
            | "variable_assignments"
            | "declaration_command"
            | "unset_command"
            | "test_command"
            | "negated_command"
            | "for_statement"
            | "while_statement"
            | "if_statement"
            | "subshell"
            | "compound_statement"
            | "function_definition"
    )
}

#[cfg(test)]
thread_local! {
    /// Texts that this thread has made a tree of.
    pub(super) static TREES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// As [`parse`], with every text as it stands.
#[cfg(test)]
pub(super) fn parse_as_it_stands(text: &str) -> Script {
    let within = Cell::new(usize::MAX);
    let bounds = Bounds {
        depth: DEEPEST,
        within: &within,
    };
    parse_parted(text, &bounds, |_| Err(Unparted::Left))
}
