//! Where a session's effects meet the world: each is handed to a port, and the outcome comes back as a command.
//!
//! The one file of this folder that waits and measures time.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select};
use longhaul_journal::{Journal, Seq, StreamId};

use super::admission::{Admission, Candidate, Setting};
use super::answer::check_answer;
use super::approval::approval_id;
use super::command::{Command, Effect};
use super::event::BrainSpec;
use super::money::{HeldStep, OutOfCredit, Purse};
use super::service;
use super::tool::{CallError, SUGGESTION, ToolOutcome};
use crate::account::{self, Reply};
use crate::effects::{EffectContext, World};
use crate::ports::{
    Act, Brain, BrainCall, BrainFailure, Clock, Credit, Gate, Hands, Ruling, Slots, Suggestions, Window,
};
use crate::session::Session;
use crate::task::Source;

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
    /// Judges what is to be done.
    pub gate: Arc<dyn Gate>,
    /// Says whether a step can be paid for.
    pub credit: Arc<dyn Credit>,
    /// Gives out places among the active sessions.
    pub slots: Arc<dyn Slots>,
    /// Keeps what the session suggests.
    pub suggestions: Arc<dyn Suggestions>,
    /// Measures.
    pub clock: Arc<dyn Clock>,
}

impl World<Session> for SessionWorld {
    fn perform(&self, context: EffectContext, effect: Effect) -> BoxFuture<'static, Command> {
        let (world, session) = (self.clone(), context.stream);
        match effect {
            Effect::Slot { account } => world.seat(session, account).boxed(),
            Effect::Hold(purse) => world.hold(session, *purse).boxed(),
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
                setting,
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
                        setting.map(|setting| *setting),
                    )
                    .boxed()
            }
            Effect::Admit {
                candidate,
                setting,
                purse,
            } => async move {
                let admission = world.admit(session, candidate, *setting).await;
                match purse {
                    Some(purse) => world.pay(session, *purse, admission).await,
                    None => Command::Admitted(admission),
                }
            }
            .boxed(),
            Effect::Act {
                step,
                call,
                limit_ms,
                resources,
                around,
                next,
            } => {
                let act = Act {
                    session,
                    step,
                    call,
                    limit_ms,
                    resources,
                    around,
                    recovered: context.recovered,
                };
                // Announced to the hands at once, so that an end that follows knows of it.
                let performed = world.hands.perform(act);
                async move {
                    let outcome = performed.await;
                    let outcome = world.suggest(session, step, context.id.seq, outcome).await;
                    let next = match next {
                        Some(next) if !matches!(outcome, ToolOutcome::Unknown { .. }) => {
                            Some(world.admit(session, next.0, next.1).await)
                        }
                        _ => None,
                    };
                    Command::Acted { step, outcome, next }
                }
                .boxed()
            }
            Effect::Checkpoint {
                at,
                requested,
                resources,
            } => {
                let kept = world.hands.checkpoint(session, at, requested, resources);
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
            Effect::WatchService { step } => {
                async move { service::outcome(step, world.hands.watch(session, step).await) }.boxed()
            }
            Effect::EndService { step } => async move {
                world.hands.end_service(session, step).await;
                // Its watch sees it end.
                Command::Alarm
            }
            .boxed(),
            Effect::Stop { confirm_ms } => world.stop(session, confirm_ms).boxed(),
        }
    }
}

impl SessionWorld {
    async fn think(self, call: BrainCall, limit_ms: u64, setting: Option<Setting>) -> Command {
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
        let active_ms = self.clock.mono_ms() - begun;
        let first = result
            .as_ref()
            .ok()
            .filter(|answer| check_answer(answer).is_ok())
            .and_then(|answer| Candidate::first(step + 1, answer.calls.iter().cloned().map(Arc::new)));
        let next = match (first, setting) {
            (Some(candidate), Some(setting)) => Some(self.admit(session, candidate, setting).await),
            _ => None,
        };
        Command::Thought {
            step,
            result,
            active_ms,
            next,
        }
    }

