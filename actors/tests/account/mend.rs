//! Accounts taken up again over a gap in their log. Nothing is charged twice, and nothing is spent that was not granted.

use longhaul_actors::account::{Account, Credits, LastStep, Reply, Used};
use longhaul_actors::{Entity, Owed};
use longhaul_journal::Seq;

use crate::world::{World, asks, credits, session};

const HOUR_MS: u64 = 3_600_000;

fn ended(hold: Seq, active_ms: u64) -> Option<LastStep> {
    let used = Used {
        active_ms,
        ..Used::default()
    };
    Some(LastStep { hold, used })
}

/// B-LOG-10, B-CREDIT-2: its step may have ended and been settled in the gap.
#[test]
fn what_was_held_before_the_gap_is_charged_in_full_and_once() {
    let mut world = World::opened("5");
    let held = world.held(session(1), 1, HOUR_MS, None);
    world.held(session(1), 2, HOUR_MS, ended(held.hold, 1_000));
    world.repaired_after(held.hold);
    assert_eq!(
        (world.state.settled, world.state.held),
        (credits("0.012"), Credits::ZERO)
    );
    assert!(Account::owed(&world.state).is_empty(), "nothing is left to audit");
    let next = world.held(session(1), 3, HOUR_MS, ended(held.hold, HOUR_MS));
    assert_eq!(
        (next.spent, world.state.settled),
        (credits("0.012"), credits("0.012")),
        "the session settles its step once more"
    );
    world.crash();
}

/// B-LOG-10: the answer of the account may be what was lost, and then the step never began.
#[test]
fn a_step_that_was_held_for_and_never_began_can_be_asked_for_again() {
    let mut world = World::opened("5");
    let held = world.held(session(1), 1, HOUR_MS, None);
    world.top_up("a", "1").expect("it is granted");
    world.repaired_after(held.hold);
    let again = world.held(session(1), 1, HOUR_MS, None);
    assert!(again.hold > held.hold);
}

/// B-LOG-10: a session may name a hold of the gap, and no later one is taken for it.
#[test]
fn a_step_that_was_held_for_in_the_gap_costs_nothing_and_the_next_one_is_held_for() {
    let mut world = World::opened("5");
    let stands = world.state.head;
    let lost = world.held(session(1), 1, HOUR_MS, None);
    world.repaired_after(stands);
    let next = world.held(session(1), 2, HOUR_MS, ended(lost.hold, HOUR_MS));
    assert!(next.hold > lost.hold);
    assert_eq!((next.spent, world.state.settled), (Credits::ZERO, Credits::ZERO));
}

/// B-LOG-10, B-CREDIT-4
#[test]
fn a_top_up_in_the_gap_is_gone_and_can_be_repeated_under_its_name() {
    let mut world = World::opened("5");
    let stands = world.state.head;
    world.top_up("a", "1.5").expect("it is granted");
    world.repaired_after(stands);
    assert_eq!(world.state.balance(), credits("5"));
    let again = world.top_up("a", "1.5");
    assert!(
        matches!(again, Ok(Reply::Done { repeated: false, .. })),
        "{again:?}"
    );
    assert_eq!(world.state.balance(), credits("6.5"));
}

/// B-LOG-10, B-CREDIT-3: who waited before the gap hears of the next top-up.
#[test]
fn a_session_that_waited_for_credit_waits_on_behind_the_gap() {
    let mut world = World::opened("0.01");
    assert!(matches!(
        world.ask(asks(session(1), 1, HOUR_MS, None)),
        Reply::Denied(_)
    ));
    let stands = world.state.head;
    world.top_up("a", "1").expect("it is granted");
    world.repaired_after(stands);
    assert_eq!(Account::owed(&world.state), []);
    world.top_up("a", "1").expect("it is granted");
    assert!(matches!(Account::owed(&world.state)[..], [Owed { .. }]));
}
