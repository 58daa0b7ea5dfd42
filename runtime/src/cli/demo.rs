//! `longhaul demo`

use clap::Args;

use super::Outcome;
use super::reach::Place;
use super::ui::Ui;
use crate::api::{Code, Problem};

#[derive(Debug, Args)]
pub(super) struct Demo {}

pub(super) async fn demo(_args: Demo, _place: &Place, _ui: &Ui) -> Outcome {
    Err(Problem::new(Code::Internal, "the demo is not part of this build").into())
}
