//! Two clocks: the machine's, and one that a test moves by hand.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::ports::Clock;

/// A suspended machine wakes with its wall clock moved on and its timers not; so the wall is looked at this often.
const WALL_CHECK_MS: u64 = 30_000;

/// The clocks of the machine. Its futures need a tokio runtime with timers.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        wall_ms()
    }

    fn mono_ms(&self) -> u64 {
        whole_ms(self.start.elapsed())
    }

    fn sleep_until(&self, wall: u64) -> BoxFuture<'static, ()> {
        async move {
            loop {
                let remaining = wall.saturating_sub(wall_ms());
                if remaining == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(remaining.min(WALL_CHECK_MS))).await;
            }
        }
        .boxed()
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        async move { tokio::time::sleep(Duration::from_millis(ms)).await }.boxed()
    }
}

fn wall_ms() -> u64 {
    // A wall clock before 1970 is as good as 1970: the host never lets the time of a stream fall.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms)
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved. Clones show the same time.
///
/// Sleepers wake in the order of their times, all those of one move before the move returns.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    hands: Mutex<Hands>,
    sleeping: watch::Sender<usize>,
}

#[derive(Debug)]
struct Hands {
    wall_ms: u64,
    mono_ms: u64,
    sleepers: HashMap<u64, Sleeper>,
    named: u64,
}

#[derive(Debug)]
struct Sleeper {
    until: Until,
    waker: Waker,
}

#[derive(Clone, Copy, Debug)]
enum Until {
    Wall(u64),
    Mono(u64),
}

impl ManualClock {
    /// A clock that shows this wall time, and monotonic time 0.
    pub fn at(wall_ms: u64) -> Self {
        Self(Arc::new(Shared {
            hands: Mutex::new(Hands {
                wall_ms,
                mono_ms: 0,
                sleepers: HashMap::new(),
                named: 0,
            }),
            sleeping: watch::Sender::new(0),
        }))
    }

    /// Lets this much time pass, on the wall and for work alike.
    pub fn advance(&self, ms: u64) {
        self.turn(|hands| {
            hands.wall_ms += ms;
            hands.mono_ms += ms;
        });
    }

    /// Sets the wall clock, forward as after a suspension or back as by an operator; monotonic time stands still.
    pub fn set_wall(&self, wall_ms: u64) {
        self.turn(|hands| hands.wall_ms = wall_ms);
    }

    /// Resolves once at least this many sleepers wait for the clock to be moved.
    pub async fn sleeping(&self, at_least: usize) {
        let mut count = self.0.sleeping.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count >= at_least).await;
    }

    fn turn(&self, change: impl FnOnce(&mut Hands)) {
        let mut hands = self.hands();
        change(&mut hands);
        let mut woken: Vec<(u64, u64)> = hands
            .sleepers
            .iter()
            .filter(|(_, sleeper)| hands.has_come(sleeper.until))
            .map(|(&name, sleeper)| (sleeper.until.ms(), name))
            .collect();
        woken.sort_unstable();
        let wakers: Vec<Waker> = woken
            .into_iter()
            .filter_map(|(_, name)| hands.sleepers.remove(&name))
            .map(|sleeper| sleeper.waker)
            .collect();
        self.0.sleeping.send_replace(hands.sleepers.len());
        // Wakers run foreign code, which may ask the clock.
        drop(hands);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Until {
    const fn ms(self) -> u64 {
        match self {
            Self::Wall(ms) | Self::Mono(ms) => ms,
        }
    }
}

impl Hands {
    const fn has_come(&self, until: Until) -> bool {
        match until {
            Until::Wall(ms) => self.wall_ms >= ms,
            Until::Mono(ms) => self.mono_ms >= ms,
        }
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.hands().wall_ms
    }

    fn mono_ms(&self) -> u64 {
        self.hands().mono_ms
    }

    fn sleep_until(&self, wall_ms: u64) -> BoxFuture<'static, ()> {
        Sleep::new(self.clone(), Until::Wall(wall_ms)).boxed()
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        let until = self.hands().mono_ms.saturating_add(ms);
        Sleep::new(self.clone(), Until::Mono(until)).boxed()
    }
}

struct Sleep {
    clock: ManualClock,
    until: Until,
    name: u64,
}

impl Sleep {
    fn new(clock: ManualClock, until: Until) -> Self {
        let name = {
            let mut hands = clock.hands();
            hands.named += 1;
            hands.named
        };
        Self { clock, until, name }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut hands = self.clock.hands();
        if hands.has_come(self.until) {
            return Poll::Ready(());
        }
        let sleeper = Sleeper {
            until: self.until,
            waker: cx.waker().clone(),
        };
        hands.sleepers.insert(self.name, sleeper);
        self.clock.0.sleeping.send_replace(hands.sleepers.len());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let mut hands = self.clock.hands();
        if hands.sleepers.remove(&self.name).is_some() {
            self.clock.0.sleeping.send_replace(hands.sleepers.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = ManualClock::at(1_000);
        let mut sleep = clock.sleep_until(1_500);
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(499);
        assert!((&mut sleep).now_or_never().is_none());
        clock.advance(1);
        sleep.await;
    }

    #[tokio::test]
    async fn a_wall_clock_that_jumps_wakes_dates_and_leaves_measured_time_alone() {
        let clock = ManualClock::at(1_000);
        let (mut date, mut measured) = (clock.sleep_until(90_000), clock.sleep(10));
        assert!((&mut date).now_or_never().is_none());
        clock.set_wall(100_000);
        date.await;
        assert!((&mut measured).now_or_never().is_none());
        assert_eq!(clock.mono_ms(), 0);
        clock.set_wall(500);
        assert_eq!(clock.now_ms(), 500);
        clock.advance(10);
        measured.await;
    }

    #[tokio::test]
    async fn a_dropped_sleeper_is_forgotten() {
        let clock = ManualClock::at(0);
        let mut sleep = clock.sleep(5);
        assert!((&mut sleep).now_or_never().is_none());
        clock.sleeping(1).await;
        drop(sleep);
        assert_eq!(*clock.0.sleeping.borrow(), 0);
    }
}
