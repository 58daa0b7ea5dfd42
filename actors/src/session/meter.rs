//! Meters of no progress: crashes and repetition. They live in the fold, so that a restart does not reset them.

use longhaul_journal::Seq;
use serde::{Deserialize, Serialize};

use super::state::Ending;

/// How many crashes in a row, or within [`CRASH_WINDOW_MS`], pause a session.
pub const CRASH_LIMIT: usize = 5;
/// The window in which [`CRASH_LIMIT`] crashes pause a session at any rate of progress, wall milliseconds.
pub const CRASH_WINDOW_MS: u64 = 60_000;
/// How often the same act with the same result makes a loop.
pub const LOOP_LIMIT: u32 = 5;
/// How many different acts the loop meter remembers.
const LOOP_MEMORY: usize = 64;

/// Counts the crashes that count against a session (B-CRASH-5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashMeter {
    /// Crashes in a row without a settled step.
    pub row: u32,
    /// Times of the last [`CRASH_LIMIT`] crashes, milliseconds since 1970.
    recent: Vec<u64>,
    /// The step that was open when the server last crashed.
    open_at_server_crash: Option<u64>,
}

impl CrashMeter {
    /// Whether a crash of the whole server counts against a session that has this step open: only if the same step
    /// was open at the server's crash before.
    pub fn server_crash_counts(&self, open: Option<u64>) -> bool {
        open.is_some() && self.open_at_server_crash == open
    }

    /// Takes note of a crash.
    pub fn crashed(&mut self, counted: bool, server: bool, open: Option<u64>, now_ms: u64) {
        if server {
            self.open_at_server_crash = open;
        }
        if counted {
            self.row += 1;
            if self.recent.len() == CRASH_LIMIT {
                self.recent.remove(0);
            }
            self.recent.push(now_ms);
        }
    }

    /// Takes note of a settled step: only work ends a row, partial output never does.
    pub fn settled(&mut self) {
        self.row = 0;
        self.open_at_server_crash = None;
    }

    /// Forgets everything, because a human looked at it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether one more counted crash at `now_ms` makes a crash loop.
    pub fn next_is_a_loop(&self, now_ms: u64) -> bool {
        let in_a_row = self.row as usize + 1 >= CRASH_LIMIT;
        let recent = self
            .recent
            .iter()
            .filter(|time| now_ms.saturating_sub(**time) <= CRASH_WINDOW_MS)
            .count();
        in_a_row || recent + 1 >= CRASH_LIMIT
    }
}

/// Finds the same act with the same result, over and over (B-STUCK-2).
///
/// An act with a result not seen before is progress and sets every count back, so that "edit, test, edit, test" with
/// the same failing test is no loop, while two acts that take turns are one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopMeter {
    seen: Vec<(u64, u32)>,
    /// How often a loop was found since the last progress: the rung of the ladder.
    pub rung: u32,
    /// A loop that is not written down yet: digest of the act, and how often it came.
    pub found: Option<(String, u32)>,
    /// Hash of what the brain said in the answer that is being folded.
    said: Option<u64>,
}

impl LoopMeter {
    /// Takes note of a settled act and its result.
    pub fn settled(&mut self, digest: &str, result: &str) {
        let pair = hash_pair(digest, result);
        match self.seen.iter_mut().find(|(seen, _)| *seen == pair) {
            Some((_, times)) => {
                *times += 1;
                if *times >= LOOP_LIMIT {
                    self.found = Some((digest.to_owned(), *times));
                }
            }
            None => {
                self.rung = 0;
                self.found = None;
                for (_, times) in &mut self.seen {
                    *times = 1;
                }
                if self.seen.len() == LOOP_MEMORY {
                    self.seen.remove(0);
                }
                self.seen.push((pair, 1));
            }
        }
    }

    /// Takes note of what a brain says. Words beside an act are no progress, however often they change.
    pub fn said(&mut self, text: &str) {
        self.said = Some(hash_pair("say", text));
    }

