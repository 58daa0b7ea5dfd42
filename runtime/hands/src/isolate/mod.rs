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
//! | what init is told when it was made before its command was known | `order` |
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
mod order;
mod report;
mod root;
mod seccomp;
mod uid;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid, WaitId, WaitIdOptions};

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

/// A sandbox of which there are only the namespaces so far, and an init in them that waits. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Unborn {
    init: Ward,
    link: OwnedFd,
    failure: OwnedFd,
}

/// An init that ends when nobody cares for it any more.
#[derive(Debug)]
struct Ward(Option<Pid>);

impl Drop for Ward {
    fn drop(&mut self) {
        if let Some(init) = self.0 {
            put_an_end_to(init);
        }
    }
}

/// What init holds when it begins.
pub(crate) struct Inside {
    link: OwnedFd,
    failure: OwnedFd,
}

/// Which process one is after [`fork`].
pub(crate) enum Side {
    Init(Inside),
    Shim(Unborn),
}

/// Forks init into namespaces of its own, or into those of the service in the command directory `beside`.
pub(crate) fn fork(beside: Option<&Path>) -> Result<Side, Fault> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Fault::of(Step::Pipe))?;
    let (failure, failure_end) = pipe_with(PipeFlags::CLOEXEC).map_err(Fault::of(Step::Pipe))?;
    let forked = match beside {
        None => namespaces::fork(),
        Some(dir) => Door::ask(dir).and_then(|door| door.fork_inside()),
    };
    Ok(match forked.map_err(Fault::of(Step::Namespaces))? {
        Fork::Child => {
            // First of all: as long as this end is open here, the death of the shim would not be noticed.
            std::mem::drop(ours);
            std::mem::drop(failure);
            Side::Init(Inside {
                link: theirs,
                failure: failure_end,
            })
        }
        Fork::Parent(pid) => Side::Shim(Unborn {
            init: Ward(i32::try_from(pid).ok().and_then(Pid::from_raw)),
            link: ours,
            failure,
        }),
    })
}

impl Inside {
    /// Is init, for this job.
    pub(crate) fn run(self, walls: &Walls, job: Job<'_>) -> ! {
        init::run(walls, job, self.link, self.failure)
    }

    /// Is init, for the command that the shim will name; ends with the shim if there is none.
    pub(crate) fn run_what_comes(self, outputs: [OwnedFd; 2], is_grouped: bool) -> ! {
        order::obey(self.link, self.failure, outputs, is_grouped)
    }
}

impl Unborn {
    /// Init, unless it has ended.
    pub(crate) fn init(&self) -> Option<Pid> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.init
            .0
            .filter(|pid| matches!(process::waitid(WaitId::Pid(*pid), options), Ok(None)))
    }

    /// Names the command to an init that waits for one: the text of its spec, and its standard input.
    pub(crate) fn order(&self, spec: &File, stdin: &File) -> Result<(), Fault> {
        order::give(self.link.as_fd(), spec, stdin).map_err(Fault::of(Step::Handshake))
    }

    /// Has the sandbox built; nothing of its job is executed. For who has something else to do meanwhile, and then
    /// [leads](Self::lead) it on.
    ///
    /// # Errors
    /// The step that failed, as far as it can be seen from outside: the sandbox is good for nothing.
    pub(crate) fn begin(&self, walls: &Walls, patience: &Patience<'_>) -> Result<Door, Fault> {
        let init = self
            .init
            .0
            .ok_or_else(|| Fault::of(Step::Namespaces)(Errno::SRCH))?;
        begin(walls, init, self.link.as_fd(), patience, &mut |_| Ok(()))
    }

    /// Has the sandbox built, unless that was [begun](Self::begin) before (then this is its door), and its job started.
    ///
    /// `adopt` is called with the pid of init before anything of the sandbox exists: to put it into control groups. `serve`
    /// gets the listener inside, with [`Network::Proxy`](crate::Network::Proxy), before the job executes.
    ///
    /// # Errors
    /// The step that failed: nothing of the job has executed. `TIMEDOUT` or `CANCELED` when the `patience` was over.
    pub(crate) fn lead(
        self,
        walls: &Walls,
        begun: Option<Door>,
        patience: &Patience<'_>,
        adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
        serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
    ) -> Result<Isolated, Fault> {
        let Self {
            init: mut ward,
            link,
            failure,
        } = self;
        let init = ward.0.ok_or_else(|| Fault::of(Step::Namespaces)(Errno::SRCH))?;
        let begun = match begun {
            Some(door) => Ok(door),
            None => begin(walls, init, link.as_fd(), patience, adopt),
        };
        let led = begun.and_then(|door| go(walls, link.as_fd(), patience, serve).map(|()| door));
        let told = match &led {
            Ok(_) => read_fault(&failure, patience),
            Err(fault) => {
                let _ = process::kill_process(init, process::Signal::KILL);
                // What init says about itself comes before what the shim noticed of it.
                let told = read_fault(&failure, &Patience::of_the_dead());
                Err(told.err().filter(|_| patience.over().is_none()).unwrap_or(*fault))
            }
        };
        // Whatever fails here ends init.
        told?;
        let door = led?;
        ward.0 = None;
        let status = link;
        Ok(Isolated { init, status, door })
    }
}

/// Builds a sandbox and starts `job` in it; see [`Unborn::lead`].
pub(crate) fn start(
    walls: &Walls,
    job: Job<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
    serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
) -> Result<Isolated, Fault> {
    let unborn = match fork(walls.beside.as_deref())? {
        Side::Init(inside) => inside.run(walls, job),
        Side::Shim(unborn) => unborn,
    };
    // With its write ends, or the pipes would never end.
    std::mem::drop(job);
    unborn.lead(walls, None, patience, adopt, serve)
}

/// The shim's part before init builds: gives it its ids, and remembers its network.
fn begin(
    walls: &Walls,
    init: Pid,
    link: rustix::fd::BorrowedFd<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
) -> Result<Door, Fault> {
    init::await_word(link, init::READY, Some(patience)).map_err(Fault::of(Step::Handshake))?;
    adopt(init)?;
    if walls.beside.is_none() {
        namespaces::map_ids(init, walls)?;
    }
    // Later nobody may look at init any more.
    let door = Door::of(init).map_err(Fault::of(Step::Namespaces))?;
    init::say(link, init::MAPPED).map_err(Fault::of(Step::Handshake))?;
    Ok(door)
}

/// The shim's part when init has built: takes the listener, and lets the job begin.
fn go(
    walls: &Walls,
    link: rustix::fd::BorrowedFd<'_>,
    patience: &Patience<'_>,
    serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if walls.network == crate::Network::Proxy {
        serve(init::take_listener(link, patience).map_err(Fault::of(Step::Listener))?)?;
    }
    init::await_word(link, init::READY, Some(patience)).map_err(Fault::of(Step::Handshake))?;
    init::say(link, init::GO).map_err(Fault::of(Step::Handshake))
}

/// Reads until the command executes. Nothing at all means that it does.
fn read_fault(pipe: &OwnedFd, patience: &Patience<'_>) -> Result<(), Fault> {
    let message = patience.read_all(pipe).map_err(Fault::of(Step::Handshake))?;
    Fault::decode(&message).map_or(Ok(()), Err)
}
