//! The world as the rules see it: traits that the runtime implements and tests replace.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use longhaul_journal::{Journal, Limit, ReadError, Seq, StreamId};

use crate::account;
use crate::entity::DecodeError;
use crate::session::{
    Answer, Around, BrainSpec, CallError, Candidate, Event, Isolation, Resources, Script, ServiceEnd,
    Setting, ToolCall, ToolOutcome, WorkspaceSpec, call_digest,
};
use crate::task::Source;

/// All time comes from here.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock, milliseconds since 1970. For dates and calendar waits.
    fn now_ms(&self) -> u64;
    /// Monotonic milliseconds since some start. For measuring work; stands still while the machine is suspended.
    fn mono_ms(&self) -> u64;
    /// Resolves once `now_ms() >= wall_ms`.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    fn sleep_until(&self, wall_ms: u64) -> BoxFuture<'static, ()>;
    /// Resolves once this much monotonic time has passed. Cancel safe like `sleep_until`.
    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()>;
}

/// The records a brain may see for one call: everything up to a pinned seq, so that no input is taken twice or missed.
#[derive(Clone)]
pub struct Window {
    journal: Arc<dyn Journal>,
    stream: StreamId,
    to: Seq,
}

/// One record of a window, decoded.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its seq.
    pub seq: Seq,
    /// When it was decided, milliseconds since 1970.
    pub time_ms: u64,
    /// The event.
    pub event: Event,
}

/// Why a window could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WindowError {
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is not known to this version.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Window {
    /// The records of `stream` up to and including `to`.
    pub fn new(journal: Arc<dyn Journal>, stream: StreamId, to: Seq) -> Self {
        Self { journal, stream, to }
    }

    /// The last seq of the window.
    pub const fn to(&self) -> Seq {
        self.to
    }

    /// Reads the next records above `after`, in order; empty at the end. Blocks on the disk.
    ///
    /// # Errors
    /// [`WindowError`] when the journal is damaged there or holds a type of a newer version.
    pub fn read(&self, after: Seq) -> Result<Vec<Seen>, WindowError> {
        let mut seen = Vec::new();
        if after >= self.to {
            return Ok(seen);
        }
        for frame in self.journal.read(self.stream, after, Limit::default())? {
            for record in &frame.records {
                if record.seq > after && record.seq <= self.to {
                    let event = Event::decode(record)?;
                    seen.push(Seen {
                        seq: record.seq,
                        time_ms: record.time_ms,
                        event,
                    });
                }
            }
        }
        Ok(seen)
    }

    /// Reads everything above `after`. Blocks on the disk.
    ///
    /// # Errors
    /// As [`Window::read`].
    pub fn read_all(&self, after: Seq) -> Result<Vec<Seen>, WindowError> {
        let (mut all, mut cursor) = (Vec::new(), after);
        loop {
            let page = self.read(cursor)?;
            match page.last() {
                Some(last) => cursor = last.seq,
                None => return Ok(all),
            }
            all.extend(page);
        }
    }
}

/// One question to a brain: what next?
#[derive(Clone)]
pub struct BrainCall {
    /// The session that asks.
    pub session: StreamId,
    /// Which brain, pinned at start.
    pub brain: BrainSpec,
    /// Number of the step; the same when the call is repeated after a crash.
    pub step: u64,
    /// 1 for the first try.
    pub attempt: u32,
    /// What it may see.
    pub window: Window,
}

/// Why a brain gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrainFailure {
    /// Its process ended, or its connection broke. The call is repeated.
    #[error("the brain died: {0}")]
    Died(String),
    /// It answered something that is not in the protocol. The call is repeated.
    #[error("the brain talked rubbish: {0}")]
    Rubbish(String),
    /// It did not answer in time, and was stopped.
    #[error("the brain did not answer within {0} ms")]
    TimedOut(u64),
    /// Whoever thinks for it wants to be paid first. The call is not repeated until a human resumes the session.
    #[error("the provider of the brain wants to be paid: {0}")]
    Unpaid(String),
    /// It can never answer: its playbook or program is gone. No human can mend the session.
    #[error("the brain is gone: {0}")]
    Gone(String),
}

/// Decides the next step.
///
/// # Cancel safety
/// Dropping the future of `next` abandons the call; the implementation stops whatever still works on it.
pub trait Brain: Send + Sync + 'static {
    /// Answers with the next step.
    ///
    /// # Errors
    /// [`BrainFailure`]; the kind decides whether the call is repeated.
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>>;

    /// Frees what is held for a session: a child process, a cache. Resolves once it is gone.
    fn release(&self, session: StreamId) -> BoxFuture<'static, ()>;
}

