//! A runtime in a process of its own, that can be asked and killed: the side of the test.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use longhaul::api::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{oneshot, watch};

use crate::lines::{Ask, Line};

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// The child is gone; whether it happened is not known.
    Gone,
    /// The runtime said no.
    Problem(Box<Problem>),
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A runtime in a process of its own.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    input: tokio::sync::Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    numbers: AtomicU64,
    ready: watch::Receiver<bool>,
}

impl Child {
    /// Starts `program lines DIRECTORY`, behind `wrapper` if there is one. Ends with the handle.
    pub fn start(wrapper: &[&str], program: &str, directory: &Path) -> Self {
        let mut words: Vec<&str> = wrapper.to_vec();
        words.push(program);
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .arg("lines")
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the child starts");
        let input = process.stdin.take();
        let output = process.stdout.take().expect("it is piped");
        let waiting = Waiting::default();
        let (is_ready, ready) = watch::channel(false);
        tokio::spawn({
            let waiting = Arc::clone(&waiting);
            async move {
                let mut lines = BufReader::new(output).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    // A line that was cut by the kill is no answer.
                    let Ok(answer) = serde_json::from_str::<Value>(&line) else {
                        break;
                    };
                    let n = answer["n"].as_u64().unwrap_or_default();
                    if n == 0 {
                        is_ready.send_replace(true);
                    } else if let Some(to) = waiting.lock().expect("unpoisoned").remove(&n) {
                        let _ = to.send(answer);
                    }
                }
                waiting.lock().expect("unpoisoned").clear();
                drop(is_ready);
            }
        });
        Self {
            process,
            input: tokio::sync::Mutex::new(input),
            waiting,
            numbers: AtomicU64::new(1),
            ready,
        }
    }

    /// Waits until it serves.
    pub async fn ready(&self) -> Result<(), Trouble> {
        let mut ready = self.ready.clone();
        let seen = ready.wait_for(|ready| *ready).await;
        seen.map(|_| ()).map_err(|_| Trouble::Gone)
    }

    /// Asks, and waits for the answer.
    pub async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Trouble> {
        self.ready().await?;
        let n = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (to, answer) = oneshot::channel();
        self.waiting.lock().expect("unpoisoned").insert(n, to);
        let mut line = serde_json::to_string(&Line { n, ask }).expect("requests serialize");
        line.push('\n');
        {
            let mut input = self.input.lock().await;
            let input = input.as_mut().ok_or(Trouble::Gone)?;
            input
                .write_all(line.as_bytes())
                .await
                .map_err(|_| Trouble::Gone)?;
        }
        let mut answer = answer.await.map_err(|_| Trouble::Gone)?;
        if answer["problem"].is_object() {
            let problem = serde_json::from_value(answer["problem"].take()).expect("a problem");
            return Err(Trouble::Problem(problem));
        }
        Ok(serde_json::from_value(answer["ok"].take()).expect("the answer has its shape"))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id().expect("it was not waited for")
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("it can be killed");
    }

    /// Lets it close in good order.
    pub async fn close(mut self) {
        self.input.lock().await.take();
        let status = self.process.wait().await.expect("it ends");
        assert!(status.success(), "{status}");
    }
}
