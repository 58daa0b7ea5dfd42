//! Runs that host their session themselves, because nobody serves.

use std::fs;
use std::io::pipe;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::desk::{Desk, GREETING, QUESTION};
use crate::watched;

fn git(desk: &Desk, words: &[&str]) -> String {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"])
        .args(words)
        .current_dir(desk.path());
    let output = watched::output(git.env("HOME", desk.path()));
    assert!(
        output.status.success(),
        "git {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_run_tells_its_story_and_ends_with_the_outcome() {
    let said = Desk::new()
        .with("hi.toml", GREETING)
        .says("run --brain playbook:hi.toml greet");
    assert_eq!(
        said.lines(),
        [
            "  seq  time          event                 detail",
            "    1  TIME          session.started       greet (playbook:HERE/hi.toml)",
            "    2  TIME          user.message          greet",
            "    5  TIME          turn.started          turn 1, reads 2",
            "    7  TIME          agent.message         hello",
            "    9  TIME          turn.completed        finished, 1 step, SPAN",
            "   10  TIME          session.completed     success: greeted",
            "! started s_ID",
            "! completed: greeted",
            "! read the log with: longhaul tail s_ID",
            "exit 0",
        ],
        "{said:?}"
    );
}

#[test]
fn a_run_that_fails_exits_with_1_and_says_why() {
    let desk = Desk::new().with("no.toml", "[[step]]\nfail = \"the bridge is closed\"\n");
    let said = desk.says("run --brain playbook:no.toml cross");
    assert!(said.stderr.contains("the bridge is closed"), "{said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");
}

#[test]
fn a_question_waits_for_its_answer_and_then_the_run_goes_on() {
    let desk = Desk::new().with("ask.toml", QUESTION);
    let asked = desk.says("run --brain playbook:ask.toml --key wall paint");
    assert_eq!(asked.code, Some(7), "{asked:?}");
    assert!(
        asked
            .stderr
            .contains("it asks: which colour?\nanswer with: longhaul send s_ID"),
        "{asked:?}"
    );
    let sent = desk.says("send wall blue");
    assert!(sent.stdout.starts_with("message written down as "), "{sent:?}");
    assert!(
        sent.stderr
            .contains("nobody serves this directory, so it waits: longhaul attach"),
        "{sent:?}"
    );
    let attached = desk.says("attach wall");
    assert!(
        attached.stdout.contains("session.completed     success: painted"),
        "{attached:?}"
    );
    assert_eq!(attached.code, Some(0), "{attached:?}");
}

#[test]
fn with_json_every_line_of_a_run_is_a_record() {
    let said = Desk::new()
        .with("hi.toml", GREETING)
        .says("run --json --level internal --brain playbook:hi.toml greet");
    let records: Vec<serde_json::Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    let seqs: Vec<u64> = records
        .iter()
        .filter_map(|record| record["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=10).collect::<Vec<u64>>(), "{said:?}");
    assert!(
        records
            .iter()
            .all(|record| record["session"] == "s_ID" && record["type"].is_string()),
        "{said:?}"
    );
}

/// B-START-4
#[test]
fn inside_a_repository_the_changes_come_out_as_a_patch_and_the_tree_is_left_alone() {
    let desk = Desk::new().with("sum.sh", "echo wrong\n").with(
        "fix.toml",
        "[[step]]\nreplace = \"sum.sh\"\nold = \"wrong\"\nnew = \"right\"\n\n[[step]]\npatch = true\n",
    );
    git(&desk, &["init", "-q", "."]);
    git(&desk, &["add", "sum.sh"]);
    git(&desk, &["commit", "-q", "-m", "first"]);
    let said = desk.says("run --brain playbook:fix.toml --key fix mend");
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr
            .contains("take its changes with: longhaul patch s_ID | git apply"),
        "{said:?}"
    );
    assert_eq!(
        fs::read_to_string(desk.path().join("sum.sh")).expect("readable"),
        "echo wrong\n"
    );
    let patch = desk.says("patch fix").ok(0);
    fs::write(desk.path().join("fix.patch"), patch).expect("written");
    git(&desk, &["apply", "fix.patch"]);
    assert_eq!(
        fs::read_to_string(desk.path().join("sum.sh")).expect("readable"),
        "echo right\n"
    );
}

#[test]
fn what_an_agent_says_cannot_drive_the_terminal() {
    let said = Desk::new()
        .with(
            "evil.toml",
            "[[step]]\nsay = \"\\u001b[2J\\u001b]0;owned\\u0007\"\n\n[[step]]\nfinish = \"\\u001b[31m\"\n",
        )
        .says("run --brain playbook:evil.toml look");
    assert!(said.stdout.contains("\\x1b[2J\\x1b]0;owned\\x07"), "{said:?}");
    assert!(
        !said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'),
        "{said:?}"
    );
}

#[test]
fn a_closed_pipe_ends_reading_quietly_and_does_not_end_a_run() {
    let desk = Desk::new().with("hi.toml", GREETING);
    for (words, code) in [
        (
            vec!["run", "--brain", "playbook:hi.toml", "--key", "hi", "greet"],
            0,
        ),
        (vec!["tail", "hi"], 0),
        (vec!["completions", "bash"], 0),
        (vec!["--help"], 0),
    ] {
        let (reader, writer) = pipe().expect("a pipe");
        drop(reader);
        let output = watched::gather(desk.command(&words).stdout(writer).stderr(Stdio::piped()));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
        assert!(
            !stderr.contains("error:") && !stderr.contains("panicked"),
            "{words:?}: {stderr}"
        );
    }
    assert!(desk.says("show hi").ok(0).contains("state        completed"));
}

/// A playbook whose command leaves a mark, waits to be let go, and leaves another mark.
const GATED: &str = "[[step]]\n\
    run = \"echo begun >> $MARKS/marks; until test -e $MARKS/go; do sleep 0.02; done; echo done >> $MARKS/marks\"\n\
    env = { MARKS = \"HERE\" }\n\n[[step]]\nfinish = \"over\"\n";

fn gated() -> Desk {
    let desk = Desk::new();
    let text = GATED.replace("HERE", &desk.path().display().to_string());
    desk.with("gated.toml", &text)
}

/// B-CRASH-2
#[test]
fn one_ctrl_c_detaches_and_the_command_goes_on_by_itself() {
    let desk = gated();
    let words = [
        "run",
        "--brain",
        "playbook:gated.toml",
        "--key",
        "gate",
        "--level",
        "internal",
        "wait",
    ];
    let mut run = desk.starts(&words);
    run.until("tool.started");
    run.signal(Signal::INT);
    let (code, _, stderr) = run.ends();
    assert_eq!(code, Some(130), "{stderr}");
    for told in [
        "detaching",
        "still running, and goes on by itself: echo begun",
        "longhaul attach s_",
        "longhaul cancel s_",
    ] {
        assert!(stderr.contains(told), "no {told:?} in {stderr}");
    }
    fs::write(desk.path().join("go"), "").expect("written");
    let attached = desk.says("attach gate");
    assert!(
        attached.stdout.contains("session.completed     success: over"),
        "{attached:?}"
    );
    assert_eq!(
        fs::read_to_string(desk.path().join("marks")).expect("readable"),
        "begun\ndone\n",
        "{attached:?}"
    );
}

/// B-STOP-1
#[test]
fn two_ctrl_c_cancel() {
    let desk = gated();
    let mut run = desk.starts(&[
        "run",
        "--brain",
        "playbook:gated.toml",
        "--level",
        "internal",
        "wait",
    ]);
    run.until("tool.started");
    run.signal(Signal::INT);
    run.notes("detaching");
    run.signal(Signal::INT);
    let (code, stdout, stderr) = run.ends();
    assert!(stdout.contains("session.canceled"), "{stdout}{stderr}");
    assert_eq!(code, Some(130), "{stderr}");
}
