//! Clients of the network: what they send, and whether that leaves this machine.

use super::command::shown;
use super::places::Place;
use super::{Feed, Walk};
use crate::decision::Category;
use crate::shell::expand::{Field, HOLE};

/// Options of curl that take the next word.
const CURL_VALUES: &str = "ABbCcDdeEFHhKmoPQrTtuUwXxYyz";
/// Long ones.
const CURL_LONG_VALUES: [&str; 40] = [
    "--data",
    "--data-raw",
    "--data-binary",
    "--data-urlencode",
    "--data-ascii",
    "--json",
    "--form",
    "--form-string",
    "--upload-file",
    "--request",
    "--header",
    "--output",
    "--user",
    "--user-agent",
    "--cookie",
    "--cookie-jar",
    "--referer",
    "--config",
    "--max-time",
    "--connect-timeout",
    "--retry",
    "--retry-delay",
    "--retry-max-time",
    "--proxy",
    "--cacert",
    "--cert",
    "--key",
    "--resolve",
    "--write-out",
    "--range",
    "--url",
    "--output-dir",
    "--limit-rate",
    "--interface",
    "--unix-socket",
    "--connect-to",
    "--capath",
    "--ciphers",
    "--dump-header",
    "--proxy-user",
];

/// The host of an address: `https://user@host:8080/path`, `host:8080/path`, `[::1]:80`.
pub(super) fn host_of(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before the last `@` is a name, whatever it looks like.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    if let Some(rest) = rest.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    rest.split(':').next().unwrap_or_default()
}

