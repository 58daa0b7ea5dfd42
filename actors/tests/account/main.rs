//! The rules of a credit account, told as sentences (`rules`) and searched at random (`ledger`).

mod golden;
mod ledger;
mod rules;
mod world;
