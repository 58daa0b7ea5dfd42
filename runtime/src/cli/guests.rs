//! Entities that a program brings along: how the command line replays and checks streams it knows nothing about.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use longhaul_actors::Entity;
use longhaul_actors::session::Session;
use longhaul_journal::{Entry, Frame, Seq, StreamId};
use serde_json::{Value, json};

use super::Outcome;
use super::args::Replay;
use super::fold::{Unfoldable, apply_record};
use super::reach::Place;
use super::replay::{differences, escaped_pretty};
use super::shelf;
use super::ui::Ui;
use crate::api::{Code, Problem};

/// A kind of entity that a program of one's own brings to [`main_with`](super::main_with).
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    kind: &'static str,
    fold: fn(&[Arc<Frame>], Seq) -> Result<Value, Unfoldable>,
}

impl Guest {
    /// The kind of these rules.
    pub const fn of<E: Entity>() -> Self {
        Self {
            kind: E::KIND,
            fold: fold::<E>,
        }
    }
}

/// The state after the records up to `to`, and a check of what each whole frame says that the stream waits for.
fn fold<E: Entity>(frames: &[Arc<Frame>], to: Seq) -> Result<Value, Unfoldable> {
    let (mut state, mut head) = (E::State::default(), Seq::ZERO);
    for frame in frames {
        for record in frame.records.iter().take_while(|record| record.seq <= to) {
            apply_record::<E>(head.next(), &mut state, record)?;
            head = record.seq;
        }
        let standing = E::standing(&state);
        if head == frame.last_seq() && standing != frame.standing {
            let sealed = frame.standing.clone();
            return Err(Unfoldable::OtherStanding {
                seq: head,
                sealed,
                folded: standing,
            });
        }
    }
    Ok(serde_json::to_value(&state).unwrap_or_else(|error| json!({ "unshowable": error.to_string() })))
}

/// A stream of a kind that was brought along.
pub(super) struct Found {
    stream: StreamId,
    guest: Guest,
    frames: Vec<Arc<Frame>>,
}

/// The stream with this bare id (32 hexadecimal digits), unless it is a session or the id is of another form.
pub(super) fn find(guests: &[Guest], place: &Place, id: &str) -> Result<Option<Found>, Problem> {
    let Ok(stream) = id.parse::<StreamId>() else {
        return Ok(None);
    };
    let frames = frames(place, Some(stream))?.remove(&stream).unwrap_or_default();
    let Some(kind) = frames
        .first()
        .map(|frame| frame.kind.clone())
        .filter(|kind| kind != Session::KIND)
    else {
        return Ok(None);
    };
    match guests.iter().find(|guest| guest.kind == kind) {
        Some(guest) => Ok(Some(Found {
            stream,
            guest: *guest,
            frames,
        })),
        None => {
            let detail = format!("{id} is of kind {kind:?}, whose rules this program does not have");
            Err(Problem::new(Code::InvalidRequest, detail).next(
                "replay it with the program that wrote it; here it can be read",
                format!("longhaul journal inspect {id}"),
            ))
        }
    }
}

/// Every stream of the kinds that were brought along.
pub(super) fn all(guests: &[Guest], place: &Place) -> Result<Vec<Found>, Problem> {
    if guests.is_empty() {
        return Ok(Vec::new());
    }
    let found = frames(place, None)?.into_iter().filter_map(|(stream, frames)| {
        let guest = *guests.iter().find(|guest| guest.kind == frames[0].kind)?;
        Some(Found {
            stream,
            guest,
            frames,
        })
    });
    Ok(found.collect())
}

fn frames(place: &Place, stream: Option<StreamId>) -> Result<BTreeMap<StreamId, Vec<Arc<Frame>>>, Problem> {
    let mut frames: BTreeMap<StreamId, Vec<Arc<Frame>>> = BTreeMap::new();
    let Some(journal) = shelf::open(place.data())? else {
        return Ok(frames);
    };
    let walked = journal.walk(stream, |entry| {
        if let Entry::Frame(frame) = entry {
            frames.entry(frame.stream).or_default().push(frame);
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|error| shelf::unreadable(place.data(), error))?;
    Ok(frames)
}

impl Found {
    /// `replay ID`, with `--to`, `--diff` and `--check`.
    pub(super) fn replay(&self, args: &Replay, ui: &Ui) -> Outcome {
        if args.check {
            return Ok(if self.check(ui)? {
                0
            } else {
                Code::JournalDamaged.exit_code()
            });
        }
        if let Some(&[from, to]) = args.diff.as_deref() {
            let (before, after) = (self.at(from)?, self.at(to)?);
            differences(&before, &after)
                .iter()
                .try_for_each(|change| change.print(ui))?;
            return Ok(0);
        }
        let state = self.at(args.to.unwrap_or(u64::MAX))?;
        if ui.is_json() {
            ui.object(&state)?
        } else {
            ui.line(&escaped_pretty(&state))?
        }
        Ok(0)
    }

    /// Says whether this program could go on from the log.
    pub(super) fn check(&self, ui: &Ui) -> Result<bool, super::ui::Failure> {
        let (id, checked) = (self.stream, (self.guest.fold)(&self.frames, Seq(u64::MAX)));
        let head = self.frames.last().map_or(Seq::ZERO, |frame| frame.last_seq());
        if ui.is_json() {
            let reason = checked.as_ref().err().map(ToString::to_string);
            ui.object(
                &json!({ "id": id.to_string(), "ok": checked.is_ok(), "head": head, "reason": reason }),
            )?;
        } else {
            match &checked {
                Ok(_) => ui.line(&format!("{id}  ok      {head} records, {}", self.guest.kind))?,
                Err(why) => ui.line(&format!("{id}  broken  {why}"))?,
            }
        }
        Ok(checked.is_ok())
    }

    fn at(&self, seq: u64) -> Result<Value, Problem> {
        (self.guest.fold)(&self.frames, Seq(seq)).map_err(|why| {
            Problem::new(
                Code::JournalDamaged,
                format!("{} cannot be replayed: {why}", self.stream),
            )
            .next(
                "read what can be read",
                format!("longhaul journal inspect {}", self.stream),
            )
        })
    }
}
