//! The client of every append bench: a closed loop that keeps so many appends waiting.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::plan::Failure;

/// Bytes of one event.
pub(crate) const PAYLOAD: usize = 256;

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Measured {
    pub(crate) fn new(mut took: Vec<Duration>, elapsed: Duration) -> Self {
        took.sort_unstable();
        let at = |percent: usize| {
            let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
            took.get(index).map_or(0.0, |took| took.as_secs_f64() * 1e6)
        };
        Self {
            rate: took.len() as f64 / elapsed.as_secs_f64(),
            p50_us: at(50),
            p99_us: at(99),
        }
    }
}

/// A store of appends, seen from its client.
pub(crate) trait Store {
    /// What an append is answered through.
    type Receipt;

    /// Hands over one append.
    fn submit(&mut self) -> Self::Receipt;

    /// Waits until it is durable.
    fn wait(receipt: Self::Receipt) -> Result<(), Failure>;
}

/// Whoever is answered submits the next one. What comes in the first tenth is not counted.
pub(crate) fn drive<S: Store>(store: &mut S, waiting: usize, time: Duration) -> Result<Measured, Failure> {
    let mut receipts = VecDeque::with_capacity(waiting);
    let mut took = Vec::with_capacity(1 << 20);
    let warm = Instant::now() + time / 10;
    let mut begun = None;
    loop {
        while receipts.len() < waiting {
            receipts.push_back((Instant::now(), store.submit()));
        }
        let Some((since, receipt)) = receipts.pop_front() else {
            break;
        };
        S::wait(receipt)?;
        let now = Instant::now();
        match begun {
            None if now > warm => begun = Some(now),
            None => {}
            Some(begun) if now > begun + time => break,
            Some(_) => took.push(now - since),
        }
    }
    let elapsed = begun.map_or(time, |begun| begun.elapsed());
    for (_, receipt) in receipts {
        S::wait(receipt)?;
    }
    Ok(Measured::new(took, elapsed))
}
