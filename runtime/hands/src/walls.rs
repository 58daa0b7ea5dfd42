//! What the walls around a command are to be: plain data of the spec, no I/O.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The workspace as an isolated command sees it.
pub const INSIDE_WORKSPACE: &str = "/workspace";
/// The home folder as an isolated command sees it. It is kept from one command of a session to the next.
pub const INSIDE_HOME: &str = "/home/agent";
/// The temporary folder as an isolated command sees it. It is empty when a command begins and gone when it ends.
pub const INSIDE_TMP: &str = "/tmp";
/// Where a command finds the way out, if it has one and a network of its own: a CONNECT proxy, on the loopback device.
pub const INSIDE_PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3128);

/// The walls of an isolated command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Walls {
    /// The user of this machine that the command is, seen from outside; inside it is uid 1000. None: the user of the
    /// runtime, which must not be root.
    pub host_uid: Option<u32>,
    /// Its network.
    pub network: Network,
    /// Where the way out is inside, if there is one. Commands that share a network need places of their own.
    pub proxy: SocketAddrV4,
    /// The command directory of a running service whose network it shares, instead of having one of its own.
    pub beside: Option<PathBuf>,
    /// Its `/proc`.
    pub proc: ProcMount,
    /// Room in `/tmp`, and as much again in `/dev/shm`, bytes.
    pub tmp_bytes: u64,
    /// Further folders and files of this machine that it sees under the same path and cannot change: toolchains.
    pub read_only: Vec<PathBuf>,
    /// Paths in the workspace that it can neither change nor move away, as far as they exist.
    pub protected: Vec<PathBuf>,
    /// Whether a kernel without Landlock is refused. Otherwise that layer is left out, and the record says so.
    pub require_landlock: bool,
}

impl Default for Walls {
    fn default() -> Self {
        Self {
            host_uid: None,
            network: Network::None,
            proxy: INSIDE_PROXY,
            beside: None,
            proc: ProcMount::Private,
            tmp_bytes: 512 << 20,
            read_only: Vec::new(),
            protected: Vec::new(),
            require_landlock: false,
        }
    }
}

/// What network an isolated command has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Network {
    /// A loopback device of its own, and nothing else.
    #[default]
    None,
    /// The same, with a listener at [`Walls::proxy`] that is handed out of the sandbox.
    Proxy,
}

/// What `/proc` an isolated command has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProcMount {
    /// One of its own, with its own processes.
    #[default]
    Private,
    /// An empty folder, for machines that allow no other: many programs do without.
    None,
}

impl Walls {
    /// Has this command share the network of the service that runs in the command directory `dir`, with its own way out.
    pub fn stand_beside(&mut self, dir: &Path, step: u64) {
        self.beside = Some(dir.to_owned());
        // All of 127.0.0.0/8 is the loopback device: a place of its own for each step, none of them that of the service.
        let [.., top, high, low] = step.to_be_bytes();
        let place = Ipv4Addr::new(127, 128 | (top & 0x7f), high, low);
        self.proxy = SocketAddrV4::new(place, INSIDE_PROXY.port());
    }

    /// Checks what can be checked without touching the machine.
    ///
    /// # Errors
    /// A sentence naming the field and what it must look like.
    pub fn check(&self) -> Result<(), String> {
        if self.host_uid == Some(0) {
            return Err("host_uid is 0; an isolated command is never root".to_owned());
        }
        if !self.proxy.ip().is_loopback() {
            return Err(format!("proxy {} must be on the loopback device", self.proxy));
        }
        if let Some(dir) = self.beside.as_ref().filter(|dir| !dir.is_absolute()) {
            return Err(format!("beside {} must be an absolute path", dir.display()));
        }
        for path in &self.read_only {
            let plain = path.is_absolute()
                && path
                    .components()
                    .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            if !plain || path.parent().is_none() {
                return Err(format!(
                    "read_only {} must be an absolute path without '..', and not the root",
                    path.display()
                ));
            }
            let taken = ["/workspace", "/home/agent", "/tmp", "/proc", "/dev", "/etc"];
            if let Some(taken) = taken.iter().find(|taken| path.starts_with(taken)) {
                return Err(format!(
                    "read_only {} lies in {taken}, which a command has of its own",
                    path.display()
                ));
            }
        }
        for path in &self.protected {
            let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
            if !plain || path == Path::new("") {
                return Err(format!(
                    "protected {} must be a path relative to the workspace, without '..'",
                    path.display()
                ));
            }
        }
        Ok(())
    }
}
