//! The one place here that reads the clock.

use rustix::time::{ClockId, clock_gettime};
use wire::time::{Timestamp, Uptime};

/// Wall time, for the beginning of a recording.
#[must_use]
pub fn wall() -> Timestamp {
    let wall = clock_gettime(ClockId::Realtime);
    let secs = u64::try_from(wall.tv_sec).unwrap_or(0);
    let millis = u64::try_from(wall.tv_nsec).unwrap_or(0) / 1_000_000;
    Timestamp::from_millis(secs.saturating_mul(1_000).saturating_add(millis))
}

/// Time since boot, suspend included: the agent's clock.
#[must_use]
pub fn now() -> Uptime {
    let boot = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    Uptime::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}
