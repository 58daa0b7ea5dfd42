//! A runtime in a process of its own, that can be asked over its socket, and killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longhaul::Control;
use longhaul::client::SocketClient;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// How long it may take to serve, or to stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// `longhaul --data DIRECTORY serve`. Killed with the handle.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    directory: PathBuf,
    served: Option<BufReader<tokio::process::ChildStdout>>,
}

impl Child {
    /// Starts the program, behind `wrapper` if there is one.
    pub fn start(wrapper: &[&str], program: &str, directory: &Path) -> Self {
        Self::serve(wrapper, program, directory, crate::sandbox_word())
    }

    /// The same, with every command behind walls whatever the environment says.
    pub fn isolated(wrapper: &[&str], program: &str, directory: &Path) -> Self {
        Self::serve(wrapper, program, directory, "isolated")
    }

    fn serve(wrapper: &[&str], program: &str, directory: &Path, sandbox: &str) -> Self {
        let mut words: Vec<&str> = wrapper.to_vec();
        words.push(program);
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .arg("--data")
            .arg(directory)
            .args(["serve", "--sandbox", sandbox])
            .env("LONGHAUL_MAX_ACTIVE", "1000")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the child starts");
        let served = process.stdout.take().map(BufReader::new);
        let complaints = process.stderr.take().expect("it is piped");
        tokio::spawn(async move {
            let mut lines = BufReader::new(complaints).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                // Shown only when the test fails.
                println!("child: {line}");
            }
        });
        Self {
            process,
            directory: directory.to_owned(),
            served,
        }
    }

    /// Waits until it serves; nothing when it ended before.
    pub async fn control(&mut self) -> Option<Arc<dyn Control>> {
        let mut line = String::new();
        if let Some(mut served) = self.served.take() {
            let read = tokio::time::timeout(DEADLINE, served.read_line(&mut line)).await;
            if read.expect("it serves within a minute").ok()? == 0 {
                return None;
            }
        }
        let client = SocketClient::connect(&self.directory).await.ok()??;
        Some(Arc::new(client))
    }

    /// Its process; none once it was waited for.
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("it can be killed");
    }

    /// SIGTERM, and waits until it has closed in good order.
    pub async fn stop(mut self) -> ExitStatus {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).expect("it runs");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it takes signals");
        let ended = tokio::time::timeout(DEADLINE, self.process.wait()).await;
        ended
            .expect("it stops within a minute")
            .expect("it can be waited for")
    }
}
