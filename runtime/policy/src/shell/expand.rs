//! Words to the fields they may come to.
//!
//! What is known only when the line runs leaves a [`HOLE`] in a field. A variable that may have several values gives
//! several readings; there are at most [`MOST`] of them, then a hole stands for the rest.

use super::ast::{Part, Script, Word};

/// Stands in a field for text that is known only when the line runs. No argument of a program can hold it.
pub(crate) const HOLE: char = '\0';
/// Most readings of one command.
pub(crate) const MOST: usize = 12;
/// Most fields that one brace expression or variable may come to.
const WIDEST: usize = 64;

/// One argument of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) text: String,
    /// Holds `*`, `?` or `[` outside of quotes: stands for names of files.
    pub(crate) glob: bool,
    /// Some of it was quoted, so that it is an argument even when it is empty.
    quoted: bool,
    /// The braces in it stand outside of quotes.
    braces: bool,
}

impl Field {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Whether all of it is known.
    pub(crate) fn known(&self) -> bool {
        !self.text.contains(HOLE)
    }
}

/// What a variable may be: each value is the fields it holds, one unless it is an array.
pub(crate) type Values = Vec<Vec<String>>;

/// Where words are expanded: what the variables are, and what substitutions print.
pub(crate) trait Scope {
    /// Values of a variable; none when nothing is known about it.
    fn values(&mut self, name: &str) -> Option<Values>;
    /// What a substitution prints, as far as that can be told.
    fn prints(&mut self, script: &Script) -> Option<String>;
    /// A file that holds what a substitution prints.
    fn file_of(&mut self, script: &Script) -> String;
    /// Something that only runs.
    fn runs(&mut self, script: &Script);
    /// Whether variables that nobody set count as empty, rather than as unknown.
    fn unset_is_empty(&self) -> bool;
}

#[derive(Clone, Default)]
struct Reading {
    done: Vec<Field>,
    open: Option<Field>,
}

impl Reading {
    fn text(&mut self, text: &str, quoted: bool) {
        let open = self.open.get_or_insert_default();
        open.text.push_str(text);
        open.quoted |= quoted;
        if !quoted {
            open.glob |= text.bytes().any(|byte| matches!(byte, b'*' | b'?' | b'['));
            open.braces |= text.bytes().any(|byte| matches!(byte, b'{' | b'}'));
        }
    }

    fn close(&mut self) {
        if let Some(field) = self.open.take()
            && (field.quoted || !field.text.is_empty())
        {
            self.done.push(field);
        }
    }

    /// A value that the shell splits into fields.
    fn split(&mut self, value: &str) {
        let mut words = value.split([' ', '\t', '\n']);
        if let Some(first) = words.next()
            && !first.is_empty()
        {
            self.text(first, false);
        }
        for word in words {
            self.close();
            if !word.is_empty() {
                self.text(word, false);
            }
        }
    }

    fn value(&mut self, fields: &[String], quoted: bool) {
        for (number, field) in fields.iter().take(WIDEST).enumerate() {
            if number > 0 {
                self.close();
            }
            match quoted {
                true => self.text(field, true),
                false => self.split(field),
            }
        }
    }
}

/// The readings of a list of words, each a list of fields.
pub(crate) fn fields(words: &[Word], scope: &mut dyn Scope) -> Vec<Vec<Field>> {
    let mut readings = vec![Reading {
        done: Vec::with_capacity(words.len()),
        open: None,
    }];
    for word in words {
        // Most words are one piece of text.
        if let [Part::Text { text, quoted }] = &word.parts[..]
            && (*quoted || !text.contains('{'))
        {
            for reading in &mut readings {
                reading.text(text, *quoted);
                reading.close();
            }
            continue;
        }
        for part in &word.parts {
            apply(part, false, &mut readings, scope);
        }
        for reading in &mut readings {
            let before = reading.done.len();
            reading.close();
            if reading
                .done
                .get(before)
                .is_some_and(|field| field.braces && field.text.contains('{'))
                && let Some(field) = reading.done.pop()
            {
                let texts = braces(&field.text);
                reading.done.extend(texts.into_iter().map(|text| Field {
                    text,
                    ..field.clone()
                }));
            }
        }
    }
    readings.into_iter().map(|reading| reading.done).collect()
}

