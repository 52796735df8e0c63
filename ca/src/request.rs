//! The life of a request, as a pure function: what happened in, where it stands out.
//!
//! The state decides, not a clock that somebody reads later: time takes a request further by [`settle`] alone, everything else
//! by [`step`], which settles first. What has ended never begins again. The end of what is used is fixed at its first use.
//! What is thought of it afterwards is a field of its own, so that an ended request stays ended.

use std::time::Duration;

use wire::request::{Asked, End, State};
use wire::time::Timestamp;

/// What happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// All that is demanded was there, for this long at most.
    Approved {
        /// The shortest of what was asked for and what each approver allows, in seconds.
        secs: u64,
    },
    /// An approver or an operator said no.
    Denied,
    /// Its owner took it back.
    Withdrawn,
    /// A certificate is issued under it.
    Used,
    /// What was begun under it was given back.
    Returned,
    /// What was begun under it lasts longer, by another request.
    Extended(Timestamp),
}

/// Why an event does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// It is over.
    #[error("it is over: {}", .0.word())]
    Over(End),
    /// Its time has not come.
    #[error("it begins later")]
    Early(Timestamp),
    /// Nobody has approved it yet.
    #[error("it is not approved yet")]
    Pending,
    /// It is used.
    #[error("it is used already; give it back with `curfew done`")]
    Active,
    /// It is not used.
    #[error("it is not used")]
    Unused,
}

/// A request that nobody has approved yet.
pub(crate) const fn begin(asked: &Asked) -> State {
    State::Pending { until: asked.expires }
}

/// Where it stands when nothing but time has passed.
pub(crate) fn settle(mut state: State, now: Timestamp) -> State {
    // Each turn takes it further, and nothing follows an end.
    while let Some(due) = state.due().filter(|due| *due <= now) {
        let ended = |how| State::Ended { how, at: due };
        state = match state {
            State::Pending { .. } => ended(End::TimedOut),
            State::Scheduled { from, until } => {
                State::Approved { until, secs: until.since(from).as_secs(), fixed: true }
            }
            State::Approved { .. } => ended(End::Unused),
            State::Active { .. } => ended(End::Expired),
            State::Ended { .. } => return state,
        };
    }
    state
}

/// Where it stands after the event; the state stays when it is refused.
pub(crate) fn step(
    asked: &Asked,
    state: State,
    event: Event,
    now: Timestamp,
) -> Result<State, Refused> {
    let state = settle(state, now);
    let ended = |how| Ok(State::Ended { how, at: now });
    match (state, event) {
        (State::Ended { how, .. }, _) => Err(Refused::Over(how)),
        (State::Pending { .. }, Event::Denied) => ended(End::Denied),
        (_, Event::Denied) => ended(End::Revoked),
        (State::Active { .. }, Event::Withdrawn) => Err(Refused::Active),
        (_, Event::Withdrawn) => ended(End::Withdrawn),
        (State::Pending { .. }, Event::Approved { secs }) => {
            Ok(settle(approved(asked, secs, now), now))
        }
        // An approval that comes later can shorten what has not begun, and nothing else.
        (State::Scheduled { from, until }, Event::Approved { secs }) => {
            Ok(State::Scheduled { from, until: until.min(end(from, secs)) })
        }
        (State::Approved { until, secs: before, fixed }, Event::Approved { secs }) => {
            Ok(State::Approved { until, secs: before.min(secs), fixed })
        }
        (State::Active { .. }, Event::Approved { .. }) => Err(Refused::Active),
        (State::Pending { .. }, Event::Used) => Err(Refused::Pending),
        (State::Scheduled { from, .. }, Event::Used) => Err(Refused::Early(from)),
        (State::Approved { until, secs, fixed }, Event::Used) => {
            let own = end(now, secs);
            Ok(State::Active { until: if fixed { own.min(until) } else { own } })
        }
        (State::Active { until }, Event::Used) => Ok(State::Active { until }),
        (State::Active { .. }, Event::Returned) => ended(End::Returned),
        (State::Active { until }, Event::Extended(later)) => {
            Ok(State::Active { until: until.max(later) })
        }
        (_, Event::Returned | Event::Extended(_)) => Err(Refused::Unused),
    }
}

/// What follows from the approval.
fn approved(asked: &Asked, secs: u64, now: Timestamp) -> State {
    let secs = secs.min(asked.duration_secs);
    match asked.start {
        Some(from) => State::Scheduled { from, until: end(from, secs) },
        None => State::Approved {
            until: now.after(Duration::from_secs(asked.use_within_secs)),
            secs,
            fixed: false,
        },
    }
}

