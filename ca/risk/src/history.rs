//! What was before, made of sessions as the ledger has them, as of one moment: nothing that came later counts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::case::{Habit, Habits, Outcomes, Past, hour_of_week};
use crate::surprise::{decayed, surprise};

/// One session, as far as it says what is usual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Where.
    pub host: String,
    /// As whom.
    pub login: String,
    /// From which network, where that is known.
    pub source: Option<String>,
    /// When it began.
    pub began: u64,
    /// When it ended; it goes on, when absent.
    pub ended: Option<u64>,
    /// For how long it might have gone on, in seconds.
    pub seconds: u64,
    /// Whether it was ended for what was done in it.
    pub was_stopped: bool,
    /// What reviewers said of it, and when, in order of time.
    pub reviews: Vec<(u64, Verdict)>,
}

/// What a reviewer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was in order.
    Ok,
    /// It was not.
    Bad,
}

/// What is asked for, as far as it is held against what was before.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// When.
    pub at: u64,
    /// Where.
    pub hosts: &'a BTreeSet<String>,
    /// As whom.
    pub logins: &'a BTreeSet<String>,
    /// At which hour of the week.
    pub hour: u8,
    /// From which network.
    pub source: Option<&'a str>,
    /// From then on nothing is learnt any more, where a file of weights says so.
    pub learn_until: Option<u64>,
}

/// Moments that are only counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Their other requests.
    pub requests: Vec<u64>,
    /// What they were refused, each with how often.
    pub refusals: Vec<(u64, u32)>,
    /// How many grants they hold.
    pub concurrent: u32,
    /// Incidents, each with its host.
    pub incidents: Vec<(String, u64)>,
}

