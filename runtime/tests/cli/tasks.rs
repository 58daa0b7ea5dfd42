//! Artifacts, suggested work and tasks, as a person meets them.

use std::fs;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::desk::{Desk, GREETING, Said};

const SUGGESTS: &str = "[[step]]\nwrite = \"idea.json\"\n\
    content = '{\"title\": \"Rotate the log\", \"priority\": \"high\", \"risk\": \"low\", \"goal\": \"greet\"}'\n\n\
    [[step]]\nartifact = \"idea.json\"\nkind = \"task_suggestion\"\n\n\
    [[step]]\nwrite = \"report.md\"\ncontent = \"all is well\\n\"\n\n\
    [[step]]\nartifact = \"report.md\"\nkind = \"report\"\n\n[[step]]\nfinish = \"suggested\"\n";

fn place() -> Desk {
    let desk = Desk::new().with("look.toml", SUGGESTS).with("hi.toml", GREETING);
    let looked = desk.says("run --brain playbook:look.toml --key look around");
    assert_eq!(looked.code, Some(0), "{looked:?}");
    desk
}

fn objects(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines = said.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect()
}

fn problem(said: &Said, code: &str, exit: i32) -> Value {
    let problem: Value =
        serde_json::from_str(said.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert_eq!(
        (problem["code"].as_str(), said.code),
        (Some(code), Some(exit)),
        "{said:?}"
    );
    problem
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} of {object}"))
}

/// B-ART-3, B-TASK-1: from a suggestion to a task that is done.
#[test]
fn a_suggestion_is_taken_up_and_done() {
    let desk = place();
    let suggested = objects(&desk.says("suggested-work --json"));
    assert_eq!(suggested.len(), 1);
    let id = text(&suggested[0], "id").to_owned();
    assert_eq!(
        (text(&suggested[0], "title"), text(&suggested[0], "priority")),
        ("Rotate the log", "high")
    );
    let listed = desk.says("suggested-work");
    assert!(listed.stdout.contains("Rotate the log"), "{listed:?}");
    assert!(objects(&desk.says("tasks ls --json")).is_empty());

    let opened = objects(&desk.says(&format!("suggested-work task {id} --risk medium --json")));
    assert_eq!(
        (text(&opened[0], "state"), text(&opened[0], "risk")),
        ("open", "medium")
    );
    let again = desk.says(&format!("suggested-work task {id} --json"));
    let again = problem(&again, "suggestion_not_open", 4);
    assert!(text(&again, "detail").contains(&id), "{again}");
    assert!(text(&again["nextActions"][0], "command").contains(&id), "{again}");
    assert_eq!(desk.says("suggested-work").stderr, "nothing is suggested\n");

    let claimed = objects(&desk.says(&format!("tasks claim {} --by ann --json", &id[..12])));
    assert_eq!(text(&claimed[0], "claimedBy"), "ann");
    let held = desk.says(&format!("tasks claim {id} --by bob --json"));
    problem(&held, "task_conflict", 4);

    let run = desk.says(&format!("run --task {id} --brain playbook:hi.toml"));
    assert_eq!(run.code, Some(0), "{run:?}");
    let done = objects(&desk.says(&format!("tasks show {id} --json")));
    assert_eq!(
        (text(&done[0], "state"), &done[0]["runs"]),
        ("completed", &1.into())
    );
}

/// B-TASK-1: each process that worked for the run tells the task how it left it, and a run beside it is no question of keys.
#[test]
fn a_task_stands_where_its_run_was_left_though_nobody_serves() {
    const ASKS: &str = "[[step]]\nrun = \"git push\"\non_failure = \"no\"\n\n[[step]]\nfinish = \"pushed\"\n\n\
        [[step]]\nname = \"no\"\nfail = \"it was not to be\"\n";
    let desk = Desk::new().with("push.toml", ASKS).with("hi.toml", GREETING);
    let made = objects(&desk.says("tasks add push --key push --json"));
    assert_eq!(text(&made[0], "state"), "open");
    let state = || text(&objects(&desk.says("tasks show push --json"))[0], "state").to_owned();
    let asks = desk.says("run --task push --brain playbook:push.toml");
    assert_eq!(
        (asks.code, state().as_str()),
        (Some(7), "waiting_approval"),
        "{asks:?}"
    );

    let beside = problem(
        &desk.says("run --task push --brain playbook:hi.toml --json"),
        "task_conflict",
        4,
    );
    assert!(text(&beside, "detail").contains("a run works on it"), "{beside}");

    let asked = objects(&desk.says("approvals ls --json"));
    // Ids of sessions are blanked here; that of the request begins with the same digits.
    let asked = text(&asked[0], "id");
    let session = format!("s_{}", &asked[3..35]);
    let denied = desk.says(&format!("approvals deny {asked} --reason no"));
    assert_eq!(denied.code, Some(0), "{denied:?}");
    let ended = desk.says(&format!("attach {session}"));
    assert!(ended.stderr.contains("it was not to be"), "{ended:?}");
    assert_eq!(state(), "open", "another run may try: {ended:?}");
    let again = desk.says("run --task push --brain playbook:hi.toml");
    assert_eq!(
        (again.code, state().as_str()),
        (Some(0), "completed"),
        "{again:?}"
    );
}