/// Certificates count whole seconds.
fn end(from: Timestamp, secs: u64) -> Timestamp {
    Timestamp::from_secs(from.after(Duration::from_secs(secs)).secs())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use wire::identifier::{Fingerprint, RequestId};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn later(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    pub(crate) fn asked(start: Option<Timestamp>) -> Asked {
        Asked {
            version: wire::VERSION,
            authority: Fingerprint::of(b"root"),
            request: RequestId::try_new(1).unwrap(),
            identity: "ana".parse().unwrap(),
            role: "deploy".parse().unwrap(),
            logins: std::collections::BTreeSet::from(["app".parse().unwrap()]),
            hosts: std::collections::BTreeSet::from(["db1".parse().unwrap()]),
            duration_secs: 600,
            start,
            use_within_secs: 300,
            extends: None,
            reason: "why".parse().unwrap(),
            expected: None,
            ticket: None,
            urgent: false,
            breakglass: false,
            at: NOW,
            expires: later(100),
        }
    }

    #[test]
    fn the_clock_runs_from_the_first_use_and_not_from_the_approval() {
        let asked = asked(None);
        let state = step(&asked, begin(&asked), Event::Approved { secs: 900 }, later(50)).unwrap();
        assert_eq!(state, State::Approved { until: later(350), secs: 600, fixed: false });
        let used = step(&asked, state, Event::Used, later(340)).unwrap();
        assert_eq!(used, State::Active { until: later(940) });
        // One end: another use does not move it.
        assert_eq!(step(&asked, used, Event::Used, later(900)), Ok(used));
        assert_eq!(settle(used, later(940)), State::Ended { how: End::Expired, at: later(940) });
    }

    #[test]
    fn a_fixed_window_ends_when_it_ends_however_late_it_is_used() {
        let asked = asked(Some(later(1_000)));
        let state = step(&asked, begin(&asked), Event::Approved { secs: 600 }, later(50)).unwrap();
        assert_eq!(state, State::Scheduled { from: later(1_000), until: later(1_600) });
        let early = step(&asked, state, Event::Used, later(999));
        assert_eq!(early, Err(Refused::Early(later(1_000))));
        let used = step(&asked, state, Event::Used, later(1_500)).unwrap();
        assert_eq!(used, State::Active { until: later(1_600) });
        let over = State::Ended { how: End::Unused, at: later(1_600) };
        assert_eq!(settle(state, later(5_000)), over);
    }

    #[test]
    fn an_approver_shortens_and_never_lengthens() {
        let asked = asked(None);
        let short = step(&asked, begin(&asked), Event::Approved { secs: 60 }, NOW).unwrap();
        assert_eq!(short, State::Approved { until: later(300), secs: 60, fixed: false });
        let again = step(&asked, short, Event::Approved { secs: 600 }, NOW).unwrap();
        assert_eq!(again, short);
    }

    #[test]
    fn each_end_is_reached_and_says_how() {
        let asked = asked(None);
        let pending = begin(&asked);
        let approved = step(&asked, pending, Event::Approved { secs: 600 }, NOW).unwrap();
        let active = step(&asked, approved, Event::Used, NOW).unwrap();
        let how = |state: Result<State, Refused>| match state {
            Ok(State::Ended { how, .. }) => how,
            other => panic!("{other:?}"),
        };
        for (state, event, expected) in [
            (pending, Event::Denied, End::Denied),
            (pending, Event::Withdrawn, End::Withdrawn),
            (approved, Event::Denied, End::Revoked),
            (approved, Event::Withdrawn, End::Withdrawn),
            (active, Event::Denied, End::Revoked),
            (active, Event::Returned, End::Returned),
        ] {
            assert_eq!(how(step(&asked, state, event, NOW)), expected);
        }
        for (state, expected) in
            [(pending, End::TimedOut), (approved, End::Unused), (active, End::Expired)]
        {
            assert_eq!(how(Ok(settle(state, later(100_000)))), expected);
        }
        assert_eq!(step(&asked, active, Event::Withdrawn, NOW), Err(Refused::Active));
        assert_eq!(step(&asked, pending, Event::Used, NOW), Err(Refused::Pending));
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0u64..2_000).prop_map(|secs| Event::Approved { secs }),
            Just(Event::Denied),
            Just(Event::Withdrawn),
            Just(Event::Used),
            Just(Event::Returned),
            (0u64..4_000).prop_map(|secs| Event::Extended(later(secs))),
        ]
    }

    proptest! {
        #[test]
        fn no_order_of_events_revives_what_ended_or_moves_an_end_without_a_decision(
            start in proptest::option::of(0u64..500),
            events in proptest::collection::vec((event(), 0u64..400), 0..20),
        ) {
            let asked = asked(start.map(later));
            let (mut state, mut now) = (begin(&asked), NOW);
            let mut is_approved = false;
            for (event, pause) in events {
                now = now.after(Duration::from_secs(pause));
                let before = settle(state, now);
                let after = step(&asked, state, event, now);
                if let State::Ended { .. } = before {
                    prop_assert_eq!(settle(before, later(1_000_000)), before);
                    prop_assert!(after.is_err());
                }
                is_approved |= matches!((event, after), (Event::Approved { .. }, Ok(_)));
                state = after.unwrap_or(before);
                // Whatever time passes, settling once is settling always.
                prop_assert_eq!(settle(settle(state, now), now), settle(state, now));
                match (before, state) {
                    (_, State::Active { until }) => {
                        prop_assert!(is_approved, "used and never approved");
                        prop_assert!(until >= now);
                        if let (State::Active { until: earlier }, Event::Used) = (before, event) {
                            prop_assert_eq!(until, earlier);
                        }
                        if let State::Approved { secs, .. } = before {
                            prop_assert!(until <= now.after(Duration::from_secs(secs)));
                            prop_assert!(secs <= asked.duration_secs);
                        }
                    }
                    (_, State::Approved { .. } | State::Scheduled { .. }) => {
                        prop_assert!(is_approved, "approved by nobody");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn what_decides_the_life_of_a_request_does_no_io() {
        for source in [include_str!("request.rs"), include_str!("approval.rs")] {
            let code = source.split("#[cfg(test)]").next().unwrap();
            for banned in
                ["std::fs", "std::net", "tokio", "rusqlite", "clock::", "random::", "async"]
            {
                assert!(!code.contains(banned), "{banned}");
            }
        }
    }
}
