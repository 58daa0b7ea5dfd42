//! The state of a session from its frames, without an actor: what replay shows and checks.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use longhaul_actors::session::{Session, State};
use longhaul_actors::{DecodeError, Entity, Placed};
use longhaul_journal::{Frame, Record, Seq, Standing};

/// Why this version of longhaul could not go on from a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfoldable {
    #[error("seq {expected} is missing: the next record that can be read is {found}")]
    Gap { expected: Seq, found: Seq },
    #[error("seq {seq} is damaged: {reason}")]
    Damaged { seq: Seq, reason: String },
    #[error("seq {seq}: {error}")]
    Unreadable { seq: Seq, error: DecodeError },
    #[error("seq {seq}: folding it panics: {message}")]
    Panics { seq: Seq, message: String },
    #[error("seq {seq}: the log begins with {type_name:?} instead of \"session.started\"")]
    Headless { seq: Seq, type_name: String },
    #[error("seq {seq}: the frame says that the session waits for {sealed:?}, its fold says {folded:?}")]
    OtherStanding {
        seq: Seq,
        sealed: Standing,
        folded: Standing,
    },
}

/// The state after the records up to `to`.
pub(super) fn fold<'a>(frames: impl IntoIterator<Item = &'a Frame>, to: Seq) -> Result<State, Unfoldable> {
    let mut state = State::default();
    for frame in frames {
        fold_frame(&mut state, frame, to)?;
    }
    Ok(state)
}

/// Folds one more frame in, up to `to`. After an error the state is not to be used any more.
pub(super) fn fold_frame(state: &mut State, frame: &Frame, to: Seq) -> Result<(), Unfoldable> {
    if frame.resumes_after.is_some_and(|stands| stands == state.head) && frame.first_seq() <= to {
        // What lies in between is lost, as the first record behind it says.
        state.head = Seq(frame.first_seq().0 - 1);
    }
    let wanted = frame.records.iter().take_while(|record| record.seq <= to);
    wanted.into_iter().try_for_each(|record| step(state, record))
}

/// The state after all records, and after each frame what it says the session waits for: a fold that has come to mean
/// something else shows there.
pub(super) fn check<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Result<State, Unfoldable> {
    let mut state = State::default();
    for frame in frames {
        fold_frame(&mut state, frame, Seq(u64::MAX))?;
        let folded = Session::standing(&state);
        if folded != frame.standing {
            let (seq, sealed) = (frame.last_seq(), frame.standing.clone());
            return Err(Unfoldable::OtherStanding { seq, sealed, folded });
        }
    }
    Ok(state)
}

/// Folds one record of any entity in; `expected` is the seq it must have. After an error the state is torn.
pub(super) fn apply_record<E: Entity>(
    expected: Seq,
    state: &mut E::State,
    record: &Record,
) -> Result<(), Unfoldable> {
    let seq = record.seq;
    if seq != expected {
        return Err(Unfoldable::Gap { expected, found: seq });
    }
    let event = E::decode(record).map_err(|error| Unfoldable::Unreadable { seq, error })?;
    let placed = Placed {
        seq,
        time_ms: record.time_ms,
        event: &event,
    };
    // The state is dropped by the caller when this fails, so that nobody sees it half changed.
    catch_unwind(AssertUnwindSafe(|| E::apply(state, placed))).map_err(|panic| Unfoldable::Panics {
        seq,
        message: said(&*panic),
    })
}

fn step(state: &mut State, record: &Record) -> Result<(), Unfoldable> {
    let seq = record.seq;
    apply_record::<Session>(state.head.next(), state, record)?;
    if state.origin.is_none() {
        return Err(Unfoldable::Headless {
            seq,
            type_name: record.event.type_name.to_string(),
        });
    }
    Ok(())
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".into())
}

#[cfg(test)]
pub(super) mod tests {
    use std::borrow::Cow;

    use longhaul_actors::session::{Actor, BrainSpec, Command, Mode, Start, WorkspaceSpec};
    use longhaul_actors::{Decision, Moment};
    use longhaul_journal::{ChainHash, Epoch, Position, StreamId};

    use super::*;

