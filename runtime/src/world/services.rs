//! Services on this machine: commands under shims like all others, without a bound on their time, beside which later
//! commands run.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_actors::ports::Act;
use longhaul_actors::session::{ServiceCall, ServiceEnd, ToolOutcome};
use longhaul_hands as shim;

use super::SessionFolder;
use super::gate::Pass;
use super::hands::{
    Ended, LocalHands, STARTING_PAUSE, Trouble, blocking, command_line, elapsed_ms, evidence_unreadable,
    readable, refused, spec_in,
};
use super::workspace::Prepared;

/// A service that ends within this time has not started.
const SETTLED: Duration = Duration::from_millis(300);
/// How much of what a service said last is shown, bytes of each stream.
const LOGS_BYTES: u64 = 8 << 10;

impl LocalHands {
    pub(super) async fn service(
        &self,
        call: &ServiceCall,
        act: &Act,
        pass: &Arc<Pass>,
        folder: &SessionFolder,
        prepared: &Prepared,
    ) -> Result<ToolOutcome, Trouble> {
        let begun = Instant::now();
        let of_running = || {
            let missing = || refused("no_such_service", "the service has ended meanwhile");
            act.around.service.ok_or_else(missing)
        };
        match call {
            ServiceCall::Start { name, .. } => {
                let spec = self.service_spec(call, act, folder, prepared).await?;
                self.start_service(name, act, pass, folder, spec).await
            }
            ServiceCall::Logs { .. } => {
                let directory = folder.step(of_running()?);
                let output = blocking(move || logs(&directory)).await;
                Ok(ToolOutcome::Done {
                    output: output.map_err(|error| refused("storage_unavailable", error))?,
                    active_ms: elapsed_ms(begun),
                })
            }
            ServiceCall::Stop { .. } => {
                if let Some(stopped) = stopped_before(act, elapsed_ms(begun)) {
                    return Ok(stopped);
                }
                let service = of_running()?;
                let directory = folder.step(service);
                ask_to_end(directory.clone())
                    .await
                    .map_err(|error| refused("not_stopped", error))?;
                Ok(ToolOutcome::ServiceStopped {
                    service,
                    end: self.end_of_service(directory).await,
                    active_ms: elapsed_ms(begun),
                })
            }
        }
    }

    async fn service_spec(
        &self,
        call: &ServiceCall,
        act: &Act,
        folder: &SessionFolder,
        prepared: &Prepared,
    ) -> Result<shim::Spec, Trouble> {
        let (command, cwd, env) = match call {
            ServiceCall::Start {
                command, cwd, env, ..
            } => (command_line(command), cwd.as_str(), env.clone()),
            // Only a start has a command.
            _ => (
                shim::CommandLine::Argv { argv: Vec::new() },
                "",
                Default::default(),
            ),
        };
        let mut spec = spec_in(act, folder, prepared, command);
        spec.cwd = PathBuf::from(cwd);
        spec.env = env.into_iter().collect();
        let mut spec = self.bounded(spec, act, folder).await?;
        // It may talk for days, or say nothing for as long; only so much is kept.
        (spec.wall_ms, spec.idle_ms, spec.kill_bytes) = (None, None, u64::MAX);
        spec.walls = self.walls(prepared)?;
        self.surround(&mut spec, act, folder).await;
        Ok(spec)
    }

    /// Starts a service unless it was started before, and says whether it goes on.
    async fn start_service(
        &self,
        name: &str,
        act: &Act,
        pass: &Arc<Pass>,
        folder: &SessionFolder,
        spec: shim::Spec,
    ) -> Result<ToolOutcome, Trouble> {
        let begun = Instant::now();
        let directory = folder.step(act.step);
        let mut watched = false;
        loop {
            let looked = directory.clone();
            let state = blocking(move || shim::state(&looked)).await;
            match state.map_err(|error| evidence_unreadable(&error))? {
                shim::State::NotStarted => self.launch(&directory, pass, &spec).await?,
                shim::State::Starting => tokio::time::sleep(STARTING_PAUSE).await,
                shim::State::Running { .. } if watched => {
                    return Ok(ToolOutcome::ServiceStarted {
                        name: name.to_owned(),
                        active_ms: elapsed_ms(begun),
                    });
                }
                shim::State::Running { .. } => {
                    watched = true;
                    let held = directory.clone();
                    let gone = blocking(move || shim::watch(&held)).await;
                    if let Some(gone) = gone.map_err(|error| evidence_unreadable(&error))? {
                        // Time enough to end at once; whether it did is seen in the next round.
                        let _ = tokio::time::timeout(SETTLED, readable(gone)).await;
                    }
                }
                shim::State::Exited(_) => {
                    let end = self.end_of_service(directory).await;
                    let how = end.execution.as_ref().map_or_else(String::new, |execution| {
                        let said = [&execution.stderr, &execution.stdout].map(|output| output.head.trim());
                        let said = said.into_iter().find(|said| !said.is_empty()).unwrap_or_default();
                        format!(": {:?}; {said}", execution.verdict)
                    });
                    return Err(refused(
                        "service_ended",
                        format!("{name} ended as soon as it had begun{how}"),
                    ));
                }
                shim::State::Unknown(cause) => return Err(self.left_behind(act, folder, cause).await),
            }
        }
    }

