//! The process brain: any program that speaks JSON lines over stdio (`docs/brain-protocol.md`).
//!
//! Each session has at most one child, started by the first call and kept from call to call. A child that dies, talks
//! rubbish or floods is replaced, and so is one whose call was abandoned, since nobody can know what it would say
//! next. The new one is told all records from the first, so a brain need not keep anything. When `next` returns a
//! failure, or `release` resolves, no process of the child is left.

mod alive;
mod child;
mod leftovers;
mod lines;
mod program;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, pending, select, try_join};
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure, Seen, Window, WindowError};
use longhaul_actors::session::{Answer, Body};
use longhaul_journal::{Seq, StreamId};
use tokio::time::sleep;

use self::alive::Count;
use self::child::{Child, Ended, Inlet, Launch};
use self::lines::Line;
use self::wire::Said;

#[cfg(feature = "server")]
pub(crate) use self::leftovers::MARK;
pub use self::leftovers::kill_leftovers;
pub use self::program::{ProgramError, absolute_word, find_program};
#[cfg(test)]
pub(super) use self::tests::Part;
pub use self::wire::PROTOCOL;

/// How children are started and bounded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessOptions {
    /// Names this runtime's data directory, so that leftovers are told from the brains of another one.
    pub instance: String,
    /// Environment beyond `PATH`, `HOME` and `LANG`.
    pub env: Vec<(String, String)>,
    /// How long a new child may take to begin: to read what it is told, or to say something.
    pub start: Duration,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Bytes a line of a child may have.
    pub max_line_bytes: usize,
    /// Lines a child may say in one call before its answer.
    pub max_lines: u32,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            instance: String::new(),
            env: Vec::new(),
            start: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            max_line_bytes: 1 << 20,
            max_lines: 10_000,
        }
    }
}

/// The brain that is a program.
#[derive(Clone)]
pub struct ProcessBrain {
    inner: Arc<Inner>,
}

struct Inner {
    options: ProcessOptions,
    sessions: Mutex<HashMap<StreamId, Arc<Session>>>,
}

/// What is held for one session.
#[derive(Default)]
struct Session {
    /// The child between two calls; during a call it belongs to the call.
    idle: Mutex<Option<Child>>,
    alive: Count,
}

impl ProcessBrain {
    /// A brain that starts programs so.
    pub fn new(options: ProcessOptions) -> Self {
        let inner = Inner {
            options,
            sessions: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Brain for ProcessBrain {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        let inner = self.inner.clone();
        async move {
            let session = inner.sessions().entry(call.session).or_default().clone();
            let child = session.take_child();
            // One that knows more than this window holds would answer another question.
            let mut child = match child.filter(|child| child.told <= call.window.to()) {
                Some(child) => child,
                None => inner.start(&session, &call).await?,
            };
            match inner.converse(&mut child, &call).await {
                Ok(answer) => {
                    child.told = call.window.to();
                    session.keep(child);
                    Ok(answer)
                }
                Err(broken) => Err(broken.end(child).await),
            }
        }
        .boxed()
    }

    fn release(&self, session: StreamId) -> BoxFuture<'static, ()> {
        let session = self.inner.sessions().remove(&session);
        async move {
            let Some(session) = session else { return };
            if let Some(child) = session.take_child() {
                child.end().await;
            }
            session.alive.none().await;
        }
        .boxed()
    }
}

impl Inner {
    /// Starts a child, once the one before it is gone.
    async fn start(&self, session: &Session, call: &BrainCall) -> Result<Child, BrainFailure> {
        session.alive.none().await;
        let launch = Launch {
            program: &call.brain.name,
            args: &call.brain.args,
            env: &self.options.env,
            mark: leftovers::mark(&self.options.instance, call.session),
            max_line: self.options.max_line_bytes,
            grace: self.options.grace,
            alive: session.alive.one_more(),
        };
        Child::start(launch).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                BrainFailure::Gone(format!("program {}: {error}", call.brain.name))
            }
            _ => BrainFailure::Died(format!(
                "program {} could not be started: {error}",
                call.brain.name
            )),
        })
    }

    /// Tells the news, asks, and listens for the answer at the same time, so that no full pipe can hold up both.
    async fn converse(&self, child: &mut Child, call: &BrainCall) -> Result<Answer, Broken> {
        let told = child.told;
        let (mut stdin, mut ear) = child.ends();
        let (written, has_spoken) = (AtomicU64::new(0), AtomicBool::new(false));
        let inlet = stdin.as_deref().filter(|_| told == Seq::ZERO).and_then(Inlet::of);
        let never_begins = async {
            let Some(inlet) = inlet else {
                return pending().await;
            };
            sleep(self.options.start).await;
            if has_spoken.load(Ordering::Relaxed) || !inlet.is_untouched(written.load(Ordering::Relaxed)) {
                return pending().await;
            }
            Broken::Unbegun(self.options.start)
        };
        let tell = async {
            let mut cursor = told;
            loop {
                let page = page(&call.window, cursor).await.map_err(Broken::Window)?;
                if cursor == Seq::ZERO {
                    let hello = wire::hello(call.session, goal(&page));
                    child::write(stdin.as_deref_mut(), &hello, &written).await;
                }
                cursor = page.last().map_or(call.window.to(), |last| last.seq);
                if cursor >= call.window.to() {
                    let question = wire::next(call.step, call.attempt, call.window.to(), &page);
                    child::write(stdin, &question, &written).await;
                    return Ok(());
                }
                child::write(stdin.as_deref_mut(), &wire::records(&page), &written).await;
            }
        };
        let listen = async {
            for _ in 0..self.options.max_lines {
                let line = match ear.line().await {
                    Line::Whole(line) => line,
                    Line::TooLong => {
                        let cap = self.options.max_line_bytes;
                        return Err(Broken::Rubbish(format!("a line of over {cap} bytes")));
                    }
                    Line::End => return Err(Broken::Ended),
                };
                has_spoken.store(true, Ordering::Relaxed);
                match wire::understand(&line).map_err(Broken::Rubbish)? {
                    Said::Answer { step, answer } if step == call.step => return Ok(*answer),
                    Said::Unpaid { step, detail } if step == call.step => return Err(Broken::Unpaid(detail)),
                    // Right after a step was given up it is late; over and over it is a brain that cannot count, and waits
                    // here until the call runs out of time.
                    Said::Answer { step, .. } | Said::Unpaid { step, .. } => tracing::warn!(
                        session = %call.session, answered = step, asked = call.step,
                        "a brain answered another step than it was asked; its answer does not count"
                    ),
                    Said::Log(text) => tracing::info!(session = %call.session, %text, "a brain says"),
                    Said::Nothing => {}
                }
            }
            let most = self.options.max_lines;
            Err(Broken::Rubbish(format!(
                "{most} lines without an answer to step {}",
                call.step
            )))
        };
        // Both, unless one fails: a child that is gone need not be told the rest.
        let talk = pin!(try_join(listen, tell));
        match select(talk, pin!(never_begins)).await {
            Either::Left((talked, _)) => talked.map(|(answer, ())| answer),
            Either::Right((broken, _)) => Err(broken),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<StreamId, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn take_child(&self) -> Option<Child> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, child: Child) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }
}

