//! The rules of a session, told as sentences (`start`, `talk`, ...) and searched at random (`random`).
//!
//! Everything goes through [`world::World`], which checks the properties of every record and every state it passes.

mod approval;
mod bounds;
mod budget;
mod checkpoint;
mod crash;
mod ending;
mod fork;
mod golden;
mod mend;
mod money;
mod moves;
mod random;
mod rest;
mod seed;
mod services;
mod start;
mod stop;
mod story;
mod talk;
mod witness;
mod world;