    /// Takes note of a whole answer: where nothing was called, its words and its end are the act.
    pub fn answered(&mut self, acts: bool, end: Option<&Ending>) {
        let said = self.said.take();
        if !acts {
            self.settled("think", &format!("{said:?} {end:?}"));
        }
    }

    /// Takes note that the loop was written down: the count starts again, one rung higher.
    pub fn told(&mut self) {
        self.rung += 1;
        self.heard();
    }

    /// Takes note of new input: what is done again now may be done for another reason. The rung stays.
    pub fn heard(&mut self) {
        self.found = None;
        for (_, times) in &mut self.seen {
            *times = 0;
        }
    }

    /// Forgets everything, because a human looked at it.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

fn hash_pair(digest: &str, result: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(digest.len() as u64).to_le_bytes());
    hasher.update(digest.as_bytes());
    hasher.update(result.as_bytes());
    let mut head = [0; 8];
    head.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(head)
}

/// Milliseconds to wait before a brain that died `row` times in a row is asked again: nothing, then 0.25 s doubling to 8 s.
pub(super) fn backoff_ms(row: u32) -> u64 {
    match row {
        0 | 1 => 0,
        _ => 250 << (row - 2).min(5),
    }
}

/// Whether a message key of this age is still remembered: 24 hours.
pub(super) fn key_is_remembered(time_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(time_ms) <= 24 * 60 * 60 * 1000
}

/// How many message keys are remembered.
pub(super) const KEYS_REMEMBERED: usize = 1_000;

/// The seq that stands for "no message".
pub(super) const NO_MESSAGE: Seq = Seq::ZERO;

#[cfg(test)]
mod tests {
    use super::*;

    /// B-CRASH-5
    #[test]
    fn five_crashes_without_a_settled_step_are_a_loop_at_any_pace() {
        let mut meter = CrashMeter::default();
        for crash in 0..4 {
            let now = crash * 70_000;
            assert!(!meter.next_is_a_loop(now), "crash {crash}");
            meter.crashed(true, false, None, now);
        }
        assert!(meter.next_is_a_loop(4 * 70_000));
        meter.settled();
        assert!(!meter.next_is_a_loop(4 * 70_000));
    }

    /// B-CRASH-5
    #[test]
    fn five_crashes_within_a_minute_are_a_loop_even_with_progress() {
        let mut meter = CrashMeter::default();
        for crash in 0..4 {
            meter.crashed(true, false, None, crash * 1_000);
            meter.settled();
        }
        assert!(meter.next_is_a_loop(5_000));
        assert!(!meter.next_is_a_loop(200_000));
    }

    /// B-CRASH-5
    #[test]
    fn a_server_crash_counts_only_when_the_same_step_was_open_twice_running() {
        let mut meter = CrashMeter::default();
        assert!(!meter.server_crash_counts(Some(7)));
        meter.crashed(false, true, Some(7), 0);
        assert!(meter.server_crash_counts(Some(7)));
        assert!(!meter.server_crash_counts(Some(8)));
        assert!(!meter.server_crash_counts(None));
        meter.settled();
        assert!(!meter.server_crash_counts(Some(7)));
    }

    /// B-STUCK-2
    #[test]
    fn edit_and_test_is_no_loop_while_two_acts_taking_turns_are_one() {
        let mut meter = LoopMeter::default();
        for round in 0..20 {
            meter.settled("test", "fails");
            meter.settled(&format!("edit {round}"), "ok");
        }
        assert_eq!(meter.found, None);
        for _ in 0..LOOP_LIMIT {
            meter.settled("look left", "nothing");
            meter.settled("look right", "nothing");
        }
        assert!(meter.found.is_some());
        meter.told();
        assert_eq!((meter.rung, meter.found.clone()), (1, None));
        meter.settled("something", "new");
        assert_eq!(meter.rung, 0);
    }
}
