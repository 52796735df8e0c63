//! Waiting for what a host does by itself: `eventually`, never a sleep of a guessed length.
//!
//! The patience is 20 s; `CURFEW_PATIENCE_SECS` sets another one for slow machines.

use std::{env, time::Duration};

use crate::{
    FleetError,
    clock::{Deadline, pause},
};

/// Waits until `condition` holds.
///
/// `what` completes the sentence "waited in vain until …".
///
/// # Errors
/// [`FleetError::Impatient`] when it does not hold within the patience.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), FleetError> {
    eventually_some(what, || condition().then_some(()))
}

/// Waits until `find` finds something, and returns it.
///
/// # Errors
/// [`FleetError::Impatient`] when nothing was found within the patience.
pub fn eventually_some<T>(
    what: &str,
    mut find: impl FnMut() -> Option<T>,
) -> Result<T, FleetError> {
    let deadline = Deadline::after(patience());
    let mut moment = FIRST_MOMENT;
    loop {
        if let Some(found) = find() {
            return Ok(found);
        }
        if deadline.left().is_none() {
            return Err(FleetError::Impatient {
                what: what.to_owned(),
                waited: deadline.patience(),
                last: String::new(),
            });
        }
        pause(moment);
        moment = moment.saturating_mul(2).min(LONGEST_MOMENT);
    }
}

/// How late something may be, in milliseconds, that is promised within `promised` milliseconds: a machine that is given
/// more patience is given as much more time here, for it is the test beside others that is slow there.
#[must_use]
pub fn grace(promised: u64) -> u64 {
    stretched(promised, patience())
}

fn stretched(promised: u64, patience: Duration) -> u64 {
    promised.saturating_mul(patience.as_secs().div_ceil(PATIENCE.as_secs()).max(1))
}

/// How long a test waits for anything.
pub(crate) fn patience() -> Duration {
    patience_from(env::var("CURFEW_PATIENCE_SECS").ok().as_deref())
}

fn patience_from(setting: Option<&str>) -> Duration {
    setting.and_then(|secs| secs.parse().ok()).map_or(PATIENCE, Duration::from_secs)
}

const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_MOMENT: Duration = Duration::from_millis(2);
const LONGEST_MOMENT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_on_the_third_look_is_seen() {
        let mut looks = 0;
        eventually("the third look", || {
            looks += 1;
            looks == 3
        })
        .expect("three looks fit into the patience");
        assert_eq!(looks, 3);
    }

    #[test]
    fn a_promise_is_stretched_with_the_patience_and_never_shortened() {
        for (patience, allowed) in [(5, 1_000), (20, 1_000), (21, 2_000), (60, 3_000)] {
            assert_eq!(stretched(1_000, Duration::from_secs(patience)), allowed);
        }
    }

    #[test]
    fn patience_is_twenty_seconds_unless_set() {
        assert_eq!(patience_from(None), Duration::from_secs(20));
        assert_eq!(patience_from(Some("soon")), Duration::from_secs(20));
        assert_eq!(patience_from(Some("60")), Duration::from_secs(60));
    }
}
