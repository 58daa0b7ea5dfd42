//! The tree of a command line, as far as the gate needs it: what may run, with which words, fed by what.
//!
//! Which branch of an `if` runs is not asked: every part counts, since any of them may run.

use std::rc::Rc;

/// A piece of shell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) nodes: Vec<Node>,
    /// Part of the text is not shell, or was too long or nested too deep to be read. What could be read is here.
    pub(crate) broken: bool,
    /// Tells scripts apart, so that what one prints is worked out once; copies are the same script.
    pub(crate) id: u64,
}

impl Script {
    /// A script that nobody has seen yet.
    pub(crate) fn new(nodes: Vec<Node>, broken: bool) -> Self {
        thread_local! {
            static NEXT: std::cell::Cell<u64> = const { std::cell::Cell::new(1) };
        }
        let id = NEXT.get();
        NEXT.set(id.wrapping_add(1));
        Self { nodes, broken, id }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Simple(Simple),
    /// Stages of a pipe, each fed by the one before.
    Pipe(Vec<Node>),
    /// Parts that may run one after the other.
    Block {
        nodes: Vec<Node>,
        /// Changes of folder stay inside.
        subshell: bool,
    },
    /// `for name in values; do body; done`
    For {
        name: String,
        values: Vec<Word>,
        body: Vec<Node>,
    },
    Function {
        name: String,
        body: Rc<Vec<Node>>,
    },
    Redirected {
        body: Box<Node>,
        redirects: Vec<Redirect>,
    },
}

/// Assignments, a program, its arguments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simple {
    pub(crate) assigns: Vec<Assign>,
    pub(crate) words: Vec<Word>,
    pub(crate) redirects: Vec<Redirect>,
}

#[derive(Clone, Debug)]
pub(crate) struct Assign {
    pub(crate) name: String,
    /// `+=`: joined to what it was.
    pub(crate) joins: bool,
    /// One word, or those of an array.
    pub(crate) values: Vec<Word>,
}

#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(crate) how: How,
    pub(crate) to: Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// `< file`
    Read,
    /// `> file` and its sisters
    Write,
    /// `<< END`, `<<< words`: the text itself
    Text,
    /// `2>&1`
    Same,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text {
        text: String,
        quoted: bool,
    },
    Var {
        name: String,
        fallback: Option<String>,
        quoted: bool,
    },
    /// `$(...)`: runs, and stands for what it prints
    Run {
        script: Script,
        quoted: bool,
    },
    /// `<(...)`: runs, and stands for a file with what it prints
    Process(Script),
    /// Something that is known only when it runs. What runs inside is kept.
    Opaque(Vec<Script>),
}

impl Word {
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            parts: vec![Part::Text { text, quoted: true }],
        }
    }
}
