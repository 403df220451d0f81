//! True time, which is Squadcast's too, and what a machine makes of it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// When every play begins, Unix seconds.
pub(super) const DAWN: i64 = 1_700_000_000;

/// Clones share everything.
#[derive(Clone)]
pub(super) struct Time(Arc<Inner>);

struct Inner {
    start: Instant,
    /// Seconds for which the machine slept: its monotonic clock, and with it all timers, stood still.
    slept: AtomicI64,
    /// Seconds by which somebody has set the wall clock.
    offset: AtomicI64,
}

impl Time {
    pub(super) fn new() -> Self {
        let inner = Inner { start: Instant::now(), slept: AtomicI64::new(0), offset: AtomicI64::new(0) };
        Self(Arc::new(inner))
    }

    fn after_dawn(&self, seconds: i64) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.0.start.elapsed()).unwrap();
        Timestamp::from_second(DAWN + seconds).unwrap() + elapsed
    }

    /// The time that is right.
    pub(super) fn exact(&self) -> Timestamp {
        self.after_dawn(self.0.slept.load(Relaxed))
    }

    /// The same in whole seconds.
    pub(super) fn now(&self) -> i64 {
        self.exact().as_second()
    }

    /// The machine's wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        self.after_dawn(self.0.slept.load(Relaxed) + self.offset())
    }

    /// What a clock would show that stands still while the machine sleeps.
    pub(super) fn monotonic(&self) -> Timestamp {
        self.after_dawn(self.offset())
    }

    /// How far the wall clock is off.
    pub(super) fn offset(&self) -> i64 {
        self.0.offset.load(Relaxed)
    }

    /// Somebody sets the wall clock.
    pub(super) fn set(&self, by: i64) {
        self.0.offset.fetch_add(by, Relaxed);
    }

    /// The machine sleeps.
    pub(super) fn sleep(&self, seconds: i64) {
        self.0.slept.fetch_add(seconds, Relaxed);
    }
}
