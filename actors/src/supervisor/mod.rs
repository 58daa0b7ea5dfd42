//! What follows when an actor ends: nothing, a new actor built from the journal, or a stream left to be looked at.

mod system;

use longhaul_journal::{Seq, SubmitError};

use crate::entity::RecoveryCause;

pub(crate) use system::{Inner as SystemInner, Place};
pub use system::{System, SystemError, SystemOptions};

/// So many failures in a row, without a record in between, leave a stream to be looked at: it would fail for ever.
const MOST_FAILURES: u32 = 5;
const FIRST_BACKOFF_MS: u64 = 100;
const LONGEST_BACKOFF_MS: u64 = 60_000;

/// How an actor ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It had nothing to do.
    Passivated,
    /// The runtime closes.
    Closed,
    /// Code of the entity, or of the host, panicked.
    Panicked(String),
    /// The journal did not take a frame.
    Journal(SubmitError),
}

/// What is to be done after an ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the next message builds a new actor.
    Rest,
    /// Nothing, and what waits is told that nothing was written, and why.
    GiveUp { reason: String },
    /// A new actor, after a while.
    Restart { cause: RecoveryCause, after_ms: u64 },
    /// The stream becomes read only.
    Quarantine { readable_to: Seq, reason: String },
}

/// Judges an ending; `failures` counts this one and those before it in a row.
pub(crate) fn judge(ending: &Ending, failures: u32, durable: Seq) -> Verdict {
    let (cause, counts) = match ending {
        Ending::Passivated | Ending::Closed => return Verdict::Rest,
        Ending::Panicked(message) => (
            RecoveryCause::Panic {
                message: message.clone(),
            },
            true,
        ),
        Ending::Journal(error) => match error {
            SubmitError::Quarantined {
                readable_to, reason, ..
            } => {
                return Verdict::Quarantine {
                    readable_to: *readable_to,
                    reason: reason.clone(),
                };
            }
            // A newer owner has the stream, or the journal takes nothing from anybody: trying again would only disturb.
            SubmitError::Fenced { .. }
            | SubmitError::Poisoned { .. }
            | SubmitError::OutcomeUnknown { .. }
            | SubmitError::Inert { .. }
            | SubmitError::Closed => {
                return Verdict::GiveUp {
                    reason: error.to_string(),
                };
            }
            // A full disk is not the fault of the stream, so it may last.
            SubmitError::NotWritten { .. } => (journal_cause(error), false),
            _ => (journal_cause(error), true),
        },
    };
    if counts && failures >= MOST_FAILURES {
        return Verdict::Quarantine {
            readable_to: durable,
            reason: format!("it failed {failures} times in a row without a record; last: {cause:?}"),
        };
    }
    Verdict::Restart {
        cause,
        // The first failure is taken for an accident.
        after_ms: if failures <= 1 {
            0
        } else {
            backoff_ms(failures - 1)
        },
    }
}

fn journal_cause(error: &SubmitError) -> RecoveryCause {
    RecoveryCause::Journal {
        message: error.to_string(),
    }
}

/// How long to wait after so many failures in a row: 100 ms, doubled each time, at most a minute.
pub(crate) fn backoff_ms(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_BACKOFF_MS << doublings).min(LONGEST_BACKOFF_MS)
}

#[cfg(test)]
mod tests {
    use longhaul_journal::{Epoch, StreamId};

    use super::*;

    #[test]
    fn waiting_doubles_and_is_bounded() {
        assert_eq!([1, 2, 3, 4].map(backoff_ms), [100, 200, 400, 800]);
        assert_eq!(backoff_ms(u32::MAX), LONGEST_BACKOFF_MS);
    }

    #[test]
    fn a_stream_that_only_panics_is_left_to_be_looked_at() {
        let panicked = Ending::Panicked("divided by zero".into());
        for failures in 1..MOST_FAILURES {
            let verdict = judge(&panicked, failures, Seq(3));
            assert!(
                matches!(verdict, Verdict::Restart { .. }),
                "{failures}: {verdict:?}"
            );
        }
        let verdict = judge(&panicked, MOST_FAILURES, Seq(3));
        assert!(
            matches!(
                verdict,
                Verdict::Quarantine {
                    readable_to: Seq(3),
                    ..
                }
            ),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_full_disk_is_waited_out_however_long_it_lasts() {
        let full = Ending::Journal(SubmitError::NotWritten {
            reason: "no space".into(),
        });
        assert!(matches!(
            judge(&full, 1_000, Seq(3)),
            Verdict::Restart {
                after_ms: LONGEST_BACKOFF_MS,
                ..
            }
        ));
    }

    #[test]
    fn a_stale_writer_is_not_replaced() {
        let fenced = Ending::Journal(SubmitError::Fenced {
            stream: StreamId::unnamed(),
            holder: Epoch::new(1, 2),
            offered: Epoch::new(1, 1),
        });
        assert!(matches!(judge(&fenced, 1, Seq(3)), Verdict::GiveUp { .. }));
    }
}
