//! Moments as people read them: `4 min ago`, `in 11 min`, and the local wall clock.

use jiff::tz::TimeZone;
use wire::time::Timestamp;

use crate::duration::rough;

/// How far `at` is from `now`.
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (at.since(now), now.since(at));
    if ahead.as_secs() > 0 {
        format!("in {}", rough(ahead))
    } else if behind.as_secs() > 0 {
        format!("{} ago", rough(behind))
    } else {
        "now".to_owned()
    }
}

/// The wall clock at `at` in `zone`, to the second.
pub(crate) fn clock(at: Timestamp, zone: &TimeZone) -> String {
    let moment = i64::try_from(at.millis())
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map_or_else(
        || "the end of time".to_owned(),
        |moment| moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Both: `2026-11-22 15:46:03 (4 min ago)`.
pub(crate) fn both(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    format!("{} ({})", clock(at, zone), relative(at, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_before_or_after_now() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(relative(Timestamp::from_secs(1_700), now), "in 11 min");
        assert_eq!(relative(Timestamp::from_secs(760), now), "4 min ago");
        assert_eq!(relative(Timestamp::from_millis(1_000_900), now), "now");
    }

    #[test]
    fn the_clock_is_local_and_the_far_end_of_time_does_not_panic() {
        assert_eq!(clock(Timestamp::from_secs(0), &TimeZone::UTC), "1970-01-01 00:00:00");
        assert_eq!(clock(Timestamp::from_millis(u64::MAX), &TimeZone::UTC), "the end of time");
    }
}
