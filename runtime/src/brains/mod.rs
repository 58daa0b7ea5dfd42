//! Brains: what decides the next step of a session.

pub mod playbook;

#[cfg(test)]
mod stage;
