//! The clocks, read here and nowhere else.

use std::time::Instant;

use wire::time::Timestamp;

/// Now.
pub(crate) fn now() -> Timestamp {
    let millis = jiff::Timestamp::now().as_millisecond();
    Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// A moment by a clock that nobody moves, for spans.
#[expect(clippy::disallowed_methods, reason = "the clock is read here and nowhere else")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
