//! The product's own binary, built inside this package so that tests can find and kill it.

use std::process::ExitCode;

fn main() -> ExitCode {
    longhaul::intercept();
    longhaul::cli::main()
}
