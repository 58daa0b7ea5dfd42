//! What a goal forbids, and what it asks for.
//!
//! A risky word in a negated sentence forbids: "do not deploy" makes a deploy denied, not merely asked about. A goal only
//! ever adds prohibitions; what it asks for is told, and asks all the same.
//!
//! It is read clause by clause. A negation reaches over a list ("do not publish, push or email anyone") up to a contrast
//! ("but", "instead"), another sentence, or something that is not of the list. Two negations cancel each other ("do not
//! forget to deploy"), and some words only look like one ("never mind", "not only").

mod words;

use serde::{Deserialize, Serialize};

use crate::Category;
use words::{Token, risky_at, tokens};

/// What the text of a goal says about risky acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Risky words in a negated sentence: such acts are denied.
    pub forbidden: Vec<Category>,
    /// Risky words that are not negated. Such acts ask all the same; a goal never allows anything.
    pub requested: Vec<Category>,
}

/// Longest text that is read, bytes; what follows says nothing.
const LONGEST: usize = 256 * 1024;

/// Reads a goal. Takes time in proportion to its length.
///
/// ```
/// use longhaul_policy::{Category, goal};
///
/// let reading = goal::read("Fix the tests and open a report. Do not deploy, publish or spend money.");
/// assert_eq!(reading.forbidden, [Category::Publish, Category::Deploy, Category::Spend]);
/// assert_eq!(goal::read("Never mind, deploy it.").forbidden, []);
/// ```
pub fn read(text: &str) -> Reading {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let tokens = tokens(&text[..end]);
    let mut reader = Reader {
        tokens: &tokens,
        ..Reader::default()
    };
    let mut at = 0;
    while at < tokens.len() {
        at += reader.step(at);
    }
    let sorted = |mut found: Vec<Category>| {
        found.sort_unstable();
        found.dedup();
        found
    };
    Reading {
        forbidden: sorted(reader.forbidden),
        requested: sorted(reader.requested),
    }
}

/// How a negation goes on behind a comma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Negation {
    /// Nothing is negated.
    None,
    /// "do not": verbs follow.
    Verbs,
    /// "without", "no", "avoid": nouns and words in -ing follow.
    Nouns,
}

#[derive(Debug)]
struct Reader<'t> {
    tokens: &'t [Token],
    negation: Negation,
    /// A list was left by something that is not of it; "or" takes it up again.
    suspended: Negation,
    /// Where the last negation was met, and whether something came between that keeps the next from cancelling it.
    negated_at: usize,
    settled: bool,
    /// Words between two commas stand between a negation and what it negates: "do not, ever, deploy".
    inserted: bool,
    /// A negation stands over a list: "do not:", one thing a line.
    listed: bool,
    /// Where the last risky word ended.
    risky_to: usize,
    /// Risky words of this clause that were not negated, for a negation that follows: "deploying is forbidden".
    clause: Vec<Category>,
    forbidden: Vec<Category>,
    requested: Vec<Category>,
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self {
            tokens: &[],
            negation: Negation::None,
            suspended: Negation::None,
            negated_at: 0,
            settled: false,
            inserted: false,
            listed: false,
            risky_to: usize::MAX,
            clause: Vec::new(),
            forbidden: Vec::new(),
            requested: Vec::new(),
        }
    }
}

/// Phrases that hold a word of negation and negate nothing.
const HARMLESS: [&str; 30] = [
    "never mind",
    "nevermind",
    "not only",
    "not just",
    "not merely",
    "no problem",
    "no matter",
    "no doubt",
    "no longer",
    "no worries",
    "why not",
    "not sure",
    "whether or not",
    "if not",
    "or not",
    "no later than",
    "no more than",
    "no less than",
    "no fewer than",
    "not limited to",
    "not to mention",
    "nothing wrong",
    "no wonder",
    "no idea",
    "cannot help but",
    "no brainer",
    "not until",
    "if nothing else",
    "no sooner",
    "not yet deployed",
];

/// What stands over a list of what is forbidden.
const HEADS: [&str; 10] = [
    "forbidden",
    "prohibited",
    "out of scope",
    "off limits",
    "not allowed",
    "not permitted",
    "banned",
    "disallowed",
    "no",
    "non goals",
];

/// Phrases that negate verbs behind them.
const VERBS: [&str; 14] = [
    "forbidden to",
    "forbidden from",
    "prohibited from",
    "banned from",
    "not allowed to",
    "do not",
    "must not",
    "not",
    "never",
    "nor",
    "neither",
    "cannot",
    "nobody",
    "nothing",
];

/// Phrases that negate nouns behind them.
const NOUNS: [&str; 38] = [
    "without",
    "no",
    "avoid",
    "avoiding",
    "refrain from",
    "refraining from",
    "abstain from",
    "hold off on",
    "hold off from",
    "hold off",
    "stay away from",
    "steer clear of",
    "keep away from",
    "keep clear of",
    "keep off",
    "hands off",
    "skip",
    "omit",
    "instead of",
    "rather than",
    "except for",
    "except",
    "apart from",
    "other than",
    "short of",
    "anything but",
    "everything but",
    "all but",
    "stop before",
    "in lieu of",
    "as opposed to",
    "minus",
    "zero",
    "stay clear of",
    "stay out of",
    "keep out of",
    "none of",
    "excluding",
];

