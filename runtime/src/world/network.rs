//! What an act of a session may reach, and what it was kept from.

use longhaul_actors::ports::Act;
use longhaul_actors::session::{DeniedEgress, ToolOutcome};
use longhaul_hands as shim;
use shim::egress::{AllowList, Denied, Egress, Traffic};

use super::SessionFolder;
use super::hands::{LocalHands, blocking};

impl LocalHands {
    /// Gives a command behind walls the way out of its session, and the network of a service that runs. Without walls
    /// there is nothing to give: it has the network of this machine, and the record says so.
    pub(super) async fn surround(&self, spec: &mut shim::Spec, act: &Act, folder: &SessionFolder) {
        let step = spec.step;
        let Some(walls) = &mut spec.walls else { return };
        // Pinned in the log as they were checked at the start: a name that no longer reads as one is no name.
        let allow = AllowList::of(&act.around.network).unwrap_or_default();
        if !allow.is_empty() {
            walls.network = shim::Network::Proxy;
            spec.egress = Some(Egress {
                allow,
                fixture: self.fixture.clone(),
            });
        }
        if let Some(service) = act.around.service.filter(|service| *service != step) {
            let (directory, looked) = (folder.step(service), folder.step(service));
            let state = blocking(move || shim::state(&looked)).await;
            // One that has just ended has no network any more; its end is about to be written down.
            if matches!(state, Ok(shim::State::Running { .. })) {
                walls.stand_beside(&directory, step);
            }
        }
    }

    /// What came of a command, with what it was kept from.
    pub(super) async fn with_denials(
        &self,
        outcome: ToolOutcome,
        act: &Act,
        folder: &SessionFolder,
    ) -> ToolOutcome {
        let directory = folder.step(act.step);
        let denied = match blocking(move || shim::egress::traffic(&directory)).await {
            Ok(traffic) => denials(traffic),
            Err(error) => {
                tracing::warn!(session = %act.session, step = act.step, %error, "what was denied cannot be read");
                Vec::new()
            }
        };
        if denied.is_empty() {
            return outcome;
        }
        ToolOutcome::Denied {
            denied,
            then: Box::new(outcome),
        }
    }
}

/// The denials of a command, as its session tells them.
pub(super) fn denials(traffic: Traffic) -> Vec<DeniedEgress> {
    let told = |denied: Denied| {
        let Denied {
            host,
            port,
            reason,
            times,
        } = denied;
        DeniedEgress {
            host,
            port,
            reason,
            times,
        }
    };
    let mut all: Vec<DeniedEgress> = traffic.denied.into_iter().map(told).collect();
    if traffic.denied_more > 0 {
        all.push(DeniedEgress {
            host: String::new(),
            port: 0,
            reason: "more".into(),
            times: traffic.denied_more,
        });
    }
    all
}
