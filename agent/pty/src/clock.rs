//! The one place here that reads the clock.

use rustix::time::{ClockId, clock_gettime};
use wire::time::Uptime;

/// Time since boot, suspend included: the agent's clock.
#[must_use]
pub fn now() -> Uptime {
    let boot = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    Uptime::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}