/// Verbs that turn a negation around: "do not forget to deploy".
const TURNS: [&str; 34] = [
    "forget",
    "forgetting",
    "fail",
    "failing",
    "hesitate",
    "hesitating",
    "skip",
    "skipping",
    "avoid",
    "avoiding",
    "neglect",
    "neglecting",
    "omit",
    "omitting",
    "miss",
    "wait",
    "refuse",
    "postpone",
    "delay",
    "stop until",
    "stop before",
    "finish until",
    "finish before",
    "finish without",
    "stop without",
    "end without",
    "leave without",
    "quit until",
    "rest until",
    "give up until",
    "block",
    "prevent",
    "be afraid to",
    "mind",
];

/// What ends the reach of a negation.
const CONTRASTS: [&str; 24] = [
    "before",
    "after",
    "but",
    "however",
    "instead",
    "until",
    "unless",
    "although",
    "though",
    "whereas",
    "yet only",
    "because",
    "since",
    "so that",
    "please do",
    "simply",
    "just",
    "only",
    "rather",
    "then",
    "afterwards",
    "once",
    "when",
    "while",
];

/// What is said behind a risky word and forbids it: "publishing is forbidden".
const AFTERWARDS: [&str; 71] = [
    "is frozen",
    "are frozen",
    "is on hold",
    "are on hold",
    "is paused",
    "are paused",
    "must stay untouched",
    "should stay untouched",
    "must remain untouched",
    "is forbidden",
    "are forbidden",
    "is prohibited",
    "are prohibited",
    "is banned",
    "are banned",
    "is off limits",
    "are off limits",
    "is off the table",
    "are off the table",
    "is out of scope",
    "are out of scope",
    "is out of bounds",
    "is not allowed",
    "are not allowed",
    "is not permitted",
    "are not permitted",
    "is not ok",
    "is not okay",
    "are not ok",
    "is not acceptable",
    "is not needed",
    "are not needed",
    "is not required",
    "are not required",
    "is not wanted",
    "are not wanted",
    "is not necessary",
    "is not desired",
    "is not part of",
    "is not in scope",
    "are not in scope",
    "is not an option",
    "are not an option",
    "is not to be",
    "are not to be",
    "is not your job",
    "is not authorized",
    "are not authorized",
    "is not part",
    "must not",
    "should not",
    "may not",
    "shall not",
    "can not",
    "cannot",
    "must never",
    "should never",
    "may never",
    "shall never",
    "is never",
    "are never",
    "can never",
    "is a no go",
    "are a no go",
    "is disallowed",
    "are disallowed",
    "is not something",
    "are not something",
    "is verboten",
    "stays untouched",
    "remains untouched",
];

