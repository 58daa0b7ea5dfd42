//! A byte of the log goes bad: the session it hit stops and says so, the others go on, nothing runs again, and a repair takes
//! it up behind the gap.

use std::fs;
use std::path::PathBuf;

use longhaul_journal::{Draft, Journal, Level, LocalJournal, NewRecord, Options, Standing};
use rustix::process::Signal;

use crate::desk::{Desk, GREETING};
use crate::watched;

/// Leaves a mark, so that it can be seen how often it ran, and then asks.
const MARKS: &str =
    "[[step]]\nrun = \"echo ran >> marks\"\n\n[[step]]\nask = \"and now?\"\n\n[[step]]\nfinish = \"done\"\n";

/// A desk with a session `hurt` that left its mark and asks, and a session `hi` that is done.
fn asked() -> Desk {
    let desk = Desk::new().with("marks.toml", MARKS).with("hi.toml", GREETING);
    desk.says("run --brain playbook:hi.toml --key hi greet").ok(0);
    desk.says("run --in-place --brain playbook:marks.toml --key hurt mark")
        .ok(7);
    assert_eq!(marks(&desk), "ran\n");
    desk
}

fn marks(desk: &Desk) -> String {
    fs::read_to_string(desk.path().join("marks")).expect("it ran once")
}

/// Flips a bit of the last place in the log that holds this text.
pub(crate) fn flip(desk: &Desk, text: &str) {
    let folder = fs::read_dir(desk.data().join("journal")).expect("a journal");
    let mut segments: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    segments.sort();
    for path in segments.iter().rev() {
        let mut bytes = fs::read(path).expect("readable");
        let at = bytes
            .windows(text.len())
            .rposition(|window| window == text.as_bytes());
        if let Some(at) = at {
            bytes[at] ^= 1;
            return fs::write(path, bytes).expect("written");
        }
    }
    panic!("no segment holds {text:?}");
}

/// B-LOG-6, B-LOG-10
#[test]
fn a_session_that_lost_a_record_is_named_everywhere_and_takes_no_wish() {
    let desk = asked();
    flip(&desk, "tool.started");

    let listed = desk.says("ls").ok(0);
    assert!(
        listed.contains("quarantined") && listed.contains("completed"),
        "{listed}"
    );
    let doctor = desk.says("doctor");
    assert!(
        doctor
            .stdout
            .contains("damaged, see `longhaul journal verify`: s_ID"),
        "{doctor:?}"
    );
    assert_eq!(doctor.code, Some(8), "{doctor:?}");
    let verified = desk.says("journal verify");
    assert!(verified.stdout.contains("s_ID  damaged at seq "), "{verified:?}");
    assert_eq!(verified.code, Some(8), "{verified:?}");
    for wish in ["send hurt go", "resume hurt", "cancel hurt --yes"] {
        let refused = desk.says(wish);
        assert_eq!(refused.code, Some(8), "{refused:?}");
        assert!(refused.stderr.contains("is quarantined after seq"), "{refused:?}");
        assert!(refused.stderr.contains("longhaul journal repair"), "{refused:?}");
    }
    let tailed = desk.says("tail hurt --level internal");
    assert!(
        tailed.stdout.contains("session.started"),
        "readable up to the gap: {tailed:?}"
    );
    desk.says("run --brain playbook:hi.toml --key ho greet").ok(0);
    assert_eq!(marks(&desk), "ran\n", "nothing runs again");
}

/// B-LOG-10: the frame that held `tool.started` is lost; the command is not run a second time, neither by a server nor after
/// the repair.
#[test]
fn a_repaired_session_goes_on_behind_the_gap_and_runs_nothing_again() {
    let desk = asked();
    flip(&desk, "tool.started");
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    assert!(desk.says("ls").ok(0).contains("quarantined"));

    let repaired = desk.says("journal repair hurt");
    assert!(
        repaired.stdout.starts_with("repair written down as "),
        "{repaired:?}"
    );
    assert!(
        repaired.stdout.trim_end().ends_with("s_ID paused"),
        "{repaired:?}"
    );
    let again = desk.says("journal repair hurt");
    assert!(again.stdout.starts_with("repair already so"), "{again:?}");
    let shown = desk.says("show hurt").ok(0);
    assert!(shown.contains("paused (damaged)"), "{shown}");
    let tailed = desk.says("tail hurt").ok(0);
    assert!(
        tailed.contains("journal.gap") && tailed.contains("are lost"),
        "{tailed}"
    );

    desk.says("resume hurt").ok(0);
    let attached = desk.says("attach hurt");
    assert_eq!(attached.code, Some(7), "{attached:?}");
    assert!(attached.stdout.contains("is in doubt: records "), "{attached:?}");
    desk.says("send hurt continue").ok(0);
    assert_eq!(
        desk.says("attach hurt").code,
        Some(7),
        "it asks what it would have asked"
    );
    desk.says("send hurt fine").ok(0);
    assert_eq!(desk.says("attach hurt").code, Some(0));
    server.signal(Signal::TERM);
    server.ends();
    assert_eq!(marks(&desk), "ran\n", "nothing runs again");
    let verified = desk.says("journal verify").ok(0);
    assert!(verified.contains(": repaired\nsound: "), "{verified}");
    let checked = desk.says("replay --check --all").ok(0);
    assert!(checked.lines().all(|line| line.contains("  ok  ")), "{checked}");
}

