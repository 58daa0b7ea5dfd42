//! Command lines as a shell reads them: text to a tree ([`parse`]), words to what they come to ([`expand`]).

pub(crate) mod ast;
mod documents;
pub(crate) mod escapes;
pub(crate) mod expand;
mod joins;
mod parse;
mod parted;
mod plain;

pub(crate) use parse::parse;
