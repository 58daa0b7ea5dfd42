//! What an account does, one sentence each.

use longhaul_actors::account::{
    Account, Bound, Command, Credits, Effect, Finding, LastStep, Open, PriceTable, Refusal, Reply,
    ResumePolicy, Used, Verdict,
};
use longhaul_actors::{Entity, Owed};
use longhaul_journal::Seq;

use crate::world::{World, asks, credits, session};

const HOUR_MS: u64 = 3_600_000;

fn used(active_ms: u64) -> Used {
    Used {
        active_ms,
        ..Used::default()
    }
}

fn ended(hold: Seq, active_ms: u64) -> Option<LastStep> {
    let used = used(active_ms);
    Some(LastStep { hold, used })
}

/// B-CREDIT-5
#[test]
fn an_hour_of_steps_costs_exactly_0_012() {
    let mut world = World::opened("5");
    let mut last = None;
    for step in 1..=3_601 {
        let held = world.held(session(1), step, 120_000, last);
        last = ended(held.hold, 1_000);
    }
    assert_eq!(world.state.settled, credits("0.012"));
}

/// B-CREDIT-2
#[test]
fn a_hold_covers_the_bound_and_settling_takes_at_most_the_hold() {
    let mut world = World::opened("5");
    let held = world.held(session(1), 1, HOUR_MS, None);
    assert_eq!(
        (held.amount, world.state.held),
        (credits("0.012"), credits("0.012"))
    );
    let next = world.held(session(1), 2, HOUR_MS, ended(held.hold, 3 * HOUR_MS));
    assert_eq!(next.spent, credits("0.012"), "the rest is borne by the operator");
    assert_eq!(world.state.overrun, credits("0.024"));
}

/// B-CREDIT-2
#[test]
fn the_same_question_gets_the_same_hold_and_a_late_one_gets_none() {
    let mut world = World::opened("5");
    let first = world.held(session(1), 1, HOUR_MS, None);
    assert_eq!(world.held(session(1), 1, HOUR_MS, None), first);
    let second = world.held(session(1), 2, HOUR_MS, ended(first.hold, 1));
    let before = world.records.len();
    assert_eq!(world.ask(asks(session(1), 1, HOUR_MS, None)), Reply::Late);
    assert_eq!(
        world.held(session(1), 2, HOUR_MS, ended(first.hold, 1)).hold,
        second.hold
    );
    assert_eq!(world.records.len(), before, "nothing was written");
}

/// B-CREDIT-3
#[test]
fn who_does_not_get_a_hold_waits_and_is_told_once_there_is_credit() {
    let mut world = World::opened("0.01");
    let Reply::Denied(shortage) = world.ask(asks(session(1), 1, HOUR_MS, None)) else {
        panic!("it was not denied")
    };
    assert_eq!(
        (shortage.needed, shortage.available),
        (credits("0.012"), credits("0.01"))
    );
    assert!(Account::owed(&world.state).is_empty());
    world.top_up("one", "1").expect("it is granted");
    let owed = Account::owed(&world.state);
    let [
        Owed {
            effect: Effect::Resume { session: told, since },
            ..
        },
    ] = owed[..]
    else {
        panic!("{owed:?}")
    };
    assert_eq!(told, session(1));
    let resumed = Command::Resumed { session: told, since };
    world.send(resumed).expect("it is noted");
    assert!(Account::owed(&world.state).is_empty());
}

/// B-CREDIT-4
#[test]
fn with_the_policy_manual_nobody_is_resumed_by_a_top_up() {
    let mut world = World::default();
    let open = Open {
        initial: Credits::ZERO,
        resume: Some(ResumePolicy::Manual),
        ..Open::of_defaults()
    };
    world.send(Command::Open(Box::new(open))).expect("it is opened");
    let session = session(1);
    assert!(matches!(
        world.send(Command::Admit { session }),
        Ok(Reply::Denied(_))
    ));
    world.top_up("one", "1").expect("it is granted");
    assert!(Account::owed(&world.state).is_empty());
    assert_eq!(world.send(Command::Admit { session }), Ok(Reply::Admitted));
}

/// B-CREDIT-4
#[test]
fn a_top_up_is_granted_once_and_another_amount_under_its_name_is_a_conflict() {
    let mut world = World::opened("5");
    let Ok(Reply::Done {
        seq, repeated: false, ..
    }) = world.top_up("a", "1.5")
    else {
        panic!("it was not granted")
    };
    let again = world.top_up("a", "1.5");
    assert!(
        matches!(again, Ok(Reply::Done { seq: same, repeated: true, .. }) if same == seq),
        "{again:?}"
    );
    let other = world.top_up("a", "2");
    assert!(
        matches!(other, Err(Refusal::IdempotencyConflict { .. })),
        "{other:?}"
    );
    assert_eq!(world.state.balance(), credits("6.5"));
}

