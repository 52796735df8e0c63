//! The only place that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wire::time::Timestamp;

/// Wall time: for what is signed, stored or shown.
#[expect(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]
pub(crate) fn now() -> Timestamp {
    let span = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Monotonic time: for spans.
#[expect(clippy::disallowed_methods, reason = "this is the one file that reads the clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
