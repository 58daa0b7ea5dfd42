//! Looking at what is there: it needs no server, takes no lock, and finds damage.

use std::fs;
use std::path::PathBuf;

use crate::desk::{Desk, GREETING};
use crate::watched;

/// A desk where one session, `hi`, has greeted.
fn greeted() -> Desk {
    let desk = Desk::new().with("hi.toml", GREETING);
    desk.says("run --brain playbook:hi.toml --key hi greet").ok(0);
    desk
}

#[test]
fn a_list_has_one_line_for_each_session() {
    let desk = greeted();
    assert_eq!(
        desk.says("ls").lines(),
        [
            "id                                  state              updated               goal",
            "s_ID  completed          DATE AND TIME   greet",
            "exit 0",
        ]
    );
    desk.says("archive hi").ok(0);
    assert_eq!(desk.says("ls --json").ok(0), "");
    assert!(desk.says("ls --archived").ok(0).contains("(archived) greet"));
}

#[test]
fn a_short_id_will_do() {
    let desk = greeted();
    let listed = watched::output(&mut desk.command(["ls", "--json"]));
    let session: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("one object");
    let id = session["id"].as_str().expect("an id");
    assert!(
        desk.says_words(&["show", &id[..8]])
            .ok(0)
            .contains("goal         greet")
    );
}

#[test]
fn tail_begins_where_it_is_told_and_keeps_to_its_level() {
    let desk = greeted();
    assert_eq!(
        desk.says("tail hi --from 3 --level user").lines(),
        [
            "  seq  time          event                 detail",
            "    7  TIME          agent.message         hello",
            "    9  TIME          turn.completed        finished, 1 step, SPAN",
            "   10  TIME          session.completed     success: greeted",
            "exit 0",
        ]
    );
    let beyond = desk.says("tail hi --from 99");
    assert!(
        beyond.stderr.contains("has no seq 99 yet; its last one is 10"),
        "{beyond:?}"
    );
    assert_eq!(beyond.code, Some(2), "{beyond:?}");
}

#[test]
fn a_replay_shows_the_state_then_and_what_changed() {
    let desk = greeted();
    let state: serde_json::Value =
        serde_json::from_str(&desk.says("replay hi --to 2 --json").ok(0)).expect("JSON");
    assert_eq!(
        (state["head"].as_u64(), state["phase"].as_str()),
        (Some(2), Some("Queued"))
    );
    assert!(
        desk.says("replay hi --diff 2 10")
            .ok(0)
            .contains("phase  \"Queued\" -> \"Completed\"\n")
    );
    assert_eq!(
        desk.says("replay --check --all").ok(0),
        "s_ID  ok      10 records, completed\n"
    );
}

#[test]
fn the_journal_is_verified_inspected_and_counted() {
    let desk = greeted();
    assert!(
        desk.says("journal verify")
            .ok(0)
            .starts_with("sound: 2 streams, ")
    );
    assert_eq!(desk.says("journal inspect hi").ok(0).lines().count(), 11);
    // Those of the account that it is charged to are counted too.
    let stats: serde_json::Value =
        serde_json::from_str(&desk.says("journal stats --json").ok(0)).expect("one object");
    assert!(stats["records"].as_u64() > Some(10), "{stats}");
    let none = Desk::new().says("journal verify");
    assert_eq!(none.code, Some(1), "{none:?}");
}

/// B-LOG-6: a hash noted elsewhere proves the history up to it.
#[test]
fn a_head_that_was_noted_elsewhere_holds_and_another_does_not() {
    let desk = greeted();
    let said = watched::output(&mut desk.command(["journal", "verify", "--json"]));
    let verified: serde_json::Value = serde_json::from_slice(&said.stdout).expect("one object");
    let (id, head) = verified["heads"]
        .as_object()
        .and_then(|heads| heads.iter().find(|(id, _)| id.starts_with("s_")))
        .expect("one head");
    let hash = head["hash"].as_str().expect("a hash");
    desk.says_words(&["journal", "verify", "--head", &format!("{id}={hash}")])
        .ok(0);
    let other = hash.replace(|c: char| c != '0', "0");
    let said = desk.says_words(&["journal", "verify", "--head", &format!("hi={other}")]);
    assert!(said.stdout.contains("its history was changed"), "{said:?}");
    assert_eq!(said.code, Some(8), "{said:?}");
}

/// B-LOG-6, B-LOG-8, B-LOG-10
#[test]
fn a_flipped_byte_is_found_named_and_exits_with_8() {
    let desk = greeted();
    let segment = segment(&desk);
    let mut bytes = fs::read(&segment).expect("readable");
    let place = find(&bytes, b"\"hello\"");
    bytes[place + 1] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let verified = desk.says("journal verify");
    assert!(
        verified.stdout.starts_with("s_ID  damaged at seq "),
        "{verified:?}"
    );
    assert_eq!(verified.code, Some(8), "{verified:?}");
    let checked = desk.says("replay --check --all");
    assert!(checked.stdout.starts_with("s_ID  broken  seq "), "{checked:?}");
    assert_eq!(checked.code, Some(8), "{checked:?}");
    assert!(desk.says("ls").ok(0).contains("(quarantined) greet"));
    let tailed = desk.says("tail hi --follow");
    assert!(tailed.stdout.contains("turn.started"), "{tailed:?}");
    assert_eq!(tailed.code, Some(8), "{tailed:?}");
    let inspected = desk.says("journal inspect hi");
    assert!(inspected.stderr.contains(" is damaged: "), "{inspected:?}");
    assert_eq!(inspected.code, Some(8), "{inspected:?}");
    assert_eq!(desk.says("doctor").code, Some(8));
}

fn segment(desk: &Desk) -> PathBuf {
    let folder = fs::read_dir(desk.data().join("journal")).expect("a journal");
    let mut files = folder.map(|entry| entry.expect("readable").path());
    files
        .find(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .expect("a segment")
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    bytes
        .windows(what.len())
        .position(|window| window == what)
        .expect("it is there")
}
