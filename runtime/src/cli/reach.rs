//! Finding the data directory, and somebody who answers for it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longhaul_actors::session::{ResourcesWish, Sandbox};
use longhaul_journal::StreamId;

use super::joints;
use super::settings;
use super::shelf::{self, Shelf};
use super::ui::Ui;
use crate::api::{Code, Problem, TokenText};
use crate::http::ControlSocket;
use crate::limiting::{LimitOptions, Limiting};
use crate::sandbox::{self, SandboxOptions};
use crate::{Control, Mode, Options, Runtime};

/// The data directory that this command line is about.
#[derive(Clone, Debug)]
pub(super) struct Place {
    data: PathBuf,
    limiting: LimitOptions,
    resources: ResourcesWish,
    sandbox: SandboxOptions,
    policy: Option<PathBuf>,
    /// What is shown to whoever serves.
    token: Option<TokenText>,
}

impl Place {
    /// The one that was named (by flag or by `LONGHAUL_DATA`), else the one of this user.
    pub(super) fn find(named: Option<PathBuf>, policy: Option<PathBuf>) -> Result<Self, Problem> {
        let data = named
            .or_else(|| of_user(|name| std::env::var_os(name)))
            .ok_or_else(|| {
                Problem::new(Code::InvalidRequest, "no data directory: HOME is not set")
                    .next("name one", "longhaul --data DIR ...")
            })?;
        let data = std::path::absolute(&data).map_err(|error| {
            Problem::new(
                Code::InvalidRequest,
                format!("cannot use {}: {error}", data.display()),
            )
        })?;
        check_directory(&data)?;
        Ok(Self {
            data,
            limiting: LimitOptions::default(),
            resources: ResourcesWish::default(),
            policy,
            token: settings::token(),
            sandbox: SandboxOptions::default(),
        })
    }

    /// How a runtime of our own holds commands to what they may use, and what that is for sessions that do not say.
    pub(super) fn hold(&mut self, limiting: LimitOptions, resources: ResourcesWish) {
        (self.limiting, self.resources) = (limiting, resources);
    }

    /// How a runtime of our own walls in the commands it runs.
    pub(super) fn wall_in(&mut self, sandbox: SandboxOptions) {
        self.sandbox = sandbox;
    }

    /// Whether this machine can wall commands in and hold them to their limits as they are to be.
    ///
    /// # Errors
    /// `sandbox_unavailable`: what is missing, and the ways on.
    pub(super) fn check_the_walls(&self) -> Result<(), Problem> {
        Limiting::new(self.limiting.clone()).agree(self.sandbox.default)?;
        if self.sandbox.default == Sandbox::Process {
            return Ok(());
        }
        sandbox::look(&self.sandbox, &joints::shim_as_run()?)
            .map(|_| ())
            .map_err(|refusal| sandbox::unavailable(&refusal))
    }

    /// The policy file that was named.
    pub(super) fn policy(&self) -> Option<&Path> {
        self.policy.as_deref()
    }

    /// Its path, absolute.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Whoever serves, if anybody does. With a token there must be somebody: it is not for us to judge.
    async fn served(&self) -> Result<Option<Arc<dyn Control>>, Problem> {
        let control = joints::connect(&self.data, self.token.as_ref()).await?;
        if control.is_none() && self.token.is_some() {
            let detail = "LONGHAUL_TOKEN is set, and a token is shown to whoever serves; nobody does";
            return Err(Problem::new(Code::NotServing, detail)
                .next("serve the directory", "longhaul serve")
                .next(
                    "or do without the token, as the owner",
                    "env -u LONGHAUL_TOKEN longhaul ...",
                ));
        }
        Ok(control)
    }

    /// Somebody who can be asked: whoever serves, else the files. Takes no lock and writes nothing.
    pub(super) async fn to_read(&self) -> Result<Reach, Problem> {
        if let Some(control) = self.served().await? {
            return Ok(Reach::elsewhere(control));
        }
        Ok(Reach {
            control: Arc::new(Shelf::new(&self.data)),
            through: Through::Files,
        })
    }

    /// Somebody who can take a wish: whoever serves, else a runtime of our own that writes it down and does no work.
    pub(super) async fn to_wish(&self) -> Result<Reach, Problem> {
        if let Some(control) = self.served().await? {
            return Ok(Reach::elsewhere(control));
        }
        let runtime = self.open(Mode::Dormant).await?;
        Ok(Reach {
            control: runtime.control(),
            through: Through::Here {
                runtime,
                socket: None,
            },
        })
    }

    /// The same for a wish about a session: where there is no journal there is no such session, and none is made to say so.
    pub(super) async fn to_wish_about(&self, id: &str) -> Result<Reach, Problem> {
        self.to_wish_unless(|| shelf::no_session(id)).await
    }

    /// The same for a word on a request for approval.
    pub(super) async fn to_decide_on(&self, id: &str) -> Result<Reach, Problem> {
        self.to_wish_unless(|| joints::no_such(id)).await
    }

    /// Somebody who can be asked what only a runtime knows; where there is no journal the answer is `missing`, and no
    /// directory is made to say so.
    pub(super) async fn to_wish_unless(&self, missing: impl FnOnce() -> Problem) -> Result<Reach, Problem> {
        if joints::holds_a_journal(&self.data) {
            self.to_wish().await
        } else {
            Err(missing())
        }
    }

