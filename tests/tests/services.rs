//! Services and the network of a session, with real processes: a server in one step, its client in the next.

use std::sync::Arc;

use longhaul::api::{RecordView, Start};
use longhaul::{Control, Runtime};
use longhaul_actors::session::{Limits, Mode};
use longhaul_tests::child::Child;
use longhaul_tests::{
    close, lines, log_until, of_type, open, options, playbook, processes_with, start, types, until_record,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_longhaul-under-test");

/// A server that says hello to whoever connects, once the file `port` says where. It serves for ever.
const SERVER: &str =
    "[[step]]\nservice = \"web\"\nstart = ['perl', '-e', '''use Socket; $| = 1; print \"serving\\n\";
    socket(S, PF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(0, INADDR_LOOPBACK)) or die; listen(S, 9);
    my ($port) = sockaddr_in(getsockname S); open F, '>', 'p'; print F $port; close F; rename 'p', 'port';
    while (accept C, S) { syswrite C, \"hello\\n\"; close C }''']\n";
/// A client of it.
const CLIENT: &str = "[[step]]\nrun = ['perl', '-e', '''use IO::Socket::INET; select undef, undef, undef, 0.02 until -e 'port';
    open F, 'port'; print IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => <F>)->getline''']
expect = { contains = \"hello\" }\n";

fn data<'a>(log: &'a [RecordView], type_name: &str) -> Vec<&'a serde_json::Value> {
    of_type(log, type_name)
        .into_iter()
        .map(|record| &record.stored.data)
        .collect()
}

fn position(log: &[RecordView], type_name: &str) -> usize {
    types(log)
        .iter()
        .position(|found| *found == type_name)
        .unwrap_or_else(|| panic!("no {type_name}:\n{}", lines(log)))
}

async fn mark_is_gone(runtime: Runtime, id: &str) {
    let mark = format!("LONGHAUL_STEP={}/", id.trim_start_matches("s_"));
    assert_eq!(processes_with(&mark), [0_u32; 0], "something is left of {id}");
    close(runtime).await;
}

/// B-HANDS-5: a server in one step, its client in the next; it ends before the run does, with a record.
#[tokio::test]
async fn a_server_in_one_step_is_reached_in_the_next_and_ends_with_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let logs = "[[step]]\nservice = \"web\"\nlogs = true\nexpect = { contains = \"serving\" }\n";
    let brain = playbook(folder.path(), &format!("{SERVER}\n{CLIENT}\n{logs}"));
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = start(&control, brain, "serve").await.id;
    let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
    let ended = data(&log, "service.ended");
    assert_eq!(ended.len(), 1, "{}", lines(&log));
    assert_eq!(
        (&ended[0]["name"], &ended[0]["cause"]),
        (&"web".into(), &"ended".into())
    );
    assert_eq!(ended[0]["execution"]["verdict"], "canceled");
    assert!(
        position(&log, "service.ended") < position(&log, "session.completed"),
        "{}",
        lines(&log)
    );
    mark_is_gone(runtime, &id).await;
}

/// B-HANDS-5: stopping, ending by itself, and what cannot be started.
#[tokio::test]
async fn each_end_of_a_service_is_a_record_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(
        folder.path(),
        "[[step]]\nservice = \"a\"\nstart = \"sleep 1000\"\n\n\
         [[step]]\nservice = \"b\"\nstart = \"until test -e go; do sleep 0.02; done; exit 3\"\n\n\
         [[step]]\nservice = \"c\"\nstart = \"echo cannot; exit 4\"\non_failure = \"next\"\n\n\
         [[step]]\nservice = \"a\"\nstop = true\n\n\
         [[step]]\nservice = \"a\"\nlogs = true\non_failure = \"next\"\n\n\
         [[step]]\nwrite = \"go\"\ncontent = \"\"\n\n[[step]]\nyield = true\n",
    );
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = begin(&control, brain, Limits::default()).await;
    let found = until_record(&control, &id, "service.ended", "\"b\"")
        .await
        .stored
        .data;
    assert_eq!(
        (&found["cause"], &found["execution"]["code"]),
        (&"itself".into(), &3.into()),
        "{found}"
    );
    let log = log_until(&control, &id, &["idle", "failed", "paused"]).await;
    let failed = data(&log, "tool.failed");
    assert_eq!(failed[0]["code"], "service_ended", "{}", lines(&log));
    assert!(failed[0]["detail"].as_str().expect("text").contains("cannot"));
    assert_eq!(failed[1]["code"], "no_such_service");
    let asked = data(&log, "service.ended")
        .into_iter()
        .find(|ended| ended["name"] == "a")
        .expect("it ended");
    assert_eq!(asked["cause"], "asked");
    mark_is_gone(runtime, &id).await;
}

/// B-HANDS-5, B-IDLE-1: nothing of a session that hibernates is left running.
#[tokio::test]
async fn a_service_ends_before_its_session_hibernates() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), &format!("{SERVER}\n[[step]]\nyield = true\n"));
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let limits = Limits {
        idle_ms: 1,
        ..Limits::default()
    };
    let id = begin(&control, brain, limits).await;
    let log = log_until(&control, &id, &["hibernated", "failed", "paused"]).await;
    let order: Vec<&str> = types(&log)
        .into_iter()
        .filter(|name| name.starts_with("service.") || *name == "session.hibernated")
        .collect();
    assert_eq!(
        order,
        [
            "service.started",
            "service.stop_requested",
            "service.ended",
            "session.hibernated"
        ]
    );
    mark_is_gone(runtime, &id).await;
}

/// B-HANDS-5, B-STOP-1
#[tokio::test]
async fn a_cancel_ends_a_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), &format!("{SERVER}\n[[step]]\nask = \"well?\"\n"));
    let runtime = open(&folder.path().join("data"), PROGRAM).await;
    let control = runtime.control();
    let id = begin(&control, brain, Limits::default()).await;
    log_until(&control, &id, &["awaiting_input"]).await;
    control
        .cancel(&id, longhaul::api::Cancel::default())
        .await
        .expect("it is canceled");
    let log = log_until(&control, &id, &["canceled"]).await;
    assert_eq!(
        data(&log, "service.ended")[0]["cause"],
        "canceled",
        "{}",
        lines(&log)
    );
    mark_is_gone(runtime, &id).await;
}

/// B-HANDS-5, B-CRASH-2: a service goes on when the server is killed; the next server watches over it again.
#[tokio::test]
async fn a_service_survives_the_server_and_is_watched_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_folder = folder.path().join("data");
    let brain = playbook(
        folder.path(),
        &format!("{SERVER}\n[[step]]\nask = \"well?\"\n\n{CLIENT}\n[[step]]\nask = \"and?\"\n"),
    );
    let mut child = Child::start(&[], PROGRAM, &data_folder);
    let control = child.control().await.expect("it serves");
    let id = begin(&control, brain, Limits::default()).await;
    log_until(&control, &id, &["awaiting_input"]).await;
    child.kill().await;

    let runtime = open(&data_folder, PROGRAM).await;
    let control = runtime.control();
    control.send(&id, say("go on")).await.expect("it takes messages");
    until_record(&control, &id, "agent.question", "and?").await;
    // Its shim is killed: nobody can know how it ended, and somebody notices without being asked.
    let shim = processes_with_argument(&format!(
        "{}/sessions/{}/steps/2",
        data_folder.display(),
        id.trim_start_matches("s_")
    ));
    assert!(
        !shim.is_empty(),
        "the shim of the service, and behind walls the init that it forked"
    );
    for pid in shim {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
        // With the one the other is gone.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let ended = until_record(&control, &id, "service.ended", "web")
        .await
        .stored
        .data;
    assert_eq!(
        (&ended["cause"], &ended["unknown"]),
        (&"itself".into(), &"shim_died".into()),
        "{ended}"
    );
    mark_is_gone(runtime, &id).await;
}

/// B-HANDS-3: what a session may reach is pinned as names with ports; what is no name, or beyond the server's bound, is
/// refused before anything exists.
#[tokio::test]
async fn the_network_of_a_session_is_checked_and_pinned_at_its_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let brain = playbook(folder.path(), "[[step]]\nfinish = \"done\"\n");
    let mut bounded = options(PROGRAM);
    bounded.network_bound = Some(vec!["npm".into(), "example.com:8080".into()]);
    let runtime = Runtime::open(folder.path().join("data"), bounded)
        .await
        .expect("it opens");
    let control = runtime.control();
    let request = |network: &[&str]| Start {
        goal: "reach".into(),
        brain: Some(brain.clone()),
        mode: Mode::Bounded,
        network: network.iter().map(ToString::to_string).collect(),
        ..Start::default()
    };
    for (network, word) in [
        (&["gti"][..], "git, npm, crates, pypi"),
        (&["10.0.0.1"], "address"),
        (&["github.com"], "github.com:443 is not among"),
    ] {
        let problem = control.start(request(network)).await.expect_err("it is refused");
        assert!(problem.detail.contains(word), "{problem}");
    }
    let id = control
        .start(request(&["npm", "Example.com:8080"]))
        .await
        .expect("it starts")
        .id;
    let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
    let pinned = &of_type(&log, "session.started")[0].stored.data["network"];
    assert_eq!(
        pinned,
        &serde_json::json!(["example.com:8080", "registry.npmjs.org:443"])
    );
    close(runtime).await;
}

async fn begin(control: &Arc<dyn Control>, brain: String, limits: Limits) -> String {
    let request = Start {
        goal: "serve".into(),
        brain: Some(brain),
        mode: Mode::Interactive,
        limits: Some(limits.into()),
        ..Start::default()
    };
    control.start(request).await.expect("it starts").id
}

fn say(text: &str) -> longhaul::api::Send {
    longhaul::api::Send {
        text: text.into(),
        ..longhaul::api::Send::default()
    }
}

/// Processes one of whose arguments is this text.
fn processes_with_argument(argument: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .any(|word| word == argument.as_bytes())
    })
    .collect()
}

/// B-HANDS-3, B-HANDS-5: behind walls, what a command was kept from is a record before its end, what it may reach it
/// reaches, and a service is reached beside all that.
#[tokio::test]
#[ignore = "needs user namespaces"]
async fn an_isolated_session_is_let_out_by_name_beside_its_services() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"from outside\n");
        }
    });
    let ask = format!(
        "[[step]]\nrun = ['perl', '-e', '''use IO::Socket::INET; my ($proxy) = $ENV{{http_proxy}} =~ m,http://(.*),;
    for my $place (qw(evil.test:443 evil.test:443 good.test:{port})) {{
      my $s = IO::Socket::INET->new(PeerAddr => $proxy); print $s \"CONNECT $place HTTP/1.1\\r\\n\\r\\n\"; print $place, <$s>
    }}''']\nexpect = {{ contains = \"from outside\" }}\n"
    );
    let brain = playbook(folder.path(), &format!("{SERVER}\n{CLIENT}\n{ask}"));
    let mut isolated = options(PROGRAM);
    isolated.sandbox = longhaul::sandbox::SandboxOptions::default();
    isolated.egress_fixture = Some(longhaul_hands::egress::Fixture {
        names: vec![("good.test".into(), vec![std::net::Ipv4Addr::LOCALHOST.into()])],
        loopback: true,
    });
    let runtime = Runtime::open(folder.path().join("data"), isolated)
        .await
        .expect("it opens");
    let control = runtime.control();
    let request = Start {
        goal: "reach".into(),
        brain: Some(brain),
        mode: Mode::Bounded,
        network: vec![format!("good.test:{port}")],
        ..Start::default()
    };
    let id = control.start(request).await.expect("it starts").id;
    let log = log_until(&control, &id, &["completed", "failed", "paused"]).await;
    assert_eq!(of_type(&log, "session.completed").len(), 1, "{}", lines(&log));
    assert_eq!(data(&log, "sandbox.ready")[0]["isolation"]["network"], "listed");
    let denied = data(&log, "egress.denied");
    assert_eq!(denied.len(), 1, "{}", lines(&log));
    assert_eq!(
        (&denied[0]["host"], &denied[0]["times"]),
        (&"evil.test".into(), &2.into())
    );
    let runs = data(&log, "command.run");
    assert_eq!(denied[0]["step"], runs[1]["step"]);
    assert!(
        position(&log, "egress.denied")
            < log
                .iter()
                .rposition(|it| it.type_name == "command.run")
                .expect("it ran")
    );
    mark_is_gone(runtime, &id).await;
}
