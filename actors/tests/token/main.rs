//! The rules of client tokens, told as sentences.

mod golden;
mod rules;
