//! What may become of a task, and what may not.

use longhaul_actors::session::{self, Actor, RunOutcome};
use longhaul_actors::task::{
    Body, Command, Create, Effect, Event, Grade, Phase, Progress, Refusal, Reply, Source, State, Suggest,
    Task, Wanted, progress,
};
use longhaul_actors::{Decision, Entity, Moment, Placed};
use longhaul_journal::{Seq, Standing, StreamId};
use proptest::prelude::*;

const RUN: StreamId = StreamId::from_bytes([7; 16]);
const OTHER_RUN: StreamId = StreamId::from_bytes([8; 16]);

fn human() -> Actor {
    Actor::human("local")
}

fn wanted(title: &str) -> Wanted {
    Wanted {
        title: title.into(),
        ..Wanted::default()
    }
}

fn suggest(sha256: &str) -> Command {
    Command::Suggest(Box::new(Suggest {
        owner: "local".into(),
        wanted: wanted("cache the index"),
        source: Source {
            session: RUN,
            step: 3,
            seq: Seq(9),
            name: "idea.md".into(),
            sha256: sha256.into(),
            bytes: 12,
        },
    }))
}

fn create(title: &str) -> Command {
    Command::Create(Box::new(Create {
        by: human(),
        owner: "local".into(),
        wanted: wanted(title),
        fingerprint: title.into(),
    }))
}

fn open() -> Command {
    Command::Open {
        by: human(),
        priority: None,
        risk: None,
    }
}

fn archive() -> Command {
    Command::Archive {
        by: human(),
        reason: "not now".into(),
    }
}

fn claim(who: &str) -> Command {
    Command::Claim {
        by: human(),
        who: who.into(),
    }
}

fn release() -> Command {
    Command::Release { by: human() }
}

fn begin(session: StreamId) -> Command {
    Command::Begin { by: human(), session }
}

fn observed(progress: Progress) -> Command {
    Command::Observed {
        session: RUN,
        progress,
    }
}

fn done() -> Progress {
    Progress::Done {
        summary: "it is faster".into(),
    }
}

fn gave_up() -> Progress {
    Progress::GaveUp {
        why: "it was canceled".into(),
    }
}

fn complete() -> Command {
    Command::Complete {
        by: human(),
        summary: "by hand".into(),
    }
}

fn cancel() -> Command {
    Command::Cancel {
        by: human(),
        reason: "not worth it".into(),
    }
}

/// The state after these wishes, each of which was granted.
fn after(wishes: impl IntoIterator<Item = Command>) -> State {
    let mut state = State::default();
    for wish in wishes {
        let shown = format!("{wish:?}");
        take(&mut state, wish).unwrap_or_else(|refusal| panic!("{shown}: {refusal}"));
    }
    state
}

fn take(state: &mut State, wish: Command) -> Result<Reply, Refusal> {
    let moment = Moment { now_ms: 1_000 };
    let Decision { events, reply } = Task::decide(state, wish, moment)?;
    for event in &events {
        // What is stored is what is folded.
        let record = longhaul_journal::Record {
            seq: state.head.next(),
            time_ms: moment.now_ms,
            event: Task::encode(event),
        };
        let event: Event = Task::decode(&record).expect("it was encoded just now");
        let placed = Placed {
            seq: record.seq,
            time_ms: record.time_ms,
            event: &event,
        };
        Task::apply(state, placed);
    }
    assert_eq!(reply.phase, state.phase, "the answer says where it stands");
    Ok(reply)
}

fn refusal(given: impl IntoIterator<Item = Command>, wish: Command) -> Refusal {
    let state = after(given);
    Task::decide(&state, wish, Moment { now_ms: 2_000 }).expect_err("the rules deny it")
}

/// B-ART-3
#[test]
fn a_step_that_suggests_twice_has_suggested_once_and_the_first_body_stands() {
    let mut state = after([suggest("aa")]);
    let reply = take(&mut state, suggest("bb")).expect("it is harmless");
    assert!(reply.repeated);
    assert_eq!(reply.source.map(|source| source.sha256), Some("aa".into()));
    assert_eq!((state.phase, state.head), (Phase::Suggested, Seq(1)));
}

