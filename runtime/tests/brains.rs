//! What the pages about brains show must work.

use longhaul::brains::playbook::Playbook;

#[test]
fn every_playbook_that_the_page_shows_is_one() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/playbooks.md");
    let page = std::fs::read_to_string(page).expect("the page stands beside the code");
    let blocks = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let mut shown = 0;
    for block in blocks {
        shown += 1;
        Playbook::parse("docs/playbooks.md", block).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
    assert!(shown >= 2, "the page shows playbooks");
}
