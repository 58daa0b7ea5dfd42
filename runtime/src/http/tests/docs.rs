//! What the documents promise.

use std::fs;
use std::path::Path;

use crate::api::Code;

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

/// Section 13: whoever meets a code finds what happened, why, and what to do.
#[test]
fn every_code_has_a_section_that_says_what_to_do() {
    let errors = document("errors.md");
    let sections: Vec<_> = errors.split("\n## ").skip(1).collect();
    for code in Code::ALL {
        let heading = format!("`{}`\n", code.name());
        let found: Vec<_> = sections
            .iter()
            .filter(|section| section.starts_with(&heading))
            .collect();
        let [section] = found[..] else {
            panic!("{} has {} sections", code.name(), found.len())
        };
        for part in ["**What happened**", "**Usual causes**", "**What to do**"] {
            assert!(section.contains(part), "{} lacks {part}", code.name());
        }
        let numbers = (
            format!("{}", code.status()),
            format!("exit {}.", code.exit_code()),
        );
        assert!(
            section[heading.len()..].trim_start().starts_with(&numbers.0),
            "{} status",
            code.name()
        );
        assert!(section.contains(&numbers.1), "{} exit code", code.name());
    }
    assert_eq!(
        sections.len(),
        Code::ALL.len(),
        "a section for a code that is no more"
    );
}