/// B-ART-3
#[test]
fn a_suggestion_is_opened_once_and_then_it_is_not_open_any_more() {
    assert_eq!(after([suggest("aa"), open()]).phase, Phase::Open);
    for word in [open(), archive()] {
        let again = refusal([suggest("aa"), open()], word);
        assert_eq!(again, Refusal::SuggestionNotOpen(Phase::Open));
    }
}

/// B-ART-3
#[test]
fn an_archived_suggestion_is_at_its_end() {
    let state = after([suggest("aa"), archive()]);
    assert_eq!((state.phase, state.why.as_str()), (Phase::Archived, "not now"));
    assert_eq!(Task::standing(&state), Standing::Done);
    let late = refusal([suggest("aa"), archive()], open());
    assert_eq!(late, Refusal::SuggestionNotOpen(Phase::Archived));
}

#[test]
fn who_opens_a_suggestion_may_think_otherwise_of_its_urgency() {
    let open = Command::Open {
        by: human(),
        priority: Some(Grade::High),
        risk: None,
    };
    let state = after([suggest("aa"), open]);
    assert_eq!((state.priority, state.risk), (Grade::High, Grade::Medium));
}

#[test]
fn nobody_works_on_a_mere_suggestion() {
    for wish in [claim("ann"), begin(RUN), complete(), cancel(), release()] {
        assert_eq!(refusal([suggest("aa")], wish), Refusal::OnlySuggested);
    }
}

#[test]
fn the_same_request_is_the_same_task_and_another_one_under_its_key_a_conflict() {
    let mut state = after([create("tidy")]);
    assert!(take(&mut state, create("tidy")).expect("it is the same").repeated);
    assert_eq!(
        refusal([create("tidy")], create("mend")),
        Refusal::IdempotencyConflict
    );
}

#[test]
fn a_task_without_a_title_is_none() {
    for title in ["", "  ", "two\nlines", &"x".repeat(201)] {
        assert!(
            matches!(refusal([], create(title)), Refusal::Invalid(_)),
            "{title:?}"
        );
    }
}

/// B-TASK-1
#[test]
fn a_claim_holds_until_it_is_released() {
    let mut state = after([create("tidy"), claim("ann")]);
    assert!(take(&mut state, claim("ann")).expect("it is hers").repeated);
    assert_eq!(
        refusal([create("tidy"), claim("ann")], claim("bob")),
        Refusal::ClaimedBy("ann".into())
    );
    take(&mut state, release()).expect("she lets go");
    take(&mut state, claim("bob")).expect("it is nobody's");
    assert_eq!(state.claimed_by.as_deref(), Some("bob"));
}

/// B-TASK-1
#[test]
fn a_task_follows_its_run_through_approvals_to_the_end() {
    let mut state = after([create("tidy"), begin(RUN)]);
    assert_eq!((state.phase, state.runs), (Phase::InProgress, 1));
    take(&mut state, observed(Progress::WaitsForApproval)).expect("it is told");
    assert_eq!(state.phase, Phase::WaitingApproval);
    take(&mut state, observed(Progress::Working)).expect("it is told");
    assert_eq!(state.phase, Phase::InProgress);
    take(&mut state, observed(done())).expect("it is told");
    assert_eq!(
        (state.phase, state.why.as_str()),
        (Phase::Completed, "it is faster")
    );
}

/// B-TASK-1
#[test]
fn a_run_that_gives_up_opens_its_task_again_for_whose_it_is() {
    let state = after([create("tidy"), begin(RUN), observed(gave_up())]);
    assert_eq!(
        (state.phase, state.why.as_str()),
        (Phase::Open, "it was canceled")
    );
    let state = after([create("tidy"), claim("ann"), begin(RUN), observed(gave_up())]);
    assert_eq!(
        (state.phase, state.claimed_by.as_deref()),
        (Phase::Claimed, Some("ann"))
    );
    let state = after([create("tidy"), begin(RUN), observed(gave_up()), begin(OTHER_RUN)]);
    assert_eq!((state.runs, state.session), (2, Some(OTHER_RUN)));
}

