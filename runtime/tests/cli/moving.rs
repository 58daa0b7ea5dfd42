//! Sessions in two data directories: the copy only lies there until it is adopted, and the two histories never mix.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::desk::{Desk, QUESTION};

/// A desk where the session `wall` asks for a colour, exported to the file `wall.lh`.
fn exported() -> Desk {
    let desk = Desk::new().with("ask.toml", QUESTION);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    desk.says("export wall wall.lh").ok(0);
    desk
}

/// Seq of the last record of the session, here or in the other place.
fn head(desk: &Desk, place: &str) -> u64 {
    let shown = desk.says(format!("show wall --json {place}").trim_end()).ok(0);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["head"].as_u64().expect("a head")
}

/// B-LOG-12
#[test]
fn an_imported_session_is_inert_until_it_is_adopted_and_then_goes_on() {
    let desk = exported();
    let head = head(&desk, "");
    assert_eq!(
        desk.says("import wall.lh --data other").lines(),
        [
            &*format!("s_ID  imported up to seq {head}: it is only read here until it is adopted"),
            "! once it runs nowhere else: longhaul adopt s_ID",
            "exit 0",
        ]
    );
    assert_eq!(
        desk.says("import wall.lh --data other").ok(0),
        format!("s_ID  all of it is here already, up to seq {head}\n")
    );
    assert!(desk.says("ls --data other").ok(0).contains("s_ID  inert "));
    assert_eq!(
        desk.says("tail wall --level internal --data other").ok(0),
        desk.says("tail wall --level internal").ok(0)
    );
    desk.says("replay --check --all --data other").ok(0);
    let mut server = desk.starts(&["serve", "--data", "other"]);
    server.until("control.sock");
    assert!(desk.says("ls --data other").ok(0).contains("s_ID  inert "));
    for wish in ["send wall blue", "cancel wall --yes", "pause wall"] {
        let refused = desk.says(&format!("{wish} --data other"));
        assert_eq!(
            refused.lines(),
            [
                "! error: s_ID was imported or restored; it is only read here until it is adopted",
                "! hint: take it on, once it runs nowhere else: longhaul adopt s_ID",
                "exit 4",
            ]
        );
    }
    assert_eq!(
        desk.says("adopt wall --data other").ok(0),
        format!("adoption written down as {} of s_ID awaiting_input\n", head + 1)
    );
    assert!(
        desk.says("adopt wall --data other")
            .ok(0)
            .starts_with("adoption already so")
    );
    desk.says("send wall blue --data other").ok(0);
    let followed = desk.says("tail wall --follow --data other").ok(0);
    assert!(followed.contains("success: painted"), "{followed}");
    server.signal(Signal::TERM);
    server.ends();
    assert!(desk.says("journal verify --data other").ok(0).contains("sound"));
}

/// B-LOG-12: a session that moved there and back is one history; two that were worked on apart are none.
#[test]
fn what_comes_back_extends_what_is_here_and_another_history_is_a_conflict() {
    let desk = exported();
    desk.says("import wall.lh --data other").ok(0);
    desk.says("adopt wall --data other").ok(0);
    let shared = head(&desk, "--data other");
    desk.says("export wall back.lh --data other").ok(0);
    assert!(
        desk.says("import back.lh")
            .ok(0)
            .contains(&format!("imported up to seq {shared}"))
    );
    assert_eq!(
        desk.says("send wall red").code,
        Some(4),
        "it lives in the other place now"
    );
    desk.says("send wall blue --data other").ok(0);
    desk.says("adopt wall").ok(0);
    desk.says("send wall red").ok(0);
    desk.says("export wall mine.lh").ok(0);
    let refused = desk.says("import mine.lh --data other");
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains(&format!("has another history here from seq {} on", shared + 1)),
        "{refused:?}"
    );
}

/// B-LOG-12
#[test]
fn an_export_is_the_same_bytes_each_time_and_a_broken_one_is_refused() {
    let desk = exported();
    desk.says("export wall again.lh").ok(0);
    let file = fs::read(desk.path().join("wall.lh")).expect("written");
    assert_eq!(fs::read(desk.path().join("again.lh")).expect("written"), file);
    let taken = desk.says("export wall wall.lh");
    assert_eq!(taken.code, Some(2), "{taken:?}");
    fs::write(desk.path().join("cut.lh"), &file[..file.len() - 9]).expect("written");
    let refused = desk.says("import cut.lh --data other");
    assert!(refused.stderr.contains("is no sound export"), "{refused:?}");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!desk.path().join("other").exists(), "something was made");
}

/// B-LOG-12: a backup taken beside a server is whole, and nothing in it runs by itself.
#[test]
fn a_backup_of_a_served_directory_is_sound_and_inert() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    // Who reads without a lock sees what the server has marked as durable, which it does once it is idle.
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let verified = desk.says("journal verify").ok(0);
        if !verified.contains("not yet known") {
            break;
        }
        assert!(Instant::now() < give_up, "after a minute still: {verified}");
    }
    let said = desk.says("backup copy");
    // The session, and the account that it is charged to.
    assert!(said.stdout.contains("2 streams"), "{said:?}");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(desk.says("backup copy").code, Some(2));
    server.signal(Signal::TERM);
    server.ends();
    assert!(
        desk.says("journal verify --data copy")
            .ok(0)
            .starts_with("sound: 2 streams")
    );
    let mut restored = desk.starts(&["serve", "--data", "copy"]);
    restored.until("control.sock");
    assert!(desk.says("ls --data copy").ok(0).contains("s_ID  inert "));
    assert_eq!(desk.says("send wall blue --data copy").code, Some(4));
    desk.says("adopt wall --data copy").ok(0);
    desk.says("send wall blue --data copy").ok(0);
    let followed = desk.says("tail wall --follow --data copy").ok(0);
    assert!(followed.contains("success: painted"), "{followed}");
    restored.signal(Signal::TERM);
    restored.ends();
}