/// B-LOG-10: nobody knows what a damaged account has, so nothing that costs begins before it was taken up again. What was
/// granted in the gap is gone, and is granted again under its name.
#[test]
fn a_damaged_account_refuses_what_costs_until_it_is_repaired() {
    let desk = asked();
    desk.says("credits top-up 2 --request extra").ok(0);
    desk.says("run --brain playbook:hi.toml --key he greet").ok(0);
    flip(&desk, "credits.granted");

    let doctor = desk.says("doctor");
    assert!(
        doctor
            .stdout
            .contains("damaged, see `longhaul journal verify`: account\n"),
        "{doctor:?}"
    );
    let verified = desk.says("journal verify");
    assert!(
        verified.stdout.contains("account  damaged at seq "),
        "{verified:?}"
    );
    let refused = desk.says("run --brain playbook:hi.toml --key ho greet");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(
        refused.stderr.contains("longhaul journal repair account"),
        "{refused:?}"
    );
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    let refused = desk.says("credits top-up 1");
    assert_eq!(refused.code, Some(8), "{refused:?}");

    let repaired = desk.says("journal repair account");
    assert!(
        repaired.stdout.starts_with("repair written down as "),
        "{repaired:?}"
    );
    assert!(
        repaired.stdout.trim_end().ends_with("of account usable"),
        "{repaired:?}"
    );
    assert!(repaired.stderr.contains("credits top-up"), "{repaired:?}");
    let again = desk.says("journal repair account");
    assert!(again.stdout.starts_with("repair already so"), "{again:?}");
    desk.says("run --brain playbook:hi.toml --key ho greet").ok(0);
    let granted = desk.says("credits top-up 2 --request extra").ok(0);
    assert!(granted.contains("granted as request extra"), "{granted}");
    server.signal(Signal::TERM);
    server.ends();

    let ledger = desk.says("credits ledger").ok(0);
    assert!(
        ledger.contains("journal.gap") && ledger.contains("are lost"),
        "{ledger}"
    );
    let verified = desk.says("journal verify").ok(0);
    assert!(verified.contains("account  goes on with seq "), "{verified}");
    assert_eq!(marks(&desk), "ran\n", "nothing runs again");
}

/// B-LOG-10, B-TASK-1: a damaged task takes no wish until it is repaired, and stands then where it stood before the gap.
#[test]
fn a_damaged_task_is_taken_up_where_it_stood() {
    let desk = asked();
    let made = desk.says("tasks add Mend --key mend --json");
    let made: serde_json::Value = serde_json::from_str(&made.ok(0)).expect("JSON");
    let id = made["id"].as_str().expect("an id");
    desk.says("tasks claim mend --by ann").ok(0);
    desk.says("tasks release mend").ok(0);
    flip(&desk, "task.released");
    let verified = desk.says("journal verify");
    assert!(
        verified.stdout.starts_with(&format!("{id}  damaged at seq 3: ")),
        "{verified:?}"
    );
    let refused = desk.says("tasks complete mend");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    let way_on = format!("longhaul journal repair {id}\n");
    assert!(refused.stderr.ends_with(&way_on), "{refused:?}");
    assert!(verified.stderr.ends_with(&way_on), "{verified:?}");
    let listed = desk.says("tasks ls").ok(0);
    assert!(listed.contains(id) && listed.contains("quarantined"), "{listed}");

    let repaired = desk.says(&format!("journal repair {id}"));
    assert!(
        repaired
            .stdout
            .starts_with(&format!("repair written down as 4 of {id} claimed")),
        "{repaired:?}"
    );
    let again = desk.says(&format!("journal repair {id}"));
    assert!(again.stdout.starts_with("repair already so"), "{again:?}");
    let shown = desk.says("tasks show mend").ok(0);
    assert!(shown.contains("records 3 to 3 of its log are lost"), "{shown}");
    desk.says("tasks complete mend").ok(0);
    let verified = desk.says("journal verify").ok(0);
    assert!(
        verified.contains(&format!(
            "{id}  goes on with seq 4 after seq 2: repaired
sound: "
        )),
        "{verified}"
    );
}

