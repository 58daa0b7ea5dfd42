//! The world of a session: workspaces and the hands that act in them.

mod checkpoints;
mod copy;
pub(crate) mod durable;
mod files;
mod folders;
mod gate;
mod hands;
mod network;
mod output;
mod owner;
mod policy;
mod repository;
mod services;
mod workspace;

pub(crate) use checkpoints::Checkpoints;
pub(crate) use copy::copy_workspace;
pub(crate) use files::Looks;
pub(crate) use folders::SessionFolder;
pub(crate) use hands::LocalHands;
pub(crate) use policy::{PolicyGate, load as load_policy};
