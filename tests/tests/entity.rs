//! An entity of an embedder's own: durable, due, and known to the command line (B-EMBED-3).

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use longhaul_tests::watched::{self, Heard, PATIENCE};

const COUNTER: &str = env!("CARGO_BIN_EXE_counter-under-test");

fn counter(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(COUNTER);
    command.arg("--data").arg(data).args(words).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", data);
    watched::output(&mut command)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The stream that the example names in its first line.
fn stream(first_line: &str) -> String {
    let after = first_line.split("stream ").nth(1).expect("it names its stream");
    after.split(';').next().expect("the name ends").to_owned()
}

/// B-EMBED-3: what was answered is there for the next process, and the command line of the program inspects, replays
/// and checks its streams.
#[test]
fn a_counter_goes_on_in_the_next_process_and_is_inspected_and_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = said(&counter(folder.path(), &["add", "2"]));
    let second = said(&counter(folder.path(), &["add", "3"]));
    assert!(
        first.starts_with("2, ") && second.starts_with("5, "),
        "{first}{second}"
    );
    let id = stream(&first);
    let inspected = said(&counter(folder.path(), &["journal", "inspect", &id]));
    assert_eq!(inspected.matches("counter.added").count(), 2, "{inspected}");
    let replayed = said(&counter(folder.path(), &["--json", "replay", &id]));
    assert!(replayed.contains("\"total\":5"), "{replayed}");
    let earlier = said(&counter(folder.path(), &["--json", "replay", &id, "--to", "1"]));
    assert!(earlier.contains("\"total\":2"), "{earlier}");
    let changes = said(&counter(folder.path(), &["replay", &id, "--diff", "1", "2"]));
    assert!(
        changes.contains("total") && changes.contains("2 -> 5"),
        "{changes}"
    );
    let checked = said(&counter(folder.path(), &["replay", "--check", "--all"]));
    assert!(checked.contains(&format!("{id}  ok")), "{checked}");
}

/// B-EMBED-3, B-CRASH-7: a reminder that came due while no process lived rings in the next one.
#[test]
fn a_reminder_outlives_a_killed_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(COUNTER)
        .arg("--data")
        .arg(folder.path())
        .args(["remind", "600000"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut stdout = Heard::of(child.stdout.take().expect("it is piped"));
    let line = stdout.line(Instant::now() + PATIENCE);
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    let id = stream(&line.expect("it answers"));
    // Only the next process may say what of the killed one's last words is on disk; then anybody can read it.
    said(&counter(folder.path(), &["add", "1"]));
    let replayed = said(&counter(folder.path(), &["--json", "replay", &id]));
    assert!(!replayed.contains("\"remind_at_ms\":null"), "{replayed}");
    // Set to an earlier time, it comes due at once, in another process.
    let rung = said(&counter(folder.path(), &["remind", "0"]));
    assert!(rung.contains("reminded 1 times"), "{rung}");
}

/// A program without those rules says so, and shows what can be shown.
#[test]
fn a_stream_of_a_kind_nobody_brought_can_be_read_but_not_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = stream(&said(&counter(folder.path(), &["add", "1"])));
    let plain = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longhaul-under-test"));
        command
            .env_clear()
            .env("HOME", folder.path())
            .arg("--data")
            .arg(folder.path())
            .args(words)
            .stdin(Stdio::null());
        watched::output(&mut command)
    };
    let refused = plain(&["replay", &id]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("of kind \"counter\""),
        "{refused:?}"
    );
    assert!(said(&plain(&["journal", "inspect", &id])).contains("counter.added"));
}
