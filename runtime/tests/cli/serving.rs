//! Somebody serves, and everybody else talks to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::desk::{Desk, GREETING, QUESTION, Started};

/// Serves, once it says that it listens.
fn served(desk: &Desk) -> Started {
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    server
}

#[test]
fn a_server_works_for_whoever_asks_and_stops_in_good_order() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let server = served(&desk);
    assert_eq!(
        desk.says("run --brain playbook:ask.toml --key wall paint").code,
        Some(7)
    );
    let sent = desk.says("send wall blue");
    assert_eq!((sent.code, sent.stderr.as_str()), (Some(0), ""), "{sent:?}");
    let tailed = desk.says("tail wall --follow");
    assert!(
        tailed.stdout.contains("session.completed     success: painted"),
        "{tailed:?}"
    );
    server.signal(Signal::TERM);
    let (code, _, stderr) = server.ends();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        !desk.data().join("control.sock").exists(),
        "the socket was left behind"
    );
    assert!(
        !desk
            .says("tail wall --level internal")
            .stdout
            .contains("runtime.crashed")
    );
}

/// `timeout` sends SIGTERM to its child and then to the group: that is one wish, not impatience.
#[test]
fn two_signals_in_one_breath_are_one_wish_to_stop() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let server = served(&desk);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    let (code, _, stderr) = server.ends();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(
        !desk.data().join("control.sock").exists(),
        "it stopped in good order"
    );
}

#[test]
fn a_directory_has_one_server() {
    let desk = Desk::new();
    let server = served(&desk);
    let second = desk.says("serve");
    assert_eq!(second.code, Some(4), "{second:?}");
    assert!(second.stderr.contains("control.sock"), "{second:?}");
    let hint = "hint: talk to who has it: longhaul ls --data 'HERE/data'\n";
    assert!(second.stderr.ends_with(hint), "{second:?}");
    let told = desk.says("serve --json");
    let problem: serde_json::Value = serde_json::from_str(&told.stdout).expect("one object");
    assert_eq!(
        (problem["code"].as_str(), told.code, told.stderr.as_str()),
        (Some("data_dir_in_use"), Some(4), ""),
        "{told:?}"
    );
    let next = &problem["nextActions"][0]["command"];
    assert_eq!(next, "longhaul ls --data 'HERE/data'", "{told:?}");
    drop(server);
}

/// What the rules refuse is told over the socket with its own code, the path that was asked, and what to do.
#[test]
fn a_wish_that_the_rules_refuse_says_what_to_do() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let _server = served(&desk);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    let refused = |words: &[&str], code: i32| -> serde_json::Value {
        serde_json::from_str(&desk.says_words(words).ok(code)).expect("one object")
    };
    let commands = |problem: &serde_json::Value| -> Vec<String> {
        let actions = problem["nextActions"].as_array().expect("a list");
        let of = |action: &serde_json::Value| action["command"].as_str().expect("text").to_owned();
        actions.iter().map(of).collect()
    };

    let long = "x".repeat(40_000);
    let large = refused(&["--json", "send", "wall", &long], 2);
    assert_eq!(
        (&large["code"], &large["status"]),
        (&json!("payload_too_large"), &json!(413))
    );
    assert_eq!(large["instance"], "/v1/sessions/wall/messages");

    desk.says("send wall blue").ok(0);
    desk.says("tail wall --follow").ok(0);
    let ended = refused(&["--json", "send", "wall", "green"], 4);
    assert_eq!(ended["code"], "session_terminal");
    assert_eq!(
        commands(&ended),
        [
            "longhaul show s_ID",
            "longhaul run --brain playbook:FILE \"GOAL\""
        ]
    );
    desk.says("archive wall").ok(0);
    let archived = refused(&["--json", "send", "wall", "green"], 4);
    assert_eq!(archived["code"], "session_archived");
    assert_eq!(commands(&archived)[0], "longhaul tail s_ID");
    let other = refused(
        &[
            "--json",
            "run",
            "--brain",
            "playbook:ask.toml",
            "--key",
            "wall",
            "whitewash",
        ],
        4,
    );
    assert_eq!(other["code"], "idempotency_conflict");
    assert_eq!(commands(&other), ["longhaul ls", "longhaul run --key KEY ..."]);
}