/// A workspace could not be made ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct SetupError {
    /// Stable code, `workspace_clone_failed`.
    pub code: String,
    /// What to do next, for a person.
    pub detail: String,
    /// All that is known about it, kept as a blob.
    pub report: Option<Report>,
}

/// A report that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// sha256 (hex) of its bytes, which is its name in the blob store.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// The files of a session were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that no earlier checkpoint of the session held.
    pub added_bytes: u64,
    /// Hash (blake3, hex) of the list of them all.
    pub digest: String,
}

/// One act for the hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// The session that acts.
    pub session: StreamId,
    /// Number of the step; evidence of the act is kept under it, so that the same step is never done twice.
    pub step: u64,
    /// What to do.
    pub call: Arc<ToolCall>,
    /// Active milliseconds it may take at most.
    pub limit_ms: u64,
    /// What it may use.
    pub resources: Resources,
    /// What stands around it.
    pub around: Around,
    /// Whether this step may have been begun before a crash: look at the evidence first.
    pub recovered: bool,
}

/// Acts in a workspace, and leaves evidence of what it did.
///
/// # Cancel safety
/// Dropping the future of `perform` stops watching, not the act; performing the same step again attaches to it.
pub trait Hands: Send + Sync + 'static {
    /// Makes the workspace ready. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`SetupError`] with what is missing.
    fn prepare(
        &self,
        session: StreamId,
        spec: WorkspaceSpec,
    ) -> BoxFuture<'static, Result<Isolation, SetupError>>;

    /// Does one act and says what became of it. What cannot be known is [`ToolOutcome::Unknown`], never done again.
    fn perform(&self, act: Act) -> BoxFuture<'static, ToolOutcome>;

    /// Ends one running step at once; its `perform` then settles.
    fn cancel(&self, session: StreamId, step: u64) -> BoxFuture<'static, ()>;

    /// Keeps the files as they are, which are those after record `at`; the same again when it is done again. Nothing acts
    /// while it is under way. Unless it was `requested`, it may be skipped for its size. More than the workspace may have
    /// by these `resources` is never kept.
    ///
    /// # Errors
    /// [`SetupError`] saying why nothing was kept.
    fn checkpoint(
        &self,
        session: StreamId,
        at: Seq,
        requested: bool,
        resources: Resources,
    ) -> BoxFuture<'static, Result<Kept, SetupError>> {
        let _ = (session, at, requested, resources);
        let unable = SetupError {
            code: "checkpoint_failed".into(),
            detail: "these hands keep no checkpoints".into(),
            report: None,
        };
        Box::pin(std::future::ready(Err(unable)))
    }

    /// Frees what is held beside files for a session that waits for somebody else: listeners, mounts, descriptors. It is
    /// made again when the session works again. Runs beside `prepare`, so it must not take what that has just made.
    fn release(&self, session: StreamId) -> BoxFuture<'static, ()> {
        let _ = session;
        Box::pin(std::future::ready(()))
    }

    /// Resolves once the service that this step has started has ended, and says how; also when it had ended before.
    fn watch(&self, session: StreamId, step: u64) -> BoxFuture<'static, ServiceEnd> {
        // Hands that start no service are never asked.
        let _ = (session, step);
        Box::pin(futures_util::future::pending())
    }

    /// Asks a service to end, which its `watch` then sees.
    fn end_service(&self, session: StreamId, step: u64) -> BoxFuture<'static, ()> {
        let _ = (session, step);
        Box::pin(futures_util::future::ready(()))
    }

    /// Ends every process of a session and returns the ids of those that are not confirmed gone.
    fn stop(&self, session: StreamId) -> BoxFuture<'static, Vec<u32>>;
}

/// Answers sessions about credit: the accounts they share.
pub trait Credit: Send + Sync + 'static {
    /// Sends a message to an account until it is answered. The account knows a message that it had before.
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the message; what was held for nothing is released by the account's audit.
    fn ask(&self, account: StreamId, command: account::Command) -> BoxFuture<'static, account::Reply>;
}

/// Lets every step begin and charges nothing: for tests, and where nobody keeps accounts.
#[derive(Clone, Copy, Debug, Default)]
pub struct FreeOfCharge;

