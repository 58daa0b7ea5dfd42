//! `longhaul token`, and what the command line may do that shows one.

use serde_json::Value;

use crate::desk::{Desk, QUESTION, Said};

/// A session that waits for an answer.
fn waiting(desk: Desk) -> Desk {
    let desk = desk.with("ask.toml", QUESTION);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    desk
}

fn objects(said: Said) -> Vec<Value> {
    let stdout = said.ok(0);
    let lines = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"));
    lines.collect()
}

/// B-TOKEN-1
#[test]
fn a_token_is_minted_listed_and_revoked() {
    let desk = waiting(Desk::new());
    let said = desk.says("token create wall --scope read --scope steer --ttl 15m");
    let (text, notes) = (said.stdout.trim_end(), &said.stderr);
    assert!(
        text.starts_with("v4.local.") && !text.contains(char::is_whitespace),
        "{said:?}"
    );
    assert!(
        notes.contains("counts until DATE AND TIME") && notes.contains("longhaul serve"),
        "{said:?}"
    );
    let minted = &objects(desk.says("token create wall --scope approve --human ann --json"))[0];
    assert_eq!(
        (&minted["human"], &minted["session"]),
        (&"ann".into(), &"s_ID".into())
    );
    let id = minted["id"].as_str().expect("an id");

    let listed = desk.says("token ls wall").ok(0);
    let lines: Vec<&str> = listed.lines().collect();
    assert!(
        lines[1].ends_with("read steer") && lines[2].ends_with("approve, as ann"),
        "{listed}"
    );
    assert!(!listed.contains(text), "a text is told once");
    let revoke = format!("token revoke wall {id}");
    assert_eq!(
        desk.says(&revoke).lines(),
        [&*format!("! {id} is revoked"), "exit 0"]
    );
    assert_eq!(
        desk.says(&revoke).lines(),
        [&*format!("! {id} was revoked before"), "exit 0"]
    );
    let statuses = objects(desk.says("token ls wall --json"));
    let statuses: Vec<&str> = statuses
        .iter()
        .filter_map(|token| token["status"].as_str())
        .collect();
    assert_eq!(statuses, ["live", "revoked"]);
    assert_eq!(
        desk.says("token revoke wall tk_0").lines(),
        [
            "! error: s_ID has no token tk_0, or it has run out",
            "! hint: list them: longhaul token ls s_ID",
            "exit 1"
        ]
    );
}

/// B-TOKEN-1, B-GATE-3
#[test]
fn a_token_that_may_not_be_is_refused_by_name() {
    let desk = waiting(Desk::new());
    for (words, code, wanted) in [
        ("token create wall", 2, "--scope"),
        ("token create wall --scope all", 2, "approve"),
        (
            "token create wall --scope read --ttl 59",
            2,
            "60 to 86400 seconds",
        ),
        (
            "token create wall --scope read --ttl 86401s",
            2,
            "60 to 86400 seconds",
        ),
        ("token create wall --scope read --ttl 1d", 2, "whole number"),
        ("token create wall --scope approve", 2, "names the human"),
        (
            "token create wall --scope read --human ann",
            2,
            "only if it holds approve",
        ),
        ("token create none --scope read", 1, "no session none"),
        ("token ls none", 1, "no session none"),
    ] {
        let said = desk.says(words);
        assert_eq!(said.code, Some(code), "{said:?}");
        assert!(said.stderr.contains(wanted), "{said:?}");
    }
    assert_eq!(desk.says("token ls wall").ok(0), "");
}

/// B-TOKEN-1: a token narrows what the command line may do, and never lets it go around whoever serves.
#[test]
fn the_command_line_is_held_to_the_token_that_it_shows() {
    let desk = waiting(Desk::new());
    let minted = desk.says("token create wall --scope read");
    let text = minted.stdout.trim_end().to_owned();
    let id = desk.command(["ls", "--json"]).output().expect("it runs").stdout;
    let id: Value = serde_json::from_slice(&id).expect("an object");
    let id = id["id"].as_str().expect("an id").to_owned();
    let desk = desk.set("LONGHAUL_TOKEN", text);
    let nobody = desk.says(&format!("show {id}"));
    assert_eq!(nobody.code, Some(5), "{nobody:?}");
    assert!(nobody.stderr.contains("LONGHAUL_TOKEN is set"), "{nobody:?}");

    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    let shown = objects(desk.says(&format!("show {id} --json")));
    assert_eq!(shown[0]["state"], "awaiting_input");
    for words in [
        format!("send {id} blue"),
        "ls".to_owned(),
        format!("token create {id} --scope read"),
    ] {
        let said = desk.says(&format!("{words} --json"));
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.stdout.contains("forbidden_scope"), "{said:?}");
    }
    let said = desk.says("show wall --json");
    assert!(
        said.code == Some(1) && said.stdout.contains("not_found"),
        "a key is no whole id: {said:?}"
    );
    let desk = desk.set("LONGHAUL_TOKEN", "v4.local.nonsense");
    let said = desk.says(&format!("show {id} --json"));
    assert!(
        said.code == Some(3) && said.stdout.contains("unauthorized"),
        "{said:?}"
    );
}
