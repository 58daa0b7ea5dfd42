//! The rules of a session, told as sentences and searched at random.
//!
//! Everything goes through [`world::World`], which checks the properties of every record and every state it passes.

mod random;
mod story;
mod witness;
mod world;
