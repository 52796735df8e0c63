//! How many sessions one identity may have under one role on this host.

use wire::certificate::Facts;
use wire::octets::{Octets, plain};
use wire::record::{Refused, Refuser};

use super::{No, Trouble};
use crate::session::{Session, State};

/// Refuses a login beyond `most` sessions of the same identity under the same role; sessions that are ending do not count.
///
/// # Errors
/// The record of the refusal: how many there are, and from where.
pub fn make_room<'a>(
    facts: &Facts,
    remote: &str,
    most: Option<u32>,
    sessions: impl Iterator<Item = &'a Session>,
) -> Result<(), Box<No>> {
    let Some(most) = most.and_then(|most| usize::try_from(most).ok()) else { return Ok(()) };
    let subject = &facts.subject;
    let alike: Vec<&Session> = sessions
        .filter(|session| {
            matches!(session.state, State::Live { .. })
                && session.subject.identity == subject.identity
                && session.subject.role == subject.role
        })
        .collect();
    if alike.len() < most {
        return Ok(());
    }
    let there: Vec<String> = alike
        .iter()
        .take(NAMED)
        .map(|session| {
            format!("{} as {} from {}", session.id, session.subject.login, plain(&session.remote))
        })
        .collect();
    let reason = format!(
        "{} has {} of {most} sessions under the role {} on {} already: {}",
        subject.identity,
        alike.len(),
        subject.role,
        subject.host,
        there.join(", ")
    );
    Err(refused(facts, remote, reason))
}

/// The record of a login that is refused although its certificate is good.
#[must_use]
pub fn refused(facts: &Facts, remote: &str, reason: String) -> Box<No> {
    let subject = &facts.subject;
    let refused = Refused {
        login: Octets::new(subject.login.as_str()),
        remote: remote.to_owned(),
        key_id: Octets::new(format!("{}/{}/{}", subject.identity, subject.grant, subject.serial)),
        serial: subject.serial.number(),
        key: subject.key.clone(),
        reason,
        count: 1,
        ours: true,
        by: Refuser::Gate,
    };
    Box::new(No { refused, trouble: Trouble::None })
}

/// How many sessions are named.
const NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;
    use wire::identifier::{Fingerprint, Serial, SessionId};
    use wire::limits::Limits;
    use wire::lock::Subject;
    use wire::record::EndReason;
    use wire::time::{Timestamp, Uptime};

    use crate::activity::Activity;
    use crate::session::Monitor;

    fn subject(identity: &str, role: &str) -> Subject {
        Subject {
            identity: identity.parse().unwrap(),
            grant: "g1".parse().unwrap(),
            serial: Serial::try_new(1).unwrap(),
            key: Fingerprint::of(b"key"),
            role: role.parse().unwrap(),
            login: "app".parse().unwrap(),
            host: "db1".parse().unwrap(),
            authority: None,
        }
    }

    fn session(id: u64, identity: &str, role: &str, state: State) -> Session {
        Session {
            version: 1,
            id: SessionId::new(NonZeroU64::new(id).unwrap()),
            subject: subject(identity, role),
            remote: "10.0.0.5".into(),
            monitor: Monitor { pid: 1, start_ticks: 1 },
            began: Timestamp::from_secs(1),
            grant_until: Timestamp::from_secs(9),
            deadline: Uptime::from_nanos(9),
            state,
            marks: None,
            forced: None,
            limits: Limits::default(),
            activity: Activity::new(Uptime::from_nanos(1)),
            meter: crate::threshold::Meter::default(),
        }
    }

    fn why(most: Option<u32>, sessions: &[Session]) -> Option<String> {
        let facts = Facts {
            subject: subject("ana", "deploy"),
            valid_before: Timestamp::from_secs(5),
            grant_until: Timestamp::from_secs(9),
            options: BTreeMap::new(),
            limits: Limits::default(),
            pass: None,
        };
        make_room(&facts, "10.0.0.9", most, sessions.iter()).err().map(|no| no.refused.reason)
    }

    #[test]
    fn only_live_sessions_of_the_same_identity_under_the_same_role_count() {
        let live = || State::Live { warned: 0 };
        let ending = State::Ending {
            reason: EndReason::GrantEnded,
            since: Uptime::from_nanos(1),
            killed: 0,
            steps: Box::default(),
        };
        let sessions = [
            session(1, "ana", "deploy", live()),
            session(2, "ana", "deploy", ending),
            session(3, "ana", "admin", live()),
            session(4, "bob", "deploy", live()),
        ];
        assert_eq!(why(None, &sessions), None);
        assert_eq!(why(Some(2), &sessions), None);
        let why = why(Some(1), &sessions).unwrap();
        assert!(why.contains("ana has 1 of 1 sessions under the role deploy on db1"), "{why}");
        assert!(why.contains("0000000000000001 as app from 10.0.0.5"), "{why}");
    }
}
