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

/// B-LOG-11: a removed session is gone for every way of looking, with and without a server, and is not resurrected.
#[test]
fn a_session_that_is_removed_with_its_log_is_gone_and_its_key_is_not_given_again() {
    for served in [false, true] {
        let desk = Desk::new().with("ask.toml", QUESTION).with("w.toml", WRITES);
        desk.says("run --brain playbook:ask.toml --key live paint").ok(7);
        desk.says("run --brain playbook:w.toml --key done write").ok(0);
        desk.says("export done done.lh").ok(0);
        let server = served.then(|| {
            let mut server = desk.starts(&["serve"]);
            server.until("control.sock");
            server
        });
        let refused = desk.says("rm live --log --yes");
        assert_eq!(refused.code, Some(4), "{refused:?}");
        let asked = desk.says("rm done --log");
        assert_eq!(asked.code, Some(2), "{asked:?}");
        assert!(
            desk.says("rm done --log --yes")
                .ok(0)
                .contains("  removed, freed "),
            "{served}"
        );
        for words in [
            "show done",
            "tail done",
            "send done more",
            "rm done --log --yes",
            "import done.lh",
            "run --brain playbook:w.toml --key done write",
        ] {
            let gone = desk.says(words);
            assert_eq!(gone.code, Some(4), "served {served}: {gone:?}");
            assert!(gone.stderr.contains("removed"), "served {served}: {gone:?}");
        }
        assert_eq!(
            desk.says("ls").ok(0).lines().count(),
            2,
            "the heading, and what lives"
        );
        assert_eq!(desk.says("du").ok(0).lines().count(), 2);
        let blobs = || walk(&desk.data().join("blobs"));
        let before = blobs();
        if served {
            let hasty = desk.says("gc --grace-hours 0");
            assert_eq!(hasty.code, Some(2), "{hasty:?}");
            assert!(desk.says("gc --json").ok(0).contains("\"blobs\":0"));
        } else {
            desk.says("gc --grace-hours 0").ok(0);
            assert!(
                blobs() < before,
                "its playbook and its patch are named by nobody now"
            );
        }
        desk.says("send live blue").ok(0);
        drop(server);
        desk.says("attach live").ok(0);
        desk.says("replay --check --all").ok(0);
        assert!(desk.says("journal verify").ok(0).contains("1 removed"));
        assert!(
            desk.says("import done.lh --data other")
                .ok(0)
                .contains("imported"),
            "elsewhere it may live"
        );
    }
}

/// B-LOG-11, B-LOG-12: what comes from another place is taken in beside a server, and adopted there and then.
#[test]
fn a_server_takes_a_session_in_while_it_works() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    desk.says("run --brain playbook:ask.toml --key wall paint").ok(7);
    desk.says("export wall wall.lh").ok(0);
    let mut server = desk.starts(&["serve", "--data", "other"]);
    server.until("control.sock");
    assert!(
        desk.says("import wall.lh --data other")
            .ok(0)
            .contains("only read here")
    );
    desk.says("adopt wall --data other").ok(0);
    desk.says("send wall blue --data other").ok(0);
    let followed = desk.says("tail wall --follow --data other").ok(0);
    assert!(followed.contains("success: painted"), "{followed}");
    assert!(!followed.contains("runtime.crashed"), "{followed}");
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| if path.is_dir() { walk(&path) } else { 1 })
        .sum()
}
