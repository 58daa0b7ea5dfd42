//! What every kind of brain signs, as tests over any of them.
//!
//! A subject brings a brain that plays one part, each in its own way: run `one`, run `two`, finish; and when a message
//! asks for the changelog, write `CHANGELOG` before anything else, once. To add a kind, bring that part and add it to
//! `subjects!`.

use longhaul_actors::ports::Brain;
use longhaul_actors::session::{Answer, AnswerEnd, BrainSpec, SendMode};

use super::stage::{Stage, exited};
use super::{playbook, process};

/// A kind of brain on trial.
pub(super) trait Subject {
    /// A brain that has seen nothing.
    fn fresh(&self) -> Box<dyn Brain>;
    /// What sessions name it by.
    fn spec(&self) -> BrainSpec;
}

const GOAL: &str = "play your part";
const WISH: &str = "also bump the changelog";

macro_rules! subjects {
    ($($kind:ident: $subject:expr),+ $(,)?) => {$(
        mod $kind {
            use super::*;

            #[tokio::test]
            async fn plays_to_the_end() {
                super::plays_to_the_end(&$subject).await;
            }

            #[tokio::test]
            async fn answers_the_same_step_the_same() {
                super::answers_the_same_step_the_same(&$subject).await;
            }

            #[tokio::test]
            async fn needs_nothing_but_the_records() {
                super::needs_nothing_but_the_records(&$subject).await;
            }

            #[tokio::test]
            async fn answers_an_earlier_window_as_it_did() {
                super::answers_an_earlier_window_as_it_did(&$subject).await;
            }

            #[tokio::test]
            async fn reacts_to_a_message_exactly_once() {
                super::reacts_to_a_message_exactly_once(&$subject).await;
            }

            #[tokio::test]
            async fn goes_on_after_a_release() {
                super::goes_on_after_a_release(&$subject).await;
            }

            #[tokio::test]
            async fn goes_on_after_an_abandoned_call() {
                super::goes_on_after_an_abandoned_call(&$subject).await;
            }

            #[tokio::test]
            async fn keeps_sessions_apart() {
                super::keeps_sessions_apart(&$subject).await;
            }
        }
    )+};
}

subjects! {
    playbooks: playbook::Part,
    processes: process::Part::new(),
}

async fn plays_to_the_end(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    let mut acts = Vec::new();
    for _ in 0..2 {
        acts.push(act(&stage.ask(&*brain).await.expect("an answer")));
        stage.settle(exited(0, "ok"));
    }
    assert_eq!(acts, ["exec one", "exec two"]);
    let end = stage.ask(&*brain).await.expect("an answer").end;
    assert!(matches!(end, Some(AnswerEnd::Finish { .. })), "{end:?}");
    brain.release(stage.session).await;
}

async fn answers_the_same_step_the_same(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    let first = brain.next(stage.call()).await.expect("an answer");
    assert_eq!(brain.next(stage.call()).await, Ok(first.clone()));
    assert_eq!(stage.ask(&*brain).await, Ok(first));
    brain.release(stage.session).await;
}

async fn needs_nothing_but_the_records(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    for round in 0..4 {
        let stranger = subject.fresh();
        let from_records = stranger.next(stage.call()).await;
        stranger.release(stage.session).await;
        assert_eq!(from_records, stage.ask(&*brain).await, "round {round}");
        stage.settle(exited(0, "ok"));
        if round == 0 {
            stage.hear(WISH, SendMode::Steer);
        }
    }
    brain.release(stage.session).await;
}

async fn answers_an_earlier_window_as_it_did(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    let early = stage.begin();
    let answer = brain.next(early.clone()).await;
    stage.complete(&answer);
    stage.settle(exited(0, "ok"));
    assert_eq!(act(&stage.ask(&*brain).await.expect("an answer")), "exec two");
    assert_eq!(brain.next(early).await, answer);
    brain.release(stage.session).await;
}

/// B-STEER-2, the brain's part of it.
async fn reacts_to_a_message_exactly_once(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    let call = stage.begin();
    // Recorded while the brain thinks: behind the window, so it is for the next call.
    stage.hear(WISH, SendMode::Steer);
    let answer = brain.next(call).await;
    let mut acts = vec![act(answer.as_ref().expect("an answer"))];
    stage.complete(&answer);
    stage.settle(exited(0, "ok"));
    for _ in 0..2 {
        acts.push(act(&stage.ask(&*brain).await.expect("an answer")));
        stage.settle(exited(0, "ok"));
    }
    assert_eq!(acts, ["exec one", "write CHANGELOG", "exec two"]);
    brain.release(stage.session).await;
}

async fn goes_on_after_a_release(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    stage.ask(&*brain).await.expect("an answer");
    stage.settle(exited(0, "ok"));
    brain.release(stage.session).await;
    brain.release(stage.session).await;
    assert_eq!(act(&stage.ask(&*brain).await.expect("an answer")), "exec two");
    brain.release(stage.session).await;
}

async fn goes_on_after_an_abandoned_call(subject: &dyn Subject) {
    let (brain, mut stage) = (subject.fresh(), Stage::new(subject.spec(), GOAL));
    stage.ask(&*brain).await.expect("an answer");
    stage.settle(exited(0, "ok"));
    // Polled once, so that whatever it begins has begun.
    assert!(
        futures_util::FutureExt::now_or_never(brain.next(stage.call())).is_none_or(|answer| answer.is_ok())
    );
    assert_eq!(act(&stage.ask(&*brain).await.expect("an answer")), "exec two");
    brain.release(stage.session).await;
}

async fn keeps_sessions_apart(subject: &dyn Subject) {
    let brain = subject.fresh();
    let (mut one, mut two) = (Stage::new(subject.spec(), GOAL), Stage::new(subject.spec(), GOAL));
    one.ask(&*brain).await.expect("an answer");
    one.settle(exited(0, "ok"));
    two.hear(WISH, SendMode::Steer);
    let (call_one, call_two) = (one.begin(), two.begin());
    let (answer_one, answer_two) = tokio::join!(brain.next(call_one), brain.next(call_two));
    assert_eq!(act(&answer_one.expect("an answer")), "exec two");
    assert_eq!(act(&answer_two.expect("an answer")), "write CHANGELOG");
    brain.release(one.session).await;
    brain.release(two.session).await;
}

/// The only call of an answer: `exec one`.
fn act(answer: &Answer) -> String {
    let [call] = &answer.calls[..] else {
        panic!("one call, not {answer:?}")
    };
    let what = call.args.get("command").or_else(|| call.args.get("path"));
    format!(
        "{} {}",
        call.tool,
        what.and_then(|what| what.as_str()).unwrap_or_default()
    )
}
