//! The proxy through which a command may reach what it was allowed to, as a process of its own on a listener that is
//! handed to it. That nothing else leads out is the sandbox's part.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::watched::{self, Heard};
use common::{Rig, kill_9, shim_exe, text, until};
use longhaul_hands::egress::{AllowList, Egress, Fixture, Traffic, traffic};

const SABOTAGE: &str = "LONGHAUL_SABOTAGE";
/// How long a test waits for an answer that must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy at work.
struct Proxy {
    dir: PathBuf,
    address: SocketAddr,
    process: Child,
    _rig: Rig,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proxy {
    /// Allows `allow`; `names` lead to these addresses, and those of this machine may be connected to if `loopback`.
    fn start(allow: &[String], names: &[(&str, &[&str])], loopback: bool) -> Self {
        let rig = Rig::new();
        let (dir, mut spec) = rig.shell("true");
        let address = |text: &&str| text.parse::<IpAddr>().unwrap();
        let names = names
            .iter()
            .map(|(name, addresses)| ((*name).to_owned(), addresses.iter().map(address).collect()))
            .collect();
        spec.egress = Some(Egress {
            allow: AllowList::of(allow).unwrap(),
            fixture: Some(Fixture { names, loopback }),
        });
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("spec.json"), serde_json::to_vec(&spec).unwrap()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut process = Command::new(shim_exe())
            .arg("egress")
            .arg(&dir)
            .env_clear()
            // Told to break a promise on purpose, it must hear of it.
            .envs(std::env::var(SABOTAGE).map(|breach| (SABOTAGE, breach)))
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = process.stdout.take().unwrap();
        let proxy = Self {
            dir,
            address,
            process,
            _rig: rig,
        };
        serves(told);
        proxy
    }

    fn connect(&self) -> TcpStream {
        patient(TcpStream::connect(self.address).unwrap())
    }

    /// Sends these bytes, and returns the connection with the status of the answer.
    fn ask(&self, request: &str) -> (TcpStream, u16) {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let status = status(&mut stream);
        (stream, status)
    }

    fn tunnel(&self, place: &str) -> (TcpStream, u16) {
        self.ask(&format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n"))
    }

    fn traffic(&self) -> Traffic {
        traffic(&self.dir).unwrap()
    }

    fn denials(&self) -> Vec<(String, String)> {
        let denied = self.traffic().denied.into_iter();
        denied.map(|denied| (denied.host, denied.reason)).collect()
    }
}

/// Waits until a proxy says that it serves.
fn serves(told: ChildStdout) {
    let mut told = Heard::of(told);
    let word = told.byte(Instant::now() + PATIENCE);
    assert_eq!(word, Some(b'+'), "it says when it serves");
}

/// A connection on which nobody waits for ever.
fn patient(stream: TcpStream) -> TcpStream {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The next client of a server.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let give_up = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return patient(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < give_up, "nobody came within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reads the head of an answer.
fn status(stream: &mut TcpStream) -> u16 {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = text(&head);
    assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
    head[9..12].parse().unwrap()
}

/// A server on loopback that sends everything back in upper case, once its client has said all.
fn server() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        said.make_ascii_uppercase();
        stream.write_all(&said).unwrap();
    });
    (address, serving)
}

/// B-HANDS-3: acceptance test A12.
#[test]
fn an_allowed_name_is_reached_and_nothing_else() {
    let (server, serving) = server();
    let port = server.port();
    let proxy = Proxy::start(
        &[
            format!("good.test:{port}"),
            format!("rebound.test:{port}"),
            format!("mixed.test:{port}"),
            "metadata.test:80".to_owned(),
        ],
        &[
            ("good.test", &["127.0.0.1"]),
            ("rebound.test", &["10.0.0.1"]),
            ("mixed.test", &["127.0.0.1", "192.168.0.1"]),
            ("metadata.test", &["169.254.169.254"]),
        ],
        true,
    );
    for (place, expected) in [
        (format!("evil.test:{port}"), 403),
        ("good.test:1".to_owned(), 403),
        (format!("x.good.test:{port}"), 403),
        (format!("127.0.0.1:{port}"), 403),
        (format!("2130706433:{port}"), 403),
        (format!("127.1:{port}"), 403),
        (format!("[::ffff:127.0.0.1]:{port}"), 403),
        (format!("rebound.test:{port}"), 403),
        (format!("mixed.test:{port}"), 403),
        ("metadata.test:80".to_owned(), 403),
    ] {
        assert_eq!(proxy.tunnel(&place).1, expected, "{place}");
    }
    let (mut stream, status) = proxy.tunnel(&format!("GOOD.test.:{port}"));
    assert_eq!(status, 200);
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "HELLO", "half of a connection ends by itself");
    serving.join().unwrap();

