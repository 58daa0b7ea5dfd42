//! A session whose work is charged: no hold, no start; and what its log says of each hold.

use longhaul_actors::account::{Bound, Credits, Finding, Hold, LastStep, Shortage, Used, Verdict};
use longhaul_actors::session::{
    Body, Command, Effect, OutOfCredit, PauseReason, Purse, Start, Terms, finding,
};
use longhaul_actors::{Entity, RecoveryCause, session::Session};
use longhaul_journal::{Seq, Standing, StreamId};

use crate::moves::held;
use crate::story::{acted, bounded, calls, exec, exited_after, finishes, human, ready, resume, terms};
use crate::world::World;

fn charged() -> Start {
    Start {
        terms: Some(terms()),
        ..bounded()
    }
}

/// A session that waits for its place.
fn queued() -> World {
    let mut world = World::new();
    world
        .send(Command::Start(Box::new(charged())))
        .expect("it is sound");
    world
}

/// A session that lost its credit before it had begun to work.
fn broke_in_the_queue() -> World {
    let mut world = queued();
    let why = OutOfCredit::Account(Shortage {
        needed: Credits::from_micro(1),
        available: Credits::ZERO,
    });
    world.send(Command::OutOfCredit(why)).expect("taken");
    world
}

/// A session that has its workspace and is about to ask its brain for the first time.
fn about_to_think() -> World {
    let mut world = queued();
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    world
}

fn purse(world: &World) -> Purse {
    let effects = world.owed().into_iter().map(|work| work.effect);
    let mut purses = effects.filter_map(|effect| match effect {
        Effect::Hold(purse)
        | Effect::Admit {
            purse: Some(purse), ..
        } => Some(*purse),
        _ => None,
    });
    purses.next().expect("it waits for a hold")
}

fn pay(world: &mut World) -> Seq {
    let held = held(&purse(world));
    let seq = held.held.hold;
    world.send(Command::Held(Box::new(held))).expect("taken");
    seq
}

fn bodies(world: &World) -> Vec<Body> {
    let decoded = world
        .records
        .iter()
        .map(|record| Session::decode(record).expect("it decodes"));
    decoded.map(|event| event.body).collect()
}

fn what_is_said(world: &World, hold: &Hold) -> Option<(Verdict, bool)> {
    let session = StreamId::MARKER;
    finding(&world.state, session, hold).map(|Finding { verdict, ended, .. }| (verdict, ended))
}

fn hold_of(purse: &Purse, seq: Seq) -> Hold {
    Hold {
        seq,
        step: purse.step,
        attempt: purse.attempt,
        amount: Credits::ZERO,
        prices: 1,
        bound: purse.bound.clone(),
    }
}

/// B-CREDIT-2
#[test]
fn without_a_hold_no_step_starts_and_with_it_the_start_record_names_it() {
    let mut world = about_to_think();
    assert_eq!(world.state.open, None);
    assert_eq!(Session::standing(&world.state), Standing::Owed);
    let purse = purse(&world);
    assert_eq!((purse.step, purse.bound.limit_ms, purse.last), (1, 600_000, None));
    let hold = pay(&mut world);
    let Some(Body::ModelStarted(started)) = bodies(&world).pop() else {
        panic!("the brain is not asked")
    };
    assert_eq!(started.hold.map(|named| named.seq), Some(hold));
}

/// B-CREDIT-2: the next question settles the step before.
#[test]
fn the_question_for_the_next_step_brings_what_the_last_one_used() {
    let mut world = about_to_think();
    let hold = pay(&mut world);
    world.send(answer(250)).expect("taken");
    let purse = purse(&world);
    let used = Used {
        active_ms: 250,
        ..Used::default()
    };
    assert_eq!(purse.last, Some(LastStep { hold, used }));
    let bound = Bound {
        limit_ms: 120_000,
        tool: Some("exec".into()),
        ..Bound::default()
    };
    assert_eq!((purse.step, purse.bound), (2, bound));
}

/// B-CREDIT-2: it was for a step that was given up meanwhile.
#[test]
fn a_hold_that_comes_late_starts_nothing_and_is_said_to_be_unused() {
    let mut world = about_to_think();
    let old = purse(&world);
    let late = held(&old);
    let hold = hold_of(&old, late.held.hold);
    assert_eq!(what_is_said(&world, &hold), None, "it may still be used");
    let pause = Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now: false,
    };
    world.send(pause).expect("granted");
    assert_eq!(
        what_is_said(&world, &hold),
        Some((Verdict::Release { hold: hold.seq }, false))
    );
    world.send(resume()).expect("granted");
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    world.send(Command::Held(Box::new(late))).expect("heard");
    assert_eq!(world.state.open, None);
    assert!(purse(&world).attempt > old.attempt, "it is another attempt");
}

