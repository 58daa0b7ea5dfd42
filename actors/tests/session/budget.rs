//! The time of a run is the time of its work: days of waiting, a clock that is set, and a machine that was suspended
//! spend none of it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use longhaul_actors::ports::{
    Act, AllowAll, Brain, BrainCall, BrainFailure, Clock, EndlessSlots, FreeOfCharge, Hands, NoTasks,
    SetupError,
};
use longhaul_actors::session::{
    Answer, AnswerEnd, BrainSpec, Command, Effect, Isolation, Limits, SendMode, SessionWorld, Setting, Start,
    ToolOutcome, WorkspaceSpec,
};
use longhaul_actors::{EffectContext, EffectId, ManualClock, World};
use longhaul_journal::{MemoryJournal, Seq, StreamId};

use crate::story::{
    Story, acting, bounded, calls, ends, exec, exited_after, limited, pause, ready, resume, send, thinking,
};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

fn half_an_hour() -> Start {
    let limits = Limits {
        run_ms: 30 * MINUTE_MS,
        ..Limits::default()
    };
    limited(bounded(), limits)
}

fn goes_on(story: Story) -> Story {
    story.when(Command::SlotGranted).when(ready())
}

/// B-RUN-2, B-TIME-1: days of waiting for input, days of a pause, a week in a dead server: the run still has what it had
/// not worked; then it ends at its bound, with its outcome.
#[test]
fn days_of_waiting_spend_nothing_of_a_run() {
    let story = acting(half_an_hour()).settles(exited_after(9 * MINUTE_MS, "1"));
    let asks = AnswerEnd::Ask {
        text: "which?".into(),
    };
    let story = story.answers(ends(asks)).stands("awaiting_input").at(3 * DAY_MS);
    let story = goes_on(story.when(send("that one", SendMode::Steer))).answers(calls([exec("make b")]));
    let story = story
        .when(pause())
        .settles(exited_after(9 * MINUTE_MS, "2"))
        .stands("paused");
    let story = goes_on(story.at(10 * DAY_MS).when(resume())).answers(calls([exec("make c")]));
    let story = story.at(17 * DAY_MS).when_the_server_crashes().stands("running");
    let spent = story.world.state.usage.active_ms;
    assert!((18 * MINUTE_MS..19 * MINUTE_MS).contains(&spent), "{spent} ms");
    let story = story.settles(exited_after(12 * MINUTE_MS, "3"));
    story.then([
        "command.run",
        "turn.completed deadline_exceeded",
        "session.completed deadline_exceeded",
    ]);
}

/// B-TIME-1: a wall clock that is set back or forward by an operator changes nothing of the budget.
#[test]
fn a_clock_that_is_set_spends_nothing() {
    let ahead = acting(half_an_hour())
        .at(400 * DAY_MS)
        .settles(exited_after(MINUTE_MS, "1"));
    let back = ahead
        .answers(calls([exec("make b")]))
        .at(0)
        .settles(exited_after(MINUTE_MS, "2"));
    let spent = back.stands("running").world.state.usage.active_ms;
    assert!((2 * MINUTE_MS..3 * MINUTE_MS).contains(&spent), "{spent} ms");
}

/// A brain that never answers, and hands that are not asked.
struct Silent;

impl Brain for Silent {
    fn next(&self, _call: BrainCall) -> BoxFuture<'static, Result<Answer, BrainFailure>> {
        pending().boxed()
    }

    fn release(&self, _session: StreamId) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

impl Hands for Silent {
    fn prepare(&self, _: StreamId, _: WorkspaceSpec) -> BoxFuture<'static, Result<Isolation, SetupError>> {
        pending().boxed()
    }

    fn perform(&self, _act: Act) -> BoxFuture<'static, ToolOutcome> {
        pending().boxed()
    }

    fn cancel(&self, _session: StreamId, _step: u64) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }

    fn stop(&self, _session: StreamId) -> BoxFuture<'static, Vec<u32>> {
        async { Vec::new() }.boxed()
    }
}

/// B-TIME-1: the machine is suspended for three days in the middle of a brain call. The call is not late by that, and the
/// time that it is then given is the time it was given before.
#[tokio::test]
async fn a_suspended_machine_spends_nothing_of_a_brain_call() {
    let clock = ManualClock::at(DAY_MS);
    let world = SessionWorld {
        journal: Arc::new(MemoryJournal::new()),
        brain: Arc::new(Silent),
        hands: Arc::new(Silent),
        gate: Arc::new(AllowAll),
        credit: Arc::new(FreeOfCharge),
        slots: Arc::new(EndlessSlots),
        suggestions: Arc::new(NoTasks),
        clock: Arc::new(clock.clone()),
    };
    let context = EffectContext {
        stream: StreamId::unnamed(),
        id: EffectId {
            seq: Seq(7),
            attempt: 1,
        },
        recovered: false,
    };
    let brain = BrainSpec {
        kind: "process".into(),
        name: "agent".into(),
        sha256: None,
        args: Vec::new(),
    };
    let (step, window_to, attempt, limit_ms) = (1, Seq(6), 1, 10 * MINUTE_MS);
    let setting = Some(Box::new(Setting {
        origin: None,
        isolation: "process".into(),
    }));
    let effect = Effect::Think {
        step,
        brain,
        setting,
        window_to,
        attempt,
        limit_ms,
    };
    let mut call = tokio::spawn(world.perform(context, effect));
    clock.sleeping(1).await;
    clock.advance(4 * MINUTE_MS);
    clock.set_wall(clock.now_ms() + 3 * DAY_MS);
    clock.set_wall(0);
    assert!(
        (&mut call).now_or_never().is_none(),
        "nothing of it was spent by the suspension"
    );
    clock.advance(6 * MINUTE_MS);
    let Ok(Command::Thought {
        result, active_ms, ..
    }) = call.await
    else {
        panic!("a call ends in an answer or without one");
    };
    assert_eq!(result, Err(BrainFailure::TimedOut(limit_ms)));
    assert_eq!(active_ms, limit_ms);
}

/// B-RUN-2: what is under way when the time is spent is bounded by what was left of it.
#[test]
fn no_step_is_given_more_than_is_left_of_the_run() {
    let story = thinking(half_an_hour()).answers(calls([exec("make")]));
    let story = story
        .settles(exited_after(29 * MINUTE_MS, "1"))
        .answers(calls([exec("make b")]));
    let owed = story.world.owed();
    assert!(
        matches!(&owed[0].effect, Effect::Act { limit_ms, .. } if *limit_ms <= MINUTE_MS),
        "{owed:?}"
    );
}
