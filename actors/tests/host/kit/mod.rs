//! What the tests of the host share: an entity with one of everything, a world that can be watched, and a journal that
//! keeps its receipts back until it is told.

pub mod entity;
pub mod journal;
pub mod world;

use std::sync::Arc;

use longhaul_actors::{ManualClock, Options, Ports, Registry, System, SystemOptions};
use longhaul_journal::{Journal, StreamId};

pub use entity::{Counter, Wish};
pub use journal::HeldJournal;
pub use world::Desk;

/// Noon of some day.
pub const NOON: u64 = 1_700_000_000_000;

/// One process: its threads, its registry, its world.
pub struct Bench {
    pub system: System,
    pub counters: Registry<Counter>,
    pub clock: ManualClock,
    pub desk: Arc<Desk>,
}

impl Bench {
    pub fn open(journal: Arc<dyn Journal>) -> Self {
        Self::with(journal, ManualClock::at(NOON), Options::default())
    }

    pub fn with(journal: Arc<dyn Journal>, clock: ManualClock, options: Options) -> Self {
        let system = System::start(SystemOptions::default()).unwrap();
        let desk = Arc::new(Desk::default());
        let world = Arc::clone(&desk);
        let ports = Ports {
            journal,

            clock: Arc::new(clock.clone()),
            world,
        };
        let counters = Registry::open(&system, ports, options);
        Self {
            system,
            counters,
            clock,
            desk,
        }
    }

    pub async fn close(self) {
        self.counters.close().await;
        self.system.close().await;
    }
}

/// The stream of a counter.
pub fn counter(name: &str) -> StreamId {
    StreamId::named("counter", "local", name)
}
