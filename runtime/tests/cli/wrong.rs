//! What is wrong with a command line is said, with the next step and the documented exit code, and nothing is made.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::desk::{Desk, GREETING};

#[track_caller]
fn check(words: &[&str], lines: &[&str]) {
    let desk = Desk::new();
    let said = desk.says_words(words);
    assert_eq!(said.lines(), lines, "{said:?}");
    assert!(!desk.data().exists(), "something was made");
}

#[test]
fn an_unknown_verb_is_wrong_usage() {
    check(
        &["frobnicate"],
        &[
            "! error: unrecognized subcommand 'frobnicate'",
            "!",
            "! Usage: longhaul [OPTIONS] <COMMAND>",
            "!",
            "! For more information, try '--help'.",
            "exit 2",
        ],
    );
}

#[test]
fn wrong_usage_is_an_object_too_when_objects_are_wanted() {
    let said = Desk::new().says("frobnicate --json");
    let problem: serde_json::Value = serde_json::from_str(&said.stdout).expect("one object");
    assert_eq!(
        (problem["code"].as_str(), said.code),
        (Some("invalid_request"), Some(2)),
        "{said:?}"
    );
}

#[test]
fn a_run_needs_a_goal() {
    check(
        &["run"],
        &[
            "! error: say what the session is for",
            "! hint: give a goal: longhaul run --brain playbook:FILE \"make the failing test pass\"",
            "exit 2",
        ],
    );
}

#[test]
fn a_run_without_a_brain_is_shown_three_ways_on() {
    check(
        &["run", "make the test pass"],
        &[
            "! error: a session needs a brain to decide its steps; none was named",
            "! hint: follow a file of steps, no key needed: longhaul run --brain playbook:FILE \"GOAL\"",
            "! hint: let a program of yours decide: longhaul run --brain process:PROGRAM \"GOAL\"",
            "! hint: see a whole run first: longhaul demo",
            "exit 2",
        ],
    );
}

#[test]
fn an_unknown_brain_is_named() {
    let said = Desk::new().says("run --brain oracle:delphi goal");
    assert!(
        said.stderr
            .starts_with("error: there is no brain \"oracle:delphi\""),
        "{said:?}"
    );
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_wrong_playbook_is_told_with_file_and_line_and_what_to_write() {
    let desk = Desk::new().with(
        "bad.toml",
        "[[step]]\nsay = \"hi\"\n\n[[step]]\nrnu = \"make test\"\n",
    );
    let said = desk.says("run --brain playbook:bad.toml goal");
    assert!(said.stderr.starts_with("error: bad.toml:5: "), "{said:?}");
    assert!(said.stderr.contains("did you mean `run`?"), "{said:?}");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(!desk.data().exists(), "something was made");
}

#[test]
fn a_brain_that_is_not_there_is_said_to_be_missing() {
    let desk = Desk::new();
    for brain in ["playbook:none.toml", "process:./none", "process:no-such-program"] {
        let said = desk.says_words(&["run", "--brain", brain, "goal"]);
        assert!(said.stderr.contains("hint: "), "{said:?}");
        assert_eq!(said.code, Some(2), "{said:?}");
    }
    assert!(!desk.data().exists(), "something was made");
}

#[test]
fn a_session_that_does_not_exist_is_not_found() {
    let desk = Desk::new();
    for verb in [
        "show s_7f3a",
        "tail nightly",
        "patch s_",
        "replay s_zz",
        "attach s_7f3a",
        "pause s_7f3a",
        "resume nightly",
        "cancel --yes nightly",
        "archive nightly",
        "checkpoint nightly",
        "fork s_7f3a",
        "adopt s_7f3a",
        "rm --yes nightly",
        "journal repair s_7f3a",
        "send --mode queue nightly",
    ] {
        // A message has its words behind the id.
        let said = match verb.strip_prefix("send ") {
            Some(_) => desk.says(&format!("{verb} hello")),
            None => desk.says(verb),
        };
        let id = verb.split(' ').next_back().expect("two words");
        let error = format!("! error: there is no session {id}");
        assert_eq!(
            said.lines(),
            [&error, "! hint: list the sessions: longhaul ls", "exit 1"],
            "{said:?}"
        );
    }
    assert!(!desk.data().exists(), "asking made something");
}

#[test]
fn a_decision_on_a_request_that_does_not_exist_makes_no_directory() {
    let desk = Desk::new();
    let said = desk.says("approvals deny ap_7f3a --reason no");
    assert_eq!(
        said.lines(),
        [
            "! error: there is no request for approval ap_7f3a",
            "! hint: list what waits for a decision: longhaul approvals ls",
            "exit 1",
        ],
        "{said:?}"
    );
    assert!(!desk.data().exists(), "asking made something");
}

#[test]
fn a_problem_is_an_object_when_objects_are_wanted() {
    let said = Desk::new().says("show s_7f3a --json");
    let problem: serde_json::Value = serde_json::from_str(&said.stdout).expect("one object");
    assert_eq!(
        (problem["ok"].as_bool(), problem["code"].as_str()),
        (Some(false), Some("not_found")),
        "{said:?}"
    );
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{said:?}");
}

#[test]
fn without_a_home_the_data_directory_must_be_named() {
    let desk = Desk::new();
    let output = desk
        .command(["ls"])
        .env_remove("HOME")
        .env_remove("LONGHAUL_DATA")
        .output()
        .expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("longhaul --data DIR"), "{stderr}");
    assert_eq!(output.status.code(), Some(2));
}