#[test]
fn doctor_names_who_has_the_directory() {
    let desk = Desk::new();
    let server = served(&desk);
    let said = desk.says("doctor");
    assert!(said.stdout.contains("has the directory"), "{said:?}");
    assert!(
        said.stdout
            .contains("ok    socket      somebody serves this directory"),
        "{said:?}"
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(server);
    assert!(desk.says("doctor").stdout.contains("nobody has the directory"));
}

/// B-CRASH-2, B-CRASH-4
#[test]
fn a_run_whose_server_is_killed_takes_over_and_repeats_nothing() {
    let desk = Desk::new();
    let marks = desk.path().join("marks").display().to_string();
    let go = desk.path().join("go").display().to_string();
    let text = format!(
        "[[step]]\nrun = \"echo begun >> {marks}; until test -e {go}; do sleep 0.02; done; echo done >> {marks}\"\n\n\
         [[step]]\nfinish = \"over\"\n"
    );
    let desk = desk.with("gated.toml", &text);
    let server = served(&desk);
    let mut run = desk.starts(&[
        "run",
        "--brain",
        "playbook:gated.toml",
        "--level",
        "internal",
        "wait",
    ]);
    run.until("tool.started");
    server.signal(Signal::KILL);
    let crashed = run.until("runtime.crashed");
    assert!(crashed.contains("server died"), "{crashed}");
    fs::write(&go, "").expect("written");
    let (code, stdout, stderr) = run.ends();
    assert!(stdout.contains("session.completed"), "{stdout}{stderr}");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(fs::read_to_string(&marks).expect("readable"), "begun\ndone\n");
}

#[test]
fn a_run_beside_a_server_says_nothing_of_others_that_wait() {
    let desk = Desk::new().with("hi.toml", GREETING);
    let _server = served(&desk);
    let said = desk.says("run --brain playbook:hi.toml greet");
    assert_eq!(
        said.stderr, "started s_ID\ncompleted: greeted\nread the log with: longhaul tail s_ID\n",
        "{said:?}"
    );
}

#[test]
fn what_waits_while_nobody_serves_is_counted_by_the_next_run() {
    let desk = Desk::new().with("ask.toml", QUESTION).with("hi.toml", GREETING);
    assert_eq!(
        desk.says("run --brain playbook:ask.toml --key wall paint").code,
        Some(7)
    );
    desk.says("send wall blue").ok(0);
    let said = desk.says("run --brain playbook:hi.toml greet");
    assert!(
        said.stderr
            .contains("1 other session waits for somebody who serves: longhaul serve"),
        "{said:?}"
    );
}

#[test]
fn a_run_that_has_the_directory_for_itself_can_be_talked_to_and_others_are_told() {
    let desk = Desk::new().with("hi.toml", GREETING);
    let go = desk.path().join("go").display().to_string();
    let text = format!("[[step]]\nrun = \"until test -e {go}; do sleep 0.02; done\"\n");
    let desk = desk.with("gated.toml", &text);
    let mut run = desk.starts(&[
        "run",
        "--brain",
        "playbook:gated.toml",
        "--key",
        "gate",
        "--level",
        "internal",
        "wait",
    ]);
    run.until("tool.started");
    let other = desk.says("run --brain playbook:hi.toml greet");
    assert_eq!(other.code, Some(5), "{other:?}");
    assert!(
        other.stderr.contains("works for another session only"),
        "{other:?}"
    );
    let sent = desk.says("send gate hurry");
    assert_eq!((sent.code, sent.stderr.as_str()), (Some(0), ""), "{sent:?}");
    assert!(run.until("user.message").ends_with("hurry"));
    fs::write(&go, "").expect("written");
    let (code, _, stderr) = run.ends();
    assert_eq!(code, Some(0), "{stderr}");
}

/// B-CRASH-4: after a failed sync a server stayed, refused every wish for ever and called itself ready, so that whoever
/// restarts what has ended had nothing to restart.
#[test]
#[ignore = "needs strace"]
fn a_server_whose_disk_fails_a_sync_ends_and_the_next_one_goes_on() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let server = served(&desk);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    let mut strace = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync"])
        .args([
            "-e",
            "inject=fdatasync:error=EIO",
            "-p",
            &server.pid().to_string(),
        ])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace is there");
    let mut said = BufReader::new(strace.stderr.take().expect("piped")).lines();
    assert!(
        said.any(|line| line.is_ok_and(|line| line.contains("attached"))),
        "strace may look at a process of ours"
    );
    // Refused, or unknown, or written down by the sender itself as soon as the server is gone.
    desk.says("send wall blue");
    let (code, _, stderr) = server.ends();
    assert_eq!(code, Some(5), "{stderr}");
    assert!(
        stderr.contains("ERROR") && stderr.contains("error: a write or a sync of the journal failed"),
        "{stderr}"
    );
    strace.wait().expect("it ends with whom it looks at");

    // So it may be on disk or not: another one is taken, or hears that the session has ended with the first.
    let server = served(&desk);
    let again = desk.says("send wall blue");
    assert!(matches!(again.code, Some(0 | 4)), "{again:?}");
    let tailed = desk.says("tail wall --follow");
    assert!(
        tailed.stdout.contains("session.completed     success: painted"),
        "{tailed:?}"
    );
    server.signal(Signal::TERM);
    let (code, _, stderr) = server.ends();
    assert_eq!(code, Some(0), "{stderr}");
}
