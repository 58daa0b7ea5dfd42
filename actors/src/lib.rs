//! The rules (entities), the actors that host them, and the ports to the world.

mod entity;
pub mod ports;
pub mod session;

pub use entity::{Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed, Recovery, RecoveryCause};