/// Why a conversation cannot go on; the child is ended then.
enum Broken {
    /// The child closed its output.
    Ended,
    /// It neither read nor said anything for so long after its start.
    Unbegun(Duration),
    /// It said what nobody understands.
    Rubbish(String),
    /// Whoever thinks for it wants to be paid.
    Unpaid(String),
    /// It is not the child's fault.
    Window(WindowError),
}

impl Broken {
    /// Ends the child and says what was wrong.
    async fn end(self, mut child: Child) -> BrainFailure {
        match self {
            Self::Ended => {
                child.settle().await;
                let Ended { status, stderr } = child.end().await;
                BrainFailure::Died(format!("{}{}", ending(status), complaint(&stderr)))
            }
            Self::Unbegun(limit) => {
                let Ended { stderr, .. } = child.end().await;
                let limit = limit.as_millis();
                BrainFailure::Died(format!(
                    "it did not begin to read within {limit} ms{}",
                    complaint(&stderr)
                ))
            }
            Self::Rubbish(what) => {
                let Ended { stderr, .. } = child.end().await;
                BrainFailure::Rubbish(format!("{what}{}", complaint(&stderr)))
            }
            Self::Unpaid(detail) => {
                child.end().await;
                BrainFailure::Unpaid(detail)
            }
            Self::Window(error) => {
                child.end().await;
                unreadable(error)
            }
        }
    }
}

fn ending(status: Option<ExitStatus>) -> String {
    match status {
        Some(status) => format!("it ended with {status}"),
        None => "it closed its output".into(),
    }
}

fn complaint(stderr: &str) -> String {
    match stderr {
        "" => String::new(),
        text => format!("; the end of its stderr:\n{text}"),
    }
}

fn unreadable(error: WindowError) -> BrainFailure {
    match error {
        WindowError::Read(error) => BrainFailure::Died(format!("its records cannot be read: {error}")),
        WindowError::Decode(error) => BrainFailure::Gone(error.to_string()),
    }
}

/// What the session is for, from its first records.
fn goal(first: &[Seen]) -> &str {
    let goal = first.iter().find_map(|seen| match &seen.event.body {
        Body::SessionStarted(started) => Some(started.goal.as_str()),
        _ => None,
    });
    goal.unwrap_or_default()
}

/// The next records, read where blocking is allowed.
async fn page(window: &Window, after: Seq) -> Result<Vec<Seen>, WindowError> {
    let window = window.clone();
    let read = tokio::task::spawn_blocking(move || window.read(after)).await;
    read.expect("reading does not panic, and its runtime is the one that polls this")
}
