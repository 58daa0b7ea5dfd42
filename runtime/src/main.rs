//! The program `longhaul`: the shim of a command when it was started as one, else the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    longhaul::intercept();
    longhaul::cli::main()
}
