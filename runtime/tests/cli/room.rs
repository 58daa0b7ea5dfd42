//! What takes room is shown and freed; what a record names, and what a session may still need, stays.

use std::fs;

use crate::desk::{Desk, QUESTION};

const WRITES: &str = "[[step]]\nrun = \"echo kept > file\"\n\n[[step]]\nfinish = \"done\"\n";

/// B-LOG-11
#[test]
fn the_files_of_an_ended_session_are_removed_on_demand_and_its_log_stays() {
    let desk = Desk::new().with("w.toml", WRITES).with("ask.toml", QUESTION);
    desk.says("run --brain playbook:w.toml --key done write").ok(0);
    desk.says("run --brain playbook:ask.toml --key live paint").ok(7);
    let before = desk.says("du done --json").ok(0);
    let before: serde_json::Value = serde_json::from_str(&before).expect("an object");
    assert!(before["files"].as_u64() > Some(0), "{before}");
    assert!(
        before["log"].as_u64() > Some(0) && before["blobs"].as_u64() > Some(0),
        "{before}"
    );
    assert_eq!(desk.says("du").ok(0).lines().count(), 3);

    let asked = desk.says("rm done");
    assert_eq!(
        asked.lines(),
        [
            "! error: rm cannot be undone for s_ID, and there is no terminal to ask on",
            "! hint: answer beforehand: longhaul rm s_ID --yes",
            "exit 2",
        ]
    );
    let refused = desk.says("rm live --yes");
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("is awaiting_input, so its files may be needed"),
        "{refused:?}"
    );

    assert!(desk.says("rm done --yes").ok(0).ends_with("; its log is kept\n"));
    let after: serde_json::Value =
        serde_json::from_str(&desk.says("du done --json").ok(0)).expect("an object");
    assert_eq!(after["files"], 0, "{after}");
    assert_eq!(
        (&after["log"], &after["blobs"]),
        (&before["log"], &before["blobs"])
    );
    assert!(
        desk.says("rm done --yes").ok(0).contains("freed 0"),
        "twice is once"
    );
    assert!(desk.says("show done").ok(0).contains("completed"));
    desk.says("send live blue").ok(0);
    desk.says("attach live").ok(0);
}

/// B-LOG-11: mark and sweep, with a grace time; a damaged journal is not swept, since nobody knows what it named.
#[test]
fn only_bodies_that_no_record_names_are_swept_and_only_after_the_grace_time() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    let orphan = desk.data().join("blobs").join("ab");
    fs::create_dir_all(&orphan).expect("a folder");
    let orphan = orphan.join("c".repeat(62));
    fs::write(&orphan, "nobody names it").expect("written");
    assert!(desk.says("gc").ok(0).contains("0 blobs that no record names"));
    assert!(orphan.exists(), "it is young");
    assert!(
        desk.says("gc --grace-hours 0")
            .ok(0)
            .contains("1 blob that no record names")
    );
    assert!(!orphan.exists());
    desk.says("send wall blue").ok(0);
    assert_eq!(
        desk.says("attach wall").code,
        Some(0),
        "its pinned playbook is named, so it stayed"
    );

    fs::create_dir_all(orphan.parent().expect("a folder")).expect("made");
    fs::write(&orphan, "nobody names it").expect("written");
    crate::damage::flip(&desk, "turn.started");
    let refused = desk.says("gc --grace-hours 0");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(orphan.exists());
}