/// The readings of one word as one text, as in an assignment.
pub(crate) fn texts(word: &Word, scope: &mut dyn Scope) -> Vec<String> {
    let mut readings = vec![Reading::default()];
    for part in &word.parts {
        apply(part, true, &mut readings, scope);
    }
    let joined = |mut reading: Reading| {
        reading.close();
        let texts: Vec<String> = reading.done.into_iter().map(|field| field.text).collect();
        texts.join(" ")
    };
    readings.into_iter().map(joined).collect()
}

/// Adds a part to each reading. With `whole` it counts as quoted whether it is or not.
fn apply(part: &Part, whole: bool, readings: &mut Vec<Reading>, scope: &mut dyn Scope) {
    match part {
        Part::Text { text, quoted } => readings
            .iter_mut()
            .for_each(|reading| reading.text(text, whole || *quoted)),
        Part::Var {
            name,
            fallback,
            quoted,
        } => {
            let mut values = scope.values(name);
            if let Some(fallback) = fallback {
                let values = values.get_or_insert_default();
                values.push(vec![fallback.clone()]);
            }
            let values = values.unwrap_or_else(|| match scope.unset_is_empty() {
                true => vec![vec![String::new()]],
                false => vec![vec![HOLE.to_string()]],
            });
            choose(readings, &values, whole || *quoted);
        }
        Part::Run { script, quoted } => {
            let printed = scope.prints(script).unwrap_or_else(|| HOLE.to_string());
            choose(readings, &[vec![printed]], whole || *quoted);
        }
        Part::Process(script) => {
            let file = scope.file_of(script);
            choose(readings, &[vec![file]], true);
        }
        Part::Opaque(scripts) => {
            scripts.iter().for_each(|script| scope.runs(script));
            choose(readings, &[vec![HOLE.to_string()]], true);
        }
    }
}

fn choose(readings: &mut Vec<Reading>, values: &[Vec<String>], quoted: bool) {
    if let [value] = values {
        readings
            .iter_mut()
            .for_each(|reading| reading.value(value, quoted));
        return;
    }
    if readings.len() * values.len() > MOST {
        let hole = [HOLE.to_string()];
        readings
            .iter_mut()
            .for_each(|reading| reading.value(&hole, quoted));
        return;
    }
    let mut all = Vec::with_capacity(readings.len() * values.len());
    for value in values {
        for reading in readings.iter() {
            let mut reading = reading.clone();
            reading.value(value, quoted);
            all.push(reading);
        }
    }
    *readings = all;
}

/// `a{b,c}d` to `abd acd`. Ranges stay as they are: they make names of files.
fn braces(text: &str) -> Vec<String> {
    let mut done = Vec::new();
    let mut todo = vec![text.to_owned()];
    let mut budget = WIDEST;
    while let Some(text) = todo.pop() {
        budget = budget.saturating_sub(1);
        match first_brace(&text) {
            Some((before, choices, after))
                if budget > 0 && done.len() + todo.len() + choices.len() <= WIDEST =>
            {
                todo.extend(
                    choices
                        .iter()
                        .rev()
                        .map(|choice| format!("{before}{choice}{after}")),
                );
            }
            _ => done.push(text),
        }
    }
    done
}

/// The first brace with a comma in it: what stands before, its choices, what follows.
fn first_brace(text: &str) -> Option<(&str, Vec<&str>, &str)> {
    let mut from = 0;
    // Each opening brace is looked at once, and a text with many of them is not worth more.
    for _ in 0..8 {
        let open = from + text.get(from..)?.find('{')?;
        let (mut depth, mut begin, mut choices) = (0_usize, open + 1, Vec::new());
        for (at, c) in text.get(open..)?.char_indices() {
            let at = open + at;
            match c {
                '{' => depth += 1,
                ',' if depth == 1 => {
                    choices.push(&text[begin..at]);
                    begin = at + 1;
                }
                '}' if depth == 1 => {
                    if choices.is_empty() {
                        break;
                    }
                    choices.push(&text[begin..at]);
                    return Some((&text[..open], choices, &text[at + 1..]));
                }
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        from = open + 1;
    }
    None
}