/// B-CREDIT-2
#[test]
fn the_log_says_what_became_of_a_hold() {
    let mut world = about_to_think();
    let asked = purse(&world);
    let seq = pay(&mut world);
    let hold = hold_of(&asked, seq);
    assert_eq!(what_is_said(&world, &hold), None, "the step is open");
    world.send(answer_with(1, 30)).expect("taken");
    assert_eq!(world.state.phase.name(), "completed");
    let used = Used {
        active_ms: 30,
        ..Used::default()
    };
    let settle = Verdict::Settle(LastStep { hold: seq, used });
    assert_eq!(what_is_said(&world, &hold), Some((settle, true)));
    let other = Hold { seq: Seq(1), ..hold };
    assert_eq!(
        what_is_said(&world, &other),
        Some((Verdict::Release { hold: Seq(1) }, true))
    );
}

fn answer_with(step: u64, active_ms: u64) -> Command {
    Command::Thought {
        step,
        result: Ok(finishes()),
        active_ms,
        next: None,
    }
}

/// B-CREDIT-6: what a crash of the brain has cost is charged, and the step goes on under its hold.
#[test]
fn a_brain_that_dies_is_charged_for_what_it_used_until_then() {
    let mut world = about_to_think();
    let asked = purse(&world);
    let seq = pay(&mut world);
    let died = Command::Thought {
        step: 1,
        result: Err(longhaul_actors::ports::BrainFailure::Died("gone".into())),
        active_ms: 70,
        next: None,
    };
    world.send(died).expect("taken");
    world.send(Command::Alarm).expect("taken");
    assert_eq!(what_is_said(&world, &hold_of(&asked, seq)), None);
    world.send(answer_with(1, 30)).expect("taken");
    let Some((Verdict::Settle(last), true)) = what_is_said(&world, &hold_of(&asked, seq)) else {
        panic!("it is not settled")
    };
    assert_eq!(last.used.active_ms, 100);
}

/// B-CREDIT-6
#[test]
fn a_provider_that_wants_to_be_paid_is_not_asked_again_before_a_human_resumes() {
    let mut world = about_to_think();
    pay(&mut world);
    let unpaid = Command::Thought {
        step: 1,
        result: Err(longhaul_actors::ports::BrainFailure::Unpaid("402".into())),
        active_ms: 5,
        next: None,
    };
    world.send(unpaid).expect("taken");
    assert_eq!(world.state.phase.name(), "paused");
    assert_eq!(Session::standing(&world.state), Standing::Waits("resume".into()));
    assert!(world.owed().is_empty(), "no further call is made while it rests");
    world.send(resume()).expect("granted");
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    assert_eq!(purse(&world).step, 2, "then it is asked again");
}

/// B-CREDIT-5: nobody knows what it used.
#[test]
fn an_act_whose_outcome_is_unknown_has_an_unknown_cost() {
    let mut world = about_to_think();
    pay(&mut world);
    world.send(answer(1)).expect("taken");
    admit(&mut world);
    world.send(acted(2, crate::story::unknown())).expect("taken");
    let last = purse(&world).last.expect("it has ended");
    assert!(last.used.unknown);
}

/// The brain answers its first question with a call.
fn answer(active_ms: u64) -> Command {
    Command::Thought {
        step: 1,
        result: Ok(calls([exec("make")])),
        active_ms,
        next: None,
    }
}

fn admit(world: &mut World) {
    let work = world.owed().into_iter().next().expect("it waits");
    let admitted = crate::moves::outcome(&work.effect, 255).expect("it has an outcome");
    world.send(admitted).expect("taken");
}

/// B-CREDIT-3
#[test]
fn without_credit_it_pauses_between_two_steps_and_goes_on_where_it_was() {
    let mut world = about_to_think();
    pay(&mut world);
    world.send(answer(1)).expect("taken");
    let before = world.records.clone();
    let shortage = Shortage {
        needed: Credits::from_micro(400),
        available: Credits::from_micro(3),
    };
    let why = OutOfCredit::Account(shortage);
    world.send(Command::OutOfCredit(why)).expect("taken");
    assert_eq!(
        world.records[..before.len()],
        before,
        "the log before the pause stands"
    );
    let Some(Body::Paused(paused)) = bodies(&world).pop() else {
        panic!("it did not pause")
    };
    assert_eq!(paused.reason, PauseReason::Credits);
    assert!(paused.detail.contains("credits top-up"), "{}", paused.detail);
    world.send(Command::CreditIsBack).expect("granted");
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    admit(&mut world);
    world.send(acted(2, exited_after(1, "built"))).expect("taken");
    assert_eq!(purse(&world).step, 3);
}

