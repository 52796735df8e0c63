//! The one place that reads the clock: how long did a step take?

use std::time::Instant;

/// Runs from its start.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[expect(clippy::disallowed_methods, reason = "a developer wants to know how long a step took")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// What has passed, in words.
    pub(crate) fn passed(&self) -> String {
        format!("{:.1} s", self.0.elapsed().as_secs_f64())
    }
}
