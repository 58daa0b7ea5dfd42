//! Bounded runs, as a script meets them.

use rustix::process::Signal;
use serde_json::Value;

use crate::desk::{Desk, GREETING, QUESTION, Said};

/// The one object that was printed.
fn object(said: &Said) -> Value {
    assert_eq!(said.stdout.lines().count(), 1, "{said:?}");
    serde_json::from_str(&said.stdout).expect("an object")
}

/// B-RUN-1: both spellings, while nobody serves: one object, and the command stays until the run is over.
#[test]
fn a_bounded_run_prints_one_object_and_does_its_work() {
    let desk = Desk::new().with("hi.toml", GREETING);
    for verb in ["run", "autonomous run"] {
        let said = desk.says(&format!(
            "{verb} --brain playbook:hi.toml greet --duration 30m --json"
        ));
        let begun = object(&said);
        assert_eq!(begun["ok"], true, "{said:?}");
        assert_eq!(begun["runId"], "s_ID");
        assert!(begun["status"].is_string(), "{said:?}");
        assert_eq!(begun["runUrl"], "http://localhost/v1/sessions/s_ID");
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let listed = desk.says("ls --json");
    for line in listed.stdout.lines() {
        let session: Value = serde_json::from_str(line).expect("an object");
        assert_eq!(session["state"], "completed", "{listed:?}");
        assert_eq!(session["runLimitMs"], 1_800_000, "{listed:?}");
    }
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:?}");
}

/// B-RUN-1: what is wrong with the wish is said with its code, and nothing is created.
#[test]
fn a_duration_that_is_none_creates_nothing() {
    let desk = Desk::new().with("hi.toml", GREETING);
    for (words, code) in [
        (
            &["run", "--brain", "playbook:hi.toml", "greet", "--duration", "2h"][..],
            "invalid_duration",
        ),
        (
            &["run", "--brain", "playbook:hi.toml", "greet", "--duration", "30M"],
            "invalid_duration",
        ),
        (
            &["run", "--brain", "playbook:hi.toml", "greet", "--duration", ""],
            "invalid_duration",
        ),
        (&["run", "greet", "--duration="], "invalid_duration"),
        (
            &["autonomous", "run", "greet", "--duration", "2h"],
            "invalid_duration",
        ),
        (
            &["run", "--brain", "playbook:hi.toml", "--duration", "30m"],
            "missing_goal",
        ),
        (
            &["run", "--brain", "playbook:hi.toml", "", "--duration", "30m"],
            "missing_goal",
        ),
    ] {
        let said = desk.says_words(&[words, &["--json"]].concat());
        assert_eq!(
            (object(&said)["code"].as_str(), said.code),
            (Some(code), Some(2)),
            "{said:?}"
        );
        assert!(!desk.data().exists(), "{said:?}");
    }
}

/// B-RUN-1: while somebody serves, the run is theirs, and the command is free at once.
#[test]
fn while_somebody_serves_the_command_returns_as_soon_as_the_run_is_on_disk() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    let said = desk.says("run --brain playbook:ask.toml --key wall paint --duration until-done --json");
    assert_eq!(
        (object(&said)["ok"].as_bool(), said.code),
        (Some(true), Some(0)),
        "{said:?}"
    );
    let shown: Value = serde_json::from_str(&desk.says("show wall --json").stdout).expect("an object");
    assert_eq!(shown["runLimitMs"], 86_400_000, "{shown}");
    assert_eq!(shown["mode"], "bounded", "{shown}");
    server.signal(Signal::TERM);
    assert_eq!(server.ends().0, Some(0));
}
