//! The sabotage list: breaks one promise at a time and requires that a named test notices.
//!
//! `just sabotage` builds the tests once, with the feature `sabotage` and in a target directory of their own, so that no
//! sabotaged object ever lies beside a real one. Each named test must be green as it is, and red with its promise broken.
//! A test that stays green has proved nothing so far, and fails the run. So does one that never ends, unless the list says
//! that it may: a hang has many causes, and a machine that is busy is one of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a healthy test may take.
const HEALTHY: Duration = Duration::from_secs(120);
/// A test with its promise broken has not ended after this many times what it takes when healthy, and after this long: then
/// it never will.
const TIMES: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(20);

/// What is broken, and the test that must notice: package, test binary, test.
type Entry = (&'static str, &'static str, &'static str, &'static str);

const LIST: &[Entry] = &[
    (
        "acknowledge-before-sync",
        "journal",
        "power",
        "whatever_a_power_loss_drops_what_was_acknowledged_is_there_and_nothing_is_half_there",
    ),
    (
        "name-an-unsynced-blob",
        "journal",
        "power",
        "whatever_a_power_loss_drops_what_was_acknowledged_is_there_and_nothing_is_half_there",
    ),
    (
        "leave-a-segment-unnamed",
        "journal",
        "power",
        "whatever_a_power_loss_drops_what_was_acknowledged_is_there_and_nothing_is_half_there",
    ),
    (
        "take-a-torn-frame",
        "journal",
        "reopen",
        "a_torn_tail_is_dropped_whole_and_reported",
    ),
    (
        "believe-the-page-cache",
        "journal",
        "faults",
        "after_a_failed_sync_the_page_cache_is_not_believed",
    ),
    (
        "place-an-unsynced-segment",
        "journal",
        "thinning",
        "a_crash_anywhere_in_thinning_leaves_the_old_segment_or_the_new",
    ),
    (
        "thin-before-it-is-sealed",
        "journal",
        "thinning",
        "thinning_frees_the_room_of_what_was_removed_and_moves_nothing_else",
    ),
    (
        "take-in-what-was-removed",
        "journal",
        "thinning",
        "a_removed_stream_is_read_no_more_and_its_name_is_never_given_again",
    ),
    (
        "skip-the-epoch-check",
        "journal",
        "conformance",
        "the_local_journal_keeps_every_promise",
    ),
    (
        "skip-the-expected-check",
        "journal",
        "conformance",
        "the_local_journal_keeps_every_promise",
    ),
    (
        "trust-a-stale-snapshot",
        "snapshots",
        "store",
        "one_of_another_history_is_reported_and_dropped_for_an_older_one",
    ),
    (
        "trust-a-stale-snapshot",
        "actors",
        "host",
        "fold::a_snapshot_of_another_history_is_not_believed",
    ),
    (
        "drop-the-standing",
        "actors",
        "host",
        "work::owed_work_is_found_after_a_kill",
    ),
    (
        "forget-what-is-owed",
        "actors",
        "host",
        "work::owed_work_is_found_after_a_kill",
    ),
    (
        "show-before-the-receipt",
        "actors",
        "host",
        "gate::nothing_is_shown_before_it_is_durable",
    ),
    (
        "begin-before-the-receipt",
        "actors",
        "host",
        "work::work_of_a_frame_that_was_not_written_is_never_begun",
    ),
    (
        "settle-twice",
        "actors",
        "account",
        "ledger::a_crash_at_any_boundary_neither_loses_nor_doubles_a_charge",
    ),
    (
        "settle-twice",
        "actors",
        "account",
        "ledger::ten_thousand_sessions_that_die_on_both_sides_of_every_frame_pay_for_each_use_once",
    ),
    (
        "forget-the-hold",
        "actors",
        "account",
        "ledger::a_crash_at_any_boundary_neither_loses_nor_doubles_a_charge",
    ),
    (
        "forget-the-hold",
        "actors",
        "account",
        "ledger::ten_thousand_sessions_that_die_on_both_sides_of_every_frame_pay_for_each_use_once",
    ),
    (
        "open-a-suggestion-twice",
        "actors",
        "task",
        "rules::a_suggestion_is_opened_once_and_then_it_is_not_open_any_more",
    ),
    (
        "approve-without-the-digest",
        "actors",
        "session",
        "approval::an_act_that_has_changed_is_asked_for_again",
    ),
    (
        "launch-what-is-claimed",
        "runtime/hands",
        "survival",
        "a_torn_exit_record_is_unknown_and_not_run_again",
    ),
    (
        "run-an-unknown-again",
        "runtime/hands",
        "survival",
        "a_torn_exit_record_is_unknown_and_not_run_again",
    ),
    (
        "share-the-network",
        "runtime/hands",
        "walls",
        "kernel::nothing_on_the_network_can_be_reached",
    ),
    (
        "show-every-process",
        "runtime/hands",
        "walls",
        "secrets::the_first_process_of_the_sandbox_cannot_be_seen_or_touched",
    ),
    (
        "show-the-whole-etc",
        "runtime/hands",
        "walls",
        "secrets::files_of_the_machine_are_not_there",
    ),
    (
        "let-the-system-be-written",
        "runtime/hands",
        "walls",
        "machine::a_folder_that_is_shown_can_be_read_and_not_written",
    ),
    (
        "keep-the-capabilities",
        "runtime/hands",
        "walls",
        "machine::it_has_no_rights_and_no_way_to_any",
    ),
    (
        "leave-landlock-out",
        "runtime/hands",
        "walls",
        "machine::no_device_of_any_kind_can_be_made",
    ),
    (
        "allow-every-system-call",
        "runtime/hands",
        "walls",
        "kernel::system_calls_that_open_the_kernel_or_the_walls_are_not_permitted",
    ),
    (
        "pass-descriptors-on",
        "runtime/hands",
        "walls",
        "secrets::no_descriptor_of_the_runtime_is_inherited",
    ),
    (
        "leave-the-group-behind",
        "runtime/hands",
        "limits",
        "the_group_of_a_lost_shim_is_emptied_and_removed",
    ),
    (
        "overlook-the-oom",
        "runtime/hands",
        "limits",
        "a_command_that_eats_its_memory_is_killed_for_it_and_says_so",
    ),
    (
        "bound-no-processor",
        "runtime/hands",
        "limits",
        "four_spinners_share_what_the_command_may_use",
    ),
    (
        "share-the-ipc",
        "runtime/hands",
        "walls",
        "kernel::every_namespace_is_its_own",
    ),
    (
        "share-one-user",
        "runtime/hands",
        "walls",
        "machine::what_it_makes_belongs_outside_to_the_user_that_it_is",
    ),
    (
        "allow-new-rights",
        "runtime/hands",
        "walls",
        "machine::the_first_process_of_the_sandbox_has_no_rights_either",
    ),
    (
        "inherit-the-environment",
        "runtime/hands",
        "commands",
        "the_environment_is_built_from_nothing",
    ),
    (
        "keep-all-output",
        "runtime/hands",
        "commands",
        "endless_output_is_killed_and_both_ends_are_kept",
    ),
    (
        "let-it-talk-for-ever",
        "runtime/hands",
        "commands",
        "endless_output_is_killed_and_both_ends_are_kept",
    ),
    (
        "forget-the-time",
        "runtime/hands",
        "commands",
        "a_command_that_would_end_by_itself_is_ended_at_its_limit",
    ),
    (
        "outlive-the-runtime-unused",
        "runtime/hands",
        "pool",
        "the_runtime_killed_while_shims_are_ready_leaves_no_process_and_no_group",
    ),
    (
        "allow-every-name",
        "runtime/hands",
        "egress",
        "an_allowed_name_is_reached_and_nothing_else",
    ),
    (
        "connect-to-any-address",
        "runtime/hands",
        "egress",
        "a_name_that_leads_to_this_machine_is_refused",
    ),
    (
        "forget-revocations",
        "actors",
        "token",
        "rules::a_revoked_token_counts_no_more_and_its_neighbour_does",
    ),
    (
        "forget-the-expiry",
        "tests",
        "tokens",
        "a_token_runs_out_when_its_time_is_over_and_not_before",
    ),
    (
        "reach-another-session",
        "tests",
        "tokens",
        "another_session_is_answered_as_one_that_does_not_exist",
    ),
    (
        "let-a-token-vouch",
        "tests",
        "approvals",
        "an_agent_cannot_approve_of_its_own_act_whichever_way_it_asks",
    ),
    (
        "record-before-the-work",
        "tests",
        "power",
        "a_power_loss_at_any_moment_of_a_command_loses_no_result_and_runs_nothing_twice",
    ),
];

