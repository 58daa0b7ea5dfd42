//! A runtime served over standard input and output, one JSON object a line: the side of the child.

use std::io::{BufRead, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use longhaul::api::{Cancel, EventsQuery, Pause, Problem, Send as Message, Start};
use longhaul::{Control, Options, Runtime};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is asked of the child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Start a session.
    Start(Box<Start>),
    /// Send it a message.
    Send(String, Message),
    /// Pause it.
    Pause(String, Pause),
    /// Resume it.
    Resume(String),
    /// Cancel it.
    Cancel(String, Cancel),
    /// Show it.
    Show(String),
    /// A page of its records.
    Events(String, EventsQuery),
}

/// One line of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Comes back with the answer.
    pub n: u64,
    /// The request.
    pub ask: Ask,
}

/// Serves until standard input ends, then closes in good order.
pub fn serve(directory: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(directory)),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(directory: &Path) -> ExitCode {
    let opened = match Runtime::open(directory, Options::default()).await {
        Ok(opened) => opened,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(problem.code.exit_code());
        }
    };
    say(&json!({ "n": 0, "ok": "ready" }));
    let (requests, mut heard) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if requests.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = heard.recv().await {
        let request: Line = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                eprintln!("error: {error}: {line}");
                return ExitCode::from(2);
            }
        };
        let control = opened.control();
        tokio::spawn(async move {
            let n = request.n;
            say(&match answer(control, request.ask).await {
                Ok(ok) => json!({ "n": n, "ok": ok }),
                Err(problem) => json!({ "n": n, "problem": problem }),
            });
        });
    }
    opened.close().await;
    ExitCode::SUCCESS
}

async fn answer(control: Arc<dyn Control>, ask: Ask) -> Result<Value, Problem> {
    fn shown(value: impl Serialize) -> Value {
        serde_json::to_value(value).expect("what is shown serializes")
    }
    match ask {
        Ask::Start(request) => control.start(*request).await.map(shown),
        Ask::Send(id, message) => control.send(&id, message).await.map(shown),
        Ask::Pause(id, request) => control.pause(&id, request).await.map(shown),
        Ask::Resume(id) => control.resume(&id).await.map(shown),
        Ask::Cancel(id, request) => control.cancel(&id, request).await.map(shown),
        Ask::Show(id) => control.show(&id).await.map(shown),
        Ask::Events(id, query) => control.events(&id, query).await.map(shown),
    }
}

/// One line in one write, so that a line in the trace of system calls is a whole answer.
fn say(value: &Value) {
    let line = format!("{value}\n");
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: standard input ends too, and with it the loop.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