impl Credit for FreeOfCharge {
    fn ask(&self, _account: StreamId, command: account::Command) -> BoxFuture<'static, account::Reply> {
        let nothing = account::HeldFor {
            hold: Seq::ZERO,
            amount: account::Credits::ZERO,
            spent: account::Credits::ZERO,
        };
        ready(match command {
            account::Command::Ask(_) => account::Reply::Held(nothing),
            _ => account::Reply::Admitted,
        })
        .boxed()
    }
}

/// A suggestion that was filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filed {
    /// The task that it is now, if anybody keeps tasks.
    pub task: Option<StreamId>,
    /// What the artifact is called.
    pub name: String,
    /// sha256 (hex) of its bytes.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
}

/// Keeps what agents suggest, until a human says what becomes of it.
pub trait Suggestions: Send + Sync + 'static {
    /// Files a suggestion under the step that made it. Filing the same step again is harmless: what was filed first stands,
    /// and is returned.
    ///
    /// # Errors
    /// What is wrong with it, for the brain; nothing was filed.
    ///
    /// # Cancel safety
    /// Dropping the future may or may not withdraw it; filing it again finds out.
    fn file(&self, source: Source) -> BoxFuture<'static, Result<Filed, CallError>>;
}

/// Takes every suggestion and keeps nothing but its artifact: for tests, and where nobody keeps tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTasks;

impl Suggestions for NoTasks {
    fn file(&self, source: Source) -> BoxFuture<'static, Result<Filed, CallError>> {
        ready(Ok(Filed {
            task: None,
            name: source.name,
            sha256: source.sha256,
            bytes: source.bytes,
        }))
        .boxed()
    }
}

/// Gives out places among the active sessions.
pub trait Slots: Send + Sync + 'static {
    /// Resolves once the session has a place; it keeps it until it is active no more. Asking again is harmless.
    ///
    /// # Cancel safety
    /// Who no longer waits gives its turn to the next.
    fn take(&self, session: StreamId) -> BoxFuture<'static, ()>;
}

/// A place for everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndlessSlots;

impl Slots for EndlessSlots {
    fn take(&self, _session: StreamId) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

/// What the gate says of an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may be done.
    Allow,
    /// It may be done if a human approves of it.
    Ask,
    /// It may not be done.
    Deny,
}

/// The gate's word on one act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it may be done.
    pub ruling: Ruling,
    /// Hash of the exact act: tool, arguments, folder, environment, standard input, and what stands in each script it runs.
    pub digest: String,
    /// What sort of act it is: `publish`, `deploy`.
    pub category: String,
    /// The rule that decided.
    pub rule: String,
    /// Why, for a person.
    pub detail: String,
    /// How much may go wrong: `low`, `medium`, `high`.
    pub risk: String,
    /// Scripts that the act runs.
    pub scripts: Vec<Script>,
    /// Whether nothing but convention keeps the agent from deciding itself.
    pub advisory: bool,
    /// How long a request for approval waits, wall milliseconds, before it counts as denied; 0 for ever. Absent: as the
    /// session has it.
    pub expires_after_ms: Option<u64>,
}

impl Judgement {
    /// The word of a gate that lets everything through.
    pub fn allow(digest: String) -> Self {
        Self {
            ruling: Ruling::Allow,
            digest,
            category: String::new(),
            rule: String::new(),
            detail: String::new(),
            risk: String::new(),
            scripts: Vec::new(),
            advisory: false,
            expires_after_ms: None,
        }
    }
}

/// Judges acts before they begin.
///
/// Every implementation signs: judging changes nothing, ends by itself within moments, and may be asked for again at any
/// time; the answer to the later question counts. Two acts with the same digest are the same act.
///
/// # Cancel safety
/// May be dropped at any time.
pub trait Gate: Send + Sync + 'static {
    /// Judges the act as it would be done now: what it names (scripts) is looked at as it stands now.
    fn judge(
        &self,
        session: StreamId,
        candidate: Candidate,
        setting: Setting,
    ) -> BoxFuture<'static, Judgement>;
}

/// Lets everything through: for tests, and for who watches over acts elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Gate for AllowAll {
    fn judge(
        &self,
        _session: StreamId,
        candidate: Candidate,
        _setting: Setting,
    ) -> BoxFuture<'static, Judgement> {
        ready(Judgement::allow(call_digest(&candidate.call))).boxed()
    }
}