    /// A start, so that a log exists.
    pub(crate) fn start() -> Command {
        Command::Start(Box::new(Start {
            by: Actor::human("local"),
            key: Some("nightly".into()),
            goal: "make the test pass".into(),
            mode: Mode::Bounded,
            brain: BrainSpec {
                kind: "playbook".into(),
                name: "fix.toml".into(),
                sha256: None,
                args: Vec::new(),
            },
            workspace: WorkspaceSpec::default(),
            network: Vec::new(),
            limits: longhaul_actors::session::Limits::default(),
            metadata: None,
            forbidden: Vec::new(),
            fingerprint: "f".into(),
            terms: None,
        }))
    }

    /// A pause, so that a log has a second frame.
    pub(crate) fn pause() -> Command {
        let reason = longhaul_actors::session::PauseReason::Requested;
        Command::Pause {
            by: Actor::human("local"),
            reason,
            now: false,
        }
    }

    /// The frames that these wishes lead to, one millisecond apart.
    pub(crate) fn frames(wishes: impl IntoIterator<Item = Command>) -> Vec<Frame> {
        let (mut state, mut frames) = (State::default(), Vec::new());
        for (wish, now_ms) in wishes.into_iter().zip(1_767_355_447_181..) {
            let Decision { events, .. } =
                Session::decide(&state, wish, Moment { now_ms }).expect("the wish is granted");
            let mut records = Vec::new();
            for event in events {
                let seq = state.head.next();
                Session::apply(
                    &mut state,
                    Placed {
                        seq,
                        time_ms: now_ms,
                        event: &event,
                    },
                );
                records.push(Record {
                    seq,
                    time_ms: now_ms,
                    event: Session::encode(&event),
                });
            }
            frames.push(Frame {
                stream: StreamId::named("session", "local", "nightly"),
                kind: Cow::Borrowed(Session::KIND),
                epoch: Epoch::new(1, 1),
                standing: Session::standing(&state),
                previous: ChainHash::ZERO,
                resumes_after: None,
                hash: ChainHash::ZERO,
                position: Position(0),
                records,
            });
        }
        frames
    }

    #[test]
    fn a_sound_log_checks_and_folds_to_where_the_session_stands() {
        let frames = frames([start(), pause()]);
        let state = check(&frames).expect("it is sound");
        assert_eq!(state.phase.name(), "paused");
        assert_eq!(fold(&frames, state.head), Ok(state));
    }

    #[test]
    fn a_fold_stops_after_the_seq_it_was_told() {
        let frames = frames([start(), pause()]);
        let early = fold(&frames, frames[0].last_seq()).expect("it is sound");
        assert_eq!((early.head, early.phase.name()), (frames[0].last_seq(), "queued"));
    }

    #[test]
    fn a_lost_frame_is_named_by_its_first_seq() {
        let mut frames = frames([
            start(),
            pause(),
            Command::Resume {
                by: Actor::human("local"),
                budget: None,
            },
        ]);
        let lost = frames.remove(1);
        let gap = Unfoldable::Gap {
            expected: lost.first_seq(),
            found: frames[1].first_seq(),
        };
        assert_eq!(check(&frames), Err(gap));
    }

    #[test]
    fn a_record_of_a_newer_version_is_named() {
        let mut frames = frames([start(), pause()]);
        frames[1].records[0].event.type_name = "session.levitated".into();
        let error = check(&frames).expect_err("nobody knows the type").to_string();
        assert!(
            error.contains("session.levitated") && error.contains("not known to this version"),
            "{error}"
        );
    }

    #[test]
    fn a_fold_that_means_something_else_than_the_writer_shows() {
        let mut frames = frames([start(), pause()]);
        frames[1].standing = Standing::Done;
        assert!(matches!(check(&frames), Err(Unfoldable::OtherStanding { .. })));
        assert!(fold(&frames, Seq(99)).is_ok(), "looking is allowed all the same");
    }

    #[test]
    fn a_log_without_its_beginning_is_no_session() {
        let mut frames = frames([start(), pause()]);
        frames.remove(0);
        for record in &mut frames[0].records {
            record.seq = Seq(1);
        }
        assert!(matches!(check(&frames), Err(Unfoldable::Headless { .. })));
    }
}
