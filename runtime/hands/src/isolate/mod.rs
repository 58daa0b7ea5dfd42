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
//! | what is the same for all commands | `frame` |
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
mod frame;
mod init;
mod namespaces;
mod order;
mod report;
mod root;
mod seccomp;
mod uid;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{self, Pid, WaitId, WaitIdOptions};

pub(crate) use beside::{Door, Doorkeeper};
pub(crate) use fault::{Fault, Step};
pub(crate) use frame::Frame;
pub(crate) use init::{Ended, Inside, Job, ended};
pub(crate) use report::main_if_probe;
pub use report::{IsolationReport, Layer, Refusal, probe};
pub use uid::session_uid;

use self::namespaces::Ids;
use self::root::Memory;
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

/// A sandbox without a command so far, and an init in it that waits. Dropped, it is ended.
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

/// Which process one is after [`fork`].
pub(crate) enum Side {
    Init(Inside),
    Shim(Unborn),
}

/// Forks init into namespaces of its own, or into those of the service in the command directory `beside`.
pub(crate) fn fork(frame: &Frame, beside: Option<&Path>) -> Result<Side, Fault> {
    let memory = Memory::made_outside(frame);
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
                memory,
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
    pub(crate) fn run(self, frame: &Frame, walls: &Walls, job: Job<'_>) -> ! {
        init::run(self, frame, walls, job)
    }

    /// Is init, for the command that the shim will name; ends with the shim if there is none.
    pub(crate) fn run_what_comes(self, frame: &Frame, outputs: [OwnedFd; 2], is_grouped: bool) -> ! {
        order::obey(self, frame, outputs, is_grouped)
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

    /// Has everything built that is the same for all commands, by an init that then waits for its order.
    ///
    /// # Errors
    /// The step that failed, as far as it can be seen from outside: the sandbox is good for nothing.
    pub(crate) fn raise(
        &self,
        frame: &Frame,
        patience: &Patience<'_>,
        adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
    ) -> Result<Door, Fault> {
        let door = raise(frame, false, self.pid()?, self.link.as_fd(), patience, adopt)?;
        await_ready(self.link.as_fd(), patience)?;
        Ok(door)
    }

    /// Names the command to an init that was [raised](Self::raise) and waits for one: its user, the text of its spec, and its
    /// standard input. The rest is built from here on; nothing of it executes before it is [led](Self::lead) on.
    ///
    /// # Errors
    /// As [`Self::raise`].
    pub(crate) fn order(&self, walls: &Walls, spec: &File, stdin: &File) -> Result<(), Fault> {
        let ids = Ids::of(walls);
        if ids.changes_user() {
            ids.map(self.pid()?)?;
        }
        order::give(self.link.as_fd(), spec, stdin).map_err(Fault::of(Step::Handshake))
    }

    fn pid(&self) -> Result<Pid, Fault> {
        self.init
            .0
            .ok_or_else(|| Fault::of(Step::Namespaces)(Errno::SRCH))
    }

    /// Has the sandbox built, unless it has its [order](Self::order) (then this is its door), and its job started.
    ///
    /// `adopt` is called with the pid of init before anything of the sandbox exists: to put it into control groups. `serve`
    /// gets the listener inside, with [`Network::Proxy`](crate::Network::Proxy), before the job executes.
    ///
    /// # Errors
    /// The step that failed: nothing of the job has executed. `TIMEDOUT` or `CANCELED` when the `patience` was over.
    pub(crate) fn lead(
        self,
        walls: &Walls,
        raised: Option<Door>,
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
        let raised = match raised {
            Some(door) => Ok(door),
            None => build(walls, init, link.as_fd(), patience, adopt),
        };
        let led = raised.and_then(|door| go(walls, link.as_fd(), patience, serve).map(|()| door));
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
    let frame = Frame::of(walls);
    let unborn = match fork(&frame, walls.beside.as_deref())? {
        Side::Init(inside) => inside.run(&frame, walls, job),
        Side::Shim(unborn) => unborn,
    };
    // With its write ends, or the pipes would never end.
    std::mem::drop(job);
    unborn.lead(walls, None, patience, adopt, serve)
}

/// The shim's part in a sandbox whose job init knows from the start.
fn build(
    walls: &Walls,
    init: Pid,
    link: BorrowedFd<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
) -> Result<Door, Fault> {
    let frame = Frame::of(walls);
    let is_mapped = walls.beside.is_some();
    let door = raise(&frame, is_mapped, init, link, patience, adopt)?;
    if frame.ids.is_none() {
        await_ready(link, patience)?;
        if !is_mapped {
            Ids::of(walls).map(init)?;
        }
        init::say(link, init::MOVE_IN).map_err(Fault::of(Step::Handshake))?;
    }
    Ok(door)
}

/// The shim's part before init builds: gives it its ids, as far as they are known and not there, and remembers its network.
fn raise(
    frame: &Frame,
    is_mapped: bool,
    init: Pid,
    link: BorrowedFd<'_>,
    patience: &Patience<'_>,
    adopt: &mut dyn FnMut(Pid) -> Result<(), Fault>,
) -> Result<Door, Fault> {
    await_ready(link, patience)?;
    adopt(init)?;
    if let Some(ids) = frame.ids.filter(|_| !is_mapped) {
        ids.map(init)?;
    }
    // Later nobody may look at init any more.
    let door = Door::of(init).map_err(Fault::of(Step::Namespaces))?;
    init::say(link, init::RAISE).map_err(Fault::of(Step::Handshake))?;
    Ok(door)
}

fn await_ready(link: BorrowedFd<'_>, patience: &Patience<'_>) -> Result<(), Fault> {
    init::await_word(link, init::READY, Some(patience)).map_err(Fault::of(Step::Handshake))
}

/// The shim's part when the root stands: takes the listener, and lets the job begin.
fn go(
    walls: &Walls,
    link: BorrowedFd<'_>,
    patience: &Patience<'_>,
    serve: &mut dyn FnMut(OwnedFd) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if walls.network == crate::Network::Proxy {
        serve(init::take_listener(link, patience).map_err(Fault::of(Step::Listener))?)?;
    }
    await_ready(link, patience)?;
    init::say(link, init::GO).map_err(Fault::of(Step::Handshake))
}

/// Reads until the command executes. Nothing at all means that it does.
fn read_fault(pipe: &OwnedFd, patience: &Patience<'_>) -> Result<(), Fault> {
    let message = patience.read_all(pipe).map_err(Fault::of(Step::Handshake))?;
    Fault::decode(&message).map_or(Ok(()), Err)
}
