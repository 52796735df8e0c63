//! Break-glass while the authority is up: who goes on with it, who must wait, what is due, and who may say what it was. Pure.
//!
//! It is a request like any other, which nobody approves: that it is told of at once, recorded whole, and looked into by
//! somebody else before its owner takes it again is what stands in the place of an approval.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::ceremony::{PassView, REVIEW_SECS};
use wire::identifier::{HostName, Identity, RequestId, RoleName};
use wire::request::{Asked, State};
use wire::review::Review;
use wire::time::Timestamp;

use crate::request::settle;

/// A request for break-glass, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// What was asked.
    pub(crate) asked: Asked,
    /// Where it stands.
    pub(crate) state: State,
    /// Whether a grant was begun under it.
    pub(crate) is_used: bool,
    /// How many of its sessions have not ended.
    pub(crate) alive: u64,
    /// The verdict on it.
    pub(crate) review: Option<Review>,
}

/// How somebody stands who asks for break-glass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing is in the way.
    Free,
    /// They have it already, and go on with it.
    GoesOn(RequestId),
    /// They wait; says for what.
    Waits(String),
}

impl Taken {
    /// Until when it is to be reviewed, if it is.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let is_due = self.is_used && self.review.is_none();
        is_due.then(|| self.asked.at.after(Duration::from_secs(REVIEW_SECS)))
    }

    /// Why this person cannot say what it was, or not yet.
    pub(crate) fn refuses(&self, reviewer: &Identity, now: Timestamp) -> Option<String> {
        let id = self.asked.request;
        if *reviewer == self.asked.identity {
            return Some("nobody reviews break-glass of their own, operators included".to_owned());
        }
        if settle(self.state, now).is_live() {
            return Some(format!(
                "break-glass {id} goes on; review it when it is over (`curfew deny {id}` ends it now)"
            ));
        }
        if self.alive > 0 {
            return Some(format!("{} of its sessions have not ended yet", self.alive));
        }
        (!self.is_used)
            .then(|| format!("break-glass {id} was never used: there is nothing to review"))
    }
}

/// Whether somebody may take it, who took these before: a second use waits until the first is reviewed.
pub(crate) fn turn(
    taken: &[Taken],
    (role, hosts): (&RoleName, &BTreeSet<HostName>),
    now: Timestamp,
) -> Turn {
    let mut turn = Turn::Free;
    for one in taken {
        let (asked, id) = (&one.asked, one.asked.request);
        let state = settle(one.state, now);
        if state.is_live() {
            if asked.role == *role && hosts.is_subset(&asked.hosts) {
                return Turn::GoesOn(id);
            }
            let hosts: Vec<&str> = asked.hosts.iter().map(HostName::as_str).collect();
            let way = match state {
                State::Active { .. } => {
                    "end it with `curfew done`, and have it reviewed".to_owned()
                }
                _ => format!("take it back: `curfew withdraw {id} --reason …`"),
            };
            let (role, hosts) = (&asked.role, hosts.join(", "));
            turn = Turn::Waits(format!(
                "you have break-glass {id} already, for role {role} on {hosts}; before another, {way}"
            ));
        } else if one.due().is_some() {
            turn = Turn::Waits(format!(
                "your break-glass {id} has not been reviewed; another waits until somebody else has: `curfew breakglass review {id}`"
            ));
        }
    }
    turn
}

/// What an operator should know of, in one sentence each.
pub(crate) fn concerns(passes: &[PassView], now: Timestamp) -> Vec<String> {
    let due = passes.iter().filter_map(|pass| pass.due.map(|due| (pass, due)));
    due.map(|(pass, due)| {
        let (id, who) = (pass.request, &pass.identity);
        if due <= now {
            format!("break-glass {id} by {who} has not been reviewed in a day: `curfew breakglass review {id}`")
        } else {
            format!("break-glass {id} by {who} is to be reviewed within a day by somebody else: `curfew breakglass review {id}`")
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::asked;
    use wire::request::End;
    use wire::review::Verdict;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn later(secs: u64) -> Timestamp {
        NOW.after(Duration::from_secs(secs))
    }

    fn taken(state: State, is_used: bool) -> Taken {
        let asked = Asked { breakglass: true, ..asked(None) };
        Taken { asked, state, is_used, alive: 0, review: None }
    }

    fn ended() -> State {
        State::Ended { how: End::Returned, at: later(60) }
    }

    fn review() -> Review {
        let (by, note) = ("bob".to_owned(), "all in order".to_owned());
        Review { verdict: Verdict::Ok, by, at: later(90), note, gap: None }
    }

    fn turn_of(taken: &[Taken], host: &str, at: Timestamp) -> Turn {
        let hosts = BTreeSet::from([host.parse().unwrap()]);
        turn(taken, (&"deploy".parse().unwrap(), &hosts), at)
    }

    #[test]
    fn a_second_use_waits_until_the_first_is_reviewed() {
        assert_eq!(turn_of(&[], "db1", NOW), Turn::Free);
        let active = taken(State::Active { until: later(600) }, true);
        let id = active.asked.request;
        assert_eq!(turn_of(std::slice::from_ref(&active), "db1", NOW), Turn::GoesOn(id));
        for (one, host, at) in [
            (active.clone(), "db2", NOW),
            (active.clone(), "db1", later(600)),
            (taken(ended(), true), "db1", later(70)),
            (taken(ended(), true), "db2", later(70)),
        ] {
            assert!(matches!(turn_of(&[one], host, at), Turn::Waits(_)));
        }
        let reviewed = Taken { review: Some(review()), ..taken(ended(), true) };
        assert_eq!(turn_of(std::slice::from_ref(&reviewed), "db1", later(70)), Turn::Free);
        // What was never used holds up nobody, and one that waits for review is not made good by another.
        assert_eq!(turn_of(&[taken(ended(), false)], "db1", later(70)), Turn::Free);
        let waits = turn_of(&[taken(ended(), true), reviewed], "db1", later(70));
        assert!(matches!(waits, Turn::Waits(_)));
    }

    #[test]
    fn only_somebody_else_reviews_and_only_what_is_over() {
        let other: Identity = "bob".parse().unwrap();
        let over = taken(ended(), true);
        assert_eq!(over.refuses(&other, later(70)), None);
        let own = over.refuses(&over.asked.identity, later(70)).unwrap();
        assert!(own.contains("of their own"), "{own}");
        let alive = Taken { alive: 1, ..over.clone() };
        assert!(alive.refuses(&other, later(70)).unwrap().contains("1 of its sessions"));
        let active = taken(State::Active { until: later(600) }, true);
        assert!(active.refuses(&other, later(599)).unwrap().contains("goes on"));
        assert_eq!(active.refuses(&other, later(600)), None);
        let unused = taken(ended(), false);
        assert!(unused.refuses(&other, later(70)).unwrap().contains("never used"));
        assert_eq!((over.due(), unused.due()), (Some(later(86_400)), None));
        assert_eq!(Taken { review: Some(review()), ..over }.due(), None);
    }
}
