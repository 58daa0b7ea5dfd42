//! From what is known to what is read: pure functions from the shown vocabulary to lines of text.

mod approval;
mod detail;
mod line;
mod session;
mod text;

pub(super) use approval::{approval_card, approval_heading, approval_line};
pub(super) use line::{Look, heading, line};
pub(super) use session::{card, list_heading, list_line};
pub(super) use text::{count, cut, escaped, escaped_json, first_line, size};

#[cfg(test)]
pub(super) use session::tests;
