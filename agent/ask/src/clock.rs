//! The one place that reads the clock: how much of the patience is left.

use std::time::{Duration, Instant};

/// A moment on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// The moment after `patience` from now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn after(patience: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(patience).unwrap_or(now))
    }

    /// Time left; nothing when the moment has come.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn remaining(self) -> Option<Duration> {
        // A socket timeout of less than a microsecond would mean no timeout at all.
        self.0
            .checked_duration_since(Instant::now())
            .filter(|left| *left >= Duration::from_micros(1))
    }
}