/// B-LOG-10, B-TOKEN-1: whether one was revoked in the gap is not known, so none counts.
#[test]
fn tokens_that_lost_a_record_are_void_after_the_repair_and_others_can_be_minted() {
    let desk = asked();
    desk.says("token create hurt --scope read").ok(0);
    desk.says("token create hurt --scope steer").ok(0);
    flip(&desk, "token.minted");
    let verified = desk.says("journal verify");
    assert!(
        verified.stdout.starts_with("s_ID  tokens, damaged at seq 2: "),
        "{verified:?}"
    );
    let refused = desk.says("token create hurt --scope read");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(
        refused.stderr.ends_with("longhaul journal repair s_ID\n"),
        "{refused:?}"
    );

    let found = watched::output(&mut desk.command(["journal", "verify", "--json"])).stdout;
    let found: serde_json::Value = serde_json::from_slice(&found).expect("JSON");
    assert_eq!(found["damaged"][0]["kind"], "tokens");
    let id = found["damaged"][0]["id"].as_str().expect("an id");
    let repaired = desk.says(&format!("journal repair {id}"));
    assert!(
        repaired
            .stdout
            .starts_with("repair written down as 3 of s_ID usable"),
        "{repaired:?}"
    );
    assert_eq!(desk.says("token ls hurt").ok(0).trim(), "");
    desk.says("token create hurt --scope read").ok(0);
}

/// B-LOG-10: there is a way on also where nothing stands to go on with.
#[test]
fn a_task_and_tokens_that_lost_their_first_record_are_given_up() {
    let desk = asked();
    let made = desk.says("tasks add Mend --key mend --json");
    let made: serde_json::Value = serde_json::from_str(&made.ok(0)).expect("JSON");
    let task = made["id"].as_str().expect("an id");
    desk.says("token create hurt --scope read").ok(0);
    flip(&desk, "task.created");
    flip(&desk, "token.minted");
    let found = watched::output(&mut desk.command(["journal", "verify", "--json"])).stdout;
    let found: serde_json::Value = serde_json::from_slice(&found).expect("JSON");
    let damaged = found["damaged"].as_array().expect("a list");
    let tokens = damaged.iter().find(|damage| damage["kind"] == "tokens");
    let tokens = tokens.expect("they are named")["id"].as_str().expect("an id");
    let listed = desk.says("tasks ls").ok(0);
    assert!(
        listed.contains(task) && listed.contains("quarantined"),
        "{listed}"
    );
    for name in [task, tokens] {
        let unsure = desk.says(&format!("rm {name} --log"));
        assert!(unsure.stderr.ends_with(" --log --yes\n"), "{unsure:?}");
        let refused = desk.says(&format!("journal repair {name}"));
        assert_eq!(refused.code, Some(8), "{refused:?}");
        assert!(refused.stderr.contains("longhaul rm "), "{refused:?}");
        desk.says(&format!("rm {name} --log --yes")).ok(0);
    }
    let verified = desk.says("journal verify").ok(0);
    assert!(verified.contains("sound: "), "{verified}");
    let refused = desk.says("tasks add Mend --key mend");
    assert!(
        refused.stderr.contains("its key is not given again"),
        "{refused:?}"
    );
    let refused = desk.says("token create hurt --scope read");
    assert!(refused.stderr.contains("longhaul fork s_ID"), "{refused:?}");
    assert_eq!(desk.says("token ls hurt").ok(0).trim(), "");
    let sound = desk.says(&format!("rm {task} --log --yes"));
    assert_eq!(sound.code, Some(1), "{sound:?}");
}

