//! How the commands of sessions are walled in: what was chosen, what this machine can do, and what is refused.
//!
//! Nothing is ever weaker than it was asked for. What is missing is found out by building the walls once, before the
//! first session is started, and refused by name with the way on.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use longhaul_actors::ports::SetupError;
use longhaul_actors::session::{Isolation, Sandbox};
use longhaul_hands::{self as hands, IsolationReport, Layer, Refusal, Walls};
use serde::{Deserialize, Serialize};

use crate::api::{Code, Problem};

/// What `/proc` isolated commands get.
pub use longhaul_hands::ProcMount;

/// How a runtime walls in the commands of its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxOptions {
    /// For sessions that do not ask for one way or the other. [`Sandbox::Process`] here is also a consent to sessions that
    /// ask for it.
    pub default: Sandbox,
    /// Whether sessions may ask to run without walls. They are refused otherwise.
    pub allow_process: bool,
    /// What `/proc` isolated commands get.
    pub proc: ProcMount,
    /// Refuse a kernel without Landlock, instead of saying in the record that this layer is missing.
    pub require_landlock: bool,
    /// Folders and files of this machine that isolated commands see under the same path and cannot change: toolchains
    /// that live in somebody's home.
    pub read_only: Vec<PathBuf>,
}

impl SandboxOptions {
    /// No walls, by explicit consent: commands run as the user of this process.
    pub fn process() -> Self {
        Self {
            default: Sandbox::Process,
            ..Self::default()
        }
    }

    /// Whether there is consent to commands without walls.
    pub(crate) fn consents_to_process(&self) -> bool {
        self.allow_process || self.default == Sandbox::Process
    }

    /// The walls of a session, but for what is its own.
    pub(crate) fn walls(&self) -> Walls {
        Walls {
            proc: self.proc,
            require_landlock: self.require_landlock,
            read_only: self.read_only.clone(),
            ..Walls::default()
        }
    }
}

/// How one session is walled in, kept beside its workspace: what is made for a user of its own stays that user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub(crate) enum Walled {
    /// Not at all.
    #[default]
    Process,
    /// Isolated, as this user of the machine; the runtime's own when there is none.
    Isolated {
        #[serde(default)]
        host_uid: Option<u32>,
    },
}

impl Walled {
    /// The word for records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Process => Sandbox::Process.name(),
            Self::Isolated { .. } => Sandbox::Isolated.name(),
        }
    }
}

/// What was chosen, with what was found out about this machine.
#[derive(Debug)]
pub(crate) struct Sandboxing {
    options: SandboxOptions,
    shim: PathBuf,
    isolated: OnceLock<Result<IsolationReport, Refusal>>,
}

impl Sandboxing {
    /// What was chosen, for commands that run under this program.
    pub(crate) fn new(options: SandboxOptions, shim: PathBuf) -> Self {
        Self {
            options,
            shim,
            isolated: OnceLock::new(),
        }
    }

    /// What this machine can do. Blocks for some milliseconds the first time.
    fn isolated(&self) -> &Result<IsolationReport, Refusal> {
        self.isolated.get_or_init(|| look(&self.options, &self.shim))
    }

    /// What a session that asks for this gets. May block for some milliseconds.
    ///
    /// # Errors
    /// `sandbox_refused` for a wish without the operator's consent, `sandbox_unavailable` for one that cannot be met.
    pub(crate) fn agree(&self, wish: Option<Sandbox>) -> Result<Sandbox, Problem> {
        match wish.unwrap_or(self.options.default) {
            Sandbox::Process if !self.options.consents_to_process() => Err(no_consent()),
            Sandbox::Process => Ok(Sandbox::Process),
            Sandbox::Isolated => match self.isolated() {
                Ok(_) => Ok(Sandbox::Isolated),
                Err(refusal) => Err(unavailable(refusal)),
            },
        }
    }

    /// The same once more, when the session's hands are made ready; with what they have then.
    ///
    /// # Errors
    /// [`SetupError`], whose code is `sandbox_refused` or the name of what is missing.
    pub(crate) fn ready(&self, wish: Option<Sandbox>) -> Result<Isolation, SetupError> {
        let refused = |code: &str, detail: String| SetupError {
            code: code.to_owned(),
            detail,
            report: None,
        };
        match wish.unwrap_or(self.options.default) {
            Sandbox::Process if !self.options.consents_to_process() => {
                Err(refused(Code::SandboxRefused.name(), no_consent().detail))
            }
            Sandbox::Process => Ok(Isolation {
                mode: Sandbox::Process.name().into(),
                network: Some("host".into()),
                ..Isolation::default()
            }),
            Sandbox::Isolated => match self.isolated() {
                Ok(report) => Ok(shown(report)),
                Err(refusal) => {
                    let ways = refusal.ways_on.join("; or ");
                    Err(refused(&refusal.code, format!("{}; {ways}", refusal.detail)))
                }
            },
        }
    }

    /// The walls of a command.
    ///
    /// # Errors
    /// In words: there is no consent to a session without walls.
    pub(crate) fn walls(&self, walled: Walled) -> Result<Option<Walls>, String> {
        match walled {
            Walled::Process if !self.options.consents_to_process() => Err(no_consent().detail),
            Walled::Process => Ok(None),
            Walled::Isolated { host_uid } => {
                let mut walls = self.options.walls();
                walls.host_uid = host_uid;
                Ok(Some(walls))
            }
        }
    }
}

/// Builds the walls once, as the commands of some session will have them.
pub(crate) fn look(options: &SandboxOptions, shim: &Path) -> Result<IsolationReport, Refusal> {
    let mut walls = options.walls();
    walls.host_uid = user_of("probe");
    hands::probe(shim, &walls)
}

/// The user of the machine that a session is, if this process may choose one.
pub(crate) fn user_of(session: &str) -> Option<u32> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    // Without any the walls refuse to stand: an isolated command is never root.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    hands::session_uid(session, &map)
}

pub(crate) fn shown(report: &IsolationReport) -> Isolation {
    Isolation {
        mode: Sandbox::Isolated.name().into(),
        layers: report.layers.iter().map(|layer| layer_name(*layer)).collect(),
        landlock_abi: Some(report.landlock_abi),
        network: Some("none".into()),
        limits: None,
    }
}

fn layer_name(layer: Layer) -> String {
    let value = serde_json::to_value(layer).ok();
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{layer:?}").to_lowercase())
}

pub(crate) fn unavailable(refusal: &Refusal) -> Problem {
    let problem = Problem::new(Code::SandboxUnavailable, refusal.to_string());
    refusal.ways_on.iter().fold(problem, |problem, way| {
        problem.next(way.clone(), "longhaul doctor")
    })
}

fn no_consent() -> Problem {
    Problem::new(
        Code::SandboxRefused,
        "this runtime does not consent to commands without walls; whoever operates it can",
    )
    .next("run behind walls", "longhaul run --sandbox=isolated")
    .next("or consent", "longhaul serve --allow-process-sandbox")
}
