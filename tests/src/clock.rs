//! The one place of the harness that reads the clock and waits.

use std::{
    thread,
    time::{Duration, Instant},
};

/// A moment by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    start: Instant,
    patience: Duration,
}

impl Deadline {
    /// Starts to wait, for at most `patience`.
    #[expect(clippy::disallowed_methods, reason = "tests wait for real hosts in real time")]
    pub(crate) fn after(patience: Duration) -> Self {
        Self { start: Instant::now(), patience }
    }

    /// What is left until the deadline; `None` once it has passed.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.patience.checked_sub(self.start.elapsed()).filter(|left| !left.is_zero())
    }

    /// The time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The whole time that may be waited.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}

/// Lets the other side work for a moment before it is asked again.
#[expect(clippy::disallowed_methods, reason = "the poll of eventually(), the only sleep there is")]
pub(crate) fn pause(moment: Duration) {
    thread::sleep(moment);
}

/// How long something took, for benchmarks and for telling.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to measure.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the room that reads the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
