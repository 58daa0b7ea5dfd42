//! The network of an isolated command: none, or one way out through its proxy, or that of a service it stands beside.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;

use common::{Rig, ended, exited, run, start, text, until};
use longhaul_hands::egress::{AllowList, Egress, Fixture, traffic};
use longhaul_hands::{Network, Spec, State, Verdict, cancel, state};

/// The command with a way out to `allow`, where names have these addresses and this machine may be reached.
fn let_out((dir, mut spec): (PathBuf, Spec), allow: &[String], names: &[(&str, IpAddr)]) -> (PathBuf, Spec) {
    let names = names
        .iter()
        .map(|(name, ip)| ((*name).to_owned(), vec![*ip]))
        .collect();
    spec.egress = Some(Egress {
        allow: AllowList::of(allow).unwrap(),
        fixture: Some(Fixture {
            names,
            loopback: true,
        }),
    });
    spec.walls.as_mut().unwrap().network = Network::Proxy;
    (dir, spec)
}

/// A port of this machine whose one client is sent `word`.
fn one_word(word: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(word);
        }
    });
    port
}

/// What bash speaks to the proxy in the environment: CONNECT to a place, and the status of the answer.
const ASK: &str = r#"ask() { p=${http_proxy#http://}; exec 3<>/dev/tcp/${p%:*}/${p#*:} || return
    printf 'CONNECT %s HTTP/1.1\r\n\r\n' "$1" >&3; read -r _ status _ <&3; echo "$1 $status"; }; "#;

/// B-HANDS-3: acceptance test A11.
#[test]
fn without_a_list_nothing_of_the_machine_or_beyond_is_reached() {
    let rig = Rig::new();
    let port = one_word(b"never\n");
    // Where packets to the outside would come from: no packet is sent by this.
    let outside = UdpSocket::bind("0.0.0.0:0").unwrap();
    let own = outside.connect("192.0.2.1:9").and_then(|()| outside.local_addr());
    let own = own.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    let name = format!("longhaul-{}", rig.session);
    let abstract_socket = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let line = format!(
        "t() {{ (exec 3<>/dev/$1/$2/$3 && echo hi >&3 && read -r w <&3 && echo reached $1 $2 $w) 2>/dev/null; }}
         t tcp 127.0.0.1 {port}; t tcp {own} {port}; t tcp 169.254.169.254 80; t udp 169.254.169.254 80; t udp 8.8.8.8 53
         echo proxy: $http_proxy $https_proxy
         cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/unix | tail -n +2 | wc -l; echo over"
    );
    let (record, output) = run(&rig.walled(rig.argv(&["bash", "-c", &line])));
    assert_eq!(record.verdict, exited(0), "{}", text(&output.stderr.head));
    let said: Vec<&str> = text(&output.stdout.head).split_whitespace().collect();
    assert_eq!(said, ["proxy:", "lo", "0", "over"]);
    drop(abstract_socket);
}