/// Of those, what shows by waiting for ever: for work that nobody finds any more, or in a call that is let through and never
/// comes back.
const MAY_HANG: [&str; 3] = [
    "drop-the-standing",
    "forget-what-is-owed",
    "allow-every-system-call",
];

/// Of those, what can only be seen where control groups can be made.
const NEEDS_GROUPS: [&str; 3] = ["leave-the-group-behind", "overlook-the-oom", "bound-no-processor"];

/// And what can only be seen by root, whose sessions are users of their own.
const NEEDS_ROOT: [&str; 1] = ["share-one-user"];

/// And what can only be seen in the calls that a program makes.
const NEEDS_STRACE: [&str; 1] = ["record-before-the-work"];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it lies in the workspace");
    let Some(built) = build(root) else {
        eprintln!("the sabotaged tests do not build");
        return ExitCode::FAILURE;
    };
    let mut missed = 0;
    let groups = longhaul_hands::probe_groups();
    for (breach, package, target, test) in LIST {
        if let (true, Err(lacks)) = (NEEDS_GROUPS.contains(breach), &groups) {
            println!("{breach:<26} left out: {lacks}");
            continue;
        }
        if NEEDS_ROOT.contains(breach) && !rustix::process::geteuid().is_root() {
            println!("{breach:<26} left out: only root gives each session a user");
            continue;
        }
        if NEEDS_STRACE.contains(breach) && Command::new("strace").arg("-V").output().is_err() {
            println!("{breach:<26} left out: there is no strace");
            continue;
        }
        let run = |breach, patience| run(root, &built, package, target, test, breach, patience);
        let begun = Instant::now();
        // The healthy run first: a test that is red anyway notices nothing.
        let healthy = run(None, HEALTHY);
        let patience = PATIENCE.max(begun.elapsed() * TIMES);
        let verdict = match (healthy, run(Some(breach), patience)) {
            (Seen::Green, Seen::Red) => "noticed",
            (Seen::Green, Seen::Hung) if MAY_HANG.contains(breach) => "noticed (it never ended)",
            (Seen::Green, Seen::Hung) => "HUNG, AND MAY NOT",
            (Seen::Green, Seen::Green) => "NOT NOTICED",
            (_, _) => "RED WITHOUT IT",
        };
        missed += usize::from(!verdict.starts_with("noticed"));
        println!(
            "{breach:<26} {verdict:<25} {:>4.1}s  {package}: {test}",
            begun.elapsed().as_secs_f64()
        );
    }
    println!("{} breaches, {missed} not noticed", LIST.len());
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Builds every test binary of the list, and says where each lies.
fn build(root: &Path) -> Option<BTreeMap<(String, String), PathBuf>> {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo
        .current_dir(root)
        .args([
            "test",
            "--no-run",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--target-dir", "target/sabotage"])
        .args(["--features", "longhaul-journal/sabotage,longhaul-hands/sabotage"])
        .args(["-p", "longhaul-journal", "-p", "longhaul-snapshots"])
        .args([
            "-p",
            "longhaul-actors",
            "-p",
            "longhaul-hands",
            "-p",
            "longhaul-tests",
        ]);
    let mut targets: Vec<&str> = LIST.iter().map(|(_, _, target, _)| *target).collect();
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        cargo.args(["--test", target]);
    }
    let output = cargo.stderr(Stdio::inherit()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let mut built = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let path = |value: &serde_json::Value| value.as_str().map(PathBuf::from);
        if let (Some(executable), Some(manifest), Some(target)) = (
            path(&message["executable"]),
            path(&message["manifest_path"]),
            message["target"]["name"].as_str(),
        ) {
            let folder = manifest.parent()?.strip_prefix(root).ok()?;
            built.insert((folder.display().to_string(), target.to_owned()), executable);
        }
    }
    Some(built)
}

/// What a run of one test came to.
enum Seen {
    Green,
    Red,
    Hung,
}

fn run(
    root: &Path,
    built: &BTreeMap<(String, String), PathBuf>,
    package: &str,
    target: &str,
    test: &str,
    breach: Option<&str>,
    patience: Duration,
) -> Seen {
    let executable = built
        .get(&(package.to_owned(), target.to_owned()))
        .unwrap_or_else(|| panic!("{package} has no test binary {target}"));
    let mut command = Command::new(executable);
    command
        .current_dir(root.join(package))
        .args(["--exact", test, "--include-ignored"])
        .env_remove("LONGHAUL_SABOTAGE")
        // Whether a test can notice is asked here, not whether chance lets it.
        .env("LONGHAUL_TEST_SEED", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(breach) = breach {
        command.env("LONGHAUL_SABOTAGE", breach);
    }
    let mut child = command.spawn().expect("the test binary starts");
    // Read as it comes: a test that says more than a pipe holds would wait for its reader, and look as if it never ended.
    let mut stdout = child.stdout.take().expect("it is piped");
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        // What was said until it was killed is enough.
        let _ = std::io::Read::read_to_end(&mut stdout, &mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("it can be waited for") {
            Some(status) => break status,
            None if begun.elapsed() > patience => {
                child.kill().expect("it can be killed");
                child.wait().expect("it can be waited for");
                return Seen::Hung;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let said = said.join().expect("reading does not panic");
    // A name that matches no test passes as well, and would prove nothing.
    assert!(
        said.contains("running 1 test"),
        "{package} has no test {test} in {target}"
    );
    if status.success() { Seen::Green } else { Seen::Red }
}
