//! (being written)

pub mod brains;
