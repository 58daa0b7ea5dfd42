//! Which addresses on the network are nobody's own: the check between a name and a connection, for whoever connects on
//! behalf of a stranger (B-HOOK-4).
//!
//! A stranger chooses the name, and with it the answers of its name server. So the check is made on each answer, fails
//! when any of them is refused, and its result is what is connected to: asking again could give another answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::sabotage;

/// An answer that must not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}")]
pub struct RefusedAddress {
    /// The answer.
    pub address: IpAddr,
    /// What it is: `loopback`, `private`, `link-local`, ...
    pub kind: &'static str,
}

/// The parts of IPv4 that are not the public network, after the special-purpose registry of IANA. The first match names
/// the kind; parts of a refused block that the registry calls global are refused too, since nobody serves a name there.
static V4: LazyLock<Vec<(Ipv4Net, &str)>> = LazyLock::new(|| {
    table(&[
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier (CGNAT)"),
        ("100.100.100.200/32", "a metadata address"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local (metadata)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved for protocols"),
        ("192.52.193.0/24", "reserved for protocols"),
        ("192.88.99.0/24", "a relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved for protocols"),
        ("168.63.129.16/32", "a metadata address"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    ])
});

/// Of IPv6 only `2000::/3` is handed out for the public network; this is what is none of it in there, and names for the
/// best known rest.
static V6: LazyLock<Vec<(Ipv6Net, &str)>> = LazyLock::new(|| {
    table(&[
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in disguise"),
        ("64:ff9b::/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "an IPv4 address in disguise"),
        ("fc00::/7", "private (ULA)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private (site-local)"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "an IPv4 address in disguise"),
        ("2620:4f:8000::/48", "reserved for protocols"),
        ("3fff::/20", "for documentation"),
    ])
});

static V6_PUBLIC: LazyLock<Ipv6Net> = LazyLock::new(|| "2000::/3".parse().expect("a constant"));

fn table<N: std::str::FromStr<Err: std::fmt::Debug>>(
    rows: &[(&str, &'static str)],
) -> Vec<(N, &'static str)> {
    let row = |(net, kind): &(&str, &'static str)| (net.parse().expect("a constant"), *kind);
    rows.iter().map(row).collect()
}

/// Says what an address is when it is not one of the public network; none for one that may be connected to.
#[must_use]
pub fn refused_as(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => {
            if v4 == Ipv4Addr::BROADCAST {
                return Some("broadcast");
            }
            V4.iter()
                .find(|(net, _)| net.contains(&v4))
                .map(|(_, kind)| *kind)
        }
        IpAddr::V6(v6) => {
            let known = V6.iter().find(|(net, _)| net.contains(&v6));
            known
                .map(|(_, kind)| *kind)
                .or_else(|| (!V6_PUBLIC.contains(&v6)).then_some("not handed out for the public network"))
        }
    }
}

/// Lets the answers for one name through when each of them is an address of the public network.
///
/// # Errors
/// The first that is not. A name that mixes public and private answers is not to be trusted with either.
pub fn check(answers: &[SocketAddr]) -> Result<(), RefusedAddress> {
    for answer in answers {
        let address = answer.ip();
        if let Some(kind) = refused_as(address)
            && !sabotage::is_on("connect-to-any-address")
        {
            return Err(RefusedAddress { address, kind });
        }
    }
    Ok(())
}

/// Whether a host in a request or a URL is an address and no name, in any of the ways resolvers read one: `127.0.0.1`,
/// `[::1]`, `127.1`, `2130706433`, `0x7f000001`, `017700000001`.
#[must_use]
pub fn is_literal(host: &str) -> bool {
    if host.starts_with('[') || host.contains(':') || host.parse::<IpAddr>().is_ok() {
        return true;
    }
    // A name whose last label is a number is read as an IPv4 address by `inet_aton`; no top-level domain is a number.
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B-HOOK-4, B-HANDS-3.
    #[test]
    fn no_address_of_a_machine_or_a_private_network_passes() {
        let refused = [
            "0.0.0.0",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "100.100.100.200",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for text in refused {
            let address: IpAddr = text.parse().unwrap();
            assert!(refused_as(address).is_some(), "{text} must be refused");
        }
    }

    #[test]
    fn addresses_of_the_public_network_pass() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ];
        for text in public {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(refused_as(address), None, "{text}");
        }
    }

    /// B-HOOK-4.
    #[test]
    fn one_bad_answer_among_good_ones_refuses_the_name() {
        let answers: Vec<SocketAddr> = ["8.8.8.8:443", "[2606:4700::1111]:443", "10.0.0.1:443"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(check(&answers[..2]), Ok(()));
        let refused = check(&answers).expect_err("one of them is private");
        assert_eq!(
            (refused.address, refused.kind),
            ("10.0.0.1".parse().unwrap(), "private")
        );
    }

    #[test]
    fn an_address_is_seen_in_every_dress() {
        for host in [
            "127.0.0.1",
            "[::1]",
            "::1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "127.0.0.1.",
            "example.0x7f",
            "a.b.1",
        ] {
            assert!(is_literal(host), "{host}");
        }
        for host in ["example.com", "1password.com", "a.b", "x1", "0xcafe.example", ""] {
            assert!(!is_literal(host), "{host}");
        }
    }
}
