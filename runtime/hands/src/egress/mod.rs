//! The one way out of a sandbox: a proxy outside it that knows names, checks addresses, and tunnels bytes.
//!
//! Inside there is no network but loopback, and on it one listener whose descriptor was handed out here. The proxy is a
//! process beside the shim: it lives as long as the command, whatever becomes of the runtime, and ends with the shim.
//! What it did not let through is evidence in the command directory ([`traffic`]).

pub mod address;
mod allow;
mod evidence;
mod proxy;
mod request;
mod resolve;

use std::ffi::CString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

pub use allow::{AllowList, BadName, Destination, preset_names};
pub use evidence::{Denied, Traffic, traffic};
pub use resolve::Fixture;

use crate::dir;
use crate::patience::Patience;
use crate::sys::{self, Fork};
use evidence::Evidence;

/// The word that makes the program a proxy: `PROGRAM egress DIR`.
pub(crate) const VERB: &str = "egress";

/// The way out of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// Where it leads.
    pub allow: AllowList,
    /// For tests of the proxy itself.
    #[doc(hidden)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixture: Option<Fixture>,
}

/// A running proxy, child of the shim: a hold of exactly this process, whatever becomes of its pid.
pub(crate) struct Proxy(OwnedFd);

impl Proxy {
    /// Starts the proxy of the command in `dir` on a listener of its sandbox; returns once it serves.
    pub(crate) fn start(listener: OwnedFd, dir: &Path, patience: &Patience<'_>) -> io::Result<Self> {
        let exe = c"/proc/self/exe".to_owned();
        let dir = CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let argv = [c"longhaul".to_owned(), CString::new(VERB)?, dir];
        let (told, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let shim = process::getpid();
        let pid = match sys::fork()? {
            Fork::Child => {
                let _ = become_the_proxy(shim, &listener, &tell)
                    .map(|()| sys::exec(std::slice::from_ref(&exe), &argv, &[]));
                sys::exit_now(127)
            }
            Fork::Parent(pid) => i32::try_from(pid).ok().and_then(Pid::from_raw),
        };
        drop((tell, listener));
        let pid = pid.ok_or_else(|| io::Error::other("fork returned no pid"))?;
        let proxy = Self(process::pidfd_open(pid, process::PidfdFlags::empty())?);
        let mut word = [0; 1];
        loop {
            let served = patience
                .wait_for(told.as_fd())
                .and_then(|()| rustix::io::read(&told, &mut word));
            let error = match served {
                Ok(1) => return Ok(proxy),
                Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => io::Error::other("the proxy did not come up"),
                Err(error) => error.into(),
            };
            proxy.end();
            return Err(error);
        }
    }

    /// Ends it at once. What it wrote down is in the file.
    pub(crate) fn end(self) {
        let _ = process::pidfd_send_signal(&self.0, Signal::KILL);
        let _ = Patience::of_the_dead().wait_for(self.0.as_fd());
        let gone = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = process::waitid(WaitId::PidFd(self.0.as_fd()), gone);
    }
}

/// Between fork and exec: the listener becomes standard input, the pipe standard output, and nothing else is passed on.
fn become_the_proxy(shim: Pid, listener: &OwnedFd, tell: &OwnedFd) -> io::Result<()> {
    die_with(shim)?;
    rustix::stdio::dup2_stdin(listener)?;
    rustix::stdio::dup2_stdout(tell)?;
    sys::close_all_from_3_on_exec()
}

fn die_with(shim: Pid) -> io::Result<()> {
    process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if process::getppid() != Some(shim) {
        sys::exit_now(127);
    }
    Ok(())
}

/// Is the proxy of the command in `dir`, for as long as the process lives.
pub(crate) fn run(dir: &Path) -> ! {
    let _ = come_up(dir).map(|(listener, rules, evidence)| proxy::serve(&listener, rules, evidence));
    sys::exit_now(1)
}

fn come_up(dir: &Path) -> io::Result<(TcpListener, Egress, Evidence)> {
    let spec = dir::read_spec(dir)?;
    let rules = spec
        .egress
        .ok_or_else(|| io::Error::other("the command has no way out"))?;
    let evidence = Evidence::create(dir)?;
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(false)?;
    let shim = process::getppid();
    give_up_rights()?;
    // A change of user forgets the wish to die with the shim.
    shim.map_or(Ok(()), die_with)?;
    rustix::io::write(io::stdout().as_fd(), b"+")?;
    Ok((listener, rules, evidence))
}

/// Strangers talk to it, so it keeps what it has open and nothing else: no user but nobody's, no new rights, no core.
fn give_up_rights() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, setrlimit};
    use rustix::thread::{Gid, Uid};
    let limits = [
        (Resource::Core, 0),
        (Resource::Nofile, 512),
        (Resource::Fsize, 4 << 20),
    ];
    for (resource, most) in limits {
        let had = process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let most = Some(had.min(most));
        setrlimit(
            resource,
            Rlimit {
                current: most,
                maximum: most,
            },
        )?;
    }
    rustix::thread::set_no_new_privs(true)?;
    if process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        // One thread so far; those that are begun later have what this one has.
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The user and group that own nothing.
const NOBODY: u32 = 65_534;
