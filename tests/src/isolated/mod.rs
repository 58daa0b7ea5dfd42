//! The crash matrix with real hands: one session of a real process, its commands behind walls, killed with SIGKILL at
//! every frame of its journal, and in the middle of every command.
//!
//! The matrix beside it (`matrix`) makes each state by cutting the journal of a finished life, which takes a world that can be
//! set back. Here the world is the machine, so every life is lived anew up to its end by SIGKILL: by its own hand where a
//! frame is the moment ([`blade`]), by ours where a command is.

pub mod blade;
pub mod human;
pub mod life;
pub mod moment;
pub mod script;
