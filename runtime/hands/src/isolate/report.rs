//! What this machine can wall off, found out by doing it; and what it lacks, by name, with the way on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{self, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Step};
use super::init::Job;
use crate::limits::Rlimits;
use crate::patience::Patience;
use crate::walls::{Network, ProcMount, Walls};
use crate::{sabotage, sys};

/// What stands between an isolated command and the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layer {
    /// Namespaces of its own: users, mounts, processes, network, IPC, host name, control groups.
    Namespaces,
    /// A root built from nothing.
    Root,
    /// A user of the machine that is neither the runtime's nor another session's.
    User,
    /// No capability, and no way to one.
    Capabilities,
    /// Filtered system calls.
    Seccomp,
    /// File rules of the kernel's own.
    Landlock,
    /// Its own `/proc`.
    Proc,
}

/// What isolated commands get on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsolationReport {
    /// What stands.
    pub layers: Vec<Layer>,
    /// Version of Landlock in the kernel, 0 for none.
    pub landlock_abi: u32,
    /// Whether commands have a way out of their own network.
    pub network: Network,
    /// Whether each session is a user of its own.
    pub own_user: bool,
}

/// What this machine lacks for isolation as it was asked for. Nothing has been executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// `sandbox.userns_unavailable`, `sandbox.proc_masked`, `sandbox.seccomp_unavailable`,
    /// `sandbox.landlock_unavailable`, `sandbox.unavailable`.
    pub code: String,
    /// What failed and how, in a sentence.
    pub detail: String,
    /// What can be done about it, the best first.
    pub ways_on: Vec<String>,
}

/// The verb of a program that is its own shim, for [`probe`].
const VERB: &str = "shim-probe";

