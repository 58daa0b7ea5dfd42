//! Little credit, told with real processes: it runs out in the middle, somebody tops up, and the session goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::desk::{Desk, Said};

/// Two commands, each of which costs a credit.
const WORK: &str = "[[step]]\nrun = \"echo one >> out\"\n\n[[step]]\nrun = \"echo two >> out\"\n\n\
                    [[step]]\nfinish = \"done\"\n";

/// A place where each command costs a credit, and a new account has so much.
fn place(initial: &str) -> Desk {
    let desk = Desk::new().with("work.toml", WORK);
    let prices = r#"{"hourMicro": 12000, "tools": {"exec": 1000000}}"#;
    fs::write(desk.path().join("prices.json"), prices).expect("written");
    let file = desk.path().join("prices.json").display().to_string();
    desk.set("LONGHAUL_CREDITS_PRICES", file)
        .set("LONGHAUL_CREDITS_INITIAL", initial)
}

impl Desk {
    /// The same place with other prices.
    fn priced(self, prices: &str) -> Self {
        fs::write(self.path().join("prices.json"), prices).expect("written");
        self
    }

    /// What is written in the segments of the journal, by the names of their files.
    fn segments(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folder = fs::read_dir(self.data().join("journal")).expect("a journal");
        let files = folder.map(|file| file.expect("a file").path());
        let written = files.map(|file| {
            let mut bytes = fs::read(&file).expect("a segment");
            // The rest is room for what comes.
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            bytes.truncate(end);
            (file, bytes)
        });
        written.collect()
    }
}

