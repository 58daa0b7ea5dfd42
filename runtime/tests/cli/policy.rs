//! The gate is asked about acts and goals; nothing is run, and mistakes say what would be right.

use std::fs;

use serde_json::{Value, json};

use crate::desk::Desk;

fn object(desk: &Desk, words: &str) -> Value {
    serde_json::from_str(&desk.says(words).ok(0)).expect("an object")
}

/// B-GATE-1
#[test]
fn an_act_is_judged_in_each_of_the_three_ways_to_name_it() {
    let desk = Desk::new();
    let verdict = |words: &str| {
        let answer = object(&desk, words);
        (answer["verdict"].clone(), answer["category"].clone())
    };
    assert_eq!(
        verdict("policy check --json -- git push origin main"),
        (json!("ask"), json!("publish"))
    );
    assert_eq!(
        verdict("policy check --json --command frobnicate"),
        (json!("ask"), json!("unknown"))
    );
    assert_eq!(
        verdict("policy check --json --contained --command frobnicate"),
        (json!("allow"), json!("unknown"))
    );
    assert_eq!(
        verdict("policy check --json --mine -- frobnicate"),
        (json!("allow"), json!("unknown"))
    );
    assert_eq!(
        verdict("policy check --json --tool WIDGET_CREATE --args {}"),
        (json!("ask"), json!("unknown"))
    );
    assert_eq!(
        verdict("policy check --json --tool GET_WIDGET"),
        (json!("allow"), Value::Null)
    );
    let text = desk.says("policy check -- npm publish").ok(0);
    assert!(
        text.starts_with("ask (publish), rule publish-package\n"),
        "{text}"
    );
}

/// B-GOAL-1
#[test]
fn a_goal_tells_what_it_forbids() {
    let desk = Desk::new();
    assert_eq!(
        object(&desk, "policy goal --json never-deploy"),
        json!({"forbidden": ["deploy"], "requested": []})
    );
    assert_eq!(
        desk.says("policy goal deploy").ok(0),
        "forbidden: nothing\nrequested: deploy\n"
    );
}

/// B-GATE-1: the file of a user comes first, is tried with its own cases, and an error in it names its line.
#[test]
fn a_policy_of_ones_own_is_used_tried_and_mended() {
    let desk = Desk::new();
    fs::create_dir_all(desk.data()).expect("a folder");
    let file = desk.data().join("policy.toml");
    let mine = "version = 1\n[[rule]]\nname = \"mine\"\nverdict = \"deny\"\ncommands = [\"cargo test\"]\n\
                [[test]]\ncommand = \"cargo test\"\nexpect = \"deny\"\n[[test]]\ncommand = \"git push\"\nexpect = \"allow\"\n";
    fs::write(&file, mine).expect("written");
    let answer = object(&desk, "policy check --json -- cargo test");
    assert_eq!(
        (&answer["verdict"], &answer["rule"]),
        (&json!("deny"), &json!("mine"))
    );
    let tried = desk.says(&format!("policy test {}", file.display()));
    assert_eq!(tried.code, Some(1), "{tried:?}");
    assert!(
        tried
            .stdout
            .contains("wrong: git push: ask by rule git-push, not allow"),
        "{tried:?}"
    );
    assert!(
        tried.stdout.ends_with("1 of 2 cases are as expected\n"),
        "{tried:?}"
    );
    fs::write(&file, mine.replace("\"deny\"\ncommands", "\"no\"\ncommands")).expect("written");
    let refused = desk.says("policy check -- ls");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("policy.toml:4: a verdict is `allow`, `ask` or `deny`"),
        "{refused:?}"
    );
    let shown = desk.says("policy show").ok(0);
    fs::write(&file, shown).expect("written");
    assert_eq!(object(&desk, "policy check --json -- git push")["verdict"], "ask");
}

#[test]
fn what_cannot_be_asked_is_wrong_usage() {
    let desk = Desk::new();
    for words in [
        "policy check",
        "policy check --tool x --args [1",
        "policy check --tool x --args [1]",
        "policy test nowhere.toml",
    ] {
        let refused = desk.says(words);
        assert_eq!(refused.code, Some(2), "{refused:?}");
    }
}
