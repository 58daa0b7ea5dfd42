//! Joins the commands of a row whose signs were written as `;`.

use std::ops::Range;

use super::ast::Node;
use super::parted::Sign;

/// Joins the commands of one row again.
#[derive(Debug, Default)]
pub(super) struct Joins {
    joins: Vec<Join>,
    /// Nodes of the command that was met last.
    last: Option<Range<usize>>,
    /// A sign that still waits for the command behind it.
    open: bool,
    /// A sign did not stand between two commands.
    pub(super) wrong: bool,
}

#[derive(Debug)]
struct Join {
    sign: Sign,
    /// Nodes of the commands before it and behind it.
    before: Range<usize>,
    behind: Range<usize>,
}

impl Joins {
    pub(super) fn sign(&mut self, sign: Sign) {
        match self.last.take() {
            Some(before) if !self.open => self.joins.push(Join {
                sign,
                behind: before.end..before.end,
                before,
            }),
            _ => self.wrong = true,
        }
        self.open = true;
    }

    /// A command of the row was met, which made these nodes.
    pub(super) fn command(&mut self, nodes: Range<usize>) {
        if let (true, Some(join)) = (self.open, self.joins.last_mut()) {
            join.behind = nodes.clone();
        }
        self.open = false;
        self.last = Some(nodes);
    }

    /// Something else was met, or the end of the row.
    pub(super) fn other(&mut self) {
        self.wrong |= self.open;
        self.open = false;
        self.last = None;
    }

    /// The row with its pipes and lists. A pipe binds closer than a list.
    pub(super) fn join(self, row: Vec<Node>) -> Vec<Node> {
        if self.joins.is_empty() || self.wrong {
            return row;
        }
        let mut row = row.into_iter();
        let mut joins = self.joins.into_iter().peekable();
        let (mut joined, mut at) = (Vec::new(), 0);
        while let Some(mut join) = joins.next() {
            joined.extend(row.by_ref().take(join.before.start - at));
            let (mut list, mut is_list) = (Vec::new(), false);
            let mut pipe = Vec::new();
            let mut last: Vec<Node> = row.by_ref().take(join.before.len()).collect();
            loop {
                at = join.behind.end;
                match join.sign {
                    Sign::Pipe => pipe.extend(stage(last)),
                    Sign::List => {
                        is_list = true;
                        list.extend(ended(std::mem::take(&mut pipe), last));
                    }
                }
                last = row.by_ref().take(join.behind.len()).collect();
                let follows = joins.next_if(|next| next.before == join.behind);
                match follows {
                    Some(next) => join = next,
                    None => break,
                }
            }
            list.extend(ended(pipe, last));
            match is_list {
                true => joined.push(Node::Block {
                    nodes: list,
                    subshell: false,
                }),
                false => joined.append(&mut list),
            }
        }
        joined.extend(row);
        joined
    }
}

/// The end of a pipe, if it is one.
fn ended(mut pipe: Vec<Node>, last: Vec<Node>) -> Vec<Node> {
    if pipe.is_empty() {
        return last;
    }
    pipe.extend(stage(last));
    vec![Node::Pipe(pipe)]
}

/// A command as one stage of a pipe. One that only works something out makes none.
fn stage(mut nodes: Vec<Node>) -> Option<Node> {
    match nodes.len() {
        0 | 1 => nodes.pop(),
        _ => Some(Node::Block {
            nodes,
            subshell: false,
        }),
    }
}
