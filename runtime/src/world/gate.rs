//! Keeps a launch and an end of the same step from overtaking each other.
//!
//! A launch runs on a thread of its own and cannot be withdrawn. Without a gate an end may look for the command before
//! it is there, find nothing, and say that nothing is left, while the launch is still on its way.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_journal::StreamId;

/// The gates of all sessions that are at work in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<StreamId, Arc<Gate>>>>);

/// What launches and ends of one session pass through, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<Passed>);

/// What has passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// How often everything was stopped.
    stops: u64,
    /// Steps that were ended, and may not have been launched yet.
    ended: HashSet<u64>,
}

/// The right to launch one step, unless it is ended first. Held for as long as the act is performed.
#[derive(Debug)]
pub(crate) struct Pass {
    gates: Gates,
    gate: Arc<Gate>,
    session: StreamId,
    step: u64,
    stops: u64,
}

impl Gates {
    /// The gate of a session. Whoever holds it keeps it in place.
    pub(crate) fn of(&self, session: StreamId) -> Arc<Gate> {
        Arc::clone(lock(&self.0).entry(session).or_default())
    }

    /// The right to launch a step that is performed from now on.
    pub(crate) fn pass(&self, session: StreamId, step: u64) -> Arc<Pass> {
        let gate = self.of(session);
        let stops = gate.close().stops;
        Arc::new(Pass {
            gates: self.clone(),
            gate,
            session,
            step,
            stops,
        })
    }
}

impl Gate {
    /// Nothing else passes while this is held.
    pub(crate) fn close(&self) -> MutexGuard<'_, Passed> {
        lock(&self.0)
    }
}

impl Passed {
    /// Everything that is being performed is ended: what was not launched yet never is.
    pub(crate) fn stop(&mut self) {
        self.stops += 1;
    }

    /// One step is ended: if it was not launched yet it never is.
    pub(crate) fn end(&mut self, step: u64) {
        self.ended.insert(step);
    }
}

impl Pass {
    /// Does the launch unless the step was ended before; `None` when it was.
    pub(crate) fn launch<T>(&self, launch: impl FnOnce() -> T) -> Option<T> {
        let passed = self.gate.close();
        let is_ended = passed.stops != self.stops || passed.ended.contains(&self.step);
        (!is_ended).then(launch)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut gates = lock(&self.gates.0);
        let mut passed = self.gate.close();
        passed.ended.remove(&self.step);
        // The map and this pass are all that know it: nothing is under way that it would have to keep in order.
        if passed.ended.is_empty() && Arc::strong_count(&self.gate) == 2 {
            gates.remove(&self.session);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept in order here are whole values, sound whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_was_ended_before_its_launch_is_never_launched() {
        let (gates, session) = (Gates::default(), StreamId::unnamed());
        gates.of(session).close().end(7);
        assert_eq!(gates.pass(session, 7).launch(|| ()), None);
        let pass = gates.pass(session, 8);
        assert_eq!(pass.launch(|| ()), Some(()));
        gates.of(session).close().stop();
        assert_eq!(pass.launch(|| ()), None);
        drop(pass);
        assert_eq!(
            gates.pass(session, 9).launch(|| ()),
            Some(()),
            "what comes later is another matter"
        );
    }

    #[test]
    fn nothing_is_kept_for_a_session_at_which_nobody_works() {
        let (gates, session) = (Gates::default(), StreamId::unnamed());
        let pass = gates.pass(session, 1);
        gates.of(session).close().end(1);
        drop(pass);
        assert!(lock(&gates.0).is_empty());
    }
}
