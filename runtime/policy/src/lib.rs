//! The gate: what an act is, whether it may be done, and what a goal forbids.
//!
//! [`Policy::decide`] answers for one act with [`Verdict::Allow`], [`Verdict::Ask`] or [`Verdict::Deny`], the rule that
//! decided and the scripts it read. Commands are parsed as a shell parses them, and seen through: `sh -c`, `env`, `sudo`,
//! `xargs`, pipes, substitutions, here-documents, aliases, functions and variables of the line, and the scripts it names.
//! Tools are known by the words of their names, never by a part of a word. [`goal::read`] finds what a goal forbids, and
//! [`digest()`] binds an approval to the exact act.
//!
//! ```
//! use longhaul_policy::{Act, Around, Category, Policy, Verdict};
//!
//! let policy = Policy::standard();
//! let decision = policy.decide(&Act::line("cd lib && env CI=1 sh -c 'git push'"), &Around::bare());
//! assert_eq!((decision.verdict, decision.category), (Verdict::Ask, Some(Category::Publish)));
//! assert_eq!(policy.decide(&Act::line("cargo test --workspace"), &Around::bare()).verdict, Verdict::Allow);
//! ```
//!
//! It promises: the same answer for the same act, circumstances and scripts; no I/O but through the callback it is
//! handed; no panic and no unbounded work on any input; what cannot be told is [`Category::Unknown`], which asks unless
//! the act is contained.
//!
//! It does not promise to see what a program does once it runs: `make test` may do anything its recipe says in a language
//! that is not shell. The wall around an act is the hands' affair; this is the door in it.

mod act;
mod decision;
mod digest;
pub mod goal;
mod policy;
mod shell;
mod walk;
mod words;

pub use act::{Act, Around, Author, ReadFile, What};
pub use decision::{Category, Decision, Script, Verdict};
pub use digest::digest;
pub use policy::{Case, Policy, PolicyError, STANDARD};
