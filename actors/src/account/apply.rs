//! Folding facts into the state. Never refuses: what is written has happened.

use longhaul_journal::{Seq, StreamId};

use super::event::{Body, Event, GrantReason, Granted, Held, JournalGap, ResumePolicy};
use super::state::{Hold, Line, REQUESTS_REMEMBERED, Request, State};
use crate::entity::Placed;

pub(super) fn apply(state: &mut State, placed: Placed<'_, Event>) {
    let Placed { seq, event, .. } = placed;
    state.head = seq;
    match &event.body {
        Body::Opened(opened) => {
            state.name = Some(opened.name.clone());
            state.prices.push(opened.prices.clone());
            state.resume = opened.resume;
        }
        Body::Configured(configured) => {
            state.prices.extend(configured.prices.clone());
            state.resume = configured.resume;
        }
        Body::Adopted(_) => {}
        Body::Forgot(forgot) => {
            for session in &forgot.sessions {
                forget(state, *session);
            }
        }
        Body::JournalGap(gap) => go_on(state, gap),
        Body::Granted(granted) => grant(state, seq, granted),
        Body::Held(held) => hold(state, seq, held),
        Body::Settled(settled) => {
            close_hold(state, settled.session);
            let line = state.sessions.entry(settled.session).or_default();
            state.carry = settled.carry;
            line.settled_to = line.settled_to.max(settled.step);
            line.spent = line.spent.plus(settled.amount_micro);
            state.settled = state.settled.plus(settled.amount_micro);
            state.overrun = state.overrun.plus(settled.overrun_micro);
            state.unknown += u64::from(settled.unknown);
            state.steps += 1;
            if settled.ended {
                forget(state, settled.session);
            }
        }
        Body::Released(released) => {
            close_hold(state, released.session);
            if released.ended {
                forget(state, released.session);
            }
        }
        Body::Low(_) => state.told_low = true,
        Body::Exhausted(exhausted) => {
            let line = state.sessions.entry(exhausted.session).or_default();
            if let Some(since) = line.waits.replace(seq) {
                state.waking.remove(&since);
            }
        }
        Body::WaitEnded(ended) => wait_ended(state, ended.session),
    }
}

fn grant(state: &mut State, seq: Seq, granted: &Granted) {
    state.granted = state.granted.plus(granted.amount_micro);
    state.mark = state.balance();
    state.told_low = false;
    if state.requests.len() == REQUESTS_REMEMBERED {
        state.requests.pop_front();
    }
    state.requests.push_back(Request {
        request: granted.request.clone(),
        amount: granted.amount_micro,
        seq,
    });
    if state.resume == ResumePolicy::Auto && granted.reason == GrantReason::TopUp {
        let waiting = state.sessions.iter();
        let waiting = waiting.filter_map(|(session, line)| Some((line.waits?, *session)));
        state.waking = waiting.collect();
    }
}

fn hold(state: &mut State, seq: Seq, held: &Held) {
    wait_ended(state, held.session);
    let line = state.sessions.entry(held.session).or_default();
    line.hold = Some(Hold {
        seq,
        step: held.step,
        attempt: held.attempt,
        amount: held.amount_micro,
        prices: held.prices,
        bound: held.bound.clone(),
    });
    state.holds += 1;
    state.held = state.held.plus(held.amount_micro);
}

fn close_hold(state: &mut State, session: StreamId) {
    let line = state.sessions.entry(session).or_default();
    if let Some(hold) = line.hold.take() {
        state.holds = state.holds.saturating_sub(1);
        state.held = state.held.less(hold.amount);
    }
}

/// Goes on behind a gap with what stands.
fn go_on(state: &mut State, gap: &JournalGap) {
    for closed in &gap.closed {
        close_hold(state, closed.session);
        let line = state.sessions.entry(closed.session).or_default();
        // The step counts as charged and not as settled: it may be that it never began, and then it is asked for again.
        line.spent = line.spent.plus(closed.amount_micro);
        state.unknown += 1;
        state.steps += 1;
    }
    (state.granted, state.settled) = (gap.granted_micro, gap.settled_micro);
}

fn wait_ended(state: &mut State, session: StreamId) {
    let line: Option<&mut Line> = state.sessions.get_mut(&session);
    if let Some(since) = line.and_then(|line| line.waits.take()) {
        state.waking.remove(&since);
    }
}

fn forget(state: &mut State, session: StreamId) {
    wait_ended(state, session);
    let holds = state
        .sessions
        .get(&session)
        .is_some_and(|line| line.hold.is_some());
    if !holds {
        state.sessions.remove(&session);
    }
}
