//! The hands: commands that outlive the runtime, and file tools that cannot be led outside a workspace.
//!
//! # What is promised
//!
//! - **A command executes at most once.** Whoever [`launch`]es it, how often and from how many processes: a claim
//!   that only one shim can place is on disk before anything executes.
//! - **It outlives the runtime.** Each command runs under a small *shim* process of its own, in another session.
//!   After a SIGKILL of the runtime any process may [`wait`] for it and [`collect`] its output.
//! - **Its end is evidence.** The [`Verdict`] comes from the wait status and from what the shim itself did, never from
//!   words in the output. Once [`State::Exited`] is seen it never changes, and survives a power loss together with what
//!   the command wrote in its workspace.
//! - **What cannot be known is said so**: [`State::Unknown`], when the shim was killed or the machine restarted. Such a
//!   command is never run again by anything here.
//! - **It is held to [`Limits`]**, with all that it starts: by a control group where one can be made, by rlimits otherwise, and
//!   the record says which. What ran into one says so from counters of the kernel.
//! - **No process is left behind.** A deadline, a cancel, or the command's own end kills its whole tree, also what has
//!   called `setsid`, ignores SIGTERM or was orphaned. What would not die is listed by pid.
//! - **It need not wait for its shim**: a [`Pool`] keeps some ready, which leave when their runtime does, however that ends.
//! - **It inherits nothing**: an environment built from nothing, three descriptors, default signals.
//!
//! # What is not
//!
//! - **[`Isolation::Process`] is no wall.** The command runs as the runtime's own user: it can read that user's
//!   files, use the network, kill its own shim (which reads as unknown), and leave its control group if it is root. Every
//!   record says which isolation it ran with.
//! - After SIGKILL of a *shim*, processes that had wiped [`STEP_VARIABLE`] from their environment are found only where
//!   the command had a control group or walls.
//! - **Without a control group nobody bounds the sum**: memory is limited for each process by itself, the processor not at
//!   all ([`LimitsBy::Rlimit`]). The disk is watched, not partitioned: a cap is passed by what is written until the next look.
//! - Process memory is not kept over anything.
//!
//! # Example
//!
//! ```no_run
//! use std::path::Path;
//! use longhaul_hands::{Spec, State, collect, launch, main_if_shim, own_exe, wait};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! main_if_shim(); // first of all: the program is its own shim
//! let (dir, workspace, private) = (Path::new("/data/s1/steps/7"), Path::new("/data/s1/ws"), Path::new("/data/s1"));
//! let spec = Spec::shell("s1", 7, "make test", workspace, private);
//! launch(&own_exe(), dir, &spec)?;
//! if let State::Exited(record) = wait(dir, None, None)? {
//!     println!("{:?}, {} bytes", record.verdict, collect(dir)?.stdout.head.len());
//! }
//! # Ok(()) }
//! ```
//!
//! Linux 5.11 or later. One module, `sys`, holds the unsafe code.

mod ahead;
mod capture;
mod dir;
mod disk;
pub mod egress;
mod files;
mod isolate;
mod launcher;
mod limits;
mod lineage;
mod patience;
mod pool;
mod procs;
mod ready;
mod sabotage;
mod shim;
mod spec;
mod start;
mod sweep;
mod sys;
mod tree;
mod walls;

pub use dir::{State, UnknownCause, read_spec, state};
pub use files::{Contents, Entry, EntryKind, FileError, Listing, Standing, Workspace, Written};
pub use isolate::{IsolationReport, Layer, Refusal, probe, session_uid};
pub use limits::{DiskLimit, Groups, Limits, LimitsBy, Usage, probe as probe_groups};
pub use lineage::{Held, Lineage, brand, lineage};
pub use pool::Pool;
pub use procs::keep_to_oneself;
pub use shim::{main_if_shim, run};
pub use spec::{
    Claim, CommandLine, ExitRecord, Isolation, MAX_TAIL_BYTES, PROTOCOL, STEP_VARIABLE, Spec, StreamRecord,
    Verdict,
};
pub use start::{
    Collected, LaunchError, Launched, Output, Stop, Stream, cancel, collect, follow, last_words, launch,
    own_exe, wait, watch,
};
pub use sweep::{Recovery, kill_all, recover};
pub use tree::{Met, Step, Walk, remove_tree};
pub use walls::{INSIDE_HOME, INSIDE_PROXY, INSIDE_TMP, INSIDE_WORKSPACE, Network, ProcMount, Walls};