    /// Somebody who works for one session: whoever serves, else a runtime of our own, which others can talk to.
    pub(super) async fn to_work(&self, stream: StreamId, ui: &Ui) -> Result<Reach, Problem> {
        if let Some(control) = self.served().await? {
            return Ok(Reach::elsewhere(control));
        }
        let runtime = self.open(Mode::Only(stream)).await?;
        let control = runtime.control();
        let socket = match ControlSocket::bind(&self.data, Arc::clone(&control)).await {
            Ok(socket) => Some(socket),
            // The work can be done all the same; only nobody can talk to it.
            Err(problem) => {
                ui.note(&format!(
                    "note: no other command can reach this session: {problem}"
                ));
                None
            }
        };
        match runtime.left_waiting() {
            0 => {}
            1 => ui.note("note: 1 other session waits for somebody who serves: longhaul serve"),
            others => ui.note(&format!(
                "note: {others} other sessions wait for somebody who serves: longhaul serve"
            )),
        }
        Ok(Reach {
            control,
            through: Through::Here { runtime, socket },
        })
    }

    /// A runtime of our own.
    pub(super) async fn open(&self, mode: Mode) -> Result<Runtime, Problem> {
        self.open_with(settings::options(mode)?).await
    }

    /// A runtime of our own with these options, at the socket of the directory.
    pub(super) async fn open_with(&self, mut options: Options) -> Result<Runtime, Problem> {
        // Whoever holds a directory has the keys of brains and what sessions wrote in its memory. `run`, `serve` and whoever
        // else acts without a server come through here; who only talks to one has nothing to hide.
        if let Err(error) = longhaul_hands::keep_to_oneself() {
            tracing::warn!(%error, "other processes of this user may look into this one");
        }
        let mode = options.mode;
        options.sandbox = self.sandbox.clone();
        options.limiting = self.limiting.clone();
        options.limits.resources = self.resources.over(options.limits.resources);
        options.policy.clone_from(&self.policy);
        // A dormant runtime is gone in a moment and answers nobody.
        options.socket = (mode != Mode::Dormant)
            .then(|| joints::socket_of(&self.data))
            .flatten();
        Runtime::open(&self.data, options).await
    }
}

/// A directory that is there, or could be made.
fn check_directory(data: &Path) -> Result<(), Problem> {
    let wrong = match std::fs::metadata(data) {
        Ok(found) if !found.is_dir() => "it is a file, not a directory",
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => "part of its path is a file",
        // Whatever else is wrong is told by whoever opens it.
        _ => return Ok(()),
    };
    let detail = format!("{} cannot be the data directory: {wrong}", data.display());
    Err(Problem::new(Code::InvalidRequest, detail).next("name a directory", "longhaul --data DIR ..."))
}

/// `$XDG_DATA_HOME/longhaul`, else `~/.local/share/longhaul`. The standard says that a relative value is to be ignored.
fn of_user(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let shared = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Some(shared?.join("longhaul"))
}

/// Somebody who answers for the sessions.
pub(super) struct Reach {
    control: Arc<dyn Control>,
    through: Through,
}

enum Through {
    /// A process that serves, over its socket.
    Socket,
    /// A runtime in this process.
    Here {
        runtime: Runtime,
        socket: Option<ControlSocket>,
    },
    /// Nobody: the files are read.
    Files,
}

impl Reach {
    fn elsewhere(control: Arc<dyn Control>) -> Self {
        Self {
            control,
            through: Through::Socket,
        }
    }

    /// What can be asked.
    pub(super) fn control(&self) -> &dyn Control {
        &*self.control
    }

    /// Whether the runtime is in this process, and ends with it.
    pub(super) const fn is_here(&self) -> bool {
        matches!(self.through, Through::Here { .. })
    }

    /// Whether only files are read, so that somebody might begin to serve meanwhile.
    pub(super) const fn is_files(&self) -> bool {
        matches!(self.through, Through::Files)
    }

    /// Whether a wish may be sent again over another reach: it was not granted, or nobody knows. Only for wishes that
    /// carry a key, so that a repeat is known again.
    pub(super) fn may_repeat(&self, problem: &Problem) -> bool {
        matches!(self.through, Through::Socket)
            && matches!(problem.code, Code::NotServing | Code::OutcomeUnknown)
    }

    /// Says more about a wish that nobody took: over a socket it means that a `run` has the directory for itself.
    pub(super) fn explained(&self, problem: Problem) -> Problem {
        if problem.code != Code::NotServing || !matches!(self.through, Through::Socket) {
            return problem;
        }
        let detail = "whoever has this directory works for another session only, or has just gone";
        Problem::new(Code::NotServing, detail)
            .next("once it has ended, work for all sessions", "longhaul serve")
            .next("or use another directory", "longhaul --data DIR ...")
    }

    /// Lets go: a runtime of our own stops in good order.
    pub(super) async fn close(self) {
        if let Through::Here { runtime, socket } = self.through {
            drop(self.control);
            if let Some(socket) = socket {
                socket.close().await;
            }
            runtime.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(environment: &[(&str, &str)]) -> Option<PathBuf> {
        of_user(|name| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn the_data_directory_is_where_the_desktop_standard_puts_it() {
        assert_eq!(
            found(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]),
            Some("/x/longhaul".into())
        );
        assert_eq!(found(&[("HOME", "/h")]), Some("/h/.local/share/longhaul".into()));
        assert_eq!(
            found(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]),
            Some("/h/.local/share/longhaul".into())
        );
        assert_eq!(found(&[("HOME", "")]), None);
    }
}
