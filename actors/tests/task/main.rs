//! The rules of a task, told as sentences.

mod golden;
mod rules;