    let traffic = proxy.traffic();
    assert_eq!(traffic.allowed, 1);
    let reasons: Vec<&str> = traffic
        .denied
        .iter()
        .map(|denied| denied.reason.as_str())
        .collect();
    let expected = ["not_allowed"; 3]
        .iter()
        .chain(&["ip_literal"; 4])
        .chain(&["address_refused"; 3]);
    assert_eq!(reasons, expected.copied().collect::<Vec<_>>());
}

/// B-HANDS-3, B-HOOK-4: without the switch for tests, a name of this machine leads nowhere.
#[test]
fn a_name_that_leads_to_this_machine_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let place = format!("here.test:{}", listener.local_addr().unwrap().port());
    let proxy = Proxy::start(
        std::slice::from_ref(&place),
        &[("here.test", &["127.0.0.1"])],
        false,
    );
    assert_eq!(proxy.tunnel(&place).1, 403);
    assert_eq!(
        proxy.denials(),
        [("here.test".to_owned(), "address_refused".to_owned())]
    );
    assert!(listener.accept().is_err(), "nobody knocked");
}

#[test]
fn what_is_no_tunnel_is_refused_with_its_reason() {
    let proxy = Proxy::start(&["good.test".to_owned()], &[], true);
    assert_eq!(proxy.ask("GET http://good.test/ HTTP/1.1\r\n\r\n").1, 405);
    assert_eq!(proxy.ask("CONNECT good.test HTTP/1.1\r\n\r\n").1, 400);
    assert_eq!(proxy.ask("hello\r\n\r\n").1, 400);
    let long = format!("CONNECT good.test:443 HTTP/1.1\r\nX: {}", "a".repeat(9_000));
    assert_eq!(proxy.ask(&long).1, 431);
    // Allowed, but nobody has ever heard of it: that is no denial.
    assert_eq!(proxy.tunnel("good.test:443").1, 502);
    let reasons: Vec<String> = proxy.denials().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["not_connect", "bad_request"]);
    assert_eq!(proxy.traffic().denied[1].times, 3);
}

#[test]
fn a_first_word_that_came_early_arrives() {
    let (server, serving) = server();
    let place = format!("good.test:{}", server.port());
    let proxy = Proxy::start(
        std::slice::from_ref(&place),
        &[("good.test", &["127.0.0.1"])],
        true,
    );
    let mut stream = proxy.connect();
    stream
        .write_all(format!("CONNECT {place} HTTP/1.1\r\n\r\nearly").as_bytes())
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(status(&mut stream), 200);
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "EARLY");
    serving.join().unwrap();
}

#[test]
fn connections_beyond_the_bound_are_told_so_and_later_ones_served() {
    let proxy = Proxy::start(&["good.test".to_owned()], &[], true);
    let mut open: Vec<TcpStream> = (0..64).map(|_| proxy.connect()).collect();
    let mut refused = proxy.connect();
    assert_eq!(status(&mut refused), 503);
    // One place is free once its client has gone.
    open.pop();
    until("a place is free", || proxy.tunnel("evil.test:443").1 == 403);
}

/// B-HANDS-3: megabytes both ways at once.
#[test]
fn a_tunnel_carries_much_without_losing_a_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("good.test:{}", listener.local_addr().unwrap().port());
    let bytes: Vec<u8> = (0..4_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 4])
        .collect();
    let sent = bytes.clone();
    let serving = std::thread::spawn(move || {
        let stream = accept(&listener);
        let (mut reading, mut writing) = (stream.try_clone().unwrap(), stream);
        let sending = std::thread::spawn(move || writing.write_all(&sent).unwrap());
        let mut got = Vec::new();
        reading.read_to_end(&mut got).unwrap();
        sending.join().unwrap();
        got
    });
    let proxy = Proxy::start(
        std::slice::from_ref(&place),
        &[("good.test", &["127.0.0.1"])],
        true,
    );
    let (mut stream, status) = proxy.tunnel(&place);
    assert_eq!(status, 200);
    // All is said before anything is heard: neither way may wait for the other.
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut down = Vec::new();
    stream.read_to_end(&mut down).unwrap();
    assert!(down == bytes);
    assert!(serving.join().unwrap() == bytes);
}

