//! The crash matrix: one session, cut at every frame boundary, with the world outside as it was then.

pub mod cut;
pub mod gate;
pub mod human;
pub mod life;
pub mod outside;
pub mod point;
pub mod script;
pub mod story;