/// What was before, seen from what is asked for.
#[must_use]
pub fn past(own: &[Use], team: &[Use], marks: &Marks, asked: &Asked<'_>) -> Past {
    let within = |at: u64, span: u64| at <= asked.at && asked.at.saturating_sub(at) < span;
    let requests = |span| {
        let count = marks.requests.iter().filter(|at| within(**at, span)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let refusals = marks.refusals.iter().filter(|(at, _)| within(*at, DAY));
    Past {
        own: habits(own, asked),
        team: habits(team, asked),
        usual_seconds: usual(own, asked),
        requests_hour: requests(HOUR),
        requests_day: requests(DAY),
        refusals: refusals.map(|(_, count)| *count).fold(0, u32::saturating_add),
        concurrent: marks.concurrent,
        outcomes: outcomes(own, asked.at),
        team_outcomes: outcomes(team, asked.at),
        incidents: Some(incidents(marks, asked)),
    }
}

/// How many there were of late on the host that had most.
fn incidents(marks: &Marks, asked: &Asked<'_>) -> u32 {
    let is_late = |at: u64| at <= asked.at && asked.at.saturating_sub(at) < INCIDENT_SPAN;
    let on = |host: &String| {
        let its = marks.incidents.iter().filter(|(name, at)| name == host && is_late(*at));
        u32::try_from(its.count()).unwrap_or(u32::MAX)
    };
    asked.hosts.iter().map(on).max().unwrap_or(0)
}

impl Use {
    /// What was known of it by then: what reviewers said last.
    fn verdict(&self, at: u64) -> Option<Verdict> {
        let said = self.reviews.iter().filter(|(when, _)| *when <= at);
        said.max_by_key(|(when, _)| *when).map(|(_, verdict)| *verdict)
    }

    /// Whether it said by then what is usual: found in order, or over for long without an objection. What began from
    /// `learn_until` on says nothing.
    #[must_use]
    pub fn is_usual(&self, at: u64, learn_until: Option<u64>) -> bool {
        let may_be_learnt = learn_until.is_none_or(|until| self.began < until);
        let is_settled = match (self.verdict(at), self.ended) {
            (Some(Verdict::Bad), _) | (_, None) => false,
            (Some(Verdict::Ok), Some(ended)) => ended <= at,
            (None, Some(ended)) => !self.was_stopped && ended.saturating_add(UNTOUCHED_SECS) <= at,
        };
        self.began <= at && may_be_learnt && is_settled
    }

    /// Whether it did, and because a reviewer had found it in order.
    #[must_use]
    pub fn is_approved(&self, at: u64, learn_until: Option<u64>) -> bool {
        self.is_usual(at, learn_until) && self.verdict(at) == Some(Verdict::Ok)
    }

    fn counts(&self, asked: &Asked<'_>) -> bool {
        self.is_usual(asked.at, asked.learn_until)
    }
}

fn habits(uses: &[Use], asked: &Asked<'_>) -> Habits {
    let counted: Vec<(&Use, u64)> = uses
        .iter()
        .filter(|one| one.counts(asked))
        .map(|one| (one, decayed(asked.at.saturating_sub(one.began))))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    let of = |key: &dyn Fn(&Use) -> Option<String>, wanted: &BTreeSet<String>| {
        let keyed = counted.iter().filter_map(|(one, weight)| Some((key(one)?, *weight)));
        habit(keyed, wanted)
    };
    let one = |text: Option<String>| text.into_iter().collect::<BTreeSet<_>>();
    Habits {
        weight: counted.iter().map(|(_, weight)| *weight).fold(0, u64::saturating_add),
        host: of(&|one| Some(one.host.clone()), asked.hosts),
        login: of(&|one| Some(one.login.clone()), asked.logins),
        hour: of(
            &|one| Some(hour_of_week(one.began).to_string()),
            &one(Some(asked.hour.to_string())),
        ),
        source: of(&|one| one.source.clone(), &one(asked.source.map(str::to_owned))),
    }
}

fn habit(keyed: impl Iterator<Item = (String, u64)>, wanted: &BTreeSet<String>) -> Habit {
    let mut weights: BTreeMap<String, u64> = BTreeMap::new();
    for (key, weight) in keyed {
        let sum = weights.entry(key).or_default();
        *sum = sum.saturating_add(weight);
    }
    let all = weights.values().copied().fold(0, u64::saturating_add);
    let kinds = u64::try_from(weights.len()).unwrap_or(u64::MAX);
    let seen = wanted.iter().map(|key| weights.get(key).copied().unwrap_or(0)).min().unwrap_or(0);
    Habit { weight: all, seen, kinds, common: common(&weights, (all, kinds)) }
}

/// What 95 of 100 sessions do not surpass in surprise.
fn common(weights: &BTreeMap<String, u64>, (all, kinds): (u64, u64)) -> u64 {
    let mut surprises: Vec<(u64, u64)> =
        weights.values().map(|weight| (surprise(*weight, (all, kinds)), *weight)).collect();
    surprises.sort_unstable();
    let enough = all.saturating_mul(95) / 100;
    let mut sum: u64 = 0;
    for (surprise, weight) in surprises {
        sum = sum.saturating_add(weight);
        if sum >= enough {
            return surprise;
        }
    }
    0
}

/// The middle one of how long sessions that count could last.
fn usual(uses: &[Use], asked: &Asked<'_>) -> Option<u64> {
    let mut spans: Vec<u64> =
        uses.iter().filter(|one| one.counts(asked)).map(|one| one.seconds).collect();
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().filter(|secs| *secs > 0)
}

fn outcomes(uses: &[Use], at: u64) -> Outcomes {
    let mut found = Outcomes::default();
    for one in uses.iter().filter(|one| one.began <= at) {
        let is_over = one.ended.is_some_and(|ended| ended <= at);
        let place = match one.verdict(at) {
            Some(Verdict::Ok) => &mut found.ok,
            Some(Verdict::Bad) => &mut found.bad,
            None if one.was_stopped && is_over => &mut found.bad,
            None => continue,
        };
        *place = place.saturating_add(1);
    }
    found
}

/// How long a session must have been over for it to count without a review.
pub const UNTOUCHED_SECS: u64 = 14 * DAY;
/// For how long an incident counts, in seconds: 90 days.
const INCIDENT_SPAN: u64 = 90 * 24 * 3_600;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are small")]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn session(days_ago: u64) -> Use {
        Use {
            host: "db1".into(),
            login: "postgres".into(),
            source: Some("10.0.0.0/24".into()),
            began: NOW - days_ago * DAY,
            ended: Some(NOW - days_ago * DAY + HOUR),
            seconds: HOUR,
            was_stopped: false,
            reviews: Vec::new(),
        }
    }

    fn seen(uses: &[Use], learn_until: Option<u64>, at: u64) -> Past {
        let (hosts, logins) = (BTreeSet::from(["db1".into()]), BTreeSet::from(["postgres".into()]));
        let source = Some("10.0.0.0/24");
        let asked = Asked { at, hosts: &hosts, logins: &logins, hour: 0, source, learn_until };
        past(uses, &[], &Marks::default(), &asked)
    }

    #[test]
    fn only_what_was_found_in_order_or_left_alone_for_long_says_what_is_usual() {
        let count = |one: Use| seen(&[one], None, NOW).own.host.seen > 0;
        let reviewed = |days, verdict| Use { reviews: vec![(NOW - 1, verdict)], ..session(days) };
        assert!(count(session(15)), "nobody objected for 14 days");
        assert!(!count(session(13)), "fresh, and nobody has looked");
        assert!(count(reviewed(1, Verdict::Ok)));
        assert!(!count(reviewed(40, Verdict::Bad)));
        assert!(!count(Use { was_stopped: true, ..session(20) }), "ended for what was done");
        assert!(!count(Use { ended: None, ..session(20) }), "it goes on");
        // The last word counts, and a word of later does not.
        let turned = vec![(NOW - 9, Verdict::Ok), (NOW - 5, Verdict::Bad)];
        assert!(!count(Use { reviews: turned, ..session(20) }));
        assert!(count(Use { reviews: vec![(NOW + 1, Verdict::Bad)], ..session(20) }));
    }

    #[test]
    fn nothing_is_learnt_from_the_time_after_a_freeze() {
        let uses = [session(40), session(20)];
        let all = seen(&uses, None, NOW).own.weight;
        let before = seen(&uses, Some(NOW - 30 * DAY), NOW).own.weight;
        assert!(before < all && before > 0, "{before} {all}");
    }

    #[test]
    fn what_comes_later_changes_nothing_of_what_was_known_then() {
        let old = [session(60), session(50)];
        let then = NOW - 30 * DAY;
        let more = [old[0].clone(), old[1].clone(), session(20), session(5)];
        assert_eq!(seen(&old, None, then), seen(&more, None, then));
    }

    #[test]
    fn marks_are_counted_within_their_spans() {
        let (hosts, logins) = (BTreeSet::new(), BTreeSet::new());
        let asked = Asked {
            at: NOW,
            hosts: &hosts,
            logins: &logins,
            hour: 0,
            source: None,
            learn_until: None,
        };
        let marks = Marks {
            requests: vec![NOW - HOUR, NOW - 10, NOW - DAY, NOW + 1],
            refusals: vec![(NOW - 5, 3), (NOW - DAY - 1, 9)],
            concurrent: 2,
            incidents: ["db1", "db1", "db2"].map(|host| (host.to_owned(), NOW - DAY)).into(),
        };
        let past = past(&[], &[], &marks, &asked);
        assert_eq!(past.incidents, Some(0), "on no host of these");
        assert_eq!((past.requests_hour, past.requests_day), (1, 2));
        assert_eq!((past.refusals, past.concurrent), (3, 2));
    }

    #[test]
    fn incidents_count_for_a_while_on_the_host_that_had_most() {
        let hosts = BTreeSet::from(["db1".to_owned(), "db2".to_owned()]);
        let logins = BTreeSet::new();
        let asked = Asked {
            at: NOW,
            hosts: &hosts,
            logins: &logins,
            hour: 0,
            source: None,
            learn_until: None,
        };
        let of = |incidents: &[(&str, u64)]| {
            let incidents = incidents.iter().map(|(host, at)| ((*host).to_owned(), *at)).collect();
            past(&[], &[], &Marks { incidents, ..Marks::default() }, &asked).incidents
        };
        let old = NOW - INCIDENT_SPAN;
        assert_eq!(of(&[("db1", NOW), ("db2", NOW - 9), ("db2", old + 1), ("db3", NOW)]), Some(2));
        assert_eq!(of(&[("db1", old), ("db1", NOW + 1)]), Some(0));
    }
}