impl Walk<'_> {
    /// Whether an address may lie on another machine.
    pub(super) fn is_remote(&self, address: &str) -> bool {
        if address.starts_with("file://") {
            return false;
        }
        let host = host_of(address).to_ascii_lowercase();
        host.is_empty() || host.contains(HOLE) || address.contains('\\') || !self.policy.is_local(&host)
    }

    pub(super) fn curl(&mut self, args: &[Field], fields: &[Field]) {
        let (mut sends, mut method, mut addresses, mut unclear) = (false, None, Vec::new(), false);
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            at += 1;
            if let Some(long) = text.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None if CURL_LONG_VALUES.contains(&text) => {
                        at += 1;
                        (long, args.get(at - 1).map(|next| next.text.clone()))
                    }
                    None => (long, None),
                };
                let value = value.unwrap_or_default();
                match name {
                    "request" => method = Some(value),
                    "get" | "head" => {}
                    "url" => addresses.push(value),
                    "config" => unclear = true,
                    "unix-socket" | "abstract-unix-socket" => self.socket(&value, fields),
                    "proxy" | "socks5" | "connect-to" | "resolve" => addresses.push(value),
                    name if name.starts_with("data")
                        || name.starts_with("form")
                        || ["json", "upload-file", "mail-rcpt"].contains(&name) =>
                    {
                        sends = true;
                    }
                    _ => {}
                }
            } else if text.starts_with('-') && text.len() > 1 {
                for (place, letter) in text.char_indices().skip(1) {
                    let takes = CURL_VALUES.contains(letter);
                    let value = match (takes, &text[place + letter.len_utf8()..]) {
                        (false, _) => String::new(),
                        (true, "") => {
                            at += 1;
                            args.get(at - 1).map(|next| next.text.clone()).unwrap_or_default()
                        }
                        (true, rest) => rest.to_owned(),
                    };
                    match letter {
                        'd' | 'F' | 'T' => sends = true,
                        'X' => method = Some(value),
                        'K' => unclear = true,
                        'x' => addresses.push(value),
                        'Q' => sends = true,
                        _ => {}
                    }
                    if takes {
                        break;
                    }
                }
            } else {
                unclear |= text.starts_with(HOLE) && !text.contains("://");
                addresses.push(text.to_owned());
            }
        }
        let reads =
            |method: &String| ["GET", "HEAD", "OPTIONS"].contains(&method.to_ascii_uppercase().as_str());
        let changes = method.as_ref().map_or(sends, |method| !reads(method) || sends);
        // `-G` puts the data into the address of a GET; it leaves the machine all the same.
        self.requests("curl", changes, &addresses, unclear, fields);
    }

    pub(super) fn wget(&mut self, args: &[Field], fields: &[Field]) {
        let (mut sends, mut addresses) = (false, Vec::new());
        let with_value = [
            "-O",
            "-o",
            "-P",
            "-U",
            "-t",
            "-T",
            "-a",
            "--output-document",
            "--header",
            "--tries",
            "--timeout",
            "--user-agent",
            "--directory-prefix",
        ];
        let mut at = 0;
        while let Some(arg) = args.get(at) {
            let text = arg.text.as_str();
            at += 1;
            if with_value.contains(&text) {
                at += 1;
            } else if let Some(option) = text.strip_prefix("--") {
                sends |= option.starts_with("post") || option.starts_with("body");
                if let Some(method) = option.strip_prefix("method") {
                    let method = method
                        .strip_prefix('=')
                        .map(str::to_owned)
                        .or_else(|| args.get(at).map(|next| next.text.clone()));
                    sends |= !method.is_some_and(|method| {
                        ["GET", "HEAD"].contains(&method.to_ascii_uppercase().as_str())
                    });
                }
            } else if !text.starts_with('-') {
                addresses.push(text.to_owned());
            }
        }
        let unclear = args.iter().any(|arg| arg.text.starts_with(HOLE));
        self.requests("wget", sends, &addresses, unclear, fields);
    }

    pub(super) fn httpie(&mut self, args: &[Field], fields: &[Field]) {
        let operands: Vec<&str> = args
            .iter()
            .map(|arg| arg.text.as_str())
            .filter(|text| !text.starts_with('-'))
            .collect();
        let methods = ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS"];
        let method = operands
            .first()
            .filter(|word| methods.contains(&word.to_ascii_uppercase().as_str()));
        let address = operands
            .get(usize::from(method.is_some()))
            .map(|address| (*address).to_owned());
        let items = operands.iter().skip(1 + usize::from(method.is_some()));
        let sends = items
            .into_iter()
            .any(|item| item.contains('=') && !item.contains("==") || item.contains('@'));
        let changes = method.map_or(sends, |method| {
            !["GET", "HEAD", "OPTIONS"].contains(&method.to_ascii_uppercase().as_str())
        });
        let addresses: Vec<String> = address
            .into_iter()
            .map(|address| match address.starts_with(':') {
                true => format!("localhost{address}"),
                false => address,
            })
            .collect();
        self.requests("http", changes, &addresses, false, fields);
    }

    fn requests(
        &mut self,
        program: &str,
        changes: bool,
        addresses: &[String],
        unclear: bool,
        fields: &[Field],
    ) {
        let remote: Vec<&String> = addresses
            .iter()
            .filter(|address| self.is_remote(address))
            .collect();
        let metadata = addresses.iter().any(|address| {
            [
                "169.254.169.254",
                "metadata.google.internal",
                "100.100.100.200",
                "fd00:ec2::254",
            ]
            .contains(&host_of(address))
        });
        if metadata {
            self.risky(Category::ReadSecrets, "instance-metadata", shown(fields));
        } else if changes && (!remote.is_empty() || addresses.is_empty() || unclear) {
            self.risky(Category::MessageOutside, "http-write", shown(fields));
        } else if unclear || remote.iter().any(|address| address.contains(HOLE)) {
            self.unknown("dynamic-address", shown(fields));
        } else {
            self.ordinary_command(program, fields);
        }
    }

    /// A socket of this machine: a daemon's, unless it lies where the work is. Through that of longhaul an agent might decide
    /// about itself, or pay itself.
    fn socket(&mut self, path: &str, fields: &[Field]) {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name == "control.sock" || name.starts_with("longhaul-") {
            self.unknown("own-approval", shown(fields));
        } else if self.place(path) == Place::Outside {
            self.unknown("outside-workspace", shown(fields));
        }
    }

    pub(super) fn raw_connection(&mut self, program: &str, args: &[Field], fields: &[Field]) {
        let listens = program != "socat"
            && args.iter().any(|arg| {
                arg.text.starts_with('-') && !arg.text.starts_with("--") && arg.text.contains('l')
            });
        let executes = args.iter().any(|arg| {
            ["-e", "-c", "--exec", "--sh-exec"].contains(&arg.text.as_str())
                || arg.text.to_ascii_uppercase().contains("EXEC:")
        });
        let scans = args
            .iter()
            .any(|arg| arg.text.starts_with('-') && arg.text.contains('z'));
        let host = args
            .iter()
            .find(|arg| !arg.text.starts_with('-') && !arg.text.bytes().all(|byte| byte.is_ascii_digit()));
        let local = host.is_none_or(|host| !self.is_remote(&host.text));
        if executes {
            self.unknown("opens-shell", shown(fields));
        }
        let unix = |arg: &&Field| arg.text.starts_with('-') && arg.text.contains('U');
        if let Some(path) = host.filter(|_| program != "socat" && args.iter().any(|arg| unix(&arg))) {
            self.socket(&path.text, fields);
            return self.ordinary_command("local-connection", fields);
        }
        match (program, local || listens || scans) {
            ("socat", _) => self.unknown("unknown", shown(fields)),
            (_, true) => self.ordinary_command("local-connection", fields),
            (_, false) => self.risky(Category::MessageOutside, "opens-connection", shown(fields)),
        }
    }

    /// `ssh`: the words behind the host run there.
    pub(super) fn ssh(&mut self, program: &str, args: &[Field], fields: &[Field]) {
        let with_value = "bcDEeFIiJLlmOopQRSWw";
        let mut at = 0;
        while let Some(arg) = args.get(at).filter(|arg| arg.text.starts_with('-')) {
            let text = arg.text.clone();
            if let Some(option) = text.strip_prefix("-o") {
                let option = match option.is_empty() {
                    true => args.get(at + 1).map(|next| next.text.clone()).unwrap_or_default(),
                    false => option.to_owned(),
                };
                let option = option.replace(' ', "=");
                if let Some((name, code)) = option.split_once('=')
                    && ["proxycommand", "localcommand", "knownhostscommand"]
                        .contains(&name.to_ascii_lowercase().as_str())
                {
                    self.code(code, &Feed::Dynamic);
                }
            }
            if text == "-V" {
                return self.ordinary_command("ordinary", fields);
            }
            let letter = text.chars().nth(1);
            at += if text.len() == 2 && letter.is_some_and(|letter| with_value.contains(letter)) {
                2
            } else {
                1
            };
        }
        if program == "sshpass" {
            let inner: Vec<Field> = args
                .iter()
                .skip_while(|arg| !["ssh", "scp", "rsync"].contains(&arg.text.as_str()))
                .cloned()
                .collect();
            return match inner.is_empty() {
                true => self.unknown("unknown", shown(fields)),
                false => self.invoke(&inner, &Feed::Dynamic),
            };
        }
        let Some(host) = args.get(at) else {
            return self.unknown("unknown", shown(fields));
        };
        let inner = args.get(at + 1..).unwrap_or_default();
        if !inner.is_empty() {
            let words: Vec<&str> = inner.iter().map(|arg| arg.text.as_str()).collect();
            let line = words.join(" ");
            let only_risky = std::mem::replace(&mut self.only_risky, true);
            self.code(&line, &Feed::Dynamic);
            self.only_risky = only_risky;
        }
        match self.is_remote(&host.text) {
            true if self.policy.is_production(host_of(&host.text)) => {
                self.risky(
                    Category::ChangeProductionData,
                    "remote-shell-production",
                    shown(fields),
                );
            }
            true => self.risky(Category::MessageOutside, "remote-shell", shown(fields)),
            false => self.unknown("remote-shell-local", shown(fields)),
        }
    }

    /// `scp`, `rsync`: whether a place is on another machine, and which way it goes.
    pub(super) fn remote_copy(&mut self, program: &str, args: &[Field], fields: &[Field]) -> bool {
        for (at, arg) in args.iter().enumerate() {
            if ["-e", "--rsh", "-S"].contains(&arg.text.as_str())
                && let Some(next) = args.get(at + 1)
                && program != "rclone"
                && !next.text.starts_with("ssh")
            {
                self.code(&next.text.clone(), &Feed::Dynamic);
            }
        }
        let operands: Vec<&Field> = args.iter().filter(|arg| !arg.text.starts_with('-')).collect();
        if program == "sftp" || program == "rclone" {
            self.risky(Category::MessageOutside, "remote-copy", shown(fields));
            return true;
        }
        let remote = |text: &str| match text.split_once(':') {
            Some((host, _)) => {
                !host.contains('/') && (text.contains("://") || !host.is_empty()) && self.is_remote(host)
            }
            None => false,
        };
        let (last, any) = (
            operands.last().is_some_and(|arg| remote(&arg.text)),
            operands.iter().any(|arg| remote(&arg.text)),
        );
        let dry = args
            .iter()
            .any(|arg| arg.text == "--dry-run" || arg.text == "-n" || arg.text.starts_with("-an"));
        match (last, any) {
            (true, _) if dry => self.unknown("remote-copy-dry", shown(fields)),
            (true, _) => self.risky(Category::MessageOutside, "remote-copy", shown(fields)),
            (false, true) => self.risky(Category::MessageOutside, "remote-copy", shown(fields)),
            (false, false) => {
                if let Some(target) = operands.last() {
                    self.writes_file(&target.text.clone(), program);
                }
                if args.iter().any(|arg| arg.text.starts_with(HOLE)) {
                    self.unknown("dynamic-address", shown(fields));
                }
                self.ordinary_command("local-copy", fields);
            }
        }
        true
    }
}
