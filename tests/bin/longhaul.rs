//! The product's own binary, built inside this package so that tests can find and kill it.
//!
//! `longhaul-under-test lines DIR` serves a data directory over standard input and output: one JSON request and one JSON
//! answer a line, so that a test sees the very write that acknowledges.

use std::process::ExitCode;

fn main() -> ExitCode {
    longhaul::intercept();
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "lines", directory] => longhaul_tests::lines::serve(directory.as_ref()),
        _ => {
            eprintln!("usage: longhaul-under-test lines DIR");
            ExitCode::from(2)
        }
    }
}
