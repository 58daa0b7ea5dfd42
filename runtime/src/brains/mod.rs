//! Brains: what decides the next step of a session.
//!
//! [`Brains`] knows the kinds there are and hands each call to its own. A kind signs what [`Brain`] says, and beyond
//! that what `conformance` checks: it keeps nothing outside the records, so a call that is repeated after a crash,
//! by a brain that has never seen the session, is answered from the window alone.

mod pin;
pub mod playbook;
pub mod process;
mod source;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod stage;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, ready};
use longhaul_actors::ports::{Brain, BrainCall, BrainFailure};
use longhaul_actors::session::Answer;
use longhaul_journal::StreamId;

#[cfg(feature = "cli")]
pub(crate) use self::pin::no_brain_called;
pub(crate) use self::pin::{no_brain, pin};
use self::playbook::PlaybookBrain;
use self::process::ProcessBrain;
pub(crate) use self::source::PinnedPlaybooks;

/// Every kind of brain there is.
#[derive(Clone)]
pub struct Brains {
    playbook: PlaybookBrain,
    process: ProcessBrain,
}

impl Brains {
    /// The kinds that a [`BrainSpec`](longhaul_actors::session::BrainSpec) may name.
    pub const KINDS: [&str; 2] = ["playbook", "process"];

    /// A router over these.
    pub const fn new(playbook: PlaybookBrain, process: ProcessBrain) -> Self {
        Self { playbook, process }
    }
}

impl Brain for Brains {
    fn next(&self, call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        match call.brain.kind.as_str() {
            "playbook" => self.playbook.next(call),
            "process" => self.process.next(call),
            other => {
                let kinds = Self::KINDS.join(", ");
                let why = format!("this longhaul has no brain of kind {other:?}; it has {kinds}");
                ready(Err(BrainFailure::Gone(why))).boxed()
            }
        }
    }

    fn release(&self, session: StreamId) -> BoxFuture<'static, ()> {
        join(self.playbook.release(session), self.process.release(session))
            .map(|_| ())
            .boxed()
    }
}
