//! The goals of `tests/data/goals.toml` are read there; here only that odd texts are read at all.

use super::*;

#[test]
fn a_text_of_signs_alone_says_nothing() {
    for text in [
        "",
        "...",
        "not",
        "do not",
        "not not not",
        ",,,,",
        "\u{2019}\u{2019}",
        "a\0b",
        "never",
        "\n\n- \n",
    ] {
        assert_eq!(read(text), Reading::default(), "{text:?}");
    }
}
