//! The walls of mode `isolated`: a command sees a root of its own, processes of its own, no network but its own, and has
//! no right left that could undo this.
//!
//! Three processes take part. The *shim* (outside) clones *init*, PID 1 of the sandbox, in new namespaces. Init builds
//! the root, forks the *command* and then only waits; the command takes the last rights from itself and executes. The
//! order is a matter of correctness, and [`init`] tells it step by step.
//!
//! | thought | file |
//! |---|---|
//! | what a failed step is called, and how it is told to the shim | `fault` |
//! | new namespaces, ids, loopback | `namespaces` |
//! | what the command sees as `/` | `root`, `etc` |
//! | the network of a service, shared by later commands | `beside` |
//! | PID 1 | `init` |
//! | capabilities | `drop` |
//! | system calls | `seccomp` |
//! | files, a second time | `file_rules` |
//! | what this machine can do, and what it lacks | `report` |
//! | which user a session is | `uid` |

mod beside;
mod drop;
mod etc;
mod fault;
mod file_rules;
mod init;
mod namespaces;
mod report;
mod root;
mod seccomp;
mod uid;

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid};

pub(crate) use beside::{Door, Doorkeeper};
pub(crate) use fault::{Fault, Step};
pub(crate) use init::{Ended, Job, ended};
pub(crate) use report::main_if_probe;
pub use report::{IsolationReport, Layer, Refusal, probe};
pub use uid::session_uid;

use crate::patience::{Patience, put_an_end_to};
use crate::sys::Fork;
use crate::walls::Walls;

/// A sandbox whose command has begun to execute.
pub(crate) struct Isolated {
    /// PID 1 of the sandbox, child of the shim, leader of its own session and process group. When it is dead, so is
    /// every process of the sandbox.
    pub(crate) init: Pid,
    /// Over this socket init says how the command ended; see [`ended`].
    pub(crate) status: OwnedFd,
    /// Where later commands may join its network.
    pub(crate) door: Door,
}

/// Builds a sandbox and starts `job` in it.
///
/// `adopt` is called with the pid of init before anything of the sandbox exists: to put it into control groups. `serve`
/// gets the listener inside, with [`Network::Proxy`](crate::Network::Proxy), before the job executes.
///
/// # Errors
/// The step that failed: nothing of the job has executed. `TIMEDOUT` or `CANCELED` when the `patience` was over.
pub(crate) fn start(
    walls: &Walls,
    job: Job<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
    serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
) -> Result<Isolated, Fault> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Fault::of(Step::Pipe))?;
    let (failure, failure_end) = pipe_with(PipeFlags::CLOEXEC).map_err(Fault::of(Step::Pipe))?;
    let forked = match &walls.beside {
        None => namespaces::fork(),
        Some(dir) => Door::ask(dir).and_then(|door| door.fork_inside()),
    };
    let pid = match forked.map_err(Fault::of(Step::Namespaces))? {
        Fork::Child => {
            // First of all: as long as this end is open here, the death of the shim would not be noticed.
            std::mem::drop(ours);
            std::mem::drop(failure);
            init::run(walls, job, theirs, failure_end)
        }
        Fork::Parent(pid) => i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("clone gives a positive pid"),
    };
    std::mem::drop((theirs, failure_end, job));
    let led = lead(walls, pid, ours.as_fd(), patience, adopt, serve);
    let told = match &led {
        Ok(_) => read_fault(&failure, patience),
        Err(fault) => {
            let _ = process::kill_process(pid, process::Signal::KILL);
            // What init says about itself comes before what the shim noticed of it.
            let told = read_fault(&failure, &Patience::of_the_dead());
            Err(told.err().filter(|_| patience.over().is_none()).unwrap_or(*fault))
        }
    };
    match (told, led) {
        (Ok(()), Ok(door)) => Ok(Isolated {
            init: pid,
            status: ours,
            door,
        }),
        (Err(fault), _) | (Ok(()), Err(fault)) => {
            put_an_end_to(pid);
            Err(fault)
        }
    }
}

/// The shim's part while init builds: gives it its ids, remembers its network, and takes the listener.
fn lead(
    walls: &Walls,
    init: Pid,
    link: rustix::fd::BorrowedFd<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
    serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
) -> Result<Door, Fault> {
    init::await_word(link, init::READY, Some(patience)).map_err(Fault::of(Step::Handshake))?;
    adopt(init)?;
    if walls.beside.is_none() {
        namespaces::map_ids(init, walls)?;
    }
    // Later nobody may look at init any more.
    let door = Door::of(init).map_err(Fault::of(Step::Namespaces))?;
    init::say(link, init::MAPPED).map_err(Fault::of(Step::Handshake))?;
    init::await_word(link, init::READY, Some(patience)).map_err(Fault::of(Step::Handshake))?;
    init::say(link, init::GO).map_err(Fault::of(Step::Handshake))?;
    match walls.network {
        crate::Network::None => {}
        crate::Network::Proxy => {
            serve(init::take_listener(link, patience).map_err(Fault::of(Step::Listener))?)?;
            init::say(link, init::GO).map_err(Fault::of(Step::Handshake))?;
        }
    }
    Ok(door)
}

/// Reads until the command executes. Nothing at all means that it does.
fn read_fault(pipe: &OwnedFd, patience: &Patience<'_>) -> Result<(), Fault> {
    let message = patience.read_all(pipe).map_err(Fault::of(Step::Handshake))?;
    Fault::decode(&message).map_or(Ok(()), Err)
}
