//! The world of a session: workspaces and the hands that act in them.

mod durable;
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

pub(crate) use folders::SessionFolder;
pub(crate) use hands::LocalHands;
pub(crate) use policy::{PolicyGate, load as load_policy};