    /// Waits for the end of the service in `directory`, and says how that was.
    pub(super) async fn end_of_service(&self, directory: PathBuf) -> ServiceEnd {
        let unknown = |why: String| ServiceEnd {
            unknown: Some(why),
            ..ServiceEnd::default()
        };
        loop {
            let looked = directory.clone();
            let state = match blocking(move || shim::state(&looked)).await {
                Ok(state) => state,
                Err(error) => return unknown(format!("its evidence cannot be read: {error}")),
            };
            match state {
                shim::State::Exited(record) => {
                    let (collected, told) = (directory.clone(), directory.clone());
                    let output = blocking(move || shim::collect(&collected)).await;
                    let denied = blocking(move || shim::egress::traffic(&told)).await;
                    let ended = Ended {
                        record: *record,
                        output: output.unwrap_or_default(),
                    };
                    return match self.execution(ended).await {
                        Ok(execution) => ServiceEnd {
                            execution: Some(execution),
                            unknown: None,
                            denied: denied.map(super::network::denials).unwrap_or_default(),
                        },
                        Err(_) => unknown("it ended, but its output could not be kept".into()),
                    };
                }
                shim::State::NotStarted => return unknown("its evidence is gone".into()),
                shim::State::Starting => tokio::time::sleep(STARTING_PAUSE).await,
                shim::State::Running { .. } => {
                    let held = directory.clone();
                    match blocking(move || shim::watch(&held)).await {
                        Ok(Some(gone)) => {
                            // What cannot be watched is looked at again in a while.
                            if readable(gone).await.is_err() {
                                tokio::time::sleep(SETTLED).await;
                            }
                        }
                        Ok(None) => {}
                        Err(error) => return unknown(format!("its evidence cannot be read: {error}")),
                    }
                }
                shim::State::Unknown(cause) => {
                    let swept = blocking(move || shim::recover(&[directory])).await;
                    let left = match swept {
                        Ok(recovery) if recovery.survivors.is_empty() => String::new(),
                        Ok(recovery) => format!("; processes {:?} are still there", recovery.survivors),
                        Err(error) => format!("; what it left cannot be told: {error}"),
                    };
                    return unknown(format!("{}{left}", cause.as_str()));
                }
            }
        }
    }
}

/// Asks the shim of a service to end it. One that has ended needs no asking.
pub(super) async fn ask_to_end(directory: PathBuf) -> std::io::Result<()> {
    blocking(move || shim::cancel(&directory).map(|_| ())).await
}

/// The last of what a service said, for the brain.
fn logs(directory: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    for (name, stream) in [("stdout", shim::Stream::Stdout), ("stderr", shim::Stream::Stderr)] {
        let last = shim::last_words(directory, stream, LOGS_BYTES)?;
        if !last.is_empty() {
            text.push_str(&format!(
                "--- {name}\n{}\n",
                String::from_utf8_lossy(&last).trim_end()
            ));
        }
    }
    if text.is_empty() {
        text.push_str("it has said nothing so far");
    }
    Ok(text)
}

/// What became of a stop that may have been begun before, when no such service runs any more. The watch of the service told of
/// its end, and the runtime died before this step could: what was asked for is so.
fn stopped_before(act: &Act, active_ms: u64) -> Option<ToolOutcome> {
    (act.recovered && act.around.service.is_none()).then(|| ToolOutcome::Done {
        output: "the service has ended".into(),
        active_ms,
    })
}

#[cfg(test)]
mod tests {
    use longhaul_actors::session::{Around, Resources, ToolCall};
    use longhaul_journal::StreamId;

    use super::*;

    /// B-CRASH-1: killed between the end of the service, which its watch tells, and the end of the step that stopped it.
    #[test]
    fn a_stop_whose_service_is_gone_has_done_its_work_if_it_was_begun_before_a_crash() {
        let act = |recovered, service| Act {
            session: StreamId::unnamed(),
            step: 7,
            call: Arc::new(ToolCall {
                tool: "service".into(),
                args: serde_json::json!({ "action": "stop", "name": "web" }),
            }),
            limit_ms: 1_000,
            resources: Resources::default(),
            around: Around {
                service,
                ..Around::default()
            },
            recovered,
        };
        let done = ToolOutcome::Done {
            output: "the service has ended".into(),
            active_ms: 3,
        };
        assert_eq!(stopped_before(&act(true, None), 3), Some(done));
        assert_eq!(stopped_before(&act(true, Some(5)), 3), None, "it is ended now");
        assert_eq!(
            stopped_before(&act(false, None), 3),
            None,
            "there was none to begin with"
        );
    }
}
