//! What a goal forbids, and what it asks for.

use serde::{Deserialize, Serialize};

use crate::Category;

/// What the text of a goal says about risky acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Risky words in a negated sentence: such acts are denied.
    pub forbidden: Vec<Category>,
    /// Risky words that are asked for. Such acts ask all the same; a goal never allows anything.
    pub requested: Vec<Category>,
}

/// Reads a goal.
pub fn read(_text: &str) -> Reading {
    Reading::default()
}
