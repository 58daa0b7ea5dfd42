//! From a checked name to addresses that may be connected to.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address;
use super::allow::Destination;

/// Most addresses of one name that are tried.
const ADDRESSES_TRIED: usize = 8;

/// Answers of a name server that is not there, for tests of the proxy itself: in production nothing writes one.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixture {
    /// Names and their addresses; no other name has any.
    pub names: Vec<(String, Vec<IpAddr>)>,
    /// Whether addresses of this machine may be connected to.
    pub loopback: bool,
}

/// Why a name leads nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nowhere {
    /// It has no address, or nobody said so in time.
    Unresolved(String),
    /// One of its addresses must not be connected to.
    Refused(address::RefusedAddress),
}

/// Asks for the addresses of a place and checks all of them. What it returns is what may be connected to; asking again
/// may give another answer.
///
/// `held` lives until the answer has come, even when nobody waits for it any more: the system's resolver cannot be
/// stopped, and what it is at work on counts.
pub(super) fn resolve(
    destination: &Destination,
    fixture: Option<&Fixture>,
    patience: Duration,
    held: impl Send + 'static,
) -> Result<Vec<SocketAddr>, Nowhere> {
    let answers = match fixture {
        Some(fixture) => scripted(destination, fixture),
        None => asked(destination, patience, held)?,
    };
    if answers.is_empty() {
        return Err(Nowhere::Unresolved("it has no address".into()));
    }
    let loopback = fixture.is_some_and(|fixture| fixture.loopback);
    let strangers: Vec<SocketAddr> = answers
        .iter()
        .filter(|answer| !(loopback && answer.ip().is_loopback()))
        .copied()
        .collect();
    address::check(&strangers).map_err(Nowhere::Refused)?;
    let mut answers = answers;
    answers.truncate(ADDRESSES_TRIED);
    Ok(answers)
}

fn scripted(destination: &Destination, fixture: &Fixture) -> Vec<SocketAddr> {
    let known = fixture.names.iter().find(|(name, _)| name == destination.name());
    known.map_or_else(Vec::new, |(_, addresses)| {
        let port = destination.port();
        addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
    })
}

fn asked(
    destination: &Destination,
    patience: Duration,
    held: impl Send + 'static,
) -> Result<Vec<SocketAddr>, Nowhere> {
    let (answer, answered) = mpsc::sync_channel(1);
    // With the dot at its end the name is whole: no search domain of this machine is tried.
    let wanted = (format!("{}.", destination.name()), destination.port());
    let asking = std::thread::Builder::new().name("resolve".into());
    let asking = asking.spawn(move || {
        let found = wanted.to_socket_addrs().map(Vec::from_iter);
        drop(held);
        let _ = answer.send(found);
    });
    let unresolved = |why: String| Nowhere::Unresolved(why);
    asking.map_err(|error| unresolved(error.to_string()))?;
    match answered.recv_timeout(patience) {
        Ok(found) => found.map_err(|error| unresolved(error.to_string())),
        Err(_) => Err(unresolved(format!("no answer within {} s", patience.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(addresses: &[&str], loopback: bool) -> Result<Vec<SocketAddr>, Nowhere> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let fixture = Fixture {
            names: vec![("a.test".into(), addresses)],
            loopback,
        };
        let place = Destination::new("a.test", 443).unwrap();
        resolve(&place, Some(&fixture), Duration::from_secs(1), ())
    }

    /// B-HANDS-3, B-HOOK-4.
    #[test]
    fn a_name_whose_answers_are_not_all_public_leads_nowhere() {
        assert_eq!(
            ask(&["8.8.8.8"], false).unwrap(),
            ["8.8.8.8:443".parse().unwrap()]
        );
        for bad in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "::ffff:8.8.8.8",
            "10.1.2.3",
        ] {
            assert!(
                matches!(ask(&["8.8.8.8", bad], false), Err(Nowhere::Refused(_))),
                "{bad}"
            );
        }
        assert!(matches!(ask(&[], false), Err(Nowhere::Unresolved(_))));
    }

    #[test]
    fn the_switch_for_tests_opens_loopback_and_nothing_else() {
        assert!(ask(&["127.0.0.1"], true).is_ok());
        assert!(matches!(
            ask(&["127.0.0.1", "10.0.0.1"], true),
            Err(Nowhere::Refused(_))
        ));
    }
}
