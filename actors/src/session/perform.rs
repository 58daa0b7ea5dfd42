//! Where a session's effects meet the world: each is handed to a port, and the outcome comes back as a command.
//!
//! The one file of this folder that waits and measures time.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use longhaul_journal::{Journal, StreamId};

use super::command::{Command, Effect};
use super::event::BrainSpec;
use crate::effects::{EffectContext, World};
use crate::ports::{Act, Brain, BrainCall, BrainFailure, Clock, Hands, Window};
use crate::session::Session;

/// How long to wait between two looks at processes that will not go, monotonic milliseconds.
const STOP_RETRY_MS: u64 = 250;

/// The ports a session's effects are performed through.
#[derive(Clone)]
pub struct SessionWorld {
    /// Where the windows of brain calls are read.
    pub journal: Arc<dyn Journal>,
    /// Thinks.
    pub brain: Arc<dyn Brain>,
    /// Acts.
    pub hands: Arc<dyn Hands>,
    /// Measures.
    pub clock: Arc<dyn Clock>,
}

impl World<Session> for SessionWorld {
    fn perform(&self, context: EffectContext, effect: Effect) -> BoxFuture<'static, Command> {
        let (world, session) = (self.clone(), context.stream);
        match effect {
            // Every session gets a place at once; the limit on active sessions will wait here.
            Effect::Slot => futures_util::future::ready(Command::SlotGranted).boxed(),
            Effect::Prepare { workspace } => async move {
                Command::Prepared {
                    result: world.hands.prepare(session, workspace).await,
                }
            }
            .boxed(),
            Effect::Think {
                step,
                brain,
                window_to,
                attempt,
                limit_ms,
            } => {
                let window = Window::new(Arc::clone(&world.journal), session, window_to);
                world
                    .think(
                        BrainCall {
                            session,
                            brain,
                            step,
                            attempt,
                            window,
                        },
                        limit_ms,
                    )
                    .boxed()
            }
            Effect::Act { step, call, limit_ms } => {
                let act = Act {
                    session,
                    step,
                    call,
                    limit_ms,
                    recovered: context.recovered,
                };
                // Announced to the hands at once, so that an end that follows knows of it.
                let performed = world.hands.perform(act);
                async move {
                    Command::Acted {
                        step,
                        outcome: performed.await,
                    }
                }
                .boxed()
            }
            Effect::Checkpoint { at, requested } => {
                let kept = world.hands.checkpoint(session, at, requested);
                async move {
                    Command::Checkpointed {
                        at,
                        result: kept.await,
                    }
                }
                .boxed()
            }
            Effect::CancelStep { step } => async move {
                world.hands.cancel(session, step).await;
                // The step settles through its own effect; this one has nothing to add.
                Command::Alarm
            }
            .boxed(),
            Effect::Stop { confirm_ms } => world.stop(session, confirm_ms).boxed(),
        }
    }
}

impl SessionWorld {
    async fn think(self, call: BrainCall, limit_ms: u64) -> Command {
        let (session, step) = (call.session, call.step);
        let begun = self.clock.mono_ms();
        let result = match select(self.brain.next(call), self.clock.sleep(limit_ms)).await {
            Either::Left((result, _)) => result,
            Either::Right(((), abandoned)) => {
                drop(abandoned);
                self.brain.release(session).await;
                Err(BrainFailure::TimedOut(limit_ms))
            }
        };
        Command::Thought {
            step,
            result,
            active_ms: self.clock.mono_ms() - begun,
        }
    }

    async fn stop(self, session: StreamId, confirm_ms: Option<u64>) -> Command {
        let begun = self.clock.mono_ms();
        self.brain.release(session).await;
        loop {
            let survivors = self.hands.stop(session).await;
            let waited = self.clock.mono_ms() - begun;
            if survivors.is_empty() || confirm_ms.is_some_and(|limit| waited >= limit) {
                return Command::Stopped { survivors };
            }
            self.clock.sleep(STOP_RETRY_MS).await;
        }
    }
}

/// A brain by its spec, in the form people type: `playbook:FILE`.
pub fn brain_name(brain: &BrainSpec) -> String {
    format!("{}:{}", brain.kind, brain.name)
}