#[test]
fn one_run_at_a_time_works_on_a_task() {
    let mut state = after([create("tidy"), begin(RUN)]);
    assert!(take(&mut state, begin(RUN)).expect("it is the same").repeated);
    for wish in [begin(OTHER_RUN), complete(), cancel(), claim("ann")] {
        assert_eq!(
            refusal([create("tidy"), begin(RUN)], wish),
            Refusal::RunAtWork(RUN)
        );
    }
}

#[test]
fn what_comes_late_of_a_run_changes_nothing() {
    let mut state = after([create("tidy"), begin(RUN), observed(gave_up()), begin(OTHER_RUN)]);
    let before = state.clone();
    assert!(
        take(&mut state, observed(done()))
            .expect("it is harmless")
            .repeated
    );
    assert_eq!(state, before);
    let mut over = after([create("tidy"), complete()]);
    assert!(
        take(&mut over, observed(done()))
            .expect("it is harmless")
            .repeated
    );
}

#[test]
fn what_is_not_there_takes_no_wish() {
    for wish in [open(), claim("ann"), begin(RUN), complete(), observed(done())] {
        assert_eq!(refusal([], wish), Refusal::NotFound);
    }
}

#[test]
fn a_run_is_seen_as_far_as_a_task_cares() {
    let seen = |phase, completed, outcome: &str| {
        progress(&session::State {
            phase,
            completed,
            outcome: outcome.into(),
            ..session::State::default()
        })
    };
    use session::Phase as Run;
    for phase in [Run::Queued, Run::Running, Run::AwaitingInput, Run::Idle] {
        assert_eq!(seen(phase, None, ""), Progress::Working);
    }
    assert_eq!(seen(Run::AwaitingApproval, None, ""), Progress::WaitsForApproval);
    let success = seen(Run::Completed, Some(RunOutcome::Success), "it is faster");
    assert_eq!(success, done());
    let spent = seen(Run::Completed, Some(RunOutcome::DeadlineExceeded), "half of it");
    let why = "its time was spent: half of it".to_owned();
    assert_eq!(spent, Progress::GaveUp { why });
    assert_eq!(seen(Run::Canceled, None, ""), gave_up());
}

fn any_wish() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(suggest("aa")),
        Just(create("tidy")),
        Just(open()),
        Just(archive()),
        Just(claim("ann")),
        Just(claim("bob")),
        Just(release()),
        Just(begin(RUN)),
        Just(begin(OTHER_RUN)),
        Just(observed(Progress::Working)),
        Just(observed(Progress::WaitsForApproval)),
        Just(observed(done())),
        Just(observed(gave_up())),
        Just(complete()),
        Just(cancel()),
    ]
}

proptest! {
    /// B-TASK-1: under any wishes in any order a task that has ended stays as it is, is opened once at most, and watches
    /// its run exactly while one works on it.
    #[test]
    fn no_order_of_wishes_leads_a_task_astray(wishes in prop::collection::vec(any_wish(), 1..40)) {
        let (mut state, mut opened) = (State::default(), 0);
        for wish in wishes {
            let before = state.clone();
            let moment = Moment { now_ms: 1_000 };
            if let Ok(decision) = Task::decide(&state, wish.clone(), moment) {
                let wrote = decision.events.iter();
                opened += wrote.filter(|event| matches!(event.body, Body::Opened(_) | Body::Created(_))).count();
                prop_assert!(!before.phase.has_ended() || decision.events.is_empty(), "{:?}", wish);
                take(&mut state, wish).expect("it was granted just now");
            }
            prop_assert!(opened <= 1);
            let owed = Task::owed(&state);
            let watched = owed.iter().map(|owed| match &owed.effect {
                Effect::Watch { session, .. } => *session,
            });
            let expected = state.session.filter(|_| state.phase.is_at_work());
            prop_assert_eq!(watched.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(Task::standing(&state) == Standing::Owed, state.phase.is_at_work());
            prop_assert_eq!(Task::standing(&state) == Standing::Done, state.phase == Phase::Unborn || state.phase.has_ended());
        }
    }
}
