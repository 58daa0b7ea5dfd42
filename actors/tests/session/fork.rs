//! A fork begins as its source was, owes nothing of what the source owed, and repeats no act.

use longhaul_actors::session::{
    Actor, AnswerEnd, Command, Event, Fork, Refusal, SendMode, Session, State, fork,
};
use longhaul_actors::{Entity, Moment, Placed};
use longhaul_journal::Seq;

use crate::story::{
    Story, acting, bounded, calls, cancel, ends, exec, exited, finishes, idle, interactive, pause, send_once,
    thinking,
};

fn wish(at: u64, say: Option<&str>) -> Fork {
    Fork {
        by: Actor::human("somebody"),
        from: "s_source".into(),
        at: Seq(at),
        key: None,
        fingerprint: "a fork".into(),
        say: say.map(Into::into),
    }
}

/// The fold of a source up to a seq, and what a fork of it adds.
fn forked(source: &Story, at: u64, say: Option<&str>) -> Result<(State, State, Vec<String>), Refusal> {
    let mut state = State::default();
    for record in source
        .world
        .records
        .iter()
        .take_while(|record| record.seq.0 <= at)
    {
        let event = Event::decode(record).expect("it was stored");
        fold(&mut state, record.time_ms, &event);
    }
    let shared = state.clone();
    let events = fork(&state, wish(at, say), Moment { now_ms: 9_000 })?;
    for event in &events {
        fold(&mut state, 9_000, event);
    }
    let types = events
        .iter()
        .map(|event| event.body.type_name().to_owned())
        .collect();
    Ok((shared, state, types))
}

fn fold(state: &mut State, time_ms: u64, event: &Event) {
    let seq = state.head.next();
    Session::apply(state, Placed { seq, time_ms, event });
}

fn head(story: &Story) -> u64 {
    story.world.state.head.0
}

/// A fork that repeated the act of its source would do it twice.
#[test]
fn an_act_that_was_under_way_in_the_source_is_unknown_in_the_fork_and_the_brain_is_asked() {
    let source = acting(interactive());
    let (shared, state, types) = forked(&source, head(&source), None).expect("it can be forked");
    assert_eq!(shared, source.world.state, "the fold at the seq is the source's");
    assert_eq!(types, ["session.forked", "tool.outcome_unknown"]);
    assert_eq!((state.phase.name(), state.open), ("queued", None));
    let plan = state.turn.map(|turn| turn.plan);
    assert_eq!(
        plan,
        Some(Vec::new()),
        "what was planned after it is dropped with it"
    );
}

#[test]
fn a_brain_call_that_was_under_way_is_asked_again_in_the_fork() {
    let source = thinking(interactive());
    let (_, state, types) = forked(&source, head(&source), None).expect("it can be forked");
    assert_eq!(types, ["session.forked", "model.completed"]);
    assert_eq!(state.phase.name(), "queued");
}

#[test]
fn a_fork_belongs_to_whoever_forked_it_and_not_to_the_name_of_its_source() {
    let source = idle().when(send_once("more", "k1"));
    let (shared, state, _) = forked(&source, head(&source), None).expect("it can be forked");
    let origin = state.origin.expect("it has one");
    assert_eq!((origin.owner.as_str(), origin.key.as_deref()), ("somebody", None));
    assert_eq!(origin.fingerprint, "a fork");
    assert_eq!(
        state.forked.map(|from| (from.id, from.at.0)),
        Some(("s_source".into(), head(&source)))
    );
    assert_eq!(
        (shared.keys.len(), state.keys.len()),
        (1, 0),
        "a message to the source is none to the fork"
    );
}

#[test]
fn a_run_that_ended_can_be_forked_from_before_its_end_and_told_to_go_another_way() {
    let source = thinking(bounded())
        .answers(calls([exec("make")]))
        .settles(exited("ok"))
        .answers(finishes());
    let before = head(&source) - 1;
    let (shared, state, types) = forked(&source, before, Some("try it in Rust")).expect("it can be forked");
    assert!(!shared.phase.is_terminal());
    assert_eq!(types, ["session.forked", "user.message"]);
    assert_eq!((state.phase.name(), state.inbox.len()), ("queued", 1));
    let (_, ended, types) = forked(&source, head(&source), None).expect("as a copy");
    assert_eq!((ended.phase.name(), types.len()), ("completed", 1));
    let refused = forked(&source, head(&source), Some("go on")).expect_err("it has ended");
    assert_eq!(refused, Refusal::Terminal("completed"));
}

#[test]
fn what_rested_rests_in_the_fork() {
    let asked = thinking(interactive()).answers(ends(AnswerEnd::Ask {
        text: "which?".into(),
    }));
    for (source, phase) in [
        (idle(), "idle"),
        (idle().when(pause()), "paused"),
        (asked, "awaiting_input"),
    ] {
        let (_, state, types) = forked(&source, head(&source), None).expect("it can be forked");
        assert_eq!(
            (state.phase.name(), types),
            (phase, vec!["session.forked".to_owned()])
        );
    }
    let asleep = idle().at(180_000).when(Command::Alarm).stands("hibernated");
    let (_, state, types) = forked(&asleep, head(&asleep), Some("wake")).expect("it can be forked");
    assert_eq!(types, ["session.forked", "session.woken", "user.message"]);
    assert_eq!(state.phase.name(), "queued");
}

/// At every seq of a story, in the middle of its frames too: the fold is the source's, nothing open is carried over, and
/// whatever the fork owes begins with a place and a workspace of its own, or with a stop.
#[test]
fn every_seq_can_be_forked_and_no_fork_owes_an_act() {
    let source = acting(bounded())
        .settles(exited("ok"))
        .answers(calls([exec("b"), exec("c")]));
    let source = source
        .when(crate::story::send("also", SendMode::Interrupt))
        .when(crate::story::gone());
    let source = source
        .when(cancel())
        .when(crate::story::gone())
        .stands("canceled");
    for at in 1..=head(&source) {
        let (_, state, _) = forked(&source, at, None).expect("it can be forked");
        assert_eq!(state.open, None, "at {at}");
        let owed = format!("{:?}", Session::owed(&state));
        assert!(
            !owed.contains("Act {") && !owed.contains("Think {"),
            "at {at}: {owed}"
        );
        assert_eq!(
            owed == "[]",
            Session::standing(&state) != longhaul_journal::Standing::Owed,
            "at {at}"
        );
    }
}