/// This was once said to be an error in the policy, or a server that does not answer.
#[test]
fn a_file_is_no_data_directory() {
    let desk = Desk::new()
        .with("file", "")
        .with("hi.toml", crate::desk::GREETING);
    for verb in [
        "run --brain playbook:hi.toml goal",
        "serve",
        "ls",
        "pause nightly",
    ] {
        for (data, wrong) in [
            ("file", "it is a file, not a directory"),
            ("file/data", "part of its path is a file"),
        ] {
            let said = desk.says(&format!("--data {data} {verb}"));
            let error = format!("! error: HERE/{data} cannot be the data directory: {wrong}");
            assert_eq!(
                said.lines(),
                [
                    &error,
                    "! hint: name a directory: longhaul --data DIR ...",
                    "exit 2"
                ],
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let desk = Desk::new().with("hi.toml", crate::desk::GREETING);
    let said = desk.says("run --brain playbook:hi.toml --data /proc/longhaul goal");
    assert_eq!(said.code, Some(5), "{said:?}");
    assert!(said.stderr.starts_with("error: "), "{said:?}");
}

/// B-LOG-8: whoever opens for writing, whoever reads the files, and whoever only asks how things are.
#[test]
fn what_a_newer_version_wrote_is_refused_by_every_verb_and_left_alone() {
    let desk = Desk::new().with("hi.toml", GREETING);
    desk.says("run --brain playbook:hi.toml --key nightly goal").ok(0);
    fs::write(desk.data().join("format"), "longhaul 9\n").expect("written");
    for verb in [
        "serve",
        "run --brain playbook:hi.toml goal",
        "send nightly on",
        "ls",
        "show nightly",
        "tail nightly",
        "approvals ls",
        "replay nightly",
        "export nightly nightly.lh",
        "backup copy",
        "du",
        "journal inspect",
        "journal verify",
        "journal stats",
        "journal repair --acknowledge-lost",
    ] {
        let said = desk.says(verb);
        assert_eq!(
            said.lines(),
            [
                "! error: HERE/data has format 9, this version reads up to 2; use the newer version",
                "! hint: see which version this is; a newer one reads it: longhaul --version",
                "! hint: use another directory: longhaul --data DIR ls",
                "exit 1"
            ],
            "{said:?}"
        );
    }
    let doctor = desk.says("doctor");
    for line in [
        "BAD   format      HERE/data has format 9, this version reads up to 2; use the newer version",
        "note  journal     not looked at, because of its format",
    ] {
        assert!(doctor.stdout.contains(line), "{doctor:?}");
    }
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    let said = desk.says("ls --json");
    let problem: serde_json::Value = serde_json::from_str(&said.stdout).expect("one object");
    assert_eq!(problem["code"], "newer_format", "{said:?}");
    assert_eq!(
        problem["nextActions"].as_array().map(Vec::len),
        Some(2),
        "{said:?}"
    );
    fs::write(desk.data().join("format"), "longhaul 1\n").expect("written");
    desk.says("journal verify").ok(0);
}

#[test]
fn a_format_that_is_not_longhauls_is_told_and_not_taken_for_an_empty_directory() {
    let desk = Desk::new().with("hi.toml", GREETING);
    fs::create_dir(desk.data()).expect("made");
    fs::write(desk.data().join("format"), "<svg>").expect("written");
    for verb in [
        "serve",
        "run --brain playbook:hi.toml goal",
        "ls",
        "tail nightly",
        "journal verify",
    ] {
        let said = desk.says(verb);
        assert_eq!(
            said.lines(),
            [
                "! error: HERE/data holds a `format` file that is not longhaul's; choose another directory, or restore \
                 that file",
                "! hint: use another directory: longhaul --data DIR ls",
                "exit 5"
            ],
            "{said:?}"
        );
    }
    assert_eq!(desk.says("doctor").code, Some(1));
}

/// A folder in the place of the socket stands for whatever keeps one from being made there; permissions keep no root.
#[test]
fn where_no_socket_can_be_made_nobody_serves_and_a_run_goes_on_alone() {
    let desk = Desk::new().with("hi.toml", GREETING);
    fs::create_dir_all(desk.data().join("control.sock/full")).expect("made");
    let served = desk.says("serve");
    assert_eq!(served.code, Some(5), "{served:?}");
    assert!(
        served
            .stderr
            .contains("error: the control socket of HERE/data cannot be made"),
        "{served:?}"
    );
    assert!(served.stderr.contains("hint: "), "{served:?}");
    let ran = desk.says("run --brain playbook:hi.toml goal");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.stderr
            .contains("note: no other command can reach this session"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("success: greeted"), "{ran:?}");
}

/// Root may write there all the same.
#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let desk = Desk::new().with("hi.toml", GREETING);
    desk.says("run --brain playbook:hi.toml --key nightly goal").ok(0);
    let allow = |mode| fs::set_permissions(desk.data(), fs::Permissions::from_mode(mode)).expect("set");
    allow(0o555);
    if !rustix::process::geteuid().is_root() {
        for verb in ["serve", "run --brain playbook:hi.toml goal", "send nightly on"] {
            let said = desk.says(verb);
            assert_eq!(said.code, Some(5), "{said:?}");
            assert!(
                said.stderr.contains("error: HERE/data cannot be written"),
                "{said:?}"
            );
            assert!(said.stderr.contains("hint: use another directory"), "{said:?}");
        }
        assert_eq!(desk.says("doctor").code, Some(1));
    }
    // Who only reads needs no more.
    let tailed = desk.says("tail nightly").ok(0);
    assert!(tailed.contains("success: greeted"), "{tailed}");
    allow(0o755);
}

#[test]
fn help_suffices_and_lists_every_verb() {
    let said = Desk::new().says("--help");
    for verb in [
        "run",
        "attach",
        "serve",
        "ls",
        "show",
        "tail",
        "patch",
        "send",
        "pause",
        "resume",
        "cancel",
        "archive",
        "export",
        "du",
        "rm",
        "gc",
        "import",
        "adopt",
        "backup",
        "replay",
        "journal",
        "doctor",
        "demo",
        "completions",
    ] {
        assert!(
            said.stdout.contains(&format!("\n  {verb} ")),
            "no {verb} in {said:?}"
        );
    }
    assert!(said.stdout.contains("Exit codes:"), "{said:?}");
    assert!(
        said.stdout.lines().all(|line| line.chars().count() <= 100),
        "{said:?}"
    );
    assert_eq!(said.code, Some(0));
}

#[test]
fn completions_are_something_a_shell_can_read() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.says(&format!("completions {shell}")).ok(0);
        assert!(script.contains("longhaul"), "{shell}");
        std::fs::write(desk.path().join(shell), &script).expect("written");
        // Where the shell is not installed there is nobody to ask.
        if let Ok(status) = std::process::Command::new(shell)
            .arg("-n")
            .arg(desk.path().join(shell))
            .status()
        {
            assert!(status.success(), "{shell} cannot read its completions");
        }
    }
}