#[test]
fn what_is_no_sensible_top_up_is_refused() {
    let mut world = World::opened("5");
    assert_eq!(world.top_up("a", "0"), Err(Refusal::Zero));
    assert_eq!(world.top_up("", "1"), Err(Refusal::RequestId));
    // It is not the amount that is too large for an account, but what it comes to.
    let most = Credits::MOST.to_string();
    let too_much = world.top_up("a", &most).expect_err("five were granted before");
    assert_eq!(
        too_much.to_string(),
        "1000000000.00 is too much: 5.00 were granted, and at most 1000000000.00 may be in all"
    );
    assert!(world.top_up("a", "999999995").is_ok(), "there is room for that");
}

/// B-CREDIT-7
#[test]
fn it_is_said_once_that_a_fifth_is_left_and_again_after_a_top_up() {
    let mut world = World::opened("0.060");
    let mut last = None;
    for step in 1..=4 {
        let held = world.held(session(1), step, HOUR_MS, last);
        last = ended(held.hold, HOUR_MS);
    }
    assert_eq!(world.ledger.low, 0, "0.024 of 0.060 is left");
    let held = world.held(session(1), 5, HOUR_MS, last);
    assert_eq!(world.ledger.low, 1, "0.012 of 0.060 is left");
    world.top_up("a", "0.012").expect("it is granted");
    world.held(session(1), 6, HOUR_MS, ended(held.hold, HOUR_MS));
    assert_eq!(world.ledger.low, 1, "0.012 of 0.024 is left");
}

/// B-CREDIT-7
#[test]
fn a_session_does_not_go_beyond_its_own_budget() {
    let mut world = World::opened("5");
    let budget = Some(credits("0.020"));
    let mut ask = asks(session(1), 1, HOUR_MS, None);
    ask.budget = budget;
    let Reply::Held(held) = world.ask(ask) else {
        panic!("it was not held")
    };
    let mut ask = asks(session(1), 2, HOUR_MS, ended(held.hold, HOUR_MS));
    ask.budget = budget;
    let over = Reply::OverBudget {
        spent: credits("0.012"),
        needed: credits("0.012"),
    };
    assert_eq!(world.ask(ask), over);
    assert_eq!(
        world.state.settled,
        credits("0.012"),
        "the step before is settled all the same"
    );
}

/// B-CREDIT-5
#[test]
fn an_unknown_cost_is_unknown_and_is_not_charged() {
    let mut world = World::opened("5");
    let mut ask = asks(session(1), 1, 600_000, None);
    ask.bound.model = Some("process:agent".into());
    let Reply::Held(held) = world.ask(ask) else {
        panic!("it was not held")
    };
    let last = LastStep {
        hold: held.hold,
        used: Used {
            input_tokens: 5_000,
            ..used(300_000)
        },
    };
    world.held(session(1), 2, 1, Some(last));
    assert_eq!((world.state.unknown, world.state.settled), (1, credits("0.001")));
}

/// B-CREDIT-5
#[test]
fn other_prices_hold_from_the_next_step_on() {
    let mut world = World::opened("5");
    let held = world.held(session(1), 1, HOUR_MS, None);
    let prices = PriceTable {
        hour_micro: credits("1"),
        ..PriceTable::default()
    };
    let open = Open {
        prices: Some(prices),
        ..Open::of_defaults()
    };
    world
        .send(Command::Open(Box::new(open.clone())))
        .expect("it takes them on");
    let before = world.records.len();
    world.send(Command::Open(Box::new(open))).expect("it has them");
    assert_eq!(world.records.len(), before);
    let next = world.held(session(1), 2, HOUR_MS, ended(held.hold, HOUR_MS));
    assert_eq!((next.spent, next.amount), (credits("0.012"), credits("1")));
}

/// B-CREDIT-2: the sessions of an account are forgotten once they have ended, and nothing is charged for it.
#[test]
fn a_session_that_has_ended_is_forgotten_and_its_late_messages_cost_nothing() {
    let mut world = World::opened("5");
    let held = world.held(session(1), 1, HOUR_MS, None);
    let verdict = Verdict::Settle(LastStep {
        hold: held.hold,
        used: used(HOUR_MS),
    });
    let finding = Finding {
        session: session(1),
        verdict,
        ended: true,
    };
    world.send(Command::Audited(vec![finding])).expect("it is noted");
    assert!(world.state.sessions.is_empty());
    let late = world.held(session(1), 1, HOUR_MS, None);
    let finding = Finding {
        verdict: Verdict::Release { hold: late.hold },
        ..finding
    };
    world
        .send(Command::Audited(vec![finding, finding]))
        .expect("it is noted");
    assert!(world.state.sessions.is_empty());
    assert_eq!(
        (world.state.settled, world.state.held),
        (credits("0.012"), Credits::ZERO)
    );
}

#[test]
fn an_account_that_is_not_there_says_so() {
    let mut world = World::default();
    assert_eq!(world.top_up("a", "1"), Err(Refusal::NotFound));
}

#[test]
fn tools_may_have_a_price_of_their_own() {
    let mut prices = PriceTable::default();
    prices.tools.insert("search".into(), credits("0.01"));
    let bound = Bound {
        limit_ms: HOUR_MS,
        tool: Some("search".into()),
        ..Bound::default()
    };
    assert_eq!(prices.bound(&bound), credits("0.022"));
}
