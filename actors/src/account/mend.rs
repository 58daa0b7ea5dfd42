//! Taking an account up again after its log was damaged.
//!
//! Nobody can know what became of the credit that was held when the records were lost, nor what was granted or charged in
//! them. So what stands is written down as a whole, and each open hold is charged in full: the step may have used it, and
//! no message that comes later finds it open a second time.

use longhaul_journal::Seq;

use super::event::{ClosedHold, Event, JournalGap};
use super::state::State;
use crate::session::{Actor, clip};

/// What is to be written over a gap: `state` is the fold of what stands, `highest` the highest seq that may ever have been
/// given, so that the fact gets the seq after it and no hold of the gap is taken for a later one.
pub fn over_gap(state: &State, highest: Seq, reason: String, by: Actor) -> Vec<Event> {
    let closed: Vec<ClosedHold> = state
        .sessions
        .iter()
        .filter_map(|(session, line)| {
            let hold = line.hold.as_ref()?;
            Some(ClosedHold {
                hold: hold.seq,
                session: *session,
                step: hold.step,
                amount_micro: hold.amount,
            })
        })
        .collect();
    let settled_micro = closed
        .iter()
        .fold(state.settled, |sum, closed| sum.plus(closed.amount_micro));
    let gap = JournalGap {
        from_seq: state.head.next(),
        to_seq: highest,
        reason: clip(reason),
        granted_micro: state.granted,
        settled_micro,
        closed,
    };
    vec![Event {
        actor: by,
        body: gap.into(),
    }]
}
