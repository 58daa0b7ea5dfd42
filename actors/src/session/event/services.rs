//! Facts of services: programs that go on beside the steps of a session.

use serde::{Deserialize, Serialize};

use crate::session::service::{ServiceCause, ServiceEnd};

/// `service.started`: a program goes on beside the steps, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStarted {
    /// The step that started it, which is its number from here on.
    pub step: u64,
    /// Its name.
    pub name: String,
}

/// `service.stop_requested`: it is to end, because the session comes to rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStopRequested {
    /// The step that started it.
    pub step: u64,
    /// Its name.
    pub name: String,
    /// Why.
    pub cause: ServiceCause,
}

/// `service.ended`: none of its processes is left, or nobody can know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEnded {
    /// The step that started it.
    pub step: u64,
    /// Its name.
    pub name: String,
    /// Why.
    pub cause: ServiceCause,
    /// How, as far as its evidence was looked at.
    #[serde(flatten)]
    pub end: ServiceEnd,
}