/// Builds the walls once, executes nothing, and says what stood. Takes a few milliseconds, and blocks.
///
/// `shim_exe` is a program as for [`launch`](crate::launch); the walls are built by it, since they need a process with one
/// thread.
///
/// # Errors
/// [`Refusal`]: what is missing, and the way on.
pub fn probe(shim_exe: &Path, walls: &Walls) -> Result<IsolationReport, Refusal> {
    let unavailable = |detail: String| Refusal {
        code: "sandbox.unavailable".to_owned(),
        detail,
        ways_on: vec![PROCESS.to_owned()],
    };
    walls.check().map_err(unavailable)?;
    let run = || -> io::Result<String> {
        let mut child = Command::new(shim_exe)
            .arg(VERB)
            .env_clear()
            .envs(sabotage::passed_on())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let wish = serde_json::to_vec(walls).map_err(io::Error::other)?;
        let written = child
            .stdin
            .take()
            .map_or(Ok(()), |mut stdin| stdin.write_all(&wish));
        let output = child.wait_with_output()?;
        written?;
        String::from_utf8(output.stdout).map_err(io::Error::other)
    };
    let answer = run().map_err(|error| unavailable(format!("cannot ask {}: {error}", shim_exe.display())))?;
    match serde_json::from_str::<Answer>(&answer) {
        Ok(Answer::Stood(report)) => Ok(report),
        Ok(Answer::Lacks(refusal)) => Err(refusal),
        Err(_) => Err(unavailable(format!(
            "{} is no shim of this version",
            shim_exe.display()
        ))),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Stood(IsolationReport),
    Lacks(Refusal),
}

/// Answers [`probe`] and ends, if the program was called for that.
pub(crate) fn main_if_probe() {
    let mut args = std::env::args_os().skip(1);
    if args.next().as_deref() != Some(OsStr::new(VERB)) || args.next().is_some() {
        return;
    }
    let mut wish = String::new();
    let walls = io::stdin()
        .take(1 << 20)
        .read_to_string(&mut wish)
        .and_then(|_| serde_json::from_str::<Walls>(&wish).map_err(io::Error::other));
    let code = match walls.and_then(|walls| try_it(&walls)) {
        Ok(answer) => {
            let text = serde_json::to_string(&answer).unwrap_or_default();
            let mut stdout = io::stdout();
            let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            i32::from(written.is_err())
        }
        Err(_) => 1,
    };
    sys::exit_now(code)
}

fn try_it(walls: &Walls) -> io::Result<Answer> {
    sys::must_be_single_threaded()?;
    let null = || File::options().read(true).write(true).open("/dev/null");
    // Any folder does: nothing is executed that could write to it.
    let folder = PathBuf::from("/usr");
    let job = Job {
        workspace: &folder,
        home: &folder,
        cwd: Path::new(""),
        stdin: null()?,
        stdout: null()?.into(),
        stderr: null()?.into(),
        rlimits: Rlimits::default(),
        program: None,
    };
    let patience = Patience::of_a_set_up();
    let built = super::start(walls, job, &patience, &mut |_| Ok(()), &mut |_| Ok(()));
    Ok(match built {
        Ok(sandbox) => {
            let _ = process::waitid(WaitId::Pid(sandbox.init), WaitIdOptions::EXITED);
            match super::ended(&sandbox.status) {
                super::Ended::Exited(0) => Answer::Stood(report(walls)),
                other => Answer::Lacks(Refusal {
                    code: "sandbox.unavailable".to_owned(),
                    detail: format!("the walls stood, and what was behind them ended as {other:?}"),
                    ways_on: vec![PROCESS.to_owned()],
                }),
            }
        }
        Err(fault) => Answer::Lacks(refusal(fault, &Machine::look())),
    })
}

fn report(walls: &Walls) -> IsolationReport {
    let landlock_abi = sys::landlock_abi();
    let own_user = super::namespaces::Ids::of(walls).changes_user();
    let mut layers = vec![Layer::Namespaces, Layer::Root];
    layers.extend(own_user.then_some(Layer::User));
    layers.extend([Layer::Capabilities, Layer::Seccomp]);
    layers.extend((landlock_abi > 0).then_some(Layer::Landlock));
    layers.extend((walls.proc == ProcMount::Private).then_some(Layer::Proc));
    IsolationReport {
        layers,
        landlock_abi,
        network: walls.network,
        own_user,
    }
}

const PROCESS: &str = "--sandbox=process runs commands without walls, as the user of the runtime";

/// What the machine says about user namespaces, as far as it does.
#[derive(Debug, Default)]
struct Machine {
    max_user_namespaces: Option<String>,
    unprivileged_clone: Option<String>,
    apparmor_restricts: Option<String>,
}

impl Machine {
    fn look() -> Self {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        Self {
            max_user_namespaces: read("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: read("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        }
    }
}

/// Names what is missing. Pure: from the step that failed, and what the machine says.
fn refusal(fault: Fault, machine: &Machine) -> Refusal {
    let Fault { step, errno } = fault;
    let how = format!(
        "step {} failed: {}",
        step.name(),
        io::Error::from_raw_os_error(errno)
    );
    let refused = |code: &str, detail: String, way: Option<String>, process: bool| Refusal {
        code: code.to_owned(),
        detail,
        ways_on: way
            .into_iter()
            .chain(process.then(|| PROCESS.to_owned()))
            .collect(),
    };
    let denied = [libc::EPERM, libc::EACCES].contains(&errno);
    match step {
        Step::Namespaces | Step::UidMap | Step::GidMap => {
            refused("sandbox.userns_unavailable", format!("no user namespace ({how})"), Some(userns_way(machine)), true)
        }
        // The rights over a new namespace were taken away at once: that is what AppArmor's rule does.
        Step::PrivateMounts | Step::Workspace | Step::Source | Step::Root
            if denied && machine.apparmor_restricts.as_deref() == Some("1") =>
        {
            refused("sandbox.userns_unavailable", format!("a user namespace without rights ({how})"), Some(userns_way(machine)), true)
        }
        Step::Proc if denied => refused(
            "sandbox.proc_masked",
            format!("no /proc of its own, because parts of this one are covered ({how})"),
            Some("--sandbox-proc=none leaves /proc empty inside; in a container, start it with an unmasked /proc".to_owned()),
            true,
        ),
        Step::Seccomp => refused("sandbox.seccomp_unavailable", format!("no filter for system calls ({how})"), None, true),
        Step::Landlock => refused(
            "sandbox.landlock_unavailable",
            format!("no Landlock, and it was required ({how})"),
            Some("leave out --require=landlock, or boot with landlock among the kernel's lsm=".to_owned()),
            false,
        ),
        _ => refused("sandbox.unavailable", how, None, true),
    }
}

fn userns_way(machine: &Machine) -> String {
    let set = |name: &str, value: &str| format!("sysctl {name}={value} permits them");
    if machine.max_user_namespaces.as_deref() == Some("0") {
        set("user.max_user_namespaces", "10000")
    } else if machine.unprivileged_clone.as_deref() == Some("0") {
        set("kernel.unprivileged_userns_clone", "1")
    } else if machine.apparmor_restricts.as_deref() == Some("1") {
        format!(
            "{}, or an AppArmor profile for longhaul with the rule `userns,`",
            set("kernel.apparmor_restrict_unprivileged_userns", "0")
        )
    } else {
        "in a container, use a seccomp profile that permits clone and unshare with namespaces".to_owned()
    }
}