#[test]
fn a_suggestion_is_put_away_for_good() {
    let desk = place();
    let id = text(&objects(&desk.says("suggested-work ls --json"))[0], "id").to_owned();
    let put = objects(&desk.says_words(&["suggested-work", "archive", &id, "--reason", "not now", "--json"]));
    assert_eq!(
        (text(&put[0], "state"), text(&put[0], "why")),
        ("archived", "not now")
    );
    problem(
        &desk.says(&format!("suggested-work task {id} --json")),
        "suggestion_not_open",
        4,
    );
}

/// B-ART-1: what was made is listed by kind, and has the bytes that its record names.
#[test]
fn artifacts_are_listed_shown_and_fetched() {
    let desk = place();
    let all = objects(&desk.says("artifacts ls --json"));
    let kinds: Vec<&str> = all.iter().map(|artifact| text(artifact, "kind")).collect();
    assert_eq!(kinds, ["task_suggestion", "report"]);
    let report = &objects(&desk.says("artifacts ls --session look --kind report --json"))[0];
    let id = text(report, "id");
    assert_eq!(
        &objects(&desk.says(&format!("artifacts show {id} --json")))[0],
        report
    );
    let got = desk.says(&format!("artifacts get {id}"));
    assert_eq!((got.stdout.as_str(), got.code), ("all is well\n", Some(0)));
    let hash = hex::encode(Sha256::digest(got.stdout.as_bytes()));
    assert_eq!(hash, text(report, "sha256"));
    assert_eq!(desk.says(&format!("artifacts get {id} -o copy")).code, Some(0));
    assert_eq!(
        fs::read_to_string(desk.path().join("copy")).expect("written"),
        "all is well\n"
    );
    problem(
        &desk.says(&format!("artifacts get {id} -o copy --json")),
        "invalid_request",
        2,
    );
    problem(
        &desk.says("artifacts ls --kind poem --json"),
        "invalid_request",
        2,
    );
    let none = "0".repeat(32);
    for id in ["a_1".to_owned(), format!("a_{none}_1"), id.replace("a_", "x_")] {
        problem(&desk.says(&format!("artifacts show {id} --json")), "not_found", 1);
    }
    let session = text(report, "session");
    let removed = desk.says("rm look --yes");
    assert_eq!(removed.code, Some(0), "{removed:?} of {session}");
    assert_eq!(desk.says(&format!("artifacts get {id}")).stdout, "all is well\n");
}

/// B-TASK-1: a task that a human wrote down.
#[test]
fn a_task_is_written_down_once_under_its_key() {
    let desk = Desk::new();
    let add = [
        "tasks",
        "add",
        "Mend the roof",
        "--key",
        "roof",
        "--priority",
        "high",
        "--json",
    ];
    let task = objects(&desk.says_words(&add));
    let again = objects(&desk.says_words(&add));
    assert_eq!(task[0]["id"], again[0]["id"]);
    let other = ["tasks", "add", "Mend the door", "--key", "roof", "--json"];
    problem(&desk.says_words(&other), "idempotency_conflict", 4);
    problem(
        &desk.says_words(&["tasks", "add", " ", "--json"]),
        "invalid_request",
        2,
    );
    let done = ["tasks", "complete", "roof", "--summary", "it is dry", "--json"];
    assert_eq!(text(&objects(&desk.says_words(&done))[0], "state"), "completed");
    problem(&desk.says("tasks claim roof --json"), "task_conflict", 4);
    problem(&desk.says("tasks show t_00 --json"), "not_found", 1);
    problem(&desk.says("tasks ls --state done --json"), "invalid_request", 2);
    let missing = desk.says("run --task t_00 --brain playbook:hi.toml --json");
    problem(&missing, "not_found", 1);
}

#[test]
fn what_is_asked_where_there_is_nothing_makes_nothing() {
    let desk = Desk::new();
    for words in ["tasks ls", "suggested-work", "artifacts ls"] {
        let said = desk.says(words);
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
    }
    for words in [
        "tasks show t_00",
        "artifacts get a_00_1",
        "suggested-work task t_00",
        "run --task t_00 --brain x:y",
    ] {
        problem(&desk.says(&format!("{words} --json")), "not_found", 1);
    }
    assert!(!desk.data().exists());
}
