//! The one place of the agent that reads clocks; everything else is told what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use wire::time::{Timestamp, Uptime};

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time: for certificates' windows and for people.
    pub at: Timestamp,
    /// Time since boot, suspend included: for deadlines.
    pub up: Uptime,
}

impl Now {
    /// Both clocks at the moment `up`, at or before this one: what the kernel saw is told later than it happened.
    #[must_use]
    pub fn when(self, up: Uptime) -> Self {
        Self { at: self.at.before(self.up.since(up)), up }
    }
}

/// A moment of a file's, as the file system keeps it.
#[must_use]
pub fn moment(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Reads both clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room that reads the clock")]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let at = Timestamp::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    let boot = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    Now { at, up: Uptime::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_before_is_as_long_ago_on_both_clocks() {
        let now = Now { at: Timestamp::from_secs(100), up: Uptime::from_nanos(9_000_000_000) };
        let then = now.when(Uptime::from_nanos(6_000_000_000));
        assert_eq!((then.at, then.up.nanos()), (Timestamp::from_secs(97), 6_000_000_000));
    }
}
