//! The rules of a credit account, told as sentences (`rules`) and searched at random (`ledger`).

mod golden;
mod ledger;
mod mend;
mod rules;
#[path = "../session/seed.rs"]
mod seed;
mod world;
