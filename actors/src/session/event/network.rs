//! Facts of the network: what a session was kept from.

use serde::{Deserialize, Serialize};

/// `egress.denied`: an act wanted to a place that the session may not reach, and did not get there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EgressDenied {
    /// The act, by its number in the session.
    pub step: u64,
    /// The host as it was asked for.
    pub host: String,
    /// The port; 0 where none could be read.
    pub port: u16,
    /// `not_allowed`, `ip_literal`, `address_refused`, `not_connect`, `bad_request`.
    pub reason: String,
    /// How often the act tried.
    pub times: u64,
}
