//! The rules (entities), the actors that host them, and the ports to the world.

mod answer;
mod clock;
mod codec;
mod effects;
mod entity;
mod host;
pub mod ports;
mod recover;
mod registry;
pub mod session;
mod supervisor;
mod sweeper;

pub use answer::{Quarantine, QueryError, SendError};
pub use clock::{ManualClock, SystemClock};
pub use effects::{EffectContext, NoWorld, World};
pub use entity::{Decision, DecodeError, EffectId, Entity, Moment, Owed, Placed, Recovery, RecoveryCause};
pub use recover::{Folded, RecoverError, fold, recover};
pub use registry::{Mode, Options, Ports, Registry};
pub use supervisor::{System, SystemError, SystemOptions};
