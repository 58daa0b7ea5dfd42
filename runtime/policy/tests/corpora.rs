//! The corpora of `tests/data`: acts and goals with what is expected of them. Anyone can add lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use longhaul_policy::{Act, Around, Policy, goal};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a corpus with the head they stand under.
fn lines(text: &str) -> Vec<(String, usize, String)> {
    let mut head = None;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(text) = line.strip_prefix("# ") {
            head = Some(text.split(':').next().unwrap_or_default().to_owned());
        } else if let Some(head) = &head
            && !line.is_empty()
        {
            lines.push((head.clone(), number + 1, line.replace("\\n", "\n")));
        }
    }
    lines
}

fn act_of(line: &str) -> Act {
    match line.strip_prefix("tool ") {
        Some(call) => {
            let (name, arguments) = call.split_once(' ').expect("a tool and its arguments");
            Act::call(name, serde_json::from_str(arguments).expect("JSON"))
        }
        None => Act::line(line),
    }
}

fn judge(file: &str, wrong: &mut String) -> usize {
    let mut count = 0;
    let files: BTreeMap<&str, &str> = BTreeMap::new();
    for (expected, number, line) in lines(&data(file)) {
        count += 1;
        let around = Around {
            read_file: &|path| files.get(path).map(|text| text.as_bytes().to_vec()),
            ..Around::bare()
        };
        let decision = Policy::standard().decide(&act_of(&line), &around);
        let category = decision
            .category
            .map(|category| format!(" {category}"))
            .unwrap_or_default();
        let found = format!("{}{category}", decision.verdict);
        if found != expected {
            writeln!(
                wrong,
                "{file}:{number}: {found} ({}), not {expected}: {line:?}",
                decision.rule
            )
            .expect("text");
        }
    }
    count
}

/// B-GATE-1: every act of the corpora gets the answer and the category it is to have.
#[test]
fn every_act_of_the_corpora_gets_its_answer() {
    let mut wrong = String::new();
    let count: usize = ["acts-ordinary.txt", "acts-risky.txt", "acts-tools.txt"]
        .iter()
        .map(|file| judge(file, &mut wrong))
        .sum();
    assert!(
        wrong.is_empty(),
        "{} of {count} are wrong:\n{wrong}",
        wrong.lines().count()
    );
    assert!(count >= 1_000, "the corpora shrank to {count}");
}

/// B-GOAL-1: every goal of the corpus forbids what it is to forbid, and nothing else.
#[test]
fn every_goal_of_the_corpus_forbids_what_it_says() {
    let mut wrong = String::new();
    let mut count = 0;
    for (expected, number, text) in lines(&data("goals.txt")) {
        count += 1;
        let names: Vec<&str> = goal::read(&text)
            .forbidden
            .iter()
            .map(|category| category.name())
            .collect();
        let found = if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(" ")
        };
        if found != expected {
            writeln!(wrong, "goals.txt:{number}: {found}, not {expected}: {text:?}").expect("text");
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} are wrong:\n{wrong}",
        wrong.lines().count()
    );
    assert!(count >= 150, "the corpus shrank to {count}");
}
