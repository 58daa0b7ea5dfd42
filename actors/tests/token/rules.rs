//! Which tokens there may be, and which of them count.

use longhaul_actors::session::Actor;
use longhaul_actors::token::{
    Adopted, Command, Event, Mint, Refusal, Reply, Scope, State, TTL_LEAST_S, TTL_MOST_S, Tokens, Void,
};
use longhaul_actors::{Decision, Entity, Moment, Placed};
use longhaul_journal::{Standing, StreamId};

const SESSION: StreamId = StreamId::from_bytes([7; 16]);
const NOON: u64 = 1_700_000_000_000;

fn wish(id: &str, scopes: &[Scope], human: Option<&str>, ttl_s: u64) -> Command {
    Command::Mint(Box::new(Mint {
        by: Actor::human("local"),
        owner: "local".into(),
        session: SESSION,
        id: id.into(),
        scopes: scopes.to_vec(),
        human: human.map(str::to_owned),
        ttl_s,
    }))
}

fn reads(id: &str, ttl_s: u64) -> Command {
    wish(id, &[Scope::Read], None, ttl_s)
}

fn revoke(id: &str) -> Command {
    let (by, id) = (Actor::human("local"), id.to_owned());
    Command::Revoke { by, id }
}

/// The tokens of a session, and the time.
#[derive(Default)]
struct Tray {
    state: State,
    seconds: u64,
}

impl Tray {
    fn now(&self) -> u64 {
        NOON + self.seconds * 1_000
    }

    fn tries(&mut self, command: Command) -> Result<Reply, Refusal> {
        let now_ms = self.now();
        let Decision { events, reply } = Tokens::decide(&self.state, command, Moment { now_ms })?;
        events.iter().for_each(|event| self.meets(event));
        assert_eq!(reply.seq, self.state.head);
        Ok(reply)
    }

    fn meets(&mut self, event: &Event) {
        let (seq, time_ms) = (self.state.head.next(), self.now());
        Tokens::apply(&mut self.state, Placed { seq, time_ms, event });
    }

    #[track_caller]
    fn mints(&mut self, command: Command) -> Reply {
        self.tries(command).expect("it is minted")
    }

    /// What the token says of itself that this reply is about.
    fn admits(&self, minted: &Reply) -> Result<(), Void> {
        let token = &minted.token;
        let human = token.human.as_deref();
        self.state
            .admits(&token.id, &token.scopes, human, token.expires_ms, self.now())
    }
}

#[track_caller]
fn is_invalid(command: Command, why: &str) {
    match Tray::default().tries(command) {
        Err(Refusal::Invalid(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    }
}

/// B-TOKEN-1
#[test]
fn a_token_counts_for_a_minute_to_a_day() {
    for ttl in [0, TTL_LEAST_S - 1, TTL_MOST_S + 1, u64::MAX] {
        is_invalid(reads("a", ttl), "60 to 86400 seconds");
    }
    for ttl in [TTL_LEAST_S, TTL_MOST_S] {
        let mut tray = Tray::default();
        let minted = tray.mints(reads("a", ttl));
        assert_eq!(minted.token.expires_ms, NOON + ttl * 1_000);
        tray.seconds = ttl - 1;
        assert_eq!(tray.admits(&minted), Ok(()));
        tray.seconds = ttl;
        assert_eq!(tray.admits(&minted), Err(Void::Expired));
    }
}

/// B-GATE-3: whoever decides has a name.
#[test]
fn approve_needs_a_named_human_and_nothing_else_takes_one() {
    let approve = [Scope::Read, Scope::Approve];
    is_invalid(wish("a", &approve, None, 60), "names the human");
    is_invalid(wish("a", &approve, Some(" "), 60), "the name of a human");
    is_invalid(wish("a", &approve, Some("ann\nlocal"), 60), "the name of a human");
    is_invalid(
        wish("a", &[Scope::Steer], Some("ann"), 60),
        "only if it holds approve",
    );
    let minted = Tray::default().mints(wish("a", &approve, Some(" ann "), 60));
    assert_eq!(minted.token.human.as_deref(), Some("ann"));
}

#[test]
fn a_token_needs_a_scope_and_holds_each_once() {
    is_invalid(wish("a", &[], None, 60), "needs a scope");
    let minted = Tray::default().mints(wish("a", &[Scope::Steer, Scope::Read, Scope::Steer], None, 60));
    assert_eq!(minted.token.scopes, [Scope::Read, Scope::Steer]);
}

/// B-TOKEN-1
#[test]
fn a_revoked_token_counts_no_more_and_its_neighbour_does() {
    let mut tray = Tray::default();
    let (one, other) = (tray.mints(reads("one", 60)), tray.mints(reads("other", 60)));
    let revoked = tray.mints(revoke("one"));
    assert_eq!(
        (tray.admits(&one), tray.admits(&other)),
        (Err(Void::Revoked), Ok(()))
    );
    // Once more is the same.
    let again = tray.mints(revoke("one"));
    assert_eq!(
        (again.seq, again.repeated, revoked.repeated),
        (revoked.seq, true, false)
    );
    assert_eq!(tray.tries(revoke("none")), Err(Refusal::NotFound("none".into())));
}

#[test]
fn a_token_that_claims_more_than_was_minted_is_unknown() {
    let mut tray = Tray::default();
    let minted = tray.mints(reads("a", 60));
    let expires = minted.token.expires_ms;
    let claims = [
        ("b", vec![Scope::Read], None, expires),
        ("a", vec![Scope::Read, Scope::Steer], None, expires),
        ("a", vec![Scope::Read], Some("ann"), expires),
        ("a", vec![Scope::Read], None, expires + 1),
    ];
    for (id, scopes, human, expires_ms) in claims {
        let said = tray.state.admits(id, &scopes, human, expires_ms, tray.now());
        assert_eq!(said, Err(Void::Unknown), "{id} {scopes:?} {human:?}");
    }
}

#[test]
fn tokens_that_have_run_out_are_forgotten_when_the_next_is_minted() {
    let mut tray = Tray::default();
    tray.mints(reads("short", 60));
    tray.mints(reads("long", 3_600));
    tray.seconds = 60;
    tray.mints(reads("new", 60));
    let ids: Vec<&str> = tray.state.tokens.iter().map(|token| token.id.as_str()).collect();
    assert_eq!(ids, ["long", "new"]);
}

#[test]
fn a_session_has_no_endless_number_of_tokens() {
    let mut tray = Tray::default();
    for number in 0..1_000 {
        tray.mints(reads(&number.to_string(), 60));
    }
    assert!(matches!(
        tray.tries(reads("one more", 60)),
        Err(Refusal::Invalid(_))
    ));
    tray.seconds = 60;
    tray.mints(reads("one more", 60));
}

/// What was revoked after a backup was made is not known to whoever restores it.
#[test]
fn no_token_of_a_backup_counts_where_it_was_restored() {
    let mut tray = Tray::default();
    let minted = tray.mints(reads("a", 60));
    tray.meets(&Event::of(Actor::RUNTIME, Adopted {}));
    assert_eq!(tray.admits(&minted), Err(Void::Unknown));
}

#[test]
fn tokens_wait_for_nothing() {
    let mut tray = Tray::default();
    tray.mints(reads("a", 60));
    assert_eq!(Tokens::standing(&tray.state), Standing::Done);
}