#[test]
fn it_has_no_rights_and_dies_with_its_parent() {
    let proxy = Proxy::start(&["good.test".to_owned()], &[], true);
    let pid = proxy.process.id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(u64::from_str_radix(&field("CapEff:"), 16).unwrap(), 0);
    if rustix::process::geteuid().is_root() {
        assert_eq!(
            (field("Uid:"), field("Gid:")),
            ("65534".to_owned(), "65534".to_owned())
        );
    }

    // A parent of its own, which is killed once the proxy serves: the listener must go with it. (What a shell puts into the
    // background reads from nowhere unless told otherwise.)
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut parent = Command::new("/bin/sh")
        .args([
            "-c",
            "exec 3<&0; \"$0\" egress \"$1\" <&3 3<&- & exec 3<&- 0<&-; wait",
        ])
        .arg(shim_exe())
        .arg(&proxy.dir)
        .stdin(OwnedFd::from(listener))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serves(parent.stdout.take().unwrap());
    assert!(TcpStream::connect(address).is_ok());
    kill_9(parent.id());
    parent.wait().unwrap();
    until("the listener is gone", || TcpStream::connect(address).is_err());
}

/// B-HANDS-3: what people use.
#[test]
#[ignore = "needs curl"]
fn curl_reaches_what_is_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let mut stream = accept(&listener);
        let _ = stream.read(&mut [0; 1 << 12]).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
            .unwrap();
    });
    let proxy = Proxy::start(
        &[format!("good.test:{port}")],
        &[("good.test", &["127.0.0.1"])],
        true,
    );
    let curl = |url: &str| {
        let tunnel = [
            "--silent",
            "--show-error",
            "--proxytunnel",
            "--max-time",
            "60",
            "--proxy",
        ];
        let mut curl = Command::new("curl");
        curl.args(tunnel)
            .arg(format!("http://{}", proxy.address))
            .arg(url)
            .stdin(Stdio::null());
        watched::output(&mut curl)
    };
    let reached = curl(&format!("http://good.test:{port}/"));
    assert_eq!(text(&reached.stdout), "hello", "{}", text(&reached.stderr));
    serving.join().unwrap();
    let denied = curl("http://evil.test/");
    assert_eq!(denied.status.code(), Some(56), "{}", text(&denied.stderr));
    assert!(text(&denied.stderr).contains("403"), "{}", text(&denied.stderr));
    assert_eq!(
        proxy.denials(),
        [("evil.test".to_owned(), "not_allowed".to_owned())]
    );
}

/// B-HANDS-3: git over HTTPS, with the variables that a sandbox sets.
#[test]
#[ignore = "needs git, python3 and openssl"]
fn git_clones_through_the_proxy() {
    let rig = Rig::new();
    let at = rig.path();
    sh(
        at,
        "git init -q -b main work && cd work && git config user.name a && git config user.email a@b.test \
         && echo hello > f && git add f && git commit -qm one && cd .. \
         && git clone -q --bare work served.git && git -C served.git update-server-info \
         && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=good.test \
            -addext subjectAltName=DNS:good.test 2>/dev/null",
    );
    let program = "import http.server, ssl, sys\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
        context.load_cert_chain('cert.pem', 'key.pem')\n\
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)\n\
        server.socket = context.wrap_socket(server.socket, server_side=True)\n\
        print(server.server_port, flush=True)\n\
        server.serve_forever()\n";
    let mut serving = Command::new("python3")
        .args(["-c", program])
        .current_dir(at)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = Heard::of(serving.stdout.take().unwrap());
    let port = told.line(Instant::now() + PATIENCE);
    let serving = Ends(serving);
    let port = port.as_deref().expect("it says where it serves").trim_end();
    let proxy = Proxy::start(
        &[format!("good.test:{port}")],
        &[("good.test", &["127.0.0.1"])],
        true,
    );
    let clone = |host: &str, to: &str| -> Output {
        let mut git = Command::new("timeout");
        git.args(["60", "git", "clone", "--quiet"])
            .arg(format!("https://{host}:{port}/served.git"))
            .arg(to)
            .current_dir(at)
            .env("https_proxy", format!("http://{}", proxy.address))
            .env("GIT_SSL_CAINFO", at.join("cert.pem"))
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(Stdio::null())
            .env_remove("no_proxy")
            .env_remove("NO_PROXY");
        watched::output(&mut git)
    };
    let reached = clone("good.test", "cloned");
    let denied = clone("evil.test", "never");
    drop(serving);
    assert!(reached.status.success(), "{}", text(&reached.stderr));
    assert_eq!(std::fs::read_to_string(at.join("cloned/f")).unwrap(), "hello\n");
    assert!(text(&denied.stderr).contains("403"), "{}", text(&denied.stderr));
    assert_eq!(
        proxy.denials(),
        [("evil.test".to_owned(), "not_allowed".to_owned())]
    );
}

/// A process that ends with the test, however that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sh(at: &Path, line: &str) {
    let mut sh = Command::new("sh");
    sh.args(["-ec", line]).current_dir(at).stdin(Stdio::null());
    let done = watched::output(&mut sh);
    assert!(done.status.success(), "{}", text(&done.stderr));
}