impl Reader<'_> {
    /// Reads what begins here, and tells how many tokens that was.
    fn step(&mut self, at: usize) -> usize {
        let token = &self.tokens[at];
        let follows = |word: &str| self.tokens.get(at + 1).is_some_and(|token| token.is(word));
        if token.is(":")
            && !follows("not")
            && self.negation != Negation::None
            && !self.settled
            && at <= self.negated_at + 4
        {
            self.listed = true;
            return 1;
        }
        if self.listed && token.is("\n") && !follows("\n") {
            return 1;
        }
        if token.ends_sentence() {
            self.listed = false;
            self.end_clause();
            (self.negation, self.suspended) = (Negation::None, Negation::None);
            return 1;
        }
        if token.is(",") || token.is("(") || token.is(")") || token.is("-") {
            self.comma(at + 1);
            return 1;
        }
        if let Some(length) = self.phrase(at, &HEADS)
            && self.tokens.get(at + length).is_some_and(|token| token.is(":"))
        {
            self.negate(Negation::Nouns, at + length);
            self.listed = true;
            return length + 1;
        }
        if self
            .phrase(at, &["nothing", "nobody", "no one", "none", "no none"])
            .is_some()
            && self.negation == Negation::None
            && self.risky_to == at
            && let Some(category) = self.clause.pop()
        {
            // "email nobody"
            self.requested.retain(|asked| *asked != category);
            self.forbidden.push(category);
            return 1;
        }
        if let Some(length) = self.phrase(at, &HARMLESS) {
            return length;
        }
        if let Some(length) = self.phrase(at, &AFTERWARDS)
            && !self.clause.is_empty()
            && self.negation == Negation::None
        {
            let found = std::mem::take(&mut self.clause);
            self.requested.retain(|category| !found.contains(category));
            self.forbidden.extend(found);
            // What follows is the rest of a passive: "must not be published".
            self.negate(Negation::Verbs, at);
            return length;
        }
        if self.negation != Negation::None
            && !self.settled
            && at <= self.negated_at + 5
            && let Some(length) = self.phrase(at, &TURNS)
        {
            self.negation = Negation::None;
            return length;
        }
        if let Some(length) = self.phrase(
            at,
            &["there is no", "there are no", "there was no", "has no", "have no"],
        ) {
            // Tells how things are, unless it tells that something is not needed.
            let need = self
                .phrase(
                    at + length,
                    &["need", "reason", "permission", "access", "approval", "point"],
                )
                .is_some();
            if need {
                self.negate(Negation::Verbs, at + length);
            }
            return length;
        }
        if let Some(length) = self.phrase(at, &["i will not", "we will not", "i ll not", "we ll not"]) {
            self.negate(Negation::Verbs, at + length - 1);
            return length;
        }
        if let Some(length) = self.phrase(
            at,
            &[
                "i will",
                "i ll",
                "we will",
                "we ll",
                "a human will",
                "someone else will",
                "the team will",
                "will be done by",
            ],
        ) {
            self.negate(Negation::Verbs, at);
            return length;
        }
        if self.phrase(at, &["leave"]).is_some() && self.left_to_others(at) {
            self.negate(Negation::Nouns, at);
            return 1;
        }
        let both = [(&VERBS[..], Negation::Verbs), (&NOUNS[..], Negation::Nouns)];
        for (phrases, kind) in both {
            if let Some(length) = self.phrase(at, phrases) {
                self.negate(kind, at + length - 1);
                return length;
            }
        }
        if let Some(length) = self.phrase(at, &CONTRASTS) {
            self.end_clause();
            (self.negation, self.suspended) = (Negation::None, Negation::None);
            return length;
        }
        if token.is("or") || token.is("nor") {
            if self.suspended != Negation::None && self.negation == Negation::None {
                self.negation = self.suspended;
            }
            self.settled = true;
            return 1;
        }
        if token.is("and") {
            self.settled = true;
            return 1;
        }
        let Some((categories, length)) = risky_at(self.tokens, at) else {
            return 1;
        };
        self.settled = true;
        self.risky_to = at + length;
        match self.negation {
            Negation::None => {
                self.clause.extend_from_slice(&categories);
                self.requested.extend_from_slice(&categories);
            }
            _ => self.forbidden.extend_from_slice(&categories),
        }
        length
    }

    /// A word of negation. Right behind another one the two cancel each other.
    fn negate(&mut self, kind: Negation, at: usize) {
        let near = self.negation != Negation::None
            && !self.settled
            && at <= self.negated_at + 5
            && at > self.negated_at;
        self.negation = match near {
            true => Negation::None,
            false => kind,
        };
        self.suspended = Negation::None;
        self.negated_at = at;
        self.settled = false;
    }

    /// A comma: does what follows still belong to the list?
    fn comma(&mut self, at: usize) {
        self.end_clause();
        if self.listed {
            return;
        }
        let begins = self.negation == Negation::Verbs && !self.settled && at <= self.negated_at + 3;
        if begins || std::mem::take(&mut self.inserted) {
            self.inserted = begins;
            return;
        }
        self.settled = true;
        if self.negation == Negation::None {
            return;
        }
        let next = |offset: usize| self.tokens.get(at + offset);
        let connected = next(0).is_some_and(|token| {
            [
                "and",
                "or",
                "nor",
                "any",
                "even",
                "not",
                "never",
                "no",
                "to",
                "especially",
                "including",
                "either",
                "ever",
            ]
            .iter()
            .any(|word| token.is(word))
        });
        let begins = (0..3).find_map(|offset| risky_at(self.tokens, at + offset).map(|_| offset));
        let goes_on = match (connected, begins) {
            (true, _) => true,
            // "without deploying, publish it": an order after a phrase.
            (false, Some(0)) if self.negation == Negation::Nouns => {
                next(0).is_some_and(|token| !token.is_order())
            }
            (false, Some(offset)) => (0..offset).all(|before| next(before).is_some_and(Token::is_small)),
            // A longer item of a list that an "or" closes.
            (false, None) => false,
        };
        if !goes_on {
            self.suspended = self.negation;
            self.negation = Negation::None;
        }
    }

    fn end_clause(&mut self) {
        self.clause.clear();
    }

    /// "leave publishing to me"
    fn left_to_others(&self, at: usize) -> bool {
        let rest = &self.tokens[at..self.tokens.len().min(at + 10)];
        let end = rest.iter().position(Token::ends_sentence).unwrap_or(rest.len());
        let others = ["me", "us", "a", "the", "humans", "someone", "them"];
        let to = rest[..end].windows(2).any(|pair| {
            (pair[0].is("to") || pair[0].is("for")) && others.iter().any(|word| pair[1].is(word))
        });
        to || rest[..end]
            .iter()
            .any(|token| token.is("alone") || token.is("untouched") || token.is("out"))
    }

    fn phrase(&self, at: usize, phrases: &[&str]) -> Option<usize> {
        let met = phrases.iter().filter_map(|phrase| {
            let mut length = 0;
            for word in phrase.split(' ') {
                if !self.tokens.get(at + length)?.is(word) {
                    return None;
                }
                length += 1;
            }
            Some(length)
        });
        met.max()
    }
}

#[cfg(test)]
mod tests;
