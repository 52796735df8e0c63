//! The one place that reads the clock: how long did it take?

use std::time::{Duration, Instant};

/// Runs from its start.
#[derive(Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed.
    pub(crate) fn passed(&self) -> Duration {
        self.0.elapsed()
    }
}
