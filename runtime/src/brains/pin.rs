//! From the brain that a person names to the one that a session pins: checked, found, and kept by hash.

use std::path::Path;

use longhaul_actors::session::BrainSpec;
use longhaul_journal::Blobs;

use super::playbook::Playbook;
use super::process::{absolute_word, find_program};
use crate::api::{Code, Problem};

/// Pins `playbook:FILE` or `process:PROGRAM [ARG...]`.
///
/// The text of a playbook is kept as a blob and the path of a program made absolute, so that what a session thinks with
/// does not change under it (B-START-3).
///
/// # Errors
/// `no_brain` for a kind that does not exist, `invalid_request` for a playbook or a program that cannot be used.
pub(crate) fn pin(name: &str, blobs: &dyn Blobs) -> Result<BrainSpec, Problem> {
    match name.split_once(':') {
        Some(("playbook", file)) if !file.is_empty() => pin_playbook(file, blobs),
        Some(("process", line)) if !line.trim().is_empty() => pin_process(line),
        _ => Err(no_brain_called(name)),
    }
}

fn pin_playbook(file: &str, blobs: &dyn Blobs) -> Result<BrainSpec, Problem> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Problem::new(
            Code::InvalidRequest,
            format!("the playbook {file} cannot be read: {error}"),
        )
    })?;
    Playbook::parse(file, &text).map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    let blob = blobs.put(&mut text.as_bytes()).map_err(|error| {
        Problem::new(
            Code::StorageUnavailable,
            format!("the playbook could not be kept: {error}"),
        )
    })?;
    let (kind, name) = ("playbook".to_owned(), file.to_owned());
    Ok(BrainSpec {
        kind,
        name,
        sha256: Some(blob.id.to_string()),
        args: Vec::new(),
    })
}

fn pin_process(line: &str) -> Result<BrainSpec, Problem> {
    let words = shlex::split(line)
        .filter(|words| !words.is_empty())
        .ok_or_else(|| {
            Problem::new(
                Code::InvalidRequest,
                format!("{line:?} has an open quote; write it as you would in a shell"),
            )
        })?;
    let here = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let path = std::env::var_os("PATH");
    let program = find_program(&words[0], &here, path.as_deref())
        .map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    let name = program.to_str().map(str::to_owned).ok_or_else(|| {
        Problem::new(
            Code::InvalidRequest,
            format!("the path {} is not UTF-8; move the program", program.display()),
        )
    })?;
    Ok(BrainSpec {
        kind: "process".into(),
        name,
        sha256: None,
        args: words[1..].iter().map(|word| absolute_word(word, &here)).collect(),
    })
}

/// No brain was named: three ways on.
pub(crate) fn no_brain() -> Problem {
    ways_on(Problem::new(
        Code::NoBrain,
        "a session needs a brain to decide its steps; none was named",
    ))
}

/// A brain of an unknown kind was named: three ways on.
pub(crate) fn no_brain_called(name: &str) -> Problem {
    let detail = format!("there is no brain {name:?}; a brain is playbook:FILE or process:PROGRAM");
    ways_on(Problem::new(Code::NoBrain, detail))
}

fn ways_on(problem: Problem) -> Problem {
    problem
        .next(
            "follow a file of steps, no key needed",
            "longhaul run --brain playbook:FILE \"GOAL\"",
        )
        .next(
            "let a program of yours decide",
            "longhaul run --brain process:PROGRAM \"GOAL\"",
        )
        .next("see a whole run first", "longhaul demo")
}

#[cfg(test)]
mod tests {
    use longhaul_journal::{Journal, MemoryJournal};

    use super::*;

    fn refused(name: &str) -> Problem {
        pin(name, MemoryJournal::new().blobs()).expect_err("cannot be pinned")
    }

    /// B-START-3
    #[test]
    fn a_playbook_is_kept_as_it_was_when_the_session_began() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("steps.toml");
        let text = "[[step]]\nsay = \"hi\"\n";
        std::fs::write(&file, text).expect("written");
        let journal = MemoryJournal::new();
        let spec = pin(&format!("playbook:{}", file.display()), journal.blobs()).expect("a playbook");
        std::fs::write(&file, "[[step]]\nsay = \"something else\"\n").expect("written");
        let mut id = [0; 32];
        hex::decode_to_slice(spec.sha256.expect("pinned"), &mut id).expect("hex");
        let kept = journal.blobs().get(longhaul_journal::BlobId(id)).expect("kept");
        assert_eq!(kept, text.as_bytes());
    }

    #[test]
    fn what_is_no_brain_shows_three_ways_on() {
        for name in ["", "gpt", "playbook:", "process: "] {
            let problem = refused(name);
            assert_eq!(
                (problem.code, problem.next_actions.len()),
                (Code::NoBrain, 3),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_program_is_found_before_the_session_exists() {
        let spec = pin("process:sh -c 'exit 0'", MemoryJournal::new().blobs()).expect("a program");
        assert!(Path::new(&spec.name).is_absolute());
        assert_eq!(spec.args, ["-c", "exit 0"]);
        assert!(
            refused("process:no-such-program-anywhere")
                .detail
                .contains("PATH")
        );
        assert!(refused("process:sh 'open").detail.contains("quote"));
    }
}
