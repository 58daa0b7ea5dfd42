//! Durable agent sessions: brains, hands, control socket, command line.
//!
//! A [`Runtime`] lives in a directory. Each session in it is an actor whose state is rebuilt purely by replaying a
//! journal: kill the process anywhere, open the directory again, and every session goes on from its last record. What
//! was acknowledged is on disk; no command is run twice; what cannot be known is said to be unknown.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use longhaul::{Options, Runtime, api};
//!
//! let runtime = Runtime::open("data", Options::default()).await?;
//! let request = api::Start {
//!     goal: "make the tests pass".into(),
//!     brain: Some("playbook:steps.toml".into()),
//!     ..api::Start::default()
//! };
//! let started = runtime.control().start(request).await?;
//! println!("{} is {}", started.id, started.state);
//! // It works while the runtime is open, and goes on when the directory is opened again; `examples/embedded.rs` waits.
//! tokio::signal::ctrl_c().await?;
//! runtime.close().await;
//! # Ok(()) }
//! ```
//!
//! Commands run isolated (see [`sandbox`]); where that cannot be had, starting one is refused, and
//! [`SandboxOptions::process`](sandbox::SandboxOptions::process) is the explicit way without. Every record of a command
//! says how it ran.

pub mod api;
pub mod brains;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod client;
mod control;
mod credits;
mod folds;
#[cfg(feature = "server")]
pub mod http;
mod janitor;
mod limiting;
#[cfg(feature = "server")]
mod lineage;
mod runtime;
pub mod sandbox;
mod service;
mod shim;
mod slots;
mod tokens;
mod world;

pub use control::{Answer, Control};
pub use credits::CreditOptions;
pub use limiting::{LimitOptions, LimitsMode};
pub use longhaul_actors as actors;
pub use longhaul_journal as journal;
pub use runtime::{Mode, Options, Runtime};
pub use shim::intercept;