fn json(said: &Said) -> Value {
    serde_json::from_str(said.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn show(desk: &Desk) -> Value {
    json(&desk.says("credits show --json"))
}

/// B-CREDIT-3, B-CREDIT-4: the published story.
#[test]
fn a_run_pauses_when_its_credit_is_gone_and_finishes_after_a_top_up() {
    let desk = place("1.5");
    let run = desk.says("run --brain playbook:work.toml --key job work");
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(run.stdout.contains("credits top-up"), "{run:?}");
    let session = json(&desk.says("show job --json"));
    assert_eq!(
        (&session["state"], &session["pausedReason"]),
        (&"paused".into(), &"credits".into())
    );
    let before = desk.says("journal inspect job --json").stdout;
    assert!(
        before.contains("command.run"),
        "the command before it is settled: {before}"
    );
    assert_eq!(show(&desk)["held"]["micro"], 0);
    assert_eq!(show(&desk)["waiting"].as_array().map(Vec::len), Some(1));

    let refused = desk.says("resume job --json");
    assert_eq!(refused.code, Some(0), "0.49 is left, so it may try: {refused:?}");
    let again = desk.says("attach job");
    assert_eq!(again.code, Some(6), "{again:?}");
    let before = desk.says("journal inspect job --json").stdout;
    let bytes = desk.segments();

    let granted = json(&desk.says("credits top-up 5 --request first --json"));
    assert_eq!(granted["repeated"], false);
    assert_eq!(granted["resumed"].as_array().map(Vec::len), Some(1), "{granted}");
    let attached = desk.says("attach job");
    assert_eq!(attached.code, Some(0), "{attached:?}");
    let after = desk.says("journal inspect job --json").stdout;
    assert!(after.starts_with(&before), "the log before the pause has changed");
    for (file, after) in desk.segments() {
        let before = bytes.get(&file).map_or(&[][..], Vec::as_slice);
        assert!(after.starts_with(before), "{} has changed", file.display());
    }
    let ended = json(&desk.says("show job --json"));
    assert_eq!(
        (&ended["id"], &ended["state"]),
        (&session["id"], &"completed".into())
    );

    let account = show(&desk);
    assert_eq!(account["held"]["micro"], 0, "{account}");
    let spent = account["settled"]["micro"].as_u64().expect("a number");
    assert!(
        (2_000_000..2_001_000).contains(&spent),
        "two commands and some time: {account}"
    );
}

/// B-CREDIT-1
#[test]
fn without_credit_nothing_is_started() {
    let desk = place("0").set("LONGHAUL_CREDITS_TOP_UP_URL", "https://example.com/buy");
    let run = desk.says("run --brain playbook:work.toml work --json");
    assert_eq!(run.code, Some(6), "{run:?}");
    let problem = json(&run);
    assert_eq!(problem["ok"], false);
    assert_eq!(problem["status"], 402);
    assert_eq!(problem["code"], "ai_credits_required");
    assert_eq!(problem["topUpUrl"], "https://example.com/buy");
    assert_eq!(problem["nextActions"].as_array().map(Vec::len), Some(2));
    let told = desk.says("run --brain playbook:work.toml work");
    assert!(
        told.stderr
            .contains("hint: top the account up: longhaul credits top-up 5"),
        "{told:?}"
    );
    assert_eq!(desk.says("ls --json").stdout, "", "no session was made");
}

/// B-CREDIT-4
#[test]
fn resuming_without_any_credit_is_refused_and_it_stays_paused() {
    let desk = place("1").priced(r#"{"hourMicro": 0, "tools": {"exec": 1000000}}"#);
    let run = desk.says("run --brain playbook:work.toml --key job work");
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(
        run.stderr.contains("because the account local has 0.00"),
        "{run:?}"
    );
    let before = desk.says("journal inspect job --json").stdout;
    let refused = desk.says("resume job --json");
    assert_eq!(
        (refused.code, &json(&refused)["code"]),
        (Some(6), &"ai_credits_required".into())
    );
    assert_eq!(desk.says("attach job").code, Some(6));
    assert_eq!(desk.says("journal inspect job --json").stdout, before);
    assert_eq!(json(&desk.says("show job --json"))["state"], "paused");
}

/// B-CREDIT-4: those that went on, and not those that ended or that a human wants to rest meanwhile.
#[test]
fn a_top_up_says_whom_it_resumed() {
    let desk = place("1").priced(r#"{"hourMicro": 0, "tools": {"exec": 1000000}}"#);
    // The first one spends it all; the others have no step that costs anything before the one that does.
    for key in ["ends", "rests", "waits"] {
        let run = desk.says(&format!("run --brain playbook:work.toml --key {key} work"));
        assert!(matches!(run.code, Some(6)), "{run:?}");
        if key == "ends" {
            desk.says("credits top-up 1 --request again");
            assert_eq!(desk.says("attach ends").code, Some(0));
            let more = desk.says("credits top-up 0.5 --request some");
            assert_eq!(more.code, Some(0), "{more:?}");
        }
    }
    assert_eq!(show(&desk)["waiting"].as_array().map(Vec::len), Some(2));
    assert_eq!(desk.says("pause rests").code, Some(0));
    assert_eq!(desk.says("cancel waits --yes").code, Some(0));
    let granted = json(&desk.says("credits top-up 5 --json"));
    assert_eq!(granted["resumed"].as_array().map(Vec::len), Some(0), "{granted}");
    let rests = json(&desk.says("show rests --json"));
    assert_eq!(
        (&rests["state"], &rests["pausedReason"]),
        (&"paused".into(), &"requested".into())
    );
    desk.says("attach waits");
    let waits = json(&desk.says("show waits --json"));
    assert_eq!(
        (&waits["state"], &waits["pausedDetail"]),
        (&"canceled".into(), &Value::Null)
    );
}

/// B-CREDIT-4
#[test]
fn a_top_up_is_granted_once_whatever_is_wrong_with_it_is_said() {
    let desk = Desk::new();
    assert_eq!(
        show(&desk)["balance"]["credits"],
        "5.00",
        "what a newcomer will have"
    );
    let first = desk.says("credits top-up 2.5 --request r1");
    assert_eq!(
        (first.code, first.stdout.as_str()),
        (Some(0), "2.50 granted as request r1; the balance is 7.50\n")
    );
    let again = desk.says("credits top-up 2.5 --request r1");
    assert_eq!(
        again.stdout,
        "2.50 had been granted before as request r1; the balance is 7.50\n"
    );
    let other = desk.says("credits top-up 3 --request r1 --json");
    assert_eq!(
        (other.code, json(&other)["code"].as_str()),
        (Some(4), Some("idempotency_conflict"))
    );
    for (amount, why) in [
        ("-1", "negative"),
        ("0", "zero"),
        ("0.00", "zero"),
        ("1.0000001", "finer than a micro-credit"),
        ("1e3", "no amount"),
        ("five", "no amount"),
        ("99999999999", "too large"),
    ] {
        let said = desk.says(&format!("credits top-up {amount}"));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.stderr.contains(why), "{said:?}");
        let said = desk.says(&format!("credits top-up {amount} --json"));
        assert_eq!(json(&said)["code"], "invalid_request", "{said:?}");
    }
    assert_eq!(show(&desk)["balance"]["credits"], "7.50");
}

/// B-CREDIT-2: the ledger adds up.
#[test]
fn the_ledger_adds_up_to_the_balance() {
    let desk = place("5");
    assert_eq!(desk.says("run --brain playbook:work.toml work").code, Some(0));
    let exported = desk.says("credits export").stdout;
    let sum: i64 = exported
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|entry| entry["changeMicro"].as_i64().expect("a number"))
        .sum();
    let account = show(&desk);
    assert_eq!(Some(sum), account["balance"]["micro"].as_i64());
    let ledger = desk.says("credits ledger --limit 3");
    assert_eq!(ledger.stdout.lines().count(), 3, "{ledger:?}");
    assert!(desk.says("billing status").stdout.contains("credits (USD)"));
    let checked = desk.says("replay --check --all");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(desk.says("journal verify").code, Some(0));
}

/// B-CREDIT-7
#[test]
fn a_budget_of_its_own_pauses_a_session_and_can_be_raised() {
    let desk = place("5");
    let run = desk.says("run --brain playbook:work.toml --key job --budget 1.5 work");
    assert_eq!(run.code, Some(6), "{run:?}");
    assert!(
        run.stdout.contains("--budget"),
        "it says how to raise it: {run:?}"
    );
    let session = json(&desk.says("show job --json"));
    assert_eq!(session["pausedReason"], "budget");
    assert_eq!(session["credits"]["budget"], "1.50");
    for wrong in ["0", "-1", "lots"] {
        assert_eq!(
            desk.says(&format!("resume job --budget {wrong}")).code,
            Some(2),
            "{wrong}"
        );
    }
    assert_eq!(desk.says("resume job --budget 3").code, Some(0));
    assert_eq!(desk.says("attach job").code, Some(0));
}

#[test]
fn a_setting_that_cannot_be_understood_is_named() {
    let desk = Desk::new().set("LONGHAUL_CREDITS_INITIAL", "plenty");
    let said = desk.says("credits show");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.stderr.contains("LONGHAUL_CREDITS_INITIAL"), "{said:?}");
}