/// B-LOG-10, B-LOG-8: a record that this version does not know stops the session at the record before it. A newer version
/// reads it; whoever cannot wait has the session go on behind it, where nothing is done a second time.
#[test]
fn a_session_with_a_record_of_a_newer_version_rests_and_can_be_repaired() {
    let desk = asked();
    let (journal, _) = LocalJournal::open(&desk.data(), Options::default()).expect("nobody has it");
    let heads = journal.list("session", None, 10).expect("readable");
    let hurt = heads
        .iter()
        .find(|head| head.standing != Standing::Done)
        .expect("it waits");
    let newer = NewRecord {
        type_name: "session.teleported".into(),
        type_version: 9,
        cause: None,
        level: Level::User,
        payload: b"{}".to_vec(),
    };
    let draft = Draft {
        stream: hurt.stream,
        kind: "session".into(),
        epoch: journal.claim(hurt.stream),
        expected: hurt.seq,
        time_ms: hurt.time_ms,
        standing: Standing::Owed,
        records: vec![newer],
    };
    journal.submit(draft).wait().expect("written");
    journal.close();

    let listed = desk.says("ls").ok(0);
    assert!(listed.contains("s_ID  quarantined"), "{listed}");
    assert_eq!(desk.says("replay --check --all").code, Some(8));
    let mut server = desk.starts(&["serve"]);
    server.until("control.sock");
    let refused = desk.says("send hurt go");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(refused.stderr.contains("session.teleported"), "{refused:?}");
    desk.says("run --brain playbook:hi.toml --key ho greet").ok(0);

    assert!(
        desk.says("journal repair hurt")
            .ok(0)
            .trim_end()
            .ends_with("s_ID paused")
    );
    desk.says("resume hurt").ok(0);
    assert_eq!(desk.says("attach hurt").code, Some(7));
    desk.says("send hurt continue").ok(0);
    desk.says("attach hurt").ok(0);
    server.signal(Signal::TERM);
    server.ends();
    assert_eq!(marks(&desk), "ran\n", "nothing runs again");
    let inspected = desk.says("journal inspect hurt").stdout;
    assert!(!inspected.contains("quarantined"), "{inspected}");
    assert!(desk.says("journal verify").ok(0).contains("sound: "));
    desk.says("replay --check --all").ok(0);
}

/// B-LOG-6: a body that went bad is named with the session that needs it.
#[test]
fn a_damaged_body_is_named_with_its_session() {
    let desk = asked();
    let sound = desk.says("journal verify").ok(0);
    assert!(sound.contains(" checked"), "{sound}");
    let folder = fs::read_dir(desk.data().join("blobs")).expect("blobs");
    let mut folders: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    let blob = fs::read_dir(&folders[0])
        .expect("a folder")
        .next()
        .expect("a blob");
    fs::write(blob.expect("an entry").path(), "changed").expect("written");
    let verified = desk.says("journal verify");
    assert_eq!(verified.code, Some(8), "{verified:?}");
    assert!(
        verified
            .stdout
            .contains("damaged: its bytes have another hash; needed by s_ID"),
        "{verified:?}"
    );
    desk.says("journal verify --frames-only").ok(0);
}

/// B-LOG-10
#[test]
fn a_session_that_lost_its_beginning_is_listed_and_cannot_be_repaired() {
    let desk = asked();
    flip(&desk, "session.started");
    let listed = desk.says("ls").ok(0);
    assert!(listed.contains("s_ID  quarantined"), "{listed}");
    let refused = desk.says("journal repair hurt");
    assert_eq!(refused.code, Some(8), "{refused:?}");
    assert!(
        refused.stderr.contains("the beginning of s_ID is lost"),
        "{refused:?}"
    );
    assert!(desk.says("ls").ok(0).contains("s_ID  quarantined"));
}

/// B-LOG-6: a history that was swapped as a whole is sound in itself; only a head noted elsewhere tells.
#[test]
fn a_head_noted_elsewhere_proves_the_history_or_names_what_is_wrong() {
    let desk = asked();
    let output = watched::output(&mut desk.command(["journal", "inspect", "--json"]));
    let heads: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let pair = |head: &serde_json::Value| {
        format!(
            "{}={}",
            head["id"].as_str().expect("an id"),
            head["hash"].as_str().expect("a hash")
        )
    };
    let said = desk.says_words(&["journal", "verify", "--head", &pair(&heads[0])]);
    assert!(
        said.stdout.contains("its history up to there is what it was"),
        "{said:?}"
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    let other = format!("{}={}", heads[0]["id"].as_str().expect("an id"), "ab".repeat(16));
    let said = desk.says_words(&["journal", "verify", "--head", &other]);
    assert!(
        said.stdout.contains("its history was changed, or cut before it"),
        "{said:?}"
    );
    assert_eq!(said.code, Some(8), "{said:?}");
    flip(&desk, "agent.message");
    let said = desk.says_words(&["journal", "verify", "--head", &pair(&heads[0])]);
    assert!(said.stdout.contains("damaged at seq "), "{said:?}");
    assert_eq!(said.code, Some(8), "{said:?}");
}
