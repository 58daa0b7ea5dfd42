//! `longhaul completions SHELL`

use clap::CommandFactory;

use super::Outcome;
use super::args::{Cli, Completions};
use super::ui::Ui;

pub(super) fn completions(args: Completions, ui: &Ui) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "longhaul", &mut script);
    ui.bytes(&script)?;
    Ok(0)
}
