//! House rules as an ordinary test: who imports what, which promise is proved where, how long a file may be, and that
//! no path of a machine is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest source file, lines.
const LONGEST: usize = 900;

fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package lies in the workspace")
        .to_owned()
}

/// Every text file of the project, by its path from the root.
fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    collect(&root(), "", &mut files);
    assert!(files.contains_key("tests/tests/tidy.rs"));
    files
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let entry = entry.expect("readable");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        if ["target", ".git", "node_modules"].contains(&name.as_str()) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type().expect("readable").is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            files.insert(path, text);
        }
    }
}

/// The cells of the rows of a Markdown table whose head begins with this cell.
fn table<'a>(text: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| -> Vec<&'a str> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(str::trim).collect()
    };
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {head} |")));
    lines.next();
    lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether code (not a comment) names this crate, or this keyword.
fn names(text: &str, word: &str) -> bool {
    let crate_path = format!("{}::", word.replace('-', "_"));
    text.lines()
        .filter_map(|line| line.split("//").next())
        .any(|code| match word {
            "unsafe" => ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
                .iter()
                .any(|form| code.contains(form)),
            _ => code.match_indices(&crate_path).any(|(at, _)| {
                let before = code[..at].chars().next_back();
                before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
            }),
        })
}

#[test]
fn crates_are_imported_only_where_the_architecture_says() {
    let files = files();
    let rows = table(&files["docs/architecture.md"], "import");
    assert!(rows.len() >= 5, "the table of boundaries is gone");
    for row in rows {
        let (words, places) = (quoted(row[0]), quoted(row[1]));
        let [word] = words[..] else {
            panic!("one import a row: {row:?}")
        };
        let mut met = BTreeSet::new();
        for (path, text) in &files {
            // Tests may open anything up to look inside.
            if !path.ends_with(".rs")
                || !path.contains("/src/")
                || path.starts_with("tests/")
                || !names(text, word)
            {
                continue;
            }
            let place = places.iter().find(|place| path.starts_with(**place));
            met.insert(
                *place.unwrap_or_else(|| panic!("{path} names `{word}`, which belongs in {places:?}")),
            );
        }
        assert_eq!(
            met,
            places.into_iter().collect(),
            "`{word}` is not in every place that the table names"
        );
    }
}

/// Rows that a text names: `B-LOG-1`.
fn rows_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
    text.split(|c: char| !is_word(c))
        .filter(|word| {
            let parts: Vec<&str> = word.split('-').collect();
            matches!(parts[..], ["B", name, number]
                if name.len() > 1
                    && name.chars().all(|c| c.is_ascii_uppercase())
                    && !number.is_empty()
                    && number.chars().all(|c| c.is_ascii_digit()))
        })
        .map(str::to_owned)
        .collect()
}

/// The tests in a file: all of one that is made of them, the module at the end of one that is not. What the code before
/// it says of a row proves nothing.
fn tests_in<'a>(path: &str, text: &'a str) -> Option<&'a str> {
    if !path.ends_with(".rs") {
        return None;
    }
    let by_name = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
    if by_name || path.ends_with("conformance.rs") {
        return Some(text);
    }
    let mut modules = text.rmatch_indices("#[cfg(test)]\n").map(|(at, _)| &text[at..]);
    modules.find(|from| {
        let item = from.lines().nth(1).unwrap_or_default();
        item.contains("mod ") && item.ends_with('{')
    })
}

#[test]
fn every_promise_is_named_by_its_tests_and_every_row_a_test_names_is_promised() {
    let files = files();
    let promises = table(&files["docs/promises.md"], "row");
    assert!(promises.len() >= 25, "the table of promises is gone");
    let mut promised = BTreeSet::new();
    for row in &promises {
        let [name, promise, proofs] = row[..] else {
            panic!("three cells: {row:?}")
        };
        assert!(promised.insert(name.to_owned()), "{name} is promised twice");
        assert!(!promise.is_empty() && !quoted(proofs).is_empty(), "{name}");
        for file in quoted(proofs) {
            let text = files
                .get(file)
                .unwrap_or_else(|| panic!("{name}: there is no {file}"));
            let tests = tests_in(file, text).unwrap_or_else(|| panic!("{name}: {file} has no tests"));
            assert!(rows_in(tests).contains(name), "no test of {file} names {name}");
        }
    }
    for (path, text) in &files {
        // This file speaks about rows.
        let Some(tests) = tests_in(path, text).filter(|_| path != "tests/tests/tidy.rs") else {
            continue;
        };
        let unknown: Vec<_> = rows_in(tests)
            .into_iter()
            .filter(|row| !promised.contains(row))
            .collect();
        assert!(
            unknown.is_empty(),
            "{path} names {unknown:?}, which docs/promises.md does not"
        );
    }
}

/// The README once showed a program that closed before its session had done anything: what it shows is compiled and run.
#[test]
fn the_readme_shows_the_example_that_is_compiled_and_run() {
    let files = files();
    let (_, example) = files["runtime/examples/embedded.rs"]
        .split_once("\n\n")
        .expect("a file begins with what it is");
    let block = files["README.md"]
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    assert_eq!(
        block,
        Some(example),
        "copy runtime/examples/embedded.rs into the README"
    );
}

#[test]
fn no_source_file_is_too_long_to_be_read() {
    for (path, text) in files() {
        let lines = text.lines().count();
        assert!(
            !path.ends_with(".rs") || lines <= LONGEST,
            "{path} has {lines} lines"
        );
    }
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    // Put together here, so that this file does not hold them.
    let places = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/Us", "ers/"],
        ["index.crates", ".io-"],
    ]
    .map(|parts| parts.concat());
    for (path, text) in files() {
        // The rules name the home of the superuser of any machine.
        if path == "runtime/policy/data/policy.toml" {
            continue;
        }
        if let Some(place) = places.iter().find(|place| text.contains(place.as_str())) {
            panic!("{path} holds {place}");
        }
    }
}