    /// Has a step checked that is about to begin, one check after the other: what a later one reserves is reserved only
    /// for a step that the earlier ones let through. May be asked again for the same step at any time.
    async fn admit(&self, session: StreamId, candidate: Candidate, setting: Setting) -> Box<Admission> {
        let (step, call) = (candidate.step, Arc::clone(&candidate.call));
        let judgement = self.gate.judge(session, candidate, setting).await;
        let approval = match judgement.ruling {
            Ruling::Ask => approval_id(session, step, &judgement.digest),
            Ruling::Allow | Ruling::Deny => String::new(),
        };
        Box::new(Admission {
            step,
            call,
            judgement,
            approval,
            hold: None,
        })
    }

    /// A place, for a session that has credit or needs none.
    async fn seat(self, session: StreamId, account: Option<StreamId>) -> Command {
        self.slots.take(session).await;
        let Some(account) = account else {
            return Command::SlotGranted;
        };
        match self
            .credit
            .ask(account, account::Command::Admit { session })
            .await
        {
            Reply::Denied(shortage) => Command::OutOfCredit(OutOfCredit::Account(shortage)),
            Reply::Damaged => Command::OutOfCredit(OutOfCredit::Damaged),
            _ => Command::SlotGranted,
        }
    }

    async fn hold(self, session: StreamId, purse: Purse) -> Command {
        match self.ask(session, purse).await {
            Ok(held) => Command::Held(Box::new(held)),
            Err(why) => Command::OutOfCredit(why),
        }
    }

    /// Has credit held for an act that may begin; for one that may not, nothing is held.
    async fn pay(self, session: StreamId, purse: Purse, mut admission: Box<Admission>) -> Command {
        let judgement = &admission.judgement;
        let approved = purse.approved.as_ref() == Some(&judgement.digest);
        let begins = judgement.ruling == Ruling::Allow || judgement.ruling == Ruling::Ask && approved;
        if begins {
            match self.ask(session, purse).await {
                Ok(held) => admission.hold = Some(held),
                Err(why) => return Command::OutOfCredit(why),
            }
        }
        Command::Admitted(admission)
    }

    async fn ask(&self, session: StreamId, purse: Purse) -> Result<HeldStep, OutOfCredit> {
        let ask = account::Command::Ask(Box::new(purse.ask(session)));
        match self.credit.ask(purse.account, ask).await {
            Reply::Held(held) => Ok(purse.held(held)),
            Reply::Denied(shortage) => Err(OutOfCredit::Account(shortage)),
            Reply::Damaged => Err(OutOfCredit::Damaged),
            Reply::OverBudget { spent, needed } => Err(OutOfCredit::Budget { spent, needed }),
            // The session has gone on since, and whoever asked for it is about to be abandoned.
            Reply::Late | Reply::Admitted | Reply::Done { .. } => futures_util::future::pending().await,
        }
    }

    /// A suggestion is filed before the step that made it is settled, so that none is lost and a session that has ended owes
    /// nothing. What was filed for this step before a crash stands.
    async fn suggest(&self, session: StreamId, step: u64, seq: Seq, outcome: ToolOutcome) -> ToolOutcome {
        let ToolOutcome::Artifact {
            kind,
            name,
            sha256,
            bytes,
            active_ms,
            task: _,
        } = outcome
        else {
            return outcome;
        };
        let (mut kept, mut task) = ((name, sha256, bytes), None);
        if kind == SUGGESTION {
            let (name, sha256, bytes) = kept;
            let source = Source {
                session,
                step,
                seq,
                name,
                sha256,
                bytes,
            };
            match self.suggestions.file(source).await {
                Ok(filed) => {
                    task = filed.task;
                    kept = (filed.name, filed.sha256, filed.bytes);
                }
                Err(CallError { code, detail }) => {
                    return ToolOutcome::Failed {
                        code: code.to_owned(),
                        detail,
                        active_ms,
                    };
                }
            }
        }
        let (name, sha256, bytes) = kept;
        ToolOutcome::Artifact {
            kind,
            name,
            sha256,
            bytes,
            active_ms,
            task,
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