/// B-CREDIT-2: an account that lost records holds nothing, and whoever asks it rests instead of asking for ever.
#[test]
fn a_damaged_account_pauses_who_asks_it() {
    let mut world = about_to_think();
    world
        .send(Command::OutOfCredit(OutOfCredit::Damaged))
        .expect("taken");
    let Some(Body::Paused(paused)) = bodies(&world).pop() else {
        panic!("it did not pause")
    };
    assert_eq!(paused.reason, PauseReason::Credits);
    assert!(paused.detail.contains("lost records"), "{}", paused.detail);
}

/// B-CREDIT-4
#[test]
fn credit_resumes_nothing_that_rests_for_another_reason() {
    let mut world = about_to_think();
    world.send(Command::CreditIsBack).expect("it changes nothing");
    let pause = Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now: false,
    };
    world.send(pause).expect("granted");
    let before = world.records.len();
    world.send(Command::CreditIsBack).expect("it changes nothing");
    assert_eq!(
        (world.records.len(), world.state.phase.name()),
        (before, "paused")
    );
}

/// B-CREDIT-7
#[test]
fn a_spent_budget_says_how_to_raise_it_and_a_raised_one_holds() {
    let mut world = World::new();
    let start = Start {
        terms: Some(Terms {
            budget_micro: Some(Credits::from_micro(500_000)),
            ..terms()
        }),
        ..bounded()
    };
    world.send(Command::Start(Box::new(start))).expect("it is sound");
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    assert_eq!(purse(&world).budget, Some(Credits::from_micro(500_000)));
    let why = OutOfCredit::Budget {
        spent: Credits::from_micro(499_000),
        needed: Credits::from_micro(2_000),
    };
    world.send(Command::OutOfCredit(why)).expect("taken");
    let Some(Body::Paused(paused)) = bodies(&world).pop() else {
        panic!("it did not pause")
    };
    assert_eq!(paused.reason, PauseReason::Budget);
    assert!(paused.detail.contains("--budget"), "{}", paused.detail);
    let raise = Command::Resume {
        by: human(),
        budget: Some(Credits::from_micro(700_000)),
    };
    world.send(raise).expect("granted");
    world.send(Command::SlotGranted).expect("taken");
    world.send(ready()).expect("taken");
    assert_eq!(purse(&world).budget, Some(Credits::from_micro(700_000)));
}

/// B-CREDIT-4: a top-up resumes what waits for it, not what a human wants to rest meanwhile.
#[test]
fn a_pause_that_a_human_asks_for_outlives_the_lack_of_credit() {
    let mut world = broke_in_the_queue();
    let pause = || Command::Pause {
        by: human(),
        reason: PauseReason::Requested,
        now: false,
    };
    let before = world.records.len();
    world.send(pause()).expect("granted");
    world.send(pause()).expect("it is so already");
    assert_eq!(world.records.len() - before, 1);
    world.send(Command::CreditIsBack).expect("it changes nothing");
    assert_eq!(world.state.phase.name(), "paused");
    world.send(resume()).expect("granted");
    assert_eq!(world.state.phase.name(), "queued");
}

/// B-CREDIT-7: whoever resumes twice, and says only the second time what it may cost, is heard.
#[test]
fn a_budget_can_be_raised_while_it_works_and_the_same_again_changes_nothing() {
    let mut world = about_to_think();
    let resume = |budget: Option<u64>| Command::Resume {
        by: human(),
        budget: budget.map(Credits::from_micro),
    };
    for (budget, appends) in [(None, 0), (Some(700_000), 1), (Some(700_000), 0), (None, 0)] {
        let before = world.records.len();
        world.send(resume(budget)).expect("granted");
        assert_eq!(world.records.len() - before, appends, "{budget:?}");
        assert_eq!(world.state.phase.name(), "running");
    }
    assert_eq!(purse(&world).budget, Some(Credits::from_micro(700_000)));
}

/// B-CREDIT-3: before it has begun to work.
#[test]
fn a_queued_session_pauses_when_the_credit_is_gone() {
    let world = broke_in_the_queue();
    assert_eq!(world.state.phase.name(), "paused");
}

/// B-CREDIT-2: the account knows the question, and gives the same hold.
#[test]
fn after_a_crash_of_the_server_the_same_question_is_asked() {
    let mut world = about_to_think();
    let before = purse(&world);
    world.recover(RecoveryCause::Wake, true);
    assert_eq!(purse(&world), before);
}