/// B-HANDS-3: acceptance test A12, from inside.
#[test]
fn with_a_list_its_names_are_reached_and_denials_are_evidence() {
    let rig = Rig::new();
    let port = one_word(b"hello\n");
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let line = format!(
        "{ASK} ask evil.test:{port}; ask 127.0.0.1:{port}; ask inner.test:{port}; ask good.test:{port}
         read -r _ <&3; read -r word <&3; echo $word
         (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo direct; echo over"
    );
    let command = let_out(
        rig.walled(rig.argv(&["bash", "-c", &line])),
        &[format!("good.test:{port}"), format!("inner.test:{port}")],
        &[
            ("good.test", here),
            ("inner.test", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
        ],
    );
    let (record, output) = run(&command);
    assert_eq!(record.verdict, exited(0), "{}", text(&output.stderr.head));
    let expected = format!(
        "evil.test:{port} 403\n127.0.0.1:{port} 403\ninner.test:{port} 403\ngood.test:{port} 200\nhello\nover\n"
    );
    assert_eq!(text(&output.stdout.head), expected);
    let traffic = traffic(&command.0).unwrap();
    let reasons: Vec<&str> = traffic
        .denied
        .iter()
        .map(|denied| denied.reason.as_str())
        .collect();
    assert_eq!(reasons, ["not_allowed", "ip_literal", "address_refused"]);
    assert_eq!(traffic.allowed, 1);
    until("the proxy is gone with the command, and the shim", || {
        common::shims_of(&command.0).is_empty()
    });
}

/// B-HANDS-3, B-CRASH-2: the proxy is the shim's, and has no need of who launched it.
#[test]
fn a_command_that_cannot_be_let_out_never_begins() {
    let rig = Rig::new();
    let (dir, mut spec) = let_out(
        rig.walled(rig.shell("echo ran > effect")),
        &["good.test".to_owned()],
        &[],
    );
    // The proxy cannot write its evidence down: its file is a folder.
    std::fs::create_dir_all(dir.join("egress.jsonl")).unwrap();
    spec.wall_ms = Some(60_000);
    let (record, _) = run(&(dir, spec));
    assert!(
        matches!(record.verdict, Verdict::SandboxError { ref step, .. } if step == "proxy"),
        "{:?}",
        record.verdict
    );
    assert_eq!(rig.file("effect"), "");
}

/// B-HANDS-5: acceptance test of services: a server in one command, its client in the next, nobody else.
#[test]
fn a_command_beside_a_service_reaches_it_and_has_files_of_its_own() {
    let rig = Rig::new();
    let (service, mut spec) = rig.walled(rig.argv(&["perl", "-e", SERVER]));
    spec.wall_ms = None;
    start(&service, &spec);
    until("the service listens", || !rig.file("port").is_empty());
    let port = rig.file("port");

    let client =
        format!("exec 3<>/dev/tcp/127.0.0.1/{port} && read -r word <&3 && echo $word; ls /tmp; id -u");
    let beside = |line: &str| {
        let (dir, mut spec) = rig.walled(rig.argv(&["bash", "-c", line]));
        spec.walls.as_mut().unwrap().stand_beside(&service, spec.step);
        (dir, spec)
    };
    let (record, output) = run(&beside(&client));
    assert_eq!(record.verdict, exited(0), "{}", text(&output.stderr.head));
    assert_eq!(text(&output.stdout.head), "hello\n1000\n");

    // Its end is its own: the service goes on, and so does a second one.
    let (record, output) = run(&beside(&client));
    assert_eq!(
        (record.verdict, text(&output.stdout.head)),
        (exited(0), "hello\n1000\n")
    );
    let (_, output) = run(&rig.walled(rig.argv(&["bash", "-c", &client])));
    let said = text(&output.stdout.head);
    assert_eq!(said, "1000\n", "who does not stand beside it does not reach it");

    assert!(cancel(&service).unwrap());
    assert_eq!(ended(&service).0.verdict, Verdict::Canceled);
    let (record, _) = run(&beside(&client));
    assert!(
        matches!(record.verdict, Verdict::SandboxError { .. }),
        "{:?}",
        record.verdict
    );
}

/// B-HANDS-3, B-HANDS-5: each command has its own way out, also in a network that it shares.
#[test]
fn commands_beside_a_service_have_ways_out_of_their_own() {
    let rig = Rig::new();
    let port = one_word(b"hello\n");
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let out = |command| let_out(command, &[format!("good.test:{port}")], &[("good.test", here)]);
    let (service, mut spec) = out(rig.walled(rig.shell("touch up; sleep 1000")));
    spec.wall_ms = None;
    start(&service, &spec);
    until("the service runs", || rig.ws().join("up").exists());
    let line = format!("{ASK} ask good.test:{port}; ask evil.test:{port}");
    for _ in 0..2 {
        let (dir, mut spec) = out(rig.walled(rig.argv(&["bash", "-c", &line])));
        spec.walls.as_mut().unwrap().stand_beside(&service, spec.step);
        let (record, output) = run(&(dir.clone(), spec));
        assert_eq!(record.verdict, exited(0), "{}", text(&output.stderr.head));
        assert_eq!(
            text(&output.stdout.head),
            format!("good.test:{port} 200\nevil.test:{port} 403\n")
        );
        assert_eq!(traffic(&dir).unwrap().denied.len(), 1);
    }
    assert_eq!(traffic(&service).unwrap().denied.len(), 0);
    assert!(matches!(state(&service).unwrap(), State::Running { .. }));
}

const SERVER: &str = r#"use Socket; socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(0, INADDR_LOOPBACK)) or die;
    listen(S, 9); my ($port) = sockaddr_in(getsockname S); open F, '>', 'p'; print F $port; close F; rename 'p', 'port';
    while (accept C, S) { syswrite C, "hello\n"; close C }"#;

/// B-STOP-1, B-STUCK-1: nobody watched over a command before it executed, so that a proxy that did not come up held its step
/// for ever, deaf to a cancel and past every deadline.
#[test]
fn a_sandbox_that_is_never_ready_is_given_up_at_the_deadline_or_at_a_cancel() {
    let rig = Rig::new();
    let hangs = |wall_ms| {
        let walled = rig.walled(rig.argv(&["touch", "executed"]));
        let (dir, mut spec) = let_out(walled, &["name.test:443".to_owned()], &[]);
        spec.wall_ms = Some(wall_ms);
        // Where the proxy notes what it denied: opening it waits for a reader.
        std::fs::create_dir_all(&dir).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("egress.jsonl"), kind, mode, 0).unwrap();
        (dir, spec)
    };
    let (record, _) = run(&hangs(1_500));
    let late = Verdict::Timeout {
        limit_ms: 1_500,
        idle: false,
    };
    assert_eq!((record.verdict, record.survivors), (late, vec![]));
    assert!(record.wall_ms < 10_000, "{}", record.wall_ms);
    let (dir, spec) = hangs(600_000);
    start(&dir, &spec);
    std::thread::sleep(std::time::Duration::from_millis(300));
    cancel(&dir).unwrap();
    let (record, _) = ended(&dir);
    assert_eq!((record.verdict, record.survivors), (Verdict::Canceled, vec![]));
    assert!(!rig.ws().join("executed").exists());
    until("nothing of either is left", || common::shims_of(&dir).is_empty());
}
