//! The files of `/etc` that a command sees: a few that are made, and those of the machine that carry no secret.

use super::namespaces::INSIDE_ID;

/// The files that are made.
pub(crate) fn made() -> [(&'static str, String); 6] {
    [
        (
            "passwd",
            format!(
                "root:x:0:0:root:/:/usr/sbin/nologin\nagent:x:{INSIDE_ID}:{INSIDE_ID}:agent:/home/agent:/bin/sh\n\
                 nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
            ),
        ),
        (
            "group",
            format!("root:x:0:\nagent:x:{INSIDE_ID}:\nnogroup:x:65534:\n"),
        ),
        (
            "hosts",
            "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n".to_owned(),
        ),
        ("hostname", "sandbox\n".to_owned()),
        // Without it the resolver asks a server on the loopback device, for seconds.
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n"
                .to_owned(),
        ),
        (
            "resolv.conf",
            "# there is no way to a name server from here\n".to_owned(),
        ),
    ]
}

/// What is shown of the machine's own, as far as it is there: how programs are found, linked and told the time, and
/// which certificates are trusted.
pub(crate) const SHOWN: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "perl",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "xml",
];
